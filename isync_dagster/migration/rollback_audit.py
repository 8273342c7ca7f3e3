"""The audit log of a rollback: what each step said of a record, and the state that it ends in."""

from __future__ import annotations

from itertools import pairwise

import polars as pl

from isync_dagster.migration.chunks import WAVE_CHUNKS
from isync_dagster.migration.load import sent
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.rollback_model import ALREADY_GONE
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store import files
from isync_dagster.store.ledger import Entry
from isync_dagster.store.rollbacks import Rollback

RELINKS, RESTORES, DELETES, RELINKS_AGAIN, RESTORES_AGAIN = 1, 2, 10, 4001, 4002
"""Steps, as waves of the ledger; deletes take one wave a level of a hierarchy, from `DELETES` on."""
ATTEMPTS = 20
"""Attempts of the audit log that a step has room for: a later step counts more than an earlier one."""
LAST = 99_999
HELD = LAST - 1
"""Attempt of the audit log that says of a record that it is not deleted, because a child could not let go of it."""
GONE_CODES = {
    "update": ("ENTITY_IS_DELETED",),
    "delete": ("ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"),
    "hardDelete": ("ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"),
}
"""What Salesforce says of a record that is in the recycle bin, or nowhere."""


class RollbackKeeper:
    """Writes what an attempt brought into the audit log of the rollback."""

    def __init__(self, going: Rollback, plan: ObjectPlan) -> None:
        self.going = going
        self.plan = plan

    def __call__(self, part: str, outcome: pl.DataFrame, entry: Entry) -> None:
        """Record `outcome` (OUTCOME_SCHEMA) of the attempt that `entry` belongs to."""
        gone = (pl.col("state") == State.FAILED) & pl.col("code").is_in(GONE_CODES[entry.payload["operation"]])
        ids = files.scan(self.going.records(self.plan.object)).select("_source_id", "_target_id")
        rows = outcome.lazy().join(ids, on="_source_id", how="left")
        attempt = entry.chunk // WAVE_CHUNKS * ATTEMPTS + min(entry.attempt, ATTEMPTS - 1)
        self.going.audit(self.plan.object).append(
            part,
            rows.select(
                source_id="_source_id",
                target_id="_target_id",
                state=pl.when(gone).then(pl.lit(str(State.DELETED))).otherwise(_said()),
                code=pl.when(gone).then(pl.lit(ALREADY_GONE)).otherwise(pl.col("code")),
                **(sent(entry, self.going.step, self.going.run.clock()) | {"attempt": pl.lit(attempt)}),
            ),
        )


def _said() -> pl.Expr:
    return pl.col("state").replace("again", str(State.PENDING))


def account_planned(going: Rollback, item: ObjectPlan) -> None:
    """Every record that the run wrote, with the state it has before anything is sent; and what it may have written."""
    about = {"attempt": pl.lit(0), "stage": pl.lit(going.step), "at": pl.lit(going.run.clock())}
    rows = files.scan(going.records(item.object))
    going.audit(item.object).append(
        "planned", rows.select("state", "code", "message", source_id="_source_id", target_id="_target_id", **about)
    )
    # Nobody knows the target ids of these, so there is nothing to undo them by.
    lost = going.run.audit(item.object).latest()
    lost = lost.filter((pl.col("state") == State.UNKNOWN) & pl.col("target_id").is_null())
    going.audit(item.object).append("unknown", lost.select("source_id", "state", "message", **about))


def account_held(going: Rollback, item: ObjectPlan, held: pl.LazyFrame) -> None:
    """Records that are not deleted since a lookup of a child could not be emptied (`_target_id`, `code`, `message`)."""
    rows = files.scan(going.records(item.object))
    rows = rows.filter((pl.col("state") == State.PENDING) & (pl.col("action") == "delete"))
    rows = rows.select("_source_id", "_target_id").join(held, on="_target_id", how="inner")
    about = {"attempt": pl.lit(HELD), "stage": pl.lit(going.step), "at": pl.lit(going.run.clock())}
    going.audit(item.object).append(
        "held",
        rows.select(
            "code", "message", source_id="_source_id", target_id="_target_id", state=pl.lit(str(State.FAILED)), **about
        ),
    )


def last_words(going: Rollback, item: ObjectPlan) -> pl.LazyFrame:
    """The last word of each step on each record that it sent: the audit log's columns and `_step`; again-steps count
    as the step that they repeat."""
    step = (pl.col("chunk") // WAVE_CHUNKS).cast(pl.Int64)
    named = step.replace({RELINKS_AGAIN: RELINKS, RESTORES_AGAIN: RESTORES})
    named = pl.when(named >= DELETES).then(DELETES).otherwise(named)
    rows = going.audit(item.object).read().filter(pl.col("chunk").is_not_null()).with_columns(_step=named)
    others = ["target_id", "state", "code", "message", "fields", "sf_job_id", "chunk"]
    return rows.group_by("source_id", "_step").agg(pl.col(others).max_by("attempt"))


def account(job: SyncJob, going: Rollback, item: ObjectPlan) -> None:
    """The final state of each record that was sent: of a deletion what it said, of a restore the worst of its steps."""
    records = files.scan(going.records(item.object)).select("_source_id", "action")
    rows = last_words(going, item).join(records, left_on="source_id", right_on="_source_id", how="inner")
    rows = rows.filter((pl.col("action") == "restore") | (pl.col("_step") == DELETES))
    weight = pl.col("state").replace_strict(
        {str(State.DELETED): 4, str(State.FAILED): 3, str(State.PENDING): 2, str(State.UNKNOWN): 2},
        default=0,
        return_dtype=pl.Int64,
    )
    others = ["target_id", "state", "code", "message", "fields", "sf_job_id", "chunk", "action"]
    final = rows.with_columns(_weight=weight * 10 + pl.col("_step") % 10)
    final = final.group_by("source_id").agg(pl.col(others).max_by("_weight"))
    refused = final.filter(pl.col("state") == State.FAILED).select("target_id")
    gone = _gone(job, item, refused.unique().sort("target_id").collect()["target_id"])
    went = pl.col("target_id").is_in(gone.implode()) & (pl.col("state") == State.FAILED)
    going.audit(item.object).append(
        "result",
        final.with_columns(
            state=pl.when(went).then(pl.lit(str(State.DELETED))).otherwise(pl.col("state")),
            code=pl.when(went).then(pl.lit(ALREADY_GONE)).otherwise(pl.col("code")),
            message=pl.when(went).then(pl.lit("it went with a record it hung on")).otherwise(pl.col("message")),
            attempt=pl.lit(LAST),
            stage=pl.lit(going.step),
            at=pl.lit(going.run.clock()),
        ).drop("action"),
    )


def _gone(job: SyncJob, item: ObjectPlan, ids: pl.Series) -> pl.Series:
    """Which of the refused records are not in the target any more; one query for 500 of them."""
    found: list[pl.Series] = [pl.Series("Id", [], dtype=pl.String)]
    for start, end in pairwise([*range(0, len(ids), 500), len(ids)]):
        quoted = ", ".join(f"'{value}'" for value in ids[start:end].to_list())
        found.append(job.target.query(f"SELECT Id FROM {item.target_object} WHERE Id IN ({quoted})")["Id"])
    return ids.filter(~ids.is_in(pl.concat(found).implode()))
