"""SOQL text to AST: one LALR grammar whose lexer knows a keyword only where it can stand.

So `SELECT Order.Name FROM Order ORDER BY Order.Name` needs no quotes, and AND mixed with OR without
parentheses fails at the very token that Salesforce names.
"""

from __future__ import annotations

import re
from functools import lru_cache

from lark import Lark, Token, UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from isync_dagster.local_org.soql.ast import Query
from isync_dagster.local_org.soql.errors import SoqlError, positioned, unexpected_token
from isync_dagster.local_org.soql.tree import ToQuery

LONGEST_QUERY = 100_000

# An underscore in front keeps a keyword out of the tree.
KEYWORDS = (
    *("_SELECT", "_FROM", "_USING", "_SCOPE", "_WHERE", "_WITH", "_GROUP", "_BY", "ROLLUP", "CUBE", "_HAVING"),
    *("_ORDER", "ASC", "DESC", "_NULLS", "FIRST", "LAST", "_LIMIT", "_OFFSET", "_FOR", "_UPDATE", "_ALL", "_ROWS"),
    *("_TYPEOF", "_WHEN", "_THEN", "_ELSE", "_END", "_AND", "_OR", "_NOT", "NOT_IN", "IN", "LIKE", "INCLUDES"),
    *("EXCLUDES", "TRUE", "FALSE", "NULL", "_DATA", "_CATEGORY", "AT", "ABOVE", "BELOW", "ABOVE_OR_BELOW"),
)

# No field, object or alias can have these names; `Group`, `Order` and the like can.
RESERVED = "and|asc|desc|from|having|in|like|limit|not|null|nulls|or|select|true|false|using|where|with"

# A moment without its time zone, which only the lexer would understand.
_UNFINISHED = re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]*)(?![\w:.+-])", re.IGNORECASE)

SPANS = "days|weeks|months|quarters|years|fiscal_quarters|fiscal_years"

GRAMMAR = r"""
start: query

query: _SELECT selection ("," selection)* _FROM source ("," source)* _scope _where with_clause* \
       _grouping _ordering _limit _offset tail*

// Alternatives of one place each: written as [where] they would multiply into thousands of rules.
_scope: scope |
_where: where |
_grouping: grouping _having |
_having: having |
_ordering: ordering |
_limit: limit |
_offset: offset |

selection: expression [PATH]                                                         -> item
    | "(" query ")"                                                                  -> subquery
    | typeof
typeof: _TYPEOF PATH branch+ [otherwise] _END
branch: _WHEN PATH _THEN expression ("," expression)*
otherwise: _ELSE expression ("," expression)*

expression: PATH                                                                     -> path
    | call
call: PATH "(" [argument ("," argument)*] ")"
argument: expression
    | STRING                                                                         -> text
    | NUMBER                                                                         -> number

source: PATH [PATH]
scope: _USING _SCOPE PATH
where: _WHERE condition
having: _HAVING condition

condition: simple
    | simple (_AND simple)+                                                          -> conjunction
    | simple (_OR simple)+                                                           -> disjunction
simple: predicate
    | "(" condition ")"
    | _NOT simple                                                                    -> negation
predicate: expression OPERATOR value                                                 -> comparison
    | expression LIKE value                                                          -> comparison
    | expression (IN | NOT_IN) "(" (query | value ("," value)*) ")"                  -> membership
    | expression (INCLUDES | EXCLUDES) "(" value ("," value)* ")"                    -> includes
value: STRING                                                                        -> text
    | NUMBER                                                                         -> number
    | (TRUE | FALSE)                                                                 -> boolean
    | NULL                                                                           -> null
    | DATETIME                                                                       -> datetime
    | DATE                                                                           -> date
    | TIME                                                                           -> time
    | RANGE                                                                          -> range
    | CURRENCY                                                                       -> currency

with_clause: _WITH PATH [OPERATOR value]                                             -> with_mode
    | _WITH _DATA _CATEGORY category (_AND category)*                                -> with_category
category: PATH (AT | ABOVE | BELOW | ABOVE_OR_BELOW) (PATH | "(" PATH ("," PATH)* ")")

grouping: _GROUP _BY (expression ("," expression)* | (ROLLUP | CUBE) "(" expression ("," expression)* ")")
ordering: _ORDER _BY order ("," order)*
order: expression [ASC | DESC] [_NULLS (FIRST | LAST)]
limit: _LIMIT NUMBER
offset: _OFFSET NUMBER
tail: _FOR PATH ("," PATH)*                                                          -> for_clause
    | _UPDATE PATH ("," PATH)*                                                       -> update_clause
    | _ALL _ROWS                                                                     -> all_rows

STRING: /'(?:[^'\\]|\\.)*'/s
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?(?![\w])/i
DATETIME.4: /\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)/i
DATE.3: /\d{4}-\d\d-\d\d(?![\w])/
TIME.3: /\d\d:\d\d:\d\d(\.\d+)?Z?(?![\w])/i
CURRENCY: /[a-z]{3}\d+(\.\d+)?(?![\w])/i
OPERATOR: "<=" | ">=" | "!=" | "<>" | "=" | "<" | ">"
%ignore /\s+/
"""


