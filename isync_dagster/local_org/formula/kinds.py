"""What formulas work with: values of a kind as SQL, the names that stand for them, and how kinds meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from isync_dagster.local_org.formula.ast import Reference
from isync_dagster.local_org.formula.errors import FormulaError

KIND_NAMES: Final = {
    "text": "Text", "number": "Number", "boolean": "Boolean", "date": "Date", "datetime": "DateTime", "time": "Time",
    "id": "Text", "picklist": "Picklist", "multipicklist": "Multi-Select Picklist", "null": "Null",
}  # fmt: skip
SQL_TYPES: Final = {"number": "DOUBLE", "date": "DATE", "datetime": "TIMESTAMP", "time": "TIME", "boolean": "BOOLEAN"}


@dataclass(frozen=True, slots=True)
class Value:
    """What a name is: its SQL (null: blank) and the kind of its values."""

    sql: str
    kind: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A whole formula: SQL whose blank is null again, and the kind of its values."""

    sql: str
    kind: str


class Names(Protocol):
    """What the names of a formula stand for; each raises FormulaError for a name that it does not know."""

    @property
    def now(self) -> str:
        """The SQL of the present moment, a timestamp in UTC."""
        ...

    def value(self, reference: Reference) -> Value:
        """A field path or a global variable."""
        ...

    def prior(self, reference: Reference) -> Value:
        """The value that a field of the record had before this save."""
        ...

    def is_new(self) -> str:
        """The SQL that says whether the record is being made."""
        ...


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def want(found: Value, kind: str, where: str, offset: int) -> str:
    """The SQL of a value where a kind is expected."""
    if found.kind == kind:
        return found.sql
    if found.kind == "null":
        return {"text": "''", "boolean": "FALSE"}.get(kind, f"CAST(NULL AS {SQL_TYPES.get(kind, 'VARCHAR')})")
    if kind == "text" and found.kind == "id":
        return f"left({found.sql}, 15)"
    if kind == "date" and found.kind == "datetime" and where == "x":
        return found.sql
    raise FormulaError(
        f"Incorrect parameter type for {where}. Expected {KIND_NAMES[kind]}, received {KIND_NAMES[found.kind]}",
        offset,
    )


def alike(values: Sequence[Value], where: str, offset: int) -> tuple[str, list[str]]:
    """One kind for all values, and their SQL in it."""
    kinds = [item.kind for item in values if item.kind != "null"]
    kind = kinds[0] if kinds else "text"
    if kind != "id" and (kind in ("picklist", "multipicklist") or "text" in kinds):
        kind = "text"
    if kind == "id" and any(item != "id" for item in kinds):
        kind = "text"
    return kind, [want(item, kind, where, offset) for item in values]


def blank(found: Value) -> str:
    """The SQL that says whether a value is blank."""
    if found.kind == "null":
        return "TRUE"
    if found.kind in ("text", "id", "picklist", "multipicklist"):
        return f"({found.sql} = '')"
    return "FALSE" if found.kind == "boolean" else f"({found.sql} IS NULL)"
