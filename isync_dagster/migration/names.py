"""What people call a record: its name field, asked of an org for a few ids and remembered as long as the connection."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import polars as pl

from isync_dagster.salesforce.org import Org

AT_ONCE = 200
"""Ids in one query."""

_lock = threading.Lock()
_known: WeakKeyDictionary[Org, dict[str, str]] = WeakKeyDictionary()
_prefixes: WeakKeyDictionary[Org, dict[str, str]] = WeakKeyDictionary()


def names_of(org: Org, ids: Iterable[str | None]) -> Mapping[str, str]:
    """Id -> name of those records that have a name and that the user may see; for a handful of ids.

    A call for several kinds of records that are not known yet, and one for their describes.
    """
    wanted = {value for value in ids if value}
    with _lock:
        known = _known.setdefault(org, {})
    groups: dict[str, list[str]] = {}
    for value in sorted(wanted - set(known)):
        name = _object_of(org, value)
        if name is not None:
            groups.setdefault(name, []).append(value)
    known |= _asked(org, groups)
    return {value: known[value] for value in wanted if known.get(value)}


def remember(org: Org, rows: pl.DataFrame, column: str) -> None:
    """Take note of the names in `column` of records (`Id`) that were read for something else."""
    named = {str(key): str(value or "") for key, value in rows.select("Id", column).iter_rows()}
    with _lock:
        _known.setdefault(org, {}).update(named)


def named(rows: Iterable[Mapping[str, Any]], source: Org, target: Org) -> tuple[Mapping[str, Any], ...]:
    """Rows of a relationship check as pairs that people can read: the child, its parent in the source and in the target.

    Rows have `field`, `source`, `parent`, `target`, `expected`, `found`; the names come from both orgs as they are now.
    """
    listed = list(rows)
    here = names_of(source, [row[key] for row in listed for key in ("source", "parent")])
    there = names_of(target, [row["found"] for row in listed])
    return tuple(
        {
            "field": row["field"],
            "record": here.get(row["source"], row["source"]),
            "parent in the source": here.get(row["parent"], row["parent"]),
            "parent in the target": there.get(row["found"], row["found"]),
            **{key: value for key, value in row.items() if key != "field"},
        }
        for row in listed
    )


def _object_of(org: Org, value: str) -> str | None:
    """The object that a record belongs to, by the first three characters of its id."""
    known = org.object_of(value)
    if known is not None:
        return known
    with _lock:
        found = _prefixes.get(org)
    if found is None:
        entries = org.describe_global()
        found = {str(item["keyPrefix"]): str(item["name"]) for item in entries if item.get("keyPrefix")}
        with _lock:
            _prefixes[org] = found
    return found.get(value[:3])


def _asked(org: Org, groups: Mapping[str, list[str]]) -> dict[str, str]:
    """Names of the ids by object; an empty text for those that have none, so that they are not asked for again."""
    found = {value: "" for ids in groups.values() for value in ids}
    unknown = [name for name in groups if not org.is_described(name)]
    if len(unknown) > 1:
        org.describe_all(unknown)
    asked: list[tuple[str, str]] = []
    for name, ids in groups.items():
        field = org.described(name).name_field
        if field is None:
            continue
        for start in range(0, len(ids), AT_ONCE):
            quoted = ", ".join(f"'{value}'" for value in ids[start : start + AT_ONCE])
            asked.append((field.name, f"SELECT Id, {field.name} FROM {name} WHERE Id IN ({quoted})"))
    for (field_name, _), rows in zip(asked, org.queries_that_may_fail([soql for _, soql in asked]), strict=True):
        # Objects that cannot be queried like this are shown by their ids.
        if rows is not None and rows.height:
            found |= {str(key): str(value or "") for key, value in rows.select("Id", field_name).iter_rows()}
    return found
