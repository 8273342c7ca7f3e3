"""Who points at the records that a rollback would delete: what would be deleted along, emptied, or stand in the way.

The live describe of the target says which objects have lookups to an object and what its deletion does to them. A
record that points at one which the run made was saved after it, so that one read of what was touched since, with
a value in such a lookup, finds all of them: one a child object, after a count that is mostly zero.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from isync_dagster.errors import RequestError
from isync_dagster.migration import reading
from isync_dagster.migration.closing import touched_since
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.rollback_model import Conflict
from isync_dagster.migration.target import ID
from isync_dagster.records.undo import Window, within
from isync_dagster.schema.model import Field, SObject
from isync_dagster.store.rollbacks import Rollback

BY_THE_PLATFORM = ("Feed", "History", "Share", "ChangeEvent", "__Tag")
"""Ends of the names of objects whose rows Salesforce itself makes and removes with their record."""
SAMPLE = 3


@dataclass(frozen=True)
class Pointers:
    """The records of one object that may point at what is deleted."""

    child: str
    lookups: Mapping[str, tuple[tuple[str, Conflict], ...]]
    """Lookup -> (target object that it may point at, what a deletion there means)."""
    rows: pl.LazyFrame
    """Id, the lookups, CreatedDate (null where unknown), CreatedById."""


def pointers(job: SyncJob, rollback: Rollback, parents: Mapping[str, SObject]) -> tuple[list[Pointers], list[str]]:
    """Everything that may point at records of `parents` (target objects, described), and what could not be looked at."""
    listed = {str(item["name"]): item for item in job.target.describe_global()}
    found: dict[str, dict[str, list[tuple[str, Conflict]]]] = defaultdict(lambda: defaultdict(list))
    for name, described in parents.items():
        for child in described.child_relationships:
            entry = listed.get(child.child_s_object)
            if child.deprecated_and_hidden or entry is None or not entry.get("queryable", True):
                continue
            if child.child_s_object.endswith(BY_THE_PLATFORM) and child.child_s_object not in parents:
                continue
            kind = (
                Conflict.WOULD_DELETE_OTHERS
                if child.cascade_delete
                else Conflict.BLOCKED_BY_OTHERS
                if child.restricted_delete
                else Conflict.WOULD_CLEAR_LOOKUPS
            )
            found[child.child_s_object][child.field].append((name, kind))
    read: list[Pointers] = []
    notes: list[str] = []
    for child_name in sorted(found):
        lookups = {field: tuple(kinds) for field, kinds in sorted(found[child_name].items())}
        try:
            rows = _read(job, rollback, child_name, list(lookups))
        except RequestError as error:
            notes.append(
                f"{child_name} could not be looked at ({error.details.get('code') or error}): records of it that point at "
                "what is deleted are not among the conflicts."
            )
            continue
        if rows is not None:
            read.append(Pointers(child_name, lookups, rows))
    return read, notes


def _read(job: SyncJob, rollback: Rollback, child: str, lookups: Sequence[str]) -> pl.LazyFrame | None:
    """The rows of a child object with a value in one of the lookups; None where there are none."""
    filled = " OR ".join(f"{name} != null" for name in lookups)
    filled = f"({filled})" if len(lookups) > 1 else filled
    where = f"{touched_since(rollback.run, ['SystemModstamp'])} AND {filled}"
    try:
        count = job.target.count(child, where)
    except RequestError as error:
        if error.details.get("code") != "INVALID_FIELD":
            raise
        where = filled
        count = job.target.count(child, where)
    if not count:
        return None
    described = job.target.describe(child)
    made = [Field("CreatedDate", "datetime"), Field("CreatedById", "reference")]
    made = [field for field in made if described.field(field.name) is not None and field.name not in lookups]
    fields = [ID, *(Field(name, "reference") for name in lookups), *made]
    folder = rollback.folder / "pointers" / child
    reading.read(job, job.target, object=child, fields=fields, where=where, folder=folder, stage="rollback")
    rows = reading.scan(folder, fields)
    return rows.with_columns(
        pl.lit(None, dtype=kind).alias(name)
        for name, kind in (("CreatedDate", pl.Datetime("ms", "UTC")), ("CreatedById", pl.String()))
        if name not in rows.collect_schema()
    )


def by_products(item: Pointers, known: pl.LazyFrame, windows: Sequence[Window], user: str) -> pl.LazyFrame:
    """Id of rows that automation made while the run was sending: by its user, at such a time, and no other run's.

    `known` has `Id` of what other runs brought.
    """
    made = (pl.col("CreatedById") == user) & within(pl.col("CreatedDate"), windows)
    return item.rows.filter(made).join(known, on="Id", how="anti").select("Id")


def stakes(
    item: Pointers,
    doomed: Mapping[str, pl.LazyFrame],
    restored: Mapping[str, pl.LazyFrame],
    ours: Iterable[pl.LazyFrame],
) -> pl.DataFrame:
    """The doomed records that others have a stake in: `object`, `Id`, `code`, `message`; one row a record.

    `doomed`: target object -> `Id` of what is deleted. `restored`: lookup of this child -> `Id` of the rows whose lookup
    the rollback sets back. `ours`: `Id` of rows of this child that are no others' (deleted too, or by-products).
    Bounded by the conflicts: only they are collected.
    """
    parts: list[pl.LazyFrame] = []
    for lookup, kinds in item.lookups.items():
        rows = item.rows.filter(pl.col(lookup).is_not_null()).select("Id", parent=pl.col(lookup))
        for gone in (*ours, *([restored[lookup]] if lookup in restored else [])):
            rows = rows.join(gone, on="Id", how="anti")
        for name, kind in kinds:
            if name not in doomed:
                continue
            parts.append(
                rows.join(doomed[name], left_on="parent", right_on="Id", how="semi")
                .group_by("parent")
                .agg(pl.len().alias("rows"), pl.col("Id").sort().head(SAMPLE).alias("ids"))
                .select(
                    object=pl.lit(name),
                    Id="parent",
                    code=pl.lit(str(kind)),
                    message=pl.format(
                        f"{{}} {item.child} by {lookup}, such as {{}}", "rows", pl.col("ids").list.join(", ")
                    ),
                )
            )
    if not parts:
        return pl.DataFrame(schema=dict.fromkeys(("object", "Id", "code", "message"), pl.String))
    return (
        pl.concat(parts)
        # The worst first: others deleted, emptied, or in the way.
        .sort("object", "Id", "code", descending=[False, False, True])
        .group_by("object", "Id", maintain_order=True)
        .agg(pl.col("code").first(), pl.col("message").str.join("; "))
        .collect()
    )
