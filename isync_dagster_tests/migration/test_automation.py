"""Automation of the target: off while a run writes, back on whatever its end, as the org itself tells."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from isync_dagster.errors import ConfigError, LeaseHeldError, RequestError
from isync_dagster.local_org.automation.model import Automation
from isync_dagster.migration.automation import (
    automation_of,
    ensure_off,
    record_of,
    records_off,
    restore_left,
    select,
    switch_off,
    switch_on,
)
from isync_dagster.migration.extract import extract
from isync_dagster.migration.load import load
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.remap import remap
from isync_dagster.migration.writing import hold_target, release_all
from isync_dagster.salesforce.automation import KINDS, Item, key_of
from isync_dagster.store import files
from isync_dagster.store.store import Store
from isync_dagster.template.models import AutomationControl
from isync_dagster_tests.migration.world import World, current, migrate, serving_world, some, template

RULES = Automation.model_validate(
    {
        "validation_rules": [
            {"object": "Account", "name": "No_Zero", "message": "No zero.", "formula": 'ENDS(Name, "0")'},
            {"object": "Account", "name": "Asleep", "message": "never", "formula": "TRUE", "active": False},
            {"object": "Contact", "name": "Guarded", "message": "Not you.",
             "formula": 'LastName = "Contact 1" && NOT($Permission.Bypass_Rules)'},
        ],
        "triggers": [
            {"object": "Account", "name": "Watch", "events": ["before insert"], "condition": 'Name = "Account 1"',
             "throws": "System.NullPointerException: null", "body": "trigger Watch on Account (before insert) {}"},
            {"object": "Part__c", "name": "Parts", "events": ["before insert"], "condition": "FALSE", "error": "no"},
        ],
        "flows": [
            {"object": "Account", "name": "Stamp", "when": "before", "version": 3, "active_version": 2,
             "assign": [{"field": "Key__c", "formula": '"flow " & Name'}]},
            {"object": "Account", "name": "Old_Rule", "kind": "workflow", "when": "before",
             "assign": [{"field": "Rating__c", "formula": '"Hot"'}]},
        ],
        "duplicate_rules": [{"object": "Account", "name": "Same_Zip", "match": ["Zip__c"], "action_on_insert": "Block"}],
        "custom_permissions": ["Bypass_Rules"],
    }
)  # fmt: skip
ALL = {"off": list(KINDS)}
REFUSED = {"kind": "status", "status": 403, "code": "INSUFFICIENT_ACCESS", "message": "insufficient access rights"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving_world(tmp_path_factory.mktemp("automation"), automation=RULES) as made:
        yield made


@pytest.fixture(autouse=True)
def fresh(world: World) -> Iterator[None]:
    world.reset(some("Account", 3, Zip__c="1", Rating__c="Warm"))
    yield
    world.faults("target")
    release_all()
    assert states(world) == BEFORE


BEFORE = {
    "triggers Account.Watch": True,
    "triggers Part__c.Parts": True,
    "validation_rules Account.Asleep": False,
    "validation_rules Account.No_Zero": True,
    "validation_rules Contact.Guarded": True,
    "flows Account.Stamp": True,
    "workflow_rules Account.Old_Rule": True,
    "duplicate_rules Account.Same_Zip": True,
}


def states(world: World) -> dict[str, bool]:
    """As the org has them declared, not as the tool lists them."""
    found = world.target.schema.automation
    listed = [("triggers", item) for item in found.triggers]
    listed += [("validation_rules", item) for item in found.validation_rules]
    listed += [("workflow_rules" if item.kind == "workflow" else "flows", item) for item in found.flows]
    listed += [("duplicate_rules", item) for item in found.duplicate_rules]
    flow = next(item for item in found.flows if item.name == "Stamp")
    assert flow.active_version == 2
    return {f"{kind} {item.sobject}.{item.name}": item.active for kind, item in listed}


def off(world: World) -> set[str]:
    return {name for name, active in states(world).items() if not active and BEFORE[name]}


def test_what_is_on_the_objects_in_scope_is_listed(world: World) -> None:
    job = world.job(template(("Account", "Contact")))
    found = {key_of(item): item for item in automation_of(job)}
    assert {name: item.active for name, item in found.items()} == {
        name: active for name, active in BEFORE.items() if "Part__c" not in name
    }
    assert found["flows Account.Stamp"].version == 2
    assert next(iter(found)) == "triggers Account.Watch"
    with pytest.raises(ConfigError, match="Not in scope of 'world': Part__c"):
        automation_of(job, objects=["Part__c"])


def test_a_run_has_it_off_and_puts_it_back(world: World) -> None:
    done = migrate(world.job(template(("Account",), automation=ALL)))
    # All three rows are in, as they are in the source: neither rule, trigger, flow, workflow nor duplicate rule acted.
    assert done.states("Account") == {"inserted": 3}
    assert world.values("target", "Account", "Rating__c") == {"a0": "Warm", "a1": "Warm", "a2": "Warm"}
    record = record_of(current(done.job))
    assert record is not None
    assert not record.is_off
    assert {key_of(item) for item in record.items} == {
        name for name, active in BEFORE.items() if active and "Account" in name
    }
    assert done.summary is not None
    (text,) = [text for text in done.summary.warnings if "Automation" in text]
    assert "1 triggers, 1 validation rules, 1 flows, 1 workflow rules, 1 duplicate rules" in text
    assert record.data["off_at"] in text
    assert record.data["on_at"] in text
    assert not records_off(done.job.store)


def test_nothing_is_switched_by_default(world: World) -> None:
    job = world.job(template(("Account",), rejected_rows_threshold=3))
    migrate(job)
    assert record_of(current(job)) is None


def begun(world: World, **automation: Any) -> Any:
    """A run whose automation is off and whose rows are not sent yet."""
    job = world.job(template(("Account",), automation=automation or ALL))
    extract(job, "Account")
    preflight(job)
    remap(job, "Account")
    hold_target(job, current(job))
    ensure_off(job, current(job))
    return job


def test_a_selection_by_kind_object_and_name(world: World) -> None:
    job = begun(world, off=["validation_rules", "triggers", "flows"], keep=["Account.Watch"], only=["No_Zero", "watch"])
    assert off(world) == {"validation_rules Account.No_Zero"}
    items = automation_of(job)
    with pytest.raises(ConfigError, match="no automation named Nope"):
        select(items, AutomationControl.model_validate({"off": ["flows"], "only": ["Nope"]}))
    on_account = AutomationControl.model_validate({"off": "flows, triggers", "objects": "account"})
    assert [key_of(item) for item in select(items, on_account)] == ["triggers Account.Watch", "flows Account.Stamp"]


def test_an_error_of_the_run_puts_it_back(world: World) -> None:
    job = begun(world)
    assert len(off(world)) == 5
    # The end of a Dagster run, whatever its outcome, gives the lease back.
    release_all()
    assert off(world) == set()
    # And the same run goes on, off once more.
    load(job, "Account")
    assert len(off(world)) == 5
    release_all()
    record = record_of(current(job))
    assert record is not None
    assert len(record.data["earlier"]) == 1


def test_a_living_run_is_left_alone(world: World) -> None:
    job = begun(world)
    assert restore_left(job.store, lambda _: job.target) == ([], [])
    with pytest.raises(LeaseHeldError, match="is writing to target with automation off"):
        switch_on(job)
    assert len(off(world)) == 5


def dead(world: World) -> None:
    """A process that switched off and was killed."""
    found = world.served["target"].credentials()
    source = world.served["source"].credentials()
    plan = world.plan(template(("Account",), automation=ALL))
    store = Store.open(str(world.store_folder))
    files.write_json(store.root / "plan-of-the-dead.json", plan.to_json())
    script = textwrap.dedent(f"""
        import os, signal, sys
        from isync_dagster_tests.migration.dead_switcher import go
        go({str(world.store_folder)!r}, {str(world.folder)!r}, {found!r}, {source!r}, 'plan-of-the-dead.json')
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_what_a_killed_process_left_is_put_back_once(world: World) -> None:
    dead(world)
    assert len(off(world)) == 5
    job = world.job(template(("Account",), automation=ALL))
    world.watch("target", "tooling/sobjects/ValidationRule")
    results: list[Any] = []
    clients = [world.client("target") for _ in range(3)]
    threads = [
        threading.Thread(target=lambda org=org: results.append(restore_left(job.store, lambda _: org)))
        for org in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(done) for done, _ in results) == [0, 0, 1]
    assert all(not failed for _, failed in results)
    assert states(world) == BEFORE
    # One read and one write of the one rule: only one of the three acted.
    assert world.met("target") == 2
    # The run that the dead process began goes on, with automation off again, and ends with all on.
    done = migrate(job)
    assert done.states("Account") == {"inserted": 3}


