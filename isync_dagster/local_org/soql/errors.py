"""What Salesforce says of a query that it does not take."""

from __future__ import annotations

from isync_dagster.errors import IsyncError

LINE_SHOWN = 160


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
    shown, caret = line, column
    if len(line) > LINE_SHOWN:
        # A list of hundreds of ids would drown the message: a window around the place is enough.
        first = max(0, column - LINE_SHOWN // 2)
        shown, caret = line[first : first + LINE_SHOWN], column - first
    return SoqlError(
        f"\n{shown}\n{' ' * caret}^\nERROR at Row:{row}:Column:{column + 1}\n{problem}",
        code=code,
        row=row,
        column=column + 1,
    )


def unexpected_token(token: str) -> SoqlError:
    """A query that does not parse; Salesforce names the token without a position."""
    return SoqlError(f"unexpected token: '{token}'", code="MALFORMED_QUERY")
