"""Filter criteria (`field operation value`), as roll-ups, lookup filters and workflow rules have them, as SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from isync_dagster.local_org.automation.model import FilterItem
from isync_dagster.local_org.automation.names import RecordNames
from isync_dagster.local_org.formula import FormulaError, Value
from isync_dagster.local_org.formula.ast import Reference
from isync_dagster.local_org.formula.kinds import quoted

_SIGNS: Final = {"lessThan": "<", "greaterThan": ">", "lessOrEqual": "<=", "greaterOrEqual": ">="}
_TYPES: Final = {"number": "DOUBLE", "date": "DATE", "datetime": "TIMESTAMP", "time": "TIME", "boolean": "BOOLEAN"}


def filters_sql(
    names: RecordNames,
    items: Sequence[FilterItem],
    logic: str | None = None,
    path: Callable[[str], Reference] | None = None,
) -> str:
    """All criteria, joined by AND or by their logic (`1 AND (2 OR 3)`); `path` turns a field text into a reference."""
    read = path or (lambda text: Reference(tuple(text.split("."))))
    parts = [_item(names, item, read) for item in items]
    if not parts:
        return "TRUE"
    if not logic:
        return "(" + " AND ".join(parts) + ")"
    words = re.findall(r"\d+|AND|OR|NOT|[()]", logic.upper())
    if "".join(words) != re.sub(r"\s+", "", logic.upper()):
        raise FormulaError(f"The filter logic {logic} cannot be read")
    if any(word.isdigit() and not 1 <= int(word) <= len(parts) for word in words):
        raise FormulaError(f"The filter logic {logic} names a criterion that is not there")
    return "(" + " ".join(parts[int(word) - 1] if word.isdigit() else word for word in words) + ")"


def _item(names: RecordNames, item: FilterItem, read: Callable[[str], Reference]) -> str:
    found = names.value(read(item.field))
    if item.value_field:
        other = names.value(read(item.value_field))
        same = f"({found.sql} IS NOT DISTINCT FROM {other.sql})"
        if item.operation in ("equals", "notEqual"):
            return same if item.operation == "equals" else f"(NOT {same})"
        return f"coalesce({found.sql} {_sign(item)} {other.sql}, FALSE)"
    values = [part.strip().strip('"') for part in item.value.split(",")] if item.value else []
    if found.kind in ("text", "id", "picklist", "multipicklist"):
        return _texts(found, item, values)
    sql = found.sql if found.kind != "boolean" else f"coalesce({found.sql}, FALSE)"
    if not values or values == [""]:
        empty = f"({sql} IS NULL)"
        return empty if item.operation == "equals" else f"(NOT {empty})"
    given = [f"TRY_CAST({quoted(value)} AS {_TYPES[found.kind]})" for value in values]
    if item.operation in ("equals", "notEqual"):
        same = f"coalesce({sql} IN ({', '.join(given)}), FALSE)"
        return same if item.operation == "equals" else f"(NOT {same})"
    return f"coalesce({sql} {_sign(item)} {given[0]}, FALSE)"


def _sign(item: FilterItem) -> str:
    sign = _SIGNS.get(item.operation)
    if sign is None:
        raise FormulaError(f"The filter operation {item.operation} does not fit the field {item.field}")
    return sign


def _texts(found: Value, item: FilterItem, values: Sequence[str]) -> str:
    """Criteria on text: without case, any of several values."""
    if found.kind == "id":
        column = f"left(coalesce({found.sql}, ''), 15)"
        given = [quoted(value[:15]) for value in values] or ["''"]
    else:
        column = f"lower(coalesce({found.sql}, ''))"
        given = [f"lower({quoted(value)})" for value in values] or ["''"]
    operation = item.operation
    if operation in ("includes", "excludes"):
        hit = " OR ".join(f"list_contains(string_split({column}, ';'), {value})" for value in given)
    elif operation in ("contains", "notContain"):
        hit = " OR ".join(f"contains({column}, {value})" for value in given)
    elif operation == "startsWith":
        hit = " OR ".join(f"starts_with({column}, {value})" for value in given)
    elif operation in ("equals", "notEqual"):
        hit = f"{column} IN ({', '.join(given)})"
    else:
        return f"({column} {_sign(item)} {given[0]})"
    return f"(NOT ({hit}))" if operation in ("excludes", "notContain", "notEqual") else f"({hit})"
