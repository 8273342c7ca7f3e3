"""A migration (or a rollback) in a process of its own that kills itself at a named transition of the ledger."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from isync_dagster.migration.canary import canary
from isync_dagster.migration.model import RunOptions, SyncJob
from isync_dagster.migration.rollback import rollback
from isync_dagster.plan.model import Plan
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.store.ledger import Ledger
from isync_dagster.store.store import Store
from isync_dagster_tests.migration.world import QUICK, send


def connect(alias: str, found: dict[str, str]) -> Org:
    """A connection as a new process makes it."""
    entry = {
        "auth": "username_password",
        "login_url": found["url"],
        "username": found["username"],
        "password": "${PASSWORD}",
        "security_token": "${TOKEN}",
    }
    env = {"PASSWORD": found["password"], "TOKEN": found["security_token"]}
    return Org.connect(OrgConfig.model_validate(entry).bound(Path(), env), alias, tuning=QUICK)


def main(path: str) -> None:
    """Migrate as the recipe says, and die."""
    recipe = json.loads(Path(path).read_text())
    step, _, state = recipe["kill_at"].partition(":")
    record = Ledger.record

    def fatal(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        recorded = record(ledger, chunk, attempt, to, payload)
        if to == state and ledger.folder.parent.name == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return recorded

    Ledger.record = fatal  # type: ignore[method-assign, assignment]
    orgs = {side: connect(side, found) for side, found in recipe["orgs"].items()}
    job = SyncJob(
        Plan.from_json(recipe["plan"]),
        "all",
        orgs["source"],
        orgs["target"],
        Store.open(recipe["store"]),
        RunOptions(**recipe["options"]),
    )
    if recipe.get("verb") == "canary":
        canary(job, 2)
    elif recipe.get("verb") == "rollback":
        rollback(job)
    else:
        send(job)


if __name__ == "__main__":
    main(sys.argv[1])
