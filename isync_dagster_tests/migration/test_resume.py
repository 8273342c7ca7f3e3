"""A migration that is begun again, or stopped on request: the killed ones are in `faults/`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isync_dagster.errors import StoppedError
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.writing import release_all
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

OPTIONS: dict[str, Any] = {"chunk_bytes": 700, "parallel_jobs": 2, "collections_rows": 0}


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


def test_everything_called_twice_changes_nothing(world: World) -> None:
    world.reset(_data())
    send(world.job(_template(), **OPTIONS))
    world.watch("target", "(POST|PATCH|PUT|DELETE) .*/(jobs/ingest|composite/(sobjects|tree|graph))")
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
