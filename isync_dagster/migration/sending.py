"""Drive one chunk of rows through Salesforce, with the ledger written before each step.

A chunk is a Parquet file of rows as they are sent (`_row`, `_source_id`, `_target_id`, then the columns as
wire strings). An attempt at it goes planned → created → uploaded → closed → finished → paired → done; the
rows that are to be sent again (transient refusals, rows that are provably not in the target) make up the
next attempt. Whatever the last entry is, `drive` goes on from there, in this process or in a later one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import polars as pl

from isync_dagster.errors import LedgerConflict, TransientError, UnsettledError
from isync_dagster.migration.answers import (
    AGAIN,
    LOST,
    OUTCOME_SCHEMA,
    found_rows,
    with_state,
)
from isync_dagster.migration.attempts import Attempts, cells
from isync_dagster.migration.chunks import WAVE_CHUNKS, Chunk
from isync_dagster.migration.dispatch import CREATE_TRIES, Dispatch
from isync_dagster.migration.memory import CELL, STREAMS, frame_bytes, memory
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.results import Results
from isync_dagster.migration.settling import Settled, settle_ids, settle_inserts
from isync_dagster.migration.stopping import stop_of
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.salesforce.outcome import TRANSIENT_CODES
from isync_dagster.salesforce.polling import WaitCancelled, never
from isync_dagster.store import files
from isync_dagster.store.ledger import Entry
from isync_dagster.store.runs import Run

PARTS = 50_000
"""Chunks from this number of a wave on hold rows that another one handed on."""

LOST_TRIES = 3
"""So often rows are sent without an answer before the run stops: an outage, which is for a person to wait out."""

KEPT = ("operation", "way", "wave", "rows", "external_id", "part_of")
"""What the entry of an attempt hands on to the next as it is."""


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
        self.attempts = Attempts(self.ledger, plan.object)
        self.dispatch = Dispatch(job, run, plan, stage, self.attempts)
        self.results = Results(job, plan, self.attempts, self.dispatch.bulk)
        self._unanswered: Counter[int] = Counter()

    def plan_chunk(self, chunk: Chunk, rows: pl.LazyFrame) -> None:
        """Write the rows of a chunk and record it as planned, unless an earlier process did."""
        if self.ledger.last(chunk.number) is not None:
            return
        cells = chunk.rows * len(rows.collect_schema())
        whole = frame_bytes(min(self.job.options.chunk_bytes, cells * CELL), cells)
        # Where siblings are brought together the whole chunk is held twice, else it streams.
        with memory().share(2 * whole if chunk.ordered else min(whole, STREAMS)):
            self.attempts.plan(chunk.number, 1, rows, {**chunk.to_json(), "sent_rows": chunk.rows, "tries": 1})

    def drive(self, number: int, *, alone: bool = False) -> bool:
        """Take the chunk as far as it goes; True when every row has its outcome.

        False where rows are left whose outcome must be settled against the target, which `settle` does when
        no other chunk of the object is in flight. `alone` says that none is: only then rows that did not get a lock are
        sent again. Raises `JobError` where Salesforce refuses the whole job.

        Once the run is to stop, only what is in flight is brought to its end: True then says that there is no more to
        do now, and `is_open` whether rows are left.
        """
        uploads = 0
        while True:
            entry = self.attempts.last(number)
            stopped = stop_of(self.job, self.run) is not None
            if stopped and entry.state in ("planned", "failed"):
                return True
            if stopped and entry.state in ("created", "uploaded"):
                # Not handed over for processing yet: it never is.
                self.resume(number)
                continue
            match entry.state:
                case "planned":
                    self.dispatch.create(number, entry)
                case "created":
                    self.dispatch.upload(number, entry)
                case "uploaded":
                    self.dispatch.close(number, entry)
                case "closed":
                    self.dispatch.wait(number, entry)
                case "finished":
                    if not self._pair(number, entry):
                        return False
                case "settled":
                    self.attempts.record(number, entry.attempt, "paired", entry.payload)
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
                    if stopped or not entry.payload.get("again") or (_did_not_get_locks(entry) and not alone):
                        return True
                    if self._unanswered[number] >= LOST_TRIES:
                        raise TransientError(
                            f"{self.plan.object}, chunk {number}: {entry.payload['again']} rows were sent "
                            f"{self._unanswered[number]} times, and no answer says what became of them. They stay to be sent; "
                            "nothing more is sent now. Materialize again when the org answers.",
                            rows=entry.payload["again"],
                        )
                    self._again(number, entry)
                case unknown:
                    raise LedgerConflict(f"Ledger of {self.plan.object}, chunk {number}: unknown state {unknown!r}.")

    def is_open(self, number: int) -> bool:
        """True while the chunk has rows without a final outcome."""
        entry = self.attempts.last(number)
        return entry.state != "done" or bool(entry.payload.get("again"))

    def goes_alone(self, number: int) -> bool:
        """True where no other job of the object may run beside what the chunk sends next."""
        entry = self.attempts.last(number)
        return _did_not_get_locks(entry) if entry.state == "done" else bool(entry.payload.get("alone"))

    def parted(self, number: int) -> list[int]:
        """The chunks that have taken over rows of this one (`_part`)."""
        return [entry.chunk for entry in self._parts(number) if entry.payload["part_of"][0] == number]

    def _parts(self, number: int) -> list[Entry]:
        """The newest entries of all chunks of the wave that hold rows of others."""
        wave = number // WAVE_CHUNKS
        parts = [
            other for other in self.ledger.chunks() if other // WAVE_CHUNKS == wave and other % WAVE_CHUNKS >= PARTS
        ]
        return [self.attempts.last(other) for other in parts]

    def in_flight(self, number: int) -> bool:
        """True where something of the chunk was sent and its outcome is not accounted yet."""
        return self.attempts.last(number).state not in ("planned", "done")

    def account(self, number: int) -> bool:
        """Bring what was sent of a chunk to account and send nothing; False where rows must be settled first.

        Call `resume` before. What was never processed stays unsent.
        """
        while True:
            entry = self.attempts.last(number)
            match entry.state:
                case "closed":
                    self.dispatch.wait(number, entry)
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
            self.attempts.record(number, entry.attempt, "finished", {**entry.payload, "state": LOST})
            return
        state = self.dispatch.job_state(entry)
        if state == "Open":
            # Never processed, whatever was uploaded.
            self.dispatch.abort(entry)
            self.attempts.record(
                number, entry.attempt, "failed", {**entry.payload, "why": "left open by an earlier process"}
            )
        else:
            # It went further than the ledger says, or somebody aborted it, or it is gone: waiting for it tells.
            self.attempts.record(number, entry.attempt, "closed", entry.payload)

    def settle(self, number: int, taken: pl.Series) -> None:
        """Settle the rows that `drive` left open; call it when no other chunk of the object is in flight.

        `taken` are the target ids that other rows of the object already claim.
        """
        entry = self.attempts.last(number)
        self._wait_in_doubt(entry)
        sent = self.ledger.rows(number, entry.attempt)
        rows = sent.select("_row", "_source_id").collect()
        known = files.scan(self.attempts.known_path(number, entry.attempt)).collect()
        ids = files.scan(self.attempts.ids_path(number, entry.attempt)).collect()["target_id"]
        # Bounded by the rows whose answer was lost.
        open_rows = sent.join(known.lazy(), on="_row", how="anti", maintain_order="left").collect()
        columns = cells(open_rows.columns)
        folder = self.attempts.settle_folder(number, entry.attempt)
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
        before = self.attempts.last(number)
        left = outcome.select("_row").lazy()
        rows = self.ledger.rows(number, before.attempt).join(left, on="_row", how="semi", maintain_order="left")
        files.write_parquet(self.ledger.rows_path(number, attempt), rows)
        files.write_parquet(self.attempts.outcome_path(number, attempt), outcome)
        again = outcome.filter(pl.col("state") == AGAIN).height
        kept = {**before.payload, **payload, "sent_rows": outcome.height, "again": again}
        self.attempts.record(number, attempt, "settled", kept)
        self.attempts.record(number, attempt, "paired", kept)
        self._account(number, self.attempts.last(number))

    def finish_decision(self, number: int) -> None:
        """Account a decision that is recorded and was cut off before its rows were; harmless where there is none."""
        entry = self.attempts.last(number)
        if entry.state == "settled":
            self.attempts.record(number, entry.attempt, "paired", entry.payload)
            entry = self.attempts.last(number)
        if entry.state == "paired" and self.ledger.entry(number, entry.attempt, "settled") is not None:
            self._account(number, entry)

    def outcome(self, number: int) -> pl.DataFrame:
        """What the newest attempt of a chunk, which is done, has brought (OUTCOME_SCHEMA)."""
        entry = self.attempts.last(number)
        return files.scan(self.attempts.outcome_path(number, entry.attempt)).collect()

    # ── how ──────────────────────────────────────────────────────────────────────────────────────────

    def _pair(self, number: int, entry: Entry) -> bool:
        """Give every row that has a result its outcome; False where rows are left to settle."""
        # Bounded by the chunk: of each row its number and its id.
        rows = self.ledger.rows(number, entry.attempt).select("_row", "_source_id").collect()
        known, ids = self.results.of(number, entry)
        known = self.results.own_upserts(number, entry, known)
        open_rows = rows.join(known, on="_row", how="anti")
        if open_rows.height == 0:
            self._paired(number, entry, rows, known)
            return True
        if entry.payload["operation"] != "insert":
            # Updates, upserts and deletes are repeatable: what has no result is simply sent again.
            self._paired(number, entry, rows, with_state(known, open_rows, AGAIN))
            return True
        files.write_parquet(self.attempts.known_path(number, entry.attempt), known)
        files.write_parquet(self.attempts.ids_path(number, entry.attempt), pl.DataFrame({"target_id": ids}))
        return False

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

    def _settled(self, known: pl.DataFrame, settled: Settled) -> pl.DataFrame:
        known = pl.concat([known, found_rows(settled.found)])
        known = with_state(known, settled.absent, AGAIN)
        return with_state(known, settled.unknown, State.UNKNOWN)

    def _paired(self, number: int, entry: Entry, rows: pl.DataFrame, known: pl.DataFrame) -> None:
        # That nobody answers is no refusal: what is not there stays to be sent.
        exhausted = entry.payload["tries"] >= self.job.options.lock_attempts and not _was_lost(entry)
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
        files.write_parquet(self.attempts.outcome_path(number, entry.attempt), outcome)
        waiting = outcome.filter(pl.col("state") == AGAIN)
        if _was_lost(entry) and waiting.height:
            self._unanswered[number] += 1
        found = {"again": waiting.height, "refused": waiting["code"].drop_nulls().len()}
        self.attempts.record(number, entry.attempt, "paired", {**entry.payload, **found})

    def _account(self, number: int, entry: Entry) -> pl.DataFrame:
        """Write audit log and id map of an attempt, and record it as done; gives its outcome."""
        outcome = files.scan(self.attempts.outcome_path(number, entry.attempt)).collect()
        self.keep(f"{self.stage}-{number:05d}-{entry.attempt:03d}", outcome, entry)
        self.attempts.record(number, entry.attempt, "done", entry.payload)
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

    def _again(self, number: int, entry: Entry) -> None:
        """Plan the next attempt for the rows that are to be sent again: no more than a batch of those that go alone."""
        outcome = files.scan(self.attempts.outcome_path(number, entry.attempt))
        rows = self.ledger.rows(number, entry.attempt)
        again = outcome.filter(pl.col("state") == AGAIN).select("_row")
        left = rows.join(again, on="_row", how="semi", maintain_order="left")
        tuning = self.job.target.tuning
        tries = entry.payload["tries"] + self._unanswered[number]
        tuning.sleep(min(tuning.first_wait * 2**tries, tuning.longest_wait))
        if _did_not_get_locks(entry):
            left = self._part(number, entry, left)
        self._next_attempt(number, entry, left)

    def _part(self, number: int, entry: Entry, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The first batch of `rows`; each further one becomes a chunk of its own, which is planned before.

        A process that is killed in between finds the chunks by the attempt that they are a part of, and goes on.
        """
        most = self.job.options.batch_rows
        if entry.payload["again"] <= most:
            return rows
        source, attempt = [number, entry.attempt], entry.attempt + 1
        parts = self._parts(number)
        for part in parts:
            if part.payload["part_of"] == source:
                taken = self.ledger.rows(part.chunk, attempt).select("_row")
                rows = rows.join(taken, on="_row", how="anti", maintain_order="left")
        count = rows.select(pl.len()).collect().item()
        free = max((part.chunk for part in parts), default=number // WAVE_CHUNKS * WAVE_CHUNKS + PARTS - 1) + 1
        for place, start in enumerate(range(most, count, most)):
            sent = min(most, count - start)
            own = {**self._kept(entry), "part_of": source, "rows": sent, "sent_rows": sent}
            # Its attempts are counted on, so that the audit log of a row has each number once.
            self.attempts.plan(free + place, attempt, rows.slice(start, most), own)
        return rows.slice(0, most)

    def _next_attempt(self, number: int, entry: Entry, rows: pl.LazyFrame) -> None:
        count = rows.select(pl.len()).collect().item()
        self.attempts.plan(number, entry.attempt + 1, rows, {**self._kept(entry), "sent_rows": count})

    def _kept(self, entry: Entry) -> dict[str, Any]:
        """What the entry of an attempt hands on to the next."""
        kept = {key: entry.payload[key] for key in KEPT if key in entry.payload}
        alone = _did_not_get_locks(entry) if entry.state == "done" else bool(entry.payload.get("alone"))
        # Only what Salesforce has looked at is a try; what was never processed, or not answered, costs none.
        tried = entry.state == "done" and not _was_lost(entry)
        return {**kept, "alone": alone, "tries": entry.payload["tries"] + tried}


def _was_lost(entry: Entry) -> bool:
    """True where no answer says what became of the rows of the attempt."""
    return entry.payload.get("state") == LOST


def _did_not_get_locks(entry: Entry) -> bool:
    """True where rows are to be sent again and each was refused by something that passes, such as a lock."""
    again = entry.payload.get("again", 0)
    return entry.state == "done" and again > 0 and again == entry.payload.get("refused")
