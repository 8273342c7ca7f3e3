"""A step whose worker is lost, without workers: what the driver's loop is told."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("dagster_celery")

from celery.exceptions import TaskRevokedError, WorkerLostError
from kombu.exceptions import OperationalError

from isync_dagster.assets import celery_steps
from isync_dagster.assets.celery_steps import MISSED, Roster, Task
from isync_dagster.assets.work import RETRY


class Workers:
    """Celery's control: who answers the roll call."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.broker = True
        self.control = self

    def ping(self, timeout: float) -> list[dict[str, Any]]:
        if not self.broker:
            raise OperationalError("no broker")
        return [{name: {"ok": "pong"}} for name in self.names]


class Result:
    """Celery's result of one task."""

    def __init__(self, state: str, info: Any = None) -> None:
        self.state = state
        self.info = info
        self.revoked = False

    def ready(self) -> bool:
        return self.state in ("SUCCESS", "FAILURE", "REVOKED")

    def get(self) -> Any:
        if self.state == "SUCCESS":
            return self.info
        raise self.info

    def revoke(self) -> None:
        self.revoked = True


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events as words: that Dagster takes them is for the real run to show."""
    monkeypatch.setattr(celery_steps, "serialize_value", lambda value: value)
    monkeypatch.setattr(Task, "_up_for_retry", lambda self, error: "again: " + error.message)
    monkeypatch.setattr(Task, "_failed", lambda self, error: "failed: " + error.message)


def task(result: Result, roster: Roster, attempts: int = 0) -> Task:
    return Task(result, roster, None, None, attempts)


def test_a_worker_that_does_not_answer_is_lost_after_some_roll_calls(told: None) -> None:
    workers = Workers("one@a", "two@b")
    roster = Roster(workers)
    mine, other = (task(Result("STARTED", {"hostname": name}), roster) for name in ("one@a", "two@b"))
    assert not mine.ready() and not other.ready()
    workers.names.discard("one@a")
    for _ in range(MISSED - 1):
        roster.call()
    assert not mine.ready()
    roster.call()
    assert mine.ready() and not other.ready()
    (event,) = mine.get()
    assert event.startswith("again: ") and "one@a does not answer" in event


def test_one_answer_begins_the_count_anew() -> None:
    workers = Workers("one@a")
    roster = Roster(workers)
    assert not roster.is_lost("one@a")
    for _ in range(MISSED - 1):
        workers.names.clear()
        roster.call()
    workers.names.add("one@a")
    roster.call()
    workers.names.clear()
    roster.call()
    assert not roster.is_lost("one@a")


def test_while_the_broker_is_away_nobody_is_lost() -> None:
    workers = Workers()
    roster = Roster(workers)
    assert not roster.is_lost("one@a")
    workers.broker = False
    for _ in range(2 * MISSED):
        roster.call()
    assert not roster.is_lost("one@a")


def test_a_task_that_waits_in_the_broker_belongs_to_nobody() -> None:
    roster = Roster(Workers())
    waiting = task(Result("PENDING"), roster)
    assert not waiting.ready()
    for _ in range(2 * MISSED):
        roster.call()
    assert not waiting.ready()


def test_a_process_killed_under_a_living_worker_is_tried_again_as_often_as_the_policy_says(told: None) -> None:
    lost = Result("FAILURE", WorkerLostError("signal 9"))
    events = [task(lost, Roster(Workers()), attempts).get()[0] for attempts in range(RETRY.max_retries + 1)]
    assert [event.split(":")[0] for event in events] == ["again"] * RETRY.max_retries + ["failed"]


def test_what_a_task_raises_is_the_failure_of_its_step(told: None) -> None:
    (event,) = task(Result("FAILURE", ValueError("a bug")), Roster(Workers())).get()
    assert event.startswith("failed: ") and "a bug" in event


def test_a_result_and_a_revocation_pass_as_they_are() -> None:
    assert task(Result("SUCCESS", ["e1", "e2"]), Roster(Workers())).get() == ["e1", "e2"]
    with pytest.raises(TaskRevokedError):
        task(Result("REVOKED", TaskRevokedError("revoked")), Roster(Workers())).get()
    result = Result("PENDING")
    task(result, Roster(Workers())).revoke()
    assert result.revoked
