"""What can stand left of an operator, in SELECT, GROUP BY and ORDER BY: fields and functions of them, as SQL."""

from __future__ import annotations

from dataclasses import dataclass

from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.soql.ast import Argument, Call, Expression, Literal, Path
from isync_dagster.local_org.soql.compound import coordinates
from isync_dagster.local_org.soql.literals import text_value
from isync_dagster.local_org.soql.scope import Scope, Table
from isync_dagster.schema.model import NUMBER_TYPES, Field

AGGREGATES = frozenset({"COUNT", "COUNT_DISTINCT", "SUM", "AVG", "MIN", "MAX", "GROUPING"})
SUMMABLE = NUMBER_TYPES | {"int", "long"}

# Date function -> SQL of one value; {x} is a date or timestamp. Fiscal ones are moved by the fiscal year's start.
DATE_FUNCTIONS = {
    "CALENDAR_MONTH": "month({x})",
    "CALENDAR_QUARTER": "quarter({x})",
    "CALENDAR_YEAR": "year({x})",
    "DAY_IN_MONTH": "day({x})",
    "DAY_IN_WEEK": "(dayofweek({x}) + 1)",
    "DAY_IN_YEAR": "dayofyear({x})",
    "HOUR_IN_DAY": "hour({x})",
    "WEEK_IN_MONTH": "((day({x}) - 1) // 7 + 1)",
    "WEEK_IN_YEAR": "((dayofyear({x}) - 1) // 7 + 1)",
    "FISCAL_MONTH": "month({x} - to_months({shift}))",
    "FISCAL_QUARTER": "quarter({x} - to_months({shift}))",
    "FISCAL_YEAR": "(year({x} - to_months({shift})) + {later})",
    "DAY_ONLY": "CAST({x} AS DATE)",
}
KILOMETRES = {"KM": 6371.0, "MI": 3958.8}


@dataclass(frozen=True, slots=True)
class Operand:
    """One expression: its SQL, the Salesforce type of its values, and the field behind it where there is one.

    `path` is its spelling in an answer (`Account.Name`); `name` is how messages call it; `scale` its decimals.
    """

    sql: str
    kind: str
    name: str
    path: tuple[str, ...]
    field: Field | None = None
    table: Table | None = None
    aggregate: bool = False
    scale: int = 0


def key_of(expression: Argument) -> str:
    """The same text for expressions that mean the same.

    >>> key_of(Call("max", (Path(("Account", "Name"), 0),), 4))
    'MAX(account.name)'
    """
    if isinstance(expression, Path):
        return expression.text.lower()
    if isinstance(expression, Literal):
        return f"{expression.kind}:{expression.text}"
    return f"{expression.name}({','.join(key_of(argument) for argument in expression.arguments)})"


