"""A formula as one SQL expression (DuckDB), with Salesforce's rules of blanks, kinds and arguments.

Inside an expression text is never null (blank is `''`) and a truth is never null (unknown is false); numbers,
dates and times may be. `blanks_as_zero` makes blank numbers 0, as a formula field can ask for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from isync_dagster.local_org.formula.ast import Call, Literal, Node, Operation, Reference
from isync_dagster.local_org.formula.errors import FormulaError
from isync_dagster.local_org.formula.functions import FUNCTIONS, NOT_HERE, SPECIAL, Function
from isync_dagster.local_org.formula.grammar import parse

KIND_NAMES: Final = {
    "text": "Text", "number": "Number", "boolean": "Boolean", "date": "Date", "datetime": "DateTime", "time": "Time",
    "id": "Text", "picklist": "Picklist", "multipicklist": "Multi-Select Picklist", "null": "Null",
}  # fmt: skip
SQL_TYPES: Final = {"number": "DOUBLE", "date": "DATE", "datetime": "TIMESTAMP", "time": "TIME", "boolean": "BOOLEAN"}
_EXPECTED: Final = {"t": "text", "n": "number", "b": "boolean", "d": "date", "D": "datetime", "T": "time", "x": "date"}
_DAY: Final = 86_400_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Value:
    """What a name is: its SQL (null: blank) and the kind of its values."""

    sql: str
    kind: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A whole formula: SQL whose blank is null again, and the kind of its values."""

    sql: str
    kind: str


class Names(Protocol):
    """What the names of a formula stand for; each raises FormulaError for a name that it does not know."""

    @property
    def now(self) -> str:
        """The SQL of the present moment, a timestamp in UTC."""
        ...

    def value(self, reference: Reference) -> Value:
        """A field path or a global variable."""
        ...

    def prior(self, reference: Reference) -> Value:
        """The value that a field of the record had before this save."""
        ...

    def is_new(self) -> str:
        """The SQL that says whether the record is being made."""
        ...


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def compile_formula(text: str, names: Names, *, blanks_as_zero: bool = False) -> Compiled:
    """The SQL of a formula; raises FormulaError with Salesforce's words where it is none."""
    found = _Compiler(names, blanks_as_zero).node(parse(text))
    if found.kind in ("text", "picklist", "multipicklist"):
        return Compiled(f"nullif({found.sql}, '')", "text")
    if found.kind == "id":
        return Compiled(f"nullif({found.sql}, '')", "id")
    return Compiled(found.sql, found.kind)


def compile_value(text: str, names: Names, kind: str, *, blanks_as_zero: bool = False) -> Compiled:
    """The SQL of a formula whose values must be of a kind; FormulaError where they are not."""
    found = compile_formula(text, names, blanks_as_zero=blanks_as_zero)
    fits = found.kind == kind or found.kind == "null" or (kind == "text" and found.kind == "id")
    if not fits:
        raise FormulaError(
            f"Formula result is data type ({KIND_NAMES[found.kind]}), incompatible with expected data type "
            f"({KIND_NAMES[kind]})."
        )
    return found


