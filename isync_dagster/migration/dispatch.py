"""An attempt on its way to Salesforce: the job made, its rows uploaded, closed, waited for, or aborted."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from isync_dagster.errors import JobError, RequestError, TransientError, UnknownOutcome, UnsettledError
from isync_dagster.migration.answers import LOST
from isync_dagster.migration.attempts import Attempts, cells
from isync_dagster.migration.memory import PASS, frame_bytes, memory
from isync_dagster.migration.model import Progress, SyncJob
from isync_dagster.migration.settling import sent_fields
from isync_dagster.migration.stopping import stop_of
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.salesforce.bulk_ingest import BulkIngest, IngestJob
from isync_dagster.salesforce.collections import Collections
from isync_dagster.salesforce.polling import WaitCancelled
from isync_dagster.store import files
from isync_dagster.store.ledger import Entry
from isync_dagster.store.runs import Run
from isync_dagster.store.scratch import scratch
from isync_dagster.store.stops import Jobs

CREATE_TRIES = 5

BYTES_A_CELL = 10
"""Of the CSV that is sent, roughly."""
BYTES_A_ROW = 100
"""What it takes to save a row besides its values, in bytes: few wide rows are saved sooner than as many bytes of narrow ones."""

FRESH = 2.0
"""Seconds after its closing in which a job is waited for as one that has just begun."""


class Dispatch:
    """The steps of an attempt that call Salesforce, each recorded before the next goes out."""

    def __init__(self, job: SyncJob, run: Run, plan: ObjectPlan, stage: str, attempts: Attempts) -> None:
        self.job = job
        self.run = run
        self.plan = plan
        self.stage = stage
        self.attempts = attempts
        self.ledger = attempts.ledger
        self.bulk = BulkIngest(job.target)

    def create(self, number: int, entry: Entry) -> None:
        """Make the job, or send all rows where they go by collections."""
        payload = {**entry.payload, "sent_at": self.job.target.time_passed().isoformat()}
        if payload["way"] == "collections":
            self.attempts.record(number, entry.attempt, "created", payload)
            self._send_collections(number, self.attempts.last(number))
            return
        for attempt in range(1, CREATE_TRIES + 1):
            try:
                created = self.bulk.create(self.plan.target_object, payload["operation"], payload["external_id"])
                break
            except UnknownOutcome:
                # The job, if it was made, stays empty and open, and expires by itself.
                if attempt == CREATE_TRIES:
                    raise
                time.sleep(0.2 * attempt)
        self.attempts.record(number, entry.attempt, "created", {**payload, "job_id": created.id})

    def upload(self, number: int, entry: Entry) -> None:
        """Write the rows as CSV and upload them; an upload that was cut off is aborted and recorded as failed."""
        with scratch() as place:
            body = place / "rows.csv"
            rows = self.ledger.rows(number, entry.attempt)
            columns = cells(rows.collect_schema().names())
            with memory().share(min(frame_bytes(0, entry.payload["sent_rows"] * len(columns)), PASS)):
                rows.select(columns).sink_csv(body, line_terminator="\n", null_value="", quote_style="necessary")
            try:
                self.bulk.upload(entry.payload["job_id"], body)
            except (UnknownOutcome, TransientError) as error:
                self.abort(entry)
                self.attempts.record(number, entry.attempt, "failed", {**entry.payload, "why": f"upload: {error}"})
                return
            self.attempts.record(number, entry.attempt, "uploaded", {**entry.payload, "bytes": body.stat().st_size})

    def close(self, number: int, entry: Entry) -> None:
        """Hand the job over for processing."""
        for attempt in range(1, CREATE_TRIES + 1):
            try:
                self.bulk.close(entry.payload["job_id"])
                break
            except UnknownOutcome:
                if self.job_state(entry) != "Open":
                    break
                if attempt == CREATE_TRIES:
                    raise
        self.attempts.record(number, entry.attempt, "closed", entry.payload)

    def wait(self, number: int, entry: Entry) -> None:
        """Wait for the end of the job; raises `JobError` where Salesforce refuses it as a whole."""
        rows = entry.payload["sent_rows"]

        def seen(job: IngestJob) -> None:
            done = job.processed or 0
            text = f"chunk {number}: {done:,} of {rows:,} rows"
            self.job.progress(Progress(self.plan.object, self.stage, text, done, rows))

        try:
            finished = self._finished(entry, seen)
        except RequestError as error:
            if error.details.get("status") != 404:
                raise
            # Jobs and results live 7 days: what became of the rows is for the target to say.
            self.attempts.record(number, entry.attempt, "finished", {**entry.payload, "state": LOST})
            return
        if finished.state == "Failed" and not finished.processed and _is_config(finished.error_message):
            self.attempts.record(number, entry.attempt, "failed", {**entry.payload, "why": finished.error_message})
            raise JobError(
                f"{self.plan.object}: Salesforce refused the whole job {finished.id}: {finished.error_message}. No row was "
                "processed. Check that the user may write every mapped field, refresh the snapshot, and materialize again.",
                job_id=finished.id,
                state=finished.state,
                code="JOB_FAILED",
            )
        self.attempts.record(
            number,
            entry.attempt,
            "finished",
            {
                **entry.payload,
                "state": finished.state,
                "processed": finished.processed,
                "failed": finished.failed,
                "retries": finished.retries,
                "error": finished.error_message,
            },
        )

    def job_state(self, entry: Entry) -> str:
        """What Salesforce says of the job now; `LOST` where it has it no more."""
        try:
            return str(self.bulk.get(entry.payload["job_id"]).state)
        except RequestError as error:
            if error.details.get("status") != 404:
                raise
            return LOST

    def abort(self, entry: Entry) -> None:
        """Abort a job that must not be processed; it may be gone or aborted already, which is as good."""
        try:
            self.bulk.abort(entry.payload["job_id"])
        except (RequestError, UnknownOutcome, TransientError) as error:
            if self.job_state(entry) == "Open":
                raise UnsettledError(
                    f"{self.plan.object}: the job {entry.payload['job_id']} could not be aborted ({error}). Abort it in Setup › "
                    "Bulk Data Load Jobs, then materialize again.",
                ) from error

    def _finished(self, entry: Entry, seen: Callable[[IngestJob], None]) -> IngestJob:
        """The job once it ended. A run that is to stop waits for it, or aborts it: rows already processed stay."""

        def aborts() -> bool:
            stop = stop_of(self.job, self.run)
            return stop is not None and stop.jobs is Jobs.ABORT

        job_id = entry.payload["job_id"]
        try:
            # One that another process closed has probably ended by now: it is looked at right away.
            fresh = (datetime.now(UTC) - entry.at).total_seconds() < FRESH
            kind = f"{entry.payload['operation']} {self.plan.target_object}"
            size = None
            if fresh and "bytes" in entry.payload:
                size = (entry.payload["bytes"] + BYTES_A_ROW * entry.payload["sent_rows"]) // BYTES_A_CELL
            return self.bulk.wait(job_id, aborts, seen, cells=size, kind=kind)
        except WaitCancelled:
            self.abort(entry)
            return self.bulk.wait(job_id, progress=seen)

    def _send_collections(self, number: int, entry: Entry) -> None:
        rows = self.ledger.rows(number, entry.attempt).collect()
        columns = cells(rows.columns)
        client = Collections(self.job.target)
        fields = sent_fields(self.plan, [name for name in columns if name != "Id"])
        sent = rows.select("_row", *(["_clear"] if "_clear" in rows.columns else []), *columns)
        try:
            match entry.payload["operation"]:
                case "insert":
                    answers = client.insert(self.plan.target_object, sent, fields)
                case "update":
                    answers = client.update(self.plan.target_object, sent, fields)
                case "delete":
                    answers = client.delete(self.plan.target_object, sent)
                case _:
                    answers = client.upsert(self.plan.target_object, sent, fields, entry.payload["external_id"])
        except UnknownOutcome:
            self.attempts.record(number, entry.attempt, "finished", {**entry.payload, "state": LOST})
            return
        files.write_parquet(self.attempts.answers_path(number, entry.attempt), answers)
        self.attempts.record(number, entry.attempt, "finished", {**entry.payload, "state": "Answered"})


def _is_config(message: str | None) -> bool:
    """A job-level refusal that every repeat would meet again."""
    return bool(message) and any(sign in str(message) for sign in ("InvalidBatch", "ClientInputError", "InvalidEntity"))
