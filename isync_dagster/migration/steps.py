"""The sender of a ledger's step: what goes on with chunks, whoever began them."""

from __future__ import annotations

import re

from isync_dagster.errors import LedgerConflict
from isync_dagster.migration.healing import HealKeeper
from isync_dagster.migration.load import Keeper
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.relink import RelinkKeeper
from isync_dagster.migration.retry_keepers import RetryKeeper, RetryRelinkKeeper
from isync_dagster.migration.rollback_audit import RollbackKeeper
from isync_dagster.migration.sending import Sender
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store.rollbacks import Rollback
from isync_dagster.store.runs import Run

_KINDS = {
    re.compile(r"load"): Keeper,
    re.compile(r"relink"): RelinkKeeper,
    re.compile(r"retry-\d+"): RetryKeeper,
    re.compile(r"retry-\d+-relink"): RetryRelinkKeeper,
    re.compile(r"heal-\d+"): HealKeeper,
}
_ROLLBACK = re.compile(r"rollback-(\d+)")


def sender_of(job: SyncJob, run: Run, plan: ObjectPlan, step: str) -> Sender:
    """The sender of `load`, `relink`, `retry-n`, `retry-n-relink`, `heal-n` or `rollback-n`."""
    undo = _ROLLBACK.fullmatch(step)
    if undo is not None:
        return Sender(job, run, plan, step, RollbackKeeper(Rollback(run, int(undo[1])), plan))
    for kind, keeper in _KINDS.items():
        if kind.fullmatch(step):
            return Sender(job, run, plan, step, keeper(job, run, plan, step))
    raise LedgerConflict(
        f"The ledger of run {run.number} has a step {step!r} that this version of the tool does not know. Update the tool."
    )
