"""What people call a record: its name field, asked of an org for a few ids and remembered as long as the connection."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from isync_dagster.errors import RequestError
from isync_dagster.salesforce.org import Org

AT_ONCE = 200
"""Ids in one query."""

_lock = threading.Lock()
_known: WeakKeyDictionary[Org, dict[str, str]] = WeakKeyDictionary()
_prefixes: WeakKeyDictionary[Org, dict[str, str]] = WeakKeyDictionary()


def names_of(org: Org, ids: Iterable[str | None]) -> Mapping[str, str]:
    """Id -> name of those records that have a name and that the user may see; for a handful of ids.

    A call a kind of record that is not known yet, and one describe of it.
    """
    wanted = {value for value in ids if value}
    with _lock:
        known = _known.setdefault(org, {})
    groups: dict[str, list[str]] = {}
    for value in sorted(wanted - set(known)):
        name = _object_of(org, value)
        if name is not None:
            groups.setdefault(name, []).append(value)
    for name, listed in groups.items():
        for start in range(0, len(listed), AT_ONCE):
            known |= _asked(org, name, listed[start : start + AT_ONCE])
    return {value: known[value] for value in wanted if known.get(value)}


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
    with _lock:
        found = _prefixes.get(org)
    if found is None:
        entries = org.describe_global()
        found = {str(item["keyPrefix"]): str(item["name"]) for item in entries if item.get("keyPrefix")}
        with _lock:
            _prefixes[org] = found
    return found.get(value[:3])


def _asked(org: Org, name: str, ids: list[str]) -> dict[str, str]:
    """Names of the ids; an empty text for those that have none, so that they are not asked for again."""
    field = next((field.name for field in org.describe(name).fields if field.name_field), None)
    found = dict.fromkeys(ids, "")
    if field is None:
        return found
    quoted = ", ".join(f"'{value}'" for value in ids)
    try:
        rows = org.query(f"SELECT Id, {field} FROM {name} WHERE Id IN ({quoted})")
    except RequestError:
        # Objects that cannot be queried like this are shown by their ids.
        return found
    if rows.height:
        found |= {str(key): str(value or "") for key, value in rows.select("Id", field).iter_rows()}
    return found
