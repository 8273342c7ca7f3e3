"""Outcomes of an attempt as frames: what each sent row has come to, whatever way it went."""

from __future__ import annotations

from typing import Any

import polars as pl

from isync_dagster.migration.model import State

OUTCOME_SCHEMA: dict[str, Any] = {
    "_row": pl.UInt32,
    "_source_id": pl.String,
    "target_id": pl.String,
    "state": pl.String,
    "code": pl.String,
    "message": pl.String,
    "fields": pl.String,
}
"""One row a sent row and attempt; `state` is a record state, or `again` for a row of the next attempt."""

AGAIN = "again"
LOST = "Lost"
"""State of an attempt of which no answer is left: its rows are settled against the target."""


def known_schema() -> dict[str, Any]:
    """`OUTCOME_SCHEMA` without the source id, which the rows of the chunk hold."""
    return {name: kind for name, kind in OUTCOME_SCHEMA.items() if name != "_source_id"}


def from_answers(answers: pl.DataFrame, operation: str) -> pl.DataFrame:
    """Answers of a collections call (target_id, created, code, message, fields) as outcomes with a record state."""
    done = pl.lit(str({"update": State.UPDATED, "delete": State.DELETED}.get(operation, State.INSERTED)))
    if operation == "upsert":
        # The record was there already: a repeat after a lost answer, or one that another tool brought.
        done = pl.when(pl.col("created").eq_missing(False)).then(pl.lit(str(State.UPDATED))).otherwise(done)
    return answers.with_columns(
        state=pl.when(pl.col("code").is_null()).then(done).otherwise(pl.lit(str(State.FAILED)))
    ).select([pl.col(name).cast(kind) for name, kind in known_schema().items()])


def found_rows(found: pl.DataFrame) -> pl.DataFrame:
    """Rows that were found in the target (`_row`, `target_id`) as outcomes: they were inserted."""
    return found.select(
        pl.col("_row").cast(pl.UInt32),
        "target_id",
        state=pl.lit(str(State.INSERTED)),
        code=pl.lit(None, dtype=pl.String),
        message=pl.lit("settled against the target"),
        fields=pl.lit(None, dtype=pl.String),
    )


def with_state(known: pl.DataFrame, rows: pl.DataFrame, state: str) -> pl.DataFrame:
    """`known` outcomes and those of `rows` (`_row`), which all have come to `state`."""
    more = rows.select(
        pl.col("_row").cast(pl.UInt32),
        target_id=pl.lit(None, dtype=pl.String),
        state=pl.lit(str(state)),
        code=pl.lit(None, dtype=pl.String),
        message=pl.lit(None, dtype=pl.String),
        fields=pl.lit(None, dtype=pl.String),
    )
    return pl.concat([known, more])
