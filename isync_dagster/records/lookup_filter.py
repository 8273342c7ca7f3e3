"""Whether the parent of a lookup passes the filter that the target's lookup has; what cannot be known stays open.

A filter is criteria (`field operation value`, or another field in the value's place) joined by AND or by their logic
(`1 AND (2 OR 3)`). Its verdict on a row is true, false or null: null where a criterion is not judged and the others do
not decide without it (three-valued logic, which Polars' `&` and `|` follow).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import polars as pl

from isync_dagster.records.canonical import canonical
from isync_dagster.schema.model import NUMBER_TYPES, Field
from isync_dagster.schema.types import dtype

SIGNS: Mapping[str, Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    "lessThan": lambda left, right: left < right,
    "greaterThan": lambda left, right: left > right,
    "lessOrEqual": lambda left, right: left <= right,
    "greaterOrEqual": lambda left, right: left >= right,
}
UNKNOWN = pl.lit(None, dtype=pl.Boolean)


@dataclass(frozen=True)
class Criterion:
    """One criterion as metadata has it; `value_field` takes the place of `value`."""

    field: str
    operation: str
    value: str = ""
    value_field: str = ""

    @property
    def text(self) -> str:
        """The criterion for people."""
        return f"{self.field} {self.operation} {self.value_field or repr(self.value)}"


@dataclass(frozen=True)
class Filter:
    """A lookup filter as metadata has it."""

    criteria: tuple[Criterion, ...]
    logic: str = ""
    message: str = ""

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> Filter:
        """Read `lookupFilter` of a `CustomField`."""
        items = tuple(
            Criterion(item["field"], item.get("operation") or "equals", item.get("value") or "",
                      item.get("valueField") or "")
            for item in metadata.get("filterItems") or ()
        )  # fmt: skip
        return cls(items, metadata.get("booleanFilter") or "", metadata.get("errorMessage") or "")

    @property
    def paths(self) -> tuple[str, ...]:
        """Every field that the criteria name, once each."""
        both = (path for item in self.criteria for path in (item.field, item.value_field) if path)
        return tuple(dict.fromkeys(both))


@dataclass(frozen=True)
class Operand:
    """A side of a criterion: a column of `field`'s dtype, and where it is known what the target holds there."""

    value: pl.Expr
    field: Field
    known: pl.Expr

    @property
    def kind(self) -> str:
        """How its values compare: text, id, members (of a multi-select), number, day, instant, time or flag."""
        kind = self.field.type
        if kind in NUMBER_TYPES or kind in ("int", "long"):
            return "number"
        named = {"id": "id", "reference": "id", "multipicklist": "members", "date": "day", "datetime": "instant",
                 "time": "time", "boolean": "flag"}  # fmt: skip
        return named.get(kind, "text")


Resolve = Callable[[str], "Operand | str"]
"""A field path to its operand, or to the reason why it is not known."""


def passes(found: Filter, resolve: Resolve) -> tuple[pl.Expr, tuple[str, ...]]:
    """The verdict on a row (Boolean, null where it is open) and why criteria are not judged, in words."""
    reasons: list[str] = []
    parts: list[pl.Expr] = []
    for item in found.criteria:
        verdict = _judged(item, resolve)
        if isinstance(verdict, str):
            reasons.append(f"{item.text}: {verdict}")
            verdict = UNKNOWN
        parts.append(verdict)
    if not parts:
        return pl.lit(True), ()
    joined = _joined(found.logic, parts)
    if joined is None:
        return UNKNOWN, (*reasons, f"the logic {found.logic!r} cannot be read")
    return joined, tuple(reasons)


def _joined(logic: str, parts: Sequence[pl.Expr]) -> pl.Expr | None:
    """The criteria joined as the logic says (all by AND without one); None where it cannot be read."""
    if not logic:
        found = parts[0]
        for part in parts[1:]:
            found = found & part
        return found
    words = re.findall(r"\d+|[A-Za-z]+|\S", logic.upper())

    def alternatives() -> pl.Expr:
        found = conditions()
        while words and words[0] == "OR":
            words.pop(0)
            found = found | conditions()
        return found

    def conditions() -> pl.Expr:
        found = single()
        while words and words[0] == "AND":
            words.pop(0)
            found = found & single()
        return found

    def single() -> pl.Expr:
        word = words.pop(0)
        if word == "NOT":
            return ~single()
        if word == "(":
            found = alternatives()
            if words.pop(0) != ")":
                raise ValueError(logic)
            return found
        number = int(word)
        if not 1 <= number <= len(parts):
            raise ValueError(logic)
        return parts[number - 1]

    try:
        found = alternatives()
    except (IndexError, ValueError):
        return None
    return found if not words else None


