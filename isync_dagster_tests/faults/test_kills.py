"""A worker that is killed at any point and begun again ends like one that was never disturbed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from random import Random

import polars as pl
import pytest
from upath import UPath

from isync_dagster.local_org.service import Service
from isync_dagster.local_org.web import Call, Reply, Route
from isync_dagster.store import files
from isync_dagster_tests.faults.board import ARRIVED, WENT_ON, Board
from isync_dagster_tests.faults.deeds import DEEDS, patient
from isync_dagster_tests.faults.picture import Picture
from isync_dagster_tests.faults.points import kind_of
from isync_dagster_tests.faults.stage import Stage
from isync_dagster_tests.faults.worker import Workers

SHARES = 4
RANDOM_KILLS = 30
SHORT = {
    "migrate": ("ledger load: created", "ledger load: closed", "ledger load: answers", "ledger relink: created"),
    "retry": ("ledger retry-1: created",),
    "rollback": ("ledger rollback-1: created",),
}
"""Where a short sweep kills: the kinds of transition at which something is on its way."""

ALIKE = ("claims", "used", "verdicts", "verify")
"""Kinds of file of which one stands for all: nothing is decided by them once the worker is gone."""

Point = dict[str, str]


@pytest.fixture(params=list(DEEDS))
def stage(request: pytest.FixtureRequest, stages: dict[str, Stage]) -> Stage:
    return stages[request.param]


@pytest.fixture
def undisturbed(stage: Stage) -> tuple[Picture, list[Point]]:
    return stage.undisturbed()


def _kill_at(stage: Stage, workers: Workers, point: Point, expected: Picture, board: Board) -> None:
    stage.clear()
    code = workers.run(stage.recipe(fatal=point))
    assert code == -signal.SIGKILL, f"{point} was not met: {code}"
    stage.go_on()
    stage.arrived(expected)
    board.add(f"kill -9, {point['moment']}", f"{stage.deed.name}: {kind_of(point['point'])}", WENT_ON)


def _one_of_each_kind(points: list[Point]) -> list[Point]:
    return list({(kind_of(point["point"]), point["moment"]): point for point in reversed(points)}.values())


@pytest.mark.parametrize("stage", list(SHORT), indirect=True)
def test_a_kill_at_each_kind_of_transition(
    stage: Stage, workers: Workers, undisturbed: tuple[Picture, list[Point]], board: Board
) -> None:
    expected, points = undisturbed
    one = {kind_of(point["point"]): point for point in _one_of_each_kind(points) if point["moment"] == "written"}
    for kind in SHORT[stage.deed.name]:
        _kill_at(stage, workers, one[kind], expected, board)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_a_kill_at_every_point(
    stage: Stage, workers: Workers, undisturbed: tuple[Picture, list[Point]], board: Board, share: int
) -> None:
    """Every file that a run writes, and every kind of answer that it gets; a file half written once a kind."""
    expected, points = undisturbed
    ledger = [point for point in points if point["point"].startswith("ledger/")]
    states = {kind_of(point["point"]).split(": ")[1] for point in ledger}
    assert states >= {"planned", "created", "uploaded", "closed", "finished", "paired", "done"}
    one = _one_of_each_kind(points)
    torn = [point for point in one if point["moment"] == "torn"]
    whole = [
        point
        for point in points
        if point["moment"] != "torn" and (point in one or kind_of(point["point"]) not in ALIKE)
    ]
    # What differs between two deeds is what they send.
    chosen = {"migrate": [*torn, *whole], "migrate by key": _one_of_each_kind(ledger)}.get(stage.deed.name, ledger)
    for point in chosen[share::SHARES]:
        _kill_at(stage, workers, point, expected, board)


@pytest.mark.parametrize("stage", ["migrate"], indirect=True)
def test_a_kill_while_the_org_is_still_at_work(
    stage: Stage,
    workers: Workers,
    undisturbed: tuple[Picture, list[Point]],
    board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker dies with a call on its way that the org saves only later: its row is not absent, and not sent again."""
    expected, _ = undisturbed
    stage.clear()
    answer, arrived = Service.answer, threading.Event()

    def slowly(service: Service, item: Route, call: Call) -> Reply:
        if call.method == "POST" and "composite/sobjects" in call.url_path and not arrived.is_set():
            arrived.set()
            time.sleep(0.7)
        return answer(service, item, call)

    monkeypatch.setattr(Service, "answer", slowly)
    pid = workers.start(stage.recipe())
    assert arrived.wait(60)
    os.kill(pid, signal.SIGKILL)
    assert workers.wait(pid) == -signal.SIGKILL
    stage.deed.act(patient(stage.job(), 2.0))
    stage.arrived(expected)
    board.add("kill -9, a call on its way", stage.deed.name, WENT_ON)


@pytest.mark.slow
def test_kills_at_random_moments(
    stage: Stage, workers: Workers, undisturbed: tuple[Picture, list[Point]], board: Board
) -> None:
    """By the clock, and again while the run goes on; the moments are drawn by a seed that the failure names."""
    expected, _ = undisturbed
    stage.clear()
    began = time.monotonic()
    assert workers.run(stage.recipe()) == 0
    usual = time.monotonic() - began
    for seed in range(RANDOM_KILLS):
        random = Random(f"{stage.deed.name} {seed}")
        stage.clear()
        for _ in range(random.choice((1, 1, 2, 4))):
            pid = workers.start(stage.recipe())
            time.sleep(random.uniform(0, usual))
            os.kill(pid, signal.SIGKILL)
            assert workers.wait(pid) in (0, -signal.SIGKILL)
            if not stage.is_open():
                break
        stage.go_on()
        stage.arrived(expected)
        board.add("kill -9, at random moments", stage.deed.name, WENT_ON)


def test_a_kill_in_the_middle_of_a_parquet_write(tmp_path: Path, workers: Workers, board: Board) -> None:
    """A real one: the process dies while Polars streams rows; no file of that name is there, an old one is whole."""
    path = UPath(tmp_path / "rows.parquet")
    files.write_parquet(path, pl.DataFrame({"n": [1]}))
    pid = workers.start_endless_write(str(path))
    dead = threading.Event()

    def half_written() -> bool:
        return any(place.stat().st_size > 0 for place in tmp_path.glob(".rows.parquet*.tmp"))

    while not half_written():
        dead.wait(0.005)
    os.kill(pid, signal.SIGKILL)
    assert workers.wait(pid) == -signal.SIGKILL
    assert list(tmp_path.glob(".rows.parquet*.tmp"))
    assert files.names(path.parent) == ["rows.parquet"]
    assert files.scan(path).collect()["n"].to_list() == [1]
    assert files.write_parquet(path, pl.DataFrame({"n": [2]})) == 1
    assert files.scan(path).collect()["n"].to_list() == [2]
    board.add("kill -9, in a Parquet write", "a file of the store", ARRIVED)
