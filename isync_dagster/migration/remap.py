"""Remap: transform the extract, replace every reference by the target's id, match, and decide each row's fate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from isync_dagster.errors import ConfigError, MissingParentError
from isync_dagster.migration.caps import guard_caps
from isync_dagster.migration.carried import ABOUT_BEFORE, anew_or_taken, take_decisions
from isync_dagster.migration.contention import measure_order, sorted_by, told
from isync_dagster.migration.decisions import waits_for_level, write_decided
from isync_dagster.migration.extract import extracted
from isync_dagster.migration.left import is_left, was_sent
from isync_dagster.migration.mapped import prove, prove_lookups
from isync_dagster.migration.model import Outcome, Progress, SyncJob
from isync_dagster.migration.outcomes import Measure, columns_of, counts_by, kept, measured, preview_of
from isync_dagster.migration.preflight import require_preflight
from isync_dagster.migration.references import default_target_id
from isync_dagster.migration.runs import current_run
from isync_dagster.migration.slicing import part_name, read_parts
from isync_dagster.migration.stopping import guarded
from isync_dagster.migration.target import known_fields, read_target, target_rows
from isync_dagster.migration.writing import claimed, hold_target
from isync_dagster.plan.model import ObjectPlan, Policy
from isync_dagster.records.relink import WRITTEN
from isync_dagster.records.remap import link_counts
from isync_dagster.store import files
from isync_dagster.store.runs import Run


def remap(job: SyncJob, object: str) -> Outcome:
    """Write the rows of `object` ready to send, each with its decision and the state of each lookup.

    Returns what was recorded where the run has it already: the decisions of a run are made once. Raises
    `MissingParentError` where policy `stop` met a missing parent.
    """
    with measured() as measure:
        run = current_run(job)
        plan = job.object(object)
        if not job.in_phase(object):
            return Outcome(object, "remap", run.number, notes=(f"not in phase {job.phase!r}",))
        recorded = files.read_json(_manifest(run, object))
        if recorded is not None:
            return Outcome.from_json(recorded)
        require_preflight(run)
        hold_target(job, run)
        with claimed(job, run, "remap", object):
            recorded = files.read_json(_manifest(run, object))
            if recorded is not None:
                # Another worker was at it a moment ago, and a load may read its rows by now.
                return Outcome.from_json(recorded)
            with guarded(job, run) as job:
                outcome = remap_rows(job, run, with_default_ids(job, run, plan), measure)
            files.write_json(_manifest(run, object), outcome.to_json())
            return kept(run, outcome)


def remapped(run: Run, object: str) -> pl.LazyFrame:
    """The rows of an object as remap wrote them; `ConfigError` where it has not run."""
    remap_outcome(run, object)
    return remap_rows_of(run, object)


def remap_rows_of(run: Run, object: str) -> pl.LazyFrame:
    """The rows of an object as remap, or a scan, wrote them, in their order; `StoreError` where there are none."""
    return read_parts(run.remap_folder(object))


def has_rows(run: Run, object: str) -> bool:
    """True where the run still has the object's rows as remap wrote them."""
    return files.exists(remap_path(run, object))


def remap_outcome(run: Run, object: str) -> Outcome:
    """What remap recorded of an object; `ConfigError` where it has not run."""
    recorded = files.read_json(_manifest(run, object))
    if recorded is None:
        raise ConfigError(
            f"{object} has not been remapped in run {run.number} of phase {run.job.phase!r}. Materialize its remap asset first."
        )
    return Outcome.from_json(recorded)


def remap_path(run: Run, object: str) -> Any:
    """The first part of the remapped rows of an object in a run."""
    return run.remap_folder(object) / part_name(0)


def _manifest(run: Run, object: str) -> Any:
    return run.remap_folder(object) / "manifest.json"


def remap_rows(job: SyncJob, run: Run, plan: ObjectPlan, measure: Measure) -> Outcome:
    """Decide the rows of an object and write them, whatever the gate says: what remap does behind it, and a scan.

    The defaults of the plan's lookups are target ids (`with_default_ids`). Raises `MissingParentError` as `remap`, the
    rows being written by then.
    """
    job.progress(Progress(plan.object, "remap", "resolving references"))
    if not is_left(run, plan):
        read_target(job, run, [plan])
    gone = prove(job, run, plan.object)
    prove_lookups(job, run, [lookup for lookup in plan.lookups if not lookup.deferred and not lookup.kept])
    base, why = take_decisions(job, run, plan)
    if base is not None:
        return _as_before(run, plan, base, measure)
    there = target_rows(job, run, plan)
    source = extracted(run, plan)
    order = measure_order(job, run, plan, source)
    rows = write_decided(job, run, plan, source, there, sorted_by(order, plan))
    written = remap_rows_of(run, plan.object)
    stop_where_told(plan, written)
    guard_caps(job, plan, counts_by(written, "_decision"), rows)
    remember_pending(job, run, plan, written, "remap")
    links = link_counts(written, plan.lookups).collect()
    fields = known_fields(plan).values()
    own = [name for name in written.collect_schema().names() if not name.startswith("_")]
    return Outcome(
        plan.object,
        "remap",
        run.number,
        rows=rows,
        states=counts_by(written, "_decision"),
        numbers={
            f"lookups {state}": int(count)
            for state, count in links.group_by("state").agg(pl.col("rows").sum()).sort("state").iter_rows()
        }
        | {f"counterparts {found}": count for found, count in gone.items() if count},
        calls=measure.calls,
        seconds=measure.seconds,
        preview=preview_of(written.select("_source_id", "_decision", "_target_id", *own)),
        columns=columns_of(written.select("_source_id", "_target_id", "_decision", "_reason", *own), fields),
        lineage={
            **{mapping.target.name: (plan.object, mapping.source.name) for mapping in plan.fields},
            **{lookup.target.name: (plan.object, lookup.source.name) for lookup in plan.lookups},
        },
        notes=(
            *anew_or_taken(base, why),
            *told(order),
            *(f"not carried: {dropped.field} ({dropped.reason})" for dropped in plan.dropped),
        ),
    )


