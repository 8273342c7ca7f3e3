"""From the text of Bulk CSV to typed columns and back, without losing a digit, a line break or a leading zero.

`typed` reads what a Bulk query gives, `lossy_cells` tells which cells did not survive that (none may), and `wire`
writes what a Bulk ingest takes. `typed(wire(typed(raw)))` is `typed(raw)` for every field type.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
import polars.selectors as cs

from isync_dagster.records.canonical import canonical
from isync_dagster.records.ids import to18
from isync_dagster.schema.model import NUMBER_TYPES, Field
from isync_dagster.schema.types import DATETIME, DECIMALS, NUMBER, dtype

__all__ = ["canonical", "lossy_cells", "lost", "read", "to18", "typed", "typed_and_proven", "wire", "write"]

_DATE = "%Y-%m-%d"
_DATETIME_IN = "%Y-%m-%dT%H:%M:%S%.f%z"
_SECONDS_IN = "%Y-%m-%dT%H:%M:%S"
_PLAIN_END = ".000Z"
_DATETIME_OUT = "%Y-%m-%dT%H:%M:%S%.3fZ"
_TIME_IN = "%H:%M:%S%.f"
_TIME_OUT = "%H:%M:%S%.3fZ"
_NUMBER_PARTS = r"^\s*[+-]?(?P<whole>\d*)\.?(?P<fraction>\d*?)0*(?:[eE](?P<exponent>[+-]?\d+))?\s*$"

LOSSY_SCHEMA = pl.Schema({"field": pl.String(), "cells": pl.UInt32(), "example": pl.String()})


def typed(raw: pl.LazyFrame, fields: Iterable[Field]) -> pl.LazyFrame:
    """`raw` with every named field in its own dtype (`schema.types.dtype`); other text columns stay text.

    `raw` holds one String column a field; an empty text is null, whatever the column. Ids take their 18 characters.
    A cell that does not fit its type becomes null: `lossy_cells` finds those, and an extract must not go on with any.
    """
    listed = list(fields)
    others = cs.string() - cs.by_name([field.name for field in listed], require_all=False)
    return raw.with_columns(
        pl.when(others != "").then(others),
        *(read(pl.col(field.name), field).alias(field.name) for field in listed),
    )


def typed_and_proven(raw: pl.LazyFrame, fields: Iterable[Field]) -> pl.LazyFrame:
    """`raw` as `typed` gives it, with `_lossy` Boolean: true in a row with a cell that `lossy_cells` counts, or may count:
    numbers are not taken apart here.

    Each cell is read once for both.
    """
    listed = list(fields)
    bad = [_suspicious(pl.col(field.name), field) for field in listed if dtype(field) != pl.String]
    lossy = pl.any_horizontal(bad) if bad else pl.lit(False)
    others = cs.string() - cs.by_name([field.name for field in listed], require_all=False)
    return raw.with_columns(
        pl.when(others != "").then(others),
        *(read(pl.col(field.name), field).alias(field.name) for field in listed),
        lossy.alias("_lossy"),
    )


def read(expr: pl.Expr, field: Field) -> pl.Expr:
    """One column of Salesforce text as the dtype of `field`; what does not fit is null."""
    kind = field.type
    if kind in ("id", "reference"):
        return to18(expr)
    if kind == "boolean":
        lower = expr.str.to_lowercase()
        return pl.when(lower.is_in(["true", "1"])).then(True).when(lower.is_in(["false", "0"])).then(False)
    if kind in ("int", "long"):
        return expr.cast(NUMBER, strict=False).cast(pl.Int64, strict=False)
    if kind in NUMBER_TYPES:
        return expr.cast(NUMBER, strict=False)
    if kind == "date":
        return expr.str.to_date(_DATE, strict=False, cache=False)
    if kind == "datetime":
        # Next to all instants are whole seconds of UTC, which are read in an eighth of the time.
        seconds = pl.when(_is_plain(expr)).then(expr.str.head(19))
        whole = seconds.str.to_datetime(_SECONDS_IN, time_unit="ms", strict=False, cache=False)
        zoned = pl.when(~_is_plain(expr)).then(expr).str.replace("Z$", "+0000")
        other = zoned.str.to_datetime(_DATETIME_IN, time_unit="ms", time_zone="UTC", strict=False)
        return pl.coalesce(whole.dt.replace_time_zone("UTC"), other).cast(DATETIME)
    if kind == "time":
        return expr.str.strip_suffix("Z").str.to_time(_TIME_IN, strict=False)
    return pl.when(expr != "").then(expr)


def wire(frame: pl.LazyFrame, fields: Iterable[Field]) -> pl.LazyFrame:
    """`frame` with every named field as Bulk CSV wants it, all String; null stays null, other columns stay."""
    return frame.with_columns(write(pl.col(field.name), dtype(field)).alias(field.name) for field in fields)


def write(expr: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """One typed column as Salesforce text.

    Numbers are plain (no exponent, no trailing zeros), booleans `true`/`false`, instants in UTC with milliseconds.

    >>> frame = pl.DataFrame({"n": ["1.0E7", "-0.50"]}).select(pl.col("n").cast(NUMBER))
    >>> frame.select(write(pl.col("n"), NUMBER)).to_series().to_list()
    ['10000000', '-0.5']
    """
    if kind == pl.Decimal:
        # Always printed with all decimals, so only zeros after the point are cut.
        return expr.cast(NUMBER).cast(pl.String).str.strip_chars_end("0").str.strip_chars_end(".")
    if kind == pl.Date:
        return expr.dt.strftime(_DATE)
    if kind == pl.Datetime:
        return expr.dt.strftime(_DATETIME_OUT)
    if kind == pl.Time:
        return expr.dt.strftime(_TIME_OUT)
    return expr.cast(pl.String)


def lossy_cells(raw: pl.LazyFrame, fields: Iterable[Field]) -> pl.LazyFrame:
    """The fields of `raw` with cells that `typed` cannot keep; no row means that nothing is lost.

    Columns: `field` String, `cells` UInt32 (how many), `example` String (the text of one of them).
    One pass over `raw`, one row a field.
    """
    checks = [(field.name, lost(pl.col(field.name), field)) for field in fields if dtype(field) != pl.String]
    if not checks:
        return pl.LazyFrame(schema=LOSSY_SCHEMA)
    counted = raw.select(
        pl.struct(
            pl.lit(name).alias("field"),
            bad.sum().cast(pl.UInt32).alias("cells"),
            pl.col(name).filter(bad).first().alias("example"),
        ).alias(name)
        for name, bad in checks
    )
    return (
        counted.select(pl.concat_list(name for name, _ in checks).alias("found"))
        .explode("found")
        .unnest("found")
        .filter(pl.col("cells") > 0)
    )


def lost(expr: pl.Expr, field: Field) -> pl.Expr:
    """True where a cell of text holds something that its typed value does not say; a blank is never lost."""
    value = read(expr, field)
    present = expr.is_not_null() & (expr != "")
    bad = value.is_null()
    if field.type in ("int", "long"):
        bad = bad | (expr.cast(NUMBER, strict=False) != value.cast(NUMBER))
    elif field.type in NUMBER_TYPES:
        bad = bad | _too_fine(expr)
    elif field.type == "date":
        bad = bad | (write(value, dtype(field)) != expr)
    elif field.type in ("datetime", "time"):
        doubtful = pl.when(~_is_plain(expr)).then(expr)
        bad = bad | (doubtful.str.extract(r"\.\d{3}(\d+)").str.strip_chars_end("0") != "").fill_null(False)
    return present & bad.fill_null(False)


def _suspicious(expr: pl.Expr, field: Field) -> pl.Expr:
    """True where a cell is `lost`, and where a number's text is long or small enough that it might be."""
    if field.type not in NUMBER_TYPES:
        return lost(expr, field)
    unread = read(expr, field).is_null() & expr.is_not_null() & (expr != "")
    return unread | _may_be_too_fine(expr).fill_null(False)