def _judged(item: Criterion, resolve: Resolve) -> pl.Expr | str:
    left = resolve(item.field)
    if isinstance(left, str):
        return left
    if not item.value_field:
        verdict = _with_value(left, item)
        return verdict if isinstance(verdict, str) else pl.when(left.known).then(verdict)
    right = resolve(item.value_field)
    if isinstance(right, str):
        return right
    verdict = _with_field(left, right, item)
    return verdict if isinstance(verdict, str) else pl.when(left.known & right.known).then(verdict)


def _with_field(left: Operand, right: Operand, item: Criterion) -> pl.Expr | str:
    if left.kind != right.kind:
        return f"a {left.kind} is compared with a {right.kind}"
    one, two = (canonical(side.value, side.field) for side in (left, right))
    if item.operation in ("equals", "notEqual"):
        same = one.eq_missing(two)
        if left.kind in ("text", "members"):
            # Whether case counts between two fields is not documented: what differs in it alone stays open.
            alike = one.str.to_lowercase().eq_missing(two.str.to_lowercase())
            same = pl.when(same | ~alike).then(same)
        return same if item.operation == "equals" else ~same
    return _ordered(left, one, two, item.operation)


def _ordered(left: Operand, one: pl.Expr, two: pl.Expr, operation: str) -> pl.Expr | str:
    sign = SIGNS.get(operation)
    if sign is None:
        return f"the operation {operation} is not judged for a {left.kind}"
    if left.kind in ("text", "id", "members", "flag"):
        return "the order of texts is the org's own"
    return sign(one, two).fill_null(False)


def _with_value(left: Operand, item: Criterion) -> pl.Expr | str:
    values = [part.strip().strip('"') for part in item.value.split(",")] if item.value else [""]
    column = canonical(left.value, left.field)
    if left.kind in ("text", "members", "id"):
        return _text(left, column, item.operation, values)
    if left.kind == "flag":
        flags = {"true": True, "1": True, "false": False, "0": False}
        if item.operation not in ("equals", "notEqual") or any(value.lower() not in flags for value in values):
            return f"{item.operation} {item.value!r} is not judged for a checkbox"
        same = column.is_in([flags[value.lower()] for value in values])
        return same if item.operation == "equals" else ~same
    if values == [""]:
        if item.operation not in ("equals", "notEqual"):
            return f"{item.operation} nothing is not judged"
        return column.is_null() if item.operation == "equals" else column.is_not_null()
    read = [_literal(left.kind, value) for value in values]
    if any(value is None for value in read):
        return f"the value {item.value!r} depends on the day, the currency or the user"
    given = [pl.lit(value).cast(dtype(left.field)) for value in read]
    if item.operation in ("equals", "notEqual"):
        same = pl.any_horizontal([column == value for value in given]).fill_null(False)
        return same if item.operation == "equals" else ~same
    return _ordered(left, column, given[0], item.operation)


def _literal(kind: str, value: str) -> Decimal | date | datetime | None:
    """A number, or a day or instant written as ISO 8601; None for anything else (TODAY, LAST_N_DAYS:3, EUR5)."""
    try:
        if kind == "number":
            return Decimal(value)
        if kind == "day":
            return date.fromisoformat(value)
        if kind == "instant":
            found = datetime.fromisoformat(value)
            return found if found.tzinfo is not None else None
    except (ValueError, InvalidOperation):
        return None
    return None


def _text(left: Operand, column: pl.Expr, operation: str, values: Sequence[str]) -> pl.Expr | str:
    """Criteria on text compare without case, and any of several values will do."""
    if left.kind == "id" and list(values) != [""]:
        return "a record id of the target is named"
    text = column.str.to_lowercase().fill_null("")
    given = [value.lower() for value in values]
    if operation in ("equals", "notEqual"):
        hit = text.is_in(pl.Series(given, dtype=pl.String).implode())
    elif operation in ("contains", "notContain"):
        hit = pl.any_horizontal([text.str.contains(value, literal=True) for value in given])
    elif operation == "startsWith":
        hit = pl.any_horizontal([text.str.starts_with(value) for value in given])
    elif operation in ("includes", "excludes"):
        members = text.str.split(";")
        hit = pl.any_horizontal([members.list.contains(value) for value in given])
    else:
        return _ordered(left, text, text, operation)
    return ~hit if operation in ("notEqual", "notContain", "excludes") else hit
