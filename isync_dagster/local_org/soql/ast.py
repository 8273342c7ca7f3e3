"""A SOQL query as parsed: what was written and where, before any name is looked up.

Every node keeps the offset of its first character in the query text, since Salesforce's errors point at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal as Choice
from typing import TypeAlias

LiteralKind: TypeAlias = Choice["text", "number", "boolean", "null", "date", "datetime", "time", "range", "currency"]


@dataclass(frozen=True, slots=True)
class Path:
    """A field or a dotted path to one: `Name`, `Account.Owner.Name`."""

    parts: tuple[str, ...]
    offset: int

    @property
    def text(self) -> str:
        """The path as written."""
        return ".".join(self.parts)

    def offset_of(self, index: int) -> int:
        """Where the part of that index starts."""
        return self.offset + sum(len(part) + 1 for part in self.parts[:index])


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as written; `text` is the source spelling (a text literal without its quotes, escapes kept)."""

    kind: LiteralKind
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments: aggregates, date functions, toLabel, FORMAT, FIELDS, DISTANCE, ..."""

    function: str
    arguments: tuple[Argument, ...]
    offset: int

    @property
    def name(self) -> str:
        """The function's name in capitals."""
        return self.function.upper()


Expression: TypeAlias = Path | Call
Argument: TypeAlias = Path | Call | Literal


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left op value`; `operator` is one of = != < <= > >= LIKE."""

    left: Expression
    operator: str
    value: Literal
    offset: int


@dataclass(frozen=True, slots=True)
class Membership:
    """`left [NOT] IN (values | subquery)`."""

    left: Expression
    negated: bool
    values: tuple[Literal, ...] | Query
    offset: int


@dataclass(frozen=True, slots=True)
class Includes:
    """`left INCLUDES|EXCLUDES ('A;B', 'C')` of a multi-select picklist."""

    left: Expression
    negated: bool
    values: tuple[Literal, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Not:
    """The condition turned round."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class And:
    """All of the conditions."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any of the conditions."""

    conditions: tuple[Condition, ...]


Condition: TypeAlias = Comparison | Membership | Includes | Not | And | Or


@dataclass(frozen=True, slots=True)
class Item:
    """A selected field or function, with its alias where it has one."""

    expression: Expression
    alias: str | None = None
    alias_offset: int = 0


@dataclass(frozen=True, slots=True)
class Subquery:
    """A child subquery in the SELECT list."""

    query: Query


@dataclass(frozen=True, slots=True)
class Branch:
    """`WHEN type THEN fields` of a TYPEOF."""

    type: Path
    fields: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class TypeOf:
    """`TYPEOF path WHEN .. THEN .. ELSE .. END`."""

    path: Path
    branches: tuple[Branch, ...]
    otherwise: tuple[Expression, ...]
    offset: int


Selected: TypeAlias = Item | Subquery | TypeOf


@dataclass(frozen=True, slots=True)
class Source:
    """One entry of FROM; `path` has more than one part where it starts at an alias (`FROM Contact c, c.Account a`)."""

    path: Path
    alias: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """One entry of ORDER BY; `nulls_first` None takes the default (first in either direction)."""

    expression: Expression
    descending: bool
    nulls_first: bool | None


@dataclass(frozen=True, slots=True)
class Grouping:
    """GROUP BY; `kind` is empty, ROLLUP or CUBE."""

    kind: str
    expressions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query, or a subquery; `limit` and `offset_rows` are None where not written."""

    select: tuple[Selected, ...]
    sources: tuple[Source, ...]
    offset: int
    scope: str | None = None
    where: Condition | None = None
    with_clauses: tuple[str, ...] = ()
    grouping: Grouping | None = None
    having: Condition | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset_rows: int | None = None
    for_clauses: tuple[str, ...] = ()
    all_rows: bool = False
