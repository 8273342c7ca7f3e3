"""What a process does that is killed while automation is off: a run extracted, decided, nothing sent."""

from __future__ import annotations

from pathlib import Path

from isync_dagster.migration.automation import ensure_off
from isync_dagster.migration.extract import extract
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.remap import remap
from isync_dagster.migration.runs import current_run
from isync_dagster.migration.writing import hold_target
from isync_dagster.plan.model import Plan
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.store import files
from isync_dagster.store.store import Store
from isync_dagster_tests.migration.world import QUICK


def go(store: str, folder: str, target: dict[str, str], source: dict[str, str], plan_path: str) -> None:
    """Open the run of the plan at `plan_path` and switch off what its template says."""
    opened = Store.open(store)
    data = files.read_json(opened.root / plan_path)
    assert data is not None
    job = SyncJob(
        Plan.from_json(data), "all", _org("source", source, folder), _org("target", target, folder), opened,
        opened_by="killed",
    )  # fmt: skip
    extract(job, "Account")
    preflight(job)
    remap(job, "Account")
    hold_target(job, current_run(job))
    ensure_off(job, current_run(job))


def _org(alias: str, found: dict[str, str], folder: str) -> Org:
    values = {"auth": "username_password", "login_url": found["url"], "username": found["username"]}
    secrets = {"password": "${PASSWORD}", "security_token": "${TOKEN}"}
    env = {"PASSWORD": found["password"], "TOKEN": found["security_token"]}
    config = OrgConfig.model_validate({**values, **secrets}).bound(Path(folder), env)
    return Org.connect(config, alias, tuning=QUICK)
