"""The 18-character form of ids, against a plain implementation and recorded ids."""

from __future__ import annotations

import string

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isync_dagster.records.ids import to18

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"


def plain(short: str) -> str:
    groups = (short[start : start + 5] for start in (0, 5, 10))
    return short + "".join(
        ALPHABET[sum(1 << bit for bit, char in enumerate(group) if "A" <= char <= "Z")] for group in groups
    )


def convert(values: list[str | None]) -> list[str | None]:
    return pl.DataFrame({"id": pl.Series(values, dtype=pl.String)}).select(to18(pl.col("id"))).to_series().to_list()


@pytest.mark.parametrize(
    "full",
    ["0015500001QdQWaAAN", "012000000000000AAA", "0128M0000004HVOQA2", "0038M0000016Wv8QAE"],
)
def test_recorded_ids(full: str) -> None:
    assert convert([full[:15], full, f" {full[:15]} "]) == [full, full, full]


def test_blank_is_null_and_other_text_stays() -> None:
    assert convert([None, "", "   ", "abc", "001!5500001QdQWa", "0015500001QdQW"]) == [
        None,
        None,
        None,
        "abc",
        "001!5500001QdQWa",
        "0015500001QdQW",
    ]


@given(st.lists(st.text(string.ascii_letters + string.digits, min_size=15, max_size=15), max_size=20))
def test_checksum_is_the_documented_one(shorts: list[str]) -> None:
    assert convert(list(shorts)) == [plain(short) for short in shorts]
