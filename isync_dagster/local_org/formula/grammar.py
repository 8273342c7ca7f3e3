"""The grammar of formulas, and what can be asked of a parsed one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedInput

from isync_dagster.local_org.formula.ast import Call, Literal, Node, Operation, Reference
from isync_dagster.local_org.formula.errors import FormulaError

GRAMMAR: Final = r"""
    start: either
    ?either: both (OR both)*
    ?both: compared (AND compared)*
    ?compared: joined (COMPARE joined)*
    ?joined: sum (JOIN sum)*
    ?sum: product ((PLUS | MINUS) product)*
    ?product: signed (TIMES signed)*
    ?signed: (MINUS | PLUS | NOT) signed -> prefixed
        | power
    ?power: atom (POWER signed)?
    ?atom: NUMBER -> number
        | STRING -> string
        | NAME "(" arguments ")" -> call
        | NAME -> name
        | "(" either ")"
    arguments: [either ("," either)*]

    OR: "||"
    AND: "&&"
    COMPARE: "==" | "=" | "<>" | "!=" | "<=" | ">=" | "<" | ">"
    JOIN: "&"
    PLUS: "+"
    MINUS: "-"
    TIMES: "*" | "/"
    POWER: "^"
    NOT: "!"
    NUMBER: /\d+(\.\d*)?|\.\d+/
    STRING: /"(\\.|[^"\\])*"|'(\\.|[^'\\])*'/s
    NAME: /[$A-Za-z_][\w]*(:[A-Za-z_]\w*)?(\s*\.\s*[$A-Za-z_]\w*(:[A-Za-z_]\w*)?)*/
    COMMENT: /\/\*.*?\*\//s
    %ignore COMMENT
    %ignore /\s+/
"""
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


class _Builder(Transformer[Token, Any]):
    """The parse tree as nodes."""

    def _chain(self, items: list[Any]) -> Node:
        left: Node = items[0]
        for sign, right in zip(items[1::2], items[2::2], strict=True):
            left = Operation(str(sign), left, right, sign.start_pos or 0)
        return left

    either = both = compared = joined = sum = product = power = _chain

    def start(self, items: list[Any]) -> Node:
        found: Node = items[0]
        return found

    def prefixed(self, items: list[Any]) -> Node:
        sign, value = items
        return Operation(str(sign), None, value, sign.start_pos or 0)

    def number(self, items: list[Token]) -> Node:
        return Literal("number", str(items[0]), items[0].start_pos or 0)

    def string(self, items: list[Token]) -> Node:
        text = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), str(items[0])[1:-1], flags=re.DOTALL)
        return Literal("text", text, items[0].start_pos or 0)

    def arguments(self, items: list[Any]) -> tuple[Node, ...]:
        return tuple(item for item in items if item is not None)

    def call(self, items: list[Any]) -> Node:
        name, arguments = items
        return Call(str(name).upper(), arguments, name.start_pos or 0)

    def name(self, items: list[Token]) -> Node:
        text, offset = re.sub(r"\s+", "", str(items[0])), items[0].start_pos or 0
        lower = text.lower()
        if lower in ("true", "false"):
            return Literal("boolean", lower, offset)
        if lower == "null":
            return Literal("null", "", offset)
        return Reference(tuple(text.split(".")), offset)


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


@cache
def parse(text: str) -> Node:
    """The formula as nodes; FormulaError with the place where it cannot be read.

    >>> parse("1 + Amount")
    Operation(sign='+', left=Literal(kind='number', text='1', offset=0), right=Reference(path=('Amount',), \
offset=4), offset=2)
    """
    try:
        node: Node = _Builder().transform(_parser().parse(text))
    except UnexpectedInput as error:
        place = getattr(error, "pos_in_stream", None)
        offset = len(text) if place is None or place < 0 else place
        near = text[offset : offset + 20].split("\n")[0].strip()
        raise FormulaError(
            f"Syntax error near '{near}'" if near else "Syntax error. Found end of formula", offset
        ) from None
    except RecursionError:
        raise FormulaError("The formula is nested too deeply") from None
    return node


def _walk(node: Node) -> Iterator[Node]:
    yield node
    if isinstance(node, Call):
        for item in node.arguments:
            yield from _walk(item)
    elif isinstance(node, Operation):
        if node.left is not None:
            yield from _walk(node.left)
        yield from _walk(node.right)


def functions_of(text: str) -> frozenset[str]:
    """The functions that a formula calls, in capitals.

    >>> sorted(functions_of("If(IsBlank(Name), 1, 2)"))
    ['IF', 'ISBLANK']
    """
    return frozenset(node.name for node in _walk(parse(text)) if isinstance(node, Call))


def paths_of(text: str) -> frozenset[tuple[str, ...]]:
    """The field paths that a formula reads."""
    return frozenset(node.path for node in _walk(parse(text)) if isinstance(node, Reference))
