"""The form in which two values are equal when Salesforce would store the same for both.

What a save changes must not look like a difference: the target trims text, may turn line ends, lower-cases e-mail
addresses, orders multi-select picklists its own way, rounds numbers to the scale and cuts instants to seconds.
"""

from __future__ import annotations

import polars as pl

from isync_dagster.records.ids import to18
from isync_dagster.schema.model import NUMBER_TYPES, Field

LINE_END = r"\r\n?"


def one_line_end(expr: pl.Expr) -> pl.Expr:
    r"""Text with every line end (`\r\n`, `\r`) written as `\n`."""
    # To look for one character costs a third of the pattern, and next to no text holds it.
    return pl.when(expr.str.contains("\r", literal=True)).then(expr.str.replace_all(LINE_END, "\n")).otherwise(expr)


def canonical(expr: pl.Expr, field: Field) -> pl.Expr:
    """A typed column of `field` (its dtype kept) in the form that decides whether two values are the same.

    `field` is the target's: its scale is what a save rounds to. A null boolean is false, for Salesforce has no other.

    >>> frame = pl.DataFrame({"t": ["B;A", " A;B ", "", None]})
    >>> frame.select(canonical(pl.col("t"), Field("Regions__c", type="multipicklist"))).to_series().to_list()
    ['A;B', 'A;B', None, None]
    """
    if field.type == "boolean":
        return expr.fill_null(False)
    if field.type in NUMBER_TYPES:
        # A describe without a precision says nothing about the scale either.
        return expr.round(field.scale, mode="half_away_from_zero") if field.precision else expr
    if field.type == "datetime":
        return expr.dt.truncate("1s")
    if field.type in ("int", "long", "date", "time"):
        return expr
    if field.type in ("id", "reference"):
        return to18(expr)
    text = one_line_end(expr).str.strip_chars()
    if field.type == "email":
        text = text.str.to_lowercase()
    if field.type == "multipicklist":
        members = text.str.split(";").list.eval(pl.element().str.strip_chars())
        text = members.list.eval(pl.element().filter(pl.element() != "")).list.unique().list.sort().list.join(";")
    return pl.when(text != "").then(text)
