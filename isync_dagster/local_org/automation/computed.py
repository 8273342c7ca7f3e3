"""Fields that are worked out when they are read: formulas and roll-up summaries.

`Computed.relation` is the one hook of all reads: the FROM of an object with just those computed columns that the
reader asks for; an object without any is its plain table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from isync_dagster.local_org.automation.filters import filters_sql
from isync_dagster.local_org.automation.model import RollUp
from isync_dagster.local_org.automation.names import Moment, RecordNames
from isync_dagster.local_org.formula import FormulaError
from isync_dagster.local_org.formula.ast import Reference
from isync_dagster.schema.model import NUMBER_TYPES, Field, SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.org_schema import OrgSchema

LAYERS: Final = 20  # formulas that read formulas, before a circle is assumed
_CHECK: Final = Moment(datetime(2000, 1, 1), None)


def declared_fields(schema: OrgSchema, sobject: SObject) -> dict[str, Field]:
    """The fields of an object that have a formula or a roll-up declared, by name."""
    return {
        item.name: item
        for item in sobject.fields
        if item.calculated
        and schema.column_type(item) is not None
        and (item.calculated_formula or schema.roll_up(sobject, item.name) is not None)
    }


def broken_fields(schema: OrgSchema, sobject: SObject, fields: Mapping[str, Field]) -> dict[str, str]:
    """Those of the computed fields that cannot be worked out, each with the reason."""
    wrong: dict[str, str] = {}
    for name, item in fields.items():
        try:
            relation_sql(schema, sobject, {name}, _CHECK, 0, {name: item} | dict(fields))
        except FormulaError as error:
            wrong[name] = str(error)
    return wrong


def relation_sql(
    schema: OrgSchema,
    sobject: SObject,
    wanted: Collection[str],
    moment: Moment,
    depth: int,
    fields: Mapping[str, Field],
) -> str:
    """The table of an object, or the table with the `wanted` computed columns put in the place of the stored ones."""
    mine = [fields[name] for name in sorted(wanted) if name in fields]
    if not mine:
        return _quote(sobject.name)
    if depth > LAYERS:
        raise FormulaError(f"The formula of {mine[0].name} refers to itself, or through too many others")
    alias = f"c{depth}"
    names = RecordNames(schema, sobject, moment, alias, depth=depth)
    made = {item.name: result_sql(item, names) for item in mine}
    # What other formulas read is worked out a layer below, once, however often it is read.
    listed = ", ".join(f"{sql} AS {_quote(name)}" for name, sql in made.items() if name not in names.inner)
    source = relation_sql(schema, sobject, names.inner, moment, depth + 1, fields)
    replaced = f" REPLACE ({listed})" if listed else ""
    return f"(SELECT {alias}.*{replaced} FROM {source} {alias}{names.joins})"


def result_sql(item: Field, names: RecordNames) -> str:
    """A computed field's SQL in the type of its column."""
    found = names.computed(item)
    sql = found.sql
    if item.type in NUMBER_TYPES | {"int"}:
        if item.type == "percent" and names.schema.roll_up(names.sobject, item.name) is None:
            sql = f"({sql} * 100)"
        if item.type == "int":
            return f"TRY_CAST(round({sql}) AS BIGINT)"
        if item.precision <= 0:
            return f"CAST({sql} AS DOUBLE)"
        scale = max(item.scale, 0)
        # A double such as 2.675 lies a hair under its decimal: nudged by a billionth before it is rounded half up.
        nudged = f"CAST({sql} AS DOUBLE) + sign(CAST({sql} AS DOUBLE)) * 1e-9 * least(1, abs(CAST({sql} AS DOUBLE)))"
        return f"TRY_CAST(round({nudged}, {scale}) AS DECIMAL(38, {scale}))"
    kind = names.schema.column_type(item) or "VARCHAR"
    if kind == "TIMESTAMP":
        return f"date_trunc('second', CAST({sql} AS TIMESTAMP))"
    if kind == "BOOLEAN":
        return f"coalesce(CAST({sql} AS BOOLEAN), FALSE)"
    if kind == "VARCHAR" and found.kind == "id":
        return f"nullif(left({sql}, 15), '')"
    if kind == "VARCHAR" and found.kind not in ("text", "picklist", "multipicklist", "null"):
        raise FormulaError(f"Formula result is data type ({found.kind}), incompatible with expected data type (Text).")
    return f"CAST({sql} AS {kind})"


def roll_up_sql(names: RecordNames, roll_up: RollUp) -> str:
    """The number (or date) that sums up the details of each row; FormulaError where the details are not known."""
    schema = names.schema
    child = schema.get(roll_up.child)
    lookup = child.field(roll_up.lookup) if child is not None else None
    if child is None or lookup is None:
        raise FormulaError(f"The details {roll_up.child}.{roll_up.lookup} are not in this org")
    alias = f"{names.alias}r{names.depth}"
    inner = RecordNames(schema, child, names.moment, alias, depth=names.depth + 1)
    where = filters_sql(inner, roll_up.filters, path=lambda text: Reference(_own_path(child.name, text)))
    wanted: set[str] = set()
    if roll_up.operation == "count":
        answer = "count(*)"
    else:
        summed = child.field(roll_up.summarized or "")
        if summed is None:
            raise FormulaError(f"The field {roll_up.child}.{roll_up.summarized} is not in this org")
        if schema.is_computed(child, summed):
            wanted.add(summed.name)
        answer = f"{roll_up.operation}({alias}.{_quote(summed.name)})"
    source = schema.relation(child, wanted | inner.inner, names.moment, names.depth + 1)
    key = f"{alias}.{_quote(lookup.name)}"
    sums = names.once(
        f"SELECT {key} AS k, {answer} AS v FROM {source} {alias}{inner.joins} "
        f'WHERE {key} IS NOT NULL AND NOT {alias}."IsDeleted" AND {where} GROUP BY {key}',
        f'{{}}.k = {names.alias}."Id"',
    )
    return f"coalesce({sums}.v, 0)" if roll_up.operation in ("count", "sum") else f"{sums}.v"


def _own_path(sobject: str, text: str) -> tuple[str, ...]:
    parts = tuple(text.split("."))
    return parts[1:] if len(parts) > 1 and parts[0].lower() == sobject.lower() else parts


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
