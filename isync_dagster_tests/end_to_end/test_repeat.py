"""The demo once more, right after its first run: objects stand as they were left, and nothing of them is read to be compared.

Levels, staged fields, price books, cycles, polymorphic lookups, upserts: what the repeat takes over is, column by column,
what a run decides that reads the target and compares.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from isync_dagster.local_org.demo.make import make_demo
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.migration import carried
from isync_dagster.migration.carried import taken_from
from isync_dagster.migration.left import is_left, was_sent, why_not_left
from isync_dagster.migration.model import Summary, SyncJob
from isync_dagster.migration.remap import remapped
from isync_dagster.migration.writing import release_all
from isync_dagster.plan.model import Plan
from isync_dagster.store import files
from isync_dagster.store.runs import Run
from isync_dagster.store.store import Store
from isync_dagster_tests.end_to_end.test_demo import demo_template
from isync_dagster_tests.end_to_end.workbench import Bench, serving

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Repeats:
    """The same repeat twice, from the same store: one that may take over, one that decides anew."""

    plan: Plan
    taken: Bench
    anew: Bench
    summaries: tuple[list[Summary], list[Summary]]
    same: bool
    """The target is after both as it was before."""

    def runs(self, phase: str) -> tuple[Run, Run]:
        """The two repeats of a phase."""
        found = []
        for bench in (self.taken, self.anew):
            job = self.job(bench, phase)
            run = job.store.runs(job.key).latest()
            assert run is not None and run.number == 2
            found.append(run)
        return found[0], found[1]

    def job(self, bench: Bench, phase: str) -> SyncJob:
        """The sync job of a phase."""
        return SyncJob(self.plan, phase, bench.source_client, bench.target_client, bench.store, opened_by="test")


@pytest.fixture(scope="module")
def repeats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repeats]:
    folder = tmp_path_factory.mktemp("repeat")
    one, two = make_demo(folder, rows=1_500)
    with LocalOrg.open(one) as source, LocalOrg.open(two) as target, serving(folder, source, target) as work:
        plan = work.plan(demo_template())
        # What is stamped within the second of the last look might have been saved in it twice: it would be read anew.
        work.run(plan, pause=3)
        release_all()
        shutil.copytree(str(work.store.root), folder / "copy")
        other = replace(work, store=Store.open(str(folder / "copy")))
        before = _all(target)
        first = work.run(plan)
        same = _all(target).equals(before)
        release_all()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(carried, "_base", lambda *_: (None, ""))
            second = other.run(plan)
        same = same and _all(target).equals(before)
        yield Repeats(plan, work, other, (first, second), same)


def _all(org: LocalOrg) -> pl.DataFrame:
    """A hash of each object's rows."""
    names = [name for name, count in org.counts().items() if count]
    return pl.DataFrame({"name": names, "hash": [org.table(name).sort("Id").hash_rows().sum() for name in names]})


def test_the_repeat_takes_over_what_the_first_run_sent(repeats: Repeats) -> None:
    sent, left = set(), set()
    for phase in repeats.plan.phases:
        run, _ = repeats.runs(phase.name)
        for item in repeats.plan.objects_in(phase.name):
            if was_sent(run, item.object):
                sent.add(item.object)
                if is_left(run, item):
                    left.add(item.object)
                    assert not files.names(run.folder / "target" / item.object)
                else:
                    assert why_not_left(run, item)
    assert left == sent
    assert len(sent) > 15


def test_both_find_nothing_to_send(repeats: Repeats) -> None:
    assert repeats.same
    rows = [
        [(row.object, row.extracted, row.states, row.links) for item in one for row in item.objects]
        for one in repeats.summaries
    ]
    assert rows[0] == rows[1]
    assert [
        verdict.text
        for one in repeats.summaries
        for item in one
        for row in item.objects
        for verdict in row.verdicts
        if not verdict.passed
    ] == []


def test_what_was_taken_over_is_what_a_comparison_decides(repeats: Repeats) -> None:
    seen = 0
    for phase in repeats.plan.phases:
        one, other = repeats.runs(phase.name)
        for item in repeats.plan.objects_in(phase.name):
            if taken_from(repeats.job(repeats.taken, phase.name), one, item.object) is None:
                continue
            seen += 1
            frames = [remapped(run, item.object).sort("_source_id").collect().drop("_row") for run in (one, other)]
            assert_frame_equal(*frames, check_column_order=False)
            late = [run.folder / "relink" / item.object / "part-00000.parquet" for run in (one, other)]
            if files.exists(late[0]):
                assert_frame_equal(
                    *(files.scan(path).sort("_source_id").collect().drop("_row") for path in late),
                    check_column_order=False,
                )
            audits = [run.audit(item.object).latest().sort("source_id").collect().drop("at") for run in (one, other)]
            assert_frame_equal(*audits)
    assert seen > 5
