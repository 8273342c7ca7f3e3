"""The operators of formulas as SQL: sums, differences of days and times, comparisons, joined text."""

from __future__ import annotations

from typing import Final

from isync_dagster.local_org.formula.errors import FormulaError
from isync_dagster.local_org.formula.kinds import Value, alike, blank, want

_DAY: Final = 86_400_000_000  # microseconds


def unary(sign: str, right: Value, offset: int) -> Value:
    """`!`, `-` or `+` before a value."""
    where = f"operator '{sign}'"
    if sign == "!":
        return Value(f"(NOT {want(right, 'boolean', where, offset)})", "boolean")
    return Value(f"({sign}{want(right, 'number', where, offset)})", "number")


def binary(sign: str, left: Value, right: Value, offset: int) -> Value:
    """Two values joined by an operator; FormulaError where their kinds do not go together."""
    where = f"operator '{sign}'"
    if sign in ("&&", "||"):
        word = "AND" if sign == "&&" else "OR"
        a, b = (want(item, "boolean", where, offset) for item in (left, right))
        return Value(f"({a} {word} {b})", "boolean")
    if sign in ("=", "==", "<>", "!=", "<", ">", "<=", ">="):
        return _comparison(sign, left, right, where, offset)
    if sign == "&" or (sign == "+" and {left.kind, right.kind} & {"text", "id"}):
        a, b = (want(item, "text", where, offset) for item in (left, right))
        return Value(f"({a} || {b})", "text")
    if sign in ("+", "-"):
        moved = _moved(sign, left, right)
        if moved is not None:
            return moved
    a, b = (want(item, "number", where, offset) for item in (left, right))
    if sign == "/":
        return Value(f"({a} / nullif({b}, 0))", "number")
    if sign == "^":
        return Value(f"pow({a}, {b})", "number")
    return Value(f"({a} {sign} {b})", "number")


def _moved(sign: str, left: Value, right: Value) -> Value | None:
    """Sums and differences of days, moments and times; numbers are days, or milliseconds beside a time."""
    a, b = left.sql, right.sql
    pair = (left.kind, right.kind)
    if pair == ("date", "date") and sign == "-":
        return Value(f"CAST({a} - {b} AS DOUBLE)", "number")
    if pair == ("datetime", "datetime") and sign == "-":
        return Value(f"((epoch_us({a}) - epoch_us({b})) / {_DAY}.0)", "number")
    if pair == ("time", "time") and sign == "-":
        return Value(f"(((epoch_us({a}) - epoch_us({b})) / 1000.0 + 86400000) % 86400000)", "number")
    if pair[1] == "number" and pair[0] in ("date", "datetime", "time"):
        return _shifted(pair[0], a, sign, b)
    if pair[0] == "number" and pair[1] in ("date", "datetime", "time") and sign == "+":
        return _shifted(pair[1], b, sign, a)
    return None


def _comparison(sign: str, left: Value, right: Value, where: str, offset: int) -> Value:
    if {left.kind, right.kind} & {"picklist", "multipicklist"} and "null" not in (left.kind, right.kind):
        raise FormulaError("Picklist fields are only supported in certain functions.", offset)
    operator = {"==": "=", "!=": "<>"}.get(sign, sign)
    if "null" in (left.kind, right.kind) and operator in ("=", "<>"):
        other = right if left.kind == "null" else left
        empty = blank(other)
        return Value(empty if operator == "=" else f"(NOT {empty})", "boolean")
    if left.kind == "id" and right.kind == "id":
        a, b = left.sql, right.sql
    elif "id" in (left.kind, right.kind):
        a, b = (f"left({item.sql}, 15)" for item in (left, right))
    else:
        _, (a, b) = alike((left, right), where, offset)
    if operator == "<>":
        return Value(f"({a} IS DISTINCT FROM {b})", "boolean")
    return Value(f"coalesce({a} {operator} {b}, FALSE)", "boolean")


def _shifted(kind: str, start: str, sign: str, number: str) -> Value:
    if kind == "date":
        return Value(f"CAST({start} {sign} CAST(trunc({number}) AS INTEGER) AS DATE)", kind)
    if kind == "datetime":
        return Value(f"({start} {sign} to_microseconds(CAST(round({number} * {_DAY}) AS BIGINT)))", kind)
    return Value(f"CAST({start} {sign} to_microseconds(CAST(round({number} * 1000) AS BIGINT)) AS TIME)", kind)
