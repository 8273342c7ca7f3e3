"""What a worker can be killed at, or disturbed in: a table, to which a further verb is one row."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration.model import RunOptions, SyncJob
from isync_dagster.migration.retry import retry
from isync_dagster.migration.rollback import rollback
from isync_dagster.plan.model import Plan
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.store.rollbacks import unfinished
from isync_dagster.store.runs import Run, RunState
from isync_dagster.store.store import Store
from isync_dagster.template import Template
from isync_dagster_tests.migration.world import QUICK, World, migrate, rows_of, some, template, together

OBJECTS = ("Account", "Memo__c")
OPTIONS: dict[str, Any] = {"chunk_bytes": 900, "parallel_jobs": 2, "collections_rows": 2}


@dataclass(frozen=True)
class Deed:
    """One row: what the target holds before, and what the worker does; done again, `act` resumes.

    `first` is done undisturbed before, `again` says whether there is anything to go on with.
    """

    name: str
    act: Callable[[SyncJob], Any]
    before: Callable[[], DataSet | None]
    settings: Callable[[], Template]
    options: dict[str, Any]
    first: Callable[[World, SyncJob], Any] | None = None
    again: Callable[[Run | None], bool] = lambda run: run is None or run.is_open
    undoes: bool = False
    """True where the target is to be in the end what it was before `first`."""


def source_rows() -> DataSet:
    """A hierarchy, rows that nobody can tell apart, a text that only collections carry, a lookup of two objects."""
    return together(
        some(
            "Account",
            8,
            ParentId=lambda n: f"a{n // 2}" if n % 2 else None,
            Zip__c=lambda n: f"{n:05d}",
            Rating__c="Hot",
            Code__c=lambda n: "x" if n == 1 else None,
            Notes__c=lambda n: ('She said "no"', "two\nlines", "=1+1", "🦊 漢字")[n % 4],
        ),
        rows_of("Account", [{"Key__c": "literal", "Name": "#N/A", "Rating__c": "Hot"}]),
        rows_of("Account", [{"_ref": f"twin{n}", "Name": "Twin", "Rating__c": "Hot"} for n in range(3)]),
        some("Memo__c", 3, WhatId=lambda n: f"a{n}" if n else None),
    )


def target_rows() -> DataSet:
    """Counterparts by match key: one differs, one is equal; and a stranger."""
    return rows_of(
        "Account",
        [
            {"Key__c": "a0", "Name": "An old name", "Zip__c": "9", "Rating__c": "Cold", "Remarks__c": "old"},
            {"Key__c": "a6", "Name": "Account 6", "Zip__c": "00006", "Rating__c": "Hot", "Remarks__c": "=1+1"},
            {"Key__c": "stranger", "Name": "Stranger", "Rating__c": "Hot"},
        ],
    )


def taken_code() -> DataSet:
    """As `target_rows`, and the stranger has the code of a1, which is refused for it."""
    return together(target_rows(), rows_of("Account", [{"Key__c": "stranger too", "Name": "Holder", "Code__c": "x"}]))


def _refused(world: World, job: SyncJob) -> None:
    """A run that ended with refused rows, and the cause of it gone."""
    done = migrate(job)
    assert done.states("Account")["failed"] == 1
    world.execute("target", """UPDATE "Account" SET "Code__c" = NULL WHERE "Key__c" = 'stranger too'""")


def _migrated(world: World, job: SyncJob) -> None:
    assert migrate(job).failed() == []


def _settings(**account: Any) -> Template:
    return template(OBJECTS, {"Account": {"exclude_fields": ["RecordTypeId"], "match_key": "Key__c", **account}})


def _upserting() -> Template:
    return _settings(migration_key="Legacy__c")


def _collecting() -> Template:
    settings = {"exclude_fields": ["RecordTypeId"], "match_key": "Key__c"}
    return template(OBJECTS, {"Account": settings}, continue_on_error=True)


DEEDS = {
    deed.name: deed
    for deed in (
        Deed("migrate", migrate, target_rows, _settings, OPTIONS),
        Deed("migrate by key", migrate, target_rows, _upserting, OPTIONS),
        Deed("retry", retry, taken_code, _collecting, OPTIONS, _refused, lambda _: True),
        Deed(
            "rollback",
            rollback,
            target_rows,
            _settings,
            OPTIONS,
            _migrated,
            lambda run: run is None or run.state is not RunState.ROLLED_BACK or unfinished(run) is not None,
            undoes=True,
        ),
    )
}


def recipe(world: World, deed: Deed, **more: Any) -> dict[str, Any]:
    """All that a process of its own needs to do the deed."""
    return {
        "deed": deed.name,
        "plan": world.plan(deed.settings()).to_json(),
        "store": str(world.store_folder),
        "options": deed.options,
        "orgs": {side: world.served[side].credentials() for side in ("source", "target")},
        **more,
    }


def patient(job: SyncJob, seconds: float) -> SyncJob:
    """The job with more patience for calls whose answer was lost."""
    job.target.tuning = replace(job.target.tuning, in_doubt=seconds)  # type: ignore[misc]
    return job


def job_of(found: dict[str, Any]) -> SyncJob:
    """The sync job that a recipe describes, with connections of its own."""
    return SyncJob(
        Plan.from_json(found["plan"]),
        "all",
        connect("source", found["orgs"]["source"]),
        connect("target", found["orgs"]["target"]),
        Store.open(found["store"]),
        RunOptions(**found["options"]),
        opened_by=found.get("name", "worker"),
    )


def connect(alias: str, found: dict[str, str]) -> Org:
    """A connection to a served org by its credentials."""
    entry = {
        "auth": "username_password",
        "login_url": found["url"],
        "username": found["username"],
        "password": "${PASSWORD}",
        "security_token": "${TOKEN}",
    }
    env = {"PASSWORD": found["password"], "TOKEN": found["security_token"]}
    return Org.connect(OrgConfig.model_validate(entry).bound(Path(), env), alias, tuning=QUICK)


def write_recipe(path: Path, found: dict[str, Any]) -> Path:
    """The recipe as the file that a worker reads."""
    path.write_text(json.dumps(found))
    return path
