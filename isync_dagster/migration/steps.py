"""The sender of a ledger's step: what goes on with chunks, whoever began them."""

from __future__ import annotations

import re

from isync_dagster.migration.load import Keeper
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.relink import RelinkKeeper
from isync_dagster.migration.retry_keepers import RetryKeeper, RetryRelinkKeeper
from isync_dagster.migration.sending import Sender
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store.runs import Run

_RETRY = re.compile(r"retry-\d+(-relink)?")


def sender_of(job: SyncJob, run: Run, plan: ObjectPlan, step: str) -> Sender | None:
    """The sender of `load`, `relink`, `retry-n` or `retry-n-relink`; None for a step of another kind."""
    if step == "load":
        return Sender(job, run, plan, step, Keeper(job, run, plan, step))
    if step == "relink":
        return Sender(job, run, plan, step, RelinkKeeper(job, run, plan, step))
    found = _RETRY.fullmatch(step)
    if found is None:
        return None
    keeper = RetryRelinkKeeper if found[1] else RetryKeeper
    return Sender(job, run, plan, step, keeper(job, run, plan, step))
