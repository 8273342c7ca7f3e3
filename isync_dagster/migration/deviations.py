"""Why a value in the target is not what was sent: somebody changed it since, or the target itself as it was saved."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from isync_dagster.migration.causes import CAUSES, causes, suspects
from isync_dagster.migration.closing import closed, stamps_of
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.settling import user_id
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.ids import to18
from isync_dagster.records.undo import STAMPS
from isync_dagster.store.runs import Run

LATER = "changed since"

WHEN = ("SystemModstamp", "LastModifiedDate")


def explained(
    job: SyncJob, run: Run, plan: ObjectPlan, cells: pl.LazyFrame, there: pl.LazyFrame, who: pl.LazyFrame
) -> pl.LazyFrame:
    """`cells` (`records.reconcile.CELL_SCHEMA`) with `object`, `why` and `by_target` Boolean.

    A record whose stamp is later than the one that the run's closing re-read found, or that another user saved last, was
    changed since. Else nobody but the target's own automation can have changed what Salesforce had confirmed: what may
    have done it is named, by what was sent of the cell. `who` has `_target_id` and `_state` of the records.
    """
    known = there.collect_schema().names()
    stamps = [name for name in STAMPS if name in known]
    now = there.select(target_id="Id", **{f"now.{name}": pl.col(name) for name in stamps})
    frame = cells.join(now, on="target_id", how="left")
    when = next((name for name in WHEN if name in stamps), None)
    end = closed(run)
    after = pl.lit(False)
    if end is not None and when is not None:
        then = stamps_of(run, plan.object).select(target_id="Id", then=when)
        at = datetime.fromisoformat(str(end["at"]))
        # Of what the check of the run did not read there is no stamp: the end of the run counts.
        frame = frame.join(then, on="target_id", how="left").with_columns(pl.col("then").fill_null(at))
        after = pl.col(f"now.{when}") > pl.col("then")
    by_other = pl.lit(False)
    who_saved = pl.lit("somebody")
    if "LastModifiedById" in stamps:
        ours = str(end["user"]) if end is not None else user_id(job.target)
        who_saved = pl.col("now.LastModifiedById").fill_null("somebody")
        mine = pl.DataFrame({"id": [ours]}).select(to18(pl.col("id"))).item()
        by_other = pl.col("now.LastModifiedById") != mine
    since = (after | by_other).fill_null(False)
    at_text = pl.col(f"now.{when}").dt.strftime("%Y-%m-%d %H:%M:%SZ") if when is not None else pl.lit("a time unknown")
    frame = frame.with_columns(since.alias("_since"))
    # Bounded by the fields of the object.
    names = frame.filter(~pl.col("_since")).select(pl.col("field").unique().sort()).collect()["field"]
    found = causes(suspects(job, run, plan), names) if len(names) else pl.DataFrame(schema=CAUSES)
    sent = who.select(target_id="_target_id", _state=pl.col("_state").cast(pl.String))
    return (
        frame.join(sent, on="target_id", how="left")
        .with_columns(_empty=pl.col("expected").is_null())
        .join(found.lazy(), left_on=["field", "_state", "_empty"], right_on=["field", "state", "empty"], how="left")
        .select(
            pl.lit(plan.object).alias("object"),
            *cells.collect_schema().names(),
            pl.when("_since")
            .then(pl.format(f"{LATER}: saved by {{}} at {{}}", who_saved, at_text))
            .otherwise(pl.col("cause"))
            .alias("why"),
            (~pl.col("_since")).alias("by_target"),
        )
    )
