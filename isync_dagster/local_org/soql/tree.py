"""Builds the AST while the grammar reads: one method a rule, called with the rule's children."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lark import Token, Transformer

from isync_dagster.local_org.soql.ast import (
    And,
    Branch,
    Call,
    Comparison,
    Condition,
    Expression,
    Grouping,
    Includes,
    Item,
    Literal,
    LiteralKind,
    Membership,
    Not,
    Or,
    Order,
    Path,
    Query,
    Source,
    Subquery,
    TypeOf,
)
from isync_dagster.local_org.soql.errors import unexpected_token

# No table has more rows; the database takes no larger LIMIT.
LARGEST_NUMBER = 2**31 - 1


def _at(token: Token) -> int:
    return token.start_pos or 0


def _path(token: Token) -> Path:
    return Path(tuple(str(token).split(".")), _at(token))


def _name(token: Token) -> str:
    if "." in token:
        raise unexpected_token(str(token))
    return str(token)


def _whole(token: Token) -> int:
    if not str(token).isdigit():
        raise unexpected_token(str(token))
    return min(int(token), LARGEST_NUMBER)


class ToQuery(Transformer[Token, Query]):
    """The grammar's rules as AST nodes; clauses travel as (attribute, value) until the query takes them."""

    def start(self, children: list[Query]) -> Query:
        return children[0]

    def query(self, children: list[Any]) -> Query:
        clauses: dict[str, Any] = {}
        with_clauses: list[str] = []
        for_clauses: list[str] = []
        for child in children:
            if isinstance(child, tuple):
                name, value = child
                if name == "with":
                    with_clauses.append(value)
                elif name == "for":
                    for_clauses.extend(value)
                else:
                    clauses[name] = value
        select = tuple(child for child in children if isinstance(child, Item | Subquery | TypeOf))
        sources = tuple(child for child in children if isinstance(child, Source))
        query = Query(select, sources, sources[0].path.offset, **clauses)
        return replace(query, with_clauses=tuple(with_clauses), for_clauses=tuple(for_clauses))

    # what is selected

    def selection(self, children: list[TypeOf]) -> TypeOf:
        return children[0]

    def item(self, children: list[Any]) -> Item:
        expression, alias = children
        return Item(expression, _name(alias), _at(alias)) if alias is not None else Item(expression)

    def subquery(self, children: list[Query]) -> Subquery:
        return Subquery(children[0])

    def typeof(self, children: list[Any]) -> TypeOf:
        token, *branches, otherwise = children
        return TypeOf(_path(token), tuple(branches), otherwise or (), _at(token))

    def branch(self, children: list[Any]) -> Branch:
        return Branch(_path(children[0]), tuple(children[1:]))

    def otherwise(self, children: list[Expression]) -> tuple[Expression, ...]:
        return tuple(children)

    def path(self, children: list[Token]) -> Path:
        return _path(children[0])

    def expression(self, children: list[Call]) -> Call:
        return children[0]

    def argument(self, children: list[Expression]) -> Expression:
        return children[0]

    def call(self, children: list[Any]) -> Call:
        token, *arguments = children
        return Call(_name(token), tuple(item for item in arguments if item is not None), _at(token))

    # where from

    def source(self, children: list[Any]) -> Source:
        token, alias = children
        return Source(_path(token), _name(alias) if alias is not None else None)

    def scope(self, children: list[Token]) -> tuple[str, str]:
        return "scope", _name(children[0])

    # conditions

    def where(self, children: list[Condition]) -> tuple[str, Condition]:
        return "where", children[0]

    def having(self, children: list[Condition]) -> tuple[str, Condition]:
        return "having", children[0]

    def condition(self, children: list[Condition]) -> Condition:
        return children[0]

    simple = condition
    predicate = condition

    def conjunction(self, children: list[Condition]) -> And:
        return And(tuple(children))

    def disjunction(self, children: list[Condition]) -> Or:
        return Or(tuple(children))

    def negation(self, children: list[Condition]) -> Not:
        return Not(children[0])

    def comparison(self, children: list[Any]) -> Comparison:
        left, operator, value = children
        sign = str(operator).upper()
        return Comparison(left, "!=" if sign == "<>" else sign, value, left.offset)

    def membership(self, children: list[Any]) -> Membership:
        left, word, *values = children
        inner = values[0] if isinstance(values[0], Query) else tuple(values)
        return Membership(left, word.type == "NOT_IN", inner, left.offset)

    def includes(self, children: list[Any]) -> Includes:
        left, word, *values = children
        return Includes(left, word.type == "EXCLUDES", tuple(values), left.offset)

    # values

    def _literal(self, kind: LiteralKind, token: Token) -> Literal:
        text = str(token)
        return Literal(kind, text[1:-1] if kind == "text" else text, _at(token))

    def text(self, children: list[Token]) -> Literal:
        return self._literal("text", children[0])

    def number(self, children: list[Token]) -> Literal:
        return self._literal("number", children[0])

    def boolean(self, children: list[Token]) -> Literal:
        return self._literal("boolean", children[0])

    def null(self, children: list[Token]) -> Literal:
        return self._literal("null", children[0])

    def datetime(self, children: list[Token]) -> Literal:
        return self._literal("datetime", children[0])

    def date(self, children: list[Token]) -> Literal:
        return self._literal("date", children[0])

    def time(self, children: list[Token]) -> Literal:
        return self._literal("time", children[0])

    def range(self, children: list[Token]) -> Literal:
        return self._literal("range", children[0])

    def currency(self, children: list[Token]) -> Literal:
        return self._literal("currency", children[0])

    # the rest of the clauses

    def with_mode(self, children: list[Any]) -> tuple[str, str]:
        return "with", str(children[0]).upper()

    def with_category(self, children: list[Any]) -> tuple[str, str]:
        return "with", "DATA CATEGORY"

    def category(self, children: list[Token]) -> str:
        return str(children[0])

    def grouping(self, children: list[Any]) -> tuple[str, Grouping]:
        kind = str(children[0]).upper() if isinstance(children[0], Token) else ""
        return "grouping", Grouping(kind, tuple(child for child in children if isinstance(child, Path | Call)))

    def ordering(self, children: list[Order]) -> tuple[str, tuple[Order, ...]]:
        return "order", tuple(children)

    def order(self, children: list[Any]) -> Order:
        expression, direction, nulls = children
        return Order(
            expression,
            direction is not None and direction.type == "DESC",
            None if nulls is None else nulls.type == "FIRST",
        )

    def limit(self, children: list[Token]) -> tuple[str, int]:
        return "limit", _whole(children[0])

    def offset(self, children: list[Token]) -> tuple[str, int]:
        return "offset_rows", _whole(children[0])

    def for_clause(self, children: list[Token]) -> tuple[str, list[str]]:
        return "for", [str(child).upper() for child in children]

    def update_clause(self, children: list[Token]) -> tuple[str, list[str]]:
        return "for", [f"UPDATE {child}".upper() for child in children]

    def all_rows(self, children: list[Token]) -> tuple[str, bool]:
        return "all_rows", True
