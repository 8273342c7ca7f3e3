"""Records that will have missing parents, and why each parent is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from isync_dagster.migration import reading
from isync_dagster.migration.decisions import pairs_of
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.remap import remap_rows_of
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.schema.model import Field
from isync_dagster.store import files
from isync_dagster.store.runs import Run
from isync_dagster.store.scans import Scan

PLACEHOLDER = "new:"
"""How a scan begins the target id of a record that a run would insert."""
NOT_IN_SCOPE = "not in scope: the template has no line for it"
NO_COUNTERPART = "no record of the target has its natural key"
NOT_SENT = "in scope, but not sent itself"
NOT_SCANNED = "of a phase that was not scanned"
FILTERED = "left out by the line's filter or limit, the phase's condition, or made since"
DELETED = "deleted in the source"
NO_ACCESS = "not visible to the user, or gone"
LATER = "comes in a later phase"
ASK_BY_ID = 400
"""Up to so many parents are asked for by id; more by one read of the ids of the whole object."""
SAMPLES = 3

FOUND = {
    "_source_id": pl.String,
    "phase": pl.String,
    "field": pl.String,
    "parent_id": pl.String,
    "parent_object": pl.String,
    "reason": pl.String,
    "fate": pl.String,
}
"""One row a record and lookup, as `missing/<Object>.parquet` holds them."""


def missing_parents(job: SyncJob, runs: Mapping[str, Run], made: Scan) -> list[dict[str, Any]]:
    """Lookups whose parent will not be in the target when they are sent: counts by lookup and reason, most first.

    `runs` are the rehearsed runs by phase. The list of every record lies in the scan's folder, a file an object.
    """
    names = {str(item["keyPrefix"]): str(item["name"]) for item in job.source.describe_global() if item["keyPrefix"]}
    frames: dict[str, list[pl.LazyFrame]] = {}
    for phase, run in runs.items():
        own = job.for_phase(phase)
        for item in job.plan.objects_in(phase):
            frames.setdefault(item.object, []).extend(
                _unresolved(own, run, item, lookup) for lookup in item.lookups if not lookup.kept
            )
    written: list[str] = []
    for object, parts in frames.items():
        if not parts:
            continue
        named = pl.concat(parts).with_columns(
            parent_object=pl.col("parent_id")
            .str.slice(0, 3)
            .replace_strict(names, default="an unknown object", return_dtype=pl.String)
        )
        path = made.work / "missing" / f"{object}.parquet"
        if files.write_parquet(path, named):
            written.append(object)
    reasons = _reasons(job, runs, [files.scan(made.work / "missing" / f"{object}.parquet") for object in written])
    table: list[dict[str, Any]] = []
    for object in written:
        rows = files.scan(made.work / "missing" / f"{object}.parquet").join(reasons.lazy(), on="parent_id", how="left")
        rows = rows.with_columns(
            reason=pl.when(pl.col("_later")).then(pl.lit(LATER)).otherwise(pl.col("reason").fill_null(NO_ACCESS))
        )
        files.write_parquet(made.missing(object), rows.select(list(FOUND)))
        grouped = (
            files.scan(made.missing(object))
            .group_by("phase", "field", "parent_object", "reason", "fate")
            .agg(
                records=pl.len(),
                parents=pl.col("parent_id").n_unique(),
                samples=pl.col("_source_id").sort().head(SAMPLES),
                parent_samples=pl.col("parent_id").unique().sort().head(SAMPLES),
            )
            .collect()
        )
        table += [{"object": object, **row} for row in grouped.to_dicts()]
    return sorted(table, key=lambda row: (-row["records"], row["object"], row["field"], row["reason"]))


def _unresolved(job: SyncJob, run: Run, item: ObjectPlan, lookup: Lookup) -> pl.LazyFrame:
    """The records whose parent is in the target neither now nor by what the scanned phases would bring, or too late."""
    name = lookup.target.name
    rows = remap_rows_of(run, item.object)
    later = lookup.deferred or name == item.self_level_field
    state = pl.lit("pending") if later else pl.col(f"_link.{name}").cast(pl.String)
    rows = rows.select(
        "_source_id", parent_id=f"_from.{name}", _state=state, _decision=pl.col("_decision").cast(pl.String)
    ).drop_nulls("parent_id")
    known = pairs_of(job, run, lookup).select(parent_id="source_id", _known=pl.lit(True)).unique("parent_id")
    rows = rows.join(known, on="parent_id", how="left").with_columns(pl.col("_known").fill_null(False))
    unlinked = pl.col("_state").is_in(["pending", "failed", "defaulted", "dropped"])
    late = pl.col("_known") & unlinked & pl.lit(not later)
    fate = (
        pl.when(pl.col("_decision").is_in(["blocked", "dropped"]))
        .then(pl.col("_decision"))
        .when(pl.col("_state") == "defaulted")
        .then(pl.lit("default"))
        .otherwise(pl.lit("empty"))
    )
    return rows.filter(~pl.col("_known") | late).select(
        "_source_id",
        "parent_id",
        phase=pl.lit(run.job.phase),
        field=pl.lit(lookup.source.name),
        fate=fate,
        _later=late,
    )


def _reasons(job: SyncJob, runs: Mapping[str, Run], frames: list[pl.LazyFrame]) -> pl.DataFrame:
    """`parent_id`, `reason` of each parent that is missing; bounded by the distinct parents, 18 characters each."""
    schema = {"parent_id": pl.String, "reason": pl.String}
    if not frames:
        return pl.DataFrame(schema=schema)
    parents = (
        pl.concat([frame.filter(~pl.col("_later")).select("parent_id", "parent_object") for frame in frames])
        .unique()
        .collect()
    )
    planned = {item.object: item for item in job.plan.objects}
    found = [pl.DataFrame(schema=schema)]
    for (object,), rows in sorted(parents.group_by("parent_object"), key=lambda pair: str(pair[0])):
        name = str(object)
        if name in planned:
            found.append(_of_line(job, runs, planned[name], rows["parent_id"]))
        else:
            reason = NO_COUNTERPART if name in job.plan.references else NOT_IN_SCOPE
            found.append(rows.select("parent_id", reason=pl.lit(reason)))
    return pl.concat(found)


def _of_line(job: SyncJob, runs: Mapping[str, Run], item: ObjectPlan, ids: pl.Series) -> pl.DataFrame:
    """Why records of an object that has a line are missing."""
    asked = pl.DataFrame({"parent_id": ids})
    own = [run for run in runs.values() if item.object in job.plan.phase(run.job.phase).objects]
    if not own:
        return asked.select("parent_id", reason=pl.lit(NOT_SCANNED))
    decided = pl.concat(
        [
            remap_rows_of(run, item.object).select(parent_id="_source_id", _sent=pl.col("_decision").cast(pl.String))
            for run in own
        ]
    ).unique("parent_id", keep="first")
    there = asked.lazy().join(decided, on="parent_id", how="left").collect()
    unsent = there.filter(pl.col("_sent").is_not_null()).select(
        "parent_id", reason=pl.format(NOT_SENT + " ({})", "_sent")
    )
    rest = there.filter(pl.col("_sent").is_null())["parent_id"]
    if rest.is_empty():
        return unsent
    seen = _seen(job, own[0], item, rest)
    judged = pl.DataFrame({"parent_id": rest}).join(seen, on="parent_id", how="left")
    reason = (
        pl.when(pl.col("deleted").is_null())
        .then(pl.lit(NO_ACCESS))
        .when(pl.col("deleted"))
        .then(pl.lit(DELETED))
        .otherwise(pl.lit(FILTERED))
    )
    return pl.concat([unsent, judged.select("parent_id", reason=reason)])


def _seen(job: SyncJob, run: Run, item: ObjectPlan, ids: pl.Series) -> pl.DataFrame:
    """`parent_id`, `deleted` of those that the source shows when asked for deleted records too."""
    fields = [Field(name="Id", type="id")]
    if job.source.describe(item.object).field("IsDeleted") is not None:
        fields.append(Field(name="IsDeleted", type="boolean"))
    few = len(ids) <= ASK_BY_ID
    where = "Id IN ({})".format(", ".join(f"'{value}'" for value in ids.sort().to_list())) if few else ""
    folder = run.folder / "missing" / item.object
    reading.read(
        job, job.source, object=item.object, fields=fields, where=where, folder=folder, stage="scan", deleted=True
    )
    rows = reading.scan(folder, fields).filter(pl.col("Id").is_in(ids.implode()))
    deleted = pl.col("IsDeleted") if len(fields) > 1 else pl.lit(False)
    return rows.select(parent_id="Id", deleted=deleted).collect()
