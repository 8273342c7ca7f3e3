"""Load: send the inserts and updates of an object, and give every row its state."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime
from typing import Any

import polars as pl

from isync_dagster.errors import UnsettledError
from isync_dagster.migration.automation import ensure_off
from isync_dagster.migration.chunks import WAVE_CHUNKS, cut
from isync_dagster.migration.contention import locked_parents
from isync_dagster.migration.decisions import pairs_of
from isync_dagster.migration.model import IN_TARGET, Outcome, State, SyncJob
from isync_dagster.migration.outcomes import PREVIEW_ROWS, Measure, kept, measured, preview_of
from isync_dagster.migration.remap import current_rows, remap_outcome, remapped
from isync_dagster.migration.runs import current_run
from isync_dagster.migration.sending import Sender
from isync_dagster.migration.stopping import ask_over_refused, guarded, rows_in, stop_here, stop_of
from isync_dagster.migration.target import known_before
from isync_dagster.migration.upsert_images import keep_upsert_images
from isync_dagster.migration.writing import claimed, hold_target
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.payload import insert_payload, update_payload
from isync_dagster.records.remap import link_counts
from isync_dagster.salesforce.outcome import classify
from isync_dagster.store import files
from isync_dagster.store.ledger import Entry, Ledger
from isync_dagster.store.runs import Run

STATE_OF = {
    "identical": State.IDENTICAL,
    "existing": State.EXISTING,
    "skipped": State.SKIPPED,
    "blocked": State.BLOCKED,
    "dropped": State.DROPPED,
}
"""Decisions that need no call, and the record state they mean."""


def load(job: SyncJob, object: str) -> Outcome:
    """Send the rows of `object` as remap decided; resumes where an earlier process was cut off.

    Raises `JobError` where Salesforce refuses a whole job, `UnsettledError` where rows were sent and their
    outcome cannot be found out, and what `guarded` raises where the run is to stop. Refused rows are states in the
    audit log; they stop the run (`RejectedRowsError`) where continue on error is off and they are more than allowed.
    """
    with measured() as measure:
        run = current_run(job)
        plan = job.object(object)
        if not job.in_phase(object):
            return Outcome(object, "load", run.number, notes=(f"not in phase {job.phase!r}",))
        with claimed(job, run, "load", object):
            _load(job, run, plan)
            return load_outcome(run, plan, "load", measure)


def _load(job: SyncJob, run: Run, plan: ObjectPlan) -> None:
    """Send what is to be sent."""
    rows = remapped(run, plan.object)
    lease = hold_target(job, run)
    ensure_off(job, run)
    stop_over_unknown(job, run, plan)
    account_unsent(job, run, plan, rows, "remap")
    with guarded(job, run) as job:
        keep_before_images(run, plan, rows, "load")
        sender = Sender(job, run, plan, "load", Keeper(job, run, plan, "load"))
        decided = remap_outcome(run, plan.object).states
        if not decided.get("insert") and not decided.get("update"):
            plan_nothing(sender.ledger, rows)
        send_waves(job, run, plan, sender, rows, lease.check)


# ── rows that need no call ───────────────────────────────────────────────────────────────────────────────


def account_unsent(job: SyncJob, run: Run, plan: ObjectPlan, rows: pl.LazyFrame, stage: str) -> None:
    """Audit rows of everything that is not sent, and of what is still to be sent (`pending`); matches into the id map."""
    decided = pl.col("_decision").cast(pl.String)
    state = decided.replace_strict(
        {decision: str(state) for decision, state in STATE_OF.items()}, default=str(State.PENDING)
    )
    if "_made" in rows.collect_schema():
        # This run inserted the record before, and only its second pass was refused: that is where it ended.
        state = pl.when(pl.col("_made") & (state == State.IDENTICAL)).then(pl.lit(str(State.INSERTED))).otherwise(state)
    run.audit(plan.object).append(
        stage,
        rows.select(
            source_id="_source_id",
            target_id="_target_id",
            state=state,
            message="_reason",
            stage=pl.lit(stage),
            rule=pl.concat_str(
                decided,
                pl.format("matched by {}", pl.col("_matched_by").cast(pl.String)),
                separator=", ",
                ignore_nulls=True,
            ),
            attempt=pl.lit(0),
            at=pl.lit(job.store.clock()),
        ),
    )
    matched = rows.filter(pl.col("_target_id").is_not_null() & (decided != "dropped"))
    how = pl.col("_matched_by").cast(pl.String)
    if plan.object != "Pricebook2":
        # What the id map led to stands in it; of price books the standard one is known besides (`decisions._id_map`).
        matched = matched.filter(how.ne_missing("id map"))
    if matched.select("_target_id").head(1).collect().is_empty():
        return
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    id_map.append(
        plan.object,
        plan.target_object,
        matched.select(source_id="_source_id", target_id="_target_id", how=how),
        template=job.plan.template,
        phase=job.phase,
        run=run.number,
        part="matched" if stage == "remap" else f"{stage}-matched",
    )


def keep_before_images(run: Run, plan: ObjectPlan, rows: pl.LazyFrame, part: str) -> None:
    """The target's present values of the fields that an update may change, before anything is sent."""
    before = run.before(plan.object)
    now = [name for name in rows.collect_schema().names() if name.startswith("_now.")]
    if before.has(part) or not now:
        return
    updates = rows.filter(pl.col("_decision") == "update")
    before.write(
        part,
        updates.select(pl.col("_target_id").alias("Id"), "_changed", *[pl.col(name).alias(name[5:]) for name in now]),
    )


