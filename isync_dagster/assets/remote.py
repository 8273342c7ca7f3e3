"""Steps on other machines: the executors of dagster-celery and dagster-k8s, and what a run of ours needs besides.

The process that drives such a run executes no step itself. It attends the run:

* it signs the run as its worker, so that a run whose driver is gone is ended (`assets.worker`);
* it holds the lease of the target together with the steps, which come and go, from the first that took it to the run's
  end: between two steps nobody else may begin to write, and automation that is off stays off (`Tenant`);
* where the run is interrupted it says so in the run's status, which the steps look at wherever they are.

Dagster shares out the steps, the pools and the retries. Nothing here does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._core.executor.base import Executor

from isync_dagster.assets.settings import Settings
from isync_dagster.assets.worker import WORKER_TAG, signature
from isync_dagster.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from dagster._core.events import DagsterEvent
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan

    from isync_dagster.store.store import Store

BROKER, BACKEND = "ISYNC_CELERY_BROKER", "ISYNC_CELERY_BACKEND"
LOOK = 0.5
"""Seconds between two looks for the lease that the run's first writing step takes."""
LOOK_AGAIN = 5.0
"""The same once it is held: for another run's, which a heal works under."""


class Tenant:
    """Holds, beside the steps of a Dagster run, every lease that they take; a context manager."""

    def __init__(self, run_id: str, store: Callable[[], Store]) -> None:
        self._holder = f"Dagster run {run_id}"
        self._open = store
        self._held: dict[tuple[str, str], Any] = {}
        self._stack = ExitStack()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="tenant", daemon=True)

    def __enter__(self) -> Tenant:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._stack.close()

    def _look_on(self) -> None:
        store: Store | None = None
        while True:
            try:
                store = store or self._open()
                self.look(store)
            except StoreError:
                # Out of reach, or somebody else's by now: the steps say so, each at its own call.
                pass
            if self._end.wait(LOOK_AGAIN if self._held else LOOK):
                return

    def look(self, store: Store) -> None:
        """Join the leases whose holder is a step of the run."""
        from isync_dagster.store import files

        for org in files.names(store.layout.root / "leases"):
            if org.endswith(".json"):
                continue
            desk = store.lease(org)
            top = desk.top()
            if top is None or top.action == "free" or (org, top.label) in self._held:
                continue
            holders = {str(member["holder"]) for member in desk.members(top.label).values()}
            if any(holder.startswith(f"{self._holder} ") for holder in holders):
                lease = self._stack.enter_context(desk.acquire(top.label, f"{self._holder} (driver {os.getpid()})"))
                self._stack.enter_context(lease.keep())
                self._held[org, top.label] = lease


class Attended(Executor):
    """An executor of steps elsewhere, attended; everything else is that executor's own."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def retries(self) -> RetryMode:
        return self.inner.retries  # type: ignore[no-any-return]

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self.inner.step_dependency_config  # type: ignore[no-any-return]

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        instance, run = plan_context.instance, plan_context.dagster_run
        instance.add_run_tags(run.run_id, {WORKER_TAG: signature()})
        with Tenant(run.run_id, _store):
            for event in self.inner.execute(plan_context, execution_plan):
                if event.is_engine_event and "steps_interrupted" in event.engine_event_data.metadata:
                    instance.report_run_canceling(run)
                yield event


def _store() -> Store:
    from isync_dagster.store.store import Store

    return Store.open(Settings.from_env().store)


def celery() -> dg.ExecutorDefinition:
    """Each step is a task of a Celery worker: `celery -A isync_dagster.assets.celery_app worker`."""
    _require("dagster_celery", "celery")
    broker()

    @dg.executor(name="celery", requirements=dg.multiple_process_executor_requirements())
    def celery_executor(context: dg.InitExecutorContext) -> Executor:
        from isync_dagster.assets.celery_steps import CelerySteps

        return Attended(CelerySteps.from_env())

    return celery_executor


def k8s(max_concurrent: int, limits: list[dict[str, Any]]) -> dg.ExecutorDefinition:
    """Each step is a Kubernetes job; image, environment and resources are those of the instance's run launcher."""
    _require("dagster_k8s", "k8s")
    from dagster_k8s import k8s_job_executor

    schema: Any = k8s_job_executor.config_schema

    @dg.executor(
        name="k8s",
        config_schema=schema,
        requirements=dg.multiple_process_executor_requirements(),
    )
    def attended(context: dg.InitExecutorContext) -> Executor:
        create: Any = k8s_job_executor.executor_creation_fn
        return Attended(create(context))

    return attended.configured({"max_concurrent": max_concurrent, "tag_concurrency_limits": limits}, name="k8s")


def broker() -> tuple[str, str]:
    """The URLs of broker and result backend, from the environment alone: they may hold a password."""
    url = os.environ.get(BROKER, "")
    if not url:
        raise ConfigError(
            f"ISYNC_EXECUTOR is 'celery', which needs the URL of a broker: set {BROKER}=redis://host:6379/0."
        )
    return url, os.environ.get(BACKEND) or url


def _require(module: str, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise ConfigError(
            f"ISYNC_EXECUTOR is {extra!r}, which needs a package that is not installed: pip install 'isync_dagster[{extra}]'."
        )
