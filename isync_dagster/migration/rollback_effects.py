"""What a rollback does to the memory of the tool, so that the next run starts as if this one had never been.

The id map forgets every pair that the run brought (records that it inserted, and matches that it found, which a better
match key may find otherwise); a pair that was known before stays. Links that the run left pending wait no more; links
of earlier runs that it healed wait again. Records that the rollback left in the target keep their pairs: the next run
finds them instead of making them twice.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from isync_dagster.migration.model import State, SyncJob
from isync_dagster.store import files
from isync_dagster.store.pending import Pending
from isync_dagster.store.rollbacks import Rollback
from isync_dagster.store.runs import RunState

REASON = "rolled back"
KEPT = [State.SKIPPED, State.FAILED, State.PENDING, State.UNKNOWN]
"""States of the rollback's audit log whose record is in the target as the run left it."""


WAS = ("source_parent_id", "parent_object", "template", "phase", "run")
"""What a link that waits again has kept."""


def forget_pairs(job: SyncJob, rollback: Rollback, object: str) -> int:
    """Tombstones for the pairs of an object that the run brought; how many source records have no counterpart now."""
    log = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    everything = log.history(object).with_columns(_mine=_of_run(rollback))
    present = everything.group_by("source_id").agg(pl.col("target_id", "gone").max_by("_sequence"))
    history = _in_force(job, everything)
    newest = history.group_by("source_id").agg(pl.col("_mine").max_by("_sequence"))
    before = (
        history.filter(~pl.col("_mine"))
        .group_by("source_id")
        .agg(pl.col("target_id", "gone").max_by("_sequence").name.prefix("_was_"))
    )
    latest = rollback.audit(object).latest()
    kept = latest.filter(pl.col("state").is_in(KEPT)).select("source_id")
    deleted = latest.filter(pl.col("state") == State.DELETED).select("source_id", _deleted=pl.lit(True))
    known = pl.col("_was_gone").is_null() & (pl.col("_was_target_id") == pl.col("target_id"))
    lost = (
        present.filter(pl.col("gone").is_null())
        .join(newest, on="source_id", how="left")
        .join(before, on="source_id", how="left")
        .join(deleted, on="source_id", how="left")
        .join(kept, on="source_id", how="anti")
        .filter(pl.col("_deleted").fill_null(False) | (pl.col("_mine").fill_null(False) & ~known.fill_null(False)))
    )
    return _written(
        rollback,
        f"forgotten-{object}",
        lost.select("source_id"),
        lambda rows: log.tombstone(object, rows, REASON, **_where(rollback)),
    )


def restore_links(job: SyncJob, rollback: Rollback, object: str) -> int:
    """Pending links of an object as they were before the run; how many wait again."""
    log = job.store.pending(job.plan.source_org_id, job.plan.target_org_id)
    key = ["source_id", "field"]
    history = _in_force(job, log.history(object).with_columns(_mine=_of_run(rollback)))
    newest = history.group_by(key).agg(pl.col("healed", "_mine").max_by("_sequence"))
    before = (
        history.filter(~pl.col("_mine"))
        .group_by(key)
        .agg(pl.col(*WAS, "healed").max_by("_sequence").name.prefix("_was_"))
    )
    latest = rollback.audit(object).latest()
    kept = latest.filter(pl.col("state").is_in(KEPT)).select("source_id")
    gone = latest.filter(pl.col("state") == State.DELETED).select("source_id")
    mine = newest.filter(pl.col("_mine")).join(before, on=key, how="left").join(kept, on="source_id", how="anti")
    waited = pl.col("_was_source_parent_id").is_not_null() & pl.col("_was_healed").is_null()
    closed = mine.filter(pl.col("healed").is_null() & ~waited).select(key)
    opened = mine.filter(pl.col("healed").is_not_null() & waited).join(gone, on="source_id", how="anti")
    _written(
        rollback,
        f"closed-{object}",
        closed,
        lambda rows: log.heal(object, rows, how=REASON, **_where(rollback)),
    )
    return _written(
        rollback,
        f"opened-{object}",
        opened.select(*key, *(pl.col(f"_was_{name}").alias(name) for name in WAS)),
        lambda rows: _open_again(log, rollback, object, rows),
    )


def _open_again(log: Pending, rollback: Rollback, object: str, rows: pl.LazyFrame) -> None:
    """Add links in the name of the runs that remembered them: those fill them when the parent is there."""
    mine = rollback.run.job
    for template, phase, run in rows.select("template", "phase", "run").unique().sort(pl.all()).collect().iter_rows():
        own = (pl.col("template") == template) & (pl.col("phase") == phase) & (pl.col("run") == run)
        part = f"{rollback.step}-of-{mine.phase}-{rollback.run.number}-opened"
        log.add(object, rows.filter(own), template=template, phase=phase, run=run, part=part)


def _written(rollback: Rollback, name: str, rows: pl.LazyFrame, write: Any) -> int:
    """Decide once, then write: a repeat after a crash must not see its own first try as the state before."""
    path = rollback.folder / "effects" / f"{name}.parquet"
    if not files.exists(path):
        files.write_parquet(path, rows)
    count: int = files.scan(path).select(pl.len()).collect().item()
    if count:
        write(files.scan(path))
    return count


def _in_force(job: SyncJob, history: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of runs that are not rolled back: one that is has brought nothing and taken nothing away."""
    undone: list[dict[str, Any]] = []
    for key in job.store.jobs():
        if (key.source_org_id, key.target_org_id) != (job.plan.source_org_id, job.plan.target_org_id):
            continue
        states = ((run.number, run.state) for run in job.store.runs(key).list())
        undone += [
            {"template": key.template, "phase": key.phase, "run": number}
            for number, state in states
            if state is RunState.ROLLED_BACK
        ]
    schema = {"template": pl.String(), "phase": pl.String(), "run": pl.Int32()}
    runs = pl.LazyFrame(undone, schema=schema)
    # The run at hand counts, though a second rollback of it finds it rolled back already.
    return history.join(runs.with_columns(_undone=pl.lit(True)), on=list(schema), how="left").filter(
        pl.col("_undone").is_null() | pl.col("_mine")
    )


def _of_run(rollback: Rollback) -> pl.Expr:
    job = rollback.run.job
    own = (pl.col("template") == job.template) & (pl.col("phase") == job.phase)
    return own & (pl.col("run") == rollback.run.number)


def _where(rollback: Rollback) -> dict[str, Any]:
    job = rollback.run.job
    return {"template": job.template, "phase": job.phase, "run": rollback.run.number, "part": rollback.step}
