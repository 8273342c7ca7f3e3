"""A worker that is killed at any point and begun again ends like one that was never disturbed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from isync_dagster_tests.faults.board import WENT_ON, Board
from isync_dagster_tests.faults.deeds import DEEDS
from isync_dagster_tests.faults.picture import Picture
from isync_dagster_tests.faults.points import kind_of
from isync_dagster_tests.faults.stage import Stage
from isync_dagster_tests.faults.worker import Workers
from isync_dagster_tests.migration.world import World

RANDOM_KILLS = 40


@pytest.fixture(scope="module", params=list(DEEDS))
def stage(request: pytest.FixtureRequest, served_world: World, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(served_world, DEEDS[request.param], tmp_path_factory.mktemp("deed"))


@pytest.fixture(scope="module")
def undisturbed(stage: Stage, workers: Workers) -> tuple[Picture, list[dict[str, str]]]:
    return stage.undisturbed(workers)


def _kill_at(stage: Stage, workers: Workers, point: dict[str, str], expected: Picture, board: Board) -> None:
    stage.clear()
    path = stage.recipe(fatal=point)
    code = workers.run(path)
    assert code == -signal.SIGKILL, f"{point} was not met: {code}"
    stage.go_on()
    stage.arrived(expected)
    board.add(f"kill -9, {point['moment']}", f"{stage.deed.name}: {kind_of(point['point'])}", WENT_ON)


def _one_of_each(points: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """The first point of each kind of ledger entry: what a short sweep kills at."""
    seen: set[str] = set()
    for point in points:
        kind = kind_of(point["point"])
        if point["moment"] == "written" and point["point"].endswith(".json") and kind.startswith("ledger"):
            if kind not in seen:
                yield point
            seen.add(kind)


def test_a_kill_at_each_kind_of_transition(
    stage: Stage, workers: Workers, undisturbed: tuple[Picture, list[dict[str, str]]], board: Board
) -> None:
    expected, points = undisturbed
    chosen = list(_one_of_each(points))
    kinds = {kind_of(point["point"]) for point in chosen}
    steps = {kind.split(": ")[0] for kind in kinds}
    assert steps >= {"ledger load", "ledger relink"}
    assert {"planned", "created", "uploaded", "closed", "finished", "paired", "done"} <= {
        kind.split(": ")[1] for kind in kinds
    }
    for point in chosen:
        _kill_at(stage, workers, point, expected, board)


@pytest.mark.slow
def test_a_kill_at_every_point(
    stage: Stage, workers: Workers, undisturbed: tuple[Picture, list[dict[str, str]]], board: Board
) -> None:
    """Every file that a run writes, torn and written, and every answer that it gets."""
    expected, points = undisturbed
    # The order of polls differs from run to run: that they are answered at all is what all share.
    for point in points:
        _kill_at(stage, workers, point, expected, board)
