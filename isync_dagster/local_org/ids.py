"""Salesforce record ids: 15 characters that count up, and the 18-character form with its checksum.

An id is key prefix (3) + pod (3) + `0` + an eight-digit base-62 counter (digits `0-9A-Za-z`), and three
checksum characters that say which of the fifteen are capitals. Whole ranges are made columnar.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Final

import polars as pl

from isync_dagster.local_org.org_schema import BASE62

CHECKSUM: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
ID_PATTERN: Final = r"^[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?$"
COUNTER_DIGITS: Final = 8


def to18(record_id: str) -> str:
    """The 18-character form of an id; an 18-character one comes back as its first 15 say.

    >>> to18("0015500001QdQWa"), to18("012000000000000")
    ('0015500001QdQWaAAN', '012000000000000AAA')
    """
    head = record_id[:15]
    tail = "".join(
        CHECKSUM[sum(1 << bit for bit, char in enumerate(head[start : start + 5]) if "A" <= char <= "Z")]
        for start in (0, 5, 10)
    )
    return head + tail


def is_id(text: str) -> bool:
    """True for 15 letters and digits, or 18 with the right checksum.

    >>> is_id("0015500001QdQWaAAN"), is_id("0015500001QdQWaAAA"), is_id("abc")
    (True, False, False)
    """
    if len(text) not in (15, 18) or not text.isascii() or not text.isalnum():
        return False
    return len(text) == 15 or to18(text) == text


def to18_expr(column: pl.Expr) -> pl.Expr:
    """The 18-character form of a String column; values of 18 characters and anything else stay as they are."""
    suffix = [
        pl.sum_horizontal(
            [
                column.str.slice(start + bit, 1).is_between(pl.lit("A"), pl.lit("Z")).cast(pl.UInt32) * (1 << bit)
                for bit in range(5)
            ]
        ).replace_strict(list(range(32)), list(CHECKSUM), default=None, return_dtype=pl.String)
        for start in (0, 5, 10)
    ]
    return pl.when(column.str.len_bytes() == 15).then(pl.concat_str([column, *suffix])).otherwise(column)


@cache
def _groups(width: int) -> tuple[pl.Series, pl.Series]:
    """All base-62 numbers of `width` digits, and for each the bit mask of its capitals."""
    digits = pl.Series(list(BASE62), dtype=pl.String)
    number = pl.int_range(62**width, eager=True)
    places = [digits.gather(number // 62 ** (width - 1 - place) % 62) for place in range(width)]
    capitals = [
        place.is_between(pl.lit("A"), pl.lit("Z")).cast(pl.UInt32) * (1 << bit) for bit, place in enumerate(places)
    ]
    table = pl.DataFrame([place.alias(str(bit)) for bit, place in enumerate(places)])
    masks = pl.DataFrame([mask.alias(str(bit)) for bit, mask in enumerate(capitals)])
    return table.select(pl.concat_str(pl.all()).alias("text"))["text"], masks.sum_horizontal()


def pod(seed: int) -> str:
    """The three characters that all ids of one org share after the key prefix.

    >>> pod(1) == pod(1), len(pod(1))
    (True, 3)
    """
    random = Random(f"pod {seed}")
    return random.choice("56789") + random.choice(BASE62) + random.choice(BASE62)


def id_range(prefix: str, pod_text: str, start: int, count: int) -> pl.Series:
    """`count` ids (String, 18 characters) of consecutive counters from `start`.

    >>> id_range("001", "5g0", 61, 2).to_list()
    ['0015g000000000zAAA', '0015g0000000010AAA']
    """
    head = f"{prefix}{pod_text}0"
    counter = pl.int_range(start, start + count, eager=True)
    three, three_mask = _groups(3)
    two, two_mask = _groups(2)
    high = counter // 62**5
    middle = counter // 62**3 % 62**2
    low = counter % 62**3
    letters = pl.Series(list(CHECKSUM), dtype=pl.String)
    first = to18(head.ljust(15, "0"))[15]
    fixed = sum(1 << bit for bit, char in enumerate(head[5:7]) if "A" <= char <= "Z")
    second_mask = three_mask.gather(high) * 4 + fixed
    third_mask = two_mask.gather(middle) + three_mask.gather(low) * 4
    return (
        pl.DataFrame(
            {
                "high": three.gather(high),
                "middle": two.gather(middle),
                "low": three.gather(low),
                "second": letters.gather(second_mask),
                "third": letters.gather(third_mask),
            }
        )
        .select(pl.concat_str([pl.lit(head), "high", "middle", "low", pl.lit(first), "second", "third"]).alias("Id"))
        .to_series()
    )
