"""One budget a process: shares are waited for, never exceeded, and nothing waits for ever; slices change nothing."""

from __future__ import annotations

import contextvars
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isync_dagster.migration import decisions, reading, relink, slicing
from isync_dagster.migration.contention import measured_order, sorted_by
from isync_dagster.migration.extract import extracted
from isync_dagster.migration.memory import BASE, LEAST, MB, Memory, behind, limit_process, memory
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.remap import remapped, with_default_ids
from isync_dagster.migration.slicing import cut_rows
from isync_dagster.migration.target import match_fields
from isync_dagster.store.runs import Run
from isync_dagster_tests.migration import peak
from isync_dagster_tests.migration.world import (
    STAMPED,
    World,
    current,
    forget_end,
    migrate,
    rich_data,
    send,
    some,
    template,
)

WAIT = 60.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 150), min_size=1, max_size=12))
def test_shares_of_many_threads_never_exceed_the_budget(wanted: list[int]) -> None:
    """Also with shares that are larger than all there is: they get it all, alone."""
    budget, lock = Memory(100), threading.Lock()
    held, most = 0, 0

    def work(size: int) -> int:
        nonlocal held, most
        with budget.share(size) as got:
            with lock:
                held += got
                most = max(most, held)
            with lock:
                held -= got
        return got

    with ThreadPoolExecutor(len(wanted)) as pool:
        got = [future.result(WAIT) for future in [pool.submit(work, size) for size in wanted]]
    assert got == [min(size, 100) for size in wanted]
    assert most <= 100
    assert budget.used == 0


def test_a_big_share_is_not_passed_over_by_small_ones() -> None:
    budget, order = Memory(100), []
    waits, small_done = threading.Event(), threading.Event()

    def big() -> None:
        waits.set()
        with budget.share(100):
            order.append("big")

    def small() -> None:
        with budget.share(10):
            order.append("small")
        small_done.set()

    with budget.share(50):
        one = threading.Thread(target=contextvars.Context().run, args=(big,))
        one.start()
        assert waits.wait(WAIT)
        while not budget.waiting:
            pass
        two = threading.Thread(target=contextvars.Context().run, args=(small,))
        two.start()
        # Ten bytes are free, but somebody was here before.
        while budget.waiting < 2:
            pass
        assert not small_done.is_set()
    one.join(WAIT)
    two.join(WAIT)
    assert order == ["big", "small"]


def test_what_much_waits_for_goes_first_and_what_nothing_waits_for_last() -> None:
    """A share of which nothing is said goes before all; among equals who came first."""
    budget, order = Memory(100), []

    def work(name: str, weight: float | None) -> None:
        with ExitStack() as stack:
            if weight is not None:
                stack.enter_context(behind(weight))
            with budget.share(100):
                order.append(name)

    waiting = [("check", 0.0), ("small remap", 10.0), ("second check", 0.0), ("big remap", 90.0), ("load", None)]
    threads = []
    with budget.share(1):
        for name, weight in waiting:
            threads.append(threading.Thread(target=contextvars.Context().run, args=(work, name, weight)))
            threads[-1].start()
            while budget.waiting < len(threads):
                pass
    for thread in threads:
        thread.join(WAIT)
    assert order == ["load", "big remap", "small remap", "check", "second check"]


def test_a_share_within_a_share_waits_for_nothing() -> None:
    """Also in a thread that works for the one that holds it."""
    budget = Memory(100)

    def within() -> int:
        with budget.share(80) as got:
            return got

    with budget.share(100), ThreadPoolExecutor(1) as pool:
        assert within() == 80
        assert pool.submit(contextvars.copy_context().run, within).result(WAIT) == 80
    assert budget.used == 0


def test_a_share_is_given_back_when_its_block_fails() -> None:
    budget = Memory(100)
    with pytest.raises(ZeroDivisionError), budget.share(100):
        1 / 0  # noqa: B018
    with budget.share(100) as got:
        assert got == 100


def test_the_process_keeps_what_it_holds_anyway_out_of_the_budget() -> None:
    before = memory().limit
    try:
        limit_process(1_500 * MB)
        assert memory().limit == 1_500 * MB - BASE
        limit_process(1)
        assert memory().limit == LEAST - BASE
    finally:
        memory().limit = before


