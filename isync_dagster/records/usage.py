"""What rows hold, as far as a comparison of schemas asks: counts of a frame, in as few passes as there can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import polars as pl

from isync_dagster.schema.compare import Answer, Ask, Question
from isync_dagster.schema.model import Field, SObject
from isync_dagster.schema.types import NUMBER

MOST_VALUES = 100_000
"""Distinct values of a field that are counted one by one; a picklist has a few thousand at most."""


def answers_of(
    frame: pl.LazyFrame, sobject: SObject, questions: Iterable[Question], prefixes: Mapping[str, str]
) -> dict[Question, Answer]:
    """The answers that a typed frame of an object's rows gives (columns by field name, dtypes of `schema.types`).

    `prefixes` are key prefixes by lower-case object name. A question about a column that the frame lacks, or about
    parents without a known prefix, gets no answer.
    """
    columns = set(frame.collect_schema().names())
    scalars: list[tuple[Question, pl.Expr]] = []
    answers: dict[Question, Answer] = {}
    for question in questions:
        field = sobject.field(question.field) if question.field else None
        if question.ask is not Ask.ROWS and (field is None or field.name not in columns):
            continue
        if question.ask is Ask.VALUES and field is not None:
            answers[question] = _values(frame, field)
            continue
        expression = _expression(question, field, prefixes)
        if expression is not None:
            scalars.append((question, expression))
    if scalars:
        # One row: a number a question.
        counted = frame.select(expr.alias(str(place)) for place, (_, expr) in enumerate(scalars)).collect()
        answers |= {question: int(counted.item(0, place) or 0) for place, (question, _) in enumerate(scalars)}
    return answers


def _expression(question: Question, field: Field | None, prefixes: Mapping[str, str]) -> pl.Expr | None:
    if field is None:
        return pl.len()
    column = pl.col(field.name)
    match question.ask:
        case Ask.FILLED:
            return column.sum() if field.type == "boolean" else column.is_not_null().sum()
        case Ask.EMPTY:
            return column.is_null().sum()
        case Ask.LONGER:
            return (column.str.len_chars() > question.limit).sum()
        case Ask.WHOLE_DIGITS:
            bound = pl.lit(Decimal(10) ** min(question.limit, 19)).cast(NUMBER)
            return (column.cast(NUMBER).abs() >= bound).sum()
        case Ask.DECIMALS:
            return (column != column.round(question.limit)).sum()
        case Ask.DUPLICATES:
            text = column if question.limit else column.cast(pl.String).str.to_lowercase()
            return (text.is_duplicated() & column.is_not_null()).sum()
        case Ask.PARENTS:
            known = [prefixes[name.lower()] for name in question.names if name.lower() in prefixes]
            return column.str.slice(0, 3).is_in(known).sum() if len(known) == len(question.names) else None
    return None


def _values(frame: pl.LazyFrame, field: Field) -> dict[str, int]:
    column = pl.col(field.name).cast(pl.String)
    if field.type == "multipicklist":
        column = column.str.split(";").explode().str.strip_chars()
    # Bounded by MOST_VALUES: values that matter are those of a picklist or a few record types.
    counted = frame.select(column.alias("value")).drop_nulls().group_by("value").len().head(MOST_VALUES).collect()
    return {str(value): int(rows) for value, rows in counted.iter_rows()}
