"""Source rows in the target's shape."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from isync_dagster.plan.model import FieldMapping
from isync_dagster.records.transform import UNFIT, target_schema, transform
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype
from isync_dagster_tests.records.builders import lookup, mapping, object_plan, record_id, text

ID = record_id("003", 1)


def run(values: list[Any], *, source: Field, target: Field, picklist: dict[str, str] | None = None) -> pl.DataFrame:
    extract = pl.LazyFrame({"Id": [ID] * len(values), source.name: pl.Series(values, dtype=dtype(source))})
    plan = object_plan(fields=(FieldMapping(source, target, picklist or {}),))
    frame = transform(extract, plan).collect()
    assert frame.schema == {"_source_id": pl.String, target.name: dtype(target), "_unfit": UNFIT}
    return frame


def test_columns_and_order() -> None:
    plan = object_plan(
        fields=(mapping(Field("Name"), Field("Title__c")), text("Amount", type="currency")),
        lookups=(lookup("Account__c", "Account", source="AccountId"),),
        migration_key="Legacy_Id__c",
    )
    extract = pl.LazyFrame(
        {
            "Id": ["0015500001QdQWa"],
            "AccountId": ["0015500001QdQWa"],
            "Amount": pl.Series([Decimal("1.25")], dtype=pl.Decimal(38, 18)),
            "Name": [" as it is "],
            "SystemModstamp": [datetime(2024, 1, 1, tzinfo=UTC)],
        }
    )
    lazy = transform(extract, plan)
    assert {name: kind for name, kind in lazy.collect_schema().items() if not name.startswith("_")} == dict(
        target_schema(plan)
    )
    assert lazy.collect().to_dicts() == [
        {
            "_source_id": "0015500001QdQWaAAN",
            "Title__c": " as it is ",
            "Amount": Decimal("1.25"),
            "Legacy_Id__c": "0015500001QdQWaAAN",
            "Account__c": "0015500001QdQWaAAN",
            "_unfit": None,
        }
    ]


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("int", "double", 7, Decimal(7)),
        ("double", "int", Decimal("7"), 7),
        ("double", "string", Decimal("7.50"), "7.5"),
        ("boolean", "string", True, "true"),
        ("date", "datetime", date(2024, 1, 31), datetime(2024, 1, 31, tzinfo=UTC)),
        ("datetime", "date", datetime(1969, 1, 31, tzinfo=UTC), date(1969, 1, 31)),
        ("string", "double", " 1.5 ", Decimal("1.5")),
        ("string", "date", "2024-01-31", date(2024, 1, 31)),
        ("picklist", "boolean", "true", True),
        ("string", "boolean", None, False),
        ("boolean", "boolean", None, False),
        ("string", "int", "", None),
        ("datetime", "string", datetime(2024, 1, 31, tzinfo=UTC), "2024-01-31T00:00:00.000Z"),
    ],
)
def test_lossless_conversions(source: str, target: str, value: Any, expected: Any) -> None:
    frame = run([value], source=Field("S", type=source), target=Field("T", type=target))
    assert frame["T"].to_list() == [expected]
    assert frame["_unfit"].to_list() == [None]


@pytest.mark.parametrize(
    ("source", "target", "value", "shown"),
    [
        ("double", "int", Decimal("7.5"), "7.5"),
        ("string", "int", "7.5", "7.5"),
        ("string", "double", "1,5", "1,5"),
        ("string", "double", "0.1234567890123456789", "0.1234567890123456789"),
        ("datetime", "date", datetime(2024, 1, 31, 10, tzinfo=UTC), "2024-01-31T10:00:00.000Z"),
        ("string", "boolean", "perhaps", "perhaps"),
        ("boolean", "date", False, "false"),
    ],
)
def test_what_does_not_fit_is_named(source: str, target: str, value: Any, shown: str) -> None:
    frame = run([value, None], source=Field("S", type=source), target=Field("T", type=target))
    assert frame["T"].to_list() in ([None, None], [False, False])
    assert frame["_unfit"].to_list() == [[{"field": "T", "value": shown}], None]


def test_picklist_values_are_exchanged() -> None:
    field = Field("Industry", type="picklist")
    frame = run(["Old", "old", "Gone", "Other", None], source=field, target=field, picklist={"Old": "New", "Gone": ""})
    assert frame["Industry"].to_list() == ["New", "old", None, "Other", None]
    assert frame["_unfit"].null_count() == 5


def test_multi_select_values_are_exchanged_member_by_member() -> None:
    field = Field("Regions__c", type="multipicklist")
    frame = run(
        ["A;B;C", "B", "Z; A", None, "A;X"], source=field, target=field, picklist={"A": "X", "B": "", "Z": "Z2"}
    )
    assert frame["Regions__c"].to_list() == ["X;C", None, "Z2;X", None, "X"]


def test_picklist_to_boolean() -> None:
    frame = run(
        ["Yes", "No", "Perhaps", ""],
        source=Field("S", type="picklist"),
        target=Field("T", type="boolean"),
        picklist={"Yes": "true", "No": "false"},
    )
    assert frame["T"].to_list() == [True, False, False, False]
    assert frame["_unfit"].to_list() == [None, None, [{"field": "T", "value": "Perhaps"}], None]