def _terminals() -> str:
    lines = [rf"PATH: /(?!({RESERVED})(?![\w.]))[a-z_]\w*(\.[a-z_]\w*)*/i"]
    for keyword in KEYWORDS:
        word = keyword.lstrip("_").lower().replace("not_in", r"not\s+in")
        lines.append(f"{keyword}.2: /{word}(?![\\w.])/i")
    plain = "yesterday|today|tomorrow|(last|next)_90_days"
    plain += "|(last|this|next)_(week|month|quarter|year|fiscal_quarter|fiscal_year)"
    counted = rf"((last|next)_n_({SPANS})|n_({SPANS})_ago)\s*:\s*\d+"
    lines.append(f"RANGE.3: /({counted}|{plain})(?![\\w.])/i")
    return "\n".join(lines)


@lru_cache(maxsize=1)
def parser() -> Lark:
    """The parser, made once: a tenth of a second, which a server takes before its first query needs it."""
    return Lark(
        GRAMMAR + _terminals(), parser="lalr", lexer="contextual", transformer=ToQuery(), maybe_placeholders=True
    )


@lru_cache(maxsize=256)
def parse(text: str) -> Query:
    """The AST of a query; raises SoqlError MALFORMED_QUERY naming the token that does not fit.

    >>> parse("select Id from Account where Name = 'a' limit 5").limit
    5
    """
    if len(text) > LONGEST_QUERY:
        raise SoqlError(
            f"SOQL statements cannot be longer than {LONGEST_QUERY} characters.", code="QUERY_TOO_COMPLICATED"
        )
    try:
        query: object = parser().parse(text)
    except UnexpectedToken as problem:
        token: Token = problem.token
        if token.type == "PATH" and "STRING" in problem.expected:
            raise _bind(text, token.start_pos or 0) from None
        before = problem.token_history[-1] if problem.token_history else None
        if before is not None and before.type == "PATH" and problem.expected == {"_FROM", "COMMA"}:
            # `SELECT Id FRO Account`: what was taken for an alias is the word that does not fit.
            token = before
        if before is not None and (day := _UNFINISHED.match(text, before.start_pos or 0)):
            raise _no_alternative(text, day.end()) from None
        if before is not None and before.type in ("IN", "NOT_IN") and token.type == "PATH":
            raise _bind(text, token.start_pos or 0) from None
        raise unexpected_token("<EOF>" if token.type == "$END" else str(token)) from None
    except UnexpectedCharacters as problem:
        raise _character(text, problem) from None
    except UnexpectedInput:
        raise unexpected_token("<EOF>") from None
    assert isinstance(query, Query)
    return query


def _character(text: str, problem: UnexpectedCharacters) -> SoqlError:
    at = problem.pos_in_stream or 0
    character = text[at : at + 1]
    if character == ":":
        return _bind(text, at)
    if character in ("'", '"', "`", "\\", "#", "$", "~"):
        if character == "'":
            start = text.rfind("\n", 0, at) + 1
            row = text.count("\n", 0, at) + 1
            wrong = f"line {row}:{len(text) - start} mismatched character '<EOF>' expecting '''"
            return positioned(text, max(at - 1, start), wrong, "MALFORMED_QUERY")
        return _no_alternative(text, at)
    return unexpected_token(character)


def _no_alternative(text: str, at: int) -> SoqlError:
    """A character at which no token can go on."""
    start = text.rfind("\n", 0, at) + 1
    row = text.count("\n", 0, at) + 1
    character = text[at : at + 1] or "<EOF>"
    wrong = f"line {row}:{at - start} no viable alternative at character '{character}'"
    # The lexer counts columns from 0 and the report shows its number unchanged.
    return positioned(text, max(at - 1, start), wrong, "MALFORMED_QUERY")


def _bind(text: str, at: int) -> SoqlError:
    """A name where a value must stand: Apex would read it as a variable."""
    return positioned(text, at, "Bind variables only allowed in Apex code", "MALFORMED_QUERY")
