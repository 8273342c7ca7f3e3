"""The bypass of automation: given to the loading user for the run, and taken back whatever its end."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import RequestError
from isync_dagster.local_org.automation.model import Automation
from isync_dagster.migration.automation import ensure_off, record_of, records_off, restore_left
from isync_dagster.migration.extract import extract
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.remap import remap
from isync_dagster.migration.writing import hold_target, release_all
from isync_dagster.schema.model import Field, SObject
from isync_dagster.store import files
from isync_dagster.store.store import Store
from isync_dagster_tests.migration.world import World, current, migrate, serving_world, some, template

RULES = Automation.model_validate(
    {
        "validation_rules": [
            {"object": "Account", "name": "Settled", "message": "Not without the setting.",
             "formula": 'Name = "Account 1" && NOT($Setup.Switch__c.Bypass__c)'},
            {"object": "Account", "name": "Permitted", "message": "Not without the permission.",
             "formula": 'Name = "Account 2" && NOT($Permission.Bypass_Rules)'},
        ],
        "custom_permissions": ["Bypass_Rules"],
    }
)  # fmt: skip
SWITCH = SObject("Switch__c", label="Switch", custom=True, custom_setting=True, fields=(
    Field("Name", "string", label="Name", length=38), Field("Bypass__c", "boolean", label="Bypass"),
    Field("Other__c", "string", label="Other", length=20),
    Field("SetupOwnerId", "reference", label="Location", reference_to=("Organization", "Profile", "User"),
          relationship_name="SetupOwner")))  # fmt: skip
BOTH = {"bypass": {"permission_set": "Migration", "setting": "Switch__c.Bypass__c"}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving_world(tmp_path_factory.mktemp("bypass")) as made:
        made.target.change_schema([*made.target.schema, SWITCH], RULES)
        assert not made.target.schema.problems
        client = made.client("target")
        set_id = client.request("POST", "sobjects/PermissionSet", json={"Name": "Migration", "Label": "M"}).json()["id"]
        permission = client.query("SELECT Id FROM CustomPermission WHERE DeveloperName = 'Bypass_Rules'")["Id"][0]
        client.request("POST", "sobjects/SetupEntityAccess", json={"ParentId": set_id, "SetupEntityId": permission})
        yield made


@pytest.fixture(params=["no row", "a row that says no"])
def world(served: World, request: pytest.FixtureRequest) -> Iterator[World]:
    """The user has no settings of its own, or has some that do not bypass: either is what must be there after."""
    served.reset(some("Account", 3))
    rows = [] if request.param == "no row" else [{"Name": "mine", "Bypass__c": False, "Other__c": "kept",
                                                  "SetupOwnerId": user(served)}]  # fmt: skip
    served.execute("target", 'DELETE FROM "Switch__c"')
    for row in rows:
        served.client("target").request("POST", "sobjects/Switch__c", json=row)
    before = given(served)
    yield served
    served.faults("target")
    release_all()
    assert given(served) == before


def user(world: World) -> str:
    return str(world.target.settings.user_id)


def given(world: World) -> tuple[list[tuple[Any, ...]], int]:
    """The settings rows, and how many users have the permission set, as the org holds them."""
    settings = (
        world.target.table("Switch__c").filter(~pl.col("IsDeleted")).select("SetupOwnerId", "Bypass__c", "Other__c")
    )
    assigned = world.target.table("PermissionSetAssignment")
    return settings.rows(), assigned.filter(~pl.col("IsDeleted")).height


def passes(world: World) -> bool:
    """Whether the loading user has both ways through."""
    settings, assigned = given(world)
    return [row[:2] for row in settings] == [(user(world), True)] and assigned == 1


def begun(world: World) -> Any:
    job = world.job(template(("Account",), automation=BOTH))
    extract(job, "Account")
    preflight(job)
    remap(job, "Account")
    hold_target(job, current(job))
    ensure_off(job, current(job))
    return job


def test_a_run_passes_and_leaves_the_user_as_it_was(world: World) -> None:
    before = given(world)
    refused = migrate(world.job(template(("Account",), rejected_rows_threshold=3)))
    assert refused.states("Account") == {"failed": 2, "inserted": 1}
    world.clear_target()
    done = migrate(world.job(template(("Account",), automation=BOTH)))
    assert done.states("Account") == {"inserted": 3}
    assert given(world) == before
    record = record_of(current(done.job))
    assert record is not None and not record.is_off
    assert "bypass Migration, bypass Switch__c.Bypass__c" in record.text
    assert done.summary is not None
    assert any("bypass Switch__c.Bypass__c" in text for text in done.summary.warnings)


def test_it_is_given_before_the_first_row_and_taken_back_by_an_error(world: World) -> None:
    before = given(world)
    begun(world)
    assert passes(world)
    release_all()
    assert given(world) == before


@pytest.mark.parametrize("world", ["a row that says no"], indirect=True)
def test_what_the_user_had_before_stays(world: World) -> None:
    client = world.client("target")
    row = client.query("SELECT Id FROM Switch__c")["Id"][0]
    client.request("PATCH", f"sobjects/Switch__c/{row}", json={"Bypass__c": True})
    mine = given(world)
    migrate(world.job(template(("Account",), automation={"bypass": {"setting": "Switch__c.Bypass__c"}},
                               rejected_rows_threshold=1)))  # fmt: skip
    assert given(world) == mine
    client.request("PATCH", f"sobjects/Switch__c/{row}", json={"Bypass__c": False})


@pytest.mark.slow
def test_what_a_killed_process_gave_is_taken_back(world: World) -> None:
    before = given(world)
    plan = world.plan(template(("Account",), automation=BOTH))
    store = Store.open(str(world.store_folder))
    files.write_json(store.root / "plan-of-the-dead.json", plan.to_json())
    target, source = (world.served[side].credentials() for side in ("target", "source"))
    script = textwrap.dedent(f"""
        import os, signal
        from isync_dagster_tests.migration.dead_switcher import go
        go({str(world.store_folder)!r}, {str(world.folder)!r}, {target!r}, {source!r}, 'plan-of-the-dead.json')
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert passes(world)
    job = world.job(template(("Account",), automation=BOTH))
    (record,), failed = restore_left(job.store, lambda _: job.target)
    assert not failed and not record.is_off
    assert given(world) == before
    assert restore_left(job.store, lambda _: job.target) == ([], []), "once is enough"
    assert migrate(job).states("Account") == {"inserted": 3}


