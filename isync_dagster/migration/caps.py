"""Caps: shares of an object's rows that may be updates or deletes; what exceeds one is not sent at all."""

from __future__ import annotations

from collections.abc import Mapping

from isync_dagster.errors import PreflightError
from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.template.models import share_of


def guard_caps(job: SyncJob, plan: ObjectPlan, decisions: Mapping[str, int], rows: int) -> None:
    """Raise `PreflightError` where more rows than the template's caps allow would be updated or deleted.

    Judged once the rows of the object are decided, before any of them is sent. (The cap on rows is judged by the gate.)
    """
    caps = job.plan.settings.caps
    for name, share, decision in (("updates", caps.updates, "update"), ("deletes", caps.deletes, "delete")):
        count = decisions.get(decision, 0)
        if share is not None and count > rows * share_of(share):
            raise PreflightError(
                f"{plan.object}: {count:,} of {rows:,} rows ({count / rows:.1%}) are to be {decision}d in "
                f"{job.plan.target_alias!r}; the template's caps allow {share}. Nothing of {plan.object} was sent. Look at "
                f"the differences (the remap asset shows them), then raise `settings: caps: {name}`, or give the run up with "
                f"`isync runs abandon {job.plan.template} --phase {job.phase}`.",
                object=plan.object,
            )
