"""Bulk 1.0 jobs: jobs of batches, kept on disk, worked off in parallel or one after the other.

A job is a folder `bulk1/<id>` with `job.json`, and for each batch its request, and its outcome or result. A batch
of rows is noted in the database within the transaction that writes them, so a restart repeats none.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from isync_dagster.local_org.bulk1_batch import BatchFailure, run_batch
from isync_dagster.local_org.job_folder import JobFolder
from isync_dagster.local_org.storage import BATCHES, JOBS

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

log = logging.getLogger(__name__)

QUERIES: Final = frozenset({"query", "queryAll"})
OVER: Final = frozenset({"Completed", "Failed", "NotProcessed"})


@dataclass
class Batch:
    """One batch of a job as its info describes it."""

    id: str
    created: str
    modified: str
    state: str = "Queued"
    state_message: str | None = None
    processed: int = 0
    failed: int = 0
    milliseconds: int = 0
    result: str | None = None

    def info(self, job_id: str) -> dict[str, Any]:
        """The batch info of the API, in its order of keys."""
        answer: dict[str, Any] = {"id": self.id, "jobId": job_id, "state": self.state}
        if self.state_message:
            answer["stateMessage"] = self.state_message
        return answer | {
            "createdDate": self.created,
            "systemModstamp": self.modified,
            "numberRecordsProcessed": self.processed,
            "numberRecordsFailed": self.failed,
            "totalProcessingTime": self.milliseconds,
            "apiActiveProcessingTime": self.milliseconds,
            "apexProcessingTime": 0,
        }


@dataclass
class Bulk1Job:
    """One job as its info describes it."""

    id: str
    operation: str
    object: str
    created_by: str
    created: str
    modified: str
    api_version: str
    state: str = "Open"
    external_id: str | None = None
    assignment_rule: str | None = None
    concurrency_mode: str = "Parallel"
    content_type: str = "CSV"
    chunk_size: int = 0
    chunk_start: str = ""
    batches: list[Batch] = field(default_factory=list)

    def info(self) -> dict[str, Any]:
        """The job info of the API, in its order of keys."""
        states = [batch.state for batch in self.batches]
        answer: dict[str, Any] = {
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": self.created_by,
            "createdDate": self.created,
            "systemModstamp": self.modified,
            "state": self.state,
        }
        if self.external_id:
            answer["externalIdFieldName"] = self.external_id
        if self.assignment_rule:
            answer["assignmentRuleId"] = self.assignment_rule
        spent = sum(batch.milliseconds for batch in self.batches)
        return answer | {
            "concurrencyMode": self.concurrency_mode,
            "contentType": self.content_type,
            "numberBatchesQueued": states.count("Queued"),
            "numberBatchesInProgress": states.count("InProgress"),
            "numberBatchesCompleted": states.count("Completed"),
            "numberBatchesFailed": states.count("Failed"),
            "numberBatchesTotal": len(states),
            "numberRecordsProcessed": sum(batch.processed for batch in self.batches),
            "numberRetries": 0,
            "apiVersion": self.api_version,
            "numberRecordsFailed": sum(batch.failed for batch in self.batches),
            "totalProcessingTime": spent,
            "apiActiveProcessingTime": spent,
            "apexProcessingTime": 0,
        }

    @property
    def kind(self) -> str:
        """CSV, XML or JSON: how rows are written."""
        return self.content_type.removeprefix("ZIP_")


def stamp() -> str:
    """Now, as infos write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


class Bulk1Jobs(JobFolder[Bulk1Job]):
    """All Bulk 1.0 jobs of one running org."""

    def __init__(self, org: LocalOrg) -> None:
        super().__init__(org, "bulk1")
        self._in_turn: dict[str, threading.Lock] = {}
        with org.storage.transaction() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS _org.bulk1_batches (batch VARCHAR)")
        for job, values in self.read(Bulk1Job):
            job.batches = [Batch(**item) for item in values["batches"]]
            for batch in job.batches:
                if batch.state in ("Queued", "InProgress"):
                    batch.state = "Queued"
                    self.pool.submit(self._work, job)

    def clear(self) -> None:
        """Abort and forget all jobs; a batch under way comes to its end first."""
        jobs = self.all()
        for job in jobs:
            self.end(job, "Aborted")
        while any(batch.state == "InProgress" for job in jobs for batch in job.batches):
            time.sleep(0.01)
        with self.lock, self.org.storage.transaction() as cursor:
            cursor.execute("DELETE FROM _org.bulk1_batches")
            for job in jobs:
                self._in_turn.pop(job.id, None)
                self.forget(job)

    def create(self, **values: Any) -> Bulk1Job:
        """A new open job."""
        now = stamp()
        return self.take_in(Bulk1Job(id=self.new_id("750", JOBS), created=now, modified=now, **values))

    def add(self, job: Bulk1Job, contents: list[bytes], first_state: str = "Queued") -> list[Batch]:
        """Add batches and queue them; those with `first_state` other than Queued are only listed."""
        now = stamp()
        made = [Batch(id=self.new_id("751", BATCHES), created=now, modified=now) for _ in contents]
        for batch, content in zip(made, contents, strict=True):
            batch.state = first_state
            (self.path(job) / f"{batch.id}.request").write_bytes(content)
        with self.lock:
            job.batches += made
            job.modified = now
            self.save(job)
        if first_state == "Queued":
            for _ in made:
                self.pool.submit(self._work, job)
        return made

    def end(self, job: Bulk1Job, state: str) -> None:
        """Close or abort a job; what is still queued in an aborted job is not processed."""
        with self.lock:
            job.state, job.modified = state, stamp()
            if state == "Aborted":
                for batch in job.batches:
                    if batch.state == "Queued":
                        batch.state, batch.modified = "NotProcessed", job.modified
            self.save(job)

    def _work(self, job: Bulk1Job) -> None:
        """Work off a batch that waits; of a serial job one thread takes all, one after the other."""
        if job.concurrency_mode != "Serial":
            self._next(job)
            return
        with self.lock:
            turn = self._in_turn.setdefault(job.id, threading.Lock())
        # Who finds the turn taken leaves its batch to the holder, who looks again after giving the turn back.
        while self._waits(job) and turn.acquire(blocking=False):
            try:
                while self._next(job):
                    pass
            finally:
                turn.release()

    def _waits(self, job: Bulk1Job) -> bool:
        with self.lock:
            return not self.stopping.is_set() and any(batch.state == "Queued" for batch in job.batches)

    def _next(self, job: Bulk1Job) -> bool:
        """Work off the oldest batch that waits; False where none does."""
        with self.lock:
            batch = next((item for item in job.batches if item.state == "Queued"), None)
            if batch is None or self.stopping.is_set():
                return False
            batch.state, batch.modified = "InProgress", stamp()
            self.save(job)
        started = time.monotonic()
        state, message = "Completed", None
        try:
            run_batch(self, job, batch)
        except BatchFailure as failure:
            state, message = "Failed", str(failure)
        except Exception as error:  # the boundary of a background batch: its failure is the batch's state
            log.exception("Bulk 1.0 batch %s failed", batch.id)
            state, message = "Failed", f"InternalServerError : {type(error).__name__}"
        with self.lock:
            batch.state, batch.state_message, batch.modified = state, message, stamp()
            batch.milliseconds = int((time.monotonic() - started) * 1000)
            job.modified = batch.modified
            self.save(job)
        return True
