"""A decided frame as a repeat would decide it, where the target is as the run of that frame left it."""

from __future__ import annotations

import polars as pl

from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.decide import late_lookups
from isync_dagster.records.relink import WRITTEN
from isync_dagster.records.words import MATCHED_BY, decision

SENT = ("insert", "update")
"""Decisions that a run sends, and that leave nothing to send for the next."""
ARRIVED = ("linked", "defaulted", "empty")
"""States of a lookup of the second pass that the target holds by now (`_link.F`)."""


def settled(plan: ObjectPlan) -> str:
    """What is decided of a record that is in the target as it should be."""
    return "identical" if plan.update_existing else "existing"


def standing(
    rows: pl.LazyFrame, plan: ObjectPlan, ids: pl.LazyFrame, late: pl.LazyFrame | None, *, updated: bool = True
) -> pl.LazyFrame:
    """The columns of `rows` (decided and sent) that are others where nothing has changed since, in the order of `rows`.

    `ids` (`source_id`, `target_id`, one row a source id) are the records that were inserted; `late` is the second pass of
    the run (`records.relink.relink`), None where the object has none. `_decision` of what was sent is identical (existing
    where updates are off) and `_matched_by` the id map; `_target_id` is where it went, `_changed` empty, `_now.F` of what
    the second pass writes what it has left there, any other `_now.F` null (left out where no row was `updated`: it is null
    already). An inserted row that `ids` lacks keeps its null `_target_id`: it never arrived, and such a frame must not be used.
    """
    known = rows.collect_schema().names()
    names = [lookup.target.name for lookup in late_lookups(plan)]
    late_fields = {*names, *(item.target for item in plan.staged)}
    now = [name for name in known if name.startswith("_now.") and (updated or name[5:] in late_fields)]
    wanted = [
        "_source_id",
        "_decision",
        "_target_id",
        "_matched_by",
        "_changed",
        *now,
        *(item.target for item in plan.staged),
    ]
    rows = rows.select(name for name in dict.fromkeys(wanted) if name in known)
    arrived = ids.select(_source_id="source_id", _there="target_id")
    rows = rows.join(arrived, on="_source_id", how="left", maintain_order="left")
    rows = rows.with_columns(_target_id=pl.coalesce("_target_id", "_there"))
    if late is not None and names:
        filled = late.select(
            "_source_id",
            *(pl.col(name).alias(f"_late.{name}") for name in names),
            *(pl.col(f"_link.{name}").alias(f"_late_link.{name}") for name in names),
        )
        rows = rows.join(filled, on="_source_id", how="left", maintain_order="left")
        rows = rows.with_columns(_left(name, pl.col(f"_late.{name}"), pl.col(f"_late_link.{name}")) for name in names)
    return _settled(rows, plan).select("_decision", "_target_id", "_matched_by", "_changed", *now)


def standing_late(rows: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """The rows of a second pass (`records.relink.relink`) that was sent, as `standing` gives those of the first: with nothing
    to send."""
    names = [lookup.target.name for lookup in late_lookups(plan)]
    rows = rows.with_columns(_left(name, pl.col(name), pl.col(f"_link.{name}")) for name in names)
    rows = _settled(rows.with_columns(_changed=pl.lit([], dtype=pl.List(pl.String))), plan)
    return rows.filter(pl.col("_decision").cast(pl.String).is_in(WRITTEN))


def _left(name: str, value: pl.Expr, state: pl.Expr) -> pl.Expr:
    """`_now.F` of a lookup that the second pass has filled or emptied; one that waits has what it had."""
    return (
        pl.when(state.cast(pl.String).is_in(ARRIVED))
        .then(value)
        .otherwise(pl.col(f"_now.{name}"))
        .alias(f"_now.{name}")
    )


def _settled(rows: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    known = rows.collect_schema()
    late = {lookup.target.name for lookup in late_lookups(plan)}
    staged = [item.target for item in plan.staged if f"_now.{item.target}" in known]
    decided = pl.col("_decision").cast(pl.String)
    rows = rows.with_columns(
        # An empty one is not sent, and nothing of a record that is left as it is: the target has what it had.
        pl.when(decided.is_in(WRITTEN) & pl.col(name).is_not_null())
        .then(pl.col(name).cast(known[f"_now.{name}"]))
        .otherwise(pl.col(f"_now.{name}"))
        .alias(f"_now.{name}")
        for name in staged
    )
    done_with = [name for name in known.names() if name.startswith("_now.") and name[5:] not in {*late, *staged}]
    sent = decided.is_in(SENT).fill_null(False)
    # What was matched is in the id map since; but for a dropped row, whose match nobody wrote down.
    mapped = sent | (pl.col("_matched_by").is_not_null() & decided.ne_missing("dropped"))
    return rows.with_columns(
        pl.when(sent).then(decision(settled(plan))).otherwise(pl.col("_decision")).alias("_decision"),
        pl.when(mapped).then(pl.lit("id map", dtype=MATCHED_BY)).otherwise(pl.col("_matched_by")).alias("_matched_by"),
        pl.when(sent).then(pl.lit([], dtype=pl.List(pl.String))).otherwise(pl.col("_changed")).alias("_changed"),
        # As after a comparison: kept where the load is to write, or the second pass looks at it.
        *(pl.lit(None, dtype=known[name]).alias(name) for name in done_with),
    )
