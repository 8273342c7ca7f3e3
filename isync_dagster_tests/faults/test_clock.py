"""A clock that jumps, either way: nothing that is decided hangs on the clock of the machine."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from isync_dagster.errors import LeaseHeldError
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.writing import release_all
from isync_dagster.store.ledger import Ledger
from isync_dagster.store.process import Process
from isync_dagster.store.store import Store
from isync_dagster_tests.faults.board import ARRIVED, WENT_ON, Board
from isync_dagster_tests.faults.picture import Picture
from isync_dagster_tests.faults.stage import Stage

DAY = timedelta(days=1)


@pytest.fixture
def expected(stage: Stage) -> Picture:
    return stage.undisturbed()[0]


def _job(stage: Stage, clock: Callable[[], datetime]) -> SyncJob:
    return replace(stage.job(), store=Store.open(str(stage.world.store_folder), clock=clock))


class Cut(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("jump", [-400 * DAY, pytest.param(400 * DAY, marks=pytest.mark.slow)], ids=["back", "ahead"])
def test_a_clock_that_jumps_between_a_kill_and_the_resume(
    stage: Stage, expected: Picture, board: Board, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    record = Ledger.record

    def cut_off(ledger: Ledger, chunk: int, attempt: int, to: str, payload: object) -> bool:
        recorded = record(ledger, chunk, attempt, to, payload)  # type: ignore[arg-type]
        if to == "closed":
            raise Cut
        return recorded

    stage.clear()
    with monkeypatch.context() as patch, pytest.raises(Cut):
        patch.setattr(Ledger, "record", cut_off)
        stage.deed.act(stage.job())
    stage.deed.act(_job(stage, lambda: datetime.now(UTC) + jump))
    stage.arrived(expected)
    board.add(f"clock jumps {'back' if jump < 0 * DAY else 'ahead'}", "between kill and resume", WENT_ON)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_clock_that_jumps_at_every_look(stage: Stage, expected: Picture, board: Board, seed: int) -> None:
    random = Random(seed)
    stage.clear()
    stage.deed.act(_job(stage, lambda: datetime.now(UTC) + random.uniform(-300, 300) * DAY))
    stage.arrived(expected)
    board.add("clock jumps either way", "at every look", ARRIVED)


def test_a_machine_whose_clock_is_ahead_takes_the_lease_and_the_first_stops(
    stage: Stage, expected: Picture, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one thing that clocks decide. The worker that lost it sends nothing more, and goes on when it is free."""
    stage.clear()
    job = stage.job()
    desk = job.store.lease(job.plan.target_org_id)
    far = replace(desk, me=Process("far", 1, "another machine", 1), clock=lambda: datetime.now(UTC) + DAY)
    near = Process("near", 2, "this machine seen from far", 2)
    record, taken = Ledger.record, itertools.count()
    stolen = []

    def taken_over(ledger: Ledger, chunk: int, attempt: int, to: str, payload: object) -> bool:
        if to == "planned" and ledger.folder.parent.name == "load" and not next(taken):
            for path in desk.folder.iterdir():
                if path.name == "alive":
                    for member in path.iterdir():
                        member.write_text(_as_process(member.read_text(), near))
            stolen.append(far.acquire("another run", "the other machine"))
        return record(ledger, chunk, attempt, to, payload)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(LeaseHeldError, match="has lost the lease"):
        patch.setattr(Ledger, "record", taken_over)
        stage.deed.act(job)
    assert stage.world.counts("Account") == {"Account": 3}, "nothing was sent after the loss"
    release_all()
    stolen[0].release()
    stage.go_on()
    stage.arrived(expected)
    board.add("clock of another machine is ahead", "it takes the lease", WENT_ON)


def _as_process(text: str, process: Process) -> str:
    import json

    return json.dumps({**json.loads(text), **process.to_json()})
