"""Trouble on the wire, at every call that matters: the target ends as if there had been none."""

from __future__ import annotations

from typing import Any

import pytest

from isync_dagster.errors import OrgError
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration import reading
from isync_dagster.migration.writing import release_all
from isync_dagster_tests.migration.world import World, assert_laws, migrate, rows_of, some, template, together

CREATE, UPLOAD, CLOSE = "POST .*/jobs/ingest$", "PUT .*/batches", "PATCH .*/jobs/ingest/"
SUCCESSFUL, FAILED, STATE = "GET .*/successfulResults", "GET .*/failedResults", "GET .*/jobs/ingest/[^/]*$"
MANY, SENT = "PATCH .*/composite/sobjects", "POST .*/composite/sobjects"

TARGET: dict[str, dict[str, Any]] = {
    **{
        f"{kind} {path}": {"kind": kind, "path": path}
        for kind in ("drop_before", "drop_after")
        for path in (CREATE, UPLOAD, CLOSE, STATE, SUCCESSFUL, FAILED, MANY, SENT)
    },
    **{
        f"expired {path}": {"kind": "expire_session", "path": path}
        for path in (CREATE, UPLOAD, CLOSE, SUCCESSFUL, MANY, SENT)
    },
    **{
        f"500 {path}": {"kind": "status", "status": 500, "path": path, "code": "UNKNOWN_EXCEPTION"}
        for path in (CREATE, UPLOAD, SENT)
    },
    **{
        f"cut {path} {size}": {"kind": "truncate", "path": path, "bytes": size}
        for path in (SUCCESSFUL, FAILED)
        for size in (5, 60)
    },
    "503 burst": {"kind": "status", "path": ".*", "times": 4, "after": 6},
}
SOURCE: dict[str, dict[str, Any]] = {
    "query created, no answer": {"kind": "drop_after", "path": "POST .*/jobs/query"},
    "expired at results": {"kind": "expire_session", "path": "GET .*/jobs/query/.*/result"},
    "expired at create": {"kind": "expire_session", "path": "POST .*/jobs/query"},
    "cut page": {"kind": "truncate", "path": "GET .*/jobs/query/.*/results?($|\\?)", "bytes": 150},
    "cut list of pages": {"kind": "truncate", "path": "GET .*/resultPages", "bytes": 20},
    "503 burst": {"kind": "status", "path": ".*", "times": 4, "after": 2},
    "dropped results": {"kind": "drop_before", "path": "GET .*/jobs/query/.*/result", "times": 2},
}


def _data() -> DataSet:
    return together(
        some("Account", 6, ParentId=lambda n: f"a{n // 2}" if n % 2 else None, Rating__c="Hot"),
        # A text that only the collections API can carry, and rows that nobody can tell apart.
        rows_of("Account", [{"Key__c": "literal", "Name": "#N/A", "Rating__c": "Hot"}]),
        rows_of("Account", [{"_ref": f"twin{n}", "Name": "Twin", "Rating__c": "Hot"} for n in range(2)]),
    )


def _migrate(world: World) -> None:
    """Migrate; an error that says 'again later' is followed by one more call, with fresh objects."""
    try:
        done = migrate(world.job(template(["Account"])))
    except OrgError:
        release_all()
        done = migrate(world.job(template(["Account"])))
    assert done.failed() == []
    assert_laws(done)
    assert done.states("Account") == {"inserted": 9}
    assert world.counts("Account") == {"Account": 9}
    assert world.picture("source", "Account") == world.picture("target", "Account")


@pytest.mark.parametrize("rule", TARGET)
def test_trouble_with_the_target(world: World, rule: str) -> None:
    world.reset(_data())
    world.faults("target", TARGET[rule])
    _migrate(world)
    assert world.met("target") >= 1


@pytest.mark.parametrize("rule", SOURCE)
def test_trouble_with_the_source(world: World, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    monkeypatch.setattr(reading, "REST_ROWS", 0)
    world.reset(_data())
    world.faults("source", SOURCE[rule])
    _migrate(world)
    assert world.met("source") >= 1


def test_trouble_everywhere_at_once(world: World) -> None:
    world.reset(_data())
    world.faults("target", *(dict(rule) for rule in TARGET.values() if rule["kind"] == "drop_after"))
    _migrate(world)
    assert world.met("target") >= 6
