"""The rows of a run that did not get through, grouped for people and exported whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from isync_dagster.migration.load import errors_of
from isync_dagster.migration.model import State
from isync_dagster.salesforce.outcome import classify
from isync_dagster.store import files
from isync_dagster.store.ledger import ChunkState
from isync_dagster.store.runs import Run
from isync_dagster.store.scratch import scratch

BAD = (State.FAILED, State.BLOCKED, State.UNKNOWN, State.PENDING)

COLUMNS = ("source_id", "target_id", "state", "code", "message", "fields", "attempt", "sf_job_id", "stage", "rule")
TIMES = ("sent_at", "at")


@dataclass(frozen=True)
class Refusals:
    """The rows of one object in one run that did not get through."""

    run: Run
    object: str
    code: str = ""
    """Only rows with this code (in any case); blocked rows have none."""

    def rows(self) -> pl.LazyFrame:
        """Their audit rows (`audit.COLUMNS`), one a record."""
        latest = self.run.audit(self.object).latest().filter(pl.col("state").is_in(BAD))
        return latest.filter(pl.col("code").str.to_lowercase() == self.code.lower()) if self.code else latest

    def groups(self) -> tuple[dict[str, Any], ...]:
        """By state, code and fields, most rows first: rows, message, sample source id, advice."""
        return errors_of(self.rows())

    def export(self, folder: Path, now: datetime) -> tuple[Path, int] | None:
        """Write all of them to `errors_<Object>_<time>.csv` with what was sent; (path, rows), None without any.

        The columns of the audit log, `advice`, then `sent.<Field>` for every field that was sent with one of them: empty
        where nothing was said, or the rows were cleaned up. Streamed: no frame of all rows is made.
        """
        if not any(state in BAD for state in self.run.audit(self.object).states()):
            return None
        with scratch() as place:
            # Found once: every chunk's file is joined with it.
            found = place / "found.parquet"
            self.rows().sink_parquet(found)
            rows = pl.scan_parquet(found)
            codes = rows.select(pl.col("code").unique()).collect()["code"].drop_nulls().to_list()
            counted: int = rows.select(pl.len()).collect().item()
            if not counted:
                return None
            advice = {code: classify(code).text for code in codes}
            times = [pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ") for name in TIMES]
            told = rows.select(
                *COLUMNS,
                *times,
                pl.col("code").replace_strict(advice, default=None, return_dtype=pl.String).alias("advice"),
                pl.col("chunk").alias("_chunk"),
            )
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"errors_{self.object}_{now:%Y%m%dT%H%M%S}.csv"
            told = told.join(self._sent(rows), on=["source_id", "stage", "attempt"], how="left").drop("_chunk")
            partial = path.with_suffix(".csv.part")
            told.sink_csv(partial, null_value="")
            partial.rename(path)
        return path, counted

    def _sent(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """`source_id`, `stage`, `attempt` and the cells of every row in question that was sent."""
        wanted = rows.select("stage", "chunk", "attempt").unique().drop_nulls().collect()
        frames = [
            self._cells(rows, stage, chunk, attempt) for stage, chunk, attempt in wanted.iter_rows() if attempt > 0
        ]
        found = [frame for frame in frames if frame is not None]
        if not found:
            return pl.LazyFrame(schema={"source_id": pl.String, "stage": pl.String, "attempt": pl.Int32})
        return pl.concat(found, how="diagonal")

    def _cells(self, rows: pl.LazyFrame, stage: str, chunk: int, attempt: int) -> pl.LazyFrame | None:
        ledger = self.run.ledger(stage, self.object)
        if ledger.entry(chunk, attempt, ChunkState.PLANNED) is None:
            return None
        path = ledger.rows_path(chunk, attempt)
        if not files.exists(path):
            return None
        sent = files.scan(path)
        names = [name for name in sent.collect_schema().names() if not name.startswith("_")]
        here = (pl.col("stage") == stage) & (pl.col("chunk") == chunk) & (pl.col("attempt") == attempt)
        return sent.join(rows.filter(here), left_on="_source_id", right_on="source_id", how="semi").select(
            pl.col("_source_id").alias("source_id"),
            pl.lit(stage).alias("stage"),
            pl.lit(attempt, dtype=pl.Int32).alias("attempt"),
            *(pl.col(name).alias(f"sent.{name}") for name in names),
        )


def refusals(run: Run, objects: Iterable[str], code: str = "") -> list[Refusals]:
    """One for each object that the run has an audit log of."""
    return [Refusals(run, name, code) for name in objects if run.audit(name).parts()]
