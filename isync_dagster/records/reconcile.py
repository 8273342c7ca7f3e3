"""What was migrated beside what the target holds, value by value: which cells differ, checksums, business totals.

Both sides are compared in the form in which Salesforce would store them (`canonical`), and only where the tool decides
the value: a cell that an insert left to the target's default, or that an update may not touch, is not *bound* and says
nothing. Cells are compared by 64-bit hashes, a few fields at a time, so that memory is bounded by the number of rows
and not by their width; values are read only of the cells that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from isync_dagster.plan.model import FieldMapping, ObjectPlan
from isync_dagster.records.canonical import canonical
from isync_dagster.records.typing import write
from isync_dagster.records.words import decision
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype

SEED = 23
CELL_SCHEMA = pl.Schema(
    {
        "field": pl.String(),
        "source_id": pl.String(),
        "target_id": pl.String(),
        "expected": pl.String(),
        "found": pl.String(),
    }
)
TOTALS_SCHEMA = pl.Schema(
    {
        "field": pl.String(),
        "compared": pl.UInt64(),
        "different": pl.UInt64(),
        "expected": pl.UInt64(),
        "found": pl.UInt64(),
    }
)


@dataclass(frozen=True)
class Column:
    """One compared field: its name in the target and when a record's value is the tool's to decide."""

    target: Field
    bound: pl.Expr


def compared_columns(plan: ObjectPlan, exclude: Iterable[str] = ()) -> tuple[Column, ...]:
    """The fields of an object that are compared: every mapped one that is written, but lookups (checked as such).

    `exclude` are source names. The expressions look at `_decision`, `_state` and the field of the plan's rows.
    """
    left_out = set(exclude)
    found = [
        Column(mapping.target, _bound(plan, mapping))
        for mapping in plan.fields
        if (mapping.insertable or mapping.updateable) and mapping.source.name not in left_out
    ]
    if plan.migration_key is not None and "Id" not in left_out:
        found.append(Column(Field(plan.migration_key), pl.col(plan.migration_key).is_not_null()))
    return tuple(found)


def _bound(plan: ObjectPlan, mapping: FieldMapping) -> pl.Expr:
    """True where the record must hold the row's value: what an insert or update sends, or the second pass clears."""
    field = mapping.target
    there = pl.col(field.name).is_not_null()
    if field.name in {item.target for item in plan.staged}:
        return there
    filled = there
    if field.name in plan.clear_defaults:
        filled = pl.lit(True)
    elif not field.has_default:
        # A null that an upsert sends to a record that is there already leaves it alone.
        filled = there | (pl.col("_state") == "inserted")
    new = filled if mapping.insertable else pl.lit(False)
    kept = there if not field.nillable and field.defaulted_on_create and dtype(field) != pl.Boolean else pl.lit(True)
    old = kept if mapping.updateable else pl.lit(False)
    return pl.when(pl.col("_decision") == decision("insert")).then(new).otherwise(old)


def hashed(value: pl.Expr, field: Field) -> pl.Expr:
    """A typed column of `field` as UInt64: equal where Salesforce would store the same."""
    return canonical(value, field).hash(SEED)


def joined_hashes(
    rows: pl.LazyFrame, who: pl.LazyFrame, there: pl.LazyFrame, columns: Sequence[Column]
) -> pl.LazyFrame:
    """Per record in both: `_target_id`, and per field F `e.F`, `f.F` UInt64 and `b.F` Boolean (is it bound?).

    `rows` are a plan's rows (`_source_id`, `_decision`, the fields), `who` has `_source_id`, `_target_id`, `_state` of the
    records to compare, `there` the target's rows (`Id`, the fields). Records that `there` lacks are left out.
    """
    names = [column.target.name for column in columns]
    ours = (
        rows.select("_source_id", "_decision", *names)
        .join(who.select("_source_id", "_target_id", "_state"), on="_source_id", how="inner")
        .select(
            "_target_id",
            *(hashed(pl.col(column.target.name), column.target).alias(f"e.{column.target.name}") for column in columns),
            *(column.bound.fill_null(False).alias(f"b.{column.target.name}") for column in columns),
        )
    )
    theirs = there.select(
        pl.col("Id").alias("_target_id"),
        *(hashed(pl.col(column.target.name), column.target).alias(f"f.{column.target.name}") for column in columns),
    )
    return ours.join(theirs, on="_target_id", how="inner")


def differs(name: str) -> pl.Expr:
    """True where a bound cell of a frame of `joined_hashes` differs."""
    return pl.col(f"b.{name}") & (pl.col(f"e.{name}") != pl.col(f"f.{name}"))


