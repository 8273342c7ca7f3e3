"""Fetched rows as the records of a REST answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from isync_dagster.local_org.soql.result import Children, CompiledQuery, Entry, Parent, Record, Value

Row: TypeAlias = Sequence[Any]
Reader: TypeAlias = Callable[[Row], Any]


def run(cursor: duckdb.DuckDBPyConnection, compiled: CompiledQuery) -> pa.Table:
    """Runs a compiled query: a column `c0`, `c1`, ... for each of `compiled.columns`."""
    return cursor.sql(compiled.sql, params=compiled.params).to_arrow_table()


def records(rows: pa.Table, compiled: CompiledQuery, *, version: str = "59.0") -> list[dict[str, Any]]:
    """The JSON records of rows of `compiled.sql` (a whole table or a slice of one).

    Empty for SELECT COUNT(), whose only value is the answer's totalSize. Paging is the caller's.
    """
    if compiled.is_count:
        return []
    read = _record(compiled.record, f"/services/data/v{version}")
    columns = [column.to_pylist() for column in rows.columns]
    return [read(row) for row in zip(*columns, strict=True)]


def _record(record: Record, base: str) -> Callable[[Row], dict[str, Any]]:
    fields = _fields(record.entries, base)
    if record.type_name is None or record.id_index is None:

        def aggregate(row: Row) -> dict[str, Any]:
            return {"attributes": {"type": "AggregateResult"}, **{key: read(row) for key, read in fields}}

        return aggregate
    type_name, id_index = record.type_name, record.id_index
    url = f"{base}/sobjects/{type_name}/"

    def plain(row: Row) -> dict[str, Any]:
        answer: dict[str, Any] = {"attributes": {"type": type_name, "url": url + row[id_index]}}
        for key, read in fields:
            answer[key] = read(row)
        return answer

    return plain


def _fields(entries: Iterable[Entry], base: str) -> list[tuple[str, Reader]]:
    return [(entry.key, _reader(entry, base)) for entry in entries]


def _reader(entry: Entry, base: str) -> Reader:
    if isinstance(entry, Parent):
        return _parent(entry, base)
    if isinstance(entry, Children):
        return _children(entry, base)
    return _value(entry, base)


def _value(entry: Value, base: str) -> Reader:
    index = entry.index
    if entry.kind == "base64":
        return lambda row: None if row[index] is None else base + row[index]
    return lambda row: row[index]


def _parent(entry: Parent, base: str) -> Reader:
    id_index, type_index, type_name = entry.id_index, entry.type_index, entry.type_name
    fields = _fields(entry.entries, base)
    branches = (
        None if entry.branches is None else {name: _fields(items, base) for name, items in entry.branches.items()}
    )

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
            "attributes": {"type": type_name or own_type, "url": f"{base}/sobjects/{own_type}/{record_id}"}
        }
        for key, read in chosen:
            answer[key] = read(row)
        return answer

    return parent


def _children(entry: Children, base: str) -> Reader:
    index = entry.index
    read = _record(entry.record, base)

    def children(row: Row) -> dict[str, Any] | None:
        listed = row[index]
        if not listed:
            return None
        return {"totalSize": len(listed), "done": True, "records": [read(tuple(item.values())) for item in listed]}

    return children
