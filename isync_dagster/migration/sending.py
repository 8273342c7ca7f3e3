"""Drive one chunk of rows through Salesforce, with the ledger written before each step.

A chunk is a Parquet file of rows as they are sent (`_row`, `_source_id`, `_target_id`, then the columns as
wire strings). An attempt at it goes planned → created → uploaded → closed → finished → paired → done; the
rows that are to be sent again (transient refusals, rows that are provably not in the target) make up the
next attempt. Whatever the last entry is, `drive` goes on from there, in this process or in a later one.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from isync_dagster.errors import JobError, LedgerConflict, RequestError, TransientError, UnknownOutcome, UnsettledError
from isync_dagster.migration.answers import (
    AGAIN,
    LOST,
    OUTCOME_SCHEMA,
    found_rows,
    from_answers,
    known_schema,
    with_state,
)
from isync_dagster.migration.chunks import Chunk
from isync_dagster.migration.model import Progress, State, SyncJob
from isync_dagster.migration.settling import Settled, made_since, sent_fields, settle_ids, settle_inserts
from isync_dagster.migration.stopping import stop_of
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.pairing import pair, pair_distinct
from isync_dagster.salesforce.bulk_ingest import BulkIngest, IngestJob
from isync_dagster.salesforce.collections import Collections
from isync_dagster.salesforce.outcome import TRANSIENT_CODES
from isync_dagster.salesforce.polling import WaitCancelled, never
from isync_dagster.store import files
from isync_dagster.store.ledger import Entry
from isync_dagster.store.runs import Run
from isync_dagster.store.stops import Jobs

CREATE_TRIES = 5

FRESH = 2.0
"""Seconds after its closing in which a job is waited for as one that has just begun."""


class Sender:
    """Sends the chunks of one object and stage (`load`, `relink`, `rollback-1`, …)."""

    def __init__(
        self, job: SyncJob, run: Run, plan: ObjectPlan, stage: str, keep: Callable[[str, pl.DataFrame, Entry], None]
    ) -> None:
        """`keep(part, outcome, entry)` writes audit log and id map of an attempt; it is called before `done`."""
        self.job = job
        self.run = run
        self.plan = plan
        self.stage = stage
        self.keep = keep
        self.ledger = run.ledger(stage, plan.object)
        self.bulk = BulkIngest(job.target)

    def plan_chunk(self, chunk: Chunk, rows: pl.LazyFrame) -> None:
        """Write the rows of a chunk and record it as planned, unless an earlier process did."""
        if self.ledger.last(chunk.number) is not None:
            return
        self._plan(chunk.number, 1, rows, {**chunk.to_json(), "sent_rows": chunk.rows, "tries": 1})

    def drive(self, number: int) -> bool:
        """Take the chunk as far as it goes; True when every row has its outcome.

        False where rows are left whose outcome must be settled against the target, which `settle` does when
        no other chunk of the object is in flight. Raises `JobError` where Salesforce refuses the whole job.

        Once the run is to stop, only what is in flight is brought to its end: True then says that there is no more to
        do now, and `is_open` whether rows are left.
        """
        uploads = 0
        while True:
            entry = self._last(number)
            stopped = stop_of(self.job, self.run) is not None
            if stopped and entry.state in ("planned", "failed"):
                return True
            if stopped and entry.state in ("created", "uploaded"):
                # Not handed over for processing yet: it never is.
                self.resume(number)
                continue
            match entry.state:
                case "planned":
                    self._create(number, entry)
                case "created":
                    self._upload(number, entry)
                case "uploaded":
                    self._close(number, entry)
                case "closed":
                    self._wait(number, entry)
                case "finished":
                    if not self._pair(number, entry):
                        return False
                case "settled":
                    self._record(number, entry.attempt, "paired", entry.payload)
                case "paired":
                    self._keep(number, entry)
                case "failed":
                    uploads += 1
                    if uploads > CREATE_TRIES:
                        raise TransientError(
                            f"{self.plan.object}, chunk {number}: the upload was cut off {uploads} times "
                            f"({entry.payload['why']}). None of these jobs was processed. Materialize again when the way to "
                            "Salesforce is better, or make chunks smaller (chunk_bytes).",
                        )
                    self._next_attempt(number, entry, self.ledger.rows(number, entry.attempt))
                case "done":
                    if stopped or not self._again(number, entry):
                        return True
                case unknown:
                    raise LedgerConflict(f"Ledger of {self.plan.object}, chunk {number}: unknown state {unknown!r}.")

    def is_open(self, number: int) -> bool:
        """True while the chunk has rows without a final outcome."""
        entry = self._last(number)
        return entry.state != "done" or bool(entry.payload.get("again"))

    def in_flight(self, number: int) -> bool:
        """True where something of the chunk was sent and its outcome is not accounted yet."""
        return self._last(number).state not in ("planned", "done")

    def account(self, number: int) -> bool:
        """Bring what was sent of a chunk to account and send nothing; False where rows must be settled first.

        Call `resume` before. What was never processed stays unsent.
        """
        while True:
            entry = self._last(number)
            match entry.state:
                case "closed":
                    self._wait(number, entry)
                case "finished":
                    if not self._pair(number, entry):
                        return False
                case "paired":
                    self._keep(number, entry)
                case _:
                    return True

    def resume(self, number: int) -> None:
        """Bring a chunk that another process left behind to a state that `drive` can go on from."""
        entry = self.ledger.last(number)
        if entry is None or entry.state not in ("created", "uploaded"):
            return
        if entry.payload["way"] == "collections":
            # The calls may or may not have gone out: rows are settled, or sent again where that is harmless.
            self._record(number, entry.attempt, "finished", {**entry.payload, "state": LOST})
            return
        state = self._job_state(entry)
        if state == "Open":
            # Never processed, whatever was uploaded.
            self._abort(entry)
            self._record(number, entry.attempt, "failed", {**entry.payload, "why": "left open by an earlier process"})
        else:
            # It went further than the ledger says, or somebody aborted it, or it is gone: waiting for it tells.
            self._record(number, entry.attempt, "closed", entry.payload)

    # ── the steps ────────────────────────────────────────────────────────────────────────────────────

    def _create(self, number: int, entry: Entry) -> None:
        payload = {**entry.payload, "sent_at": self.job.target.time_passed().isoformat()}
        if payload["way"] == "collections":
            self._record(number, entry.attempt, "created", payload)
            self._send_collections(number, self._last(number))
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
        self._record(number, entry.attempt, "created", {**payload, "job_id": created.id})

    def _upload(self, number: int, entry: Entry) -> None:
        with tempfile.TemporaryDirectory(prefix="isync-") as scratch:
            body = Path(scratch) / "rows.csv"
            rows = self.ledger.rows(number, entry.attempt)
            columns = _cells(rows.collect_schema().names())
            rows.select(columns).sink_csv(body, line_terminator="\n", null_value="", quote_style="necessary")
            try:
                self.bulk.upload(entry.payload["job_id"], body)
            except (UnknownOutcome, TransientError) as error:
                self._abort(entry)
                self._record(number, entry.attempt, "failed", {**entry.payload, "why": f"upload: {error}"})
                return
            self._record(number, entry.attempt, "uploaded", {**entry.payload, "bytes": body.stat().st_size})

    def _close(self, number: int, entry: Entry) -> None:
        for attempt in range(1, CREATE_TRIES + 1):
            try:
                self.bulk.close(entry.payload["job_id"])
                break
            except UnknownOutcome:
                if self._job_state(entry) != "Open":
                    break
                if attempt == CREATE_TRIES:
                    raise
        self._record(number, entry.attempt, "closed", entry.payload)

    def _wait(self, number: int, entry: Entry) -> None:
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
            self._record(number, entry.attempt, "finished", {**entry.payload, "state": LOST})
            return
        if finished.state == "Failed" and not finished.processed and _is_config(finished.error_message):
            self._record(number, entry.attempt, "failed", {**entry.payload, "why": finished.error_message})
            raise JobError(
                f"{self.plan.object}: Salesforce refused the whole job {finished.id}: {finished.error_message}. No row was "
                "processed. Check that the user may write every mapped field, refresh the snapshot, and materialize again.",
                job_id=finished.id,
                state=finished.state,
                code="JOB_FAILED",
            )
        self._record(
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
            rows = entry.payload["sent_rows"] if fresh else None
            return self.bulk.wait(job_id, aborts, seen, rows=rows, kind=kind)
        except WaitCancelled:
            self._abort(entry)
            return self.bulk.wait(job_id, progress=seen)

    def _send_collections(self, number: int, entry: Entry) -> None:
        rows = self.ledger.rows(number, entry.attempt).collect()
        columns = _cells(rows.columns)
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
            self._record(number, entry.attempt, "finished", {**entry.payload, "state": LOST})
            return
        files.write_parquet(self._answers_path(number, entry.attempt), answers)
        self._record(number, entry.attempt, "finished", {**entry.payload, "state": "Answered"})

    def _pair(self, number: int, entry: Entry) -> bool:
        """Give every row that has a result its outcome; False where rows are left to settle."""
        rows = self.ledger.rows(number, entry.attempt).collect()
        known, ids = self._results(number, entry, rows)
        known = self._own_upserts(number, entry, known)
        open_rows = rows.join(known, on="_row", how="anti")
        if open_rows.height == 0:
            self._paired(number, entry, rows, known)
            return True
        if entry.payload["operation"] != "insert":
            # Updates, upserts and deletes are repeatable: what has no result is simply sent again.
            self._paired(number, entry, rows, with_state(known, open_rows, AGAIN))
            return True
        files.write_parquet(self._known_path(number, entry.attempt), known)
        files.write_parquet(self._ids_path(number, entry.attempt), pl.DataFrame({"target_id": ids}))
        return False

    def settle(self, number: int, taken: pl.Series) -> None:
        """Settle the rows that `drive` left open; call it when no other chunk of the object is in flight.

        `taken` are the target ids that other rows of the object already claim.
        """
        entry = self._last(number)
        self._wait_in_doubt(entry)
        rows = self.ledger.rows(number, entry.attempt).collect()
        known = files.scan(self._known_path(number, entry.attempt)).collect()
        ids = files.scan(self._ids_path(number, entry.attempt)).collect()["target_id"]
        open_rows = rows.join(known, on="_row", how="anti")
        columns = _cells(rows.columns)
        folder = self._settle_folder(number, entry.attempt)
        # To find out what became of rows belongs to the end of what is in flight: a stop does not cut it short.
        job = replace(self.job, cancelled=never)
        if ids.len():
            by_id = settle_ids(job, self.plan, open_rows, ids, columns=columns, folder=folder / "ids")
            known = pl.concat([known, found_rows(by_id.found)])
            open_rows = open_rows.join(by_id.found, on="_row", how="anti")
        if open_rows.height:
            claimed = pl.concat([taken, known["target_id"].drop_nulls()])
            settled = settle_inserts(
                job,
                self.plan,
                open_rows,
                columns=columns,
                since=datetime.fromisoformat(entry.payload["sent_at"]),
                taken=claimed,
                folder=folder / "content",
            )
            known = self._settled(known, settled)
        self._paired(number, entry, rows, known)

    def decide(self, number: int, attempt: int, outcome: pl.DataFrame, payload: Mapping[str, Any]) -> None:
        """Record what was decided about rows whose outcome was unknown, as an attempt of its own, and account them.

        `outcome` (OUTCOME_SCHEMA) has all rows of the attempt before that have no final state; those that are `again`
        are sent when the run goes on. `payload` says who decided. Raises `LedgerConflict` where somebody was faster.
        """
        before = self._last(number)
        left = outcome.select("_row").lazy()
        rows = self.ledger.rows(number, before.attempt).join(left, on="_row", how="semi", maintain_order="left")
        files.write_parquet(self.ledger.rows_path(number, attempt), rows)
        files.write_parquet(self._outcome_path(number, attempt), outcome)
        again = outcome.filter(pl.col("state") == AGAIN).height
        kept = {**before.payload, **payload, "sent_rows": outcome.height, "again": again}
        self._record(number, attempt, "settled", kept)
        self._record(number, attempt, "paired", kept)
        self._account(number, self._last(number))

    def finish_decision(self, number: int) -> None:
        """Account a decision that is recorded and was cut off before its rows were; harmless where there is none."""
        entry = self._last(number)
        if entry.state == "settled":
            self._record(number, entry.attempt, "paired", entry.payload)
            entry = self._last(number)
        if entry.state == "paired" and self.ledger.entry(number, entry.attempt, "settled") is not None:
            self._account(number, entry)

    def outcome(self, number: int) -> pl.DataFrame:
        """What the newest attempt of a chunk, which is done, has brought (OUTCOME_SCHEMA)."""
        entry = self._last(number)
        return files.scan(self._outcome_path(number, entry.attempt)).collect()

    def _wait_in_doubt(self, entry: Entry) -> None:
        """Wait until a call whose answer was lost can no longer be at work: a row that it is about to save is not absent."""
        if entry.payload["way"] != "collections":
            return
        tuning = self.job.target.tuning
        sent_at = datetime.fromisoformat(entry.payload["sent_at"])
        left = tuning.in_doubt - (self.job.target.server_time() - sent_at).total_seconds()
        while left > 0 and not self.job.cancelled():
            tuning.sleep(min(left, tuning.glance))
            left -= tuning.glance
        if self.job.cancelled():
            raise WaitCancelled(
                f"{self.plan.object}: stopped while an answer was waited for; run again, its rows are looked for first"
            )

    def _own_upserts(self, number: int, entry: Entry, known: pl.DataFrame) -> pl.DataFrame:
        """`known` of a repeated upsert: a record that the first, unanswered one made was inserted, not updated."""
        if entry.payload["operation"] != "upsert" or entry.attempt == 1:
            return known
        there = known.filter(pl.col("state") == State.UPDATED)["target_id"].drop_nulls()
        first = self.ledger.entry(number, 1, "created")
        if there.is_empty() or first is None:
            return known
        made = made_since(
            self.job,
            self.plan,
            there,
            since=datetime.fromisoformat(first.payload["sent_at"]),
            folder=self._settle_folder(number, entry.attempt) / "upserted",
        )
        ours = (pl.col("state") == State.UPDATED) & pl.col("target_id").is_in(made.implode())
        return known.with_columns(state=pl.when(ours).then(pl.lit(str(State.INSERTED))).otherwise(pl.col("state")))

    def _settled(self, known: pl.DataFrame, settled: Settled) -> pl.DataFrame:
        known = pl.concat([known, found_rows(settled.found)])
        known = with_state(known, settled.absent, AGAIN)
        return with_state(known, settled.unknown, State.UNKNOWN)

    def _paired(self, number: int, entry: Entry, rows: pl.DataFrame, known: pl.DataFrame) -> None:
        exhausted = entry.payload["tries"] >= self.job.options.lock_attempts
        transient = (pl.col("state") == State.FAILED) & pl.col("code").is_in(sorted(TRANSIENT_CODES))
        outcome = known.with_columns(
            state=pl.when(transient | (pl.col("state") == AGAIN))
            .then(pl.lit(State.PENDING if exhausted else AGAIN))
            .otherwise(pl.col("state"))
        )
        outcome = rows.select("_row", "_source_id").join(outcome, on="_row", how="inner").select(list(OUTCOME_SCHEMA))
        if outcome.height != rows.height:
            raise UnsettledError(
                f"{self.plan.object}, chunk {number}: {rows.height} rows were sent, {outcome.height} have an outcome. "
                "This must not be; nothing more is sent. Keep the store and report it.",
            )
        files.write_parquet(self._outcome_path(number, entry.attempt), outcome)
        again = outcome.filter(pl.col("state") == AGAIN).height
        self._record(number, entry.attempt, "paired", {**entry.payload, "again": again})

    def _account(self, number: int, entry: Entry) -> pl.DataFrame:
        """Write audit log and id map of an attempt, and record it as done; gives its outcome."""
        outcome = files.scan(self._outcome_path(number, entry.attempt)).collect()
        self.keep(f"{self.stage}-{number:05d}-{entry.attempt:03d}", outcome, entry)
        self._record(number, entry.attempt, "done", entry.payload)
        return outcome

    def _keep(self, number: int, entry: Entry) -> None:
        unknown = self._account(number, entry).filter(pl.col("state") == State.UNKNOWN).height
        if unknown:
            raise UnsettledError(
                f"{self.plan.object}, chunk {number}: {unknown} rows were sent and their outcome could not be settled: records "
                "that this user wrote meanwhile might be them in changed form. Nothing more is sent. "
                f"`isync settle {self.job.plan.template} --phase {self.job.phase}` shows them and what they might be; decide there.",
                rows=unknown,
            )

    def _again(self, number: int, entry: Entry) -> bool:
        """Plan the next attempt where rows are to be sent again."""
        if not entry.payload.get("again"):
            return False
        outcome = files.scan(self._outcome_path(number, entry.attempt))
        rows = self.ledger.rows(number, entry.attempt)
        again = outcome.filter(pl.col("state") == AGAIN).select("_row")
        left = rows.join(again, on="_row", how="semi", maintain_order="left")
        tuning = self.job.target.tuning
        tuning.sleep(min(tuning.first_wait * 2 ** entry.payload["tries"], tuning.longest_wait))
        self._next_attempt(number, entry, left)
        return True

    def _next_attempt(self, number: int, entry: Entry, rows: pl.LazyFrame) -> None:
        kept = {key: entry.payload[key] for key in ("operation", "way", "wave", "rows", "external_id")}
        count = rows.select(pl.len()).collect().item()
        # Only what Salesforce has looked at is a try; a job that was never processed costs none.
        tries = entry.payload["tries"] + (entry.state == "done")
        self._plan(number, entry.attempt + 1, rows, {**kept, "sent_rows": count, "tries": tries})

    # ── what Salesforce says ─────────────────────────────────────────────────────────────────────────

    def _results(self, number: int, entry: Entry, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
        """(outcome of each row that pairs, target ids that were returned and pair with no row)."""
        none = pl.Series("target_id", [], dtype=pl.String)
        if entry.payload["state"] == LOST:
            return pl.DataFrame(schema=known_schema()), none
        if entry.payload["way"] == "collections":
            answers = files.scan(self._answers_path(number, entry.attempt)).collect()
            return from_answers(answers, entry.payload["operation"]), none
        columns = _cells(rows.columns)
        with tempfile.TemporaryDirectory(prefix="isync-") as scratch:
            parts = []
            for kind in ("successful", "failed"):
                path = Path(scratch) / f"{kind}.csv"
                try:
                    count = self.bulk.results(entry.payload["job_id"], kind, path)
                except RequestError as error:
                    if error.details.get("status") != 404:
                        raise
                    # Results live 7 days; without them every row is settled against the target.
                    return pl.DataFrame(schema=known_schema()), none
                if count:
                    parts.append(pl.scan_csv(path, infer_schema=False, null_values=""))
            if not parts:
                return pl.DataFrame(schema=known_schema()), none
            results = pl.concat(parts, how="diagonal")
            quick = pair_distinct(rows.select("_row", *columns), results, entry.payload["operation"])
            if quick is not None:
                return quick.select(pl.col(name).cast(kind) for name, kind in known_schema().items()), none
            paired = pair(rows.lazy().select("_row", *columns), results, entry.payload["operation"])
            pairs, unpaired = pl.collect_all([paired.rows, paired.unpaired])
            known = pairs.select([pl.col(name).cast(kind) for name, kind in known_schema().items()])
        return known, unpaired.get_column("sf__Id").drop_nulls().alias("target_id") if unpaired.height else none

    def _job_state(self, entry: Entry) -> str:
        try:
            return str(self.bulk.get(entry.payload["job_id"]).state)
        except RequestError as error:
            if error.details.get("status") != 404:
                raise
            return LOST

    def _abort(self, entry: Entry) -> None:
        """Abort a job that must not be processed; it may be gone or aborted already, which is as good."""
        try:
            self.bulk.abort(entry.payload["job_id"])
        except (RequestError, UnknownOutcome, TransientError) as error:
            if self._job_state(entry) == "Open":
                raise UnsettledError(
                    f"{self.plan.object}: the job {entry.payload['job_id']} could not be aborted ({error}). Abort it in Setup › "
                    "Bulk Data Load Jobs, then materialize again.",
                ) from error

    # ── the ledger and its paths ─────────────────────────────────────────────────────────────────────

    def _last(self, number: int) -> Entry:
        entry = self.ledger.last(number)
        if entry is None:
            raise LedgerConflict(f"Ledger of {self.plan.object}: chunk {number} was never planned.")
        return entry

    def _plan(self, number: int, attempt: int, rows: pl.LazyFrame, payload: dict[str, Any]) -> None:
        self._won(self.ledger.plan(number, attempt, rows, payload), number, "planned")

    def _record(self, number: int, attempt: int, state: str, payload: Mapping[str, Any]) -> None:
        self._won(self.ledger.record(number, attempt, state, payload), number, state)

    def _won(self, first: bool, number: int, state: str) -> None:
        if not first:
            raise LedgerConflict(
                f"{self.plan.object}, chunk {number}: another worker recorded {state!r} first. Two runs work on the same "
                "partition; let the other one finish, then materialize again."
            )

    def _answers_path(self, number: int, attempt: int) -> Any:
        return self.ledger.results_path(number, attempt, "answers")

    def _known_path(self, number: int, attempt: int) -> Any:
        return self.ledger.results_path(number, attempt, "known")

    def _ids_path(self, number: int, attempt: int) -> Any:
        return self.ledger.results_path(number, attempt, "unpaired")

    def _outcome_path(self, number: int, attempt: int) -> Any:
        return self.ledger.results_path(number, attempt, "outcome")

    def _settle_folder(self, number: int, attempt: int) -> Any:
        return self._outcome_path(number, attempt).parent / f"settle-{attempt:03d}"


def _cells(names: Sequence[str]) -> list[str]:
    """The columns that are sent: those that are fields."""
    return [name for name in names if not name.startswith("_")]


def _is_config(message: str | None) -> bool:
    """A job-level refusal that every repeat would meet again."""
    return bool(message) and any(sign in str(message) for sign in ("InvalidBatch", "ClientInputError", "InvalidEntity"))
