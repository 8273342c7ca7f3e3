"""Two real processes that work on one partition at once: one acts, the other is told so; nothing is doubled."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from random import Random

import pytest

from isync_dagster_tests.faults.board import ARRIVED, WENT_ON, Board
from isync_dagster_tests.faults.stage import Stage
from isync_dagster_tests.faults.worker import Workers

TOLD = ("LedgerConflict", "LeaseHeldError", "ConfigError")
"""What the second worker may be told: that another one acts, or that the run is closed by now."""


def _together(stage: Stage, workers: Workers, seed: int, kill: bool) -> list[Path]:
    """Two workers, the second a little later, perhaps one of them killed; recipes of those that were refused."""
    random = Random(seed)
    recipes = [stage.recipe(name=f"worker {number}") for number in (1, 2)]
    first = workers.start(recipes[0])
    time.sleep(random.choice((0.0, 0.0, random.uniform(0, 0.8))))
    second = workers.start(recipes[1])
    if kill:
        time.sleep(random.uniform(0.1, 0.9))
        os.kill(random.choice((first, second)), signal.SIGKILL)
    codes = [workers.wait(first), workers.wait(second)]
    return [recipe for recipe, code in zip(recipes, codes, strict=True) if code == 1]


def _run(stage: Stage, workers: Workers, board: Board, seeds: range, kill: bool) -> int:
    expected, _ = stage.undisturbed()
    refused = 0
    for seed in seeds:
        stage.clear()
        for recipe in _together(stage, workers, seed, kill):
            told = json.loads(recipe.with_suffix(".error").read_text())
            assert told["type"] in TOLD, f"seed {seed}: {told['trace']}"
            refused += 1
        stage.go_on()
        stage.arrived(expected)
        board.add("two workers on one partition" + (", one killed" if kill else ""), stage.deed.name, WENT_ON)
    return refused


@pytest.mark.slow
def test_two_workers_at_once(stage: Stage, workers: Workers, board: Board) -> None:
    assert _run(stage, workers, board, range(1), kill=False) >= 1


def test_a_worker_that_comes_while_a_call_is_on_its_way(stage: Stage, workers: Workers, board: Board) -> None:
    """What the first has sent must not be taken for lost: it would be sent again."""
    expected, _ = stage.undisturbed()
    stage.clear()
    stage.world.faults("target", {"kind": "delay", "path": "POST .*/composite/sobjects", "seconds": 2.0})
    first = workers.start(stage.recipe(name="worker 1"))
    while not stage.world.met("target"):
        time.sleep(0.005)
    second = stage.recipe(name="worker 2")
    assert workers.run(second) == 1
    assert json.loads(second.with_suffix(".error").read_text())["type"] in TOLD
    assert workers.wait(first) == 0
    stage.arrived(expected)
    board.add("a second worker during a call", stage.deed.name, ARRIVED)


@pytest.mark.slow
def test_two_workers_many_times(stage: Stage, workers: Workers, board: Board) -> None:
    assert _run(stage, workers, board, range(1, 21), kill=False) >= 1


@pytest.mark.slow
def test_two_workers_of_which_one_dies(stage: Stage, workers: Workers, board: Board) -> None:
    _run(stage, workers, board, range(100, 120), kill=True)
