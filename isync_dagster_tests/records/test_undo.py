"""What a rollback decides of each record, from frames alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from isync_dagster.records.undo import STAMPS, changed_since, images, restore_payload, written
from isync_dagster.schema.model import Field

END = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = (END + timedelta(hours=1), END + timedelta(hours=2))
DURING = (END - timedelta(minutes=10), END - timedelta(minutes=1))


def _judge(now: datetime, modified: datetime, by: str, *, then: datetime | None = END, author: str = "us") -> bool:
    row: dict[str, Any] = {
        "SystemModstamp": now,
        "LastModifiedDate": modified,
        "LastModifiedById": by,
        "SystemModstamp_then": then,
        "LastModifiedDate_then": then,
        "LastModifiedById_then": author if then else None,
    }
    schema = {name: pl.String if name.startswith("LastModifiedById") else pl.Datetime("ms", "UTC") for name in row}
    verdict = changed_since(list(STAMPS), "_then", later=[LATER], all_of=[DURING, LATER], user="us")
    answer: bool = pl.DataFrame([row], schema=schema).select(verdict).item()
    return answer


MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("what", "changed", "arguments"),
    [
        ("untouched", False, (END, END, "us")),
        ("the same second, another author", True, (END, END, "she")),
        ("saved since, by whoever it is", True, (END + MINUTE, END + MINUTE, "us")),
        ("a later run of ours saved it", False, (LATER[0] + MINUTE, LATER[0] + MINUTE, "us")),
        ("she saved it while a later run was sending", True, (LATER[0] + MINUTE, LATER[0] + MINUTE, "she")),
        ("a roll-up of a later run moved its stamp", False, (LATER[0] + MINUTE, END, "us")),
        ("saved by hand as our user, then a roll-up of a later run", True, (LATER[0] + MINUTE, END + MINUTE, "us")),
        ("a roll-up when nothing of ours ran", True, (END + MINUTE, END, "us")),
    ],
)
def test_what_counts_as_a_change(what: str, changed: bool, arguments: tuple[Any, ...]) -> None:
    assert _judge(*arguments) is changed, what


def test_without_a_stamp_of_the_end_the_times_of_sending_decide() -> None:
    inside = DURING[0] + MINUTE
    assert not _judge(inside, inside, "us", then=None)
    assert _judge(inside, inside, "she", then=None)
    assert _judge(END + MINUTE, END + MINUTE, "us", then=None)


def test_an_object_without_stamps_is_never_changed() -> None:
    verdict = changed_since(["LastModifiedById"], "_then", later=[], all_of=[], user="us")
    assert pl.DataFrame({"a": [1]}).select(verdict).item() is False


def test_the_first_image_of_a_field_counts_and_only_changed_fields_are_set_back() -> None:
    fields = {"Name": Field("Name"), "Size__c": Field("Size__c", "int"), "On__c": Field("On__c", "boolean")}
    first = pl.LazyFrame({"Id": ["1"], "_changed": [["Name"]], "Name": ["old"], "Size__c": [5]})
    second = pl.LazyFrame(
        {"Id": ["1", "2"], "_changed": [["Name", "Size__c"], ["On__c", "Gone__c"]], "Name": ["newer", "x"]}
        | {"Size__c": [None, 7], "On__c": [None, None]},
        schema_overrides={"Size__c": pl.Int64, "On__c": pl.Boolean},
    )
    found = images([first, second], fields)
    assert found is not None
    rows = found.with_columns(_source_id=pl.lit("s"), _target_id=pl.col("Id")).drop("Id").with_row_index("_row")
    sent = restore_payload(rows, fields).sort("Id").collect()
    assert sent.select("Id", "Name", "Size__c", "On__c").rows() == [
        ("1", "old", "#N/A", None),
        ("2", None, None, "false"),
    ]
    assert sent["_clear"].to_list() == [["Size__c"], []]


def test_text_with_a_carriage_return_goes_the_way_that_keeps_it() -> None:
    rows = pl.LazyFrame(
        {
            "_row": [0, 1, 2],
            "_source_id": ["a", "b", "c"],
            "_target_id": ["1", "2", "3"],
            "_changed": [["Note__c"], ["Note__c"], ["Note__c"]],
            "Note__c": ["one\r\ntwo", "one\ntwo", "#N/A"],
        }
    )
    sent = restore_payload(rows, {"Note__c": Field("Note__c", "textarea")}).collect()
    assert sent["_collections"].to_list() == [True, False, True]
    assert sent["Note__c"][0] == "one\r\ntwo"


def test_what_a_run_wrote() -> None:
    rows = [
        ("new", "1", "pending", "remap"), ("new", "1", "inserted", "load"), ("new", "1", "failed", "relink"),
        ("changed", "2", "updated", "load"),
        ("linked", "3", "identical", "remap"), ("linked", "3", "updated", "relink"),
        ("refused", None, "failed", "load"),
        ("untouched", "4", "identical", "remap"),
        ("mended", None, "failed", "load"), ("mended", "5", "inserted", "retry-1"),
        ("new", "1", "deleted", "rollback-1"),
        ("healed", "6", "identical", "remap"), ("healed", "6", "updated", "heal-1"),
        ("unhealed", "7", "identical", "remap"), ("unhealed", "7", "identical", "heal-1", "FIELD_INTEGRITY_EXCEPTION"),
        ("again", "8", "identical", "remap"), ("again", "8", "updated", "retry-1-relink"),
    ]  # fmt: skip
    names = ["source_id", "target_id", "state", "stage", "code"]
    audit = pl.LazyFrame([(*row, *[None] * (5 - len(row))) for row in rows], schema=names, orient="row")
    audit = audit.with_columns(chunk=pl.when(pl.col("stage") != "remap").then(0))
    # What a retry only matched it has not written.
    seen = audit.filter(pl.col("source_id") == "untouched").with_columns(stage=pl.lit("retry-1"))
    audit = pl.concat([audit, seen])
    assert written(audit).sort("source_id").collect().rows() == [
        ("again", "8", False, False, True),
        ("changed", "2", False, True, False),
        ("healed", "6", False, False, True),
        ("linked", "3", False, False, True),
        ("mended", "5", True, False, True),
        ("new", "1", True, False, False),
    ]