class Operands:
    """Reads expressions in a scope; the same expression always gives the same SQL, as GROUP BY needs."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.context = scope.context
        self._known: dict[str, Operand] = {}

    def read(self, expression: Expression) -> Operand:
        """The operand of an expression; raises SoqlError where a name or an argument does not fit."""
        key = key_of(expression)
        known = self._known.get(key)
        if known is None:
            known = self._path(expression) if isinstance(expression, Path) else self._call(expression)
            self._known[key] = known
        return known

    def _path(self, path: Path) -> Operand:
        table, field, spelled = self.scope.find(path)
        return Operand(table.column(field), field.type, field.name, spelled, field, table, scale=max(field.scale, 0))

    def _call(self, call: Call) -> Operand:
        name = call.name
        if name in AGGREGATES:
            return self._aggregate(call)
        if name in DATE_FUNCTIONS:
            return self._date_function(call)
        if name == "DISTANCE":
            return self._distance(call)
        if name in ("TOLABEL", "FORMAT", "CONVERTCURRENCY", "CONVERTTIMEZONE"):
            inner = self._argument(call)
            if name == "TOLABEL":
                return self._label(inner)
            if name == "FORMAT":
                return _format(self._local_time(inner))
            return self._local_time(inner) if name == "CONVERTTIMEZONE" else inner
        raise self.context.error(call.offset, f"unexpected token: '{call.function}'", "MALFORMED_QUERY")

    def _argument(self, call: Call) -> Operand:
        if len(call.arguments) != 1 or isinstance(call.arguments[0], Literal):
            raise self.context.error(
                call.offset, f"Incorrect number of arguments to the function: {call.function}", "MALFORMED_QUERY"
            )
        return self.read(call.arguments[0])

    def _aggregate(self, call: Call) -> Operand:
        name = call.name
        if name == "COUNT" and not call.arguments:
            return Operand("count(*)", "int", "COUNT", (call.function,), aggregate=True)
        inner = self._argument(call)
        if inner.aggregate:
            raise self.context.error(
                call.offset, f"aggregate expressions cannot be nested: {call.function}", "MALFORMED_QUERY"
            )
        numeric = inner.kind in SUMMABLE
        fits = {
            "SUM": numeric,
            "AVG": numeric,
            "MIN": inner.kind != "boolean",
            "MAX": inner.kind != "boolean",
            "COUNT": inner.kind != "boolean",
        }.get(name, True)
        listed = inner.field is None or inner.field.aggregatable or name in ("COUNT", "GROUPING")
        if not fits or not listed or inner.kind in ("address", "location", "base64"):
            raise self.context.error(
                call.offset, f"field {inner.name} does not support aggregate operator {name}", "MALFORMED_QUERY"
            )
        kind = {"SUM": inner.kind, "AVG": "double", "MIN": inner.kind, "MAX": inner.kind}.get(name, "int")
        function = f"count(DISTINCT {inner.sql})" if name == "COUNT_DISTINCT" else f"{name.lower()}({inner.sql})"
        return Operand(function, kind, inner.name, (inner.path[-1],), aggregate=True, scale=inner.scale)

    def _date_function(self, call: Call) -> Operand:
        inner = self._argument(call)
        fitting = ("datetime",) if call.name in ("HOUR_IN_DAY", "DAY_ONLY") else ("date", "datetime")
        if inner.kind not in fitting:
            raise self.context.error(
                call.offset, f"field {inner.name} does not support the function {call.function}", "INVALID_FIELD"
            )
        start = self.context.fiscal_start
        # A fiscal year carries the number of the calendar year that it ends in, unless the org says otherwise.
        shift, later = start - 1, int(start > 1 and not self.context.fiscal_named_by_start)
        sql = DATE_FUNCTIONS[call.name].format(x=inner.sql, shift=shift, later=later)
        return Operand(sql, "date" if call.name == "DAY_ONLY" else "int", inner.name, inner.path)

    def _local_time(self, inner: Operand) -> Operand:
        zone = str(self.context.zone)
        if zone == "UTC" or inner.kind != "datetime":
            return inner
        sql = f"timezone({self.context.param(zone)}, timezone('UTC', {inner.sql}))"
        return Operand(sql, inner.kind, inner.name, inner.path, aggregate=inner.aggregate)

    def _label(self, inner: Operand) -> Operand:
        field = inner.field
        labels = {} if field is None else {item.value: item.label for item in field.picklist_values if item.label}
        if all(value == label for value, label in labels.items()):
            return Operand(inner.sql, inner.kind, inner.name, inner.path)
        values, texts = self.context.param(list(labels)), self.context.param(list(labels.values()))
        found = f"list_extract(CAST({texts} AS VARCHAR[]), list_position(CAST({values} AS VARCHAR[]), {inner.sql}))"
        return Operand(f"coalesce({found}, {inner.sql})", "string", inner.name, inner.path)

    def _distance(self, call: Call) -> Operand:
        place, point, unit = call.arguments if len(call.arguments) == 3 else (None, None, None)
        radius = KILOMETRES.get((text_value(unit.text) or "").upper()) if isinstance(unit, Literal) else None
        if not isinstance(place, Path) or not isinstance(point, Call) or radius is None or point.name != "GEOLOCATION":
            raise self.context.error(
                call.offset,
                "Invalid parameters for the DISTANCE function: a location field, a GEOLOCATION and a unit",
                "MALFORMED_QUERY",
            )
        inner = self.read(place)
        pair = coordinates(inner.table.sobject, inner.field) if inner.table and inner.field else None
        numbers = [item.text for item in point.arguments if isinstance(item, Literal) and item.kind == "number"]
        if pair is None or inner.table is None or len(numbers) != 2:
            raise self.context.error(call.offset, f"field {inner.name} is not a location", "INVALID_FIELD")
        latitude, longitude = (f"radians(CAST({inner.table.alias}.{quote(part.name)} AS DOUBLE))" for part in pair)
        here_latitude, here_longitude = (f"radians({self.context.param(float(number))})" for number in numbers)
        haversine = (
            f"pow(sin(({latitude} - {here_latitude}) / 2), 2) + "
            f"cos({latitude}) * cos({here_latitude}) * pow(sin(({longitude} - {here_longitude}) / 2), 2)"
        )
        return Operand(f"({2 * radius} * asin(sqrt({haversine})))", "double", inner.name, inner.path)


def _format(inner: Operand) -> Operand:
    """Numbers, dates and times as an en_US user reads them; everything else as it is."""
    if inner.kind in SUMMABLE:
        scale = 0 if inner.kind in ("int", "long") else inner.scale
        sql = f"CASE WHEN {inner.sql} IS NULL THEN NULL ELSE format('{{:,.{scale}f}}', CAST({inner.sql} AS DOUBLE)) END"
    elif inner.kind == "date":
        sql = f"strftime({inner.sql}, '%-m/%-d/%Y')"
    elif inner.kind == "datetime":
        sql = f"strftime({inner.sql}, '%-m/%-d/%Y, %-I:%M %p')"
    else:
        return inner
    return Operand(sql, "string", inner.name, inner.path, aggregate=inner.aggregate)
