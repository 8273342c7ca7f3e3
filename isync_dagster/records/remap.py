"""Source ids replaced by target ids, each lookup with a recorded state.

A source id never reaches a target column because no mapping was found: what has no counterpart becomes null, the
policy's default, or the end of the row. Only lookups that the template keeps (`exclude_parents`) pass unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from isync_dagster.plan.model import Lookup, Policy
from isync_dagster.records.words import DECISIONS, LINK_STATES, decision, link

IdMaps = Callable[[Lookup], pl.LazyFrame]
"""Gives the `source_id`, `target_id` pairs that a lookup may resolve through: one a source id (`ids.unambiguous`), which is
not looked at once more for each lookup of each slice."""

Spill = Callable[[pl.LazyFrame, str], pl.LazyFrame]
"""Writes a frame down under a name and gives it back as a scan: bounds memory to one join."""

_FEW = 3


def resolve(
    frame: pl.LazyFrame,
    lookups: Sequence[Lookup],
    id_maps: IdMaps,
    *,
    failed_parents: pl.LazyFrame | None = None,
    spill: Spill | None = None,
) -> pl.LazyFrame:
    """`frame` (transformed: lookups hold source ids under their target names) with every lookup resolved, in order.

    For each lookup F: F String becomes the target id or null, `_from.F` String is the source parent's id, `_link.F`
    (`LINK_STATES`) what became of it. Deferred lookups are null and pending (or empty): relink resolves them.
    Added for the row: `_decision` (`DECISIONS`: blocked, dropped, or null while undecided), `_reason` String naming
    fields and parent ids (or values that fit no type), `_stop` String, set where policy `stop` met a missing parent and the caller must not go on.

    `failed_parents` (`source_id`, `reason`) are records of this run that did not reach the target; their reason is
    added to that of the blocked child. An id map is joined once a lookup, one after the other; with `spill` each
    result is written down first, so that no two id maps are in memory at a time.
    """
    current = _prepared(frame)
    for lookup in lookups:
        current = _resolved(current, lookup, id_maps, failed_parents)
        if spill is not None and not lookup.deferred and not lookup.kept:
            current = spill(current, lookup.target.name)
    return current


def _prepared(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The columns of the row's own fate: null, or blocked where a value did not fit its type (`transform`)."""
    known = frame.collect_schema()
    wanted = {"_decision": DECISIONS, "_reason": pl.String(), "_stop": pl.String()}
    columns = {name: pl.lit(None, dtype=kind) for name, kind in wanted.items() if name not in known}
    if "_unfit" in known and "_decision" in columns:
        unfit = pl.col("_unfit").is_not_null()
        each = pl.format(
            "{}: {} does not fit the type of the target's field",
            pl.element().struct.field("field"),
            pl.element().struct.field("value"),
        )
        # Its cell is null: to send the row would lose the value without a word.
        columns["_decision"] = pl.when(unfit).then(decision("blocked"))
        columns["_reason"] = pl.when(unfit).then(pl.col("_unfit").list.eval(each).list.join("; "))
    return frame.with_columns(**columns)


