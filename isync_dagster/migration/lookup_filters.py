"""Lookup filters of the target against the rows of a phase: which lookups it would refuse, before any is sent.

A parent that the phase carries is judged by the values that it will have, one that is in the target already by the values
that it has there. Open stays what hangs on the user, a further record, a value that is filled in later, or a record that
is matched (the org looks at its filter only when the lookup changes): it is counted, and said with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from isync_dagster.errors import RequestError
from isync_dagster.migration import reading
from isync_dagster.migration.extract import extracted
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.references import reference_map
from isync_dagster.migration.target import ID, described, needs_match, target_rows
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.records.lookup_filter import Filter, Operand, passes
from isync_dagster.records.match import match
from isync_dagster.records.transform import transform
from isync_dagster.salesforce.lookup_filter import lookup_filter
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype
from isync_dagster.store.runs import Run

KIND = "lookup_filter"
SOURCE = "$source."


@dataclass(frozen=True)
class Judged:
    """What a filter says of the rows of an object."""

    field: str
    refused: pl.Series
    """Source ids of the rows whose parent does not pass; bounded by the findings."""
    message: str
    open: int
    """Rows that are not judged."""
    reasons: tuple[str, ...]


def judged_filters(job: SyncJob, run: Run, plan: ObjectPlan, frame: pl.LazyFrame) -> Iterator[Judged]:
    """Every lookup of the object that the target filters for the API too, with what its filter says of the rows."""
    there = described(job, plan.target_object)
    for lookup in plan.lookups:
        field = there.field(lookup.target.name)
        info = field.filtered_lookup_info if field is not None else None
        if not info or info.get("optionalFilter") or not (lookup.insertable or lookup.updateable):
            # An optional filter guides people; the API does not look at it.
            continue
        filled = frame.filter(pl.col(lookup.target.name).is_not_null()).select(pl.len()).collect().item()
        if filled:
            yield _judge(job, run, plan, frame, lookup, filled)


def _judge(job: SyncJob, run: Run, plan: ObjectPlan, frame: pl.LazyFrame, lookup: Lookup, filled: int) -> Judged:
    name = lookup.target.name
    nobody = pl.Series(dtype=pl.String)

    def nothing(why: str) -> Judged:
        return Judged(name, nobody, "", filled, (why,))

    try:
        metadata = lookup_filter(job.target, plan.target_object, name)
    except RequestError as error:
        return nothing(f"the user may not read the filter ({error})")
    if metadata is None:
        return nothing("the target does not show the user what the filter says")
    if not metadata.get("active", True):
        return Judged(name, nobody, "", 0, ())
    if len(lookup.target.reference_to) != 1 or lookup.kept:
        return nothing("the lookup points at several objects, or its ids are sent as they are")
    found = Filter.read(metadata)
    parent_object = lookup.target.reference_to[0]
    parent = described(job, parent_object)
    wanted: dict[str, Field] = {}
    for path in found.paths:
        plain = _parents_field(path, parent_object)
        if plain is not None and (field := parent.field(plain)) is not None:
            wanted[path] = field

    def resolve(path: str) -> Operand | str:
        if path.lower().startswith(SOURCE):
            return _own(plan, path[len(SOURCE) :])
        if path.startswith("$"):
            return "it depends on the user who saves"
        if path not in wanted:
            return "it is a field of a further record, or the user may not see it"
        return Operand(pl.col(f"p.{path}"), wanted[path], pl.col(f"k.{path}").fill_null(False))

    verdict, reasons = passes(found, resolve)
    parents = _parents(job, run, plan, frame, lookup, wanted)
    rows = _inserted(job, run, plan, frame).filter(pl.col(name).is_not_null())
    judged = rows.join(parents, left_on=name, right_on="_pid", how="inner").select("_source_id", _passes=verdict)
    refused = judged.filter(~pl.col("_passes")).select("_source_id").collect(engine="streaming")["_source_id"]
    # Rows whose parent is found nowhere have no lookup to be refused: the check of references tells of them.
    counted = judged.select(pl.len(), pl.col("_passes").null_count().alias("open")).collect(engine="streaming")
    matched = filled - rows.select(pl.len()).collect(engine="streaming").item()
    said = list(reasons)
    if counted["open"].item() and not reasons:
        said.append("a value of the parent is left to the target's default, filled in later, or of another org's ids")
    if matched:
        said.append(
            f"{matched:,} rows are matched or not inserted: the org looks at the filter when their lookup changes"
        )
    says = found.message or "Value does not exist or does not match filter criteria."
    criteria = " and ".join(item.text for item in found.criteria) if not found.logic else (
        f"{found.logic} of {'; '.join(item.text for item in found.criteria)}")  # fmt: skip
    message = f"the {parent_object} does not pass the lookup's filter ({criteria}): {says}"
    return Judged(name, refused, message, counted["open"].item() + matched, tuple(said))


def _parents_field(path: str, parent_object: str) -> str | None:
    """The field of the parent that a path names, or None where it leads elsewhere."""
    first, _, rest = path.partition(".")
    if first.startswith("$"):
        return None
    if rest:
        return rest if first.lower() == parent_object.lower() and "." not in rest else None
    return first


def _own(plan: ObjectPlan, name: str) -> Operand | str:
    """A field of the row itself, as it is sent."""
    sent = _sent(plan, name)
    if isinstance(sent, str):
        return sent
    field, known = sent
    return Operand(pl.col(field.name), field, known)


def _sent(plan: ObjectPlan, name: str) -> tuple[Field, pl.Expr] | str:
    """The target field that a plan carries and where its value is known when the row is inserted; or why it is not."""
    later = {item.target for item in plan.staged} | {item.target.name for item in plan.deferred}
    fields = [item.target for item in plan.fields if item.insertable]
    fields += [item.target for item in plan.lookups if item.insertable]
    field = next((item for item in fields if item.name.lower() == name.lower()), None)
    if field is None:
        return f"{plan.target_object}.{name} is not carried over"
    if field.name in later:
        return f"{plan.target_object}.{field.name} is filled in a second pass"
    return field, pl.col(field.name).is_not_null() if field.name in plan.clear_defaults else pl.lit(True)


def _inserted(job: SyncJob, run: Run, plan: ObjectPlan, frame: pl.LazyFrame) -> pl.LazyFrame:
    """The rows that have no counterpart yet, as far as that shows before remap, and will be inserted."""
    if not plan.insert_new:
        return frame.clear()
    matched = _matched(job, run, plan, frame)
    return frame if matched is None else frame.join(matched, on="_source_id", how="anti")


def _matched(job: SyncJob, run: Run, plan: ObjectPlan, frame: pl.LazyFrame) -> pl.LazyFrame | None:
    """`_source_id`, `_target_id` of the rows that have a counterpart; None where nothing can match."""
    if not needs_match(job, plan) or any(part.is_lookup for part in plan.match_key):
        return None
    own = _id_map(job, plan.object)
    found = match(frame, plan, own, target_rows(job, run, plan)).select("_source_id", "_target_id")
    return found.filter(pl.col("_target_id").is_not_null())


def _id_map(job: SyncJob, object: str) -> pl.LazyFrame:
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    return id_map.read(object).select("source_id", "target_id")


def _parents(
    job: SyncJob, run: Run, plan: ObjectPlan, frame: pl.LazyFrame, lookup: Lookup, wanted: Mapping[str, Field]
) -> pl.LazyFrame:
    """`_pid` (source id), and per wanted path P `p.P` (the value) and `k.P` (whether it is known), one row a parent."""
    parent_object = lookup.target.reference_to[0]
    here = [
        item
        for item in job.plan.objects_in(job.phase)
        if item.object in lookup.parents and item.target_object == parent_object
    ]
    parts = [_carried(job, run, item, frame if item.object == plan.object else None, wanted) for item in here]
    carried = pl.concat(parts) if parts else _no_parents(wanted)
    elsewhere = (
        frame.select(pl.col(lookup.target.name).alias("_pid"))
        .drop_nulls()
        .join(carried.select("_pid"), on="_pid", how="anti")
        .unique()
    )
    if elsewhere.head(1).collect().is_empty():
        return carried
    pairs = [_id_map(job, name) for name in (*lookup.parents, *lookup.others)]
    pairs += [reference_map(job, run, name).select("source_id", "target_id") for name in lookup.references]
    if not pairs:
        return carried
    fields = {"Id": ID} | {field.name: field for field in wanted.values()}
    folder = run.folder / "preflight" / "filters" / f"{plan.object}.{lookup.target.name}"
    reading.read(job, job.target, object=parent_object, fields=tuple(fields.values()), folder=folder, stage="preflight")
    there = reading.scan(folder, tuple(fields.values()))
    known = pl.concat(pairs).unique("source_id", keep="none")
    # An id that the target holds is none of the source's, which the rows still have.
    columns: dict[str, Any] = {f"p.{path}": pl.col(field.name) for path, field in wanted.items()}
    columns |= {f"k.{path}": pl.lit(not field.is_reference) for path, field in wanted.items()}
    found = (
        elsewhere.join(known, left_on="_pid", right_on="source_id", how="inner")
        .join(there, left_on="target_id", right_on="Id", how="inner")
        .select("_pid", **columns)
    )
    return pl.concat([carried, found])


def _no_parents(wanted: Mapping[str, Field]) -> pl.LazyFrame:
    columns: dict[str, Any] = {"_pid": pl.String()}
    columns |= {f"p.{path}": dtype(field) for path, field in wanted.items()}
    return pl.LazyFrame(schema=columns | {f"k.{path}": pl.Boolean() for path in wanted})


def _carried(
    job: SyncJob, run: Run, plan: ObjectPlan, frame: pl.LazyFrame | None, wanted: Mapping[str, Field]
) -> pl.LazyFrame:
    """The parents of an object of the phase, with the values that they have once they are loaded."""
    rows = frame if frame is not None else transform(extracted(run, plan), plan)
    matched = _matched(job, run, plan, rows)
    unsure = any(part.is_lookup for part in plan.match_key)
    if matched is not None:
        rows = rows.join(matched, on="_source_id", how="left", maintain_order="left")
        held = target_rows(job, run, plan)
        keep = {name: pl.col(name) for name in held.collect_schema().names() if name != "Id"}
        held = held.select(pl.col("Id").alias("_held"), **{f"h.{name}": value for name, value in keep.items()})
        rows = rows.join(held, left_on="_target_id", right_on="_held", how="left", maintain_order="left")
    else:
        keep = {}
        rows = rows.with_columns(pl.lit(None, dtype=pl.String).alias("_target_id"))
    is_there = pl.col("_target_id").is_not_null()
    values: dict[str, pl.Expr] = {}
    for path, field in wanted.items():
        sent = _sent(plan, field.name)
        if isinstance(sent, str):
            value, known = pl.lit(None, dtype=dtype(field)), pl.lit(False)
        else:
            own = sent[0]
            value, known = pl.col(own.name), sent[1]
            updates = plan.update_existing and own.updateable
            if not updates and unsure:
                known = pl.lit(False)
            elif not updates and own.name in keep:
                # Left as it is in the target, with an id of the target where it is a lookup.
                value = pl.when(is_there).then(pl.col(f"h.{own.name}")).otherwise(value)
                known = pl.when(is_there).then(pl.lit(not own.is_reference)).otherwise(known)
            elif updates:
                known = known | is_there
            if not plan.insert_new:
                known = known & is_there
        values |= {f"p.{path}": value, f"k.{path}": known}
    return rows.select(pl.col("_source_id").alias("_pid"), **values)
