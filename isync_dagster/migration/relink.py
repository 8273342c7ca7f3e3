"""Relink: fill what a load had to leave open, in the rows that have it and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.errors import ConfigError
from isync_dagster.migration.automation import ensure_off
from isync_dagster.migration.carried import take_second_pass
from isync_dagster.migration.chunks import cut_update
from isync_dagster.migration.decisions import named_pairs, near_pairs, pairs_of
from isync_dagster.migration.load import (
    Keeper,
    is_through,
    load_outcome,
    send_wave,
    sent,
    stop_over_unknown,
    waves_planned,
)
from isync_dagster.migration.mapped import prove_lookups
from isync_dagster.migration.memory import CELL, behind, memory
from isync_dagster.migration.model import Outcome, State, SyncJob
from isync_dagster.migration.outcomes import measured
from isync_dagster.migration.remap import current_rows, remapped, with_default_ids
from isync_dagster.migration.runs import current_run
from isync_dagster.migration.sending import Sender
from isync_dagster.migration.slicing import grouped
from isync_dagster.migration.stopping import guarded
from isync_dagster.migration.writing import claimed, hold_target
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.records.relink import left_open, pending_links, relink_payload, relinked_fields
from isync_dagster.records.relink import relink as relinked_rows
from isync_dagster.store import files
from isync_dagster.store.ledger import Entry
from isync_dagster.store.runs import Run
from isync_dagster.store.scratch import scratch

STATE_BYTES = 500
"""What a record takes while the log is asked in which state the load left it."""
ROW_BYTES = 300
"""What a row of the second pass takes besides its cells: its ids in the audit log and in id maps."""


def relink(job: SyncJob, object: str) -> Outcome:
    """Send the deferred lookups, staged fields and cleared defaults of `object`; resumes where it was cut off."""
    with measured() as measure:
        run = current_run(job)
        plan = job.object(object)
        if not job.in_phase(object):
            return Outcome(object, "relink", run.number, notes=(f"not in phase {job.phase!r}",))
        # No load waits for a second pass.
        with claimed(job, run, "relink", object), behind(0):
            _relink(job, run, plan)
            return load_outcome(run, plan, "relink", measure)


def _relink(job: SyncJob, run: Run, plan: ObjectPlan) -> None:
    """Send what is to be sent."""
    lease = hold_target(job, run)
    ensure_off(job, run)
    stop_over_unknown(job, run, plan)
    with guarded(job, run) as job:
        sender = Sender(job, run, plan, "relink", RelinkKeeper(job, run, plan, "relink"))
        path = sender.ledger.folder / "wave-00000.json"
        if not files.exists(path):
            rows = _write_rows(job, run, with_default_ids(job, run, plan))
            number = 0
            for chunk, part in cut_update(job, sender.ledger, relink_payload(rows, plan), plan.lookups):
                sender.plan_chunk(chunk, part)
                number += 1
            files.write_json(path, {"chunks": number})
        send_wave(job, run, plan, sender, 0, lease.check)


def linked_rows(run: Run, object: str) -> pl.LazyFrame | None:
    """The rows of the second pass as it was planned, with the target id of each deferred lookup; None before.

    Rows that have nothing for it may not be among them (`left_open`)."""
    path = _rows_path(run, object)
    return files.scan(path) if files.exists(path) else None


def is_planned(run: Run, object: str) -> bool:
    """True once relink has decided what it sends."""
    return files.exists(run.ledger("relink", object).folder / "wave-00000.json")


def _rows_path(run: Run, object: str) -> Any:
    return run.folder / "relink" / object / "part-00000.parquet"


def _write_rows(job: SyncJob, run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """Resolve the deferred lookups of every row that reached the target, and remember those that still wait."""
    if not is_loaded(run, plan.object):
        raise ConfigError(
            f"{plan.object} is not loaded completely in run {run.number}. Materialize its load asset first; it says what "
            "stopped it.",
            object=plan.object,
        )
    path = _rows_path(run, plan.object)
    if not files.exists(path):
        prove_lookups(job, run, plan.deferred)
        # Decided once: a resume that resolved anew could cut other chunks than those that are planned already.
        if not take_second_pass(job, run, plan, path.name):
            _decide(job, run, plan, path)
    written = files.scan(path)
    late = {lookup.target.name for lookup in plan.deferred}
    pending = pending_links(written, plan).filter(pl.col("field").is_in(sorted(late)))
    if late and not pending.head(1).collect().is_empty():
        job.store.pending(job.plan.source_org_id, job.plan.target_org_id).add(
            plan.object, pending, template=job.plan.template, phase=job.phase, run=run.number, part="relink"
        )
    keep_relink_before_images(run, plan, written, "relink")
    return written


def _decide(job: SyncJob, run: Run, plan: ObjectPlan, path: UPath) -> None:
    """Write the rows of the second pass, in slices where they are more than a share of the memory: in their order, and of
    the audit log and id maps only what a slice names."""
    rows = current_rows(run, plan.object)
    rows = left_open(rows, plan).select(_needed(rows, plan))
    count = int(rows.select(pl.len()).collect().item())
    size = count * (ROW_BYTES + CELL * len(rows.collect_schema()))
    slices, share = memory().sliced(size)
    length = -(-count // slices)
    # What is written is laid out before the share is taken: nothing else may be waited for while it is held.
    if slices == 1:
        decided = _decided(job, run, plan, rows, _arrived(run, plan, None), None)
        with memory().share(share):
            files.write_parquet(path, decided)
        return
    with scratch() as place:
        open_rows = UPath(place / "rows.parquet")
        # It streams, and is filtered and cut no more than once.
        files.write_parquet(open_rows, rows)
        parts = [files.scan(open_rows).slice(number * length, length) for number in range(slices)]
        made: list[UPath] = []
        waiting = [(f"_from.{lookup.target.name}", lookup) for lookup in plan.deferred]
        for number, group in enumerate(grouped(parts)):
            # What several slices name of the audit log and of id maps is read once for all of them.
            near = near_pairs(job, run, waiting, group, share, place / f"group-{number:05d}")
            there, arrived = UPath(place / f"there-{number:05d}.parquet"), _arrived(run, plan, pl.concat(group))
            with memory().share(share):
                files.write_parquet(there, arrived)
            for rows_of in group:
                decided = _decided(job, run, plan, rows_of, files.scan(there), near)
                made.append(UPath(place / f"decided-{len(made):05d}.parquet"))
                with memory().share(share):
                    files.write_parquet(made[-1], decided)
        files.write_parquet(path, files.scan(made))


def _arrived(run: Run, plan: ObjectPlan, rows: pl.LazyFrame | None) -> pl.LazyFrame:
    """`_source_id`, `_there` (target id) of the records that are in the target as ours; of `rows` alone where given."""
    log = run.audit(plan.object)
    latest = log.latest(of=None if rows is None else rows.select(source_id="_source_id"))
    ours = latest.filter(pl.col("state").is_in([State.INSERTED, State.UPDATED, State.IDENTICAL]))
    return ours.select(_source_id="source_id", _there="target_id")


def _decided(
    job: SyncJob,
    run: Run,
    plan: ObjectPlan,
    rows: pl.LazyFrame,
    there: pl.LazyFrame,
    near: Mapping[str, pl.LazyFrame] | None,
) -> pl.LazyFrame:
    """Those of `rows` that reached the target (`_arrived`), their deferred lookups resolved: by all of an id map, or by what is
    `near` of it (`near_pairs`)."""

    def pairs(lookup: Lookup) -> pl.LazyFrame:
        if near is None:
            return pairs_of(job, run, lookup)
        return named_pairs(job, run, lookup, rows, f"_from.{lookup.target.name}", near)

    found = rows.join(there, on="_source_id", how="inner", maintain_order="left")
    return relinked_rows(found.with_columns(_target_id=pl.col("_there")).drop("_there"), plan, pairs)


def _needed(rows: pl.LazyFrame, plan: ObjectPlan) -> list[str]:
    """The columns of a decided frame that the second pass looks at: its own fields, all lookups, what says where they stand."""
    sent = relinked_fields(plan)
    fields = {*sent, *(lookup.target.name for lookup in plan.lookups)}
    return [
        name
        for name in rows.collect_schema().names()
        if (name.removeprefix("_now.") in sent if name.startswith("_now.") else name.startswith("_") or name in fields)
    ]


def keep_relink_before_images(run: Run, plan: ObjectPlan, rows: pl.LazyFrame, part: str) -> None:
    """The target's present values of what the second pass changes in records that this run did not insert."""
    before = run.before(plan.object)
    now = [name for name in rows.collect_schema().names() if name.startswith("_now.")]
    if now and not before.has(part):
        changed = rows.filter((pl.col("_changed").list.len() > 0) & (pl.col("_decision") != "insert"))
        before.write(
            part,
            changed.select(
                pl.col("_target_id").alias("Id"), "_changed", *[pl.col(name).alias(name[5:]) for name in now]
            ),
        )


