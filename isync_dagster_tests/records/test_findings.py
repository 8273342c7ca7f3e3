"""What is found before the first write."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from isync_dagster.records.findings import find
from isync_dagster.records.transform import transform
from isync_dagster.schema.model import Field, PicklistValue
from isync_dagster.schema.types import dtype
from isync_dagster_tests.records.builders import lookup, mapping, object_plan, record_id


def found(field: Field, *values: Any, source: Field | None = None, **plan: Any) -> list[tuple[str, str | None]]:
    """(check, value) of what is found in rows with these values, in their order."""
    origin = source or field
    extract = pl.LazyFrame(
        {
            "Id": [record_id("003", number) for number in range(len(values))],
            origin.name: pl.Series(values, dtype=dtype(origin)),
        }
    )
    built = object_plan(fields=(mapping(origin, field),), **plan)
    frame = find(transform(extract, built), built).collect()
    assert frame.schema == dict.fromkeys(["check", "severity", "field", "_source_id", "value", "message"], pl.String)
    assert set(frame["severity"]) <= {"error"}
    assert frame["_source_id"].is_sorted()
    return list(frame.select("check", "value").rows())


def test_required() -> None:
    field = Field("LastName", nillable=False)
    assert found(field, "x", None, " ") == [("required", None), ("required", None)]
    assert found(field, None, insert_new=False) == []
    assert found(Field("F", nillable=False, defaulted_on_create=True), None) == []
    assert found(Field("F", type="boolean", nillable=False), None) == []


def test_required_lookup() -> None:
    plan = object_plan(
        lookups=(lookup("AccountId", "Account", nillable=False), lookup("ParentId", "Contact", deferred=True))
    )
    extract = pl.LazyFrame(
        {"Id": ["a", "b"], "AccountId": ["p", None], "ParentId": [None, None]}, schema_overrides={"ParentId": pl.String}
    )
    rows = find(transform(extract, plan), plan).collect().rows(named=True)
    assert [(row["_source_id"], row["check"], row["field"]) for row in rows] == [("b", "required", "AccountId")]


def test_length_counts_characters() -> None:
    assert found(Field("Name", length=3), "äöü", "😀😀😀", "abcd", None) == [("length", "abcd")]
    assert found(Field("Name", length=0), "any length") == []
    long = "x" * 300
    assert found(Field("Name", length=299), long) == [("length", long[:255])]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (Field("N", type="currency", precision=5, scale=2), "999.994", "999.995"),
        (Field("N", type="double", precision=3, scale=0), "-999", "-1000"),
        (Field("N", type="percent", precision=18, scale=18), "0.5", "1"),
    ],
)
def test_number_range_by_precision_and_scale(field: Field, good: str, bad: str) -> None:
    assert found(field, Decimal(good), Decimal(bad), None) == [("range", bad)]


def test_numbers_without_precision_have_no_range() -> None:
    assert found(Field("N", type="double"), Decimal(10**19)) == []
    assert found(Field("N", type="double", precision=38, scale=0), Decimal(10**19)) == []


def test_integers() -> None:
    assert found(Field("N", type="int", digits=3), 999, -1000) == [("range", "-1000")]
    assert found(Field("N", type="int"), 2**31 - 1, 2**31) == [("range", "2147483648")]


def test_years() -> None:
    assert found(Field("D", type="date"), date(1700, 1, 1), date(4000, 12, 31), date(1699, 12, 31)) == [
        ("range", "1699-12-31")
    ]
    late = datetime(4001, 1, 1, tzinfo=UTC)
    assert found(Field("D", type="datetime"), late, datetime(4000, 12, 31, 23, 59, tzinfo=UTC)) == [
        ("range", "4001-01-01T00:00:00.000Z")
    ]


VALUES = (PicklistValue("Hot"), PicklistValue("Cold"), PicklistValue("Gone", active=False))


def test_restricted_picklist() -> None:
    field = Field("Rating", type="picklist", restricted_picklist=True, picklist_values=VALUES)
    assert found(field, "Hot", " Cold ", "hot", "Gone", "", None) == [("picklist", "hot"), ("picklist", "Gone")]
    assert found(Field("Rating", type="picklist", picklist_values=VALUES), "any") == []
    assert found(Field("Rating", type="picklist", restricted_picklist=True), "any") == []


def test_restricted_multi_select_names_the_refused_members() -> None:
    field = Field("Rating", type="multipicklist", restricted_picklist=True, picklist_values=VALUES)
    assert found(field, "Hot;Cold", "Hot;Warm;Gone", "", None) == [("picklist", "Warm;Gone")]


@pytest.mark.parametrize("text", ["a@b.co", "o'neil+x@sub.example.museum", " a@b.co ", "ä@b.de", "", None])
def test_addresses(text: str | None) -> None:
    assert found(Field("Email", type="email", length=80), text) == []


@pytest.mark.parametrize("text", ["a", "a@b", "a@@b.co", "a b@c.de", "@b.co", "a@b.", "a@b.co, c@d.ee"])
def test_not_addresses(text: str) -> None:
    assert found(Field("Email", type="email", length=80), text) == [("email", text)]


def test_values_that_do_not_fit_the_type() -> None:
    assert found(Field("N", type="double"), "1.5", "x", source=Field("T")) == [("type", "x")]


def test_several_findings_of_a_row_and_fields_that_are_never_sent() -> None:
    fields = (
        mapping(Field("A", length=1, nillable=False)),
        mapping(Field("B", length=1)),
        mapping(Field("C", length=1, createable=False, updateable=False)),
    )
    plan = object_plan(fields=fields)
    extract = pl.LazyFrame({"Id": ["a", "b"], "A": [None, "x"], "B": ["xx", "x"], "C": ["xx", "xx"]})
    rows = find(transform(extract, plan), plan).collect().rows(named=True)
    assert [(row["_source_id"], row["check"], row["field"]) for row in rows] == [
        ("a", "required", "A"),
        ("a", "length", "B"),
    ]


def test_an_object_with_nothing_to_check() -> None:
    plan = object_plan()
    assert find(transform(pl.LazyFrame({"Id": ["a"]}), plan), plan).collect().is_empty()
