"""Steps as tasks of Celery workers: dagster-celery's executor, with an eye on the workers.

dagster-celery waits for the result of a task for ever. A worker that is killed with its machine gives none, and one
whose process alone is killed gives an exception after which no step is begun any more and the run never ends. Here
both are the failure of that one step: it is tried again, on a worker that lives, as the step's retry policy says.
What the dead one had sent is in the ledger, so that nothing is sent twice; a worker that was only cut off and comes
back finds its claim to the step taken, or keeps it, and then the second attempt is the one that is refused.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from celery.exceptions import TaskRevokedError, WorkerLostError
from dagster._core.events import DagsterEvent
from dagster._core.execution.plan.objects import StepFailureData, StepRetryData
from dagster._core.execution.retries import RetryMode
from dagster._serdes import serialize_value
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_celery.core_execution_loop import core_celery_execution_loop
from dagster_celery.executor import CeleryExecutor, _submit_task
from dagster_celery.make_app import make_app

from isync_dagster.assets.remote import broker
from isync_dagster.assets.work import RETRY

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster_shared.error import SerializableErrorInfo

SETTINGS: Mapping[str, Any] = {
    # The result says which worker began the task.
    "task_track_started": True,
    # A task waits in the broker, not in a worker with whose death it would be out of reach for an hour.
    "worker_disable_prefetch": True,
    "broker_connection_retry_on_startup": True,
    # A worker's processes keep their logins and connections; they are renewed now and then.
    "worker_max_tasks_per_child": 500,
}
log = logging.getLogger("isync.celery")

EVERY = 3.0
"""Seconds between two roll calls."""
MISSED = 6
"""Roll calls in a row without an answer after which a worker counts as lost."""


class Roster(threading.Thread):
    """Calls the roll of the workers; a context manager that ends it."""

    def __init__(self, app: Any) -> None:
        super().__init__(name="roster", daemon=True)
        self._app = app
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._missed: dict[str, int] = {}

    def __enter__(self) -> Roster:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self.join()

    def is_lost(self, worker: str) -> bool:
        """True where the worker has not answered for `MISSED` roll calls; from the first question on it is looked for."""
        with self._lock:
            return self._missed.setdefault(worker, 0) >= MISSED

    def call(self) -> None:
        """One roll call. Where the broker does not answer, nobody has missed anything."""
        try:
            answers = self._app.control.ping(timeout=2.0)
        except Exception as error:  # noqa: BLE001 (each broker's client has errors of its own; the next call tells)
            log.warning("The workers cannot be asked whether they live: %s", error)
            return
        there = {name for answer in answers for name in answer}
        with self._lock:
            self._missed = {name: 0 if name in there else missed + 1 for name, missed in self._missed.items()}

    def run(self) -> None:
        while not self._end.wait(EVERY):
            if self._missed:
                self.call()


class Task:
    """The result of a step's task as dagster-celery's loop asks for it: always there in the end."""

    def __init__(self, result: Any, roster: Roster, context: Any, step: Any, attempts: int) -> None:
        self._result = result
        self._roster = roster
        self._context = context
        self._step = step
        self._attempts = attempts
        self._lost = ""

    def ready(self) -> bool:
        """True where the worker has answered, or is lost."""
        if self._result.ready():
            return True
        found = self._result.info if self._result.state == "STARTED" else None
        worker = found.get("hostname") if isinstance(found, Mapping) else None
        if worker and self._roster.is_lost(worker):
            self._lost = worker
        return bool(self._lost)

    def get(self) -> list[str]:
        """The events of the step, serialized; those of a lost one say that it failed or is tried again."""
        try:
            if not self._lost:
                return list(self._result.get())
            raise WorkerLostError(f"The worker {self._lost} does not answer any more.")
        except TaskRevokedError:
            raise
        except WorkerLostError:
            error = serializable_error_info_from_exc_info(sys.exc_info())
            again = self._attempts < RETRY.max_retries
            return [serialize_value(self._up_for_retry(error) if again else self._failed(error))]
        except Exception:  # noqa: BLE001 (whatever a task raises is the failure of its step)
            return [serialize_value(self._failed(serializable_error_info_from_exc_info(sys.exc_info())))]

    def revoke(self) -> None:
        """Take the task back where it has not begun."""
        self._result.revoke()

    def _up_for_retry(self, error: SerializableErrorInfo) -> DagsterEvent:
        data = StepRetryData(error, 0)  # type: ignore[no-untyped-call]
        return DagsterEvent.step_retry_event(self._context.for_step(self._step), data)

    def _failed(self, error: SerializableErrorInfo) -> DagsterEvent:
        data = StepFailureData(error, None)  # type: ignore[no-untyped-call]
        return DagsterEvent.step_failure_event(self._context.for_step(self._step), data)


class CelerySteps(CeleryExecutor):  # type: ignore[misc]
    """dagster-celery's executor; its loop, queues and tasks are what they are."""

    @classmethod
    def from_env(cls) -> CelerySteps:
        """With the broker of the environment."""
        url, backend = broker()
        return cls(RetryMode.ENABLED, url, backend, [], dict(SETTINGS))

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        with Roster(make_app(self.app_args())) as roster:

            def submit(app: Any, context: Any, step: Any, queue: str, priority: int, known: Any) -> Task:
                with warnings.catch_warnings():
                    # dagster-celery makes its one task anew for each step, and Celery wonders.
                    warnings.filterwarnings("ignore", "Task name 'execute_plan' is already registered")
                    result = _submit_task(app, context, step, queue, priority, known)
                attempts = known.get_retry_state().get_attempt_count(step.key) if known else 0
                return Task(result, roster, context, step, attempts)

            yield from core_celery_execution_loop(plan_context, execution_plan, step_execution_fn=submit)
