"""Text to typed and back: nothing is lost, and what would be lost is found."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, time
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from isync_dagster.records.typing import lossy_cells, typed, typed_and_proven, wire
from isync_dagster.schema.model import NUMBER_TYPES, TEXT_TYPES, Field
from isync_dagster.schema.types import dtype, schema

awkward = st.sampled_from(
    [
        "#N/A",
        "007",
        "a\r\nb",
        "a\nb",
        "a\rb",
        '"',
        '""quoted""',
        "😀",
        "nul\0byte",
        " x ",
        ",",
        "true",
        "1.0E7",
        "\u2028",
    ]
)
texts = st.one_of(awkward, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
decimals = st.builds(
    lambda number, places: Decimal(number).scaleb(-places),
    st.integers(-(10**20) + 1, 10**20 - 1),
    st.integers(0, 18),
)
instants = st.datetimes(datetime(1700, 1, 1), datetime(4000, 12, 31, 23, 59, 59), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)
times = st.times().map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
ids = st.from_regex(r"[0-9A-Za-z]{15}", fullmatch=True)

VALUES: dict[str, st.SearchStrategy[object]] = {
    **dict.fromkeys(sorted(TEXT_TYPES | {"anyType"}), texts),
    **dict.fromkeys(sorted(NUMBER_TYPES), decimals),
    "id": ids,
    "reference": ids,
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "date": st.dates(date(1700, 1, 1), date(4000, 12, 31)),
    "datetime": instants,
    "time": times,
}


def frame_of(kind: str, values: list[object]) -> tuple[Field, pl.LazyFrame]:
    field = Field("F", type=kind)
    return field, pl.LazyFrame({"F": pl.Series(values, dtype=dtype(field))})


def through_csv(frame: pl.LazyFrame) -> pl.LazyFrame:
    """As the wire does it: a CSV with everything quoted, read back as text."""
    data = frame.collect().write_csv(quote_style="always").encode()
    return pl.read_csv(io.BytesIO(data), infer_schema=False, null_values="").lazy()


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_typed_wire_typed_is_identity(kind: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.one_of(st.none(), VALUES[kind]), min_size=1, max_size=8))
    def holds(values: list[object]) -> None:
        field, frame = frame_of(kind, values)
        frame = frame.with_columns(typed(wire(frame, [field]), [field]).collect()["F"])
        sent = wire(frame, [field])
        assert sent.collect_schema() == {"F": pl.String()}
        back = typed(sent, [field])
        assert_frame_equal(back.collect(), frame.collect())
        assert_frame_equal(typed(through_csv(sent), [field]).collect(), frame.collect())
        assert lossy_cells(sent, [field]).collect().is_empty()
        assert_frame_equal(typed_and_proven(sent, [field]).collect(), frame.with_columns(_lossy=False).collect())

    holds()


@pytest.mark.parametrize("kind", sorted(NUMBER_TYPES))
@given(st.lists(decimals, min_size=1, max_size=10), st.booleans())
@settings(deadline=None)
def test_numbers_plain_and_scientific_are_read_exactly(kind: str, numbers: list[Decimal], scientific: bool) -> None:
    field = Field("F", type=kind)
    raw = pl.LazyFrame({"F": [f"{number:E}" if scientific else f"{number:f}" for number in numbers]})
    assert typed(raw, [field]).collect()["F"].to_list() == numbers
    assert lossy_cells(raw, [field]).collect().is_empty()


def read(kind: str, *texts: str | None) -> list[object]:
    raw = pl.LazyFrame({"F": pl.Series(texts, dtype=pl.String)})
    return typed(raw, [Field("F", type=kind)]).collect()["F"].to_list()


@settings(max_examples=300, deadline=None)
@given(
    st.datetimes(datetime(1700, 1, 1), datetime(4000, 12, 31)),
    st.integers(0, 18),
    st.sampled_from("0123456789-T:+ Zz.,\té"),
    st.booleans(),
)
def test_whole_seconds_are_read_as_any_other_instant_is(at: datetime, place: int, other: str, broken: bool) -> None:
    """What is no instant is none in either spelling."""
    text = at.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    text = f"{text[:place]}{other}{text[place + 1 :]}" if broken else text
    fields = [Field("A", type="datetime")]
    plain, offset = (pl.LazyFrame({"A": [f"{text}.000{zone}"]}) for zone in ("Z", "+0000"))
    # As frames: Python has no year 0.
    assert typed(plain, fields).collect().equals(typed(offset, fields).collect())
    assert lossy_cells(plain, fields).collect().height == lossy_cells(offset, fields).collect().height


def test_spellings_of_salesforce() -> None:
    assert read("double", "12.0", "1.0E7", "-1.5e-3", "", None) == [
        Decimal(12),
        Decimal(10_000_000),
        Decimal("-0.0015"),
        None,
        None,
    ]
    assert read("boolean", "true", "FALSE", "1", "0", "") == [True, False, True, False, None]
    at = datetime(2022, 10, 20, 16, 46, 32, tzinfo=UTC)
    assert read("datetime", "2022-10-20T16:46:32.000Z", "2022-10-20T16:46:32.000+0000", "2022-10-20T16:46:32Z") == [
        at,
        at,
        at,
    ]
    assert read("datetime", "2022-10-20T18:46:32.000+02:00") == [at]
    assert read("time", "12:30:00.000Z", "12:30:00Z") == [time(12, 30), time(12, 30)]
    assert read("int", "12", "12.0", "00012") == [12, 12, 12]
    assert read("reference", "0015500001QdQWa") == ["0015500001QdQWaAAN"]
    assert read("textarea", "", " ", "\r\n") == [None, " ", "\r\n"]


def test_other_text_columns_stay_and_blanks_become_null() -> None:
    raw = pl.LazyFrame({"Id": ["001", "002"], "Owner.Name": ["", "007"]})
    frame = typed(raw, [Field("Id", type="id")]).collect()
    assert frame["Owner.Name"].to_list() == [None, "007"]


def lost(kind: str, *texts: str) -> list[tuple[int, str]]:
    raw, fields = pl.LazyFrame({"F": texts}), [Field("F", type=kind)]
    found = lossy_cells(raw, fields).collect()
    proven = typed_and_proven(raw, fields).collect()
    # Of a number it may say so where nothing is lost, never the other way round.
    suspected, cells = proven["_lossy"].sum(), found["cells"].sum()
    assert suspected >= cells if kind in NUMBER_TYPES else suspected == cells
    assert_frame_equal(proven.drop("_lossy"), typed(raw, fields).collect())
    assert found.schema == {"field": pl.String, "cells": pl.UInt32, "example": pl.String}
    return [(row[1], row[2]) for row in found.rows()]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("double", "0.1234567890123456789"),
        ("double", "1.5E-18"),
        ("double", "123456789012345678901"),
        ("currency", "1,000"),
        ("percent", "NaN"),
        ("int", "1.5"),
        ("int", "many"),
        ("boolean", "yes"),
        ("date", "6/15/19"),
        ("date", "2024-02-30"),
        ("date", "2024-1-1"),
        ("datetime", "2024-01-31 10:00:00"),
        ("datetime", "2024-01-31T10:00:00.0005Z"),
        ("time", "25:00:00.000Z"),
        ("time", "10:00:00.0001Z"),
    ],
)
def test_what_does_not_survive_is_found(kind: str, text: str) -> None:
    assert lost(kind, "", text) == [(1, text)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("double", "1500E-20"),
        ("double", "0.0E-30"),
        ("double", "-0.0"),
        ("double", "0.50000000000000000000000"),
        ("double", "1.0E19"),
        ("int", "12.0"),
        ("datetime", "2024-01-31T10:00:00.123000+0000"),
        ("datetime", "1700-01-01T00:00:00.000Z"),
        ("date", "4000-12-31"),
        ("string", "anything"),
    ],
)
def test_what_survives_is_not_reported(kind: str, text: str) -> None:
    assert lost(kind, text) == []


def test_lossy_cells_counts_by_field() -> None:
    raw = pl.LazyFrame({"A": ["x", "y", "1"], "B": ["1", "2", "3"], "C": ["x", "", ""]})
    fields = [Field("A", type="int"), Field("B", type="int"), Field("C", type="date")]
    assert lossy_cells(raw, fields).collect().rows() == [("A", 2, "x"), ("C", 1, "x")]
    assert typed_and_proven(raw, fields).collect()["_lossy"].to_list() == [True, True, False]


def test_no_typed_fields_and_no_rows() -> None:
    assert lossy_cells(pl.LazyFrame({"A": ["x"]}), [Field("A")]).collect().is_empty()
    empty = typed(pl.LazyFrame(schema={"A": pl.String}), [Field("A", type="datetime")]).collect()
    assert empty.schema == schema([Field("A", type="datetime")])
