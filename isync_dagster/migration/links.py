"""The second law: where every lookup of every record ended."""

from __future__ import annotations

import polars as pl

from isync_dagster.migration.healed import healed_links
from isync_dagster.migration.model import LinkState, State
from isync_dagster.migration.relink import linked_rows
from isync_dagster.migration.remap import current_rows, retried_paths
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.store import files
from isync_dagster.store.runs import Run

COUNTS = {"field": pl.String, "state": pl.String, "rows": pl.UInt32}


def link_states(run: Run, plan: ObjectPlan, source_id: str | None = None) -> pl.LazyFrame:
    """One row a record: `_source_id`, `_state` (record state), and per lookup F: F (target id or null, what the
    target should hold), `_from.F`, `_link.F` (String) as it is now.

    A lookup of a record that did not reach the target failed with it (or was dropped with it, or waits with it);
    one of a record that was left as it is (`existing`) was kept. Deferred lookups are pending until relink. With
    `source_id` only of that record: of each file its rows alone are read.
    """
    names = [lookup.target.name for lookup in plan.lookups]
    one = None if source_id is None else pl.col("source_id") == source_id
    state = run.audit(plan.object).latest(where=one).select(_source_id="source_id", _state="state", _there="target_id")
    rows = current_rows(run, plan.object)
    if source_id is not None:
        rows = rows.filter(pl.col("_source_id") == source_id)
    rows = rows.select(
        "_source_id",
        *names,
        *[pl.col(f"_from.{name}") for name in names],
        *[pl.col(f"_link.{name}").cast(pl.String) for name in names],
    )
    rows = rows.join(state, on="_source_id", how="left", maintain_order="left")
    late = linked_rows(run, plan.object)
    if late is not None and source_id is not None:
        late = late.filter(pl.col("_source_id") == source_id)
    for lookup in plan.lookups:
        if _is_level(plan, lookup):
            rows = _with_level(run, plan, rows, lookup)
        elif lookup.deferred and late is not None:
            rows = _with_late(rows, late, lookup)
    for path in retried_paths(run, "relink", plan.object):
        again = files.scan(path)
        for lookup in plan.lookups:
            rows = rows if _is_level(plan, lookup) else _with_late(rows, again, lookup)
    healed = healed_links(run, plan.object)
    if healed is not None:
        for lookup in plan.lookups:
            rows = _with_healed(rows, healed, lookup)
    return rows.with_columns(_final(lookup) for lookup in plan.lookups).rename({"_there": "_target_id"})


def link_totals(run: Run, plan: ObjectPlan) -> pl.DataFrame:
    """`field`, `state` (null where a lookup has none, which must not be), `rows`: every lookup of every record."""
    if not plan.lookups:
        return pl.DataFrame(schema=COUNTS)
    rows = link_states(run, plan)
    long = rows.select(pl.col(f"_link.{lookup.target.name}").alias(lookup.target.name) for lookup in plan.lookups)
    counted = long.unpivot(variable_name="field", value_name="state").group_by("field", "state")
    return counted.agg(pl.len().cast(pl.UInt32).alias("rows")).sort("field", "state").collect()


def _final(lookup: Lookup) -> pl.Expr:
    state, link = pl.col("_state"), pl.col(f"_link.{lookup.target.name}")

    def becomes(value: LinkState) -> pl.Expr:
        return pl.lit(str(value))

    return (
        pl.when(link == LinkState.EMPTY)
        .then(link)
        .when(state.is_in([State.FAILED, State.BLOCKED]))
        .then(becomes(LinkState.FAILED))
        .when(state.is_in([State.DROPPED, State.SKIPPED, State.DELETED]))
        .then(becomes(LinkState.DROPPED))
        .when(state.is_in([State.PENDING, State.UNKNOWN]))
        .then(becomes(LinkState.PENDING))
        .when(state == State.EXISTING)
        .then(becomes(LinkState.KEPT))
        .when(state.is_null())
        .then(None)
        .otherwise(link)
        .alias(f"_link.{lookup.target.name}")
    )


def _with_late(rows: pl.LazyFrame, late: pl.LazyFrame, lookup: Lookup) -> pl.LazyFrame:
    """A lookup as relink, or the relink of a retry, resolved it; rows that it did not touch stay as they are."""
    name = lookup.target.name
    resolved = late.select("_source_id", _late=pl.col(name), _late_link=pl.col(f"_link.{name}").cast(pl.String))
    joined = rows.join(resolved, on="_source_id", how="left", maintain_order="left")
    return joined.with_columns(
        pl.when(pl.col("_late_link").is_not_null()).then(pl.col("_late")).otherwise(pl.col(name)).alias(name),
        pl.coalesce("_late_link", f"_link.{name}").alias(f"_link.{name}"),
    ).drop("_late", "_late_link")


def _with_healed(rows: pl.LazyFrame, healed: pl.LazyFrame, lookup: Lookup) -> pl.LazyFrame:
    """A lookup that was pending, as a heal filled it, found it set by somebody else, or a rollback emptied it again."""
    name = lookup.target.name
    own = healed.filter(pl.col("field") == name).select(
        _source_id="source_id", _healed="how", _parent="target_parent_id"
    )
    joined = rows.join(own, on="_source_id", how="left", maintain_order="left")
    # A rollback of the parent's run takes back what a heal, or the second pass of a retry, had filled.
    undone = pl.col("_healed") == LinkState.PENDING
    filled = (pl.col(f"_link.{name}") == LinkState.PENDING) & pl.col("_healed").is_not_null()
    filled = filled | (undone & (pl.col(name) == pl.col("_parent"))).fill_null(False)
    return joined.with_columns(
        pl.when(filled).then(pl.when(~undone).then(pl.col("_parent"))).otherwise(pl.col(name)).alias(name),
        pl.when(filled).then(pl.col("_healed")).otherwise(pl.col(f"_link.{name}")).alias(f"_link.{name}"),
    ).drop("_healed", "_parent")


def _is_level(plan: ObjectPlan, lookup: Lookup) -> bool:
    return plan.wave_rule == "self_levels" and lookup.target.name == plan.self_level_field


def _with_level(run: Run, plan: ObjectPlan, rows: pl.LazyFrame, lookup: Lookup) -> pl.LazyFrame:
    """The required self lookup of an object loaded level by level: linked to where the parent went."""
    name = lookup.target.name
    parents = run.audit(plan.object).latest().select(_parent="source_id", _to="target_id")
    joined = rows.join(parents, left_on=f"_from.{name}", right_on="_parent", how="left", maintain_order="left")
    found = pl.col("_to").is_not_null() & (pl.col(f"_link.{name}") == LinkState.PENDING)
    return joined.with_columns(
        pl.col("_to").alias(name),
        pl.when(found).then(pl.lit(str(LinkState.LINKED))).otherwise(pl.col(f"_link.{name}")).alias(f"_link.{name}"),
    ).drop("_to")