def is_loaded(run: Run, object: str) -> bool:
    """True where every row of the object that load had to send has its final outcome."""
    if "remap" not in run.audit(object).parts():
        return False
    waves = remapped(run, object).select(pl.col("_wave").n_unique()).collect().item()
    return waves_planned(run.ledger("load", object)) == waves and is_through(run.ledger("load", object))


def is_relinked(run: Run, object: str) -> bool:
    """True where every row that relink had to send has its final outcome."""
    return is_planned(run, object) and is_through(run.ledger("relink", object))


class RelinkKeeper(Keeper):
    """A relinked row keeps its state; one that was identical is updated now, one that was refused has failed."""

    def __call__(self, part: str, outcome: pl.DataFrame, entry: Entry) -> None:
        """Record `outcome` (OUTCOME_SCHEMA) of the attempt that `entry` belongs to."""
        size = outcome.height * STATE_BYTES
        # Of a second pass a chunk may have millions of rows: what the log says of them is looked for a share at a time.
        length = -(-outcome.height // max(1, -(-size // memory().limit))) or 1
        with memory().share(size):
            parts = [self._loaded(outcome.slice(at, length)) for at in range(0, max(outcome.height, 1), length)]
        loaded = pl.concat(parts)
        joined = outcome.join(loaded, left_on="_source_id", right_on="source_id", how="left")
        done = pl.col("state") == State.UPDATED
        state = (
            pl.when(done & (pl.col("_loaded") == State.IDENTICAL))
            .then(pl.lit(str(State.UPDATED)))
            .when(done)
            .then(pl.col("_loaded"))
            .otherwise(pl.col("state").replace("again", str(State.PENDING)))
        )
        self.run.audit(self.plan.object).append(
            part,
            joined.select(
                source_id="_source_id",
                target_id=pl.coalesce("_there", "target_id"),
                state=state,
                code="code",
                **sent(entry, self.stage, self.job.store.clock()),
            ),
        )

    def _loaded(self, outcome: pl.DataFrame) -> pl.DataFrame:
        """`_loaded_state` of the records of an outcome."""
        log = self.run.audit(self.plan.object).read().filter(pl.col("stage").is_in(["remap", "load"]))
        mine = outcome.lazy().select("_source_id")
        before = log.select("source_id", "stage", "attempt", "state", "target_id").join(
            mine, left_on="source_id", right_on="_source_id", how="semi"
        )
        return _loaded_state(before).collect(engine="streaming")


def _loaded_state(audit: pl.LazyFrame) -> pl.LazyFrame:
    """The state and target id that remap and load left each record in: load wins over remap, a later attempt over an earlier."""
    rank = (pl.col("stage") == "load").cast(pl.Int64) * 1000 + pl.col("attempt").cast(pl.Int64).fill_null(0)
    return (
        audit.with_columns(_rank=rank)
        .group_by("source_id")
        .agg(pl.col("state").max_by("_rank").alias("_loaded"), pl.col("target_id").max_by("_rank").alias("_there"))
    )
