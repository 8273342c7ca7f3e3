"""A migration that is cut off at any step and begun again ends like one that was never disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.errors import StoppedError
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.writing import release_all
from isync_dagster.store.ledger import Ledger
from isync_dagster.template import Template
from isync_dagster_tests.migration.world import (
    World,
    assert_laws,
    current,
    migrate,
    rows_of,
    send,
    some,
    template,
    together,
)

STATES = ("planned", "created", "uploaded", "closed", "finished", "paired", "done")
OPTIONS: dict[str, Any] = {"chunk_bytes": 700, "parallel_jobs": 2, "collections_rows": 0}


class Crash(BaseException):
    """The process is gone."""


def _data() -> DataSet:
    """A hierarchy, and rows that are equal in every column."""
    return together(
        some("Account", 12, ParentId=lambda n: f"a{n // 2}" if n % 2 else None, Zip__c=lambda n: f"{n:05d}"),
        rows_of("Account", [{"_ref": f"twin{n}", "Name": "Twin"} for n in range(3)]),
    )


def _template() -> Template:
    return template(["Account"], {"Account": {"exclude_fields": ["RecordTypeId"]}})


def _arrived(world: World, job: SyncJob) -> None:
    """Resume with fresh objects; the target is what an undisturbed run leaves."""
    release_all()
    done = migrate(job)
    assert done.failed() == []
    assert_laws(done)
    assert done.states("Account") == {"inserted": 15}
    assert world.counts("Account") == {"Account": 15}
    assert world.picture("source", "Account") == world.picture("target", "Account")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("step", ["load", "relink"])
def test_a_crash_at_any_transition(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str, state: str, when: str
) -> None:
    world.reset(_data())
    record = Ledger.record
    dead = False

    def cut_off(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        nonlocal dead
        here = to == state and ledger.folder.parent.name == step
        if dead or (here and when == "before"):
            dead = True
            raise Crash
        recorded = record(ledger, chunk, attempt, to, payload)
        if here:
            dead = True
            raise Crash
        return recorded

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", cut_off)
        with pytest.raises(Crash):
            send(world.job(_template(), **OPTIONS))
    _arrived(world, world.job(_template(), **OPTIONS))


@pytest.mark.parametrize("point", ["load:created", "load:closed", "relink:uploaded"])
def test_a_killed_process(world: World, point: str, tmp_path: Path) -> None:
    world.reset(_data())
    job = world.job(_template(), **OPTIONS)
    recipe = {
        "plan": job.plan.to_json(),
        "store": str(world.store_folder),
        "options": OPTIONS,
        "orgs": {side: world.served[side].credentials() for side in ("source", "target")},
        "kill_at": point,
    }
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe))
    done = subprocess.run(
        [sys.executable, "-m", "isync_dagster_tests.migration.killed", str(path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    # The lease of a process that is gone is free at once.
    _arrived(world, world.job(_template(), **OPTIONS))


def test_everything_called_twice_changes_nothing(world: World) -> None:
    world.reset(_data())
    send(world.job(_template(), **OPTIONS))
    world.watch("target", "(POST|PATCH|PUT|DELETE) .*/(jobs/ingest|composite)")
    _arrived(world, world.job(_template(), **OPTIONS))
    assert world.met("target") == 0


def test_a_stop_on_request_is_gone_on_from(world: World) -> None:
    world.reset(_data())
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 25

    job = replace(world.job(_template(), **OPTIONS), cancelled=cancelled)
    with pytest.raises(StoppedError, match="was stopped: it was cancelled"):
        send(job)
    assert current(job).state == "open"
    _arrived(world, world.job(_template(), **OPTIONS))
