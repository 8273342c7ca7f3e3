"""Fields that the platform works out from others of the same row, at every save.

A derivation names its inputs; `derive_insert` fills the columns of a frame about to be stored, `derive_update`
recomputes them for stored rows one of whose inputs changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import polars as pl

from isync_dagster.local_org.defaults import NAME_PARTS, compose_name
from isync_dagster.local_org.org_schema import column_type, quote
from isync_dagster.local_org.storage import polars_type, registered, select
from isync_dagster.schema.model import SObject

Exprs = dict[str, pl.Expr]

# Stages as every new org has them, with their probability; others count as open unless their name says more.
STAGES: Final = {
    "Prospecting": 10, "Qualification": 10, "Needs Analysis": 20, "Value Proposition": 50,
    "Id. Decision Makers": 60, "Perception Analysis": 70, "Proposal/Price Quote": 75, "Negotiation/Review": 90,
    "Closed Won": 100, "Closed Lost": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Derivation:
    """Columns worked out from `inputs`; `made` builds their expressions from those columns."""

    inputs: tuple[str, ...]
    made: Callable[[], Exprs]


def _opportunity() -> Exprs:
    stage, close = pl.col("StageName"), pl.col("CloseDate")
    lower = stage.str.to_lowercase()
    won = lower.str.contains("won") & lower.str.contains("closed")
    closed = lower.str.contains("closed")
    probability = pl.col("Probability").cast(pl.Float64)
    forecast = (
        pl.when(won).then(pl.lit("Closed")).when(closed).then(pl.lit("Omitted"))
        .when(probability >= 70).then(pl.lit("Best Case")).otherwise(pl.lit("Pipeline"))
    )  # fmt: skip
    quarter = close.dt.quarter().cast(pl.Int64)
    return {
        "IsWon": won.fill_null(False),
        "IsClosed": closed.fill_null(False),
        "ForecastCategory": forecast.str.replace(" ", ""),
        "ExpectedRevenue": (pl.col("Amount").cast(pl.Float64) * probability / 100).round(2),
        "FiscalYear": close.dt.year().cast(pl.Int64),
        "FiscalQuarter": quarter,
        "Fiscal": pl.concat_str([close.dt.year().cast(pl.String), pl.lit(" "), quarter.cast(pl.String)]),
    }


def _task() -> Exprs:
    return {
        "IsClosed": (pl.col("Status") == "Completed").fill_null(False),
        "IsHighPriority": (pl.col("Priority") == "High").fill_null(False),
    }


def _case() -> Exprs:
    return {"IsClosed": pl.col("Status").str.to_lowercase().str.contains("closed").fill_null(False)}


def _status_code() -> Exprs:
    status = pl.col("Status")
    activated = pl.when(status == "Activated").then(pl.lit("Activated"))
    return {
        "StatusCode": activated.when(status == "In Approval Process")
        .then(pl.lit("InApproval"))
        .otherwise(pl.lit("Draft"))
    }


def _line() -> Exprs:
    quantity, unit, total = (pl.col(name).cast(pl.Float64) for name in ("Quantity", "UnitPrice", "TotalPrice"))
    discount = 1 - pl.col("Discount").cast(pl.Float64).fill_null(0) / 100
    return {
        "UnitPrice": pl.coalesce(unit, pl.when(quantity * discount != 0).then(total / (quantity * discount))).round(2),
        "TotalPrice": pl.coalesce(unit * quantity * discount, total).round(2),
    }


def _order_line() -> Exprs:
    return {"TotalPrice": (pl.col("Quantity").cast(pl.Float64) * pl.col("UnitPrice").cast(pl.Float64)).round(2)}


def _attachment() -> Exprs:
    return {"BodyLength": pl.col("Body").bin.size().cast(pl.Int64)}


DERIVATIONS: Final[dict[str, Derivation]] = {
    "Opportunity": Derivation(("StageName", "CloseDate", "Probability", "Amount"), _opportunity),
    "Task": Derivation(("Status", "Priority"), _task),
    "Case": Derivation(("Status",), _case),
    "Order": Derivation(("Status",), _status_code),
    "Contract": Derivation(("Status",), _status_code),
    "OpportunityLineItem": Derivation(("Quantity", "UnitPrice", "TotalPrice", "Discount"), _line),
    "OrderItem": Derivation(("Quantity", "UnitPrice"), _order_line),
    "Attachment": Derivation(("Body",), _attachment),
}


def _of(sobject: SObject) -> Derivation | None:
    parts = compose_name(sobject)
    if parts:
        return Derivation(tuple(parts), lambda: {"Name": _whole_name(parts)})
    return DERIVATIONS.get(sobject.name)


def _whole_name(parts: Sequence[str]) -> pl.Expr:
    ordered = [part for part in NAME_PARTS if part in parts]
    return pl.concat_str(ordered, separator=" ", ignore_nulls=True)


def derive_insert(frame: pl.DataFrame, sobject: SObject, given: Sequence[str]) -> pl.DataFrame:
    """The frame with its worked-out columns; those among `given` (a trusted load brings them) stay."""
    derivation = _of(sobject)
    if derivation is None:
        return frame
    if sobject.name == "Opportunity":
        frame = _probability(frame, sobject, given)
    have = _inputs(frame, sobject, derivation)
    worked = have.select([expr.alias(name) for name, expr in _typed(sobject, derivation)])
    return frame.with_columns(
        [series for series in worked if series.name not in given or series.name in derivation.inputs]
    )


def _typed(sobject: SObject, derivation: Derivation) -> list[tuple[str, pl.Expr]]:
    found: list[tuple[str, pl.Expr]] = []
    for name, expr in derivation.made().items():
        field = sobject.field(name)
        kind = column_type(field) if field is not None else None
        if kind is not None:
            found.append((name, expr.cast(polars_type(kind), strict=False)))
    return found


def _inputs(frame: pl.DataFrame, sobject: SObject, derivation: Derivation) -> pl.DataFrame:
    """The frame with every input column, null where it is absent."""
    missing: list[pl.Expr] = []
    for name in derivation.inputs:
        if name in frame.columns:
            continue
        field = sobject.field(name)
        kind = (column_type(field) if field is not None else None) or "VARCHAR"
        missing.append(pl.lit(None, dtype=polars_type(kind)).alias(name))
    return frame.with_columns(missing)


def _probability(frame: pl.DataFrame, sobject: SObject, given: Sequence[str]) -> pl.DataFrame:
    """An opportunity's probability follows its stage unless the client gives one; so does the forecast category."""
    field = sobject.field("Probability")
    if field is None or "StageName" not in frame.columns:
        return frame
    usual = pl.col("StageName").replace_strict(STAGES, default=None, return_dtype=pl.Int64)
    dtype = polars_type(column_type(field) or "DOUBLE")
    sent = pl.col("Probability") if "Probability" in frame.columns else pl.lit(None, dtype=dtype)
    frame = frame.with_columns(pl.coalesce(sent, usual.cast(dtype)).alias("Probability"))
    category = sobject.field("ForecastCategoryName")
    if category is not None and "ForecastCategoryName" not in given:
        lower = pl.col("StageName").str.to_lowercase()
        named = (
            pl.when(lower.str.contains("won")).then(pl.lit("Closed"))
            .when(lower.str.contains("closed")).then(pl.lit("Omitted")).otherwise(pl.lit("Pipeline"))
        )  # fmt: skip
        frame = frame.with_columns(named.alias("ForecastCategoryName"))
    return frame


