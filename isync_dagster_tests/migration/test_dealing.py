"""Rows that are dealt out are all there once, and what has one key lies together."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from isync_dagster.migration.dealing import deal
from isync_dagster.migration.slicing import cut_rows

ROWS = pl.DataFrame(
    {
        "Id": [f"id{n}" for n in range(1000)],
        "parent": [None if n % 7 == 0 else f"p{n % 40}" for n in range(1000)],
        "kind": pl.Series([["a", "b"][n % 2] for n in range(1000)], dtype=pl.Enum(["a", "b"])),
        "names": [["x"] * (n % 3) for n in range(1000)],
    }
)


@pytest.mark.parametrize("count", [1, 2, 5, 60])
def test_every_row_is_in_one_part_and_siblings_are_together(tmp_path: Path, count: int) -> None:
    parts = [part.collect() for part in deal(ROWS.lazy(), pl.col("parent"), count, tmp_path / "parts")]
    assert len(parts) == count
    assert_frame_equal(pl.concat(parts).sort("Id"), ROWS.sort("Id"))
    keys = [set(part["parent"].drop_nulls()) for part in parts]
    assert sum(map(len, keys)) == len(set().union(*keys)) == 40
    assert all(part["parent"].null_count() == 0 for part in parts[1:])


def test_what_has_the_same_key_in_two_frames_is_in_parts_of_one_number(tmp_path: Path) -> None:
    others = ROWS.select(other=pl.col("Id")).reverse()
    one = deal(ROWS.lazy(), pl.col("Id"), 4, tmp_path / "one")
    two = deal(others.lazy(), pl.col("other"), 4, tmp_path / "two")
    for left, right in zip(one, two, strict=True):
        assert set(left.collect()["Id"]) == set(right.collect()["other"])


def test_no_rows_are_parts_without_rows(tmp_path: Path) -> None:
    parts = deal(ROWS.clear().lazy(), pl.col("Id"), 3, tmp_path / "parts")
    assert [part.collect().height for part in parts] == [0, 0, 0]
    assert parts[0].collect_schema() == ROWS.schema


def test_slices_of_rows_are_not_empty(tmp_path: Path) -> None:
    few = ROWS.head(3)
    slices = [part.collect() for part in cut_rows(few.lazy(), 8, "parent", tmp_path)]
    assert all(part.height for part in slices)
    assert_frame_equal(pl.concat(slices).sort("Id"), few.sort("Id"))
