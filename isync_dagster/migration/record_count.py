"""Are the records that a run says it brought, or found, in the target?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from isync_dagster.migration.extract import extracted
from isync_dagster.migration.mapped import FOLLOWED, left_alone, out_of_sight
from isync_dagster.migration.memory import memory
from isync_dagster.migration.model import IN_TARGET, SyncJob, Verdict
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store.runs import Run


def record_count(
    job: SyncJob, run: Run, plan: ObjectPlan, beside: Sequence[tuple[pl.LazyFrame, pl.LazyFrame]], size: int
) -> Verdict:
    """Every record that is in the target as the run says is found there, and none stands for two.

    `beside` are the records (`_source_id`, `_target_id`, `_state`) and the target's rows (`Id`), in parts that belong
    together, of about `size` bytes.
    """
    scope = extracted(run, plan).select(pl.len()).collect().item()
    hidden = out_of_sight(run, plan.object)
    # Records that were merged in the target share the one that survived.
    merged = left_alone(job, run, plan.object).filter(pl.col("_left") == FOLLOWED)
    missing = mapped = shared = in_target = 0
    shown: list[dict[str, Any]] = []
    for states, there in beside:
        mine = states.filter(pl.col("_state").is_in(IN_TARGET) | pl.col("_target_id").is_not_null()).select(
            source_id="_source_id", target_id="_target_id", state="_state"
        )
        lost = mine.join(hidden, on="source_id", how="anti").join(there, left_on="target_id", right_on="Id", how="anti")
        alone = mine.join(merged, on="source_id", how="anti")
        # Together, so that the rows are read once; counts and ten rows come back.
        with memory().share(size):
            *counts, some = pl.collect_all(
                [
                    lost.select(pl.len()),
                    mine.select(pl.len()),
                    alone.select(pl.len().cast(pl.Int64) - pl.col("target_id").n_unique().cast(pl.Int64)),
                    there.select(pl.len()),
                    lost.head(10),
                ]
            )
        missing, mapped, shared, in_target = (
            total + int(count.item()) for total, count in zip((missing, mapped, shared, in_target), counts, strict=True)
        )
        shown += some.to_dicts()[: 10 - len(shown)]
    passed = not missing and not shared
    text = f"{mapped - missing:,} of {scope:,} source rows in scope are found in the target; {in_target:,} records are there in all."
    if missing:
        text += f" {missing:,} that this run mapped are gone."
    if shared:
        text += f" {shared:,} source rows share a target record."
    return keep_verdict(
        job,
        run,
        plan.object,
        "record_count",
        passed,
        text,
        numbers={"source": scope, "mapped": mapped, "found": mapped - missing, "missing": missing, "target": in_target},
        table=shown,
    )


def keep_verdict(
    job: SyncJob,
    run: Run,
    object: str,
    name: str,
    passed: bool,
    text: str,
    numbers: dict[str, int] | None = None,
    table: Sequence[dict[str, Any]] = (),
    severity: str = "error",
) -> Verdict:
    """The result of a check, kept in the run."""
    found = Verdict(name, object, job.phase, run.number, passed, text, severity, numbers or {}, tuple(table))
    run.write_verdict(object, name, found.to_json())
    return found
