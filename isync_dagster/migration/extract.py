"""Extract: the source rows in scope of one object, typed, as Parquet."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from upath import UPath

from isync_dagster.errors import ConfigError
from isync_dagster.migration import reading
from isync_dagster.migration.drift import check_drift
from isync_dagster.migration.model import Outcome, SyncJob
from isync_dagster.migration.outcomes import Measure, columns_of, kept, measured, preview_of
from isync_dagster.migration.runs import open_run
from isync_dagster.migration.stopping import guarded
from isync_dagster.migration.writing import claimed
from isync_dagster.plan.model import ObjectPlan, Policy
from isync_dagster.schema.model import Field
from isync_dagster.store import files
from isync_dagster.store.runs import Run

FETCH_IDS = 3_000
"""Ids in one query for fetched parents: 3,000 × 21 characters stay below SOQL's 100,000."""


def extract(job: SyncJob, object: str) -> Outcome:
    """Read the rows of `object` that the phase's scope admits, as they were at the run's t0 or later.

    Opens the run where none is open. Returns what was recorded where the extract is already complete.
    """
    with measured() as measure:
        plan = job.object(object)
        run = open_run(job)
        plan = job.object(object)
        if not job.in_phase(object):
            return Outcome(object, "extract", run.number, notes=(f"not in phase {job.phase!r}",))
        with claimed(job, run, "extract", object), guarded(job, run) as job:
            return _extract(job, run, plan, measure)


def _extract(job: SyncJob, run: Run, plan: ObjectPlan, measure: Measure) -> Outcome:
    object = plan.object
    fields = source_fields(plan)
    folder = run.extract_folder(object)
    if reading.recorded(folder) is None:
        check_drift(job, plan, "source")
    result = reading.read(
        job,
        job.source,
        object=object,
        fields=fields,
        where=scope(job, plan, run),
        tail=_tail(plan),
        folder=folder,
        stage="extract",
        # Then the scope is the object as it was when the run was opened.
        whole=not plan.where and not job.phase_plan.where.get(plan.object) and plan.limit is None,
        earlier=_earlier(job, run, plan),
    )
    fetched = _fetch_parents(job, run, plan, fields)
    frame = extracted(run, plan)
    outcome = Outcome(
        object,
        "extract",
        run.number,
        rows=result.rows + fetched,
        numbers={"counted": result.counted or 0, "fetched_parents": fetched},
        calls=measure.calls,
        seconds=measure.seconds,
        bytes=result.bytes,
        preview=preview_of(frame),
        columns=columns_of(frame, fields),
        lineage={field.name: (object, field.name) for field in fields},
        notes=(f"read by {result.by}", f"scope fixed at {run.t0.isoformat()}", result.soql),
    )
    return kept(run, outcome)


def source_fields(plan: ObjectPlan) -> tuple[Field, ...]:
    """The describes of the columns that the extract holds, Id first."""
    known = {mapping.source.name: mapping.source for mapping in plan.fields}
    known |= {lookup.source.name: lookup.source for lookup in plan.lookups}
    return tuple(known.get(name) or _plain(plan, name) for name in plan.source_fields)


def _plain(plan: ObjectPlan, name: str) -> Field:
    """A column that is extracted but not written: Id, SystemModstamp, or a key part (text)."""
    if name in ("SystemModstamp", "CreatedDate", "LastModifiedDate"):
        return Field(name=name, type="datetime")
    return Field(name=name, type="id" if name == "Id" else "string")


def scope(job: SyncJob, plan: ObjectPlan, run: Run) -> str:
    """The one predicate that COUNT and extract share: line, phase, and created by t0."""
    parts = [part for part in (plan.where, job.phase_plan.where.get(plan.object)) if part]
    if plan.scope_has_created_date:
        parts.append(f"CreatedDate <= {run.t0.strftime('%Y-%m-%dT%H:%M:%SZ')}")
    return " AND ".join(f"({part})" if len(parts) > 1 else part for part in parts)


def _tail(plan: ObjectPlan) -> str:
    order = f"ORDER BY {plan.order_by}" if plan.order_by else ""
    limit = f"LIMIT {plan.limit}" if plan.limit is not None else ""
    return " ".join(part for part in (order, limit) if part)


def extracted(run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """The extract of an object, own rows and fetched parents, one row a record.

    Raises `ConfigError` where it is not complete: what is not read yet must never look like an empty object.
    """
    fields = source_fields(plan)
    folder = run.extract_folder(plan.object)
    if reading.recorded(folder) is None:
        raise ConfigError(
            f"{plan.object} is not extracted in run {run.number} of phase {run.job.phase!r}. Materialize its extract asset "
            "first.",
            object=plan.object,
        )
    return pl.concat([reading.scan(path, fields) for path in extract_folders(run, plan)])


def extract_folders(run: Run, plan: ObjectPlan) -> list[UPath]:
    """The folders of the complete reads that an extract consists of: its own rows, and fetched parents."""
    folder = run.extract_folder(plan.object)
    return [folder, *(path for path in _fetched_folders(folder) if reading.recorded(path))]


def _earlier(job: SyncJob, run: Run, plan: ObjectPlan) -> UPath | None:
    """The newest complete extract of the object by an earlier run."""
    for before in reversed(job.store.runs(job.key).list()):
        folder = before.extract_folder(plan.object)
        if before.number < run.number and reading.recorded(folder) is not None:
            return folder
    return None


def _fetched_folders(folder: UPath) -> list[UPath]:
    return [folder / "fetched" / name for name in files.names(folder / "fetched")]


def _fetch_parents(job: SyncJob, run: Run, plan: ObjectPlan, fields: tuple[Field, ...]) -> int:
    """Rows that children with policy `fetch_parent` point at and that the scope left out."""
    rows = 0
    own = reading.scan(run.extract_folder(plan.object), fields).select("Id")
    for number, ids in enumerate(_missing_parents(job, run, plan, own)):
        quoted = ", ".join(f"'{value}'" for value in ids)
        rows += reading.read(
            job,
            job.source,
            object=plan.object,
            fields=fields,
            where=f"Id IN ({quoted})",
            folder=run.extract_folder(plan.object) / "fetched" / f"{number:05d}",
            stage="extract",
        ).rows
    return rows


def _missing_parents(job: SyncJob, run: Run, plan: ObjectPlan, own: pl.LazyFrame) -> Iterator[list[str]]:
    """Batches of parent ids named by children and absent from the own rows, in a stable order."""
    wanted: list[pl.LazyFrame] = []
    for name in plan.fetched_by:
        if not job.in_phase(name):
            continue
        child = job.object(name)
        wanted += [
            extracted(run, child).select(pl.col(lookup.source.name).alias("Id"))
            for lookup in child.lookups
            if lookup.policy is Policy.FETCH_PARENT and plan.object in lookup.parents
        ]
    if not wanted:
        return
    # Bounded: distinct parent ids only, 18 characters each.
    missing = pl.concat(wanted).drop_nulls().unique().join(own, on="Id", how="anti").sort("Id").collect()["Id"]
    for start in range(0, len(missing), FETCH_IDS):
        yield missing.slice(start, FETCH_IDS).to_list()