def test_a_restore_that_fails_is_tried_again_and_said(world: World) -> None:
    dead(world)
    job = world.job(template(("Account",), automation=ALL))
    world.faults("target", {**REFUSED, "path": "PATCH .*/FlowDefinition/", "times": None})
    done, failed = restore_left(job.store, lambda _: job.target)
    assert done == []
    (text,) = failed
    assert "could not be put back: flows Account.Stamp" in text
    assert "isync automation world on" in text
    assert off(world) == {"flows Account.Stamp"}
    (record,) = records_off(job.store)
    assert record.data["attempts"] == 3
    assert list(record.data["failed"]) == ["flows Account.Stamp"]
    world.faults("target")
    assert len(restore_left(job.store, lambda _: job.target)[0]) == 1


def test_what_cannot_be_switched_off_stops_the_run_before_it_writes(world: World) -> None:
    world.faults("target", {**REFUSED, "path": "PATCH .*/WorkflowRule/", "times": 1})
    with pytest.raises(RequestError, match=r"could not be switched off, so nothing is sent: workflow_rules"):
        begun(world)
    assert off(world) == set()
    assert world.counts("Account") == {"Account": 0}


def test_by_hand_until_the_next_run(world: World) -> None:
    job = world.job(template(("Account",), rejected_rows_threshold=3))
    switch_off(job, AutomationControl.model_validate(ALL))
    assert len(off(world)) == 5
    # A person's wish is no dead process: nobody takes it back but the person, or the end of the next run.
    assert restore_left(job.store, lambda _: job.target) == ([], [])
    assert len(off(world)) == 5
    done = migrate(job)
    assert done.states("Account") == {"inserted": 3}
    assert off(world) == set()
    switch_off(job, AutomationControl.model_validate({"off": ["flows"]}))
    (record,) = switch_on(job)
    assert [key_of(item) for item in record.items] == ["flows Account.Stamp"]


