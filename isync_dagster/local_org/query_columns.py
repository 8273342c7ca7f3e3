"""What a query would answer, column by column: `query?q=...&columns=true`, as the sf CLI asks before it prints."""

from __future__ import annotations

from typing import Any, Final

from isync_dagster.local_org.soql import CompiledQuery
from isync_dagster.local_org.soql.result import Children, Entry, Parent, Value
from isync_dagster.schema.model import NUMBER_TYPES

_APEX: Final = {
    "id": "Id", "reference": "Id", "boolean": "Boolean", "int": "Integer", "date": "Date", "datetime": "Datetime",
    "time": "Time", "base64": "Blob", "address": "Address", "location": "Location",
    **dict.fromkeys(NUMBER_TYPES, "Double"),
}  # fmt: skip


def column_metadata(compiled: CompiledQuery) -> dict[str, Any]:
    """The answer of a query asked for its columns."""
    columns = [] if compiled.is_count else [_column(compiled, entry) for entry in compiled.record.entries]
    return {
        "columnMetadata": columns,
        "entityName": compiled.sobject.name,
        "groupBy": compiled.is_aggregate,
        "idSelected": any(column["columnName"] == "Id" for column in columns),
        "keyPrefix": compiled.sobject.key_prefix,
    }


def _column(compiled: CompiledQuery, entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Parent):
        # A TYPEOF names fields by object; the columns are those of all its branches.
        branches = [item for fields in (entry.branches or {}).values() for item in fields]
        joined = {item.key: item for item in (*entry.entries, *branches)}
        return _entry(entry.key, "Object", joined=[_column(compiled, item) for item in joined.values()])
    if isinstance(entry, Children):
        inner = [_name_only(item) for item in entry.record.entries]
        return _entry(entry.key, "Object", aggregate=True, joined=inner)
    column = compiled.columns[entry.index]
    field = column.field
    answer = _entry(entry.key, entry.kind, aggregate=compiled.is_aggregate and field is None)
    if field is not None:
        answer |= {"custom": field.custom, "insertable": field.createable, "updatable": field.updateable}
    return answer


def _name_only(entry: Entry) -> dict[str, Any]:
    """A column of a subquery: its fields live in the rows of the other object."""
    if isinstance(entry, Value):
        return _entry(entry.key, entry.kind)
    inner = entry.entries if isinstance(entry, Parent) else entry.record.entries
    return _entry(
        entry.key, "Object", aggregate=isinstance(entry, Children), joined=[_name_only(item) for item in inner]
    )


def _entry(
    key: str, kind: str, *, aggregate: bool = False, joined: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    apex = kind if kind == "Object" else _APEX.get(kind, "String")
    return {
        "aggregate": aggregate,
        "apexType": apex,
        "booleanType": apex == "Boolean",
        "columnName": key,
        "custom": key.endswith("__c"),
        "displayName": key,
        "foreignKeyName": None,
        "insertable": False,
        "joinColumns": joined or [],
        "numberType": apex in ("Double", "Integer"),
        "textType": apex == "String",
        "updatable": False,
    }
