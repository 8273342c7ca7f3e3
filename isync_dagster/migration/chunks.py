"""Chunks: how the rows of an object are cut into pieces that each go out in one job or a few calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.migration.contention import siblings_together
from isync_dagster.migration.memory import PASS, memory
from isync_dagster.migration.model import RunOptions, SyncJob
from isync_dagster.plan.model import Lookup
from isync_dagster.records.batches import packed, pieces, serial
from isync_dagster.records.locks import skewed
from isync_dagster.records.payload import CLEARED
from isync_dagster.store import files
from isync_dagster.store.ledger import Ledger
from isync_dagster.store.scratch import scratch

WAVE_CHUNKS = 100_000
"""Chunk numbers of wave w begin at w times this."""


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
    alone: bool = False
    """True where no other job of the object may run beside it: siblings of its rows are in other chunks."""
    sizes: Mapping[str, int] | None = None
    """What the cut went by, so that a resume cuts the same (`Sizes`)."""
    ordered: bool = False
    """True where siblings are brought together in batches: to write the rows, all of them are held twice."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for the `planned` entry."""
        return {
            "operation": self.operation,
            "way": self.way,
            "wave": self.wave,
            "rows": self.rows,
            "external_id": self.external_id,
            "alone": self.alone,
            "sizes": dict(self.sizes or {}),
        }


@dataclass(frozen=True)
class Sizes:
    """How large chunks are: what was recorded with the first one holds for all of a wave."""

    chunk_bytes: int
    batch_rows: int
    collections_rows: int

    @classmethod
    def of(cls, options: RunOptions, ledger: Ledger, wave: int) -> Sizes:
        """As an earlier process went by that was killed while it cut the wave, else as the options say."""
        begun = ledger.entry(wave * WAVE_CHUNKS, 1, "planned")
        recorded = begun.payload.get("sizes") if begun is not None else None
        return cls(**recorded) if recorded else cls(options.chunk_bytes, options.batch_rows, options.collections_rows)


def cut(
    job: SyncJob,
    ledger: Ledger,
    payload: pl.LazyFrame,
    operation: str,
    wave: int = 0,
    *,
    external_id: str | None = None,
    first: int | None = None,
    parents: Sequence[str] = (),
    held: int = 0,
) -> Iterator[tuple[Chunk, pl.LazyFrame]]:
    """Chunks of a payload (`_row`, `_source_id`, `_target_id`, `_collections`, then wire strings), in row order.

    `parents` are the columns whose records a save locks, the one that the rows are sorted by first. Its siblings share
    a chunk, and a batch of it; those that are too many, and those of a parent in another column with more children
    than a batch, make up chunks of one batch that go alone. Numbers begin with `first` (default: the wave's first).

    Rows with a value that is literally `#N/A` go by collections, which can say it; so do a few updates and
    deletes, which are repeatable there and cost one call instead of six (a hard delete is for Bulk jobs alone).
    Columns in which no row has a value are left out: an empty cell says nothing, in whatever operation. Each cell is made
    once, into a file of this machine that the chunks are cut from while this generator runs; that takes `held` bytes
    besides what streams. Collects some 20 bytes a row.
    """
    with scratch() as place:
        with memory().share(held + PASS):
            laid = _Laid.out(payload, UPath(place / "payload.parquet"), external_id)
        if laid is not None:
            yield from _cut(job, ledger, laid, operation, wave, external_id, first, parents)


def cut_update(
    job: SyncJob, ledger: Ledger, payload: pl.LazyFrame, lookups: Iterable[Lookup]
) -> Iterator[tuple[Chunk, pl.LazyFrame]]:
    """Chunks of an update that is not sorted yet, as a second pass is: siblings by its `lookups` are brought together."""
    ordered, parents, held = siblings_together(job, payload, lookups)
    yield from cut(job, ledger, ordered, "update", parents=parents, held=held)


