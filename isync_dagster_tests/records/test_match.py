"""Target records are found by id map, migration key and match key, and never guessed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isync_dagster.plan.model import KeyPart, ObjectPlan
from isync_dagster.records.match import collisions, duplicate_keys, match
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import NUMBER
from isync_dagster_tests.records.builders import id_map, key, lookup, mapping, object_plan, text

BY_NAME = object_plan(fields=(text("Name"), text("City")), match_key=key("Name"))


def ids(letter: str, count: int) -> pl.Series:
    return pl.Series([f"{letter}{number}" for number in range(count)], dtype=pl.String)


def frame_of(*names: str | None, **columns: Any) -> pl.LazyFrame:
    return pl.LazyFrame(
        {
            "_source_id": ids("s", len(names)),
            "Name": pl.Series(names, dtype=pl.String),
            **columns,
        }
    )


def there(*names: str | None, **columns: Any) -> pl.LazyFrame:
    return pl.LazyFrame({"Id": ids("t", len(names)), "Name": pl.Series(names, dtype=pl.String), **columns})


def run(
    frame: pl.LazyFrame, target: pl.LazyFrame, plan: ObjectPlan = BY_NAME, *pairs: tuple[str, str]
) -> list[tuple[str | None, str | None]]:
    found = match(frame, plan, id_map(*pairs), target).collect()
    assert found.columns == [*frame.collect_schema(), "_target_id", "_matched_by", "_conflict"]
    assert found["_source_id"].to_list() == frame.collect()["_source_id"].to_list()
    return list(found.select("_target_id", "_matched_by").rows())


def conflicts(frame: pl.LazyFrame, target: pl.LazyFrame, *pairs: tuple[str, str]) -> list[str | None]:
    return match(frame, BY_NAME, id_map(*pairs), target).collect()["_conflict"].to_list()


def test_the_match_key_compares_as_salesforce_does() -> None:
    found = run(frame_of("ACME", " Straße\r\nX ", "", None, "  ", "other"), there("acme ", "straße\nx", "", None, " "))
    assert found == [("t0", "match key"), ("t1", "match key"), (None, None), (None, None), (None, None), (None, None)]


def test_case_sensitive_parts() -> None:
    plan = object_plan(fields=(text("Name"),), match_key=key("Name", case_sensitive=True))
    assert run(frame_of("ACME", "Acme"), there("acme", "Acme"), plan) == [(None, None), ("t1", "match key")]


def test_composite_keys_need_every_part() -> None:
    plan = object_plan(fields=(text("Name"), text("City")), match_key=key("Name", "City"))
    frame = frame_of("A", "A", "A", City=["Rome", None, "Oslo"])
    assert run(frame, there("a", "a", City=["ROME", None]), plan) == [("t0", "match key"), (None, None), (None, None)]


def test_keys_of_numbers_and_other_names() -> None:
    amount = mapping(Field("Amount"), Field("Total__c", type="currency", precision=18, scale=2))
    plan = object_plan(fields=(amount,), match_key=(KeyPart("Amount", "Total__c"),))
    frame = pl.LazyFrame({"_source_id": ["s0"], "Total__c": pl.Series([Decimal("1.005")], dtype=NUMBER)})
    target = pl.LazyFrame({"Id": ["t0"], "Total__c": pl.Series([Decimal("1.01")], dtype=NUMBER)})
    assert run(frame, target, plan) == [("t0", "match key")]


def test_lookups_in_keys_compare_target_ids_with_case() -> None:
    plan = object_plan(
        fields=(text("Name"),),
        lookups=(lookup("AccountId", "Account"),),
        match_key=(KeyPart("AccountId", "AccountId", is_lookup=True),),
    )
    small, capital = "001000000000000aAA", "001000000000000AAA"
    frame = pl.LazyFrame({"_source_id": ["s0", "s1"], "Name": ["a", "b"], "AccountId": [small, None]})
    target = pl.LazyFrame({"Id": ["t0", "t1"], "AccountId": [capital, None]})
    assert run(frame, target, plan) == [(None, None), (None, None)]


def test_the_id_map_comes_first_and_only_where_its_record_still_exists() -> None:
    frame, target = frame_of("A", "B", "C"), there("C", "A", "X")
    found = run(frame, target, BY_NAME, ("s0", "t2"), ("s1", "gone"), ("elsewhere", "t1"))
    assert found == [("t2", "id map"), (None, None), ("t0", "match key")]


def test_the_migration_key_holds_the_source_id() -> None:
    plan = object_plan(fields=(text("Name"),), migration_key="Legacy__c", match_key=key("Name"))
    frame = frame_of("A", "B", Legacy__c=["s0", "s1"])
    target = there("B", "A", Legacy__c=["s0", None])
    # s0 is carried by the record named B, so s1 must not take it by name.
    found = match(frame, plan, id_map(), target).collect()
    assert found.select("_target_id", "_matched_by").rows() == [("t0", "migration key"), (None, None)]
    assert "2 source rows" in found["_conflict"][1]


def test_a_key_that_target_records_share_matches_nothing_and_says_so() -> None:
    frame, target = frame_of("A", "B"), there("a", "A", "b")
    assert run(frame, target) == [(None, None), ("t2", "match key")]
    assert conflicts(frame, target) == ["match key Name: 2 records of the target share its value", None]
    # The id map knows better.
    assert run(frame, target, BY_NAME, ("s0", "t1"))[0] == ("t1", "id map")
    assert conflicts(frame, target, ("s0", "t1"))[0] is None


def test_source_rows_that_lead_to_one_target_record_match_nothing() -> None:
    frame, target = frame_of("A", "a", "new", "new"), there("A")
    assert run(frame, target) == [(None, None)] * 4
    assert conflicts(frame, target) == ["match key Name: 2 source rows lead to the target record t0"] * 2 + [None] * 2


def test_a_record_that_the_id_map_gives_to_another_row_is_taken() -> None:
    frame, target = frame_of("A", "A"), there("A")
    assert run(frame, target, BY_NAME, ("s0", "t0")) == [("t0", "id map"), (None, None)]
    assert conflicts(frame, target, ("s0", "t0"))[1] is not None


def test_no_key_at_all() -> None:
    plan = object_plan(fields=(text("Name"),))
    assert run(frame_of("A", "B"), there("A"), plan, ("s1", "t0")) == [(None, None), ("t0", "id map")]


def test_collisions_lists_target_records_of_several_rows() -> None:
    matched = match(frame_of("A", "B"), BY_NAME, id_map(("s0", "t0"), ("s1", "t0")), there("Z"))
    assert collisions(matched).collect().rows() == [("t0", 2, ["s0", "s1"])]


def test_duplicate_keys_of_either_side() -> None:
    plan = object_plan(fields=(text("Name"), text("City")), match_key=key("Name", "City"))
    frame = frame_of("A", "a ", "A", "B", None, None, City=["x", "X", "y", "x", "x", "x"])
    assert duplicate_keys(frame, plan).collect().rows() == [("a | x", 2, ["s0", "s1"])]
    assert duplicate_keys(there("B", "b"), BY_NAME, "Id").collect().rows() == [("b", 2, ["t0", "t1"])]
    assert duplicate_keys(frame, object_plan()).collect().is_empty()


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_both_engines_agree(engine: Any) -> None:
    frame = frame_of(*[f"n{number % 90}" for number in range(200)])
    target = there(*[f"N{number}" for number in range(300)], "n3")
    found = match(frame, BY_NAME, id_map(("s7", "t299")), target).collect(engine=engine)
    assert found["_source_id"].to_list() == [f"s{number}" for number in range(200)]
    assert found.filter(pl.col("_matched_by") == "id map").rows(named=True)[0]["_target_id"] == "t299"


names = st.sampled_from([None, "", " ", "A", "a", " a", "B", "b", "C"])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(names, max_size=8),
    st.lists(names, max_size=8),
    st.dictionaries(st.integers(0, 7), st.integers(0, 9), max_size=4),
)
def test_matches_are_one_to_one_and_by_equal_keys(
    mine: list[str | None], theirs: list[str | None], known: dict[int, int]
) -> None:
    pairs = [(f"s{source}", f"t{target}") for source, target in known.items()]
    found = match(frame_of(*mine), BY_NAME, id_map(*pairs), there(*theirs)).collect()
    assert found.height == len(mine)

    def plain(name: str | None) -> str:
        return (name or "").strip().lower()

    by_key = found.filter(pl.col("_matched_by") == "match key")
    assert by_key["_target_id"].n_unique() == by_key.height
    others = found.filter(pl.col("_matched_by") == "id map")
    assert not set(by_key["_target_id"]) & set(others["_target_id"])
    for name, target in by_key.select("Name", "_target_id").rows():
        assert plain(name) == plain(theirs[int(target[1:])]) != ""
        assert [plain(other) for other in theirs].count(plain(name)) == 1
    for row in found.rows(named=True):
        number = int(row["_source_id"][1:])
        if known.get(number, 99) < len(theirs):
            assert (row["_target_id"], row["_matched_by"]) == (f"t{known[number]}", "id map")
        # A row whose key is in the target is matched or has a conflict: it is never taken for new.
        elif plain(row["Name"]) and plain(row["Name"]) in [plain(other) for other in theirs]:
            assert (row["_target_id"] is None) == (row["_conflict"] is not None)
