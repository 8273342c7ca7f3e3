"""Rows in the order in which they are sent."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isync_dagster.records.order import load_order, self_levels, waves
from isync_dagster_tests.records.builders import id_map, lookup, object_plan


def test_wave_then_contended_parent_then_source_id() -> None:
    frame = pl.LazyFrame(
        {
            "_source_id": ["d", "c", "b", "a", "e"],
            "_wave": pl.Series([0, 0, 0, 1, 0], dtype=pl.UInt32),
            "Free": ["1", "2", "3", "4", "5"],
            "Master": ["y", "x", "y", "a", None],
        }
    )
    plan = object_plan(
        lookups=(lookup("Free", "Account"), lookup("Master", "Campaign", required=True)),
        wave_rule="standard_price_book_first",
    )
    ordered = load_order(frame, plan).collect()
    assert ordered["_source_id"].to_list() == ["c", "b", "d", "e", "a"]
    assert ordered["_row"].to_list() == [0, 1, 2, 3, 4]
    assert ordered.schema["_row"] == pl.UInt32


def test_master_detail_goes_before_other_required_lookups() -> None:
    frame = pl.LazyFrame({"_source_id": ["a", "b"], "R": ["1", "2"], "M": ["2", "1"]})
    items = (
        lookup("R", "Account", required=True, nillable=False),
        lookup("M", "Campaign", required=True, nillable=False, relationship_order=0),
    )
    assert load_order(frame, object_plan(lookups=items)).collect()["_source_id"].to_list() == ["b", "a"]


def test_owners_are_no_contended_parents() -> None:
    frame = pl.LazyFrame({"_source_id": ["a", "b"], "OwnerId": ["2", "1"]})
    item = lookup("OwnerId", required=True, references=("User",))
    assert load_order(frame, object_plan(lookups=(item,))).collect()["_source_id"].to_list() == ["a", "b"]


def test_one_wave_without_a_rule() -> None:
    assert waves(pl.LazyFrame({"_source_id": ["a"]}), object_plan()).collect()["_wave"].to_list() == [0]


@pytest.mark.parametrize("column", ["Pricebook2Id", "_from.Pricebook2Id"])
def test_standard_prices_come_first(column: str) -> None:
    plan = object_plan(wave_rule="standard_price_book_first")
    frame = pl.LazyFrame({"_source_id": ["a", "b", "c"], column: ["custom", "standard", None]})
    books = id_map(("standard", "there"))
    assert waves(frame, plan, books).collect()["_wave"].to_list() == [1, 0, 1]
    with pytest.raises(ValueError, match="standard price books"):
        waves(frame, plan)


def test_levels_of_a_hierarchy_in_the_frames_order() -> None:
    plan = object_plan(wave_rule="self_levels", self_level_field="ParentId")
    frame = pl.LazyFrame(
        {
            "_source_id": ["leaf", "root", "middle", "stray", "x", "y", "below"],
            "ParentId": ["middle", None, "root", "elsewhere", "y", "x", "x"],
        }
    )
    # x and y point at each other: no order serves them, so they come after all others.
    assert waves(frame, plan).collect()["_wave"].to_list() == [2, 0, 1, 0, 3, 3, 3]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 20), max_size=20))
def test_a_parent_is_always_in_an_earlier_wave(parents: list[int]) -> None:
    """Row n points at a smaller row (no cycles) or at nothing."""
    above = [parent if 0 <= parent < number else None for number, parent in enumerate(parents)]
    links = pl.LazyFrame(
        {
            "_source_id": pl.Series([str(number) for number in range(len(above))], dtype=pl.String),
            "parent": pl.Series([None if parent is None else str(parent) for parent in above], dtype=pl.String),
        }
    )
    level = dict(self_levels(links).rows())
    assert len(level) == len(above)
    for number, parent in enumerate(above):
        assert level[str(number)] == (0 if parent is None else level[str(parent)] + 1)
