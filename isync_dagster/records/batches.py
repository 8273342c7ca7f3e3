"""Siblings kept together: where rows that are sorted by their parent are cut, and how they fill the platform's batches.

Everything here is about groups: rows that follow each other and have the same parent; a row without one is a group of
its own. Loops go over batches and uploads, never over rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Piece:
    """Consecutive rows that are sent in one job. `alone`: siblings are in other pieces, so no other job may run."""

    start: int
    rows: int
    alone: bool = False


def pieces(rows: pl.DataFrame, most_bytes: int, batch_rows: int) -> Iterator[Piece]:
    """The pieces of `rows` (`parent`: any value, `bytes` integer), which are sorted by parent.

    A piece has at most `most_bytes` (one row may be larger) and ends where a parent's children end. Children that do
    not fit into one piece, or are more than `batch_rows`, make up pieces of at most a batch each that go alone.
    """
    if rows["parent"].null_count() == rows.height:
        groups = rows.select(pl.lit(1, dtype=pl.UInt32).alias("rows"), pl.col("bytes").cast(pl.UInt64))
    else:
        # UInt64: a sum of UInt32 stays one, and may be more than that holds.
        grouped = _groups(rows).group_by("group", maintain_order=True)
        groups = grouped.agg(pl.len().alias("rows"), pl.col("bytes").cast(pl.UInt64).sum())
    wide = (groups["rows"] > batch_rows) | (groups["bytes"] > most_bytes)
    first_row = groups["rows"].cum_sum() - groups["rows"]
    ends_bytes = groups["bytes"].cum_sum()
    # Where runs of narrow groups and wide ones follow each other; there are few wide ones.
    barriers = [*wide.arg_true().to_list(), groups.height]
    at = 0
    for barrier in barriers:
        while at < barrier:
            before = ends_bytes[at] - groups["bytes"][at]
            end = min(int(ends_bytes.search_sorted(before + most_bytes, side="right")), barrier)
            stop = rows.height if end == groups.height else first_row[end]
            yield Piece(first_row[at], stop - first_row[at])
            at = end
        if barrier < groups.height:
            yield from _alone(rows["bytes"], first_row[barrier], groups["rows"][barrier], most_bytes, batch_rows)
            at = barrier + 1


def serial(sizes: pl.Series, most_bytes: int, batch_rows: int) -> Iterator[Piece]:
    """Pieces of rows of `sizes` bytes that go one after the other, at most a batch each."""
    yield from _alone(sizes, 0, sizes.len(), most_bytes, batch_rows)


def packed(parents: pl.Series, batch_rows: int) -> pl.Series | None:
    """The order (UInt32 positions) in which batches of `batch_rows` rows cut no parent's children, or None as they are.

    `parents` is the sorted column of one piece. Batches are filled with large groups, then with small ones that fit into
    what is left; where nothing fits exactly, the smallest group is what a batch's end falls into.
    """
    if parents.len() <= batch_rows:
        return None
    rows = _groups(pl.DataFrame({"parent": parents}))
    groups = rows.group_by("group", maintain_order=True).agg(pl.len().alias("rows"))
    starts = groups["rows"].cum_sum() - groups["rows"]
    cuts = pl.Series(range(batch_rows, parents.len(), batch_rows), dtype=starts.dtype)
    if cuts.is_in(starts.implode()).all():
        return None
    large_first = groups.with_columns(start=starts).sort("rows", descending=True, maintain_order=True)
    ends = pl.concat([pl.Series([0], dtype=pl.UInt32), large_first["rows"].cum_sum().cast(pl.UInt32)])
    order = pl.concat([large_first.slice(start, end - start) for start, end in _filled(ends, batch_rows)])
    place = pl.int_ranges("start", pl.col("start") + pl.col("rows"), dtype=pl.UInt32)
    return order.select(place.explode().alias("place"))["place"]


def _filled(ends: pl.Series, batch_rows: int) -> Iterator[tuple[int, int]]:
    """Slices of groups, in the order in which they fill batches; `ends` are the rows up to each of them, from 0."""
    front, back, room = 0, ends.len() - 1, batch_rows
    while front < back:
        large = min(int(ends.search_sorted(ends[front] + room, side="right")) - 1, back)
        if large > front:
            yield front, large
            room -= ends[large] - ends[front]
            front = large
        small = max(int(ends.search_sorted(max(ends[back] - room, 0), side="left")), front)
        if small < back:
            yield small, back
            room -= ends[back] - ends[small]
            back = small
        if room and front < back:
            yield back - 1, back
            room = batch_rows + room - (ends[back] - ends[back - 1])
            back -= 1
        else:
            room = batch_rows


def _groups(rows: pl.DataFrame) -> pl.DataFrame:
    begins = pl.col("parent").is_null() | pl.col("parent").ne_missing(pl.col("parent").shift(1))
    return rows.with_columns(group=begins.cum_sum().cast(pl.UInt32))


def _alone(sizes: pl.Series, start: int, rows: int, most_bytes: int, batch_rows: int) -> Iterator[Piece]:
    end = start + rows
    ends_bytes = sizes.slice(start, rows).cast(pl.UInt64).cum_sum()
    at = 0
    while start + at < end:
        before = ends_bytes[at - 1] if at else 0
        fits = int(ends_bytes.search_sorted(before + most_bytes, side="right")) - at
        taken = min(max(fits, 1), batch_rows, rows - at)
        yield Piece(start + at, taken, alone=True)
        at += taken
