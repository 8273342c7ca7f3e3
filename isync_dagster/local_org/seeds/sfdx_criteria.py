"""Filter criteria of source metadata: `field operation value`, as declarations and as formulas."""

from __future__ import annotations

import re

from isync_dagster.local_org.automation.model import FilterItem
from isync_dagster.local_org.seeds.sfdx_fields import Names, Xml
from isync_dagster.schema.model import NUMBER_TYPES, SObject


def filter_item(item: Xml, names: Names) -> FilterItem:
    """A criterion of a roll-up, a lookup filter or a workflow rule."""
    field, other = names.path(item.need("field")), item.text("valueField")
    if field.startswith("$Source.") and other and not other.startswith("$"):
        # Written from the source's side: turned so that the parent's field stands on the left.
        field, other = names.path(other), field
    elif other:
        other = names.path(other)
    return FilterItem(field=field, operation=item.text("operation") or "equals", value=item.text("value") or "",
                      value_field=other)  # fmt: skip


def criterion(item: SObject | None, one: FilterItem, *, whole: bool = False) -> str:
    """A filter criterion as a formula; its value is a list of alternatives unless it is taken `whole`."""
    name = one.field
    if item is not None and name.lower().startswith(item.name.lower() + "."):
        name = name[len(item.name) + 1 :]
    found = item.field(name) if item is not None else None
    values = [one.value] if whole else [part.strip() for part in one.value.split(",")]
    kind = found.type if found is not None else "string"
    left = f"TEXT({name})" if kind in ("picklist", "multipicklist") else name
    if not one.value:
        tests = [f"ISBLANK({name})"]
    elif one.operation in ("contains", "notContain"):
        tests = [f"CONTAINS({left}, {literal(value)})" for value in values]
    elif one.operation == "startsWith":
        tests = [f"BEGINS({left}, {literal(value)})" for value in values]
    elif one.operation in ("includes", "excludes"):
        tests = [f"INCLUDES({name}, {literal(value)})" for value in values]
    else:
        signs = {"lessThan": "<", "greaterThan": ">", "lessOrEqual": "<=", "greaterOrEqual": ">="}
        sign = signs.get(one.operation, "=")
        tests = [f"{left} {sign} {typed_literal(item, name, value)}" for value in values]
    joined = f"OR({', '.join(tests)})"
    return f"NOT({joined})" if one.operation in ("notEqual", "notContain", "excludes") else joined


def typed_literal(item: SObject | None, name: str, text: str) -> str:
    """A value as the formula of a field's type writes it."""
    found = item.field(name) if item is not None else None
    kind = found.type if found is not None else "string"
    if kind == "boolean":
        return "TRUE" if text.lower() in ("1", "true") else "FALSE"
    if kind in NUMBER_TYPES | {"int"} and re.fullmatch(r"-?\d+(\.\d+)?", text):
        return text
    if kind == "date":
        return f"DATEVALUE({literal(text)})"
    if kind == "datetime":
        return f"DATETIMEVALUE({literal(text)})"
    return literal(text)


def literal(text: str) -> str:
    """A text as a formula writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
