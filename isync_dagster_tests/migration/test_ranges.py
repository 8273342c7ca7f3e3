"""Huge objects are read in ranges of ids: every row once, whatever the ids, also by a process that goes on with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from isync_dagster.errors import RequestError, TransientError
from isync_dagster.migration import ranges, reading
from isync_dagster.migration.extract import extract, extracted
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.ranges import DIGITS, choose
from isync_dagster.records.ids import to18
from isync_dagster.salesforce import bulk_query
from isync_dagster.salesforce.org import Org
from isync_dagster.store import files
from isync_dagster_tests.migration.world import World, current, serving_world, some, template, together

JOBS = "POST .*/jobs/query$"
OPTIONS: dict[str, Any] = {"split_rows": 10, "parallel_ranges": 1}
PODS = ("0010000000", "0015g00000", "001Zz0000z")


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(autouse=True)
def by_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are read as many would be."""
    monkeypatch.setattr(reading, "REST_ROWS", 0)
    monkeypatch.setattr(bulk_query, "IN_ONE", 0)
    monkeypatch.setattr(bulk_query, "CELLS_A_PAGE", 0)


def _ids(*numbers: tuple[int, int]) -> list[str]:
    """18-character ids of accounts: (pod, number in it)."""
    short = [f"{PODS[pod]}{number // 62:04d}{DIGITS[number % 62]}" for pod, number in numbers]
    return pl.DataFrame({"id": short}).select(to18(pl.col("id")))["id"].to_list()


def _mixed(world: World) -> list[str]:
    """Accounts of three pods, far from each other: 25 side by side, 9 far apart, 1 by itself."""
    ids = _ids(*((1, n) for n in range(25)), *((0, n * 977) for n in range(9)), (2, 7))
    world.source.load("Account", pl.DataFrame({"Id": ids, "Name": [f"Account {n}" for n in range(len(ids))]}))
    return ids


def _job(world: World, *names: str, **options: Any) -> SyncJob:
    listed = names or ("Account",)
    return world.job(template(listed), **{**OPTIONS, **options})


def _found(job: SyncJob, name: str = "Account") -> list[str]:
    return sorted(extracted(current(job), job.object(name)).select("Id").collect()["Id"])


def _folder_names(job: SyncJob, start: str) -> list[str]:
    folder = current(job).extract_folder("Account")
    return sorted(name for name in files.names(folder) if name.startswith(start))


@pytest.mark.parametrize("parallel", [1, 3])
def test_every_row_is_read_once_whatever_its_pod(world: World, parallel: int) -> None:
    world.reset()
    ids = _mixed(world)
    job = _job(world, parallel_ranges=parallel)
    world.watch("source", JOBS)
    outcome = extract(job, "Account")
    assert _found(job) == sorted(ids)
    assert outcome.rows == len(ids) == 35
    count = len(_folder_names(job, "range-"))
    assert 4 <= count <= 7
    assert world.met("source") == count
    assert f"read by Bulk 2.0 in {count} ranges of ids" in outcome.notes
    kept = files.read_json(current(job).extract_folder("Account") / "ranges.json")
    assert kept is not None
    assert sum(item["rows"] for item in kept["ranges"]) == 35
    assert all(0 < item["rows"] <= 10 for item in kept["ranges"])


def test_below_the_threshold_nothing_changes(world: World) -> None:
    world.reset(some("Account", 10))
    calls = []
    for most in (10, 2_000_000):
        world.clear_target()
        job = _job(world, split_rows=most)
        before = job.source.calls
        extract(job, "Account")
        calls.append(job.source.calls - before)
        assert _folder_names(job, "range") == []
        assert len(_found(job)) == 10
    # Further looks at a job depend on the clock.
    assert abs(calls[0] - calls[1]) <= 1
    assert calls[0] < 15


def test_the_scope_holds_in_each_range_and_ties_do_no_harm(world: World) -> None:
    """All rows are of one moment, so that no date could part them; the condition has an OR, which must not leak."""
    world.reset(together(some("Account", 60, Zip__c=lambda n: str(n % 3))))
    with world.source.storage.transaction() as cursor:
        cursor.execute('UPDATE "Account" SET "CreatedDate" = (SELECT min("CreatedDate") FROM "Account")')
    condition = {"Account": {"where": "Zip__c = '1' OR Zip__c = '2'"}}
    job = world.job(template(["Account"], conditions=condition), **OPTIONS)
    assert extract(job, "Account").rows == 40
    assert len(_folder_names(job, "range-")) >= 4
    zips = extracted(current(job), job.object("Account")).select(pl.col("Zip__c").unique().sort()).collect()["Zip__c"]
    assert zips.to_list() == ["1", "2"]


def test_an_object_with_a_polymorphic_lookup(world: World) -> None:
    parents = lambda n: (f"a{n % 4}", f"c{n % 4}", None)[n % 3]  # noqa: E731
    world.reset(together(some("Account", 4), some("Contact", 4), some("Memo__c", 31, WhatId=parents)))
    job = _job(world, "Account", "Contact", "Memo__c")
    assert extract(job, "Memo__c").rows == 31
    assert _found(job, "Memo__c") == sorted(world.ids("source", "Memo__c").values())