@pytest.mark.slow
def test_one_way_that_cannot_be_taken_back_is_said_and_tried_again(world: World) -> None:
    before = given(world)
    begun(world)
    no = {"kind": "status", "status": 403, "code": "INSUFFICIENT_ACCESS", "message": "no", "times": None}
    world.faults("target", {**no, "path": "(PATCH|DELETE) .*/sobjects/Switch__c/"})
    release_all()  # the end of the process: what could not be put back is kept for the next start
    settings, assigned = given(world)
    assert (settings[0][1], assigned) == (True, 0)
    job = world.job(template(("Account",), automation=BOTH))
    (record,) = records_off(job.store)
    assert list(record.data["failed"]) == ["bypass Switch__c.Bypass__c"]
    done, failed = restore_left(job.store, lambda _: job.target)
    assert not done and "bypass Switch__c.Bypass__c" in failed[0]
    world.faults("target")
    assert len(restore_left(job.store, lambda _: job.target)[0]) == 1
    assert given(world) == before


def test_one_way_that_is_not_given_stops_the_run_before_it_writes(world: World) -> None:
    before = given(world)
    no = {"kind": "status", "status": 403, "code": "INSUFFICIENT_ACCESS", "message": "no", "times": None}
    world.faults("target", {**no, "path": "(POST|PATCH) .*/sobjects/Switch__c"})
    with pytest.raises(RequestError, match="no"):
        begun(world)
    world.faults("target")
    assert given(world) == before, "the permission set was given before it, and is taken back"
    assert world.counts("Account") == {"Account": 0}
