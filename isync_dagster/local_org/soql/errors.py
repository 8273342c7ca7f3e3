"""What Salesforce says of a query that it does not take."""

from __future__ import annotations

from isync_dagster.errors import IsyncError

# How much of a long line an error shows on either side of the place (as seen in errors of real orgs).
SHOWN_BEFORE = 37
SHOWN_AFTER = 50
SEPARATORS = " ,\t\r"


class SoqlError(IsyncError):
    """A refused query: `code` is Salesforce's errorCode, `message` its text, with row and column where it has them."""

    def __init__(self, message: str, *, code: str = "MALFORMED_QUERY", **details: object) -> None:
        super().__init__(message, code=code, **details)
        self.code: str = code
        self.message: str = message


def positioned(text: str, offset: int, problem: str, code: str) -> SoqlError:
    """An error that shows the query's line with a caret under the place, as Salesforce words it.

    >>> print(positioned("select count() from XYZZY", 20, "sObject type 'XYZZY' ...", "INVALID_TYPE").message)
    <BLANKLINE>
    select count() from XYZZY
                        ^
    ERROR at Row:1:Column:21
    sObject type 'XYZZY' ...
    """
    offset = max(0, min(offset, len(text)))
    start = text.rfind("\n", 0, offset) + 1
    end = text.find("\n", offset)
    line = text[start : end if end >= 0 else len(text)]
    row = text.count("\n", 0, offset) + 1
    column = offset - start
    first, last = _window(line, column)
    shown, caret = line[first:last], column - first
    return SoqlError(
        f"\n{shown}\n{' ' * caret}^\nERROR at Row:{row}:Column:{column + 1}\n{problem}",
        code=code,
        row=row,
        column=column + 1,
    )


def _window(line: str, column: int) -> tuple[int, int]:
    """The part of a line around a column, cut between words."""
    first, last = max(0, column - SHOWN_BEFORE), min(len(line), column + SHOWN_AFTER)
    if first:
        first = next((at + 1 for at in range(first, column) if line[at] in SEPARATORS), column)
        while first < column and line[first] in SEPARATORS:
            first += 1
    if last < len(line):
        last = next((at for at in range(last, column, -1) if line[at] in SEPARATORS), last)
    return first, last


def unexpected_token(token: str) -> SoqlError:
    """A query that does not parse; Salesforce names the token without a position."""
    return SoqlError(f"unexpected token: '{token}'", code="MALFORMED_QUERY")
