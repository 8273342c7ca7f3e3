"""The state of a local org that a scenario worsens: allowances left, rows held, batches that time out.

One object an org, thread-safe; without a scenario it is an org in good health.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

import polars as pl

from isync_dagster.local_org.locks import ASKED, asked_locks, contended_later, held_rows
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.scenarios.model import Limits, Locks, Order, Scenario, Timeouts
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.bulk_jobs import Job

DAILY_BATCHES: Final = 15_000
DAILY_QUERY_JOBS: Final = 10_000
TIMED_OUT: Final = "InternalServerError : Retried more than ten times"
_HEALTHY: Final = Scenario(name="none", description="Nothing is wrong.")


class Conditions:
    """What is wrong with an org, and what is left of its allowances."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.scenario = _HEALTHY
        self.apply(_HEALTHY)

    def apply(self, scenario: Scenario) -> None:
        """Let a scenario begin; all counts start anew."""
        limits = scenario.limits or Limits()
        with self._lock:
            self.scenario = scenario
            self.batches_left = DAILY_BATCHES if limits.batches is None else limits.batches
            self.query_jobs_left = DAILY_QUERY_JOBS if limits.query_jobs is None else limits.query_jobs
            self._timed_out: set[str] = set()
            self._writes: Counter[str] = Counter()
            self._asked: dict[tuple[str, int], pl.DataFrame] = {}

    def lift(self) -> None:
        """Put all right again."""
        self.apply(_HEALTHY)

    @property
    def order(self) -> Order:
        """The order of rows in an ingest job's result files."""
        return self.scenario.results

    @property
    def seed(self) -> int:
        """What decides that which looks random."""
        return self.scenario.seed

    def claim_batches(self, count: int) -> bool:
        """Take batches of the daily allowance; False (and nothing taken) where they are not left."""
        with self._lock:
            if count > self.batches_left:
                return False
            self.batches_left -= count
            return True

    def claim_query_job(self) -> bool:
        """Take a query job of the daily allowance; False where none is left."""
        with self._lock:
            if not self.query_jobs_left:
                return False
            self.query_jobs_left -= 1
            return True

    def locks(self, job: Job) -> Locks | None:
        """The contention that a job's batches meet."""
        return self._locks_of(job.object, serial=job.concurrency_mode == "Serial")

    def _locks_of(self, name: str, *, serial: bool) -> Locks | None:
        found = self.scenario.locks
        if found is None or found.parallel < 2 or serial:
            return None
        return found if not found.objects or name in found.objects else None

    def refuse_contended(self, rows: Rows, sobject: SObject, job_id: str, batch: int, *, serial: bool) -> None:
        """Refuse rows of one batch (numbered from 0 in its job) whose parents batches beside it have locked.

        For jobs whose batches come one by one, as those of Bulk 1.0; `_row` counts within the batch.
        """
        found = self._locks_of(sobject.name, serial=serial)
        if found is None:
            return
        asked = asked_locks(rows.good, sobject, pl.lit(batch), pl.col("_row") // found.chunk_rows)
        group = (job_id, batch // found.parallel)
        with self._lock:
            before = self._asked.get(group, pl.DataFrame(schema=ASKED))
            self._asked[group] = pl.concat([before, asked])
        rows.refuse_rows(contended_later(asked, before, found))

    def timeouts(self, job: Job) -> Timeouts | None:
        """The time-outs that a job's batches meet."""
        found = self.scenario.timeouts
        if found is None or (found.objects and job.object not in found.objects):
            return None
        with self._lock:
            if job.id not in self._timed_out:
                if found.jobs is not None and len(self._timed_out) >= found.jobs:
                    return None
                self._timed_out.add(job.id)
        return found

    def refuse_held(self, rows: Rows, sobject: SObject) -> None:
        """Refuse rows that somebody else holds, or whose parents; counts as one write of the object."""
        found = self.scenario.locks
        if found is None or not found.held or (found.objects and sobject.name not in found.objects):
            return
        with self._lock:
            self._writes[sobject.name] += 1
            if self._writes[sobject.name] > found.held_writes:
                return
        rows.refuse_rows(held_rows(rows.good, sobject, found.held, self.seed))


def in_order(frame: pl.DataFrame, order: Order, seed: int) -> pl.DataFrame:
    """The rows of a result file: the platform gives no order, so a shuffle by seed is the normal case."""
    if order == "sent":
        return frame
    return frame.reverse() if order == "reversed" else frame.sample(fraction=1.0, shuffle=True, seed=seed)
