"""REST query records as a frame: every value a String, every SELECT path a column."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

_SELECT = re.compile(r"^\s*SELECT\s+(?P<items>.+?)\s+FROM\s", re.IGNORECASE | re.DOTALL)
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def select_paths(soql: str) -> list[str] | None:
    """The field paths of a SELECT in order, or None where it holds anything else (aggregates, subqueries, TYPEOF).

    >>> select_paths("SELECT Id, Owner.Name FROM Account")
    ['Id', 'Owner.Name']
    """
    match = _SELECT.match(soql)
    items = [item.strip() for item in match["items"].split(",")] if match else []
    return items if items and all(_PATH.fullmatch(item) for item in items) else None


def frame_of(records: Sequence[Mapping[str, Any]], soql: str) -> pl.DataFrame:
    """The records as Strings: a column for each path of the SELECT, or for each key found where it is no plain list.

    A parent that is null makes its columns null. A subquery's records are kept as JSON text.
    """
    paths = select_paths(soql)
    if paths is None:
        flat = [dict(_flat(record)) for record in records]
        names = list(dict.fromkeys(name for row in flat for name in row))
        return pl.DataFrame(
            {name: [row.get(name) for row in flat] for name in names}, schema=dict.fromkeys(names, pl.String)
        )
    columns = {path: [_text(value) for value in _walk(records, path)] for path in paths}
    return pl.DataFrame(columns, schema=dict.fromkeys(paths, pl.String))


def _walk(records: Iterable[Mapping[str, Any] | None], path: str) -> Iterable[Any]:
    """The value at a path of every record. Salesforce spells keys its own way, whatever the SELECT's case."""
    values: Iterable[Any] = records
    for step in path.split("."):
        values = _step(values, step)
    return values


def _step(records: Iterable[Mapping[str, Any] | None], step: str) -> Iterable[Any]:
    spelled: str | None = None
    for record in records:
        if record is None:
            yield None
            continue
        if spelled is None or spelled not in record:
            spelled = next((key for key in record if key.lower() == step.lower()), None)
        yield None if spelled is None else record.get(spelled)


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str | None]]:
    for key, value in record.items():
        if key == "attributes":
            continue
        if isinstance(value, Mapping) and "records" not in value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, _text(value)


def _text(value: Any) -> str | None:
    """A JSON value as text: numbers come in as they were spelled, compound values go out as JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
