"""The audit log of an object in one run: one row per record and time it was accounted."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store import files
from isync_dagster.store.layout import decode, encode
from isync_dagster.store.remembered import Remembered

COLUMNS = {
    "source_id": pl.String(),
    "target_id": pl.String(),
    "state": pl.String(),
    "code": pl.String(),
    "message": pl.String(),
    "fields": pl.String(),
    "attempt": pl.Int32(),
    "sf_job_id": pl.String(),
    "chunk": pl.Int32(),
    "stage": pl.String(),
    "rule": pl.String(),
    "sent_at": pl.Datetime("ms", "UTC"),
    "at": pl.Datetime("ms", "UTC"),
}
"""What the audit log holds, in this order.

`fields` are the field names of Salesforce's error, comma-separated; `rule` is why: what remap decided and what matched
the record, then the operation that was sent; `sent_at` is when the attempt began by the target's clock, `at` when its
outcome was accounted by the worker's.
"""

STANDING = pl.Schema(
    {
        "state": pl.String(),
        "code": pl.String(),
        "fields": pl.String(),
        "rows": pl.UInt32(),
        "message": pl.String(),
        "source_id": pl.String(),
    }
)
"""How the records of a log stand: rows by state, code and fields, with one message and one record of each group."""

ROWS_AT_ONCE = 1_000_000
"""Rows of a log whose records are told apart at a time: some 300 bytes each."""
_SEED = 59

_standing = Remembered[pl.DataFrame]()

RANKED = ("source_id", "stage", "attempt", "at")
"""The columns that tell which row of a record counts."""

DECIDED = "remap"
"""The part that has a row for each record that was decided: alone in a log, it holds every record once."""

STAGES = ("extract", "remap", "load", "relink", "retry", "heal", "rollback")
"""Stages in the order in which they act on a record; `retry-2` is a later `retry`, `retry-2-relink` comes after it."""


@dataclass(frozen=True)
class AuditLog:
    """The audit log of one object in one run."""

    folder: UPath

    def append(self, part: str, frame: files.Frame) -> int:
        """Write one part of `COLUMNS` (absent ones are null); a repeat takes its own place. Returns the rows.

        Raises `StoreError` for a column that the log does not have, and for rows without source_id, state or stage.
        """
        lazy = frame.lazy()
        given = lazy.collect_schema()
        unknown = sorted(set(given.names()) - set(COLUMNS))
        if unknown:
            raise StoreError(f"The audit log has no column {', '.join(unknown)}; it has {', '.join(COLUMNS)}.")
        rows = lazy.select(
            *(
                (_text(name, given[name]) if name in given else pl.lit(None)).cast(dtype).alias(name)
                for name, dtype in COLUMNS.items()
            )
        )
        path = self.folder / f"{encode(part)}.parquet"
        return files.write_parquet(path, rows, required=("source_id", "state", "stage"))

    def standing(self) -> pl.DataFrame:
        """How the records stand now (`STANDING`), most rows first; bounded by the kinds of refusals.

        Several checks and summaries ask for it of the same log: it is worked out once, until a part is written by
        whichever process.
        """
        stamp = files.stamps(self.folder)
        known = _standing.get(str(self.folder), stamp)
        if known is not None:
            return known
        keys = ["state", "code", "fields"]
        one = pl.len().cast(pl.UInt32).alias("rows"), pl.col("message", "source_id").first()
        # A record is in one of the parts: their groups add up.
        grouped = [part.group_by(keys).agg(*one).collect() for part in self.latest_in_parts()]
        found = (
            pl.concat(grouped)
            .group_by(keys)
            .agg(pl.col("rows").sum(), pl.col("message", "source_id").first())
            .select(list(STANDING))
            .sort("rows", *keys, descending=[True, False, False, False])
        )
        _standing.put(str(self.folder), stamp, found)
        return found

    def states(self) -> dict[str, int]:
        """Records by the state that counts."""
        found = self.standing().group_by("state").agg(pl.col("rows").sum()).sort("state")
        return {str(state): int(rows) for state, rows in found.iter_rows()}

    def some(self, rows: int) -> pl.LazyFrame:
        """The rows that count (`COLUMNS`) of so many records, whichever come first."""
        return self.latest(of=self.read().select("source_id").head(rows))

    def parts(self) -> list[str]:
        """Names of the parts written."""
        return [decode(name.removesuffix(".parquet")) for name in files.names(self.folder)]

    def read(self) -> pl.LazyFrame:
        """All rows (`COLUMNS`)."""
        return files.scan(self.folder / "*.parquet", COLUMNS)

    def latest(self, of: pl.LazyFrame | None = None, where: pl.Expr | None = None) -> pl.LazyFrame:
        """The row that counts of each record (`COLUMNS`): of the last stage, and in it of the last attempt.

        With `of` (`source_id`), or `where` on source_id or target_id, only of those records; others are not looked at.
        """
        rows = self.read() if where is None else self.read().filter(where)
        if of is not None:
            rows = rows.join(of.select("source_id"), on="source_id", how="semi")
        return rows if self.is_plain() else latest_of(rows)

    def is_plain(self) -> bool:
        """True where nothing was sent: the log is what was decided, each record once."""
        return self.parts() == [DECIDED]

    def latest_in_parts(self) -> list[pl.LazyFrame]:
        """As `latest` of all records, each in one of as many frames as take no more than `ROWS_AT_ONCE` rows of the log."""
        count = -(-int(self.read().select(pl.len()).collect().item()) // ROWS_AT_ONCE)
        if count <= 1:
            return [self.latest()]
        return [self.latest(where=pl.col("source_id").hash(_SEED) % count == number) for number in range(count)]


def latest_of(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The row that counts of each record of `rows`, all of that record's rows of a log with at least `RANKED`."""
    names = rows.collect_schema().names()
    others = [name for name in names if name != "source_id"]
    ranked = rows.with_columns(_rank().alias("_rank"))
    return ranked.group_by("source_id").agg(pl.col(others).max_by("_rank")).select(names)


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).list.join(",") if isinstance(dtype, pl.List) else pl.col(name)


def _rank() -> pl.Expr:
    """Stage, then its number (`retry-2`), then attempt, then time, as one number: maxima of one number stream."""
    stage = pl.col("stage")
    plain = _place(stage) * 10**5
    # Only what has a number, or a name of more than one word, is taken apart: a null costs nothing.
    other = pl.when(plain.is_null()).then(stage)
    number = other.str.extract(r"-(\d+)", 1).cast(pl.Int64, strict=False).fill_null(0) * 2
    number = number + other.str.ends_with("-relink").cast(pl.Int64)
    order = pl.coalesce(plain, _place(other.str.extract(r"^([a-z]+)", 1)).fill_null(0) * 10**5 + number)
    attempt = pl.col("attempt").cast(pl.Int128).fill_null(0)
    at = pl.col("at").dt.epoch("ms").cast(pl.Int128).fill_null(0)
    return (order.cast(pl.Int128) * 10**5 + attempt) * 10**14 + at


def _place(stage: pl.Expr) -> pl.Expr:
    """The place of a stage's name in `STAGES`, from 1; null for any other text."""
    place = pl.lit(None, dtype=pl.Int64)
    for number, name in enumerate(STAGES, 1):
        place = pl.when(stage == name).then(number).otherwise(place)
    return place