def _resolved(
    frame: pl.LazyFrame, lookup: Lookup, id_maps: IdMaps, failed_parents: pl.LazyFrame | None
) -> pl.LazyFrame:
    """One lookup resolved."""
    name = lookup.target.name
    value, parent, state = pl.col(name), pl.col(f"_from.{name}"), f"_link.{name}"
    frame = frame.with_columns(value.alias(f"_from.{name}"))
    empty = parent.is_null()
    if lookup.kept:
        return frame.with_columns(pl.when(empty).then(link("empty")).otherwise(link("kept")).alias(state))
    if lookup.deferred:
        return frame.with_columns(
            pl.lit(None, dtype=pl.String).alias(name),
            pl.when(empty).then(link("empty")).otherwise(link("pending")).alias(state),
        )
    known = id_maps(lookup).select(pl.col("source_id").alias("_parent"), pl.col("target_id").alias("_to"))
    frame = frame.join(known, left_on=name, right_on="_parent", how="left", maintain_order="left")
    missing = parent.is_not_null() & pl.col("_to").is_null()
    # Words are made of the few that lack a parent: of a null there are none.
    absent = pl.when(missing).then(parent)
    words = pl.format(f"{name}: parent {{}} of {_pointed_to(lookup)} is not in the target", absent)
    if failed_parents is not None:
        why = failed_parents.select(pl.col("source_id").alias("_parent"), pl.col("reason").alias("_why"))
        frame = frame.join(
            why.unique("_parent", keep="any"),
            left_on=f"_from.{name}",
            right_on="_parent",
            how="left",
            maintain_order="left",
        )
        words = pl.concat_str(
            [words, pl.when(pl.col("_why").is_not_null()).then(pl.format(": {}", "_why")).otherwise(pl.lit(""))]
        )
    missing_value, missing_state, fate = _policy(lookup)
    columns = [
        pl.when(missing).then(missing_value).otherwise(pl.col("_to")).alias(name),
        pl.when(empty).then(link("empty")).when(missing).then(missing_state).otherwise(link("linked")).alias(state),
    ]
    if fate is not None:
        reason = pl.concat_str([pl.col("_reason"), words], separator="; ", ignore_nulls=True)
        columns.append(pl.when(missing).then(reason).otherwise(pl.col("_reason")).alias("_reason"))
        # A row that is to be dropped is dropped, whatever else it lacks.
        keeps = pl.col("_decision").eq_missing(decision("dropped"))
        columns.append(pl.when(missing & ~keeps).then(decision(fate)).otherwise(pl.col("_decision")).alias("_decision"))
    if lookup.policy is Policy.STOP:
        columns.append(pl.when(missing).then(pl.coalesce("_stop", words)).otherwise(pl.col("_stop")).alias("_stop"))
    return frame.with_columns(columns).drop("_to", "_why", strict=False)


def _policy(lookup: Lookup) -> tuple[pl.Expr, pl.Expr, str | None]:
    """What a missing parent means: the value, the link state, and the row's decision where it has one."""
    nothing = pl.lit(None, dtype=pl.String)
    match lookup.policy:
        case Policy.DEFAULT:
            return pl.lit(lookup.default, dtype=pl.String), link("defaulted"), None
        case Policy.DROP_ROW:
            return nothing, link("dropped"), "dropped"
        case Policy.BLOCK | Policy.STOP:
            return nothing, link("failed"), "blocked"
        case Policy.FETCH_PARENT if lookup.required:
            # It was asked for with the extract; that it is missing now is a failure of the parent.
            return nothing, link("failed"), "blocked"
        case _:
            # The server fills such a field (an owner): there is nothing to heal later.
            return nothing, link("defaulted" if lookup.target.defaulted_on_create else "pending"), None


def _pointed_to(lookup: Lookup) -> str:
    """The objects that the lookup may point at, as a message names them."""
    names = list(dict.fromkeys((*lookup.parents, *lookup.references, *lookup.others)))
    if not names:
        return "an object outside the template"
    return " or ".join(names) if len(names) <= _FEW else f"one of {len(names)} objects"


def link_counts(frame: pl.LazyFrame, lookups: Sequence[Lookup]) -> pl.LazyFrame:
    """How many rows each lookup has in each state: `field` String, `state` String, `rows` UInt32; one pass."""
    names = [lookup.target.name for lookup in lookups]
    if not names:
        return pl.LazyFrame(schema={"field": pl.String, "state": pl.String, "rows": pl.UInt32})
    long = frame.select(pl.col(f"_link.{name}").cast(LINK_STATES).alias(name) for name in names).unpivot(
        variable_name="field", value_name="state"
    )
    return (
        long.group_by("field", "state")
        .agg(pl.len().cast(pl.UInt32).alias("rows"))
        .cast({"state": pl.String})
        .sort("field", "state")
    )