# ── chunks ───────────────────────────────────────────────────────────────────────────────────────────────


def _plan_wave(job: SyncJob, run: Run, plan: ObjectPlan, rows: pl.LazyFrame, wave: int, sender: Sender) -> None:
    """Cut the rows of a wave that are to be sent into chunks and record each as planned, once a run.

    Waves of a hierarchy are planned in their turn: only then are their parents' target ids known.
    """
    path = _wave_path(sender.ledger, wave)
    if files.exists(path):
        return
    if plan.wave_rule == "self_levels":
        rows = _with_parents(job, run, plan, rows, wave, sender.stage)
    keep_upsert_images(job, run, plan, rows, wave, sender.stage)
    operation = "upsert" if plan.migration_key else "insert"
    number = wave * WAVE_CHUNKS
    parents = locked_parents(run, plan)
    for kind, payload in ((operation, insert_payload(rows, plan)), ("update", update_payload(rows, plan))):
        key = plan.migration_key if kind == "upsert" else None
        cutting = cut(job, sender.ledger, payload, kind, wave, external_id=key, first=number, parents=parents)
        for chunk, part in cutting:
            sender.plan_chunk(chunk, part)
            number = chunk.number + 1
    files.write_json(path, {"chunks": number - wave * WAVE_CHUNKS})


def _with_parents(job: SyncJob, run: Run, plan: ObjectPlan, rows: pl.LazyFrame, wave: int, stage: str) -> pl.LazyFrame:
    """Rows of a level with the required self lookup filled; those whose parent did not arrive become blocked."""
    name = str(plan.self_level_field)
    pairs = pairs_of(job, run, plan.lookup(name)).select(source_id="source_id", _to="target_id")
    filled = rows.join(pairs, left_on=f"_from.{name}", right_on="source_id", how="left", maintain_order="left")
    filled = filled.with_columns(pl.col("_to").alias(name)).drop("_to")
    orphan = (
        pl.col(name).is_null()
        & pl.col(f"_from.{name}").is_not_null()
        & pl.col("_decision").cast(pl.String).is_in(["insert", "update"])
    )
    blocked = filled.filter(orphan).select("_source_id", _parent=pl.col(f"_from.{name}"))
    # Bounded by the rows that lack a parent: of those parents alone the log is asked.
    why = (
        run.audit(plan.object)
        .latest()
        .select(_parent="source_id", _why=pl.concat_str(["state", "code", "message"], separator=" ", ignore_nulls=True))
    )
    words = pl.format(f"{name}: parent {{}} of {plan.object} is not in the target", "_parent")
    run.audit(plan.object).append(
        f"level-{wave:05d}" if stage == "load" else f"{stage}-level-{wave:05d}",
        blocked.join(why, on="_parent", how="left").select(
            source_id="_source_id",
            state=pl.lit(str(State.BLOCKED)),
            message=pl.concat_str([words, pl.format(": {}", "_why")], ignore_nulls=True),
            stage=pl.lit(stage),
            attempt=pl.lit(0),
            at=pl.lit(job.store.clock()),
        ),
    )
    return filled.filter(~orphan)


