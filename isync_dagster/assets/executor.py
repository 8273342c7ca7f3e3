"""The executor of the tool: asset steps as threads of one process.

Asset steps wait on an API most of their life, so that a process each costs more than it gives, and one
process has one login an org. The file leans on Dagster internals (the ones that Dagster's own in-process
executor is made of), which is why it is the only one that imports `dagster._core`, Dagster is pinned, and
`isync_dagster_tests/assets/test_executor.py` holds what Dagster promises of an executor: retries, pools, blocking
checks, failure isolation, limits by tag, cancellation.

A thread cannot be killed. An interrupted run (UI "Terminate", Ctrl-C) therefore starts no new step, sets the
run's cancel token, which the verbs look at between two calls to Salesforce, and waits for the running steps;
a second interrupt leaves them behind. What they had sent is in the ledger, and the next run goes on from it.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.compute_logs import create_compute_log_file_key
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import _trigger_hook, dagster_event_sequence_for_step
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.retries import RetryMode, get_retries_config
from dagster._core.execution.step_dependency_config import (
    StepDependencyConfig,
    get_step_dependency_config_field,
)
from dagster._core.execution.tags import get_tag_concurrency_limits_config
from dagster._core.executor.base import Executor

from isync_dagster.assets import remote
from isync_dagster.assets.cancellation import Token
from isync_dagster.assets.worker import WORKER_TAG, signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dagster._core.execution.context.system import (
        PlanExecutionContext,
        PlanOrchestrationContext,
        StepExecutionContext,
    )
    from dagster._core.execution.plan.active import ActiveExecution
    from dagster._core.execution.plan.plan import ExecutionPlan

MAX_CONCURRENT = 16
"""Steps at the same time: most of them wait, and the pools hold back what an org would not like."""

TICK = 0.1
"""Seconds between two looks at interrupts, due retries and pool slots while nothing else happens."""


@dataclass
class _Finished:
    """What a step's thread says last: `error` is what escaped Dagster's own handling, usually None."""

    step_key: str
    error: BaseException | None


@dataclass
class _Threads:
    """The running steps of one run, and the one queue they all report to."""

    # No SimpleQueue: CPython 3.11's waits for ever where a signal interrupts its wait and the time is over by then.
    reports: queue.Queue[tuple[str, DagsterEvent] | _Finished] = field(default_factory=queue.Queue)
    running: dict[str, StepExecutionContext] = field(default_factory=dict)
    events: dict[str, list[DagsterEvent]] = field(default_factory=dict)

    def start(self, context: StepExecutionContext) -> None:
        key = context.step.key
        self.running[key] = context
        self.events[key] = []
        # A daemon thread: a second interrupt must be able to leave the process while a call hangs.
        threading.Thread(target=self._run, args=(key, context), name=f"step {key}", daemon=True).start()

    def _run(self, key: str, context: StepExecutionContext) -> None:
        error: BaseException | None = None
        try:
            for event in dagster_event_sequence_for_step(context):
                self.reports.put((key, event))
        except BaseException as escaped:  # noqa: BLE001 (the border of a thread: handed to the main thread)
            error = escaped
        self.reports.put(_Finished(key, error))

    def take(self) -> tuple[str, DagsterEvent] | _Finished | None:
        """The next report, or None after a tick without one."""
        try:
            return self.reports.get(timeout=TICK)
        except queue.Empty:
            return None


class ThreadedExecutor(Executor):
    """Runs the steps of a run as threads of its process, `max_concurrent` at a time."""

    def __init__(
        self,
        retries: RetryMode,
        max_concurrent: int,
        tag_concurrency_limits: Sequence[Mapping[str, Any]] = (),
        step_dependency_config: StepDependencyConfig | None = None,
    ) -> None:
        self._retries = retries
        self._max_concurrent = max_concurrent
        self._tag_concurrency_limits = [dict(limit) for limit in tag_concurrency_limits]
        self._step_dependency_config = step_dependency_config or StepDependencyConfig.default()

    @property
    def retries(self) -> RetryMode:
        return self._retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self._step_dependency_config

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        keys = execution_plan.step_keys_to_execute
        started = time.monotonic()
        yield DagsterEvent.engine_event(
            plan_context,
            f"Executing steps as threads, at most {self._max_concurrent} at a time (pid: {os.getpid()})",
            EngineEventData.in_process(os.getpid(), keys),
        )
        yield from ExecuteRunWithPlanIterable(
            execution_plan=plan_context.execution_plan,
            iterator=self._iterate,
            execution_context_manager=PlanExecutionContextManager(
                job=plan_context.job,
                retry_mode=plan_context.retry_mode,
                execution_plan=plan_context.execution_plan,
                run_config=plan_context.run_config,
                dagster_run=plan_context.dagster_run,
                instance=plan_context.instance,
                raise_on_error=plan_context.raise_on_error,
                output_capture=plan_context.output_capture,
                step_dependency_config=self.step_dependency_config,
            ),
        )
        yield DagsterEvent.engine_event(
            plan_context,
            f"Finished steps in {time.monotonic() - started:.1f} s (pid: {os.getpid()})",
            EngineEventData.in_process(os.getpid(), keys),
        )

    def _iterate(self, job_context: PlanExecutionContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        instance, run = job_context.instance, job_context.dagster_run
        cancel = Token(run.run_id)
        instance.add_run_tags(run.run_id, {WORKER_TAG: signature()})
        threads = _Threads()
        try:
            with (
                InstanceConcurrencyContext(instance, run) as slots,
                execution_plan.start(
                    retry_mode=self._retries,
                    max_concurrent=self._max_concurrent,
                    tag_concurrency_limits=self._tag_concurrency_limits,
                    instance_concurrency_context=slots,
                    step_dependency_config=self._step_dependency_config,
                ) as active,
                _Capture(job_context, execution_plan) as capture,
            ):
                yield from capture.events
                yield from self._loop(job_context, active, threads, cancel)
        finally:
            cancel.release()
            if not threads.running:
                _give_back_leases()
            if threads.running and instance.event_log_storage.supports_global_concurrency_limits:
                # Left behind by a second interrupt: their slots would hold back every later run.
                instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)

    def _loop(
        self, job_context: PlanExecutionContext, active: ActiveExecution, threads: _Threads, cancel: Token
    ) -> Iterator[DagsterEvent]:
        interrupts = 0
        escaped: BaseException | None = None
        look = True
        while True:
            if active.check_for_interrupts():
                interrupts += 1
                active.mark_interrupted()
                cancel.set()
                if interrupts > 1:
                    yield _interrupted(job_context, "Interrupted again: not waiting for", threads.running)
                    break
                yield _interrupted(job_context, "Interrupted: no new steps; waiting for", threads.running)
            if look and not (interrupts or escaped):
                for step in active.get_steps_to_execute():
                    threads.start(job_context.for_step(step, active.get_known_state()))
                yield from active.concurrency_event_iterator(job_context)
                # Skipped and abandoned steps end here, and may make others ready to run.
                yield from active.plan_events_iterator(job_context)
            if not threads.running and (active.is_complete or interrupts or escaped):
                break
            report = threads.take()
            # Looking costs a pass over all pending steps: worth it when a step has ended, or after a quiet tick.
            look = report is None or isinstance(report, _Finished)
            if isinstance(report, _Finished):
                step_context = threads.running.pop(report.step_key)
                active.verify_complete(job_context, report.step_key)
                yield from _trigger_hook(step_context, threads.events.pop(report.step_key))
                if report.error is not None and not isinstance(report.error, DagsterExecutionInterruptedError):
                    escaped = escaped or report.error
                    cancel.set()
            elif report is not None:
                key, event = report
                threads.events[key].append(event)
                yield event
                active.handle_event(event)
        if escaped is not None:
            raise escaped
        if interrupts:
            raise DagsterExecutionInterruptedError("The run was interrupted.")


class _Capture:
    """Captures what the process prints into the run's compute log; where that cannot be, an event says so."""

    def __init__(self, job_context: PlanExecutionContext, execution_plan: ExecutionPlan) -> None:
        self._job_context = job_context
        self._steps = [step.key for step in execution_plan.get_steps_to_execute_in_topo_order()]
        self._capture: Any = None
        self.events: list[DagsterEvent] = []

    def __enter__(self) -> _Capture:
        manager = self._job_context.instance.compute_log_manager
        key = manager.build_log_key_for_run(self._job_context.run_id, create_compute_log_file_key())  # type: ignore[no-untyped-call]
        capture = manager.capture_logs(key)
        try:
            context = capture.__enter__()
        except Exception as error:  # noqa: BLE001 (a full disk or a read-only home must not stop a migration)
            text = f"The output of this run is not captured: {error}"
            self.events.append(DagsterEvent.engine_event(self._job_context, text, EngineEventData()))
        else:
            self._capture = capture
            self.events.append(DagsterEvent.capture_logs(self._job_context, self._steps, key, context))
        return self

    def __exit__(self, *exception: object) -> None:
        if self._capture is not None:
            self._capture.__exit__(None, None, None)