def test_a_permission_set_is_given_for_the_run(world: World) -> None:
    client = world.client("target")
    if not client.count("PermissionSet", "Name = 'Migration'"):
        set_id = client.request("POST", "sobjects/PermissionSet", json={"Name": "Migration", "Label": "M"}).json()["id"]
        permission = client.query("SELECT Id FROM CustomPermission")["Id"][0]
        client.request("POST", "sobjects/SetupEntityAccess", json={"ParentId": set_id, "SetupEntityId": permission})
    world.reset(some("Contact", 3))
    done = migrate(world.job(template(("Contact",), automation={"bypass": {"permission_set": "Migration"}})))
    assert done.states("Contact") == {"inserted": 3}
    assert client.count("PermissionSetAssignment") == 0
    assert states(world) == BEFORE
    world.reset(some("Contact", 3))
    refused = migrate(world.job(template(("Contact",), rejected_rows_threshold=3)))
    assert refused.states("Contact") == {"failed": 1, "inserted": 2}
    with pytest.raises(ConfigError, match="no permission set 'Nope'"):
        migrate(world.job(template(("Account",), automation={"bypass": {"permission_set": "Nope"}})))


def test_an_item_as_data() -> None:
    item = Item("flows", "Account", "Stamp", "300", True, 2)
    assert Item.from_json(item.to_json()) == item
