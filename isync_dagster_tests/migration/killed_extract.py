"""An extract in a process of its own that kills itself after so many pages, in the middle of the next one's write."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from isync_dagster.migration import reading
from isync_dagster.migration.extract import extract
from isync_dagster.migration.model import RunOptions, SyncJob
from isync_dagster.plan.model import Plan
from isync_dagster.salesforce import bulk_query
from isync_dagster.store import disk
from isync_dagster.store.store import Store
from isync_dagster_tests.migration.killed import connect


def main(path: str) -> None:
    """Extract as the recipe says, and die."""
    recipe = json.loads(Path(path).read_text())
    reading.REST_ROWS = 0
    bulk_query.IN_ONE = bulk_query.CELLS_A_PAGE = 0
    publish, left = disk.publish, recipe["pages"]

    def fatal(place: Path, to: Any) -> None:
        nonlocal left
        if to.name.startswith("part-"):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
        publish(place, to)

    disk.publish = fatal
    job = SyncJob(
        Plan.from_json(recipe["plan"]),
        "all",
        connect("source", recipe["orgs"]["source"]),
        connect("target", recipe["orgs"]["target"]),
        Store.open(recipe["store"]),
        RunOptions(parallel_downloads=1),
    )
    extract(job, "Account")


if __name__ == "__main__":
    main(sys.argv[1])
