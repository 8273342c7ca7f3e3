"""Data sets in the form of `sf data export tree`: plans of record files, and files with nested children."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from isync_dagster.errors import DataError
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.seeds.dataset import REF, DataSet
from isync_dagster.schema.model import SObject


@dataclass(frozen=True)
class _Record:
    """One record of a tree file, flat; lookups hold the bare reference ids."""

    sobject: str
    values: dict[str, str | None]


def read_plan(path: Path, schema: OrgSchema) -> DataSet:
    """The data set of a plan file (a list of `{sobject, files}`); all references of the plan are one space.

    References to missing records are found by `apply`, which names file, record and field.
    """
    path = Path(path)
    steps = _json(path)
    if not isinstance(steps, list):
        raise DataError(f"{path} is no plan: it must be a list of objects with `sobject` and `files`", file=str(path))
    data = DataSet()
    for step in steps:
        for entry in step.get("files", ()):
            name = entry["file"] if isinstance(entry, Mapping) else entry
            _add(data, path.parent / name, schema)
    return data


def read_tree(path: Path, schema: OrgSchema) -> DataSet:
    """The data set of one file of records, children nested below their parents."""
    data = DataSet()
    _add(data, Path(path), schema)
    return data


def _add(data: DataSet, path: Path, schema: OrgSchema) -> None:
    answer = _json(path)
    records = answer.get("records") if isinstance(answer, dict) else None
    if not isinstance(records, list):
        raise DataError(f"{path} holds no list of `records`", file=str(path))
    grouped: dict[str, list[dict[str, str | None]]] = {}
    for record in _records(records, schema, path, None, len(data.frames)):
        grouped.setdefault(record.sobject, []).append(record.values)
    for name, rows in grouped.items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        frame = pl.DataFrame(
            {column: [row.get(column) for row in rows] for column in columns}, schema=dict.fromkeys(columns, pl.String)
        )
        data.add(name, frame, path.name)


def _records(
    items: list[Any], schema: OrgSchema, path: Path, parent: tuple[str, str] | None, salt: int
) -> Iterator[_Record]:
    """Records in the order of the file; `parent` is the lookup field and the reference id it takes."""
    for number, item in enumerate(items):
        attributes = item.get("attributes") or {}
        kind = attributes.get("type")
        if not kind:
            raise DataError(f"{path}: record {number + 1} has no attributes.type", file=str(path))
        sobject = schema.get(kind)
        name = sobject.name if sobject else kind
        key = attributes.get("referenceId") or f"{path.name}#{salt}.{name}.{number}"
        values: dict[str, str | None] = {REF: key}
        if parent is not None:
            values[parent[0]] = parent[1]
        nested: list[tuple[str, list[Any]]] = []
        for field_name, value in item.items():
            if field_name == "attributes":
                continue
            if isinstance(value, Mapping) and isinstance(value.get("records"), list):
                nested.append((field_name, value["records"]))
            elif isinstance(value, Mapping):
                values |= _by_natural_key(field_name, value, sobject, name)
            else:
                field = sobject.field(field_name) if sobject else None
                text = _text(value)
                if text and (field is None or field.is_reference):
                    text = text.removeprefix("@")
                values[field.name if field else field_name] = text
        yield _Record(name, values)
        for relationship, children in nested:
            if sobject is None:
                raise DataError(f"{path}: record {key} has children, but the org has no object {kind}", file=str(path))
            child = schema.child(sobject, relationship)
            if child is None:
                raise DataError(
                    f"{path}: record {key} has children under {relationship!r}, which {name} does not have",
                    file=str(path),
                    record=key,
                    field=relationship,
                )
            yield from _records(children, schema, path, (child.field, key), salt + number + 1)


def _by_natural_key(
    relationship: str, value: Mapping[str, Any], sobject: SObject | None, name: str
) -> dict[str, str | None]:
    """`RecordType: {DeveloperName: X}` as the key of that record type; other parents by their name."""
    key = value.get("DeveloperName") or value.get("Name")
    if not key:
        return {}
    if relationship == "RecordType":
        return {"RecordTypeId": f"RecordType/{name}.{key}"}
    lookup = (
        next((item for item in sobject.references if item.relationship_name == relationship), None) if sobject else None
    )
    return {lookup.name: f"{lookup.reference_to[0]}/{key}"} if lookup and lookup.reference_to else {}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", file=str(path)) from error
