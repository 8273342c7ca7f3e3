"""The checks fail when they should: a target changed behind their back, an audit log with a hole."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from isync_dagster.migration.checks import check_conservation, verify_target
from isync_dagster.store import files
from isync_dagster_tests.migration.world import (
    Migration,
    World,
    check,
    current,
    migrate,
    rich_data,
    send,
    serving_world,
    template,
)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """One migration that every test here damages and puts right again."""
    with serving_world(tmp_path_factory.mktemp("world")) as world:
        world.reset(rich_data())
        yield world, migrate(world.job(template()))


Damaged = tuple[World, Migration]


def _undone(world: World, sql: str, undo: str, judge: Callable[[], None]) -> None:
    world.execute("target", sql)
    try:
        judge()
    finally:
        world.execute("target", undo)


def test_all_pass_before(done: Damaged) -> None:
    _, migration = done
    assert migration.failed() == []
    assert [key for key, verdict in check(migration.job).items() if not verdict.passed] == []


@pytest.mark.parametrize("value", ["NULL", "'{other}'"])
def test_a_changed_lookup_is_found(done: Damaged, value: str) -> None:
    world, migration = done
    ids = world.ids("target", "Account")

    def judge() -> None:
        _, verdict, *_ = verify_target(migration.job, "Part__c")
        assert not verdict.passed
        assert verdict.numbers["wrong"] == 1
        assert "1 do not" in verdict.text
        (row,) = verdict.table
        assert row["field"] == "Account__c"
        assert row["target"] == world.ids("target", "Part__c")["pa1"]
        assert row["expected"] == ids["a1"]

    change = """UPDATE "Part__c" SET "Account__c" = {} WHERE "Key__c" = 'pa1'"""
    _undone(world, change.format(value.format(other=ids["a5"])), change.format(f"'{ids['a1']}'"), judge)


def test_a_changed_deferred_lookup_is_found(done: Damaged) -> None:
    world, migration = done

    def judge() -> None:
        verdict = verify_target(migration.job, "Account")[2]
        assert not verdict.passed
        assert verdict.numbers["wrong"] == 1
        assert verdict.table[0]["field"] == "ParentId"

    change = """UPDATE "Account" SET "ParentId" = {} WHERE "Key__c" = 'a4'"""
    _undone(world, change.format("NULL"), change.format(f"'{world.ids('target', 'Account')['a2']}'"), judge)


def test_a_deleted_record_is_found(done: Damaged) -> None:
    world, migration = done

    def judge() -> None:
        count, links, *_ = verify_target(migration.job, "Memo__c")
        assert not count.passed
        assert count.numbers["missing"] == 1
        assert count.numbers["found"] == count.numbers["mapped"] - 1
        assert "1 that this run mapped are gone" in count.text
        assert count.table[0]["source_id"] == world.ids("source", "Memo__c")["m0"]
        assert not links.passed

    change = """UPDATE "Memo__c" SET "IsDeleted" = {} WHERE "Key__c" = 'm0'"""
    _undone(world, change.format("true"), change.format("false"), judge)


@pytest.mark.parametrize("harm", ["row removed", "row of nobody", "state unknown"])
def test_a_hole_in_the_audit_log_is_found(done: Damaged, harm: str) -> None:
    _, migration = done
    folder = current(migration.job).audit("Beta__c").folder
    kept = {name: pl.read_parquet(str(folder / name)) for name in files.names(folder)}
    victim = pl.col("source_id") == pl.concat(kept.values())["source_id"].min()
    damages: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
        "row removed": lambda frame: frame.filter(~victim),
        "row of nobody": lambda frame: frame.with_columns(
            source_id=pl.when(victim).then(pl.lit("a0X000000000001AAA")).otherwise("source_id")
        ),
        "state unknown": lambda frame: frame.with_columns(
            state=pl.when(victim).then(pl.lit("unknown")).otherwise("state")
        ),
    }
    damage = damages[harm]
    try:
        for name, frame in kept.items():
            files.write_parquet(folder / name, damage(frame))
        verdict = check_conservation(migration.job, "Beta__c")
    finally:
        for name, frame in kept.items():
            files.write_parquet(folder / name, frame)
    assert not verdict.passed
    expected = {
        "row removed": "1 without a state",
        "row of nobody": "1 not extracted",
        "state unknown": "1 unknown",
    }[harm]
    assert expected in verdict.text
    assert check_conservation(migration.job, "Beta__c").passed


def test_a_run_under_way_is_judged_too(done: Damaged) -> None:
    """Between load and relink every record has a state and every lookup one; what is not relinked says so."""
    world, _ = done
    world.checkpoint()()  # a store of its own: the other tests judge the first run
    job = world.job(template())
    send(job)
    verdicts = check(job)
    assert [key for key, verdict in verdicts.items() if not verdict.passed] == []
    assert {verdict.run for verdict in verdicts.values()} == {2}
