"""Deal the rows of a frame out to files of this machine, by a hash: read once, however many parts there are.

A part holds the rows whose key falls to it, so that what belongs together (a parent's children, a record's rows in
several logs) is in parts of the same number, and a part fits a share of the memory.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

_SEED = 41
_PART = "_part"
CELLS_OPEN = 4_000_000
"""Cells that may wait for their batches to fill while rows are dealt out: some 50 bytes each."""
LEAST_BATCH = 500
"""Rows of a batch at least."""


def deal(rows: pl.LazyFrame, by: pl.Expr, count: int, folder: Path) -> list[pl.LazyFrame]:
    """`rows` in `count` parts by a hash of `by`, in no order; rows without a key are in the first one.

    Files lie in `folder`, which is not there yet. One part is `rows` as it is, nothing is written.
    """
    if count <= 1:
        return [rows]
    return deal_out(rows, pl.when(by.is_null()).then(0).otherwise(by.hash(_SEED) % count), count, folder)


def deal_out(rows: pl.LazyFrame, which: pl.Expr, count: int, folder: Path) -> list[pl.LazyFrame]:
    """`rows` in `count` parts, each row in that of number `which` (from 0), in no order; files lie in `folder`, which is not
    there yet."""
    # What is not a whole batch yet is held, of all parts at the same time.
    batch = max(CELLS_OPEN // (count * len(rows.collect_schema())), LEAST_BATCH)
    # Parquet would hold a row group of each part, encoded, and as much again on its way (measured: three times as much).
    rows.with_columns(which.alias(_PART)).sink_ipc(
        pl.PartitionBy(folder, key=_PART, include_key=False), compression="zstd", record_batch_size=batch, mkdir=True
    )
    nothing = pl.LazyFrame(schema=rows.collect_schema())
    parts = [sorted((folder / f"{_PART}={number}").glob("*.ipc")) for number in range(count)]
    return [pl.scan_ipc(paths) if paths else nothing for paths in parts]