# ── slices ───────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([None, "a", "b", "c", "d"]), max_size=30), st.integers(1, 9), st.booleans())
def test_each_row_is_in_one_slice_and_siblings_share_theirs(
    tmp_path_factory: pytest.TempPathFactory, parents: list[str | None], count: int, by_parent: bool
) -> None:
    scratch = tmp_path_factory.mktemp("slices")
    rows = pl.DataFrame(
        {"Id": [f"r{number}" for number in range(len(parents))], "Parent": parents},
        schema={"Id": pl.String, "Parent": pl.String},
    )
    rows.write_parquet(scratch / "rows.parquet")
    slices = cut_rows(pl.scan_parquet(scratch / "rows.parquet"), count, "Parent" if by_parent else None, scratch)
    found = [frame.collect() for frame in slices]
    assert pl.concat(found).sort("Id").equals(rows.sort("Id"))
    assert all(frame.height for frame in found) or len(found) == 1
    if by_parent:
        homes: dict[str, int] = {}
        for number, frame in enumerate(found):
            for parent in frame["Parent"].drop_nulls().unique():
                assert homes.setdefault(parent, number) == number
    else:
        assert len(found) <= count


@pytest.mark.parametrize("named_bytes", [1, 250], ids=["slices in groups", "each slice alone"])
@pytest.mark.parametrize("again", [False, True], ids=["first run", "with counterparts"])
def test_rows_decided_in_slices_are_those_decided_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch, again: bool, named_bytes: int
) -> None:
    """Every kind of lookup, waves and matches: the same rows, and the children of one master side by side."""
    monkeypatch.setattr(slicing, "NAMED_BYTES", named_bytes)
    world.reset(rich_data())
    if again:
        forget_end(migrate(world.job(template())).job)
    job = world.job(template())
    send(job)
    run, sliced = current(job), 0
    for plan in job.plan.objects_in(job.phase):
        whole = remapped(run, plan.object).collect()
        parts = _written_in_slices(job, run, plan.object, monkeypatch)
        rows = remapped(run, plan.object).collect()
        sliced += parts > 1
        assert rows["_row"].to_list() == list(range(whole.height)), plan.object
        assert rows.drop("_row").sort("_source_id").equals(whole.drop("_row").sort("_source_id")), plan.object
        for parent in sorted_by(measured_order(run, plan), plan)[:1]:
            for _, wave in rows.group_by("_wave", maintain_order=True):
                runs = wave[parent].fill_null("").rle().struct.field("value")
                assert runs.n_unique() == runs.len(), plan.object
    assert sliced > 3


def test_a_second_pass_with_little_memory_leaves_each_record_in_the_same_state(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the log says of a chunk's records is looked for three records at a time; in the repeat those that were identical
    and get their lookup by the second pass are updated."""
    recipe = template(("Account",), {"Account": {"match_key": ["Key__c"]}})
    states: list[list[dict[str, int]]] = []
    wanted: list[int] = []
    for little in (False, True):
        world.reset(some("Account", 12, ParentId=lambda n: f"a{n // 3}" if n else None))
        few = Memory(3 * relink.STATE_BYTES)
        share = few.share

        def noted(size: int, share: Any = share) -> Any:
            wanted.append(size)
            return share(size)

        with monkeypatch.context() as patch:
            patch.setattr(few, "share", noted)
            if little:
                patch.setattr(relink, "memory", lambda few=few: few)
            found = []
            for _ in range(2):
                found.append(migrate(world.job(recipe)).states("Account"))
                world.execute("target", f'UPDATE "Account" SET "ParentId" = NULL, {STAMPED}')
        states.append(found)
    assert states[0] == states[1] == [{"inserted": 12}, {"identical": 1, "updated": 11}]
    assert max(wanted) > 3 * relink.STATE_BYTES


def _written_in_slices(job: SyncJob, run: Run, object: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Decide on an object's rows once more with next to no memory; into how many parts."""
    plan = job.object(object)
    # As they were read to match, before the load: later there are more.
    there = reading.scan(run.folder / "target" / object, match_fields(plan))
    with monkeypatch.context() as patch:
        for room in (decisions, slicing):
            patch.setattr(room, "memory", lambda: tiny)
        by = sorted_by(measured_order(run, plan), plan)
        decisions.write_decided(job, run, with_default_ids(job, run, plan), extracted(run, plan), there, by)
    return sum(name.startswith("part-") for name in (path.name for path in Path(run.remap_folder(object)).iterdir()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize(("much", "less"), [("pair", "pair by hash"), ("sort", "sort in slices")])
def test_a_child_process_that_works_in_slices_or_by_hash_holds_less(tmp_path: Path, much: str, less: str) -> None:
    """At most two thirds of what it takes at once, with what a pass that streams takes besides."""
    peak.make(tmp_path, 150_000)
    held = {}
    for what in (much, less):
        command = [sys.executable, "-m", peak.__name__, what, str(tmp_path)]
        held[what] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert held[less] < held[much] * 2 / 3, held


tiny = Memory(6_000)
