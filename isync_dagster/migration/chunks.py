"""Chunks: how the rows of an object are cut into pieces that each go out in one job or a few calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from isync_dagster.migration.model import SyncJob


@dataclass(frozen=True)
class Chunk:
    """What is sent in one go: all rows by one operation and one way."""

    number: int
    operation: str
    """insert | update | upsert | delete | hardDelete"""
    way: str
    """bulk | collections"""
    wave: int
    rows: int
    external_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data for the `planned` entry."""
        return {
            "operation": self.operation,
            "way": self.way,
            "wave": self.wave,
            "rows": self.rows,
            "external_id": self.external_id,
        }


def cut(
    job: SyncJob, payload: pl.LazyFrame, operation: str, wave: int, external_id: str | None, first: int
) -> Iterator[tuple[Chunk, pl.LazyFrame]]:
    """Chunks of a payload (`_row`, `_source_id`, `_target_id`, `_collections`, then wire strings), in row order.

    Rows with a value that is literally `#N/A` go by collections, which can say it; so do a few updates and
    deletes, which are repeatable there and cost one call instead of six (a hard delete is for Bulk jobs alone).
    """
    cells = [pl.col(name) for name in payload.collect_schema().names() if not name.startswith("_")]
    # As a line of CSV with every value quoted, so never less than is sent.
    quotes = (cell.str.count_matches('"', literal=True).fill_null(0) for cell in cells)
    size = pl.sum_horizontal(*(cell.str.len_bytes().fill_null(0) + 3 for cell in cells), *quotes).cast(pl.UInt64)
    # A row belongs to the chunk in which it begins, so that none is larger than the limit and one row.
    begins = pl.col("size").cum_sum().over("_collections") - pl.col("size")
    sized = payload.select("_collections", size=size).with_columns(chunk=begins // job.options.chunk_bytes)
    chunks = sized.group_by("_collections", "chunk").len().sort("_collections", "chunk").collect()
    for literal in (False, True):
        part = payload.filter(pl.col("_collections") == literal).drop("_collections")
        counts = chunks.filter(pl.col("_collections") == literal)["len"].to_list()
        small = operation not in ("insert", "hardDelete") and sum(counts) <= job.options.collections_rows
        way = "collections" if literal or small else "bulk"
        start = 0
        for count in counts:
            yield Chunk(first, operation, way, wave, count, external_id), part.slice(start, count)
            first, start = first + 1, start + count