def _as_before(run: Run, plan: ObjectPlan, base: Run, measure: Measure) -> Outcome:
    """What remap recorded of the run that the decisions were taken from, as this run's own."""
    before = remap_outcome(base, plan.object)
    notes = (note for note in before.notes if not note.startswith(ABOUT_BEFORE))
    if was_sent(run, plan.object):
        rows = remap_rows_of(run, plan.object)
        own = [name for name in rows.collect_schema().names() if not name.startswith("_")]
        before = replace(
            before,
            states=counts_by(rows, "_decision"),
            preview=preview_of(rows.select("_source_id", "_decision", "_target_id", *own)),
        )
    return replace(
        before,
        run=run.number,
        calls=measure.calls,
        seconds=measure.seconds,
        notes=(*anew_or_taken(base, ""), *notes),
    )


def current_rows(run: Run, object: str) -> pl.LazyFrame:
    """The rows of an object as they were decided last: those that were retried as their last retry decided them."""
    rows = remapped(run, object)
    for path in retried_paths(run, "remap", object):
        newer = files.scan(path)
        rows = pl.concat([rows.join(newer.select("_source_id"), on="_source_id", how="anti"), newer], how="diagonal")
    return rows


def retried_paths(run: Run, kind: str, object: str) -> list[Any]:
    """The files of an object's rows in the retries of a run, oldest first: `remap` or `relink`."""
    numbers = sorted(name for name in files.names(run.retries_folder) if name.isdigit())
    paths = (run.retries_folder / number / kind / f"{object}.parquet" for number in numbers)
    return [path for path in paths if files.exists(path)]


def with_default_ids(job: SyncJob, run: Run, plan: ObjectPlan) -> ObjectPlan:
    """The plan with every `default:<id or key>` of a lookup as the target id that it means."""
    if not any(lookup.policy is Policy.DEFAULT for lookup in plan.lookups):
        return plan
    lookups = tuple(
        replace(lookup, default=default_target_id(job, lookup)) if lookup.policy is Policy.DEFAULT else lookup
        for lookup in plan.lookups
    )
    return replace(plan, lookups=lookups)


def stop_where_told(plan: ObjectPlan, rows: pl.LazyFrame) -> None:
    if not any(lookup.policy is Policy.STOP for lookup in plan.lookups):
        return
    stopped = rows.filter(pl.col("_stop").is_not_null()).select("_source_id", "_stop").head(5).collect()
    if stopped.height:
        raise MissingParentError(
            f"{plan.object}: a parent is missing and the template says `stop`: "
            + "; ".join(f"{row['_source_id']} {row['_stop']}" for row in stopped.to_dicts())
            + ". Bring the parent first (an earlier phase), or choose another policy in `missing_parents`.",
            object=plan.object,
        )


def remember_pending(job: SyncJob, run: Run, plan: ObjectPlan, rows: pl.LazyFrame, part: str) -> None:
    """Keep the lookups that stay empty because the parent comes later, for the phase that brings it.

    A record that is not written to (existing, skipped, …) has no link that waits: its lookups are left as they are.
    """
    ours = rows.filter(pl.col("_decision").cast(pl.String).is_in(WRITTEN))
    frames = [
        ours.filter(pl.col(f"_link.{lookup.target.name}") == "pending").select(
            source_id="_source_id",
            field=pl.lit(lookup.target.name),
            source_parent_id=pl.col(f"_from.{lookup.target.name}"),
            parent_object=pl.lit("/".join((*lookup.parents, *lookup.others, *lookup.references)[:5])),
        )
        for lookup in plan.lookups
        if not lookup.deferred and not lookup.kept and not waits_for_level(plan, lookup)
    ]
    if not frames:
        return
    pending = pl.concat(frames)
    if pending.head(1).collect().is_empty():
        return
    job.store.pending(job.plan.source_org_id, job.plan.target_org_id).add(
        plan.object, pending, template=job.plan.template, phase=job.phase, run=run.number, part=part
    )
