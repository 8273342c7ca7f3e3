"""Pending links: lookups left empty because the parent is not in the target yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

import polars as pl

from isync_dagster.store import files
from isync_dagster.store.durable import AT, DurableLog

COLUMNS = {
    "source_id": pl.String(),
    "field": pl.String(),
    "source_parent_id": pl.String(),
    "parent_object": pl.String(),
    "template": pl.String(),
    "phase": pl.String(),
    "run": pl.Int32(),
    "at": AT,
}
"""What `Pending.open` gives, in this order."""


@dataclass(frozen=True)
class Pending(DurableLog):
    """The pending links of one org pair, kept by the object that holds the lookup."""

    KEY: ClassVar = ("source_id", "field")
    SCHEMA: ClassVar = {
        "source_id": pl.String(),
        "field": pl.String(),
        "source_parent_id": pl.String(),
        "parent_object": pl.String(),
        "healed": pl.String(),
        "target_parent_id": pl.String(),
    }

    def add(
        self,
        object: str,
        frame: files.Frame,
        template: str,
        phase: str,
        run: int,
        part: str,
        at: datetime | None = None,
    ) -> int:
        """Remember links: source_id (the child), field, source_parent_id, and parent_object where known."""
        rows = frame.lazy().with_columns(pl.lit(None).alias("healed"))
        return self._append(
            object,
            rows,
            template=template,
            phase=phase,
            run=run,
            part=part,
            at=at,
            required=("source_id", "field", "source_parent_id"),
        )

    def heal(
        self,
        object: str,
        frame: files.Frame,
        template: str,
        phase: str,
        run: int,
        part: str,
        how: str = "linked",
        at: datetime | None = None,
    ) -> int:
        """Say that links (source_id, field) are no longer pending: `how` is linked, kept, dropped or rolled back.

        A column `how` of the frame says it for each row; `target_parent_id` is what the lookup holds now, where known.
        """
        lazy = frame.lazy()
        said = pl.col("how") if "how" in lazy.collect_schema() else pl.lit(how)
        rows = lazy.with_columns(said.alias("healed"))
        return self._append(
            object,
            rows,
            template=template,
            phase=phase,
            run=run,
            part=f"healed-{part}",
            at=at,
            required=("source_id", "field"),
        )

    def links(self, object: str) -> pl.LazyFrame:
        """Every link that ever waited: `COLUMNS`, `healed` (null while it waits) and `target_parent_id`."""
        return self._newest(object).select(*COLUMNS, "healed", "target_parent_id")

    def open(self, object: str) -> pl.LazyFrame:
        """The links that still wait (`COLUMNS`), one row a record and field."""
        return self._newest(object).filter(pl.col("healed").is_null()).select(*COLUMNS)
