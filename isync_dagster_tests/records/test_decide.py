"""What the load does with each row."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isync_dagster.plan.model import FieldMapping, Lookup, ObjectPlan, Policy, StagedField
from isync_dagster.records.decide import decide, decide_unmatched, target_fields, uncompared, updated_fields
from isync_dagster.records.match import match, unmatched
from isync_dagster.records.remap import resolve
from isync_dagster.records.words import DECISIONS
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype
from isync_dagster_tests.records.builders import id_map, key, lookup, object_plan, text

NAME = text("Name")


def source(plan: ObjectPlan, *rows: dict[str, Any]) -> pl.LazyFrame:
    """A transformed frame; absent values are null."""
    columns = {item.target.name: dtype(item.target) for item in plan.fields}
    columns |= {item.target.name: pl.String() for item in plan.lookups}
    if plan.migration_key:
        columns[plan.migration_key] = pl.String()
    numbered = [{"_source_id": f"s{number}", **row} for number, row in enumerate(rows)]
    return pl.LazyFrame(numbered, schema={"_source_id": pl.String(), **columns})


def target(plan: ObjectPlan, *rows: dict[str, Any]) -> pl.LazyFrame:
    schema = {"Id": pl.String(), **{field.name: dtype(field) for field in target_fields(plan)}}
    return pl.LazyFrame([{"Id": f"t{number}", **row} for number, row in enumerate(rows)], schema=schema)


def run(
    plan: ObjectPlan,
    rows: list[dict[str, Any]],
    there: list[dict[str, Any]],
    pairs: list[tuple[str, str]] | None = None,
    parents: list[tuple[str, str]] | None = None,
) -> pl.DataFrame:
    """Resolve, match and decide; row n of both sides belong together unless `pairs` says otherwise."""
    known = [(f"s{number}", f"t{number}") for number in range(min(len(rows), len(there)))] if pairs is None else pairs
    found = target(plan, *there)
    resolved = resolve(source(plan, *rows), plan.lookups, lambda _: id_map(*(parents or [("p1", "q1")])))
    return decide(match(resolved, plan, id_map(*known), found), plan, found).collect()


def decisions(frame: pl.DataFrame) -> list[tuple[str, list[str]]]:
    return [(row["_decision"], row["_changed"]) for row in frame.rows(named=True)]


def one(plan: ObjectPlan, row: dict[str, Any], there: dict[str, Any], **options: Any) -> tuple[str, list[str]]:
    return decisions(run(plan, [row], [there], **options))[0]


def test_insert_update_identical() -> None:
    plan = object_plan(fields=(NAME, text("City")))
    frame = run(
        plan,
        [{"Name": "A", "City": "x"}, {"Name": "B"}, {"Name": "C"}],
        [{"Name": "A", "City": "y"}, {"Name": "B"}],
    )
    assert decisions(frame) == [("update", ["City"]), ("identical", []), ("insert", [])]
    assert frame["_now.City"].to_list() == ["y", None, None]
    assert frame.schema["_decision"] == DECISIONS
    assert frame["_source_id"].to_list() == ["s0", "s1", "s2"]


def test_updates_and_inserts_may_be_off() -> None:
    plan = object_plan(fields=(NAME,), update_existing=False, insert_new=False)
    frame = run(plan, [{"Name": "A"}, {"Name": "B"}], [{"Name": "old"}])
    assert decisions(frame) == [("existing", []), ("skipped", [])]


def at(year: int, microseconds: int = 0) -> datetime:
    return datetime(year, 1, 1, 1, 1, 1, microseconds, tzinfo=UTC)


FORMS: list[tuple[Field, Any, Any]] = [
    (Field("F"), " a\r\nb ", "a\nb"),
    (Field("F"), "", None),
    (Field("F", type="email"), "Ann@Example.COM", "ann@example.com"),
    (Field("F", type="multipicklist"), "B;A", "A;B"),
    (Field("F", type="currency", precision=18, scale=2), Decimal("1.005"), Decimal("1.01")),
    (Field("F", type="percent", precision=5, scale=0), Decimal("-2.5"), Decimal("-3")),
    (Field("F", type="datetime"), at(2024, 999_000), at(2024)),
    (Field("F", type="datetime"), at(1950, 999_000), at(1950)),
    (Field("F", type="boolean"), None, False),
]


@pytest.mark.parametrize(("field", "value", "now"), FORMS)
def test_what_salesforce_would_store_the_same_is_identical(field: Field, value: Any, now: Any) -> None:
    plan = object_plan(fields=(FieldMapping(field, field),))
    assert one(plan, {"F": value}, {"F": now}) == ("identical", [])


@pytest.mark.parametrize(
    ("field", "value", "now"),
    [
        (Field("F"), "A", "a"),
        (Field("F"), None, "a"),
        (Field("F"), "a", None),
        (Field("F", type="double"), Decimal("1.005"), Decimal("1.01")),
        (Field("F", type="boolean"), False, True),
        (Field("F", type="multipicklist"), "A;B", "A"),
    ],
)
def test_what_differs_is_updated(field: Field, value: Any, now: Any) -> None:
    plan = object_plan(fields=(FieldMapping(field, field),))
    assert one(plan, {"F": value}, {"F": now}) == ("update", ["F"])


def test_insert_only_fields_are_not_compared() -> None:
    plan = object_plan(fields=(text("F", updateable=False), text("G", createable=False, updateable=False)))
    assert one(plan, {"F": "a", "G": "a"}, {"F": "b", "G": "b"}) == ("identical", [])
    assert not updated_fields(plan)
    assert not target_fields(plan)


def test_a_field_that_the_server_fills_is_not_cleared() -> None:
    plan = object_plan(fields=(text("Status", nillable=False, defaulted_on_create=True),))
    assert one(plan, {}, {"Status": "New"}) == ("identical", [])
    assert one(plan, {"Status": "Old"}, {"Status": "New"}) == ("update", ["Status"])


@pytest.mark.parametrize(
    ("item", "parent", "now", "expected"),
    [
        (lookup("P", "Account"), "p1", "q1", ("identical", [])),
        (lookup("P", "Account"), "p1", "q2", ("update", ["P"])),
        (lookup("P", "Account"), None, "q1", ("update", ["P"])),
        # Its parent is not there yet: what the target holds stays until it is.
        (lookup("P", "Account"), "lost", "q1", ("identical", [])),
        (lookup("P", "Account", policy=Policy.DEFAULT, default="q9"), "lost", "q1", ("update", ["P"])),
        (lookup("P", "User", defaulted_on_create=True, nillable=False), "lost", "q1", ("identical", [])),
        (lookup("P", "User", defaulted_on_create=True, nillable=False), None, "q1", ("identical", [])),
        (lookup("P", "Account", kept=True), "x1", "x2", ("update", ["P"])),
        (lookup("P", "Account", deferred=True), "p1", "q2", ("identical", [])),
        (lookup("P", "Account", updateable=False), "p1", "q2", ("identical", [])),
        (lookup("P", "Account", policy=Policy.BLOCK), "lost", "q1", ("blocked", [])),
        (lookup("P", "Account", policy=Policy.DROP_ROW), "lost", "q1", ("dropped", [])),
    ],
)
def test_lookups(item: Lookup, parent: str | None, now: str, expected: tuple[str, list[str]]) -> None:
    assert one(object_plan(fields=(NAME,), lookups=(item,)), {"P": parent}, {"P": now}) == expected


def test_now_of_deferred_lookups_is_kept_for_relink() -> None:
    plan = object_plan(fields=(NAME,), lookups=(lookup("P", "Account", deferred=True),))
    frame = run(plan, [{"P": "p1"}], [{"P": "q7"}])
    assert frame.select("P", "_now.P", "_from.P").row(0) == (None, "q7", "p1")


def test_staged_fields_are_left_to_relink() -> None:
    plan = object_plan(fields=(NAME, text("Status")), staged=(StagedField("Status", "Draft"),))
    frame = run(plan, [{"Status": "Active"}], [{"Status": "Draft"}])
    assert decisions(frame) == [("identical", [])]
    assert frame["_now.Status"].to_list() == ["Draft"]


def test_the_migration_key_is_written_to_a_record_found_by_its_match_key() -> None:
    plan = object_plan(fields=(NAME,), migration_key="Legacy__c", match_key=key("Name"))
    frame = run(plan, [{"Name": "A", "Legacy__c": "s0"}], [{"Name": "a"}], pairs=[])
    assert decisions(frame) == [("update", ["Name", "Legacy__c"])]


def test_a_conflict_blocks_instead_of_doubling_a_record() -> None:
    plan = object_plan(fields=(NAME,), match_key=key("Name"))
    frame = run(plan, [{"Name": "A"}], [{"Name": "a"}, {"Name": "A"}], pairs=[])
    assert decisions(frame) == [("blocked", [])]
    assert frame["_reason"].to_list() == ["match key Name: 2 records of the target share its value"]


def test_where_nothing_would_be_written_a_missing_parent_holds_nothing_up() -> None:
    item = lookup("P", "Account", policy=Policy.BLOCK)
    plan = object_plan(fields=(NAME,), lookups=(item,), update_existing=False, insert_new=False)
    frame = run(plan, [{"P": "lost"}, {"P": "lost"}], [{"P": "q1"}])
    assert decisions(frame) == [("existing", []), ("skipped", [])]
    assert frame["_reason"].to_list() == [None, None]


def test_blocked_rows_say_why() -> None:
    plan = object_plan(fields=(NAME,), lookups=(lookup("P", "Account", policy=Policy.BLOCK),))
    frame = run(plan, [{"P": "lost"}, {"P": "p1"}], [])
    assert decisions(frame) == [("blocked", []), ("insert", [])]
    assert frame["_reason"].to_list() == ["P: parent lost of Account is not in the target", None]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["A", "a", "b", None]), st.sampled_from([None, "p1", "lost"])), max_size=8),
    st.lists(st.tuples(st.sampled_from(["A", "b", "c"]), st.sampled_from([None, "q1"])), max_size=5),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["block", "null", "drop_row", "stop"]),
)
def test_every_row_gets_exactly_one_decision(
    mine: list[tuple[str | None, str | None]],
    there: list[tuple[str, str | None]],
    update: bool,
    insert: bool,
    policy: str,
) -> None:
    plan = object_plan(
        fields=(NAME,),
        lookups=(lookup("P", "Account", policy=Policy(policy)),),
        match_key=key("Name"),
        update_existing=update,
        insert_new=insert,
    )
    frame = run(
        plan,
        [{"Name": name, "P": parent} for name, parent in mine],
        [{"Name": name, "P": parent} for name, parent in there],
        pairs=[],
    )
    assert frame.height == len(mine)
    assert frame["_decision"].null_count() == 0
    for row in frame.rows(named=True):
        matched = row["_target_id"] is not None
        assert matched == (row["_decision"] in ("update", "identical", "existing")) or row["_decision"] in (
            "blocked",
            "dropped",
        )
        assert (row["_decision"] == "update") == bool(row["_changed"])
        assert (row["_reason"] is not None) == (row["_decision"] in ("blocked", "dropped"))
        assert row["_decision"] not in ({"update", "identical"} if not update else {"existing"})
        assert row["_decision"] != ("insert" if not insert else "skipped")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([None, "p1", "gone"]), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.sampled_from([Policy.NULL, Policy.BLOCK, Policy.DROP_ROW]),
)
def test_nothing_to_match_is_decided_without_looking_and_to_the_same_end(
    parents: list[str | None], insert_new: bool, update_existing: bool, policy: Policy
) -> None:
    """Column for column, as with a target that has no rows."""
    plan = object_plan(
        fields=(NAME, text("City")),
        lookups=(lookup("AccountId", policy=policy),),
        match_key=key("Name"),
        insert_new=insert_new,
        update_existing=update_existing,
    )
    rows = [{"Name": f"n{number}", "AccountId": parent} for number, parent in enumerate(parents)]
    looked = run(plan, rows, [])
    resolved = resolve(source(plan, *rows), plan.lookups, lambda _: id_map(("p1", "q1")))
    unlooked = uncompared(decide_unmatched(unmatched(resolved), plan), plan).select(looked.columns).collect()
    assert unlooked.equals(looked)
    assert unlooked.schema == looked.schema