def _is_plain(expr: pl.Expr) -> pl.Expr:
    """True where the text of an instant is written as Salesforce does, without a part of a second."""
    return expr.str.ends_with(_PLAIN_END) & (expr.str.len_bytes() == 19 + len(_PLAIN_END))


def _too_fine(expr: pl.Expr) -> pl.Expr:
    """True where the number in a text needs more decimals than `NUMBER` has; a null costs nothing."""
    return (_decimals(pl.when(_may_be_too_fine(expr)).then(expr)) > DECIMALS).fill_null(False)


def _may_be_too_fine(expr: pl.Expr) -> pl.Expr:
    """True where a text has more characters after its point than `NUMBER` has decimals, or an exponent below zero."""
    after = expr.str.len_bytes() - expr.str.find(".", literal=True) - 1
    long = (after > DECIMALS).fill_null(False)
    return long | expr.str.contains("e-", literal=True) | expr.str.contains("E-", literal=True)


def _decimals(expr: pl.Expr) -> pl.Expr:
    """How many decimals the number in a text needs, its exponent reckoned in (Int64; negative for round thousands)."""
    parts = expr.str.extract_groups(_NUMBER_PARTS)
    whole, fraction = parts.struct.field("whole"), parts.struct.field("fraction")
    exponent = parts.struct.field("exponent").cast(pl.Int64, strict=False).fill_null(0)
    significant = whole.str.strip_chars_end("0")
    zeros = whole.str.len_chars().cast(pl.Int64) - significant.str.len_chars().cast(pl.Int64)
    needed = pl.when(fraction != "").then(fraction.str.len_chars().cast(pl.Int64)).otherwise(-zeros) - exponent
    return pl.when((fraction != "") | (significant != "")).then(needed).otherwise(0)