def _cut(
    job: SyncJob,
    ledger: Ledger,
    laid: _Laid,
    operation: str,
    wave: int,
    external_id: str | None,
    first: int | None,
    parents: Sequence[str],
) -> Iterator[tuple[Chunk, pl.LazyFrame]]:
    by = Sizes.of(job.options, ledger, wave)
    number = wave * WAVE_CHUNKS if first is None else first
    payload = laid.payload
    columns = payload.collect_schema().names()
    locked = [name for name in parents if name in columns]
    repeatable = operation not in ("insert", "hardDelete")
    rows = laid.narrow(locked, None)
    hot: pl.Expr | None = None
    if rows.height > by.batch_rows and len(locked) > 1:
        hot = _hot(payload, locked[1:], by.batch_rows)
        rows = rows if hot is None else laid.narrow(locked, hot)
    literal_rows = rows.filter("_collections")
    # Copied, and looked for in the file, only where there is something to leave out.
    plain = rows.filter(~pl.col("_collections")) if literal_rows.height else rows
    small = repeatable and plain.height <= by.collections_rows
    none, literal_only = pl.lit(True), pl.col("_collections")
    if hot is None:
        lanes = [(~literal_only if literal_rows.height else none, plain)]
    else:
        lanes = [
            (~literal_only & ~hot, plain.filter(~pl.col("hot"))),
            (~literal_only & hot, plain.filter("hot")),
        ]
    lanes.append((literal_only, literal_rows))
    for place, (which, lane) in enumerate(lanes):
        part = (payload if which is none else payload.filter(which)).drop("_collections")
        literal = place == len(lanes) - 1
        way = "collections" if literal or small else "bulk"
        apart = hot is not None and place == 1
        found = (
            serial(lane["bytes"], by.chunk_bytes, by.batch_rows)
            if apart
            else pieces(lane, by.chunk_bytes, by.batch_rows)
        )
        for piece in found:
            order = None
            if way == "bulk" and not piece.alone:
                order = packed(lane["parent"].slice(piece.start, piece.rows), by.batch_rows)
            rows_of = part.slice(piece.start, piece.rows)
            if order is not None:
                # No batch's end parts siblings.
                rows_of = rows_of.select(pl.all().gather(pl.lit(order)))
            chunk = Chunk(
                number, operation, way, wave, piece.rows, external_id, piece.alone, asdict(by), order is not None
            )
            yield chunk, rows_of
            number += 1


@dataclass(frozen=True)
class _Laid:
    """A payload, written down."""

    payload: pl.LazyFrame
    """Without the columns that are empty in all its rows; the key stays, and all of them where nothing else would."""
    sizes: pl.LazyFrame
    """`_bytes` of each row: never less than is sent."""

    @classmethod
    def out(cls, payload: pl.LazyFrame, path: UPath, external_id: str | None) -> _Laid | None:
        """Write it to `path`; None where it has no rows."""
        names = payload.collect_schema().names()
        cells = [name for name in names if not name.startswith("_")]
        # As a line of CSV with every value quoted.
        quotes = (pl.col(name).str.count_matches('"', literal=True).fill_null(0) for name in cells)
        size = pl.sum_horizontal(pl.lit(0), *(pl.col(name).str.len_bytes().fill_null(0) + 3 for name in cells), *quotes)
        if not files.write_parquet(path, payload.with_columns(_bytes=size.cast(pl.UInt32))):
            return None
        laid = files.scan(path)
        filled = laid.select(pl.col(name).is_not_null().any() for name in cells).collect(engine="streaming")
        kept = {name for name in cells if filled.item(0, name) or name == external_id} or set(cells)
        left_out = 3 * (len(cells) - len(kept))
        return cls(
            laid.select(name for name in names if name.startswith("_") or name in kept),
            laid.with_columns(_bytes=pl.col("_bytes") - left_out),
        )

    def narrow(self, locked: Sequence[str], hot: pl.Expr | None) -> pl.DataFrame:
        """What the cut needs to know of each row: `_collections`, `hot`, `bytes` UInt32, `parent` UInt64 (a hash; null where
        there is none)."""
        parent = _parent(locked[0]) if locked else None
        return self.sizes.select(
            "_collections",
            hot=pl.lit(False) if hot is None else hot,
            bytes=pl.col("_bytes").cast(pl.UInt32),
            parent=pl.lit(None, dtype=pl.UInt64)
            if parent is None
            else pl.when(parent.is_not_null()).then(parent.hash(7)),
        ).collect(engine="streaming")


def _parent(name: str) -> pl.Expr:
    return pl.when(pl.col(name) != CLEARED).then(pl.col(name))


def _hot(payload: pl.LazyFrame, columns: Sequence[str], most: int) -> pl.Expr | None:
    """The rows that have a parent with more than `most` children in one of the columns; None where there is none."""
    crowded = {name: skewed(payload.select(_parent(name).alias(name)), name, most) for name in columns}
    found = [pl.col(name).is_in(ids.implode()).fill_null(False) for name, ids in crowded.items() if ids.len()]
    return pl.any_horizontal(found) if found else None
