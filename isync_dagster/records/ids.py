"""Salesforce record ids, columnar: 15 case-sensitive characters, or 18 with a checksum of the capitals."""

from __future__ import annotations

import polars as pl

_SUFFIX_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_GROUPS = (0, 5, 10)
# Five characters written as 1 (capital) or 0 give one suffix character, the first of them the lowest bit. Read as a
# binary number the first is the highest, so the alphabet stands here in the order of the mirrored numbers.
_BY_MIRRORED = "".join(_SUFFIX_ALPHABET[int(format(number, "05b")[::-1], 2)] for number in range(32))


def to18(expr: pl.Expr) -> pl.Expr:
    """The ids of a String column in their 18-character form; a blank becomes null, anything else stays as it is.

    Ids are equal only in this form: a 15-character id equals none of 18, and lower-casing would merge two records.

    >>> frame = pl.DataFrame({"id": ["0015500001QdQWa", "012000000000000AAA", "", None]})
    >>> frame.select(to18(pl.col("id"))).to_series().to_list()
    ['0015500001QdQWaAAN', '012000000000000AAA', None, None]
    """
    text = expr.str.strip_chars()
    # Most ids have 18 characters already: what only those of 15 need is asked of them alone, for a null costs nothing.
    short = pl.when(text.str.len_bytes() == 15).then(text)
    short = pl.when(short.str.contains(r"^[0-9A-Za-z]{15}$")).then(short)
    capitals = short.str.replace_all("[A-Z]", "_").str.replace_all("[^_]", "0").str.replace_all("_", "1", literal=True)
    suffix = [
        pl.lit(_BY_MIRRORED).str.slice(capitals.str.slice(start, 5).str.to_integer(base=2, strict=False), 1)
        for start in _GROUPS
    ]
    full = pl.concat_str([short, *suffix])
    return pl.when(text != "").then(pl.coalesce(full, text))


def unambiguous(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """`source_id`, `target_id` of `pairs`, one row a source id; an id with several targets has none.

    A join with the result neither multiplies rows nor guesses, and streams, which a validated join does not.

    >>> pairs = pl.LazyFrame({"source_id": ["a", "a", "b", "b"], "target_id": ["x", "x", "y", "z"]})
    >>> unambiguous(pairs).sort("source_id").collect().rows()
    [('a', 'x')]
    """
    return (
        pairs.group_by("source_id")
        .agg(pl.col("target_id").min(), pl.col("target_id").max().alias("_last"))
        .filter(pl.col("target_id") == pl.col("_last"))
        .drop("_last")
    )
