"""The second pass: what a load had to leave open, as an update of the rows that have it.

That is the deferred lookups, staged fields (an order's status), fields that only an update may set, and defaults of
the server that stand where the source is empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from isync_dagster.plan.model import Lookup, ObjectPlan, Policy
from isync_dagster.records.decide import late_lookups
from isync_dagster.records.payload import changes, sent_text
from isync_dagster.records.remap import IdMaps
from isync_dagster.records.words import decision, link
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype

WRITTEN = ("insert", "update", "identical")
"""Decisions whose target record is ours to write; `existing` rows are left as they are."""


def relink(frame: pl.LazyFrame, plan: ObjectPlan, id_maps: IdMaps) -> pl.LazyFrame:
    """The rows of the load that reached the target, with their deferred lookups resolved and what must be sent.

    `frame` is the decided frame with `_target_id` as it is after the load (null where the row did not arrive) and
    `_row`; rows with other decisions than `WRITTEN` are left out. Each deferred lookup F becomes the target id or
    null, `_link.F` is linked, pending (the parent is not in the target), defaulted or empty. `_changed` List(String)
    lists the fields whose value differs from what the target holds (`_now.F`; for inserted rows what the insert sent).
    All other columns stay. One join a lookup.
    """
    current = frame.filter(pl.col("_decision").cast(pl.String).is_in(WRITTEN) & pl.col("_target_id").is_not_null())
    for lookup in plan.deferred:
        current = _linked(current, lookup, id_maps)
    parts = [pl.when(differs).then(pl.lit(name)) for name, differs in _differences(plan).items()]
    changed = pl.concat_list(parts).list.drop_nulls() if parts else pl.lit([], dtype=pl.List(pl.String))
    return current.with_columns(changed.alias("_changed"))


def left_open(frame: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """The rows of a decided frame that `relink` may have something to do for, in their order.

    Where nothing but lookups is left for the second pass, a row without a parent, whose record has none either, is not
    looked at: its lookups are empty already.
    """
    late = {lookup.target.name for lookup in late_lookups(plan)}
    if set(relinked_fields(plan)) - late:
        return frame
    known = frame.collect_schema().names()
    columns = [name for field in sorted(late) for name in (f"_from.{field}", f"_now.{field}") if name in known]
    return frame.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in columns))


def relink_payload(linked: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """The rows of a relinked frame that have something to send, in the columns of `payload.update_payload`."""
    rows = linked.filter(pl.col("_changed").list.len() > 0)
    return changes(rows, {name: sent_text(field) for name, field in relinked_fields(plan).items()})


def pending_links(linked: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """The lookups of a resolved or relinked frame that wait for their parent.

    Columns: `source_id` String, `field` String (target name), `source_parent_id` String.
    """
    parts = [
        linked.filter(pl.col(f"_link.{name}").cast(pl.String) == "pending").select(
            pl.col("_source_id").alias("source_id"),
            pl.lit(name).alias("field"),
            pl.col(f"_from.{name}").alias("source_parent_id"),
        )
        for name in (lookup.target.name for lookup in plan.lookups)
    ]
    schema = {"source_id": pl.String, "field": pl.String, "source_parent_id": pl.String}
    return pl.concat(parts) if parts else pl.LazyFrame(schema=schema)


def relinked_fields(plan: ObjectPlan) -> dict[str, Field]:
    """The target fields that relink may send, by name."""
    staged = {item.target for item in plan.staged}
    fields = {
        mapping.target.name: mapping.target
        for mapping in plan.fields
        if mapping.target.name in staged
        or mapping.target.name in plan.clear_defaults
        or (mapping.updateable and not mapping.insertable)
    }
    return fields | {lookup.target.name: lookup.target for lookup in late_lookups(plan)}


def _linked(frame: pl.LazyFrame, lookup: Lookup, id_maps: IdMaps) -> pl.LazyFrame:
    name = lookup.target.name
    parent = pl.col(f"_from.{name}")
    known = id_maps(lookup).select(pl.col("source_id").alias("_parent"), pl.col("target_id").alias("_to"))
    frame = frame.join(known, left_on=f"_from.{name}", right_on="_parent", how="left", maintain_order="left")
    missing = parent.is_not_null() & pl.col("_to").is_null()
    by_default = lookup.policy is Policy.DEFAULT and lookup.default is not None
    value = pl.when(missing).then(pl.lit(lookup.default)).otherwise(pl.col("_to")) if by_default else pl.col("_to")
    return frame.with_columns(
        value.cast(pl.String).alias(name),
        pl.when(parent.is_null())
        .then(link("empty"))
        .when(missing)
        .then(link("defaulted" if by_default else "pending"))
        .otherwise(link("linked"))
        .alias(f"_link.{name}"),
    ).drop("_to")


def _differences(plan: ObjectPlan) -> dict[str, pl.Expr]:
    """For each field of relink, where its value must be sent."""
    lookups = {lookup.target.name: lookup for lookup in late_lookups(plan)}
    staged = {item.target: item.initial for item in plan.staged}
    inserted = pl.col("_decision") == decision("insert")
    differences = {}
    for name, field in relinked_fields(plan).items():
        value = pl.col(name)
        if name in lookups:
            state = pl.col(f"_link.{name}").cast(pl.String)
            now = pl.when(inserted).then(None).otherwise(pl.col(f"_now.{name}"))
            waits = state.is_in(["pending", "failed", "dropped"])
            differs = value.ne_missing(now) & ~waits
        elif name in staged:
            initial = pl.lit(staged[name] or None, dtype=pl.String)
            text = sent_text(field)
            now_text = sent_text(field, f"_now.{name}")
            as_sent = text.ne_missing(initial)
            differs = pl.when(inserted).then(as_sent).otherwise(text.ne_missing(now_text)) & value.is_not_null()
        elif name in plan.clear_defaults:
            differs = inserted & value.is_null()
        else:
            # The insert could not set it, so the record has what the server gave it.
            differs = inserted & value.is_not_null()
        if dtype(field) == pl.Boolean and name not in staged:
            differs = differs & value.is_not_null()
        differences[name] = differs.fill_null(False)
    return differences


def heal(frame: pl.LazyFrame, lookups: Sequence[Lookup], id_maps: IdMaps) -> pl.LazyFrame:
    """The rows of a decided frame of which a pending lookup has found its parent, with just these lookups to be sent.

    Each such lookup F becomes the target id and `_link.F` linked; `_changed` List(String) names them. A lookup that no
    update may write waits on. One join a lookup.
    """
    current, parts = frame, []
    for lookup in lookups:
        name = lookup.target.name
        if not lookup.updateable or lookup.kept:
            continue
        known = id_maps(lookup).select(pl.col("source_id").alias("_parent"), pl.col("target_id").alias("_to"))
        current = current.join(known, left_on=f"_from.{name}", right_on="_parent", how="left", maintain_order="left")
        found = (pl.col(f"_link.{name}").cast(pl.String) == "pending") & pl.col("_to").is_not_null()
        current = current.with_columns(
            pl.when(found).then(pl.col("_to")).otherwise(pl.col(name)).alias(name),
            pl.when(found).then(link("linked")).otherwise(pl.col(f"_link.{name}")).alias(f"_link.{name}"),
            found.alias(f"_found.{name}"),
        ).drop("_to")
        parts.append(pl.when(f"_found.{name}").then(pl.lit(name)))
    if not parts:
        return frame.filter(pl.lit(False)).with_columns(_changed=pl.lit([], dtype=pl.List(pl.String)))
    healed = current.with_columns(_changed=pl.concat_list(parts).list.drop_nulls())
    return healed.filter(pl.col("_changed").list.len() > 0).select(pl.exclude(r"^_found\..*$"))