def test_a_line_with_a_limit_is_one_query(world: World) -> None:
    world.reset(some("Account", 30))
    job = world.job(template(["Account"], conditions={"Account": {"limit": 25, "order_by": "Name"}}), **OPTIONS)
    assert extract(job, "Account").rows == 25
    assert _folder_names(job, "range") == []


def test_a_killed_read_goes_on_with_the_ranges_that_are_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reset()
    ids = _mixed(world)
    write, done = files.write_json, 0

    def killed(path: Any, data: Any) -> None:
        nonlocal done
        if path.name.startswith("range-"):
            done += 1
            if done == 3:
                raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(files, "write_json", killed)
    job = _job(world)
    with pytest.raises(KeyboardInterrupt):
        extract(job, "Account")
    monkeypatch.setattr(files, "write_json", write)
    assert len(_folder_names(job, "range-")) == 2
    began = {
        name: files.read_json(current(job).extract_folder("Account") / name) for name in _folder_names(job, "cursor")
    }
    assert len(began) == 3
    world.watch("source", JOBS)
    # Another size now: what was chosen holds.
    resumed = _job(world, split_rows=3)
    extract(resumed, "Account")
    assert _found(resumed) == sorted(ids)
    count = len(_folder_names(resumed, "range-"))
    # The third range was read and not noted: its job and pages are used again.
    assert world.met("source") == count - 3
    for name, cursor in began.items():
        assert files.read_json(current(resumed).extract_folder("Account") / name) == cursor


def test_rows_that_are_deleted_meanwhile_are_no_loss_and_lost_ones_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reset()
    ids = _mixed(world)
    by_bulk = reading._by_bulk

    def deleting(job: SyncJob, *rest: Any) -> tuple[int, int, str]:
        world.execute("source", f"""UPDATE "Account" SET "IsDeleted" = true WHERE "Id" = '{ids[0]}'""")
        return by_bulk(job, *rest)

    monkeypatch.setattr(reading, "_by_bulk", deleting)
    assert extract(_job(world), "Account").rows == 34

    world.clear_target()

    def losing(job: SyncJob, *rest: Any) -> tuple[int, int, str]:
        rows, size, by = by_bulk(job, *rest)
        return rows - 1, size, by

    monkeypatch.setattr(reading, "_by_bulk", losing)
    with pytest.raises(TransientError, match=r"rows are counted, \d+ came"):
        extract(_job(world), "Account")


def test_an_object_whose_ids_cannot_be_ranged_over_is_read_as_a_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reset(some("Account", 30))

    def refused(*_: Any) -> str:
        raise RequestError("Id cannot be sorted", code="MALFORMED_QUERY", status=400)

    monkeypatch.setattr(ranges, "_end", refused)
    job = _job(world)
    assert extract(job, "Account").rows == 30
    assert _folder_names(job, "range") == []


# ── the choice, without an org ───────────────────────────────────────────────────────────────────────────


class _Ids:
    """What `choose` asks of an org, answered from a list of ids."""

    alias = "ids"

    def __init__(self, ids: list[str]) -> None:
        self.ids = sorted(ids)
        self.calls = 0

    def _within(self, condition: str) -> list[str]:
        found = self.ids
        for sign, value in re.findall(r"Id (>=|>|<=) '(\w+)'", condition):
            short = value[:15]
            held = {">=": short.__le__, ">": short.__lt__, "<=": short.__ge__}[sign]
            found = [item for item in found if held(item)]
        return found

    def count(self, _: str, where: str | None) -> int:
        self.calls += 1
        return len(self._within(where or ""))

    def query(self, soql: str) -> pl.DataFrame:
        self.calls += 1
        found = self._within(soql)
        return pl.DataFrame({"Id": [found[0 if " ASC " in soql else -1]]})


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9_000)), min_size=1, max_size=120, unique=True),
    st.integers(1, 40),
)
@example([(0, 620), (0, 621)], 1)
def test_the_ranges_hold_every_id_once(numbers: list[tuple[int, int]], most: int) -> None:
    ids = _Ids([record_id[:15] for record_id in _ids(*numbers)])
    chosen = choose(cast(Org, ids), "Account", "", most)
    asked = ids.calls
    assert [len(ids._within(item.within(""))) for item in chosen] == [item.rows for item in chosen]
    assert sum(item.rows for item in chosen) == len(ids.ids)
    assert all(0 < item.rows <= most for item in chosen) or len(chosen) >= len(ids.ids) // most
    assert (chosen[0].above, chosen[-1].upto) == (None, None)
    assert [item.above for item in chosen[1:]] == [item.upto for item in chosen[:-1]]
    assert asked <= 3 + 3 * ranges.CUTS * -(-len(ids.ids) // most)


def test_of_nothing_there_are_no_ranges() -> None:
    assert choose(cast(Org, _Ids([])), "Account", "", 10) == []
