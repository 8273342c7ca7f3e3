"""Stopping a run cleanly: who asked, what still comes to its end, and how to go on.

A run is stopped by a person (`isync abort`, cancel in the UI), by the API budget, or by a refused row while continue
on error is off. Whoever it is, nothing new is sent in any object of the run; what is in flight comes to its end; every
row is accounted as done or `pending`; the verb ends with an error that says how to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import NoReturn

import polars as pl

from isync_dagster.errors import ApiLimitError, IsyncError, RejectedRowsError, StoppedError
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.threshold import allowed_rejects
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.polling import WaitCancelled
from isync_dagster.store.runs import Run
from isync_dagster.store.stops import Jobs, Stop, StopKind
from isync_dagster.template.models import parse_share, share_of

_marks: dict[tuple[str, str], int] = {}
"""What is recorded when a session begins, so that it is read once a process."""


def enter(job: SyncJob, run: Run) -> int:
    """The number of the newest request that this session need not obey: it was made before it began."""
    key = (str(run.folder), job.session)
    if key not in _marks:
        _marks[key] = run.stops.enter(job.session)
    return _marks[key]


def stop_of(job: SyncJob, run: Run) -> Stop | None:
    """Why this session must stop, or None. Of several requests the newest counts; one that aborts jobs stands."""
    found = run.stops.after(enter(job, run))
    if found:
        aborts = any(stop.jobs is Jobs.ABORT for stop in found)
        return replace(found[-1], jobs=Jobs.ABORT if aborts else Jobs.WAIT)
    for org in (job.source, job.target):
        used_up = _over_budget(job, org)
        if used_up:
            return run.stops.ask(StopKind.BUDGET, used_up, by=job.opened_by, details={"org": org.alias})
    if job.cancelled():
        return Stop(StopKind.CANCEL, "it was cancelled", Jobs(job.options.jobs_on_cancel), job.opened_by)
    return None


@contextmanager
def guarded(job: SyncJob, run: Run, *, refused: bool = True) -> Iterator[SyncJob]:
    """The job whose `cancelled` knows every reason to stop; the block ends with the error of that reason.

    Raises it at once where one stands: `StoppedError` (a person), `ApiLimitError` (the budget), `RejectedRowsError`
    (refused rows while continue on error is off; they stand in a later session too, until they are retried; the retry
    itself says `refused=False`).
    """
    enter(job, run)
    if refused:
        _refuse_standing(job, run)
    stop_here(job, run)
    try:
        yield replace(job, cancelled=lambda: stop_of(job, run) is not None)
    except WaitCancelled:
        stop_here(job, run)
        raise
    except ApiLimitError as error:
        if error.details.get("stopped"):
            raise
        said = str(error).split(". Resume when", 1)[0]
        _raise(job, run, run.stops.ask(StopKind.BUDGET, said, by=job.opened_by), error)


def stop_here(job: SyncJob, run: Run) -> None:
    """Raise the error of the reason to stop, where there is one."""
    stop = stop_of(job, run)
    if stop is not None:
        _raise(job, run, stop)


def ask_over_refused(job: SyncJob, run: Run, plan: ObjectPlan) -> None:
    """Ask the whole run to stop where more rows of the object are refused than allowed, and that is not to be."""
    if job.plan.settings.continue_on_error or stop_of(job, run) is not None:
        return
    refused = rows_in(run, plan, State.FAILED)
    allowed = allowed_rejects(job, run, plan) if refused else 0
    if refused > allowed:
        first = _first_refused(run, plan)
        why = (
            f"{plan.object}: {refused} rows were refused, {allowed} are allowed, and continue on error is off. {first}"
        )
        run.stops.ask(StopKind.REFUSED, why, by=job.opened_by, details={"object": plan.object})


def rows_in(run: Run, plan: ObjectPlan, state: State) -> int:
    """How many records of the object are in a state now; only where one ever was is the whole log looked at."""
    audit = run.audit(plan.object)
    ever = audit.read().filter(pl.col("state") == state)
    if ever.head(1).collect().is_empty():
        return 0
    count: int = audit.latest().filter(pl.col("state") == state).select(pl.len()).collect().item()
    return count


def _refuse_standing(job: SyncJob, run: Run) -> None:
    """Refused rows that stopped an earlier session stop this one too, until a retry or another setting lets it go on."""
    if job.plan.settings.continue_on_error:
        return
    asked = {
        str(stop.details["object"]): stop
        for stop in run.stops.after(0)
        if stop.kind is StopKind.REFUSED and stop.details
    }
    for name, stop in asked.items():
        plan = job.object(name)
        if rows_in(run, plan, State.FAILED) > allowed_rejects(job, run, plan):
            _raise(job, run, stop)


def _over_budget(job: SyncJob, org: Org) -> str | None:
    """What is used, where it is the share that the run may use; known from the header of every answer, for free."""
    usage = org.usage
    share = parse_share(job.options.api_budget) if job.options.api_budget else job.plan.settings.api_budget
    if usage is None or usage[0] < share_of(share) * usage[1]:
        return None
    return (
        f"org '{org.alias}' has used {usage[0]:,} of its {usage[1]:,} API calls of 24 hours; the run may go to {share}"
    )


def _first_refused(run: Run, plan: ObjectPlan) -> str:
    found = run.audit(plan.object).latest().filter(pl.col("state") == State.FAILED).head(1)
    rows = found.select("source_id", "code", "message").collect().to_dicts()
    return "; ".join(f"Such as {row['source_id']}: {row['code']} {row['message']}" for row in rows)


def _raise(job: SyncJob, run: Run, stop: Stop, cause: BaseException | None = None) -> NoReturn:
    name, phase = job.plan.template, job.phase
    where = f"Run {run.number} of {name!r}, phase {phase!r}, "
    kept = "Nothing more is sent in any object; what was sent is accounted, all else is pending. "
    go_on = f"`isync migrate {name} --phase {phase}` (or materialize again)"
    if run.open_retry is not None:
        go_on = f"`isync retry {name} --phase {phase}`, which finishes the retry"
    error: IsyncError
    match stop.kind:
        case StopKind.REFUSED:
            error = RejectedRowsError(
                f"{where}was stopped: {stop.why.rstrip('. ')}. {kept}`isync errors {name} --phase {phase}` says what to "
                f"correct; then `isync retry {name} --phase {phase}` sends just the refused rows, and {go_on} resumes "
                f"what is left. Or undo it with `isync rollback {name} --phase {phase}`; or let it go on past refused "
                "rows with `continue_on_error: true` or a higher `rejected_rows_threshold` in the template, and resume.",
                run=run.number,
            )
        case StopKind.BUDGET:
            error = ApiLimitError(
                f"{where}was stopped by the API budget: {stop.why}. {kept}Go on with {go_on} when the allowance has "
                "recovered (Salesforce counts the last 24 hours), or now with another `api_budget` in the template; "
                f"the sensor `resume_{_slug(name)}` does so by itself when it is switched on.",
                run=run.number,
                stopped=True,
            )
        case _:
            by = f" by {stop.by}" if stop.by and stop.kind is StopKind.ABORT else ""
            give_up = f", give it up with `isync runs abandon {name} --phase {phase}`" if run.is_open else ""
            error = StoppedError(
                f"{where}was stopped{by}: {stop.why}. {kept}Go on with {go_on}{give_up}, or undo it with `isync rollback "
                f"{name} --phase {phase}`.",
                run=run.number,
            )
    raise error from cause


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in name.lower())
