"""Append-only logs of Parquet parts that outlive a run: the base of the id map and of the pending links.

`<Object>/<template>.<phase>.<run>/<part>.<sequence>.parquet`. The sequence orders the parts of an object, whatever
the clocks of the workers say: a new part gets the highest so far plus one; a repeat of a part keeps its own, so
that it takes the place of what it wrote before and of nothing else. The row with the highest sequence wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import polars as pl
from upath import UPath

from isync_dagster.store import files
from isync_dagster.store.clock import Clock, utc_now
from isync_dagster.store.layout import batch, encode, object_name

AT = pl.Datetime("ms", "UTC")
_PART = re.compile(r"([^/]+)/([^/.]+)\.(\d+)\.parquet")


@dataclass(frozen=True)
class DurableLog:
    """One log of one org pair: a folder an object."""

    folder: UPath
    clock: Clock = utc_now
    beneath: UPath | None = None
    """Another log's folder that is read as well, below this one's parts, and never written to: a rehearsal's."""

    KEY: ClassVar[tuple[str, ...]] = ()
    """What a row is about: of rows that are equal in it, the newest counts."""
    SCHEMA: ClassVar[Mapping[str, Any]] = {}
    """Columns of the log's own; every part has template, phase, run, at and the sequence besides."""

    def objects(self) -> list[str]:
        """Objects that have rows."""
        below = files.names(self.beneath) if self.beneath is not None else []
        return sorted({*below, *files.names(self.folder)})

    def parts(self, object: str) -> list[UPath]:
        """The parts of an object, oldest first."""
        found = sorted((sequence, str(path), path) for _, _, sequence, path in self._parts(object))
        return [path for _, _, path in found]

    def _parts(self, object: str) -> list[tuple[str, str, int, UPath]]:
        """(batch, part, sequence, path) of each part: one listing, and one of the folder beneath."""
        folders = [root / object_name(object) for root in (self.beneath, self.folder) if root is not None]
        hits = ((folder, _PART.fullmatch(path)) for folder in folders for path in files.find(folder))
        return [(hit[1], hit[2], int(hit[3]), folder / hit[0]) for folder, hit in hits if hit]

    def _append(
        self,
        object: str,
        frame: files.Frame,
        *,
        template: str,
        phase: str,
        run: int,
        part: str,
        at: datetime | None,
        required: Sequence[str],
    ) -> int:
        """Write one part: the log's own columns from `frame` (null where it lacks one), and where it came from."""
        folder, name = batch(template, phase, run), encode(part)
        found = self._parts(object)
        mine = self.folder / object / folder
        own = [sequence for _, part_, sequence, path in found if part_ == name and path.parent == mine]
        sequence = max(own) if own else max((sequence for _, _, sequence, _ in found), default=0) + 1
        lazy = frame.lazy()
        columns = set(lazy.collect_schema().names())
        rows = lazy.select(
            *(
                (pl.col(column) if column in columns else pl.lit(None)).cast(dtype).alias(column)
                for column, dtype in self.SCHEMA.items()
            ),
            pl.lit(template).alias("template"),
            pl.lit(phase).alias("phase"),
            pl.lit(run, dtype=pl.Int32).alias("run"),
            pl.lit(at or self.clock(), dtype=AT).alias("at"),
            pl.lit(sequence, dtype=pl.Int64).alias("_sequence"),
        )
        path = self.folder / object / folder / f"{name}.{sequence:08d}.parquet"
        return files.write_parquet(path, rows, required=required)

    def has_others(self, object: str, template: str, phase: str, run: int) -> bool:
        """True where another run than this one ever wrote of the object: one listing, no file is opened."""
        own = batch(template, phase, run)
        return any(found != own for found, _, _, _ in self._parts(object))

    def history(self, object: str) -> pl.LazyFrame:
        """Every row ever appended: the log's columns, template, phase, run (i32), at (UTC) and _sequence (i64)."""
        return files.scan_files(self.parts(object), self._schema())

    def _newest(self, object: str, of: pl.LazyFrame | None = None) -> pl.LazyFrame:
        """The newest row of each key, in no order; with `of` (the key's columns) of those alone, which bounds memory."""
        others = [column for column in self._schema() if column not in (*self.KEY, "_sequence")]
        rows = self.history(object)
        if of is not None:
            rows = rows.join(of.select(self.KEY), on=self.KEY, how="semi")
        return rows.group_by(self.KEY).agg(pl.col(others).max_by("_sequence"))

    def _schema(self) -> dict[str, Any]:
        where = {"template": pl.String(), "phase": pl.String(), "run": pl.Int32(), "at": AT, "_sequence": pl.Int64()}
        return {**self.SCHEMA, **where}