def column_totals(joined: pl.LazyFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """One row a field: `field`, `compared` (bound cells), `different`, and an order-independent checksum of either side.

    `expected`, `found` UInt64: the sum of the upper halves of the cells' hashes. They are equal where the same values
    stand on both sides, in whatever order; another Polars version may give other sums for the same values.
    One pass over `joined` (`joined_hashes`).
    """
    sums: list[pl.Expr] = []
    for column in columns:
        name = column.target.name
        sums += [
            pl.struct(
                pl.lit(name).alias("field"),
                pl.col(f"b.{name}").sum().cast(pl.UInt64).alias("compared"),
                differs(name).sum().cast(pl.UInt64).alias("different"),
                _checksum("e", name).alias("expected"),
                _checksum("f", name).alias("found"),
            ).alias(name)
        ]
    if not sums:
        return pl.DataFrame(schema=TOTALS_SCHEMA)
    # Bounded: one row.
    row = joined.select(sums).collect().to_dicts()[0]
    return pl.DataFrame([row[column.target.name] for column in columns], schema=TOTALS_SCHEMA)


def _checksum(side: str, name: str) -> pl.Expr:
    half = pl.col(f"{side}.{name}") // 2**32
    return pl.when(f"b.{name}").then(half).otherwise(0).sum().cast(pl.UInt64)


def cells(
    rows: pl.LazyFrame, who: pl.LazyFrame, there: pl.LazyFrame, column: Column, target_ids: pl.LazyFrame
) -> pl.LazyFrame:
    """The cells of one field (`CELL_SCHEMA`) of the records in `target_ids` (`_target_id`), as text that people read."""
    name = column.target.name
    chosen = who.select("_source_id", "_target_id").join(target_ids, on="_target_id", how="semi")
    ours = rows.select("_source_id", expected=_text(column.target)).join(chosen, on="_source_id", how="inner")
    theirs = there.select(_target_id="Id", found=_text(column.target)).join(target_ids, on="_target_id", how="semi")
    return ours.join(theirs, on="_target_id", how="inner").select(
        field=pl.lit(name), source_id="_source_id", target_id="_target_id", expected="expected", found="found"
    )


def _text(field: Field) -> pl.Expr:
    return write(pl.col(field.name), dtype(field)).cast(pl.String)


def totals(joined: pl.LazyFrame, function: str, by: bool) -> pl.LazyFrame:
    """A measure of both sides of the same records, for each value: `value` (null in all without `by`), `expected`, `found`.

    `joined` has `e.value` and `f.value` (the measured field) where `function` is no count, and `e.by`, `f.by` (text)
    where `by`. A value that one side lacks has null there. One pass over `joined`, of which a row for each pair of values
    is collected.
    """
    sides = {"e": "expected", "f": "found"}
    parts = {side: _parts(function, pl.col(f"{side}.value"), side) for side in sides}
    every = [part for of_side in parts.values() for part in of_side]
    if not by:
        one_row = joined.select(every).select(_whole(function, side).alias(name) for side, name in sides.items())
        return one_row.select(pl.lit(None, dtype=pl.String).alias("value"), *sides.values())
    keys = [pl.col(f"{side}.by").fill_null("") for side in sides]
    pairs = joined.group_by(keys).agg(every).collect(engine="streaming").lazy()
    one, two = (
        pairs.group_by(pl.col(f"{side}.by").alias("value"))
        .agg(_rolled(function, side))
        .select("value", _whole(function, side).alias(name))
        for side, name in sides.items()
    )
    return one.join(two, on="value", how="full", coalesce=True, nulls_equal=True)


def _parts(function: str, value: pl.Expr, side: str) -> list[pl.Expr]:
    """What is kept of a group of records of a side, so that groups can be put together."""
    if function == "count":
        return [pl.len().cast(pl.Int64).alias(f"{side}.count")]
    if function == "avg":
        return [value.sum().alias(f"{side}.sum"), value.count().cast(pl.Int64).alias(f"{side}.count")]
    measured: pl.Expr = {"sum": value.sum, "min": value.min, "max": value.max}[function]()
    return [measured.alias(f"{side}.{function}")]


def _rolled(function: str, side: str) -> list[pl.Expr]:
    """The same of several groups together."""
    together = {"min": pl.Expr.min, "max": pl.Expr.max}.get(function, pl.Expr.sum)
    names = ("sum", "count") if function == "avg" else (function,)
    return [together(pl.col(f"{side}.{name}")) for name in names]


def _whole(function: str, side: str) -> pl.Expr:
    if function == "avg":
        # From the exact sum: a mean of floats would depend on the order of the rows.
        return pl.col(f"{side}.sum").cast(pl.Float64) / pl.col(f"{side}.count")
    return pl.col(f"{side}.{function}")
