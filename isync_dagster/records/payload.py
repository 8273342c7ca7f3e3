"""Rows as they are sent: wire strings, one column a field, null where nothing is said.

An empty cell of an insert lets the target's default apply; an empty cell of an update leaves the field alone, and
`#N/A` clears it. Line ends inside a value become `\\n`: a Bulk job fails as a whole over a mixture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.canonical import one_line_end
from isync_dagster.records.decide import updated_fields
from isync_dagster.records.typing import write
from isync_dagster.records.words import decision
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype

CLEARED = "#N/A"
"""What Bulk CSV reads as 'set to null', so that no value of that text can travel by it."""

_NOTHING = pl.lit([], dtype=pl.List(pl.String))


def inserted_fields(plan: ObjectPlan) -> dict[str, Field]:
    """The target fields that an insert may send, by name, in the plan's order."""
    fields = {mapping.target.name: mapping.target for mapping in plan.fields if mapping.insertable}
    if plan.migration_key is not None:
        fields[plan.migration_key] = Field(plan.migration_key)
    return fields | {
        lookup.target.name: lookup.target for lookup in plan.lookups if lookup.insertable and not lookup.deferred
    }


def insert_payload(frame: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """The rows of a decided and ordered frame that are to be inserted.

    Columns: `_row` UInt32, `_source_id`, `_target_id` (null), `_collections` Boolean (a value is the text `#N/A`, which
    only the collections API can carry), `_clear` List(String) (empty), then the fields of `inserted_fields(plan)` as
    wire strings. Staged fields hold their initial value.
    """
    initial = {item.target: item.initial for item in plan.staged}
    cells: dict[str, pl.Expr] = {}
    for name, field in inserted_fields(plan).items():
        cells[name] = pl.lit(initial[name] or None, dtype=pl.String) if name in initial else sent_text(field)
    rows = frame.filter(pl.col("_decision") == decision("insert"))
    return rows.select(
        "_row",
        "_source_id",
        pl.lit(None, dtype=pl.String).alias("_target_id"),
        _any(cell.eq_missing(pl.lit(CLEARED)) for cell in cells.values()).alias("_collections"),
        _NOTHING.alias("_clear"),
        **cells,
    )


def update_payload(frame: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """The rows of a decided and ordered frame that are to be updated: their Id and the cells that change.

    Columns: `_row` UInt32, `_source_id`, `_target_id`, `_collections` Boolean, `_clear` List(String) (the fields to set
    to null, for the way that tells them from the text), `Id`, then the fields that an update may send: `#N/A` clears,
    null leaves alone.
    """
    rows = frame.filter(pl.col("_decision") == decision("update"))
    values = {name: sent_text(field) for name, field in updated_fields(plan).items()}
    return changes(rows, values)


def changes(rows: pl.LazyFrame, values: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    """An update of the `_changed` fields of `rows` to `values` (text; null clears), as `update_payload` gives it."""
    changed = {name: pl.col("_changed").list.contains(name) for name in values}
    cells = {name: pl.when(changed[name]).then(value.fill_null(CLEARED)) for name, value in values.items()}
    cleared = [pl.when(changed[name] & value.is_null()).then(pl.lit(name)) for name, value in values.items()]
    return rows.select(
        "_row",
        "_source_id",
        "_target_id",
        _any(changed[name] & value.eq_missing(pl.lit(CLEARED)) for name, value in values.items()).alias("_collections"),
        (pl.concat_list(cleared).list.drop_nulls() if cleared else pl.lit([], dtype=pl.List(pl.String))).alias(
            "_clear"
        ),
        pl.col("_target_id").alias("Id"),
        **cells,
    )


def sent_text(field: Field, column: str | None = None) -> pl.Expr:
    """A typed column of `field` as the text that is sent."""
    value = pl.col(column or field.name)
    return one_line_end(value) if dtype(field) == pl.String else write(value, dtype(field))


def _any(conditions: Iterable[pl.Expr]) -> pl.Expr:
    listed = list(conditions)
    return pl.any_horizontal(listed) if listed else pl.lit(False)
