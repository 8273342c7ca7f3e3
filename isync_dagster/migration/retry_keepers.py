"""What the attempts of a retry bring into the audit log: a record keeps what it was before, unless it was refused."""

from __future__ import annotations

from typing import Any

import polars as pl

from isync_dagster.migration.load import Keeper, sent
from isync_dagster.migration.model import State
from isync_dagster.store import files
from isync_dagster.store.ledger import Entry
from isync_dagster.store.runs import Run


def number_of(step: str) -> int:
    """The number in `retry-3` or `retry-3-relink`."""
    return int(step.split("-")[1])


def rows_path(run: Run, number: int, kind: str, object: str) -> Any:
    """The rows of an object in a retry: `remap` as they are sent anew, `relink` as the second pass resolved them."""
    return run.retries_folder / f"{number:03d}" / kind / f"{object}.parquet"


class RetryKeeper(Keeper):
    """As the load's; a record that this run had inserted before (only its relink was refused) stays inserted."""

    def __call__(self, part: str, outcome: pl.DataFrame, entry: Entry) -> None:
        """Record `outcome` (OUTCOME_SCHEMA) of the attempt that `entry` belongs to."""
        rows = files.scan(rows_path(self.run, number_of(self.stage), "remap", self.plan.object))
        made = rows.filter("_made").select("_source_id", "_made")
        again = (pl.col("state") == State.UPDATED) & pl.col("_made").eq_missing(True)
        state = pl.when(again).then(pl.lit(str(State.INSERTED))).otherwise(pl.col("state"))
        kept = outcome.lazy().join(made, on="_source_id", how="left").with_columns(state=state).drop("_made").collect()
        super().__call__(part, kept, entry)


class RetryRelinkKeeper(Keeper):
    """A relinked or healed row keeps its state; one that was identical is updated now, one that was refused has failed."""

    def __call__(self, part: str, outcome: pl.DataFrame, entry: Entry) -> None:
        """Record `outcome` (OUTCOME_SCHEMA) of the attempt that `entry` belongs to."""
        rows = files.scan(rows_path(self.run, number_of(self.stage), "relink", self.plan.object))
        before = rows.select("_source_id", "_state", _there="_target_id")
        done = pl.col("state") == State.UPDATED
        state = (
            pl.when(done & (pl.col("_state") == State.IDENTICAL))
            .then(pl.lit(str(State.UPDATED)))
            .when(done)
            .then(pl.col("_state"))
            .otherwise(pl.col("state").replace("again", str(State.PENDING)))
        )
        self.run.audit(self.plan.object).append(
            part,
            outcome.lazy()
            .join(before, on="_source_id", how="left")
            .select(
                source_id="_source_id",
                target_id=pl.coalesce("_there", "target_id"),
                state=state,
                code="code",
                **sent(entry, self.stage, self.job.store.clock()),
            ),
        )
