"""After a rollback the target holds what it held before the run, and the next run arrives whole."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.rollback import plan_rollback, rollback
from isync_dagster.migration.rollback_model import RollbackResult
from isync_dagster.migration.writing import release_all
from isync_dagster.store.rollbacks import rollbacks
from isync_dagster.template import Template
from isync_dagster_tests.migration.world import (
    EVERYTHING,
    HOSTILE,
    World,
    assert_laws,
    current,
    migrate,
    rich_data,
    rows_of,
    some,
    template,
    together,
)

STAMPED = ("LastModifiedDate", "LastModifiedById", "SystemModstamp")
BY_KEY: dict[str, dict[str, Any]] = {name: {"match_key": "Key__c"} for name in EVERYTHING if name != "Node__c"}


def tables(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """Every record of the target that is not deleted, with every column but those that say when it was last touched."""
    found = {}
    for name in EVERYTHING:
        table = world.target.table(name).filter(~pl.col("IsDeleted")).drop(STAMPED).sort("Id")
        found[name] = [tuple(zip(table.columns, row, strict=True)) for row in table.rows()]
    return found


def existing() -> DataSet:
    """What the target holds before: some records that the run will match and change, in lookups and cycles too."""
    return together(
        rows_of(
            "Account",
            [
                {
                    "Key__c": f"a{n}",
                    "Name": f"Theirs {n}",
                    "Remarks__c": HOSTILE[n % 9] if n != 9 else None,
                    "ParentId": "a9" if n == 1 else None,
                    "Rating__c": "Warm" if n % 2 else None,
                    "Size__c": f"{n}.75" if n else None,
                    "Active__c": "true" if n % 3 else "false",
                    "Met__c": "2011-01-02T03:04:05.000Z" if n else None,
                    "Industry": "Energy" if n == 3 else None,
                }
                for n in (0, 1, 2, 3, 4, 9)
            ],
        ),
        rows_of(
            "Contact",
            [
                {"Key__c": "c3", "LastName": "Old", "Email": "old@example.com", "AccountId": "a9", "ReportsToId": "mine"},
                {"Key__c": "mine", "LastName": "Mine", "AccountId": "a9", "ReportsToId": None},
                {"Key__c": "c4", "LastName": "Person 4", "AccountId": None, "ReportsToId": None},
            ],
        ),
        rows_of("Alpha__c", [{"Key__c": "al1", "Name": "A old", "Beta__c": None}]),
        rows_of("Part__c", [{"Key__c": "pa1", "Name": "P1", "Account__c": "a9", "Amount__c": None}]),
    )


def undo(job: SyncJob, **options: Any) -> RollbackResult:
    """One run rolled back."""
    release_all()
    (result,) = rollback(job, **options)
    return result


def full(**more: Any) -> Template:
    return template(objects=BY_KEY, **more)


def test_everything_is_as_it_was_and_the_next_run_arrives_whole(world: World) -> None:
    world.reset(rich_data(), existing())
    before = tables(world)
    first = migrate(world.job(full()))
    assert first.failed() == []
    arrived = {name: world.picture("target", name) for name in EVERYTHING}
    assert tables(world) != before

    job = world.job(full())
    (plan,) = plan_rollback(job)
    assert plan.in_conflict == 0
    assert plan.total("delete") == sum(first.states(name).get("inserted", 0) for name in EVERYTHING)
    assert plan.total("restore") == sum(first.states(name).get("updated", 0) for name in EVERYTHING) > 0

    result = undo(job)
    assert tables(world) == before
    assert result.complete
    assert current(job).state == "rolled_back"
    for item in plan.objects:
        states = result.states[item.object]
        assert states.get("deleted", 0) == item.delete
        assert states.get("updated", 0) == item.restore
        assert sum(states.values()) == item.delete + item.restore
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    assert id_map.reverse().collect().is_empty()

    again = migrate(world.job(full()))
    assert again.failed() == []
    assert_laws(again)
    assert current(again.job).number == 2
    assert {name: again.states(name) for name in EVERYTHING} == {name: first.states(name) for name in EVERYTHING}
    assert {name: world.picture("target", name) for name in EVERYTHING} == arrived
    undo(world.job(full()))
    assert tables(world) == before
