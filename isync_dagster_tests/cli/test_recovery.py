"""Refused, unsettled, aborted and killed runs on the command line, with two real local orgs and a Dagster instance."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import Result

from isync_dagster.cli.console import Exit
from isync_dagster.salesforce.bulk_ingest import BulkIngest
from isync_dagster.store.store import Store
from isync_dagster_tests.cli.served import isync, make_served_project
from isync_dagster_tests.migration.world import World, serving_world, some, template, together


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two orgs, and a project with a Dagster home that all tests of the module share."""
    folder = tmp_path_factory.mktemp("world")
    with serving_world(folder) as made, pytest.MonkeyPatch.context() as patch:
        make_served_project(folder, made, patch)
        patch.delenv("COLUMNS", raising=False)
        yield made


@pytest.fixture
def world(served_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    served_world.reset(
        together(
            some("Account", 4, Code__c=lambda n: "x" if n < 2 else None),
            some("Contact", 2, AccountId=lambda n: f"a{n}"),
        )
    )
    monkeypatch.setenv("ISYNC_STORE", str(served_world.store_folder))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.chdir(served_world.folder)
    monkeypatch.delitem(sys.modules, "isync_dagster.definitions", raising=False)
    _write(served_world)
    return served_world


def _write(world: World, names: tuple[str, ...] = ("Account", "Contact"), **settings: Any) -> None:
    # What a test changes in the target by hand is no part of what it asks.
    settings.setdefault("validation", {"exclude_fields": {"Account": ["Code__c", "Name"]}})
    found = template(names, {"Account": {"exclude_fields": ["RecordTypeId"]}}, **settings)
    text = json.dumps(found.model_dump(mode="json", exclude_unset=True))
    (world.folder / "templates" / "world.yaml").write_text(text)


def flat(result: Result) -> str:
    return " ".join(result.output.split())


def _lease(world: World) -> Any:
    return Store.open(str(world.store_folder)).lease(world.target.org_id)


@pytest.mark.slow
def test_a_refused_row_stops_the_run_and_a_retry_brings_it(world: World) -> None:
    stopped = isync("migrate", "world")
    assert stopped.exit_code == Exit.REJECTED, stopped.output
    text = flat(stopped)
    assert "was stopped: Account: 1 rows were refused, 0 are allowed, and continue on error is off" in text
    for way in ("isync retry world --phase all", "isync migrate world --phase all", "isync rollback world --phase all"):
        assert way in text
    assert world.counts("Account", "Contact") == {"Account": 3, "Contact": 0}
    again = isync("retry", "world")
    assert again.exit_code == Exit.REJECTED, again.output
    assert "Account rejected_rows" in flat(again)
    world.execute("target", """UPDATE "Account" SET "Code__c" = 'y' WHERE "Key__c" = 'a0'""")
    told = isync("retry", "world", "--code", "DUPLICATE_VALUE", "--object", "Account")
    assert told.exit_code == Exit.OK, told.output
    assert "Run 1 of phase all is open: `isync migrate world --phase all` goes on with it" in flat(told)
    assert world.counts("Account") == {"Account": 4}
    with dg.DagsterInstance.get() as instance:
        assert instance.get_runs(limit=1)[0].job_name == "retry_world"
    done = isync("migrate", "world")
    assert done.exit_code == Exit.OK, done.output
    assert world.values("target", "Contact", "AccountId") == {"c0": "a0", "c1": "a1"}
    nothing = isync("retry", "world")
    assert nothing.exit_code == Exit.OK, nothing.output
    assert "Nothing to retry" in flat(nothing)


@pytest.mark.slow
def test_rows_of_unknown_outcome_are_settled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(world, ("Account",), continue_on_error=True)
    read = BulkIngest.results
    lost = False

    def loses_once(bulk: BulkIngest, job_id: str, kind: Any, to: Path, *, expected: int | None = None) -> int:
        nonlocal lost
        if kind == "successful" and not lost:
            lost = True
            world.execute("target", """UPDATE "Account" SET "Name" = 'Renamed' WHERE "Key__c" = 'a3'""")
            return 0
        return read(bulk, job_id, kind, to, expected=expected)

    with monkeypatch.context() as patch:
        patch.setattr(BulkIngest, "results", loses_once)
        stopped = isync("migrate", "world")
    assert stopped.exit_code == Exit.FAILED
    assert "`isync settle world --phase all` shows them" in flat(stopped)
    source, target = world.ids("source", "Account")["a3"], world.ids("target", "Account")["a3"]
    shown = isync("settle", "world", "--export", "unknown.csv")
    assert shown.exit_code == Exit.FAILED
    assert source in shown.output and target in shown.output
    assert "Name=Account 3" in shown.output
    assert source in (world.folder / "unknown.csv").read_text()
    wrong = isync("settle", "world", "--row", source, "--as", "sent:001000000000ZZZAAA")
    assert wrong.exit_code == Exit.CONFIGURATION
    assert "The target has no Account 001000000000ZZZAAA" in flat(wrong)
    settled = isync("settle", "world", "--row", source, "--as", f"sent:{target}")
    assert settled.exit_code == Exit.OK, settled.output
    assert "No row of unknown outcome is left" in flat(settled)
    assert isync("migrate", "world").exit_code == Exit.REJECTED, (
        "the run goes on; the refused row is accepted by nobody"
    )
    assert world.counts("Account") == {"Account": 3}


@pytest.mark.slow
def test_a_second_writer_is_told_who_writes(world: World) -> None:
    with _lease(world).acquire("other/all/1", "somebody else"):
        refused = isync("migrate", "world")
    assert refused.exit_code == Exit.FAILED
    assert f"Target org {world.target.org_id} is being written to by somebody else (other/all/1)" in flat(refused)
    assert world.counts("Account") == {"Account": 0}


def _start(world: World, fault: dict[str, Any]) -> subprocess.Popen[str]:
    """`isync migrate` in a process of its own, once it has met the fault."""
    world.faults("target", fault)
    started = subprocess.Popen(
        [sys.executable, "-m", "isync_dagster.cli", "migrate", "world"],
        cwd=world.folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not world.met("target"):
        assert started.poll() is None, started.communicate()[0]
        time.sleep(0.05)
    return started


@pytest.mark.slow
def test_abort_reaches_a_worker_in_another_process(world: World) -> None:
    started = _start(world, {"kind": "delay", "path": "POST .*/jobs/ingest$", "seconds": 3})
    told = isync("abort", "world", "--why", "wrong template")
    out, _ = started.communicate(timeout=120)
    assert told.exit_code == Exit.OK, told.output
    assert "waiting for Dagster run" in flat(told)
    assert "Run 1 of world, phase all, is stopped" in flat(told)
    assert "4 pending" in flat(told)
    assert started.returncode == Exit.FAILED
    assert "was stopped by isync abort on the command line: wrong template" in " ".join(out.split())
    assert world.counts("Account") == {"Account": 0}
    assert isync("abort", "world", "--phase", "all").exit_code == Exit.OK, "twice does no harm"


@pytest.mark.slow
def test_what_a_killed_process_left_is_reaped_by_the_next_start(world: World) -> None:
    _write(world, continue_on_error=True)
    started = _start(world, {"kind": "delay", "path": "GET .*/jobs/ingest/[^/]*$", "seconds": 30})
    os.kill(started.pid, signal.SIGKILL)
    started.communicate(timeout=60)
    with dg.DagsterInstance.get() as instance:
        left = instance.get_runs(limit=1)[0]
        assert left.status is dg.DagsterRunStatus.STARTED
        assert left.run_id in instance.event_log_storage.get_concurrency_run_ids()
    assert _lease(world).holder() is not None
    world.faults("target")
    # As the person who finds it would: the same command again, in a process of its own.
    done = subprocess.run(
        [sys.executable, "-m", "isync_dagster.cli", "migrate", "world"],
        cwd=world.folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == Exit.REJECTED, done.stdout
    with dg.DagsterInstance.get() as instance:
        ended = instance.get_run_by_id(left.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.FAILURE
        assert left.run_id not in instance.event_log_storage.get_concurrency_run_ids()
    # One run of the store, gone on with; nothing was sent twice.
    assert world.counts("Account", "Contact") == {"Account": 3, "Contact": 2}
    assert _lease(world).holder() is None
