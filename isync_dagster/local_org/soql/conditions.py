"""WHERE and HAVING as SQL, with Salesforce's idea of equality.

Text compares without case, the empty text is null, `!=` and NOT IN include nulls, ids compare in their
18-character form, relative dates are ranges. A condition under NOT counts null as false, so that NOT is an
exact complement.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from isync_dagster.local_org.soql.ast import (
    And,
    Call,
    Comparison,
    Condition,
    Expression,
    Includes,
    Literal,
    Membership,
    Not,
    Or,
    Query,
)
from isync_dagster.local_org.soql.literals import (
    date_value,
    datetime_value,
    day_range,
    day_start,
    like_pattern,
    number_value,
    text_value,
    time_value,
    to18,
)
from isync_dagster.local_org.soql.operands import Operand, Operands
from isync_dagster.schema.model import COMPOUND_TYPES, NUMBER_TYPES

IN_LIST_INLINE = 8
LONGEST_LITERAL = 4000

# How messages call the type of a value, and whether it stands in quotes.
TYPE_NAMES = {
    "date": "date",
    "datetime": "dateTime",
    "time": "time",
    "boolean": "boolean",
    "int": "int",
    "long": "long",
}


def family(kind: str) -> str:
    """The kind of comparison that a Salesforce type allows: id, text, number, boolean, date, datetime, time."""
    if kind in ("id", "reference"):
        return "id"
    if kind in NUMBER_TYPES or kind in ("int", "long"):
        return "number"
    return kind if kind in ("boolean", "date", "datetime", "time") else "text"


class Conditions:
    """Compiles conditions in one scope.

    `semi_join` compiles the query in `IN (SELECT ...)`; `check` refuses operands that may not stand here (HAVING
    takes aggregates and grouped fields, WHERE takes neither).
    """

    def __init__(
        self,
        operands: Operands,
        semi_join: Callable[[Query, Operand, Membership], str],
        check: Callable[[Operand, Expression], None],
    ) -> None:
        self.operands = operands
        self.context = operands.context
        self.semi_join = semi_join
        self.check = check

    def sql(self, condition: Condition) -> str:
        """The condition as an SQL expression; raises SoqlError where it cannot be."""
        if isinstance(condition, And):
            return "(" + " AND ".join(self.sql(item) for item in condition.conditions) + ")"
        if isinstance(condition, Or):
            return "(" + " OR ".join(self.sql(item) for item in condition.conditions) + ")"
        if isinstance(condition, Not):
            return f"(NOT coalesce({self.sql(condition.condition)}, FALSE))"
        operand = self._operand(condition.left)
        if isinstance(condition, Comparison):
            return self._comparison(operand, condition)
        if isinstance(condition, Includes):
            return self._includes(operand, condition)
        if isinstance(condition.values, Query):
            found = f"({operand.sql} IN ({self.semi_join(condition.values, operand, condition)}))"
        else:
            found = self._in_list(operand, condition, condition.values)
        return f"(NOT coalesce({found}, FALSE))" if condition.negated else found

    def _operand(self, expression: Expression) -> Operand:
        operand = self.operands.read(expression)
        self.check(operand, expression)
        field = operand.field
        if field is not None and (not field.filterable or field.type in COMPOUND_TYPES or field.type == "base64"):
            raise self.context.error(expression.offset, f"field '{field.name}' can not be filtered in a query call")
        return operand

    def _comparison(self, operand: Operand, condition: Comparison) -> str:
        sign, value = condition.operator, condition.value
        if isinstance(condition.left, Call) and condition.left.name == "DISTANCE" and sign not in ("<", ">"):
            raise self.context.error(
                condition.offset,
                f"The DISTANCE function can only be compared with < or >, not with {sign}",
                "INVALID_QUERY_FILTER_OPERATOR",
            )
        if sign == "LIKE":
            return self._like(operand, condition)
        group = family(operand.kind)
        if group == "boolean" and sign not in ("=", "!="):
            raise self._operator(operand, condition)
        if value.kind == "null" or (value.kind == "text" and value.text == "" and group in ("text", "id")):
            empty = f"(coalesce({operand.sql}, '') = '')" if group == "text" else f"({operand.sql} IS NULL)"
            return {"=": empty, "!=": f"(NOT {empty})"}.get(sign, "FALSE")
        if value.kind == "range" and group in ("date", "datetime"):
            return self._range(operand, sign, value)
        column, given = self._sides(operand, value)
        if sign == "!=":
            return f"({column} IS DISTINCT FROM {given})"
        return f"({column} {sign} {given})"

    def _sides(self, operand: Operand, value: Literal) -> tuple[str, str]:
        """Column and parameter, ready to be compared."""
        given = self.context.param(self._value(operand, value))
        if self._folded(operand):
            return f"lower({operand.sql})", f"lower({given})"
        return operand.sql, given

    @staticmethod
    def _folded(operand: Operand) -> bool:
        return family(operand.kind) == "text" and not (operand.field is not None and operand.field.case_sensitive)

    def _value(self, operand: Operand, value: Literal) -> Any:
        """A literal as the Python value that fits the operand; raises SoqlError where it does not."""
        group = family(operand.kind)
        if group == "text" and value.kind == "text":
            return self._text(value)
        if group == "id" and value.kind == "text":
            if operand.field is not None and operand.field.reference_to == ("EntityDefinition",):
                # A durable id: the API name of a standard object, the id of a custom one's definition.
                return to18(value.text) or value.text
            record_id = to18(value.text)
            if record_id is None:
                raise self.context.error(
                    value.offset, f"invalid ID field: {value.text}", "INVALID_QUERY_FILTER_OPERATOR"
                )
            return record_id
        if group == "number" and value.kind in ("number", "currency"):
            return number_value(value.text[3:] if value.kind == "currency" else value.text)
        if group == "boolean" and value.kind == "boolean":
            return value.text.upper() == "TRUE"
        reader = {"date": date_value, "datetime": datetime_value, "time": time_value}.get(group)
        if reader is None or value.kind != group:
            raise self._mismatch(operand, value)
        found = reader(value.text)
        if found is None:
            raise self.context.error(value.offset, f"Invalid {TYPE_NAMES[group]}: {value.text}", "MALFORMED_QUERY")
        return found

    def _check_length(self, value: Literal) -> None:
        if len(value.text) > LONGEST_LITERAL:
            raise self.context.error(
                value.offset,
                f"String literal is too long: {len(value.text)} characters, at most {LONGEST_LITERAL}",
                "MALFORMED_QUERY",
            )

    def _text(self, value: Literal) -> str:
        self._check_length(value)
        found = text_value(value.text)
        if found is None:
            raise self.context.error(
                value.offset, "Invalid string literal. Illegal character sequence", "MALFORMED_QUERY"
            )
        return found

    def _mismatch(self, operand: Operand, value: Literal) -> Exception:
        group = family(operand.kind)
        kind = TYPE_NAMES.get(operand.kind, "double" if group == "number" else "string")
        quotes = "should be enclosed in quotes" if group in ("text", "id") else "should not be enclosed in quotes"
        return self.context.error(
            value.offset, f"value of filter criterion for field '{operand.name}' must be of type {kind} and {quotes}"
        )

    def _operator(self, operand: Operand, condition: Comparison | Includes) -> Exception:
        return self.context.error(
            condition.offset, f"invalid operator on {operand.kind} field", "INVALID_QUERY_FILTER_OPERATOR"
        )

    def _range(self, operand: Operand, sign: str, value: Literal) -> str:
        today = self.context.now.astimezone(self.context.zone).date()
        first, after = day_range(value.text, today, self.context.fiscal_start)
        column = operand.sql

        def edge(day: date) -> str:
            return self.context.param(day if operand.kind == "date" else day_start(day, self.context.zone))

        if sign in ("<", ">="):
            return f"({column} {sign} {edge(first)})"
        if sign in ("<=", ">"):
            return f"({column} {'<' if sign == '<=' else '>='} {edge(after)})"
        within = f"({column} >= {edge(first)} AND {column} < {edge(after)})"
        return within if sign == "=" else f"(NOT coalesce({within}, FALSE))"

    def _like(self, operand: Operand, condition: Comparison) -> str:
        value = condition.value
        if family(operand.kind) != "text" or operand.kind == "multipicklist":
            raise self._operator(operand, condition)
        if value.kind != "text":
            raise self._mismatch(operand, value)
        self._check_length(value)
        pattern = like_pattern(value.text)
        if pattern is None:
            raise self.context.error(
                value.offset, "Invalid string literal. Illegal character sequence", "MALFORMED_QUERY"
            )
        word = "ILIKE" if self._folded(operand) else "LIKE"
        return f"({operand.sql} {word} {self.context.param(pattern)} ESCAPE '\\')"

    def _in_list(self, operand: Operand, condition: Membership, values: tuple[Literal, ...]) -> str:
        if family(operand.kind) == "boolean":
            raise self.context.error(
                condition.offset, "invalid operator on boolean field", "INVALID_QUERY_FILTER_OPERATOR"
            )
        found: list[Any] = []
        parts: list[str] = []
        for value in values:
            empty = value.kind == "text" and value.text == "" and family(operand.kind) in ("text", "id")
            if value.kind in ("null", "range") or empty:
                parts.append(self._comparison(operand, Comparison(condition.left, "=", value, condition.offset)))
            else:
                found.append(self._value(operand, value))
        if found:
            parts.append(self._any_of(operand, found))
        return "(" + " OR ".join(parts) + ")"

    def _any_of(self, operand: Operand, found: list[Any]) -> str:
        folded = self._folded(operand)
        column = f"lower({operand.sql})" if folded else operand.sql
        if len(found) <= IN_LIST_INLINE or family(operand.kind) not in ("text", "id"):
            given = [self.context.param(value) for value in found]
            return f"{column} IN ({', '.join(f'lower({item})' if folded else item for item in given)})"
        # Hundreds of ids are one list parameter and a hash join, not hundreds of comparisons.
        listed = f"unnest(CAST({self.context.param(found)} AS VARCHAR[]))"
        return f"{column} IN (SELECT {f'lower({listed})' if folded else listed})"

    def _includes(self, operand: Operand, condition: Includes) -> str:
        if operand.kind != "multipicklist":
            raise self._operator(operand, condition)
        have = f"string_split(lower({operand.sql}), ';')"
        parts = []
        for value in condition.values:
            if value.kind == "null" or (value.kind == "text" and value.text == ""):
                parts.append(f"(coalesce({operand.sql}, '') = '')")
                continue
            if value.kind != "text":
                raise self._mismatch(operand, value)
            # Folded by the database on both sides, so that both follow the same rules of case.
            wanted = f"string_split(lower({self.context.param(self._text(value))}), ';')"
            parts.append(f"list_has_all({have}, {wanted})")
        found = "(" + " OR ".join(parts) + ")"
        return f"(NOT coalesce({found}, FALSE))" if condition.negated else found
