"""Abort: ask a run to stop, wherever its workers are, and account all that was sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from isync_dagster.errors import ConfigError, UnsettledError
from isync_dagster.migration import reading
from isync_dagster.migration.extract import extracted
from isync_dagster.migration.load import finish_chunks
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.outcomes import counts_by
from isync_dagster.migration.rollback_runs import job_of
from isync_dagster.migration.steps import sender_of
from isync_dagster.migration.stopping import enter
from isync_dagster.migration.writing import hold_target, release_target
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store import rollbacks
from isync_dagster.store.runs import Run, Runs
from isync_dagster.store.stops import Jobs, StopKind

LOOK_EVERY = 0.5
"""Seconds between two looks whether the workers have stopped."""


@dataclass(frozen=True)
class Aborted:
    """What an abort left: records by state and object (of a rollback those of its own audit log), what could not be
    settled, and what goes on with it (`migrate`, `retry`, `rollback`)."""

    run: int
    verb: str
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    unsettled: tuple[str, ...] = ()


def ask_to_stop(job: SyncJob, jobs: str = Jobs.WAIT, why: str = "") -> Run:
    """Ask the workers of the open run (or of its retry or rollback that is not through) to stop; gives the run. Nothing
    is waited for."""
    run = _at_work(job)
    enter(job, run)  # before it is asked, so that this session obeys too
    run.stops.ask(StopKind.ABORT, why or "it was aborted", jobs=Jobs(jobs), by=job.opened_by)
    return run


def abort(
    job: SyncJob, jobs: str = Jobs.WAIT, why: str = "", waiting: Callable[[dict[str, Any]], None] = lambda _: None
) -> Aborted:
    """Stop the open run of the phase, or a retry or rollback: nothing new is sent, every row is accounted as done or
    `pending`.

    Jobs in flight are waited for or aborted (`jobs`). A worker that lives, in whatever process, does so itself, and
    is waited for (`waiting` is told the holder of the lease at each look); what a dead one left is done here. The
    run stays open: the same verb goes on. Raises `ConfigError` where nothing is open.
    """
    run = ask_to_stop(job, jobs, why)
    desk = job.store.lease(job.plan.target_org_id)
    while others := desk.others(run.label):
        waiting(others[0])
        time.sleep(LOOK_EVERY)
    undo = rollbacks.unfinished(run)
    lease = hold_target(job, run)
    unsettled: list[str] = []
    try:
        if undo is None:
            for plan in job.plan.objects_in(job.phase):
                account_extracted(run, plan)
        else:
            job = job_of(job, run)
        for step, name in run.ledgers():
            if undo is not None and step != undo.step:
                continue
            sender = sender_of(job, run, job.object(name), step)
            numbers = [number for number in sender.ledger.chunks() if sender.in_flight(number)]
            for number in numbers:
                sender.resume(number)
            try:
                finish_chunks(job, run, job.object(name), sender, numbers, lease.check)
            except UnsettledError as error:
                unsettled.append(str(error))
    finally:
        release_target(job, run)
    plans = job.plan.objects_in(job.phase) if undo is None else job.plan.objects
    logs = {plan.object: (undo or run).audit(plan.object) for plan in plans}
    states = {name: counts_by(log.latest(), "state") for name, log in logs.items() if undo is None or log.parts()}
    return Aborted(run.number, verb_at_work(run) or "migrate", states, tuple(unsettled))


def account_extracted(run: Run, plan: ObjectPlan) -> None:
    """Say of records that are extracted and not decided yet that they are pending; any later stage says more."""
    if "remap" in run.audit(plan.object).parts() or reading.recorded(run.extract_folder(plan.object)) is None:
        return
    run.audit(plan.object).append(
        "extract",
        extracted(run, plan).select(
            source_id="Id",
            state=pl.lit(str(State.PENDING)),
            message=pl.lit("the run was stopped before this record was decided"),
            stage=pl.lit("extract"),
            attempt=pl.lit(0),
            at=pl.lit(run.clock()),
        ),
    )


def run_at_work(runs: Runs) -> Run | None:
    """The run that can be stopped: the open one, or one whose retry or rollback is not through."""
    return next((run for run in reversed(runs.list()) if verb_at_work(run) is not None), None)


def verb_at_work(run: Run) -> str | None:
    """What is being done with the run (`migrate`, `retry`, `rollback`), or None."""
    if rollbacks.unfinished(run) is not None:
        return "rollback"
    if run.open_retry is not None:
        return "retry"
    return "migrate" if run.is_open else None


def _at_work(job: SyncJob) -> Run:
    run = run_at_work(job.store.runs(job.key))
    if run is not None:
        return run
    raise ConfigError(
        f"Phase {job.phase!r} of template {job.plan.template!r} has no open run, and no retry or rollback that is not "
        "through: there is nothing to stop.",
        phase=job.phase,
    )
