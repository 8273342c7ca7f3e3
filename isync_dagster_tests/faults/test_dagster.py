"""`isync migrate`, the real command on a real Dagster instance, killed at random points and run again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from isync_dagster.cli.console import Exit
from isync_dagster.schema.snapshot import save_snapshot
from isync_dagster_tests.faults.board import WENT_ON, Board
from isync_dagster_tests.faults.picture import picture_of
from isync_dagster_tests.faults.stage import Stage

ROOT = Path(__file__).parents[2]
KILLS = 5
EXECUTORS = ("threads", "processes", "in_process")


class Project:
    """A folder as a user has it: template, orgs, snapshots, Dagster home."""

    def __init__(self, stage: Stage, folder: Path, executor: str = "threads") -> None:
        self.stage = stage
        self.executor = executor
        self.folder = folder
        templates = folder / "templates"
        templates.mkdir(parents=True)
        # JSON is YAML.
        recipe = stage.deed.settings().model_dump(mode="json", by_alias=True, exclude_unset=True)
        (templates / "world.yaml").write_text(json.dumps(recipe))
        orgs, self._env = {}, {}
        for side in ("source", "target"):
            found = stage.world.served[side].credentials()
            secrets = {"password": f"{side.upper()}_PASSWORD", "security_token": f"{side.upper()}_TOKEN"}
            orgs[side] = {"auth": "username_password", "login_url": found["url"], "username": found["username"]}
            orgs[side] |= {key: f"${{{name}}}" for key, name in secrets.items()}
            self._env |= {name: found[key] for key, name in secrets.items()}
            save_snapshot(templates / "orgs", stage.world.snapshots[side])
        (templates / "orgs.yaml").write_text(json.dumps({"orgs": orgs}))

    @contextmanager
    def migrating(self) -> Iterator[subprocess.Popen[bytes]]:
        """`isync migrate world` in a session of its own, of which nothing is left at the end."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ISYNC_", "DAGSTER_"))}
        env |= self._env | {"ISYNC_STORE": str(self.stage.world.store_folder), "PYTHONPATH": str(ROOT)}
        env |= {"ISYNC_EXECUTOR": self.executor}
        with (self.folder / "out.txt").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "isync_dagster.cli", "migrate", "world"],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def text(self) -> str:
        """What the command printed last."""
        return (self.folder / "out.txt").read_text()

    def files(self) -> int:
        """How many files the store has now."""
        return sum(len(names) for _, _, names in os.walk(self.stage.world.store_folder))


@pytest.mark.slow
def test_the_command_is_killed_and_run_again(stage: Stage, tmp_path: Path, board: Board) -> None:
    project = Project(stage, tmp_path)
    stage.clear()
    with project.migrating() as process:
        assert process.wait() == Exit.OK, project.text()
    expected, files = picture_of(stage.world, stage.job()), project.files()
    for seed in range(KILLS):
        random = Random(seed)
        stage.clear()
        for _ in range(random.choice((1, 1, 2))):
            until = random.randint(1, files - 5)
            with project.migrating() as process:
                while project.files() < until and process.poll() is None:
                    time.sleep(0.01)
        with project.migrating() as process:
            code = process.wait()
        # Killed after its last file the run is closed, and the same command has made the next one.
        assert code == Exit.OK, f"seed {seed}: {project.text()}"
        job = stage.job()
        runs = [run.number for run in job.store.runs(job.key).list()]
        found = picture_of(stage.world, job, runs[0])
        assert found.target == expected.target
        assert found.idmap == expected.idmap
        assert found.audit == expected.audit
        board.add("kill -9 of isync migrate", "Dagster, threads", WENT_ON)


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_comes_to_the_same(stage: Stage, tmp_path: Path, board: Board, executor: str) -> None:
    """Whatever runs the steps: with answers that are lost on the way, and killed in the middle of sending and run again."""
    expected, _ = stage.undisturbed()
    project = Project(stage, tmp_path, executor)
    stage.clear()
    lost: list[dict[str, object]] = [
        {"kind": "drop_after", "path": "PUT .*/jobs/ingest/.*/batches", "times": 2},
        {"kind": "drop_after", "path": "POST .*/jobs/ingest$", "times": 1},
        {
            "kind": "status",
            "path": "GET .*/jobs/ingest/.*Results.*",
            "status": 503,
            "code": "SERVER_UNAVAILABLE",
            "times": 2,
        },
    ]
    stage.world.faults("target", *lost)
    with project.migrating() as process:
        assert process.wait() == Exit.OK, project.text()
    stage.arrived(expected)
    board.add("lost answers", f"Dagster, {executor}", WENT_ON)

    stage.clear()
    ledger = "**/ledger/load/**/*-uploaded.json"
    with project.migrating() as process:
        while process.poll() is None and not any(stage.world.store_folder.glob(ledger)):
            time.sleep(0.01)
    # All processes of the run are gone, those of steps too; the next command reaps what they held.
    with project.migrating() as process:
        assert process.wait() == Exit.OK, project.text()
    stage.arrived(expected)
    board.add("kill -9 of isync migrate", f"Dagster, {executor}", WENT_ON)
