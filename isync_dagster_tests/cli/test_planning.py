"""Inventory, scan and forecast on the command line and in Dagster, with two real local orgs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import Result

from isync_dagster.cli.console import Exit
from isync_dagster_tests.cli.served import isync, make_served_project
from isync_dagster_tests.migration.test_scan import WRITES
from isync_dagster_tests.migration.world import World, serving_world, some, template, together


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two orgs, a template, a Dagster home; the source holds accounts of which the target has one, and contacts."""
    folder = tmp_path_factory.mktemp("world")
    with serving_world(folder) as made, pytest.MonkeyPatch.context() as patch:
        templates = make_served_project(folder, made, patch)
        recipe = template(("Account", "Contact"), {"Account": {"match_key": ["Key__c"]}})
        (templates / "world.yaml").write_text(json.dumps(recipe.model_dump(mode="json", exclude_unset=True)))
        made.reset(
            together(some("Account", 3, Zip__c="new"), some("Contact", 2, AccountId=lambda n: f"a{n}")),
            some("Account", 1, Zip__c="old"),
        )
        patch.setenv("ISYNC_STORE", str(made.store_folder))
        patch.setenv("COLUMNS", "250")
        patch.chdir(folder)
        yield made


def flat(result: Result) -> str:
    return " ".join(result.output.split())


def test_a_forecast_needs_a_scan(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISYNC_STORE", str(tmp_path / "store"))
    early = isync("forecast", "world")
    assert early.exit_code == Exit.CONFIGURATION
    assert "`isync scan world` first" in flat(early)


def test_scan_then_forecast(world: World) -> None:
    for side in ("source", "target"):
        world.watch(side, WRITES)
    shown = isync("scan", "world")
    assert shown.exit_code == Exit.OK, shown.output
    assert (world.met("source"), world.met("target")) == (0, 0)
    text = flat(shown)
    assert "Contact after Account: lookup AccountId" in text
    assert "Account.ParentId is filled later: points at Account itself" in text
    assert "Zip__c old new" in text
    assert "no earlier run of this org pair to learn from" in text
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs(limit=1)
        assert run.job_name == "scan_world"
        event = instance.get_latest_materialization_event(dg.AssetKey(["world", "scan"]))
        assert event is not None and event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
    assert (metadata["would/insert"].value, metadata["would/update"].value) == (4, 1)
    assert "└─ Contact" in str(metadata["hierarchy"].value)
    assert "Zip" in str(metadata["would change"].value)

    told = isync("scan", "world", "--json", "--samples", "0")
    assert told.exit_code == Exit.OK
    found = json.loads(told.output)
    number = found["scan"]
    assert number >= 2  # the scans of this module's other tests count too
    assert {row["object"]: row["decisions"] for row in found["phases"][0]["objects"]} == {
        "Account": {"insert": 2, "update": 1},
        "Contact": {"insert": 2},
    }
    forecast = json.loads(isync("forecast", "world", "--json").output)
    assert (forecast["scan"], forecast["learned_from"], forecast["past"]) == (number, 0, [])
    assert {row["limit"] for row in forecast["against"]} >= {"DailyApiRequests", "DataStorageMB"}
    assert isync("runs", "world").exit_code == Exit.OK
    assert world.counts("Account", "Contact") == {"Account": 1, "Contact": 0}


def test_a_scan_that_finds_what_would_stop_a_run_says_so_by_its_exit_code(world: World) -> None:
    world.execute("source", """UPDATE "Account" SET "Key__c" = 'a0'""")
    try:
        stopped = isync("scan", "world")
    finally:
        for number in range(3):
            world.execute(
                "source", f"""UPDATE "Account" SET "Key__c" = 'a{number}' WHERE "Name" = 'Account {number}'"""
            )
    assert stopped.exit_code == Exit.VERIFICATION, stopped.output
    assert "match key is not unique in the source" in flat(stopped)


def test_inventory(world: World, tmp_path: Path) -> None:
    file = tmp_path / "objects.csv"
    shown = isync("inventory", "source", "--csv", str(file))
    assert shown.exit_code == Exit.OK, shown.output
    assert "Account 3" in flat(shown)
    with file.open() as opened:
        rows = {row["object"]: row for row in csv.DictReader(opened)}
    assert rows["Contact"]["records"] == "2" and rows["Contact"]["templates"] == "world"
    assert rows["Beta__c"]["looks"] == "empty"
    told = json.loads(isync("inventory", "source", "--json").output)
    assert {entry["object"]: entry["records"] for entry in told["objects"]}["Account"] == 3
    assert isync("inventory", "nobody").exit_code == Exit.CONFIGURATION
