"""Queries that answer with groups: GROUP BY, its functions, the names of the answer's keys."""

from __future__ import annotations

from collections.abc import Iterator

from isync_dagster.local_org.soql.ast import Call, Expression, Grouping, Item, Path, Query
from isync_dagster.local_org.soql.errors import SoqlError
from isync_dagster.local_org.soql.operands import AGGREGATES, Operand, Operands
from isync_dagster.local_org.soql.result import Column, Record, Value
from isync_dagster.schema.model import COMPOUND_TYPES

MOST_ROLLED_UP = 3


class Aggregation:
    """Reads the SELECT list and GROUP BY of an aggregate query."""

    def __init__(self, operands: Operands, query: Query) -> None:
        self.operands = operands
        self.context = operands.context
        self.query = query
        self.columns: list[Column] = []
        self.record = Record(None, None, ())
        self.group = ""
        self.tie = ""
        self._grouped: set[str] = set()
        self._aliases: dict[str, Operand] = {}

    def read(self) -> None:
        """Fills columns, record, group and tie; raises SoqlError for fields that are neither grouped nor aggregated."""
        self._read_aliases()
        grouping = self.query.grouping
        if grouping is None:
            self._check_overall()
        else:
            listed = [self._group(expression) for expression in grouping.expressions]
            self._check_groups(grouping, listed)
            self._grouped = {operand.sql for operand in listed}
            inner = ", ".join(operand.sql for operand in listed)
            self.group = f" GROUP BY {grouping.kind}({inner})" if grouping.kind else f" GROUP BY {inner}"
            # The total rows of a rollup have nulls where detail rows have values: they come last.
            nulls = "LAST" if grouping.kind else "FIRST"
            self.tie = ", ".join(f"{operand.sql} NULLS {nulls}" for operand in listed)
        entries: list[Value] = []
        unnamed = 0
        for selected in self.query.select:
            if not isinstance(selected, Item):
                raise SoqlError("Subqueries and TYPEOF are not allowed in an aggregate query")
            if isinstance(selected.expression, Call) and selected.expression.name == "FIELDS":
                raise SoqlError("The SOQL FIELDS function is not supported in an aggregate query")
            operand = self.operands.read(selected.expression)
            self.require(operand, selected.expression)
            if isinstance(selected.expression, Call) and not selected.expression.arguments:
                raise self.context.error(
                    selected.expression.offset, "COUNT() must be the only element in the SELECT list", "MALFORMED_QUERY"
                )
            key = selected.alias
            if key is None and isinstance(selected.expression, Path):
                key = operand.path[-1]
            elif key is None:
                key = f"expr{unnamed}"
                unnamed += 1
            if any(entry.key.lower() == key.lower() for entry in entries):
                raise self.context.error(selected.expression.offset, f"duplicate alias: {key}", "MALFORMED_QUERY")
            self.columns.append(Column(key, f"c{len(self.columns)}", operand.kind, operand.sql, operand.field))
            entries.append(Value(key, len(self.columns) - 1, operand.kind))
        self.record = Record(None, None, tuple(entries))

    def _check_overall(self) -> None:
        for clause, given in (("LIMIT", self.query.limit), ("OFFSET", self.query.offset_rows)):
            if given is not None:
                raise SoqlError(f"Non-grouped query that uses overall aggregate functions cannot also use {clause}")

    def _check_groups(self, grouping: Grouping, listed: list[Operand]) -> None:
        if grouping.kind and len(listed) > MOST_ROLLED_UP:
            raise SoqlError(f"GROUP BY {grouping.kind} can have at most {MOST_ROLLED_UP} grouping expressions")
        seen: set[str] = set()
        for expression, operand in zip(grouping.expressions, listed, strict=True):
            if operand.sql in seen:
                raise self.context.error(
                    expression.offset, f"duplicate grouping expression: {operand.name}", "MALFORMED_QUERY"
                )
            seen.add(operand.sql)
        if grouping.kind:
            return
        for selected in self.query.select:
            call = selected.expression if isinstance(selected, Item) else None
            if not isinstance(call, Call) or call.name not in AGGREGATES or call.name == "GROUPING":
                continue
            for argument in call.arguments:
                if isinstance(argument, Path | Call) and self.operands.read(argument).sql in seen:
                    raise self.context.error(
                        call.offset,
                        f"Grouped field should not be aggregated: {self.operands.read(argument).name}",
                        "MALFORMED_QUERY",
                    )

    def _read_aliases(self) -> None:
        for selected in self.query.select:
            if isinstance(selected, Item) and selected.alias is not None:
                self._aliases[selected.alias.lower()] = self.operands.read(selected.expression)

    def _group(self, expression: Expression) -> Operand:
        operand = self.aliased(expression) or self.operands.read(expression)
        field = operand.field
        if operand.aggregate or (
            field is not None and (not field.groupable or field.type in COMPOUND_TYPES or field.type == "base64")
        ):
            raise self.context.error(
                expression.offset, f"field '{operand.name}' can not be grouped in a query call", "MALFORMED_QUERY"
            )
        return operand

    def aliased(self, expression: Expression) -> Operand | None:
        """The operand behind an alias of the SELECT list, as ORDER BY and GROUP BY may use it."""
        if isinstance(expression, Path) and len(expression.parts) == 1:
            return self._aliases.get(expression.parts[0].lower())
        return None

    def require(
        self, operand: Operand, expression: Expression, problem: str = "Field must be grouped or aggregated"
    ) -> None:
        """Refuses an operand that has no single value in a group."""
        ungrouped = next((item for item in self._rolled_up(expression) if item.sql not in self._grouped), None)
        if ungrouped is not None:
            raise self.context.error(expression.offset, f"{problem}: {ungrouped.name}", "MALFORMED_QUERY")
        if operand.aggregate or operand.sql in self._grouped:
            return
        if isinstance(expression, Call) and expression.name not in AGGREGATES:
            inner = [argument for argument in expression.arguments if isinstance(argument, Path | Call)]
            if inner and all(self.operands.read(item).sql in self._grouped for item in inner):
                return
        raise self.context.error(expression.offset, f"{problem}: {operand.name}", "MALFORMED_QUERY")

    def _rolled_up(self, expression: Expression) -> Iterator[Operand]:
        """What GROUPING() is asked of: it tells the totals of a grouped field."""
        if isinstance(expression, Call):
            for argument in expression.arguments:
                if isinstance(argument, Path | Call):
                    if expression.name == "GROUPING":
                        yield self.operands.read(argument)
                    yield from self._rolled_up(argument)
