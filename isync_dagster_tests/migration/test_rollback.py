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
    send,
    some,
    template,
    together,
)

STAMPED = ("LastModifiedDate", "LastModifiedById", "SystemModstamp")


def keyed(*names: str, **more: Any) -> Template:
    """A template over these objects that matches by Key__c."""
    own: dict[str, dict[str, Any]] = {name: {"match_key": "Key__c"} for name in names if name != "Node__c"}
    return template(names, own, **more)


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
                {
                    "Key__c": "c3",
                    "LastName": "Old",
                    "Email": "old@example.com",
                    "AccountId": "a9",
                    "ReportsToId": "mine",
                },
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


def test_everything_is_as_it_was_and_the_next_run_arrives_whole(world: World) -> None:
    world.reset(rich_data(), existing())
    before = tables(world)
    first = migrate(world.job(keyed(*EVERYTHING)))
    assert first.failed() == []
    arrived = {name: world.picture("target", name) for name in EVERYTHING}
    assert tables(world) != before

    job = world.job(keyed(*EVERYTHING))
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

    again = migrate(world.job(keyed(*EVERYTHING)))
    assert again.failed() == []
    assert_laws(again)
    assert current(again.job).number == 2
    assert {name: again.states(name) for name in EVERYTHING} == {name: first.states(name) for name in EVERYTHING}
    assert {name: world.picture("target", name) for name in EVERYTHING} == arrived


# ── runs and phases ──────────────────────────────────────────────────────────────────────────────────────


PHASES = [{"name": "one", "lines": ["Account", "Memo__c"]}, {"name": "two", "lines": ["Contact"], "after": ["one"]}]


def two_phases() -> Template:
    return keyed("Account", "Contact", "Memo__c", phases=PHASES)


def test_later_phases_are_named_and_undone_first(world: World) -> None:
    data = together(
        some("Account", 3, ParentId=lambda n: f"a{n - 1}" if n else None),
        some("Contact", 3, AccountId=lambda n: f"a{n}"),
        some("Memo__c", 2, WhatId=lambda n: ("a1", "c1")[n]),
    )
    world.reset(data, rows_of("Account", [{"Key__c": "a1", "Name": "Theirs"}]))
    before = tables(world)
    recipe = two_phases()
    for phase in ("one", "two"):
        assert migrate(world.job(recipe, phase)).failed() == []
    with pytest.raises(ConfigError, match=r"phase 'two' run 1 .closed. came later.*--include-later"):
        rollback(world.job(recipe, "one"))
    job = world.job(recipe, "one")
    plans = plan_rollback(job, include_later=True)
    assert [(plan.phase, plan.total("delete"), plan.in_conflict) for plan in plans] == [("two", 3, 0), ("one", 4, 0)]
    pending = job.store.pending(job.plan.source_org_id, job.plan.target_org_id)
    # Phase two brought the contact that a memo of phase one had waited for.
    assert pending.open("Memo__c").collect().is_empty()
    assert world.values("target", "Memo__c", "WhatId") == {"m0": "a1", "m1": "c1"}
    release_all()
    results = rollback(job, include_later=True)
    assert [(result.phase, result.complete) for result in results] == [("two", True), ("one", True)]
    assert tables(world) == before
    assert pending.open("Memo__c").collect().is_empty()
    with pytest.raises(ConfigError, match="nothing to roll back: all its runs are rolled back"):
        rollback(job)
    # Phase two comes after phase one, which is not done any more.
    with pytest.raises(ConfigError, match="is rolled_back"):
        migrate(world.job(recipe, "two"))
    for phase in ("one", "two"):
        done = migrate(world.job(recipe, phase))
        assert done.failed() == []
    assert world.counts("Account", "Contact") == {"Account": 3, "Contact": 3}


def test_runs_are_undone_newest_first_each_to_what_it_found(world: World) -> None:
    world.reset(some("Account", 4, Size__c=lambda n: str(n)), rows_of("Account", [{"Key__c": "a0", "Name": "Theirs"}]))
    recipe = keyed("Account")
    states = [tables(world)]
    migrate(world.job(recipe))
    states.append(tables(world))
    world.execute("source", "UPDATE Account SET Size__c = 77 WHERE Key__c IN ('a0', 'a2')")
    assert migrate(world.job(recipe)).states("Account") == {"identical": 2, "updated": 2}
    assert tables(world) != states[-1]
    with pytest.raises(ConfigError, match=r"run 2 .closed. came later"):
        rollback(world.job(recipe), 1)
    with pytest.raises(ConfigError, match=r"no run 3 .there are: 1, 2."):
        rollback(world.job(recipe), 3)
    job = world.job(recipe)
    assert undo(job).states == {"Account": {"updated": 2}}
    assert tables(world) == states.pop()
    # What the first run knew before the second one is known still.
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    assert id_map.read("Account").collect().height == 4
    # Its own restores are no change by somebody else.
    assert undo(job).states == {"Account": {"deleted": 3, "updated": 1}}
    assert tables(world) == states.pop()
    assert id_map.read("Account").collect().is_empty()


def test_an_open_run_is_not_rolled_back_an_abandoned_one_is(world: World) -> None:
    data = together(some("Account", 4), some("Contact", 3, AccountId=lambda n: f"a{n}"))
    world.reset(data, rows_of("Account", [{"Key__c": "a0", "Name": "Theirs"}]))
    before = tables(world)
    recipe = keyed("Account", "Contact")
    job = world.job(recipe)
    send(job)
    with pytest.raises(ConfigError, match=r"is open: it may still write.*isync runs abandon"):
        rollback(job)
    current(job).abandon("a change of mind")
    assert undo(world.job(recipe)).complete
    assert tables(world) == before
