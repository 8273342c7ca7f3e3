"""Rows as they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from isync_dagster.plan.model import ObjectPlan, StagedField
from isync_dagster.records.payload import insert_payload, update_payload
from isync_dagster.records.words import DECISIONS
from isync_dagster.schema.types import DATETIME, NUMBER
from isync_dagster_tests.records.builders import lookup, object_plan, text


def decided(decision: str, changed: Sequence[str] = (), **columns: Any) -> pl.LazyFrame:
    return pl.LazyFrame(
        {
            "_row": pl.Series([4], dtype=pl.UInt32),
            "_source_id": ["s0"],
            "_target_id": [None if decision == "insert" else "t0"],
            "_decision": pl.Series([decision], dtype=DECISIONS),
            "_changed": pl.Series([list(changed)], dtype=pl.List(pl.String)),
            **{
                name: value if isinstance(value, pl.Series) else pl.Series([value], dtype=pl.String)
                for name, value in columns.items()
            },
        }
    )


def row(frame: pl.LazyFrame) -> dict[str, Any]:
    return frame.collect().row(0, named=True)


TYPED = object_plan(
    fields=(
        text("Name"),
        text("Amount", type="currency"),
        text("Active", type="boolean"),
        text("Day", type="date"),
        text("At", type="datetime"),
    )
)
VALUES: dict[str, Any] = {
    "Amount": pl.Series([Decimal("12.50")], dtype=NUMBER),
    "Active": pl.Series([False]),
    "Day": pl.Series([date(2024, 1, 31)]),
    "At": pl.Series([datetime(2024, 1, 31, 1, 2, 3, 4000, tzinfo=UTC)], dtype=DATETIME),
}


def test_insert_sends_wire_strings_with_one_line_end() -> None:
    assert row(insert_payload(decided("insert", Name="a\r\nb\rc", **VALUES), TYPED)) == {
        "_row": 4,
        "_source_id": "s0",
        "_target_id": None,
        "_collections": False,
        "_clear": [],
        "Name": "a\nb\nc",
        "Amount": "12.5",
        "Active": "false",
        "Day": "2024-01-31",
        "At": "2024-01-31T01:02:03.004Z",
    }


def cells(frame: pl.LazyFrame) -> dict[str, Any]:
    return {name: value for name, value in row(frame).items() if not name.startswith("_")}


def plan_of_kinds() -> ObjectPlan:
    return object_plan(
        fields=(
            text("Name"),
            text("Status"),
            text("Code"),
            text("Once", updateable=False),
            text("Later", createable=False),
            text("Never", createable=False, updateable=False),
        ),
        lookups=(
            lookup("AccountId", "Account"),
            lookup("ReportsToId", "Contact", deferred=True),
            lookup("Fixed", "Account", updateable=False),
        ),
        migration_key="Legacy__c",
        staged=(StagedField("Status", "Draft"), StagedField("Code", "")),
    )


def test_insert_sends_what_an_insert_may_and_stages_the_rest() -> None:
    names = ["Name", "Status", "Code", "Once", "Later", "Never", "AccountId", "Fixed", "Legacy__c"]
    columns: dict[str, Any] = {name: name.lower() for name in names}
    frame = decided("insert", **columns, ReportsToId=None)
    assert cells(insert_payload(frame, plan_of_kinds())) == {
        "Name": "name",
        "Status": "Draft",
        "Code": None,
        "Once": "once",
        "Legacy__c": "legacy__c",
        "AccountId": "accountid",
        "Fixed": "fixed",
    }


def test_update_sends_the_changed_cells_alone() -> None:
    frame = decided(
        "update",
        ["Name", "Later"],
        Name=None,
        Status="x",
        Code="x",
        Once="x",
        Later="l\r\nm",
        Never="x",
        AccountId="a",
        ReportsToId=None,
        Fixed="f",
        Legacy__c="l",
    )
    payload = update_payload(frame, plan_of_kinds())
    assert cells(payload) == {
        "Id": "t0",
        "Name": "#N/A",
        "Later": "l\nm",
        "Legacy__c": None,
        "AccountId": None,
    }
    found = row(payload)
    assert (found["_row"], found["_target_id"], found["_clear"], found["_collections"]) == (4, "t0", ["Name"], False)


def test_a_value_that_bulk_would_read_as_null_takes_the_other_way() -> None:
    plan = object_plan(fields=(text("Name"), text("City")))
    found = row(insert_payload(decided("insert", Name="#N/A", City=None), plan))
    assert (found["_collections"], found["_clear"], found["Name"]) == (True, [], "#N/A")
    found = row(update_payload(decided("update", ["Name", "City"], Name="#N/A", City=None), plan))
    assert (found["_collections"], found["_clear"]) == (True, ["City"])
    # A cell that does not travel cannot hurt.
    assert not row(update_payload(decided("update", ["City"], Name="#N/A", City=None), plan))["_collections"]
    assert not row(insert_payload(decided("insert", Name="#N/A ", City=None), plan))["_collections"]


def test_only_rows_of_the_decision_are_sent() -> None:
    plan = object_plan(fields=(text("Name"),))
    assert insert_payload(decided("identical", Name="a"), plan).collect().is_empty()
    assert insert_payload(decided("update", ["Name"], Name="a"), plan).collect().is_empty()
    assert update_payload(decided("insert", Name="a"), plan).collect().is_empty()
    assert update_payload(decided("blocked", Name="a"), plan).collect().is_empty()


def test_an_object_without_fields_has_empty_payloads() -> None:
    frame = decided("insert")
    assert cells(insert_payload(frame, object_plan())) == {}
    assert cells(update_payload(decided("update"), object_plan())) == {"Id": "t0"}
