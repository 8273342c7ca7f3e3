"""An extract that was killed goes on with the page that it had not written, of the same query job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from isync_dagster.errors import StoppedError
from isync_dagster.migration import reading
from isync_dagster.migration.extract import extract, extracted
from isync_dagster.migration.model import SyncJob
from isync_dagster.salesforce import bulk_query
from isync_dagster.store import files
from isync_dagster_tests.migration.world import World, current, serving_world, some, template

PAGE = "GET .*/jobs/query/.*/results"


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving_world(tmp_path_factory.mktemp("world")) as made:
        # Pages of five rows, so that a few rows are many pages.
        made.source.settings = replace(made.source.settings, query_page_rows=5)
        yield made


def _job(world: World) -> SyncJob:
    return world.job(template(["Account"]), parallel_downloads=1)


def _cursor(job: SyncJob) -> dict[str, object]:
    found = files.read_json(current(job).extract_folder("Account") / "cursor.json")
    assert found is not None
    return found


def _whole(world: World, job: SyncJob) -> None:
    ids = extracted(current(job), job.object("Account")).select("Id").collect()["Id"]
    assert sorted(ids) == sorted(world.ids("source", "Account").values())


def test_a_killed_extract_goes_on_at_the_page(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world.reset(some("Account", 23))
    job = _job(world)
    recipe = {
        "plan": job.plan.to_json(),
        "store": str(world.store_folder),
        "orgs": {side: world.served[side].credentials() for side in ("source", "target")},
        "pages": 2,
    }
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe))
    done = subprocess.run(
        [sys.executable, "-m", "isync_dagster_tests.migration.killed_extract", str(path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    before = _cursor(job)
    written = before["pages"]
    assert isinstance(written, list)
    assert len(written) == 2
    monkeypatch.setattr(reading, "REST_ROWS", 0)
    monkeypatch.setattr(bulk_query, "IN_ONE", 0)
    monkeypatch.setattr(bulk_query, "CELLS_A_PAGE", 0)
    world.watch("source", f"(POST .*/jobs/query$|{PAGE}.*)")
    assert extract(job, "Account").rows == 23
    # Three of the five pages, and no new job; what was written before was not touched.
    assert world.met("source") == 3
    assert _cursor(job)["job_id"] == before["job_id"]
    _whole(world, job)


@pytest.mark.slow
def test_a_stopped_extract_goes_on_at_the_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "REST_ROWS", 0)
    monkeypatch.setattr(bulk_query, "IN_ONE", 0)
    monkeypatch.setattr(bulk_query, "CELLS_A_PAGE", 0)
    world.reset(some("Account", 23))
    pages = 0

    def stop() -> bool:
        return pages >= 2

    write = reading._write_part

    def counted(raw: pl.LazyFrame, *rest: object) -> int:
        nonlocal pages
        pages += 1
        return write(raw, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reading, "_write_part", counted)
    job = _job(world)
    with pytest.raises(StoppedError):
        extract(replace(job, cancelled=stop), "Account")
    job_id = _cursor(job)["job_id"]
    pages = -100
    resumed = _job(world)
    world.watch("source", f"{PAGE}.*")
    assert extract(resumed, "Account").rows == 23
    assert world.met("source") <= 3
    assert _cursor(resumed)["job_id"] == job_id
    _whole(world, resumed)
