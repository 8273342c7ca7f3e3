"""The plan of a rollback: what the run wrote, as it is in the target now, and what is to be done with each record.

It reads the target and writes into the store alone. For each object one filtered read of what was touched since the
run was opened; what is not among it is asked for by id, since only that proves that a record is gone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl

from isync_dagster.migration import reading
from isync_dagster.migration.chunks import WAVE_CHUNKS
from isync_dagster.migration.closing import sending_windows, stamps_of, touched_since
from isync_dagster.migration.model import IN_TARGET, Progress, State, SyncJob
from isync_dagster.migration.rollback_model import (
    ALREADY_GONE,
    MEANING,
    Conflict,
    Conflicts,
    ObjectUndo,
    RollbackPlan,
)
from isync_dagster.migration.rollback_others import Undoing, add_restored, decided_path, ids_of, in_others_hands
from isync_dagster.migration.rollback_runs import own_windows
from isync_dagster.migration.settling import user_id
from isync_dagster.migration.target import ID, described, known_fields, stamp_fields
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.undo import Window, changed_since, images, within, written
from isync_dagster.schema.model import Field
from isync_dagster.store import files
from isync_dagster.store.ledger import ChunkState
from isync_dagster.store.rollbacks import Rollback, rollbacks
from isync_dagster.store.runs import Run

IDS_A_QUERY = 500
SAMPLES = 3
THEN = "_then"
_SECOND_PASS = re.compile(r"relink|heal-\d+|retry-\d+-relink")
"""Steps that write to records once they are there: undone first, as they came last."""
_NUMBERED = re.compile(r"(?:upsert-)?(?:retry|heal)-(\d+)")


def plan_run(
    job: SyncJob, rollback: Rollback, conflicts: Conflicts, hard_delete: bool, before: Undoing | None = None
) -> RollbackPlan:
    """Decide on every record that the run wrote and write it down (`Rollback.records`); nothing is sent.

    `before` is what rollbacks of later runs will have undone by then; what this one undoes is added to it.
    """
    run, undoing = rollback.run, before if before is not None else Undoing()
    later, everything, wrote_as = own_windows(job, run)
    user = wrote_as or user_id(job.target)
    items = [plan for plan in reversed(job.plan.objects) if _was_sent(run, plan)]
    notes: list[str] = []
    for plan in items:
        job.progress(Progress(plan.object, "rollback", "reading what became of its records"))
        notes += _decide(job, rollback, plan, later, everything, user)
    found, more = in_others_hands(job, rollback, items, conflicts, undoing, user)
    for plan in items:
        _write_records(rollback, plan, found.filter(pl.col("object") == plan.target_object), conflicts)
        files.remove(decided_path(rollback, plan.object))
        _add(undoing, rollback, plan)
    return RollbackPlan(
        job.plan.template,
        run.job.phase,
        run.number,
        rollback.number,
        conflicts,
        hard_delete,
        tuple(_summed(rollback, plan) for plan in items),
        (*notes, *more),
    )


def restored_images(job: SyncJob, run: Run, plan: ObjectPlan, second_pass: bool) -> pl.LazyFrame | None:
    """Values before the run's second passes (relink, heals, those of retries), or before its load (upserts and retries
    too), as `undo.images` gives them: what was kept first is what was there before the run."""
    log = run.before(plan.object)
    parts = [part for part in log.parts() if (_SECOND_PASS.fullmatch(part) is not None) == second_pass]
    began = {part: _began(run, plan, part) for part in parts}
    return images([log.read(part) for part in sorted(parts, key=lambda part: began[part])], writable(job, plan))


def _began(run: Run, plan: ObjectPlan, part: str) -> tuple[datetime, int, str]:
    """When the step that kept a part began to send; what has sent nothing comes last."""
    numbered = _NUMBERED.match(part)
    number = int(numbered[1]) if numbered else 0
    late = _SECOND_PASS.fullmatch(part) is not None
    ledger = run.ledger(part if late else f"retry-{number}" if numbered else "load", plan.object)
    first = next(iter(ledger.chunks()), None)
    entry = ledger.entry(first, 1, ChunkState.PLANNED) if first is not None else None
    return (entry.at if entry is not None else datetime.max.replace(tzinfo=UTC), number, part)


def writable(job: SyncJob, plan: ObjectPlan) -> dict[str, Field]:
    """Fields that the plan writes and the target still lets this user update."""
    live = described(job, plan.target_object)
    known = known_fields(plan).items()
    return {name: item for name, item in known if (now := live.field(name)) is not None and now.updateable}


# ── each record by itself ────────────────────────────────────────────────────────────────────────────────


def _decide(
    job: SyncJob,
    rollback: Rollback,
    plan: ObjectPlan,
    later: Sequence[Window],
    everything: Sequence[Window],
    user: str,
) -> list[str]:
    """Write `source_id`, `target_id`, `action`, `code`, `message` of each record that was written; notes."""
    run = rollback.run
    live = described(job, plan.target_object)
    stamps = stamp_fields(job, plan.target_object)
    made = [Field("CreatedDate", "datetime"), Field("CreatedById", "reference")]
    fields = (ID, *stamps, *(item for item in made if live.field(item.name) is not None))
    rows = _to_undo(rollback, plan)
    now = _current(job, rollback, plan, fields, rows).with_columns(_there=pl.lit(True))
    then = stamps_of(run, plan.object)
    then = then.rename({name: f"{name}{THEN}" for name in then.collect_schema().names() if name != "Id"})
    rows = (
        rows.join(now, left_on="target_id", right_on="Id", how="left")
        .join(then, left_on="target_id", right_on="Id", how="left")
        .join(_kept(run, plan), left_on="target_id", right_on="Id", how="left")
        .join(_restorable(job, run, plan), left_on="target_id", right_on="Id", how="left")
    )
    by_us = pl.lit(False)
    if live.field("CreatedDate") is not None and live.field("CreatedById") is not None:
        by_us = within(pl.col("CreatedDate"), sending_windows(run)) & (pl.col("CreatedById") == user)
    # An upsert that was repeated after a lost answer says 'updated' of the record that its first try made.
    delete = pl.col("_inserted") | (pl.col("_imaged").is_null() & by_us.fill_null(False))
    names = [item.name for item in stamps]
    changed = changed_since(names, THEN, later=later, all_of=everything, user=user)
    code = (
        pl.when(pl.col("_there").is_null())
        .then(pl.lit(ALREADY_GONE))
        .when(delete & pl.lit(not live.deletable))
        .then(pl.lit(str(Conflict.NOT_DELETABLE)))
        .when(~delete & pl.col("_restorable").is_null())
        .then(pl.lit(str(Conflict.NO_BEFORE_IMAGE)))
        .when(changed)
        .then(pl.lit(str(Conflict.CHANGED_SINCE)))
    )
    decided = rows.select(
        "source_id",
        "target_id",
        pl.when(delete).then(pl.lit("delete")).otherwise(pl.lit("restore")).alias("action"),
        code.alias("code"),
        _last_change(names).alias("_who"),
    )
    files.write_parquet(decided_path(rollback, plan.object), decided)
    gone = sorted(_named_fields(run, plan) - set(writable(job, plan)))
    if not gone:
        return []
    return [
        f"{plan.target_object}: {', '.join(gone)} can no longer be updated in the target and keeps its present value."
    ]


def _to_undo(rollback: Rollback, plan: ObjectPlan) -> pl.LazyFrame:
    """What the run wrote, without what an earlier rollback has undone."""
    # Two source records that led to one target record are one record to undo.
    rows = written(rollback.run.audit(plan.object).read()).unique("target_id", keep="any")
    for earlier in rollbacks(rollback.run):
        if earlier.number < rollback.number:
            done = earlier.audit(plan.object).latest().filter(pl.col("state").is_in([State.DELETED, State.UPDATED]))
            rows = rows.join(done.select("source_id"), on="source_id", how="anti")
    return rows


def _current(
    job: SyncJob, rollback: Rollback, plan: ObjectPlan, fields: Sequence[Field], rows: pl.LazyFrame
) -> pl.LazyFrame:
    """`fields` of the records as they are now; one that is in neither read is gone."""
    folder = rollback.folder / "current" / plan.object
    where = touched_since(rollback.run, [item.name for item in fields])
    target = plan.target_object
    reading.read(job, job.target, object=target, fields=fields, where=where, folder=folder, stage="rollback")
    found = [reading.scan(folder, fields)]
    # Bounded by what is not found: records that were deleted since, or that nobody saved as far as the stamps tell.
    missing = rows.select(Id="target_id").join(found[0], on="Id", how="anti").unique().sort("Id").collect()["Id"]
    for number, start in enumerate(range(0, len(missing), IDS_A_QUERY)):
        quoted = ", ".join(f"'{value}'" for value in missing.slice(start, IDS_A_QUERY).to_list())
        part = folder / "by-id" / f"{number:05d}"
        asked = f"Id IN ({quoted})"
        reading.read(job, job.target, object=target, fields=fields, where=asked, folder=part, stage="rollback")
        found.append(reading.scan(part, fields))
    return pl.concat(found)


def _kept(run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """`Id` and `_imaged` of every record with a before-image."""
    log = run.before(plan.object)
    ids = [log.read(part).select("Id") for part in log.parts()]
    frame = pl.concat(ids).unique() if ids else pl.LazyFrame(schema={"Id": pl.String})
    return frame.with_columns(_imaged=pl.lit(True))


def _restorable(job: SyncJob, run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """`Id` and `_restorable` of every record of which a field can be set back."""
    found = (restored_images(job, run, plan, late) for late in (False, True))
    ids = [frame.select("Id") for frame in found if frame is not None]
    frame = pl.concat(ids).unique() if ids else pl.LazyFrame(schema={"Id": pl.String})
    return frame.with_columns(_restorable=pl.lit(True))


def _named_fields(run: Run, plan: ObjectPlan) -> set[str]:
    """Fields that some before-image of the object says were changed."""
    log = run.before(plan.object)
    parts = [log.read(part).select(pl.col("_changed").explode().drop_nulls().unique()) for part in log.parts()]
    return set(pl.concat(parts).collect()["_changed"].to_list()) if parts else set()


def _last_change(names: Sequence[str]) -> pl.Expr:
    told = [name for name in ("LastModifiedDate", "LastModifiedById") if name in names]
    if len(told) < 2:
        return pl.lit("changed after the run")
    return pl.format("last modified {} by {}", pl.col(told[0]).dt.strftime("%Y-%m-%dT%H:%M:%SZ"), told[1])


# ── the records, and their sum ───────────────────────────────────────────────────────────────────────────


def _write_records(rollback: Rollback, plan: ObjectPlan, stakes: pl.DataFrame, conflicts: Conflicts) -> None:
    """Every record with its `state` before anything is sent (`pending` where something is to be), in order of `_row`.

    Columns: `_row` UInt32, `_source_id`, `_target_id`, `action` (delete, restore), `state`, `code`, `message` String,
    `_wave` UInt32 (the higher is deleted first).
    """
    rows = files.scan(decided_path(rollback, plan.object))
    rows = rows.join(
        stakes.lazy().select(target_id="Id", _stake="code", _told="message"), on="target_id", how="left"
    ).with_columns(_stake=pl.when(pl.col("action") == "delete").then(pl.col("_stake")))
    own = pl.col("code")
    code = pl.coalesce(own, "_stake")
    mild = own.is_null() | (own == Conflict.CHANGED_SINCE)
    message = (
        pl.when(own == ALREADY_GONE)
        .then(pl.lit("it was deleted before the rollback"))
        .when(own == Conflict.CHANGED_SINCE)
        .then(pl.concat_str("_who", "_told", separator="; ", ignore_nulls=True))
        .when(own.is_not_null())
        .then(own.replace_strict(dict(MEANING), default=None, return_dtype=pl.String))
        .otherwise(pl.col("_told"))
    )
    state = (
        pl.when(own == ALREADY_GONE)
        .then(pl.lit(str(State.DELETED)))
        .when(code.is_null() | (mild & pl.lit(conflicts is Conflicts.FORCE)))
        .then(pl.lit(str(State.PENDING)))
        .otherwise(pl.lit(str(State.SKIPPED)))
    )
    rows = rows.with_columns(state.alias("state"), code.alias("code"), message.alias("message"))
    rows = _with_waves(rollback.run, plan, rows).sort("_wave", "target_id", descending=[True, False])
    files.write_parquet(
        rollback.records(plan.object),
        rows.with_row_index("_row").select(
            pl.col("_row").cast(pl.UInt32),
            pl.col("source_id").alias("_source_id"),
            pl.col("target_id").alias("_target_id"),
            "action",
            "state",
            "code",
            "message",
            "_wave",
        ),
    )


def _with_waves(run: Run, plan: ObjectPlan, rows: pl.LazyFrame) -> pl.LazyFrame:
    """`_wave`: records that the load, and after it a retry, sent later stand below earlier ones and are deleted first."""
    if plan.wave_rule is None:
        return rows.with_columns(_wave=pl.lit(0, dtype=pl.UInt32))
    there = pl.col("state").is_in([State.INSERTED, State.UPDATED, State.UNKNOWN])
    sent = there & pl.col("stage").str.contains(r"^(load|retry-\d+)$") & pl.col("chunk").is_not_null()
    late = pl.col("stage").str.extract(r"(\d+)").cast(pl.Int64).fill_null(0) * WAVE_CHUNKS
    order = (late + pl.col("chunk") // WAVE_CHUNKS).max()
    waves = run.audit(plan.object).read().filter(sent).group_by("source_id").agg(order.alias("_wave"))
    return rows.join(waves, on="source_id", how="left").with_columns(
        pl.col("_wave").fill_null(0).rank("dense").cast(pl.UInt32)
    )


def _add(undoing: Undoing, rollback: Rollback, plan: ObjectPlan) -> None:
    """Add what the records say to what earlier rollbacks leave."""
    rows = files.scan(rollback.records(plan.object)).filter(pl.col("state") == State.PENDING)
    rows = rows.select("action", target_id="_target_id")
    undoing.deleted[plan.target_object].append(ids_of(rows.filter(pl.col("action") == "delete")))
    add_restored(undoing.restored, rollback.run, plan, ids_of(rows.filter(pl.col("action") == "restore")))


def _summed(rollback: Rollback, plan: ObjectPlan) -> ObjectUndo:
    rows = files.scan(rollback.records(plan.object))
    counted = rows.group_by("action", "state", "code").len().collect()
    latest = rollback.run.audit(plan.object).latest()
    there = latest.filter(pl.col("state").is_in(IN_TARGET))
    left = there.join(written(rollback.run.audit(plan.object).read()), on="source_id", how="anti")
    unknown = latest.filter((pl.col("state") == State.UNKNOWN) & pl.col("target_id").is_null())
    kinds = [str(kind) for kind in Conflict]
    conflicts = counted.filter(pl.col("code").is_in(kinds)).group_by("code").agg(pl.col("len").sum()).sort("code")
    named = rows.filter(pl.col("code").is_not_null()).group_by("code", maintain_order=True).head(SAMPLES)
    samples = named.select("code", "action", "_target_id", "_source_id", "message").sort("code").collect()

    def count(*conditions: pl.Expr) -> int:
        return int(counted.filter(*conditions)["len"].sum())

    pending = pl.col("state") == State.PENDING
    return ObjectUndo(
        plan.object,
        plan.target_object,
        delete=count(pending, pl.col("action") == "delete"),
        restore=count(pending, pl.col("action") == "restore"),
        gone=count(pl.col("code") == ALREADY_GONE),
        unknown=unknown.select(pl.len()).collect().item(),
        left=left.select(pl.len()).collect().item(),
        conflicts={str(code): int(rows) for code, rows in conflicts.iter_rows()},
        samples=tuple(
            {"code": row["code"], "action": row["action"], "target_id": row["_target_id"]}
            | {"source_id": row["_source_id"], "message": row["message"]}
            for row in samples.to_dicts()
        ),
    )


def _was_sent(run: Run, plan: ObjectPlan) -> bool:
    """True where the run may have written records of the object."""
    return any(part != "remap" for part in run.audit(plan.object).parts())
