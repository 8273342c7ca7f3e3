"""Siblings share a piece, and a batch of it."""

from __future__ import annotations

import itertools

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from isync_dagster.records.batches import packed, pieces, serial

BATCH = 10

FAMILIES = st.lists(st.tuples(st.integers(0, 14), st.booleans()), max_size=40)
"""(children, have a parent) of each family, in the order of the rows; without a parent they are rows of their own."""


def _rows(families: list[tuple[int, bool]], size: int = 10) -> pl.DataFrame:
    parents = [number if has else None for number, (count, has) in enumerate(families) for _ in range(count)]
    return pl.DataFrame(
        {"parent": pl.Series(parents, dtype=pl.UInt64), "bytes": pl.Series([size] * len(parents), dtype=pl.UInt32)}
    )


@settings(max_examples=200, deadline=None)
@given(FAMILIES, st.integers(15, 200))
def test_every_row_is_in_one_piece_and_siblings_share_one_or_go_alone(
    families: list[tuple[int, bool]], most: int
) -> None:
    rows = _rows(families)
    found = list(pieces(rows, most, BATCH))
    assert [piece.start for piece in found] == [0, *(piece.start + piece.rows for piece in found)][: len(found)]
    assert sum(piece.rows for piece in found) == rows.height
    seen: set[int] = set()
    for piece in found:
        assert piece.rows * 10 <= most
        assert not piece.alone or piece.rows <= BATCH
        parents = set(rows["parent"].slice(piece.start, piece.rows).drop_nulls())
        if not piece.alone:
            assert not parents & seen
        seen |= parents


def test_a_row_that_is_larger_than_a_piece_goes_by_itself() -> None:
    rows = pl.DataFrame({"parent": pl.Series([None] * 3, dtype=pl.UInt64), "bytes": [5, 500, 5]})
    assert [(piece.start, piece.rows) for piece in pieces(rows, 100, BATCH)] == [(0, 1), (1, 1), (2, 1)]


def test_nothing_makes_no_piece() -> None:
    assert list(pieces(_rows([]), 100, BATCH)) == []
    assert list(serial(pl.Series([], dtype=pl.UInt32), 100, BATCH)) == []


def test_rows_that_go_alone_are_at_most_a_batch_each() -> None:
    found = list(serial(pl.Series([10] * 25, dtype=pl.UInt32), 1_000, BATCH))
    assert [(piece.start, piece.rows, piece.alone) for piece in found] == [(0, 10, True), (10, 10, True), (20, 5, True)]
    assert [piece.rows for piece in serial(pl.Series([60, 60, 30], dtype=pl.UInt32), 100, BATCH)] == [1, 2]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(1, BATCH), st.booleans()), max_size=40))
def test_batches_are_filled_so_that_few_families_are_parted(families: list[tuple[int, bool]]) -> None:
    parents = _rows(families)["parent"]
    order = packed(parents, BATCH)
    if order is None:
        order = pl.Series(range(parents.len()), dtype=pl.UInt32)
    assert sorted(order) == list(range(parents.len()))
    placed = parents.gather(order)
    batches = [set(placed.slice(start, BATCH).drop_nulls()) for start in range(0, placed.len(), BATCH)]
    parted = [one & two for one, two in itertools.pairwise(batches)]
    assert all(len(family) <= 1 for family in parted)
    if parents.null_count() >= parents.len() - parents.null_count():
        # Enough rows without a parent to fill every batch.
        assert not any(parted)


def test_singles_fill_what_large_families_leave() -> None:
    parents = _rows([(7, True), (7, True), (7, True), (9, False)])["parent"]
    order = packed(parents, BATCH)
    assert order is not None
    placed = parents.gather(order).to_list()
    assert [placed[start : start + 7] for start in (0, 10, 20)] == [[0] * 7, [1] * 7, [2] * 7]


def test_what_is_aligned_already_stays_as_it_is() -> None:
    assert packed(_rows([(5, True), (5, True), (6, True)])["parent"], BATCH) is None
    assert packed(_rows([(9, True)])["parent"], BATCH) is None
