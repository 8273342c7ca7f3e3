"""Rollback of a run that was retried or cleaned up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import StoreError
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration import closing
from isync_dagster.migration.cleanup import Kind, apply_cleanup, plan_cleanup
from isync_dagster.migration.explain import explain
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.retry import retry
from isync_dagster.migration.rollback import plan_rollback, rollback
from isync_dagster.migration.writing import release_all
from isync_dagster.template.models import Retention
from isync_dagster_tests.migration.test_rollback import tables, undo
from isync_dagster_tests.migration.test_rollback_healed import KEYS, Before, refusing
from isync_dagster_tests.migration.world import (
    World,
    current,
    migrate,
    rows_of,
    some,
    template,
    together,
)

# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────


def _refused_rows() -> DataSet:
    """a1 is refused until its code is free; what hangs on it waits or is blocked. a3 is in the target and changes."""
    return together(
        some("Account", 4, Code__c=lambda n: "x" if n < 2 else None, ParentId=lambda n: "a1" if n in (2, 3) else None),
        some("Contact", 3, AccountId=lambda n: f"a{n}", ReportsToId=lambda n: "c1" if n == 2 else None),
        some("Part__c", 4, Account__c=lambda n: f"a{n % 2}"),
    )


def _retrying() -> Any:
    return template(("Account", "Contact", "Part__c"), KEYS, continue_on_error=True)


@pytest.fixture(scope="module")
def kept_retry(served_world: World) -> tuple[Callable[[], None], Before]:
    world = served_world
    there = rows_of("Account", [{"Key__c": "a3", "Name": "Theirs", "Zip__c": "9"}])
    world.reset(_refused_rows(), there)
    before = tables(world)
    done = migrate(world.job(_retrying()))
    assert done.states("Account") == {"failed": 1, "inserted": 2, "updated": 1}
    world.execute("source", """UPDATE "Account" SET "Code__c" = 'free' WHERE "Key__c" = 'a1'""")
    release_all()
    told = retry(world.job(_retrying()), extract_again=True)
    assert told.states == {"Account": {"inserted": 1}, "Part__c": {"inserted": 2}}
    assert told.relinked["Account"] == 2
    return world.checkpoint(), before


@pytest.fixture
def retried(served_world: World, kept_retry: tuple[Callable[[], None], Before]) -> tuple[World, Before]:
    """A closed run of which a retry has inserted, updated and linked what was refused."""
    kept_retry[0]()
    return served_world, kept_retry[1]


def test_what_a_retry_brought_is_undone_with_its_run(
    retried: tuple[World, Before], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, before = retried
    # Without the times of sending: the stamps alone tell that the retry's own writes are no conflict.
    monkeypatch.setattr(closing, "MARGIN", timedelta(seconds=-3600))
    job = world.job(_retrying())
    assert {"retry-1", "retry-1-relink"} <= {step for step, _ in current(job).ledgers()}
    (plan,) = plan_rollback(job)
    assert plan.in_conflict == 0, plan
    result = undo(job)
    assert result.complete
    assert tables(world) == before
    (only,) = [item for item in explain(job.store, world.ids("source", "Account")["a1"]) if item.object == "Account"]
    (visit,) = only.visits
    assert [event.state for event in visit.events][-1] == "deleted"
    assert visit.events[-1].stage == "rollback-1"
    assert visit.events[-1].sent_at is not None
    assert [event.sent_at is None for event in visit.events if event.stage == "retry-1-relink"] == []


def test_a_change_between_the_end_and_a_retry_is_still_a_change(world: World) -> None:
    """The stamps of what the retry did not write are not read anew."""
    world.reset(some("Account", 3, Code__c=lambda n: "x" if n < 2 else None))
    assert migrate(world.job(_retrying())).states("Account") == {"failed": 1, "inserted": 2}
    ids = world.ids("target", "Account")
    world.execute(
        "target",
        f"""UPDATE "Account" SET "Name" = 'Mine', "SystemModstamp" = "SystemModstamp" + INTERVAL 1 HOUR,
        "LastModifiedDate" = "LastModifiedDate" + INTERVAL 1 HOUR WHERE "Id" = '{ids["a2"]}'""",
    )
    world.execute("target", """UPDATE "Account" SET "Code__c" = 'y' WHERE "Key__c" = 'a0'""")
    release_all()
    assert retry(world.job(_retrying())).states == {"Account": {"inserted": 1}}
    result = undo(world.job(_retrying()))
    assert result.codes["Account"] == {"CHANGED_SINCE": 1}
    assert list(world.ids("target", "Account")) == ["a2"]


# ── a retry long after the end ───────────────────────────────────────────────────────────────────────────


def test_a_later_retry_proves_what_it_rests_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parent that was deleted meanwhile is no parent: its child waits for it, instead of being refused."""
    world.reset(together(some("Account", 2), some("Contact", 2, AccountId=lambda n: f"a{n}")))
    with monkeypatch.context() as patch:
        refusing(patch, "Contact", pl.col("Key__c") == "c1")
        assert migrate(world.job(_retrying())).states("Contact") == {"failed": 1, "inserted": 1}
    release_all()
    world.delete("Account", "a1")
    told = retry(world.job(_retrying()))
    assert told.states == {"Contact": {"inserted": 1}}
    assert world.values("target", "Contact", "AccountId") == {"c0": "a0", "c1": None}
    pending = told and world.job(_retrying()).store.pending(*_orgs(world)).open("Contact").collect()
    assert pending["source_id"].to_list() == [world.ids("source", "Contact")["c1"]]


def _orgs(world: World) -> tuple[str, str]:
    plan = world.plan(_retrying())
    return plan.source_org_id, plan.target_org_id


# ── a run that was cleaned up, and one that is stopped ───────────────────────────────────────────────────


def _clean(world: World, job: SyncJob, **kept: int) -> None:
    later = replace(job.store, clock=lambda: job.store.clock() + timedelta(days=100))
    rules = {"world": Retention(**{**dict.fromkeys(Kind, 9999), **kept})}
    removed = apply_cleanup(plan_cleanup(later, rules), "test")
    assert {str(item.kind) for item in removed.removals} == set(kept)


def test_a_cleaned_run_is_undone_while_what_tells_is_kept(retried: tuple[World, Before]) -> None:
    world, before = retried
    job = world.job(_retrying())
    _clean(world, job, rows=1)
    with pytest.raises(StoreError, match=r"A retry of run 1 of phase 'all' is not possible any more: .*rows"):
        retry(world.job(_retrying()))
    result = undo(world.job(_retrying()))
    assert result.complete
    assert tables(world) == before
    # By the run's own log: the source holds another test's records by now.
    (run,) = job.store.runs(job.key).list()
    source_id = run.audit("Account").latest().sort("source_id").collect()["source_id"][0]
    assert any(event.stage == "rollback-1" for item in explain(job.store, source_id) for event in item.visits[0].events)


@pytest.mark.parametrize("kind", ["audit_log", "before_images"])
def test_a_run_whose_memory_is_gone_is_not_undone(retried: tuple[World, Before], kind: str) -> None:
    world, _ = retried
    job = world.job(_retrying())
    there = tables(world)
    _clean(world, job, **{kind: 1})
    for verb in (plan_rollback, rollback):
        with pytest.raises(
            StoreError, match=r"A rollback of run 1 of phase 'all' is not possible any more: .*isync hold"
        ):
            verb(world.job(_retrying()))
    assert tables(world) == there