def plan_nothing(ledger: Ledger, rows: pl.LazyFrame) -> None:
    """Write down that no wave of the rows has anything to send, without looking for it in them."""
    for wave in rows.select("_wave").unique().collect()["_wave"]:
        files.write_json(_wave_path(ledger, wave), {"chunks": 0})


def _wave_path(ledger: Ledger, wave: int) -> Any:
    return ledger.folder / f"wave-{wave:05d}.json"


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────


class Keeper:
    """Writes what an attempt brought: audit log and id map."""

    def __init__(self, job: SyncJob, run: Run, plan: ObjectPlan, stage: str) -> None:
        self.job = job
        self.run = run
        self.plan = plan
        self.stage = stage

    def __call__(self, part: str, outcome: pl.DataFrame, entry: Entry) -> None:
        """Record `outcome` (OUTCOME_SCHEMA) of the attempt that `entry` belongs to."""
        final = outcome.with_columns(state=pl.col("state").replace("again", str(State.PENDING)))
        self.run.audit(self.plan.object).append(
            part,
            final.select(
                source_id="_source_id",
                target_id="target_id",
                state="state",
                code="code",
                **sent(entry, self.stage, self.job.store.clock()),
            ),
        )
        there = final.filter(pl.col("state").is_in([State.INSERTED, State.UPDATED]) & pl.col("target_id").is_not_null())
        self.job.store.idmap(self.job.plan.source_org_id, self.job.plan.target_org_id).append(
            self.plan.object,
            self.plan.target_object,
            there.select(source_id="_source_id", target_id="target_id", how="state"),
            template=self.job.plan.template,
            phase=self.job.phase,
            run=self.run.number,
            part=part,
        )


def sent(entry: Entry, stage: str, at: datetime) -> dict[str, pl.Expr]:
    """The columns of the audit log that an attempt of `stage` has whatever became of its rows; `at` is the recording."""
    began = entry.payload.get("sent_at")
    when = datetime.fromisoformat(began) if began else None
    return {
        "message": pl.col("message"),
        "fields": pl.col("fields"),
        "attempt": pl.lit(entry.attempt),
        "sf_job_id": pl.lit(entry.payload.get("job_id"), dtype=pl.String),
        "chunk": pl.lit(entry.chunk),
        "stage": pl.lit(stage),
        "rule": pl.lit(entry.payload["operation"]),
        "sent_at": pl.lit(when, dtype=pl.Datetime("ms", "UTC")),
        "at": pl.lit(at),
    }


def send_waves(
    job: SyncJob, run: Run, plan: ObjectPlan, sender: Sender, rows: pl.LazyFrame, check: Callable[[], None]
) -> None:
    """Send the rows of a remapped frame wave by wave: a wave is cut into chunks when the one before is through."""
    for wave in rows.select("_wave").unique().sort("_wave").collect()["_wave"].to_list():
        _plan_wave(job, run, plan, rows.filter(pl.col("_wave") == wave), wave, sender)
        send_wave(job, run, plan, sender, wave, check)