def derive_update(
    cursor: duckdb.DuckDBPyConnection, sobject: SObject, ids: pl.DataFrame, changed: Sequence[str]
) -> None:
    """Work out the columns anew for stored rows (`Id`) where one of the inputs is among `changed`."""
    derivation = _of(sobject)
    if derivation is None or not set(derivation.inputs) & set(changed):
        return
    known = [name for name in derivation.inputs if sobject.field(name) is not None]
    with registered(cursor, _ids=ids.select("Id")):
        rows = select(
            cursor,
            f'SELECT "Id", {", ".join(map(quote, known))} FROM {quote(sobject.name)} '
            'WHERE "Id" IN (SELECT "Id" FROM _ids)',
        )
    if sobject.name == "OpportunityLineItem" and "TotalPrice" in changed and "UnitPrice" not in changed:
        rows = rows.with_columns(pl.lit(None, dtype=rows.schema["UnitPrice"]).alias("UnitPrice"))
    made = _typed(sobject, derivation)
    full = _inputs(rows, sobject, derivation)
    worked = full.select("Id", *[expr.alias(name) for name, expr in made])
    sets = ", ".join(f"{quote(name)} = w.{quote(name)}" for name, _ in made)
    if not sets:
        return
    with registered(cursor, _worked=worked):
        cursor.execute(f'UPDATE {quote(sobject.name)} AS t SET {sets} FROM _worked w WHERE t."Id" = w."Id"')
