"""The id map: source id → target id, durable, reused by every later run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import polars as pl

from isync_dagster.store import files
from isync_dagster.store.durable import AT, DurableLog
from isync_dagster.store.layout import batch

COLUMNS = {
    "source_id": pl.String(),
    "target_id": pl.String(),
    "target_object": pl.String(),
    "how": pl.String(),
    "row_hash": pl.String(),
    "template": pl.String(),
    "phase": pl.String(),
    "run": pl.Int32(),
    "at": AT,
}
"""What `IdMap.read` gives, in this order."""


@dataclass(frozen=True)
class IdMap(DurableLog):
    """The id map of one org pair, kept by source object."""

    KEY: ClassVar = ("source_id",)
    SCHEMA: ClassVar = {
        "source_id": pl.String(),
        "target_id": pl.String(),
        "target_object": pl.String(),
        "how": pl.String(),
        "row_hash": pl.String(),
        "gone": pl.String(),
    }

    def append(
        self,
        object: str,
        target_object: str,
        frame: files.Frame,
        template: str,
        phase: str,
        run: int,
        part: str,
        at: datetime | None = None,
    ) -> int:
        """Add rows of `object`: source_id, target_id, and where known how (how it was found) and row_hash.

        `part` names the piece within the run: a repeat takes its own place. Returns the number of rows. Raises
        `StoreError` where an id is null.
        """
        rows = frame.lazy().with_columns(pl.lit(target_object).alias("target_object"), pl.lit(None).alias("gone"))
        return self._append(
            object, rows, template=template, phase=phase, run=run, part=part, at=at, required=("source_id", "target_id")
        )

    def tombstone(
        self,
        object: str,
        frame: files.Frame,
        reason: str,
        template: str,
        phase: str,
        run: int,
        part: str,
        at: datetime | None = None,
    ) -> int:
        """Say that records (source_id) have no counterpart any more: `reason` is rolled back, deleted or merged.

        `target_id` and `target_object`, where the frame has them, are what they were mapped to. A later `append` of the same source id brings it back.
        """
        rows = frame.lazy().with_columns(pl.lit(reason).alias("gone"))
        return self._append(
            object, rows, template=template, phase=phase, run=run, part=f"gone-{part}", at=at, required=("source_id",)
        )

    def read(self, object: str, of: pl.LazyFrame | None = None) -> pl.LazyFrame:
        """The counterpart of each record of `object` (`COLUMNS`), one row a source id, the newest; no tombstones.

        With `of` (`source_id`) only of those records: the log streams by, and no more than they are held.
        """
        return self._newest(object, of).filter(pl.col("gone").is_null()).select(*COLUMNS)

    def tombstones(self, object: str) -> pl.LazyFrame:
        """The records of `object` that have no counterpart any more: `COLUMNS` and `gone`, why, one row a source id."""
        return self._newest(object).filter(pl.col("gone").is_not_null()).select(*COLUMNS, "gone")

    def has_tombstones(self, object: str) -> bool:
        """True where a counterpart of the object was ever declared gone: one listing, no file is opened."""
        return any(part.startswith("gone-") for _, part, _, _ in self._parts(object))

    def is_empty(self, object: str) -> bool:
        """True where no record of `object` has a counterpart."""
        ever = self.history(object).filter(pl.col("gone").is_null()).select("source_id")
        if ever.head(1).collect().is_empty():
            return True
        # Only where counterparts were declared gone the newest rows must be told from those before.
        return self.has_tombstones(object) and self.read(object).select("source_id").head(1).collect().is_empty()

    def found(self, object: str, how: str) -> pl.LazyFrame:
        """As `read` of the records that were mapped in that way (`how`) and still are: no more than they are held."""
        ever = self.history(object).filter(pl.col("how") == how).select("source_id")
        return self.read(object, ever.unique()).filter(pl.col("how") == how)

    def missing(self, object: str, there: pl.LazyFrame) -> pl.LazyFrame:
        """As `read` of the records whose counterpart is not in `there` (`Id`): no more than they are held."""
        ever = self.history(object).filter(pl.col("gone").is_null())
        lost = ever.join(there, left_on="target_id", right_on="Id", how="anti").select("source_id").unique()
        return self.read(object, lost).join(there, left_on="target_id", right_on="Id", how="anti")

    def sequence(self, object: str) -> int:
        """How far the map of `object` is written: the newest part's number, 0 where there is none."""
        return max((sequence for _, _, sequence, _ in self._parts(object)), default=0)

    def since(self, object: str, sequence: int, but: tuple[str, str, int] | None = None) -> pl.LazyFrame | None:
        """`source_id` of the records of `object` that have another counterpart than at that number, or none any more.

        None where nothing was written since; what the run `but` (template, phase, number) wrote does not count. What was
        written once more as it stood is no change; no more is held than what was written since.
        """
        own = None if but is None else batch(*but)
        parts = [path for run, _, number, path in self._parts(object) if number > sequence and run != own]
        if not parts:
            return None
        ids = files.scan_files(parts, self._schema())
        now = self.read(object, ids.select("source_id").unique()).select("source_id", "target_id")
        rows = self.history(object).filter(pl.col("_sequence") <= sequence)
        before = (
            rows.join(ids.select("source_id").unique(), on="source_id", how="semi")
            .group_by("source_id")
            .agg(pl.col("target_id", "gone").max_by("_sequence"))
            .filter(pl.col("gone").is_null())
        )
        same = now.join(before, on=["source_id", "target_id"], how="semi")
        return ids.select("source_id").unique().join(same, on="source_id", how="anti")

    def target_objects(self, object: str) -> list[str]:
        """The objects of the target that records of `object` were ever mapped to."""
        named = self.history(object).select(pl.col("target_object").drop_nulls().unique())
        return sorted(named.collect()["target_object"])

    def read_many(self, objects: Iterable[str]) -> pl.LazyFrame:
        """As `read` of several objects, with the column `object`: what a polymorphic lookup resolves through."""
        frames = [self.read(name).with_columns(pl.lit(name).alias("object")) for name in objects]
        return pl.concat(frames) if frames else pl.LazyFrame(schema={**COLUMNS, "object": pl.String()})

    def reverse(self, objects: Iterable[str] | None = None) -> pl.LazyFrame:
        """As `read_many` of all objects (or some) with target_id first: where a target record came from.

        A target record that several source records were matched to has a row for each.
        """
        columns = ("target_id", "target_object", "source_id", "object")
        rest = [name for name in COLUMNS if name not in columns]
        return self.read_many(self.objects() if objects is None else objects).select(*columns, *rest)
