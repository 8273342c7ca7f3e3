from __future__ import annotations

import polars as pl
import pytest

from isync_dagster.migration.answers import OUTCOME_SCHEMA, found_rows, from_answers, with_state

ANSWERS = pl.DataFrame(
    {
        "_row": [0, 1, 2],
        "target_id": ["001A", "001B", None],
        "created": [True, False, None],
        "code": [None, None, "DUPLICATE_VALUE"],
        "message": [None, None, "taken"],
        "fields": [None, None, "Key__c"],
    },
    schema_overrides={"_row": pl.UInt32, "created": pl.Boolean},
)


@pytest.mark.parametrize(
    ("operation", "states"),
    [
        ("insert", ["inserted", "inserted", "failed"]),
        ("update", ["updated", "updated", "failed"]),
        ("upsert", ["inserted", "updated", "failed"]),
    ],
)
def test_a_state_says_what_salesforce_did(operation: str, states: list[str]) -> None:
    assert from_answers(ANSWERS, operation)["state"].to_list() == states


def test_outcomes_of_every_origin_fit_together() -> None:
    rows = pl.DataFrame({"_row": [5], "target_id": ["001C"]})
    known = pl.concat([from_answers(ANSWERS, "insert"), found_rows(rows)])
    whole = with_state(known, pl.DataFrame({"_row": [9]}), "again")
    assert whole.columns == [name for name in OUTCOME_SCHEMA if name != "_source_id"]
    assert whole["state"].to_list() == ["inserted", "inserted", "failed", "inserted", "again"]
    assert whole["_row"].to_list() == [0, 1, 2, 5, 9]
