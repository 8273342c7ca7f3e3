"""Which dtype each Salesforce type takes."""

from __future__ import annotations

import polars as pl
import pytest

from isync_dagster.schema.model import NUMBER_TYPES, TEXT_TYPES, Field
from isync_dagster.schema.types import DATETIME, NUMBER, dtype, schema


@pytest.mark.parametrize("kind", sorted(TEXT_TYPES | {"id", "reference", "anyType", "combobox", "address"}))
def test_text_and_ids_are_strings(kind: str) -> None:
    assert dtype(Field("F", type=kind)) == pl.String


@pytest.mark.parametrize("kind", sorted(NUMBER_TYPES))
def test_numbers_are_decimals_whatever_their_scale(kind: str) -> None:
    assert dtype(Field("F", type=kind, precision=18, scale=2)) == NUMBER
    assert dtype(Field("F", type=kind)) == NUMBER


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("boolean", pl.Boolean()),
        ("int", pl.Int64()),
        ("date", pl.Date()),
        ("datetime", DATETIME),
        ("time", pl.Time()),
    ],
)
def test_the_other_types(kind: str, expected: pl.DataType) -> None:
    assert dtype(Field("F", type=kind)) == expected


def test_schema_keeps_the_order() -> None:
    found = schema([Field("B", type="int"), Field("A")])
    assert list(found.items()) == [("B", pl.Int64()), ("A", pl.String())]
