"""The functions of formulas whose SQL follows from their arguments alone.

A signature is one letter an argument: `t` text, `n` number, `b` boolean, `d` date, `D` datetime, `T` time,
`x` date or datetime; what follows `?` may be left out, a trailing `*` repeats the last. The SQL of an argument
stands for it as `{0}`, `{1}`, ... Functions that look at the kinds of their arguments (IF, CASE, TEXT, ISBLANK, ...)
are in `compile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Function:
    """A signature, the kind of the answer, and the SQL; `without` is the SQL where an optional argument is absent."""

    signature: str
    kind: str
    sql: str
    without: str | None = None

    @property
    def least(self) -> int:
        """How many arguments must be given."""
        head = self.signature.partition("?")[0].rstrip("*")
        return len(head)

    @property
    def most(self) -> int | None:
        """How many may be given; None: any number."""
        return None if self.signature.endswith("*") else len(self.signature.replace("?", ""))

    def expects(self, number: int) -> str:
        """The letter of an argument."""
        letters = self.signature.replace("?", "").rstrip("*")
        return letters[min(number, len(letters) - 1)]


_WHOLE: Final = "CAST(trunc({0}) AS BIGINT)"
_POSITIVE: Final = "greatest(CAST(trunc({%d}) AS BIGINT), 0)"
_HTML: Final = (
    "replace(replace(replace(replace(replace({0}, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '\"', '&quot;'), "
    "'''', '&#39;')"
)
_SCRIPT: Final = "replace(replace(replace(replace({0}, '\\', '\\\\'), '''', '\\'''), '\"', '\\\"'), chr(10), '\\n')"
_HALF_AWAY: Final = "(sign({0}) * floor(abs({0}) * pow(10, {1}) + 0.5 + 1e-9 * least(1, abs({0}))) / pow(10, {1}))"


FUNCTIONS: Final[Mapping[str, Function]] = {
    # logic
    "AND": Function("b*", "boolean", "({all: AND })"),
    "OR": Function("b*", "boolean", "({all: OR })"),
    "NOT": Function("b", "boolean", "(NOT {0})"),
    # text
    "ASCII": Function("t", "number", "CAST(nullif(unicode({0}), -1) AS DOUBLE)"),
    "BEGINS": Function("tt", "boolean", "starts_with({0}, {1})"),
    "BR": Function("", "text", "chr(10)"),
    "CASESAFEID": Function("t", "text", "{0}"),
    "CHR": Function("n", "text", f"chr(CAST({_WHOLE} AS INTEGER))"),
    "CONTAINS": Function("tt", "boolean", "contains({0}, {1})"),
    "FIND": Function(
        "tt?n",
        "number",
        "CAST(CASE WHEN {2} < 1 OR strpos(substr({1}, CAST({2} AS BIGINT)), {0}) = 0 THEN 0 ELSE "
        "strpos(substr({1}, CAST({2} AS BIGINT)), {0}) + CAST({2} AS BIGINT) - 1 END AS DOUBLE)",
        "CAST(strpos({1}, {0}) AS DOUBLE)",
    ),
    "GETSESSIONID": Function("", "text", "''"),
    "HTMLENCODE": Function("t", "text", _HTML),
    "HYPERLINK": Function(
        "tt?t",
        "text",
        "('<a href=\"' || {0} || '\" target=\"' || {2} || '\">' || {1} || '</a>')",
        "('<a href=\"' || {0} || '\" target=\"_blank\">' || {1} || '</a>')",
    ),
    "IMAGE": Function(
        "tt?nn",
        "text",
        "('<img src=\"' || {0} || '\" alt=\"' || {1} || '\" style=\"height:' || CAST(CAST({2} AS BIGINT) AS VARCHAR) "
        "|| 'px; width:' || CAST(CAST({3} AS BIGINT) AS VARCHAR) || 'px;\" border=\"0\"/>')",
        "('<img src=\"' || {0} || '\" alt=\"' || {1} || '\" border=\"0\"/>')",
    ),
    "INITCAP": Function(
        "t",
        "text",
        "array_to_string(list_transform(string_split(lower({0}), ' '), lambda w: upper(w[1]) || w[2:]), ' ')",
    ),
    "ISNUMBER": Function("t", "boolean", "(TRY_CAST(nullif(trim({0}), '') AS DOUBLE) IS NOT NULL)"),
    "JSENCODE": Function("t", "text", _SCRIPT),
    "JSINHTMLENCODE": Function("t", "text", _SCRIPT),
    "LEFT": Function("tn", "text", f"left({{0}}, {_POSITIVE % 1})"),
    "LEN": Function("t", "number", "CAST(length({0}) AS DOUBLE)"),
    "LOWER": Function("t?t", "text", "lower({0})", "lower({0})"),
    "LPAD": Function(
        "tn?t",
        "text",
        f"CASE WHEN {{2}} = '' THEN {{0}} ELSE lpad({{0}}, CAST({_POSITIVE % 1} AS INTEGER), {{2}}) END",
        f"lpad({{0}}, CAST({_POSITIVE % 1} AS INTEGER), ' ')",
    ),
    "MID": Function("tnn", "text", f"substr({{0}}, greatest(CAST(trunc({{1}}) AS BIGINT), 1), {_POSITIVE % 2})"),
    "REGEX": Function("tt", "boolean", "regexp_full_match({0}, {1})"),
    "REVERSE": Function("t", "text", "reverse({0})"),
    "RIGHT": Function("tn", "text", f"right({{0}}, {_POSITIVE % 1})"),
    "RPAD": Function(
        "tn?t",
        "text",
        f"CASE WHEN {{2}} = '' THEN {{0}} ELSE rpad({{0}}, CAST({_POSITIVE % 1} AS INTEGER), {{2}}) END",
        f"rpad({{0}}, CAST({_POSITIVE % 1} AS INTEGER), ' ')",
    ),
    "SUBSTITUTE": Function("ttt", "text", "CASE WHEN {1} = '' THEN {0} ELSE replace({0}, {1}, {2}) END"),
    "TRIM": Function("t", "text", "regexp_replace({0}, '^\\s+|\\s+$', '', 'g')"),
    "UPPER": Function("t?t", "text", "upper({0})", "upper({0})"),
    "URLENCODE": Function("t", "text", "replace(url_encode({0}), '%20', '+')"),
    "VALUE": Function("t", "number", "TRY_CAST(nullif(trim({0}), '') AS DOUBLE)"),
    # numbers
    "ABS": Function("n", "number", "abs({0})"),
    "CEILING": Function("n", "number", "(sign({0}) * ceil(abs({0})))"),
    "EXP": Function("n", "number", "exp({0})"),
    "FLOOR": Function("n", "number", "(sign({0}) * floor(abs({0})))"),
    "LN": Function("n", "number", "CASE WHEN {0} > 0 THEN ln({0}) END"),
    "LOG": Function("n", "number", "CASE WHEN {0} > 0 THEN log10({0}) END"),
    "MAX": Function("n*", "number", "greatest({all:, })"),
    "MCEILING": Function("n", "number", "ceil({0})"),
    "MFLOOR": Function("n", "number", "floor({0})"),
    "MIN": Function("n*", "number", "least({all:, })"),
    "MOD": Function("nn", "number", "({0} - {1} * floor({0} / nullif({1}, 0)))"),
    "MROUND": Function("nn", "number", "(round({0} / nullif({1}, 0)) * {1})"),
    "PI": Function("", "number", "pi()"),
    "ROUND": Function("nn", "number", _HALF_AWAY),
    "SQRT": Function("n", "number", "CASE WHEN {0} >= 0 THEN sqrt({0}) END"),
    "TRUNC": Function("n?n", "number", "(trunc({0} * pow(10, {1})) / pow(10, {1}))", "trunc({0})"),
    # dates and times
    "ADDMONTHS": Function("xn", "same", ""),
    "DATE": Function(
        "nnn",
        "date",
        "TRY_CAST(format('{:04d}-{:02d}-{:02d}', CAST({0} AS BIGINT), CAST({1} AS BIGINT), "
        "CAST({2} AS BIGINT)) AS DATE)",
    ),
    "DAY": Function("d", "number", "CAST(day({0}) AS DOUBLE)"),
    "DAYOFYEAR": Function("d", "number", "CAST(dayofyear({0}) AS DOUBLE)"),
    "FROMUNIXTIME": Function("n", "datetime", "CAST(to_timestamp({0}) AT TIME ZONE 'UTC' AS TIMESTAMP)"),
    "HOUR": Function("T", "number", "CAST(hour({0}) AS DOUBLE)"),
    "ISOWEEK": Function("d", "number", "CAST(week({0}) AS DOUBLE)"),
    "ISOYEAR": Function("d", "number", "CAST(isoyear({0}) AS DOUBLE)"),
    "MILLISECOND": Function("T", "number", "CAST(millisecond({0}) % 1000 AS DOUBLE)"),
    "MINUTE": Function("T", "number", "CAST(minute({0}) AS DOUBLE)"),
    "MONTH": Function("d", "number", "CAST(month({0}) AS DOUBLE)"),
    "SECOND": Function("T", "number", "CAST(second({0}) AS DOUBLE)"),
    "UNIXTIMESTAMP": Function("x", "number", "epoch(CAST({0} AS TIMESTAMP))"),
    "WEEKDAY": Function("d", "number", "CAST(dayofweek({0}) + 1 AS DOUBLE)"),
    "YEAR": Function("d", "number", "CAST(year({0}) AS DOUBLE)"),
}

# Functions that look at the kinds of their arguments or at the record being saved: least and most arguments.
SPECIAL: Final[Mapping[str, tuple[int, int | None]]] = {
    "BLANKVALUE": (2, 2),
    "CASE": (4, None),
    "DATETIMEVALUE": (1, 1),
    "DATEVALUE": (1, 1),
    "IF": (3, 3),
    "INCLUDES": (2, 2),
    "ISBLANK": (1, 1),
    "ISCHANGED": (1, 1),
    "ISCLONE": (0, 0),
    "ISNEW": (0, 0),
    "ISNULL": (1, 1),
    "ISPICKVAL": (2, 2),
    "NOW": (0, 0),
    "NULLVALUE": (2, 2),
    "PICKLISTCOUNT": (1, 1),
    "PRIORVALUE": (1, 1),
    "TEXT": (1, 1),
    "TIMENOW": (0, 0),
    "TIMEVALUE": (1, 1),
    "TODAY": (0, 0),
}

# Functions of Salesforce that a local org does not work out.
NOT_HERE: Final = frozenset(
    {
        "CURRENCYRATE", "DISTANCE", "FORMATDURATION", "GEOLOCATION", "GETRECORDIDS", "IMAGEPROXYURL", "INCLUDE",
        "LINKTO", "PARENTGROUPVAL", "PREDICT", "PREVGROUPVAL", "REQUIRESCRIPT", "URLFOR", "VLOOKUP",
    }
)  # fmt: skip