def send_wave(
    job: SyncJob,
    run: Run,
    plan: ObjectPlan,
    sender: Sender,
    wave: int,
    check: Callable[[], None],
    why_stop: Callable[[], str | None] | None = None,
) -> str | None:
    """Send the chunks of a wave that are not done, side by side.

    Rows that must be settled against the target wait until no chunk is in flight. With continue on error off, nothing
    more is sent in the whole run once more rows are refused than allowed; raises what `guarded` does where the run is
    to stop. What is no part of the run's own way (a rollback) says with `why_stop` when nothing more is sent, and gets
    the reason back. `check` proves that the lease still holds.
    """
    numbers = [number for number in sender.ledger.chunks() if number // WAVE_CHUNKS == wave]
    open_chunks = [number for number in numbers if sender.is_open(number)]
    for number in open_chunks:
        sender.resume(number)
    # Rows that an earlier process saw refused, and no more: it may have been killed before it asked.
    _ask_over_refused(job, run, plan, sender)
    finish_chunks(job, run, plan, sender, open_chunks, check, why_stop)
    if why_stop is not None:
        return why_stop()
    stop_here(job, run)
    return None


def finish_chunks(
    job: SyncJob,
    run: Run,
    plan: ObjectPlan,
    sender: Sender,
    numbers: list[int],
    check: Callable[[], None],
    why_stop: Callable[[], str | None] | None = None,
) -> None:
    """Take chunks as far as they go: to their end, or, once the run is to stop, to the end of what is in flight."""
    stop: Callable[[], object | None] = why_stop or (lambda: stop_of(job, run))
    unsettled: list[int] = []
    name = f"{plan.object}-{sender.stage}"
    beside = [number for number in numbers if not sender.goes_alone(number)]
    with ThreadPoolExecutor(max_workers=job.options.parallel_jobs, thread_name_prefix=name) as pool:
        futures = {
            pool.submit(contextvars.copy_context().run, _send_one, job, run, plan, sender, check, stop, number): number
            for number in beside
        }
        try:
            for future in as_completed(futures):
                if not future.result():
                    unsettled.append(futures[future])
        except BaseException:
            # What is in flight comes to its end; nothing that waits is begun.
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    for number in sorted(unsettled):
        check()
        sender.settle(number, claimed_ids(job, run, plan))
        _drive_alone(job, run, plan, sender, number)
    _finish_alone(job, run, plan, sender, numbers, check, stop)
    _ask_over_refused(job, run, plan, sender)


def _finish_alone(
    job: SyncJob,
    run: Run,
    plan: ObjectPlan,
    sender: Sender,
    numbers: list[int],
    check: Callable[[], None],
    stop: Callable[[], object | None],
) -> None:
    """One after the other: chunks whose rows have siblings in others, and rows that did not get a lock."""
    done: set[int] = set()
    while waiting := sorted(set(numbers) - done):
        for number in waiting:
            done.add(number)
            if not sender.goes_alone(number) or (stop() is not None and not sender.in_flight(number)):
                continue
            with job.target.job_slot():
                check()
                _drive_alone(job, run, plan, sender, number)
            _ask_over_refused(job, run, plan, sender)
            # Where more rows than fit into a batch did not get a lock, the others have become chunks of their own.
            numbers = [*numbers, *sender.parted(number)]


def _drive_alone(job: SyncJob, run: Run, plan: ObjectPlan, sender: Sender, number: int) -> None:
    """Take a chunk to its end while no other of the object is in flight."""
    while not sender.drive(number, alone=True):
        sender.settle(number, claimed_ids(job, run, plan))


def stop_over_unknown(job: SyncJob, run: Run, plan: ObjectPlan) -> None:
    """Raise `UnsettledError` where an earlier attempt left rows whose outcome could not be found out."""
    unknown = rows_in(run, plan, State.UNKNOWN)
    if unknown:
        raise UnsettledError(
            f"{plan.object}: {unknown} rows of run {run.number} were sent and their outcome is not known, so nothing more is "
            f"sent. `isync settle {job.plan.template} --phase {job.phase}` looks for them in the target once more, shows what "
            "they might be, and takes your word; then materialize again.",
            rows=unknown,
        )


def waves_planned(ledger: Ledger) -> int:
    """How many waves of an object have been cut into chunks."""
    return sum(name.startswith("wave-") for name in files.names(ledger.folder))


def is_through(ledger: Ledger) -> bool:
    """True where every planned chunk is done and none has rows that are to be sent again."""
    if ledger.pending():
        return False
    last = (ledger.last(number) for number in ledger.chunks())
    return not any(entry is not None and entry.payload.get("again") for entry in last)


def _send_one(
    job: SyncJob,
    run: Run,
    plan: ObjectPlan,
    sender: Sender,
    check: Callable[[], None],
    stop: Callable[[], object | None],
    number: int,
) -> bool:
    if stop() is not None and not sender.in_flight(number):
        return True
    with job.target.job_slot() as slot:
        check()
        done = sender.drive(number)
        if sender.goes_alone(number):
            slot.crowded()
    # At once, so that nothing else of the run is sent: siblings and later chunks see it before their next call.
    _ask_over_refused(job, run, plan, sender)
    return done


def _ask_over_refused(job: SyncJob, run: Run, plan: ObjectPlan, sender: Sender) -> None:
    # A retry begins with refused rows, and is there to find out which of them are refused still.
    if sender.stage in ("load", "relink"):
        ask_over_refused(job, run, plan)


def claimed_ids(job: SyncJob, run: Run, plan: ObjectPlan) -> pl.Series:
    """Target ids that cannot be what was just sent: other source records have them, or they were there before.

    Bounded by one object's ids, 18 characters each; looked at only where an answer was lost.
    """
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).read(plan.object)
    before = known_before(run, plan)
    return pl.concat([id_map.select("target_id"), before.select(target_id="Id")]).unique().collect()["target_id"]