class _Compiler:
    def __init__(self, names: Names, blanks_as_zero: bool) -> None:
        self.names = names
        self.blanks_as_zero = blanks_as_zero

    # leaves

    def node(self, node: Node) -> Value:
        """The SQL of a node, blanks as the module says."""
        if isinstance(node, Literal):
            return self._literal(node)
        if isinstance(node, Reference):
            return self._filled(self.names.value(node))
        if isinstance(node, Operation):
            return self._operation(node)
        return self._call(node)

    def _literal(self, node: Literal) -> Value:
        if node.kind == "text":
            return Value(quoted(node.text), "text")
        if node.kind == "number":
            return Value(f"CAST({node.text} AS DOUBLE)", "number")
        if node.kind == "boolean":
            return Value(node.text.upper(), "boolean")
        return Value("NULL", "null")

    def _filled(self, found: Value) -> Value:
        """A name's value with the blanks of formulas."""
        if found.kind in ("text", "id", "picklist", "multipicklist"):
            return Value(f"coalesce({found.sql}, '')", found.kind)
        if found.kind == "boolean":
            return Value(f"coalesce({found.sql}, FALSE)", "boolean")
        if found.kind == "number":
            number = f"CAST({found.sql} AS DOUBLE)"
            return Value(f"coalesce({number}, 0)" if self.blanks_as_zero else number, "number")
        return found

    # kinds

    def _want(self, found: Value, kind: str, where: str, offset: int) -> str:
        """The SQL of a value where a kind is expected."""
        if found.kind == kind:
            return found.sql
        if found.kind == "null":
            return {"text": "''", "boolean": "FALSE"}.get(kind, f"CAST(NULL AS {SQL_TYPES.get(kind, 'VARCHAR')})")
        if kind == "text" and found.kind == "id":
            return f"left({found.sql}, 15)"
        if kind == "date" and found.kind == "datetime" and where == "x":
            return found.sql
        raise FormulaError(
            f"Incorrect parameter type for {where}. Expected {KIND_NAMES[kind]}, received {KIND_NAMES[found.kind]}",
            offset,
        )

    def _alike(self, values: Sequence[Value], where: str, offset: int) -> tuple[str, list[str]]:
        """One kind for all values, and their SQL in it."""
        kinds = [item.kind for item in values if item.kind != "null"]
        kind = kinds[0] if kinds else "text"
        if kind != "id" and (kind in ("picklist", "multipicklist") or "text" in kinds):
            kind = "text"
        if kind == "id" and any(item != "id" for item in kinds):
            kind = "text"
        return kind, [self._want(item, kind, where, offset) for item in values]

    # operators

    def _operation(self, node: Operation) -> Value:
        sign, offset = node.sign, node.offset
        where = f"operator '{sign}'"
        if node.left is None:
            right = self.node(node.right)
            if sign == "!":
                return Value(f"(NOT {self._want(right, 'boolean', where, offset)})", "boolean")
            return Value(f"({sign}{self._want(right, 'number', where, offset)})", "number")
        left, right = self.node(node.left), self.node(node.right)
        if sign in ("&&", "||"):
            word = "AND" if sign == "&&" else "OR"
            a, b = (self._want(item, "boolean", where, offset) for item in (left, right))
            return Value(f"({a} {word} {b})", "boolean")
        if sign in ("=", "==", "<>", "!=", "<", ">", "<=", ">="):
            return self._comparison(sign, left, right, where, offset)
        if sign == "&" or (sign == "+" and {left.kind, right.kind} & {"text", "id"}):
            a, b = (self._want(item, "text", where, offset) for item in (left, right))
            return Value(f"({a} || {b})", "text")
        if sign in ("+", "-"):
            moved = self._moved(sign, left, right)
            if moved is not None:
                return moved
        a, b = (self._want(item, "number", where, offset) for item in (left, right))
        if sign == "/":
            return Value(f"({a} / nullif({b}, 0))", "number")
        if sign == "^":
            return Value(f"pow({a}, {b})", "number")
        return Value(f"({a} {sign} {b})", "number")

    def _moved(self, sign: str, left: Value, right: Value) -> Value | None:
        """Sums and differences of days, moments and times; numbers are days, or milliseconds beside a time."""
        a, b = left.sql, right.sql
        pair = (left.kind, right.kind)
        if pair == ("date", "date") and sign == "-":
            return Value(f"CAST({a} - {b} AS DOUBLE)", "number")
        if pair == ("datetime", "datetime") and sign == "-":
            return Value(f"((epoch_us({a}) - epoch_us({b})) / {_DAY}.0)", "number")
        if pair == ("time", "time") and sign == "-":
            return Value(f"(((epoch_us({a}) - epoch_us({b})) / 1000.0 + 86400000) % 86400000)", "number")
        if pair[1] == "number" and pair[0] in ("date", "datetime", "time"):
            return _shifted(pair[0], a, sign, b)
        if pair[0] == "number" and pair[1] in ("date", "datetime", "time") and sign == "+":
            return _shifted(pair[1], b, sign, a)
        return None

    def _comparison(self, sign: str, left: Value, right: Value, where: str, offset: int) -> Value:
        if {left.kind, right.kind} & {"picklist", "multipicklist"} and "null" not in (left.kind, right.kind):
            raise FormulaError("Picklist fields are only supported in certain functions.", offset)
        operator = {"==": "=", "!=": "<>"}.get(sign, sign)
        if "null" in (left.kind, right.kind) and operator in ("=", "<>"):
            other = right if left.kind == "null" else left
            empty = self._blank(other)
            return Value(empty if operator == "=" else f"(NOT {empty})", "boolean")
        if left.kind == "id" and right.kind == "id":
            a, b = left.sql, right.sql
        elif "id" in (left.kind, right.kind):
            a, b = (f"left({item.sql}, 15)" for item in (left, right))
        else:
            _, (a, b) = self._alike((left, right), where, offset)
        if operator == "<>":
            return Value(f"({a} IS DISTINCT FROM {b})", "boolean")
        return Value(f"coalesce({a} {operator} {b}, FALSE)", "boolean")

    def _blank(self, found: Value) -> str:
        if found.kind == "null":
            return "TRUE"
        if found.kind in ("text", "id", "picklist", "multipicklist"):
            return f"({found.sql} = '')"
        return "FALSE" if found.kind == "boolean" else f"({found.sql} IS NULL)"

    # functions

    def _call(self, node: Call) -> Value:
        if (known := FUNCTIONS.get(node.name)) is not None:
            self._count(node, known.least, known.most)
            return self._plain(node, known)
        if (limits := SPECIAL.get(node.name)) is not None:
            self._count(node, *limits)
            found: Value = getattr(self, f"_{node.name.lower()}")(node)
            return found
        if node.name in NOT_HERE:
            raise FormulaError(f"The local org does not work out {node.name}().", node.offset, node.name)
        raise FormulaError(f"Unknown function {node.name}. Check spelling.", node.offset, node.name)

    def _count(self, node: Call, least: int, most: int | None) -> None:
        given = len(node.arguments)
        if given < least or (most is not None and given > most):
            wanted = least if given < least else most
            raise FormulaError(
                f"Incorrect number of parameters for function '{node.name}()'. Expected {wanted}, received {given}",
                node.offset,
            )

    def _plain(self, node: Call, known: Function) -> Value:
        where = f"function '{node.name}()'"
        found = [self.node(item) for item in node.arguments]
        if node.name == "CASESAFEID" and found[0].kind == "id":
            return Value(found[0].sql, "text")
        if node.name == "ADDMONTHS":
            return self._addmonths(found, where, node.offset)
        sql = []
        for number, item in enumerate(found):
            letter = known.expects(number)
            if letter == "x" and item.kind == "datetime":
                sql.append(item.sql)
            else:
                sql.append(self._want(item, _EXPECTED[letter], where, node.offset))
        short = known.without is not None and len(sql) < (known.most or 0)
        template = known.without if short and known.without is not None else known.sql

        def put(match: re.Match[str]) -> str:
            if match[1].startswith("all:"):
                return match[1][4:].join(sql)
            return sql[int(match[1])]

        text = re.sub(r"\{(\d+|all:[^}]*)\}", put, template)
        if known.kind == "number" and node.name in ("MAX", "MIN"):
            # A blank among the numbers makes the answer blank, where the database would pass over it.
            text = f"CASE WHEN {' OR '.join(f'{item} IS NULL' for item in sql)} THEN NULL ELSE {text} END"
        return Value(text, known.kind)

    def _addmonths(self, found: Sequence[Value], where: str, offset: int) -> Value:
        kind = found[0].kind if found[0].kind in ("date", "datetime") else "date"
        start, months = self._want(found[0], kind, where, offset), self._want(found[1], "number", where, offset)
        moved = f"({start} + to_months(CAST(trunc({months}) AS INTEGER)))"
        last = f"last_day(CAST({start} AS DATE)) = CAST({start} AS DATE)"
        day = f"last_day(CAST({moved} AS DATE))"
        if kind == "date":
            return Value(f"CASE WHEN {last} THEN {day} ELSE CAST({moved} AS DATE) END", kind)
        return Value(f"CASE WHEN {last} THEN {day} + CAST({start} AS TIME) ELSE {moved} END", kind)

    def _if(self, node: Call) -> Value:
        condition, yes, no = (self.node(item) for item in node.arguments)
        test = self._want(condition, "boolean", "function 'IF()'", node.offset)
        kind, (a, b) = self._alike((yes, no), "function 'IF()'", node.offset)
        return Value(f"CASE WHEN {test} THEN {a} ELSE {b} END", kind)

    def _case(self, node: Call) -> Value:
        if len(node.arguments) % 2:
            raise FormulaError(
                f"Incorrect number of parameters for function 'CASE()'. Expected {len(node.arguments) + 1}, "
                f"received {len(node.arguments)}",
                node.offset,
            )
        where = "function 'CASE()'"
        subject, *rest = (self.node(item) for item in node.arguments)
        if subject.kind in ("picklist", "id"):
            subject = Value(subject.sql if subject.kind == "picklist" else f"left({subject.sql}, 15)", "text")
        values, answers = rest[:-1:2], [*rest[1::2], rest[-1]]
        kind, results = self._alike(answers, where, node.offset)
        arms = []
        for value, answer in zip(values, results, strict=False):
            if value.kind == "null":
                arms.append(f"WHEN {self._blank(subject)} THEN {answer}")
            else:
                arms.append(f"WHEN {subject.sql} = {self._want(value, subject.kind, where, node.offset)} THEN {answer}")
        return Value(f"CASE {' '.join(arms)} ELSE {results[-1]} END", kind)

    def _isblank(self, node: Call) -> Value:
        return Value(self._blank(self.node(node.arguments[0])), "boolean")

    def _isnull(self, node: Call) -> Value:
        # Text is never null in a formula, which is why Salesforce advises against ISNULL.
        found = self.node(node.arguments[0])
        return Value("FALSE" if found.kind == "text" else self._blank(found), "boolean")

    def _blankvalue(self, node: Call) -> Value:
        first, second = (self.node(item) for item in node.arguments)
        kind, (a, b) = self._alike((first, second), f"function '{node.name}()'", node.offset)
        return Value(f"CASE WHEN {self._blank(Value(a, kind))} THEN {b} ELSE {a} END", kind)

    _nullvalue = _blankvalue

    def _ispickval(self, node: Call) -> Value:
        field, literal = node.arguments
        found = self.node(field)
        if found.kind not in ("picklist", "multipicklist"):
            raise FormulaError(
                "Field is not a picklist. Only picklist fields are supported in ISPICKVAL().", node.offset
            )
        value = self.node(literal)
        if value.kind == "null":
            return Value(self._blank(found), "boolean")
        return Value(f"({found.sql} = {self._want(value, 'text', 'function ISPICKVAL()', node.offset)})", "boolean")

    def _includes(self, node: Call) -> Value:
        found, value = (self.node(item) for item in node.arguments)
        if found.kind != "multipicklist":
            raise FormulaError(
                "Field is not a multi-select picklist. Only multi-select picklist fields are supported in INCLUDES().",
                node.offset,
            )
        wanted = self._want(value, "text", "function 'INCLUDES()'", node.offset)
        return Value(f"list_contains(string_split({found.sql}, ';'), {wanted})", "boolean")

    def _picklistcount(self, node: Call) -> Value:
        found = self.node(node.arguments[0])
        if found.kind != "multipicklist":
            self._want(found, "multipicklist", "function 'PICKLISTCOUNT()'", node.offset)
        return Value(
            f"CASE WHEN {found.sql} = '' THEN 0.0 ELSE CAST(len(string_split({found.sql}, ';')) AS DOUBLE) END",
            "number",
        )

    def _text(self, node: Call) -> Value:
        found = self.node(node.arguments[0])
        sql = found.sql
        if found.kind == "number":
            whole = f"{sql} = trunc({sql}) AND abs({sql}) < 1e15"
            plain = f"CASE WHEN {whole} THEN CAST(CAST({sql} AS BIGINT) AS VARCHAR) ELSE CAST(round({sql}, 9) AS VARCHAR) END"
            return Value(f"coalesce({plain}, '')", "text")
        if found.kind == "date":
            return Value(f"coalesce(strftime({sql}, '%Y-%m-%d'), '')", "text")
        if found.kind == "datetime":
            return Value(f"coalesce(strftime({sql}, '%Y-%m-%d %H:%M:%SZ'), '')", "text")
        if found.kind == "time":
            return Value(f"coalesce(left(CAST({sql} AS VARCHAR) || '.000000', 12), '')", "text")
        if found.kind in ("picklist", "multipicklist", "text"):
            return Value(sql, "text")
        return Value(self._want(found, "text", "function 'TEXT()'", node.offset), "text")

    def _datevalue(self, node: Call) -> Value:
        found = self.node(node.arguments[0])
        if found.kind in ("text", "id"):
            return Value(f"TRY_CAST(nullif({found.sql}, '') AS DATE)", "date")
        if found.kind == "date":
            return found
        return Value(f"CAST({self._want(found, 'datetime', 'function DATEVALUE()', node.offset)} AS DATE)", "date")

    def _datetimevalue(self, node: Call) -> Value:
        found = self.node(node.arguments[0])
        if found.kind == "text":
            return Value(f"TRY_CAST(rtrim(nullif({found.sql}, ''), 'Z') AS TIMESTAMP)", "datetime")
        if found.kind == "datetime":
            return found
        day = self._want(found, "date", "function 'DATETIMEVALUE()'", node.offset)
        return Value(f"CAST({day} AS TIMESTAMP)", "datetime")

    def _timevalue(self, node: Call) -> Value:
        found = self.node(node.arguments[0])
        if found.kind == "text":
            return Value(f"TRY_CAST(rtrim(nullif({found.sql}, ''), 'Z') AS TIME)", "time")
        if found.kind == "time":
            return found
        return Value(f"CAST({self._want(found, 'datetime', 'function TIMEVALUE()', node.offset)} AS TIME)", "time")

    def _now(self, node: Call) -> Value:
        return Value(self.names.now, "datetime")

    def _today(self, node: Call) -> Value:
        return Value(f"CAST({self.names.now} AS DATE)", "date")

    def _timenow(self, node: Call) -> Value:
        return Value(f"CAST({self.names.now} AS TIME)", "time")

    # the record being saved

    def _isnew(self, node: Call) -> Value:
        return Value(self.names.is_new(), "boolean")

    def _isclone(self, node: Call) -> Value:
        return Value("FALSE", "boolean")

    def _reference(self, node: Call) -> Reference:
        field = node.arguments[0]
        if not isinstance(field, Reference):
            raise FormulaError(f"Incorrect argument type for function '{node.name}()'. Expected a field.", node.offset)
        return field

    def _ischanged(self, node: Call) -> Value:
        field = self._reference(node)
        now, before = self.names.value(field), self.names.prior(field)
        return Value(f"(NOT {self.names.is_new()} AND {now.sql} IS DISTINCT FROM {before.sql})", "boolean")

    def _priorvalue(self, node: Call) -> Value:
        field = self._reference(node)
        now, before = self.names.value(field), self.names.prior(field)
        return self._filled(Value(f"CASE WHEN {self.names.is_new()} THEN {now.sql} ELSE {before.sql} END", now.kind))


def _shifted(kind: str, start: str, sign: str, number: str) -> Value:
    if kind == "date":
        return Value(f"CAST({start} {sign} CAST(trunc({number}) AS INTEGER) AS DATE)", kind)
    if kind == "datetime":
        return Value(f"({start} {sign} to_microseconds(CAST(round({number} * {_DAY}) AS BIGINT)))", kind)
    return Value(f"CAST({start} {sign} to_microseconds(CAST(round({number} * 1000) AS BIGINT)) AS TIME)", kind)
