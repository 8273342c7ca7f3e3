"""A rollback that is cut off anywhere and begun again ends like one that was never disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, LeaseHeldError, RequestError
from isync_dagster.local_org.seeds.dataset import DataSet, apply
from isync_dagster.migration import rollback as module
from isync_dagster.migration.extract import extract
from isync_dagster.migration.load import load
from isync_dagster.migration.model import State
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.remap import remap
from isync_dagster.migration.rollback import rollback
from isync_dagster.migration.rollback_model import RollbackResult
from isync_dagster.migration.writing import release_all
from isync_dagster.store.ledger import Ledger
from isync_dagster.store.rollbacks import unfinished
from isync_dagster_tests.migration.test_rollback import keyed, tables, undo
from isync_dagster_tests.migration.world import World, current, migrate, rows_of, send, some, template, together

OPTIONS: dict[str, Any] = {"collections_rows": 0}


class Crash(BaseException):
    """The process is gone."""


def _data() -> DataSet:
    return together(some("Account", 5), some("Contact", 4, AccountId=lambda n: f"a{n}"))


def _there() -> DataSet:
    return rows_of("Account", [{"Key__c": f"a{n}", "Name": f"Theirs {n}", "Zip__c": "0"} for n in range(2)])


Before = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def first(served_world: World) -> tuple[Callable[[], None], Before]:
    """One migration, and the target before it."""
    served_world.reset(_data(), _there())
    before = tables(served_world)
    migrate(served_world.job(keyed("Account", "Contact")))
    return served_world.checkpoint(), before


@pytest.fixture
def migrated(served_world: World, first: tuple[Callable[[], None], Before]) -> tuple[World, Before]:
    """The world as the migration left it, and the target before it."""
    back, before = first
    back()
    return served_world, before


def _undone(result: RollbackResult) -> None:
    assert result.complete
    assert result.states == {"Contact": {"deleted": 4}, "Account": {"deleted": 3, "updated": 2}}


def test_a_crash_before_and_after_every_transition_one_after_the_other(
    migrated: tuple[World, Before], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, before = migrated
    recipe = keyed("Account", "Contact")
    record, finish = Ledger.record, module.restore_links
    met: set[tuple[Any, ...]] = set()

    def dies(*point: Any) -> None:
        if point not in met:
            met.add(point)
            raise Crash

    def fatal(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        where = (ledger.folder.parent.name, ledger.folder.name, chunk // 100_000, to)
        dies("before", *where)
        recorded = record(ledger, chunk, attempt, to, payload)
        dies("after", *where)
        return recorded

    def effects(*arguments: Any) -> int:
        dies("before", "effects")
        count = finish(*arguments)
        dies("after", "effects")
        return count

    monkeypatch.setattr(Ledger, "record", fatal)
    monkeypatch.setattr(module, "restore_links", effects)
    job, result = world.job(recipe, **OPTIONS), None
    pending = job.store.pending(job.plan.source_org_id, job.plan.target_org_id)
    # So that its last effect has something to look at.
    pending.add("Contact", _link(world), "t", "p", 1, "other")
    while result is None:
        crashes = len(met)
        try:
            result = undo(job)
        except Crash:
            assert len(met) == crashes + 1
            assert unfinished(current(job)) is not None
    _undone(result)
    # Three sendings (accounts restored, both objects deleted) of seven transitions and a job left open; the effects.
    assert len(met) == 2 * (3 * 8 + 1)
    assert tables(world) == before
    assert current(job).state == "rolled_back"
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    assert id_map.reverse().collect().is_empty()
    assert pending.open("Contact").collect().height == 1


def _link(world: World) -> Any:
    ids = world.ids("source", "Contact")
    return pl.DataFrame([{"source_id": ids["c0"], "field": "ReportsToId", "source_parent_id": ids["c1"]}])


def test_a_killed_process(migrated: tuple[World, Before], tmp_path: Path) -> None:
    world, before = migrated
    recipe = keyed("Account", "Contact")
    job = world.job(recipe, **OPTIONS)
    path = tmp_path / "recipe.json"
    path.write_text(
        json.dumps(
            {
                "plan": job.plan.to_json(),
                "store": str(world.store_folder),
                "options": OPTIONS,
                "orgs": {side: world.served[side].credentials() for side in ("source", "target")},
                "kill_at": "rollback-1:closed",
                "verb": "rollback",
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "isync_dagster_tests.migration.killed", str(path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    # Half undone, no new run may begin, and the options of the first try hold.
    with pytest.raises(ConfigError, match=r"begun and is not through.*goes on where it stopped"):
        extract(job, "Account")
    with pytest.raises(ConfigError, match="was begun with --conflicts skip"):
        undo(job, conflicts="force")
    _undone(undo(job))
    assert tables(world) == before
    migrate(world.job(recipe))
    assert world.counts("Account", "Contact") == {"Account": 5, "Contact": 4}


def test_what_a_dead_worker_sent_is_found_and_undone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run died after its rows went out, before anything of them was accounted, and was given up."""
    world.reset(some("Account", 5), _there())
    before = tables(world)
    record = Ledger.record

    def fatal(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        recorded = record(ledger, chunk, attempt, to, payload)
        if to == "closed":
            raise Crash
        return recorded

    job = world.job(keyed("Account"), **OPTIONS, parallel_jobs=1)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", fatal)
        with pytest.raises(Crash):
            send(job)
    release_all()
    current(job).abandon("it died")
    result = undo(job)
    assert result.complete
    assert tables(world) == before
    assert result.count(State.DELETED, State.UPDATED) >= 2


def test_lost_answers_of_the_undo(migrated: tuple[World, Before]) -> None:
    """Updates and deletions that were done while their answer was lost are repeated, which does no harm."""
    world, before = migrated
    recipe = keyed("Account", "Contact")
    world.faults(
        "target",
        {"kind": "drop_after", "path": "DELETE .*/composite/sobjects", "times": 1},
        {"kind": "drop_after", "path": "PATCH .*/composite/sobjects", "times": 1},
    )
    result = undo(world.job(recipe))
    assert world.met("target") == 2
    assert result.complete
    assert tables(world) == before


def test_hard_deleted_records_are_not_in_the_recycle_bin(
    migrated: tuple[World, Before], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = migrated
    recipe = keyed("Account", "Contact")
    before = tables(world)
    with pytest.raises(RequestError, match="requires special user profile permission"):
        undo(world.job(recipe), hard_delete=True)
    assert tables(world) == before
    monkeypatch.setattr(world.target, "settings", replace(world.target.settings, hard_delete=True))
    _undone(undo(world.job(recipe), hard_delete=True))
    assert world.target.table("Contact").is_empty()
    assert world.target.table("Account").height == 2


def test_an_upsert_keeps_what_it_may_find_and_its_repeat_is_still_ours(world: World) -> None:
    """A record that another tool brought with the key is restored; one whose insert was answered late is deleted."""
    recipe = template(["Account"], {"Account": {"migration_key": "Legacy__c"}})
    world.reset(some("Account", 4, Zip__c="1"))

    job = world.job(recipe)
    extract(job, "Account")
    preflight(job)
    remap(job, "Account")
    ids = world.ids("source", "Account")
    later = rows_of("Account", [{"Key__c": "a1", "Name": "Other tool", "Legacy__c": ids["a1"], "Zip__c": "9"}])

    apply(world.target, later, keep_nulls=True)
    before = tables(world)
    world.faults("target", {"kind": "drop_after", "path": "PATCH .*/composite/sobjects", "times": 1})
    load(job, "Account")
    assert world.values("target", "Account", "Zip__c") == dict.fromkeys(["a0", "a1", "a2", "a3"], "1")
    current(job).abandon("undo it")
    result = undo(world.job(recipe))
    assert tables(world) == before
    assert result.states == {"Account": {"deleted": 3, "updated": 1}}


def test_another_writer_is_refused(world: World) -> None:

    world.reset(some("Account", 1))
    recipe = keyed("Account")
    job = world.job(recipe)
    migrate(job)
    with (
        job.store.lease(job.plan.target_org_id).acquire("somebody else", "nightly sync"),
        pytest.raises(LeaseHeldError, match="nightly sync"),
    ):
        rollback(job)
    assert world.counts("Account") == {"Account": 1}
