"""The store on a real S3 server: the run of a disk, row for row, also where the process is killed after any write."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from isync_dagster.migration.model import SyncJob
from isync_dagster.store.store import Store
from isync_dagster_tests.faults.board import WENT_ON, Board
from isync_dagster_tests.faults.picture import picture_of
from isync_dagster_tests.faults.points import read_log
from isync_dagster_tests.faults.stage import Stage
from isync_dagster_tests.faults.worker import Workers
from isync_dagster_tests.store.s3 import BUCKET, environment, serving_s3

MANY = 40


@dataclass
class Bucket:
    """Fresh stores on the server."""

    env: dict[str, str]
    url: str = ""

    def fresh(self) -> str:
        """The URL of a store that nobody has used."""
        self.url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        return self.url

    def job(self, stage: Stage) -> SyncJob:
        """A sync job of this process on the newest store."""
        return replace(stage.job(), store=Store.open(self.url))


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serving_s3() as env, environment(env):
        yield Bucket(env)


def _go_on(stage: Stage, job: SyncJob) -> None:
    if stage.deed.again(job.store.runs(job.key).latest()):
        stage.deed.act(job)


def _killed_at(stage: Stage, workers: Workers, bucket: Bucket, board: Board, point: dict[str, str]) -> None:
    """The run dies after that write; the next one on the same store comes to what an undisturbed one on a disk does."""
    expected, _ = stage.undisturbed()
    stage.clear()
    assert workers.run(stage.recipe(store=bucket.fresh(), env=bucket.env, fatal=point)) == -9, point
    job = bucket.job(stage)
    _go_on(stage, job)
    assert picture_of(stage.world, job) == expected, point
    board.add("kill -9 after a write to S3", stage.deed.name, WENT_ON)


@pytest.mark.slow
def test_a_run_is_killed_in_the_middle_and_goes_on(
    stage: Stage, workers: Workers, bucket: Bucket, board: Board
) -> None:
    _, points = stage.undisturbed()
    created = [point for point in points if point["moment"] == "written" and "-created" in point["point"]]
    _killed_at(stage, workers, bucket, board, created[len(created) // 2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["migrate", "migrate by key"])
def test_a_run_is_killed_after_many_writes(
    name: str, stages: dict[str, Stage], workers: Workers, bucket: Bucket, board: Board, tmp_path: Path
) -> None:
    stage = stages[name]
    stage.clear()
    log = tmp_path / "points.jsonl"
    assert workers.run(stage.recipe(store=bucket.fresh(), env=bucket.env, log=str(log))) == 0
    assert picture_of(stage.world, bucket.job(stage)) == stage.undisturbed()[0]
    points = [point for point in read_log(log) if point["moment"] == "written"]
    for point in points[:: len(points) // MANY]:
        _killed_at(stage, workers, bucket, board, point)
