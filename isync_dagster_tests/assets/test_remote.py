"""What the driver of a run on other machines does besides: it holds the lease with the steps, and says when to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from isync_dagster.assets import cancellation, remote
from isync_dagster.assets.cancellation import RunStatus
from isync_dagster.assets.executor import executor
from isync_dagster.assets.remote import Attended, Tenant
from isync_dagster.assets.worker import WORKER_TAG, signature
from isync_dagster.errors import ConfigError, LeaseHeldError
from isync_dagster.migration import writing
from isync_dagster.store.store import Store

TARGET = "00D" + "B" * 15


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(remote, "LOOK", 0.01)
    monkeypatch.setattr(remote, "LOOK_AGAIN", 0.01)
    return Store.open(str(tmp_path / "store"))


def until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.005)


def test_the_lease_stays_with_the_driver_when_the_step_has_ended(store: Store) -> None:
    desk = store.lease(TARGET)
    with Tenant("r1", lambda: store):
        step = desk.acquire("demo/all/1", "Dagster run r1 (process 7)")
        until(lambda: (desk.holder() or {}).get("members") == 2)
        step.release()
        with pytest.raises(LeaseHeldError, match="Dagster run r1"):
            desk.acquire("other/all/1", "bob")
        desk.acquire("demo/all/1", "Dagster run r1 (process 8)").release()
        assert desk.holder() is not None
    assert desk.holder() is None


def test_a_lease_of_somebody_else_is_not_joined(store: Store) -> None:
    desk = store.lease(TARGET)
    with desk.acquire("demo/all/1", "Dagster run r12 (process 7)"):
        tenant = Tenant("r1", lambda: store)
        tenant.look(store)
        holder = desk.holder()
        assert holder is not None and holder["members"] == 1


def test_a_step_leaves_when_the_driver_is_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other member is another process, which a test has not: `others` stands in for it."""
    desk = store.lease(TARGET)
    lease = desk.acquire("demo/all/1", "Dagster run r1 (process 7)")
    there = threading.Event()
    monkeypatch.setattr(type(desk), "others", lambda *_: [{}] if there.is_set() else [])
    stack = ExitStack()
    stack.enter_context(lease)
    monkeypatch.setitem(writing._held, ("store", TARGET, "demo/all/1"), (lease, stack))
    leaving = threading.Thread(target=writing.hand_over)
    leaving.start()
    assert desk.holder() is not None
    there.set()
    leaving.join()
    assert desk.holder() is None


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


@dg.job
def nothing() -> None: ...


def begun(instance: dg.DagsterInstance) -> dg.DagsterRun:
    return instance.create_run_for_job(job_def=nothing, status=dg.DagsterRunStatus.STARTED)


def test_a_step_elsewhere_sees_that_its_run_is_cancelled_or_over(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancellation, "LOOK_EVERY", 0.0)
    one, two = begun(instance), begun(instance)
    asked, over, gone = (RunStatus(instance, run_id) for run_id in (one.run_id, two.run_id, "never was"))
    assert not asked.is_set() and not over.is_set()
    instance.report_run_canceling(one)
    instance.report_run_failed(two)
    assert asked.is_set() and over.is_set() and gone.is_set()


def test_the_status_is_not_asked_for_at_every_call(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancellation, "LOOK_EVERY", 10.0**9)
    run = begun(instance)
    status = RunStatus(instance, run.run_id)
    assert not status.is_set()
    instance.report_run_canceling(run)
    assert not status.is_set(), "within the interval the last answer counts"


def test_an_interrupt_of_the_driver_reaches_the_steps(
    instance: dg.DagsterInstance, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_store", lambda: store)
    run = begun(instance)

    class Inner:
        retries = step_dependency_config = None

        def app_args(self) -> str:
            return "its own"

        def execute(self, *_: Any) -> Iterator[Any]:
            yield SimpleNamespace(is_engine_event=True, engine_event_data=EngineEventData({}))
            yield SimpleNamespace(is_engine_event=True, engine_event_data=EngineEventData.interrupted(["a"]))

    attended = Attended(Inner())
    assert attended.app_args() == "its own"
    context: Any = SimpleNamespace(instance=instance, dagster_run=run)
    events = attended.execute(context, None)  # type: ignore[arg-type]
    next(events)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None and found.status is dg.DagsterRunStatus.STARTED
    assert found.tags[WORKER_TAG] == signature()
    assert len(list(events)) == 1
    found = instance.get_run_by_id(run.run_id)
    assert found is not None and found.status is dg.DagsterRunStatus.CANCELING


@pytest.mark.parametrize(("name", "extra"), [("celery", "celery"), ("k8s", "k8s")])
def test_a_missing_package_is_named(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"pip install 'isync_dagster\[{extra}\]'"):
        executor(name)


def test_celery_needs_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    monkeypatch.delenv(remote.BROKER, raising=False)
    with pytest.raises(ConfigError, match="set ISYNC_CELERY_BROKER=redis://"):
        executor("celery")
    monkeypatch.setenv(remote.BROKER, "redis://secret@host/0")
    assert remote.broker() == ("redis://secret@host/0", "redis://secret@host/0")
    made = executor("celery")
    assert made.name == "celery"
    assert made.config_schema.default_provided is False or "secret" not in str(made.config_schema.as_field())
