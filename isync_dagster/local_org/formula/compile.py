"""A formula as one SQL expression (DuckDB), with Salesforce's rules of blanks, kinds and arguments.

Inside an expression text is never null (blank is `''`) and a truth is never null (unknown is false); numbers,
dates and times may be. `blanks_as_zero` makes blank numbers 0, as a formula field can ask for.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from isync_dagster.local_org.formula.ast import Call, Literal, Node, Operation, Reference
from isync_dagster.local_org.formula.errors import FormulaError
from isync_dagster.local_org.formula.functions import FUNCTIONS, NOT_HERE, SPECIAL, Function
from isync_dagster.local_org.formula.grammar import parse
from isync_dagster.local_org.formula.kinds import KIND_NAMES, Compiled, Names, Value, alike, blank, quoted, want
from isync_dagster.local_org.formula.operators import binary, unary

_EXPECTED: Final = {"t": "text", "n": "number", "b": "boolean", "d": "date", "D": "datetime", "T": "time", "x": "date"}


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

    def _operation(self, node: Operation) -> Value:
        if node.left is None:
            return unary(node.sign, self.node(node.right), node.offset)
        return binary(node.sign, self.node(node.left), self.node(node.right), node.offset)

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
                sql.append(want(item, _EXPECTED[letter], where, node.offset))
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
        start, months = want(found[0], kind, where, offset), want(found[1], "number", where, offset)
        moved = f"({start} + to_months(CAST(trunc({months}) AS INTEGER)))"
        last = f"last_day(CAST({start} AS DATE)) = CAST({start} AS DATE)"
        day = f"last_day(CAST({moved} AS DATE))"
        if kind == "date":
            return Value(f"CASE WHEN {last} THEN {day} ELSE CAST({moved} AS DATE) END", kind)
        return Value(f"CASE WHEN {last} THEN {day} + CAST({start} AS TIME) ELSE {moved} END", kind)

    def _if(self, node: Call) -> Value:
        condition, yes, no = (self.node(item) for item in node.arguments)
        test = want(condition, "boolean", "function 'IF()'", node.offset)
        kind, (a, b) = alike((yes, no), "function 'IF()'", node.offset)
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
        kind, results = alike(answers, where, node.offset)
        arms = []
        for value, answer in zip(values, results, strict=False):
            if value.kind == "null":
                arms.append(f"WHEN {blank(subject)} THEN {answer}")
            else:
                arms.append(f"WHEN {subject.sql} = {want(value, subject.kind, where, node.offset)} THEN {answer}")
        return Value(f"CASE {' '.join(arms)} ELSE {results[-1]} END", kind)

    def _isblank(self, node: Call) -> Value:
        return Value(blank(self.node(node.arguments[0])), "boolean")

    def _isnull(self, node: Call) -> Value:
        # Text is never null in a formula, which is why Salesforce advises against ISNULL.
        found = self.node(node.arguments[0])
        return Value("FALSE" if found.kind == "text" else blank(found), "boolean")

    def _blankvalue(self, node: Call) -> Value:
        first, second = (self.node(item) for item in node.arguments)
        kind, (a, b) = alike((first, second), f"function '{node.name}()'", node.offset)
        return Value(f"CASE WHEN {blank(Value(a, kind))} THEN {b} ELSE {a} END", kind)

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
            return Value(blank(found), "boolean")
        return Value(f"({found.sql} = {want(value, 'text', 'function ISPICKVAL()', node.offset)})", "boolean")

    def _includes(self, node: Call) -> Value:
        found, value = (self.node(item) for item in node.arguments)
        if found.kind != "multipicklist":
            raise FormulaError(
                "Field is not a multi-select picklist. Only multi-select picklist fields are supported in INCLUDES().",
                node.offset,
            )
        wanted = want(value, "text", "function 'INCLUDES()'", node.offset)
        return Value(f"list_contains(string_split({found.sql}, ';'), {wanted})", "boolean")

    def _picklistcount(self, node: Call) -> Value:
        found = self.node(node.arguments[0])
        if found.kind != "multipicklist":
            want(found, "multipicklist", "function 'PICKLISTCOUNT()'", node.offset)
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
        return Value(want(found, "text", "function 'TEXT()'", node.offset), "text")

    def _datevalue(self, node: Call) -> Value:
        found = self.node(node.arguments[0])
        if found.kind in ("text", "id"):
            return Value(f"TRY_CAST(nullif({found.sql}, '') AS DATE)", "date")
        if found.kind == "date":
            return found
        return Value(f"CAST({want(found, 'datetime', 'function DATEVALUE()', node.offset)} AS DATE)", "date")

    def _datetimevalue(self, node: Call) -> Value:
        found = self.node(node.arguments[0])
        if found.kind == "text":
            return Value(f"TRY_CAST(rtrim(nullif({found.sql}, ''), 'Z') AS TIMESTAMP)", "datetime")
        if found.kind == "datetime":
            return found
        day = want(found, "date", "function 'DATETIMEVALUE()'", node.offset)
        return Value(f"CAST({day} AS TIMESTAMP)", "datetime")

    def _timevalue(self, node: Call) -> Value:
        found = self.node(node.arguments[0])
        if found.kind == "text":
            return Value(f"TRY_CAST(rtrim(nullif({found.sql}, ''), 'Z') AS TIME)", "time")
        if found.kind == "time":
            return found
        return Value(f"CAST({want(found, 'datetime', 'function TIMEVALUE()', node.offset)} AS TIME)", "time")

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
