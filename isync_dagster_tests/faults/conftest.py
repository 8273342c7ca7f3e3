from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from isync_dagster_tests.faults import board as boards
from isync_dagster_tests.faults.board import Board
from isync_dagster_tests.faults.deeds import DEEDS, source_rows
from isync_dagster_tests.faults.stage import Stage
from isync_dagster_tests.faults.worker import Workers
from isync_dagster_tests.migration.world import World, serving_world

BOARD = "ISYNC_FAULTS_BOARD"


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    """Where the outcomes of the sweep go: the folder that `make faults` names, or one that nobody reads."""
    folder = Path(os.environ.get(BOARD) or tmp_path_factory.mktemp("board"))
    return Board(folder, os.environ.get("PYTEST_XDIST_WORKER", "main"))


@pytest.fixture(scope="session")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both orgs, made and served once: the source is the same for every case, so that its ids are."""
    with serving_world(tmp_path_factory.mktemp("world")) as made:
        made.reset(source_rows())
        yield made


@pytest.fixture(scope="session")
def stages(served_world: World, workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    """A stage for each deed."""
    return {name: Stage(served_world, deed, workers, tmp_path_factory.mktemp("deed")) for name, deed in DEEDS.items()}


@pytest.fixture
def stage(stages: dict[str, Stage]) -> Stage:
    """The stage of the plain migration."""
    return stages["migrate"]


@pytest.fixture(scope="session")
def workers() -> Iterator[Workers]:
    """Processes that can be killed; all have ended when the tests have."""
    with Workers() as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table at the end of `make faults`."""
    folder = os.environ.get(BOARD)
    if not folder or "PYTEST_XDIST_WORKER" in os.environ:
        return
    cases = boards.read(Path(folder))
    terminalreporter.section("faults")
    for line in boards.table(cases):
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"{sum(cases.values())} cases in all")
