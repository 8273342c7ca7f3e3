"""What compiling gives: one statement, its parameters, and how its columns become a CSV line or a JSON record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.soql.render import bulk_text, rest_value
from isync_dagster.schema.model import Field, SObject


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the statement.

    `path` is the field path in the org's spelling (the header of a Bulk CSV), `name` the column's name in the
    fetched table (`c0`, `c1`, ...), `kind` the Salesforce type of its values (also `children` for the rows of a
    subquery). A `hidden` column serves the shape of the answer and was not selected.
    """

    path: str
    name: str
    kind: str
    expression: str
    field: Field | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A scalar (or compound) under `key`."""

    key: str
    index: int
    kind: str


@dataclass(frozen=True, slots=True)
class Parent:
    """A parent record under `key`: null where `id_index` is null.

    `type_index` names the column with the parent's object where the lookup is polymorphic; `type_name` is what
    `attributes.type` says (`Name` for a polymorphic path), None for the object itself. `branches` are the fields
    of a TYPEOF by object; an object that has none takes `entries`.
    """

    key: str
    id_index: int
    type_index: int | None
    type_name: str | None
    entries: tuple[Entry, ...]
    branches: Mapping[str, tuple[Entry, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Children:
    """The rows of a subquery under `key`: a list of structs in the column `index`."""

    key: str
    index: int
    record: Record


@dataclass(frozen=True, slots=True)
class Record:
    """A record: the object's name (None for an aggregate), the column of its Id, and its entries in SELECT order."""

    type_name: str | None
    id_index: int | None
    entries: tuple[Entry, ...]


Entry: TypeAlias = Value | Parent | Children


@dataclass(frozen=True)
class CompiledQuery:
    """A query ready to run: `sql` with `params` ($1, $2, ...) gives the columns in order.

    `is_count` (SELECT COUNT()) gives one row with one number, which is the answer's totalSize and no record.
    `children` names the relationships of subqueries; `limit` and `offset` are as written (both are in the SQL).
    """

    text: str
    sobject: SObject
    columns: tuple[Column, ...]
    params: list[Any]
    body: str
    record: Record
    order: str = ""
    tie: str = ""
    limit: int | None = None
    offset: int | None = None
    is_count: bool = False
    is_aggregate: bool = False
    children: tuple[str, ...] = ()
    scope: str | None = None

    @property
    def aggregates(self) -> tuple[str, ...]:
        """The keys of an aggregate answer (`expr0`, an alias, a grouped field); empty otherwise."""
        return tuple(column.path for column in self.columns) if self.is_aggregate else ()

    @property
    def header(self) -> tuple[str, ...]:
        """The column names of a Bulk CSV."""
        return tuple(column.path for column in self.columns if not column.hidden)

    @cached_property
    def sql(self) -> str:
        """The statement of a REST answer: hidden columns included, rows in a total order so that pages are stable."""
        listed = ", ".join(f"{rest_value(item.expression, item.kind)} AS {item.name}" for item in self.columns)
        return f"SELECT {listed} {self.body}{self._tail(stable=True)}"

    def bulk_sql(self) -> str:
        """The statement of a Bulk result: selected columns only, under their paths, every value as Bulk's CSV text.

        Nulls are empty strings. Rows come in table order unless the query orders or limits them, since sorting
        millions of rows would serve nobody: one execution is kept and paged.
        """
        listed = ", ".join(
            f"{bulk_text(item.expression, item.kind, item.field)} AS {quote(item.path)}"
            for item in self.columns
            if not item.hidden
        )
        return f"SELECT {listed} {self.body}{self._tail(stable=bool(self.order) or self.limit is not None)}"

    def _tail(self, *, stable: bool) -> str:
        keys = ", ".join(part for part in (self.order, self.tie if stable else "") if part)
        tail = f" ORDER BY {keys}" if keys else ""
        if self.is_count:
            return ""
        if self.limit is not None:
            tail += f" LIMIT {self.limit:d}"
        if self.offset:
            tail += f" OFFSET {self.offset:d}"
        return tail