# ── what came of it ──────────────────────────────────────────────────────────────────────────────────────


AUDIT_COLUMNS = {
    "source_id": "the record's id in the source",
    "target_id": "its counterpart in the target",
    "state": "where it ended",
    "code": "Salesforce's status code, where it was refused",
    "message": "Salesforce's message, or why the row was blocked or dropped",
    "fields": "the fields that the refusal names",
    "attempt": "how often it was sent",
    "sf_job_id": "the Bulk job it went with",
    "chunk": "the chunk of the ledger",
    "stage": "the stage that gave it this state",
    "rule": "what was decided, and what was sent",
    "sent_at": "when the attempt began, UTC by the target's clock",
    "at": "when it was accounted, UTC",
}
"""What the audit log says of a record, which is what a load or relink materializes."""


def load_outcome(run: Run, plan: ObjectPlan, stage: str, measure: Measure) -> Outcome:
    """States, errors and links of the object as the audit log has them now."""
    log = run.audit(plan.object)
    states = log.states()
    shown = log.some(PREVIEW_ROWS)
    links = link_counts(current_rows(run, plan.object), plan.lookups).collect()
    outcome = Outcome(
        plan.object,
        stage,
        run.number,
        rows=sum(states.values()),
        states=states,
        numbers={
            "sent": sum(states.get(state, 0) for state in (State.INSERTED, State.UPDATED, State.FAILED)),
            "in target": sum(states.get(state, 0) for state in IN_TARGET),
            "lookups": int(links["rows"].sum()) if links.height else 0,
        },
        calls=measure.calls,
        seconds=measure.seconds,
        bytes=measure.meter.bytes_sent,
        preview=preview_of(shown.select("source_id", "target_id", "state", "code", "message")),
        columns=tuple((name, str(kind), AUDIT_COLUMNS[name]) for name, kind in shown.collect_schema().items()),
        lineage={"source_id": (plan.object, "Id")},
        errors=errors_in(log.standing()),
    )
    return kept(run, outcome)


def errors_in(standing: pl.DataFrame) -> tuple[dict[str, Any], ...]:
    """Refused and blocked rows of a log's standing by state, code and fields, most rows first, with what to do about each."""
    bad = standing.filter(pl.col("state").is_in([State.FAILED, State.BLOCKED, State.UNKNOWN, State.PENDING]))
    shown = bad.head(50).rename({"source_id": "sample"})
    return tuple({**row, "advice": classify(row["code"]).text if row["code"] else ""} for row in shown.to_dicts())


def errors_of(latest: pl.LazyFrame) -> tuple[dict[str, Any], ...]:
    """As `errors_in` of some rows of an audit log, one a record."""
    grouped = latest.group_by("state", "code", "fields").agg(
        pl.len().alias("rows"), pl.col("message").first(), pl.col("source_id").first()
    )
    return errors_in(grouped.sort("rows", descending=True).collect())
