"""Bulk 2.0 jobs: their state on disk, and the threads that work them off.

A job is a folder `jobs/<id>` with `job.json`, the upload, and one Parquet file of outcomes per committed window.
The database notes each window in the transaction that writes its rows, so that a restart goes on after the last
committed window and never repeats one.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from isync_dagster.local_org.bulk_ingest import IngestRun
from isync_dagster.local_org.bulk_query import run_query
from isync_dagster.local_org.job_folder import JobFolder
from isync_dagster.local_org.storage import JOBS

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

log = logging.getLogger(__name__)

DELIMITERS: Final = {
    "COMMA": ",",
    "BACKQUOTE": "`",
    "CARET": "^",
    "PIPE": "|",
    "SEMICOLON": ";",
    "TAB": "\t",
}
LINE_ENDS: Final = {"LF": "\n", "CRLF": "\r\n"}
FINAL: Final = frozenset({"JobComplete", "Failed", "Aborted"})


@dataclass
class Job:
    """One Bulk 2.0 job as its info describes it."""

    id: str
    kind: str
    operation: str
    object: str
    created_by: str
    created: str
    modified: str
    state: str
    api_version: str
    line_ending: str = "LF"
    column_delimiter: str = "COMMA"
    external_id: str | None = None
    assignment_rule: str | None = None
    query: str | None = None
    uploaded: bool = False
    processed: int = 0
    failed: int = 0
    retries: int = 0
    concurrency_mode: str = "Parallel"
    milliseconds: int = 0
    active_milliseconds: int = 0
    error_message: str | None = None

    @property
    def separator(self) -> str:
        """The character between columns."""
        return DELIMITERS[self.column_delimiter]

    @property
    def line_end(self) -> str:
        """What ends a line."""
        return LINE_ENDS[self.line_ending]

    def info(self, *, counters: bool = False) -> dict[str, Any]:
        """The job info of the API; counters come with GET only."""
        answer: dict[str, Any] = {
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": self.created_by,
            "createdDate": self.created,
            "systemModstamp": self.modified,
            "state": self.state,
            "concurrencyMode": self.concurrency_mode,
            "contentType": "CSV",
            "apiVersion": float(self.api_version),
        }
        if self.external_id:
            answer["externalIdFieldName"] = self.external_id
        if self.assignment_rule:
            answer["assignmentRuleId"] = self.assignment_rule
        if self.kind == "ingest":
            answer["jobType"] = "V2Ingest"
            if self.state == "Open":
                answer["contentUrl"] = f"services/data/v{self.api_version}/jobs/ingest/{self.id}/batches"
        elif counters:
            answer["jobType"] = "V2Query"
        answer["lineEnding"] = self.line_ending
        answer["columnDelimiter"] = self.column_delimiter
        if counters:
            answer["numberRecordsProcessed"] = self.processed
            answer["retries"] = self.retries
            answer["totalProcessingTime"] = self.milliseconds
            if self.kind == "ingest":
                answer["numberRecordsFailed"] = self.failed
                answer["apiActiveProcessingTime"] = self.active_milliseconds
                answer["apexProcessingTime"] = 0
            else:
                answer["isPkChunkingSupported"] = True
            if self.error_message:
                answer["errorMessage"] = self.error_message
        return answer


def stamp() -> str:
    """Now, as job infos write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


class BulkJobs(JobFolder[Job]):
    """All Bulk 2.0 jobs of one running org."""

    def __init__(self, org: LocalOrg) -> None:
        super().__init__(org, "jobs")
        with org.storage.transaction() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS _org.job_windows (job VARCHAR, first BIGINT)")
        for path in self.folder.glob("upload-*"):
            path.unlink()
        for job, _ in self.read(Job):
            if job.state in ("UploadComplete", "InProgress"):
                self.enqueue(job)

    def create(self, **values: Any) -> Job:
        """A new job with an id of its own."""
        now = stamp()
        return self.take_in(Job(id=self.new_id("750", JOBS), created=now, modified=now, **values))

    def find(self, job_id: str, kind: str) -> Job | None:
        """The job of that id (15 or 18 characters) and kind."""
        job = self.get(job_id)
        return job if job is not None and job.kind == kind else None

    def of_kind(self, kind: str) -> list[Job]:
        """All jobs of a kind, newest first."""
        return sorted((job for job in self.all() if job.kind == kind), key=lambda job: job.id, reverse=True)

    def move(self, job: Job, state: str, *, only_from: tuple[str, ...] | None = None) -> bool:
        """Change a job's state; False if it is in none of the states asked for."""
        with self.lock:
            if only_from is not None and job.state not in only_from:
                return False
            job.state = state
            job.modified = stamp()
            self.save(job)
            return True

    def delete(self, job: Job) -> None:
        """Forget a job and its files."""
        self.forget(job)
        with self.org.storage.transaction() as cursor:
            cursor.execute("DELETE FROM _org.job_windows WHERE job = ?", [job.id])

    def clear(self) -> None:
        """Abort and forget all jobs."""
        for job in self.all():
            self.move(job, "Aborted", only_from=("Open", "UploadComplete", "InProgress"))
            self.delete(job)

    def enqueue(self, job: Job) -> None:
        """Let a background thread work the job off."""
        self.pool.submit(self._work, job)

    def stopped(self, job: Job) -> bool:
        """True where work on a job has to end now: it was aborted, or the org stops."""
        return self.stopping.is_set() or job.state == "Aborted"

    def _work(self, job: Job) -> None:
        if not self.move(job, "InProgress", only_from=("UploadComplete", "InProgress")):
            return
        started = time.monotonic()
        try:
            problem, finished = self._run(job)
        except Exception as error:  # the boundary of a background job: its failure is the job's state
            log.exception("Bulk job %s failed", job.id)
            problem, finished = f"InternalServerError : {type(error).__name__}", True
        job.milliseconds += int((time.monotonic() - started) * 1000)
        if not finished and problem is None:
            self.save(job)
            return
        job.error_message = problem
        self.move(job, "Failed" if problem is not None else "JobComplete", only_from=("InProgress",))

    def _run(self, job: Job) -> tuple[str | None, bool]:
        if job.kind == "query":
            problem = run_query(self, job)
            return problem, not self.stopped(job)
        run = IngestRun(self, job)
        problem = run.run()
        return problem, run.finished