def _give_back_leases() -> None:
    """End what the run's steps held in this process; where no step wrote, the module was never loaded."""
    writing = sys.modules.get("isync_dagster.migration.writing")
    if writing is not None:
        writing.release_all()


def _interrupted(context: PlanExecutionContext, what: str, running: Mapping[str, Any]) -> DagsterEvent:
    names = ", ".join(running) or "nothing"
    return DagsterEvent.engine_event(context, f"{what} {names}.", EngineEventData.interrupted(list(running)))


@dg.executor(
    name="threads",
    config_schema={
        "max_concurrent": dg.Field(
            int, default_value=MAX_CONCURRENT, description="Steps that run at the same time in this process."
        ),
        "retries": get_retries_config(),  # type: ignore[no-untyped-call]
        "tag_concurrency_limits": get_tag_concurrency_limits_config(),  # type: ignore[no-untyped-call]
        "step_dependency_config": get_step_dependency_config_field(),  # type: ignore[no-untyped-call]
    },
)
def threaded_executor(context: dg.InitExecutorContext) -> ThreadedExecutor:
    """Runs asset steps as threads of one process: they wait for Salesforce, not for the processor."""
    config: Any = context.executor_config
    return ThreadedExecutor(
        retries=RetryMode.from_config(config["retries"]) or RetryMode.ENABLED,
        max_concurrent=config["max_concurrent"],
        tag_concurrency_limits=config.get("tag_concurrency_limits") or (),
        step_dependency_config=StepDependencyConfig.from_config(config.get("step_dependency_config")),
    )


LIMITS = [{"key": "isync/size", "value": "huge", "limit": 2}]
"""Objects marked huge use many connections and much memory each: at most two at a time in one run."""


def executor(name: str, max_concurrent: int | None = None) -> dg.ExecutorDefinition:
    """The executor of that name (setting `ISYNC_EXECUTOR`): threads, processes, in_process, celery or k8s."""
    many = max_concurrent or MAX_CONCURRENT
    if name == "threads":
        return threaded_executor.configured({"max_concurrent": many, "tag_concurrency_limits": LIMITS}, name="threads")
    if name == "processes":
        # The preloaded module makes a step 0.17 s and 31 MB of its own, where a spawned one takes 0.9 s and 130 MB.
        preload = {"forkserver": {"preload_modules": ["isync_dagster.assets.warm"]}}
        config = {"max_concurrent": many, "start_method": preload, "tag_concurrency_limits": LIMITS}
        return dg.multiprocess_executor.configured(config, name="processes")
    if name == "celery":
        # How many steps at a time is the workers' own setting.
        return remote.celery()
    if name == "k8s":
        return remote.k8s(many, LIMITS)
    return dg.in_process_executor
