"""How many rows of an object may be refused before a run counts as failed."""

from __future__ import annotations

import polars as pl

from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store.runs import Run


def allowed_rejects(job: SyncJob, run: Run, plan: ObjectPlan) -> int:
    """Rows of the object that may be failed or blocked: a number, or a share of the rows extracted."""
    # Here and not above: extract stops over refused rows too, and so needs this module.
    from isync_dagster.migration.extract import extracted

    rows: int = extracted(run, plan).select(pl.len()).collect().item()
    return job.plan.settings.rejected_rows_allowed(rows)
