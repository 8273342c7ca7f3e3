"""A canary: the first rows of every object into the target and out again, whatever happens on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, RequestError
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration import canary as module
from isync_dagster.migration.canary import PHASE, Canary, canary, canary_plan
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.writing import release_all
from isync_dagster.store import files
from isync_dagster.store.runs import Run, RunState
from isync_dagster_tests.migration.test_rollback import keyed, tables
from isync_dagster_tests.migration.world import World, assert_laws, migrate, rows_of, some, template, together

OBJECTS = ("Account", "Contact", "Part__c")


def data(**account: Any) -> DataSet:
    return together(
        some("Account", 9, ParentId=lambda n: f"a{n - 1}" if n else None, Zip__c="1", **account),
        some("Contact", 9, AccountId=lambda n: f"a{8 - n}"),
        some("Part__c", 9, Account__c=lambda n: f"a{n}"),
    )


def there() -> DataSet:
    """Two of the accounts are in the target already: a canary updates and restores them."""
    return rows_of("Account", [{"Key__c": f"a{n}", "Name": f"Theirs {n}", "Zip__c": "9"} for n in (0, 7)])


def own_run(job: SyncJob) -> Run:
    """The newest run of the canary's own template."""
    own = replace(job, plan=canary_plan(job.plan, 1), phase=PHASE)
    run = job.store.runs(own.key).latest()
    assert run is not None
    return run


def assert_out(world: World, before: Any, found: Canary) -> None:
    assert found.clean and not found.left
    assert tables(world) == before
    run = own_run(world.job(keyed(*OBJECTS)))
    assert run.state is RunState.ROLLED_BACK


def test_the_first_rows_and_their_parents_go_in_and_out_as_a_run_of_their_own(world: World) -> None:
    world.reset(data(), there())
    before = tables(world)
    job = world.job(keyed(*OBJECTS))
    found = canary(job, 2)
    # Two of each, and the accounts that the contacts and parts name; two accounts are matched.
    assert found.states["Contact"] == {"inserted": 2}
    assert found.states["Part__c"] == {"inserted": 2}
    assert found.states["Account"] == {"inserted": 2, "updated": 2}
    assert not found.failed and not found.errors
    assert_out(world, before, found)
    run = own_run(job)
    assert (run.job.template, run.job.phase) == ("world~canary", "canary")
    steps = files.names(run.folder / "ledger")
    assert "load" in steps and any(name.startswith("rollback-") for name in steps)
    assert run.audit("Account").latest().collect().height == 4
    assert job.store.runs(job.key).latest() is None, "the template's own runs are not touched"
    # What the canary had in the id map is no counterpart of the real run.
    done = migrate(world.job(keyed(*OBJECTS)))
    assert_laws(done)
    assert done.states("Account") == {"inserted": 7, "updated": 2}


@pytest.mark.slow
def test_refused_rows_are_what_it_is_for(world: World) -> None:
    world.reset(data(Mail__c=lambda n: "not an address" if n == 1 else None))
    before = tables(world)
    found = canary(world.job(keyed(*OBJECTS)), 3)
    assert found.refused == 2, "the account, and the part that hangs on it"
    assert {row["object"] for row in found.errors} == {"Account", "Part__c"}
    assert any("INVALID_EMAIL" in str(row) for row in found.errors)
    assert any(row["kind"] == "email" for row in found.findings)
    assert_out(world, before, found)


@pytest.mark.slow
def test_an_error_on_the_way_takes_out_what_has_arrived(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reset(data(), there())
    before = tables(world)

    def broken(*_: Any) -> Any:
        assert tables(world) != before, "some of it is in the target by now"
        raise RequestError("the second object cannot be sent")

    load = module.load
    monkeypatch.setattr(module, "load", lambda job, name: load(job, name) if name == "Account" else broken())
    with pytest.raises(RequestError, match="the second object"):
        canary(world.job(keyed(*OBJECTS)), 2)
    assert tables(world) == before
    assert own_run(world.job(keyed(*OBJECTS))).state is RunState.ROLLED_BACK


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", ["load:created", "load:closed", "load:done", "relink:closed", "rollback-1:closed"])
def test_a_killed_canary_is_taken_out_by_the_next(world: World, kill_at: str) -> None:
    world.reset(data(), there())
    before = tables(world)
    job = world.job(keyed(*OBJECTS), collections_rows=0)
    recipe = {
        "plan": job.plan.to_json(), "orgs": {side: world.served[side].credentials() for side in ("source", "target")},
        "store": str(world.store_folder), "options": {"collections_rows": 0}, "verb": "canary", "kill_at": kill_at,
    }  # fmt: skip
    path = world.folder / "canary-recipe.json"
    path.write_text(json.dumps(recipe))
    command = [sys.executable, "-m", "isync_dagster_tests.migration.killed", str(path)]
    died = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    left = own_run(job)
    assert left.state is not RunState.ROLLED_BACK
    if kill_at in ("load:done", "relink:closed"):
        assert tables(world) != before, "it was killed with rows in the target"
    release_all()
    found = canary(world.job(keyed(*OBJECTS)), 2)
    assert {result.run for result in found.undone} == {left.number, left.number + 1}
    assert_out(world, before, found)
    assert job.store.runs(left.job).get(left.number).state is RunState.ROLLED_BACK


@pytest.mark.slow
def test_what_it_cannot_take_out_is_named_and_tried_again(world: World) -> None:
    world.reset(data(), there())
    before = tables(world)
    job = world.job(keyed(*OBJECTS))
    finish = module.finish

    def changed(own: SyncJob) -> Any:
        done = finish(own)
        # Somebody corrects a record of the canary before it is taken out: it is theirs now.
        ids = world.ids("target", "Part__c")
        later = """UPDATE "Part__c" SET "Name" = 'Mine', "SystemModstamp" = "SystemModstamp" + INTERVAL 2 HOUR """
        world.execute("target", f"""{later} WHERE "Id" = '{ids["p0"]}'""")
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "finish", changed)
        found = canary(job, 2)
    part = world.ids("target", "Part__c")["p0"]
    assert not found.clean
    assert (part, State.SKIPPED) in {(row["target_id"], row["state"]) for row in found.left}
    assert {row["object"] for row in found.left} <= {"Part__c", "Account"}, "and the account that it hangs on"
    # The person deletes it; the next canary begins with what is left.
    world.delete("Part__c", "p0")
    release_all()
    assert_out(world, before, canary(world.job(keyed(*OBJECTS)), 2))


def test_a_canary_without_rows_is_refused(world: World) -> None:
    with pytest.raises(ConfigError, match="at least one row an object, not 0"):
        canary(world.job(template(("Account",))), 0)


def test_the_plan_of_a_canary_is_another_template(world: World) -> None:
    plan = world.plan(keyed(*OBJECTS))
    small = canary_plan(plan, 3)
    assert small.hash != plan.hash
    assert {item.limit for item in small.objects} == {3}
    assert pl.Series([item.order_by for item in small.objects]).unique().to_list() == ["Id"]
    assert small.settings.continue_on_error
