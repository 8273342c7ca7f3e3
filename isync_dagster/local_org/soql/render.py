"""Values as clients see them, rendered inside SQL: typed for REST's JSON, text for Bulk's CSV."""

from __future__ import annotations

from isync_dagster.schema.model import NUMBER_TYPES, Field

IDS = frozenset({"id", "reference"})
WHOLE = frozenset({"int", "long"})


def rest_value(expression: str, kind: str) -> str:
    """The SQL of a value for JSON: numbers as DOUBLE, dates and times as the text that REST answers carry."""
    if kind in NUMBER_TYPES:
        return f"CAST({expression} AS DOUBLE)"
    if kind == "datetime":
        return f"strftime({expression}, '%Y-%m-%dT%H:%M:%S.000+0000')"
    if kind == "date":
        return f"CAST({expression} AS VARCHAR)"
    if kind == "time":
        return _time(expression)
    return expression


def bulk_text(expression: str, kind: str, field: Field | None = None) -> str:
    """The SQL of a value as Bulk 2.0 writes it into CSV; null is the empty string."""
    if kind == "boolean" or kind in WHOLE or kind == "date":
        text = f"CAST({expression} AS VARCHAR)"
    elif kind in NUMBER_TYPES:
        text = _number(expression, field)
    elif kind == "datetime":
        # A cast and two string operations are faster than strftime; seconds are all that a table holds.
        text = f"replace(CAST(date_trunc('second', {expression}) AS VARCHAR), ' ', 'T') || '.000Z'"
    elif kind == "time":
        text = _time(expression)
    else:
        text = expression
    return f"coalesce({text}, '')"


def _time(expression: str) -> str:
    return f"left(CAST({expression} AS VARCHAR), 8) || '.000Z'"


def _number(expression: str, field: Field | None) -> str:
    """At least one decimal, no zeros after it: `12.0`, `12.05`; every digit of the column is kept."""
    if field is None or field.precision <= 0:
        return f"CAST({expression} AS VARCHAR)"
    scale = max(field.scale, 0)
    text = f"CAST({expression} AS VARCHAR)"
    if scale == 0:
        return f"{text} || '.0'"
    if scale == 1:
        return text
    return f"left({text}, {1 - scale}) || rtrim(right({text}, {scale - 1}), '0')"
