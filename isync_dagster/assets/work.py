"""From a Dagster step to a verb: the sync job of the step, its progress as observations, its errors as failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from isync_dagster.assets import keys
from isync_dagster.assets.cancellation import RunStatus, Token
from isync_dagster.errors import IsyncError, TransientError
from isync_dagster.migration.model import Progress, RunOptions, SyncJob

if TYPE_CHECKING:
    from isync_dagster.assets.resources import Workbench

OBSERVE_EVERY = 5.0
"""Seconds between two progress observations of a step: a plot that rises, not a flooded event log."""

RETRY = dg.RetryPolicy(max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""For `TransientError` only: every verb takes up where it was cut off, so that repeating one sends nothing twice."""

PRIORITY = "dagster/priority"
"""Op tag: of the steps that are ready, those that others wait for go first, re-reads for checks last."""

Listener = Callable[[str, str, Progress], None]

listeners: list[Listener] = []
"""Called with (template, phase, progress) in the process of the run; the CLI draws its bars from it."""


def sync_job(
    context: dg.AssetExecutionContext, workbench: Workbench, options: RunOptions, template: str, phase: str
) -> SyncJob:
    """The sync job of an asset's step: stops when the run is interrupted, reports rows done as observations."""
    run_id = context.run.run_id
    return workbench.job(
        template,
        phase,
        options,
        cancelled=cancelled(context, workbench),
        progress=Reporter(context, template, phase),
        opened_by=f"Dagster run {run_id}",
        session=run_id,
    )


def sign(context: dg.AssetExecutionContext, job: SyncJob) -> None:
    """Tag the Dagster run with the sync job and the number of its run, which the first extract opens."""
    run = job.store.runs(job.key).current()
    run_id = context.run.run_id
    if run is None or run_id in _signed:
        return
    _signed.add(run_id)
    plan = job.plan
    name = f"{plan.source_alias} to {plan.target_alias}: {plan.template}, {job.phase}"
    context.instance.add_run_tags(run_id, {keys.SYNC_JOB_TAG: name, keys.RUN_TAG: str(run.number)})


_signed: set[str] = set()
"""Dagster runs that this process has tagged: once is enough."""


def cancelled(context: dg.OpExecutionContext | dg.AssetExecutionContext, workbench: Workbench) -> Callable[[], bool]:
    """What says whether the step's run was asked to stop."""
    run_id = context.run.run_id
    return (RunStatus(context.instance, run_id) if workbench.settings.is_remote else Token(run_id)).is_set


class Reporter:
    """Turns the progress of one step into observations of its asset, no more than one each few seconds."""

    def __init__(self, context: dg.AssetExecutionContext, template: str, phase: str) -> None:
        self._context = context
        self._template = template
        self._phase = phase
        self._lock = threading.Lock()
        self._started = time.monotonic()
        # A step that is over within the first interval needs no observation at all.
        self._next = self._started + OBSERVE_EVERY

    def __call__(self, progress: Progress) -> None:
        for listener in listeners:
            listener(self._template, self._phase, progress)
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + OBSERVE_EVERY
        self._observe(progress, now - self._started)

    def _observe(self, progress: Progress, seconds: float) -> None:
        self._context.log_event(
            dg.AssetObservation(
                asset_key=self._context.asset_key,
                partition=self._phase,
                description=f"{progress.message} after {seconds:.0f} s",
                metadata={"rows_done": progress.done, "rows_total": progress.total},
            )
        )


@contextmanager
def boundary() -> Iterator[None]:
    """The border of our code to Dagster: only what may be repeated is left to the retry policy.

    Everything else fails the step at once, with the error's own text as what the UI shows.
    """
    try:
        yield
    except (TransientError, dg.Failure):
        raise
    except IsyncError as error:
        raise dg.Failure(str(error), metadata={"error": type(error).__name__}, allow_retries=False) from error
    except Exception as error:
        # A bug of ours or of a library: the first line for people, the whole of it in the stack trace below.
        text = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        raise dg.Failure(text, metadata={"error": type(error).__name__}, allow_retries=False) from error
