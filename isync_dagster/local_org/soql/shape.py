"""Fetched rows as the records of a REST answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from isync_dagster.local_org.soql.result import Children, CompiledQuery, Entry, Parent, Record, Value

Row: TypeAlias = Sequence[Any]
Reader: TypeAlias = Callable[[Row], Any]
More: TypeAlias = Callable[[Record, pa.Table], str]
PAGE = 2000


@dataclass(frozen=True, slots=True)
class Way:
    """How an answer leads on: the versioned root of its URLs, and who keeps the rest of a long child list."""

    base: str
    more: More | None


def run(cursor: duckdb.DuckDBPyConnection, compiled: CompiledQuery) -> pa.Table:
    """Runs a compiled query: a column `c0`, `c1`, ... for each of `compiled.columns`."""
    return cursor.sql(compiled.sql, params=compiled.params).to_arrow_table()


def records(
    rows: pa.Table, compiled: CompiledQuery, *, version: str = "59.0", more: More | None = None
) -> list[dict[str, Any]]:
    """The JSON records of rows of `compiled.sql` (a whole table or a slice of one).

    Empty for SELECT COUNT(), whose only value is the answer's totalSize. Paging is the caller's; so is that of a
    child list of more than 2000 rows, which `more` keeps (its shape, all its rows) and gives the URL of the rest of.
    """
    if compiled.is_count:
        return []
    read = _record(compiled.record, Way(f"/services/data/v{version}", more))
    columns = [column.to_pylist() for column in rows.columns]
    return [read(row) for row in zip(*columns, strict=True)]


def _record(record: Record, way: Way) -> Callable[[Row], dict[str, Any]]:
    fields = _fields(record.entries, way)
    if record.type_name is None or record.id_index is None:

        def aggregate(row: Row) -> dict[str, Any]:
            return {"attributes": {"type": "AggregateResult"}, **{key: read(row) for key, read in fields}}

        return aggregate
    type_name, id_index = record.type_name, record.id_index
    url = f"{way.base}/sobjects/{type_name}/"

    def plain(row: Row) -> dict[str, Any]:
        answer: dict[str, Any] = {"attributes": {"type": type_name, "url": url + row[id_index]}}
        for key, read in fields:
            answer[key] = read(row)
        return answer

    return plain


def _fields(entries: Iterable[Entry], way: Way) -> list[tuple[str, Reader]]:
    return [(entry.key, _reader(entry, way)) for entry in entries]


def _reader(entry: Entry, way: Way) -> Reader:
    if isinstance(entry, Parent):
        return _parent(entry, way)
    if isinstance(entry, Children):
        return _children(entry, way)
    return _value(entry, way)


def _value(entry: Value, way: Way) -> Reader:
    index = entry.index
    if entry.kind == "base64":
        return lambda row: None if row[index] is None else way.base + row[index]
    return lambda row: row[index]


def _parent(entry: Parent, way: Way) -> Reader:
    id_index, type_index, type_name = entry.id_index, entry.type_index, entry.type_name
    fields = _fields(entry.entries, way)
    branches = None if entry.branches is None else {name: _fields(items, way) for name, items in entry.branches.items()}

    def parent(row: Row) -> dict[str, Any] | None:
        record_id = row[id_index]
        if record_id is None:
            return None
        own_type = type_name if type_index is None else row[type_index]
        chosen = fields
        if branches is not None:
            found = branches.get(own_type or "") or branches.get("")
            if found is None:
                return None
            chosen = found
        answer: dict[str, Any] = {
            "attributes": {"type": type_name or own_type, "url": f"{way.base}/sobjects/{own_type}/{record_id}"}
        }
        for key, read in chosen:
            answer[key] = read(row)
        return answer

    return parent


def _children(entry: Children, way: Way) -> Reader:
    index = entry.index
    read = _record(entry.record, way)

    def children(row: Row) -> dict[str, Any] | None:
        listed = row[index]
        if not listed:
            return None
        answer: dict[str, Any] = {"totalSize": len(listed), "done": True}
        shown = listed
        if way.more is not None and len(listed) > PAGE:
            answer.update(done=False, nextRecordsUrl=way.more(entry.record, pa.Table.from_pylist(listed)))
            shown = listed[:PAGE]
        answer["records"] = [read(tuple(item.values())) for item in shown]
        return answer

    return children
