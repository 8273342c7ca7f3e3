"""DAGSTER_HOME: made once, before anything runs at the same time, and cleaned of what dead processes left."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import dagster as dg

from isync_dagster.assets.settings import Settings
from isync_dagster.assets.worker import reap
from isync_dagster.cli.automation import put_back_what_is_left
from isync_dagster.migration.reaping import reap_store
from isync_dagster.store.store import Store

DEFAULT = Path(".isync/dagster")


def set_environment() -> Path:
    """Point this process and its children to the Dagster home (`DAGSTER_HOME`, default `.isync/dagster`)."""
    home = Path(os.environ.get("DAGSTER_HOME") or DEFAULT).expanduser().absolute()
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    # What a run plans is written in one transaction; each step's own events are written as they come.
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    return home


def prepare() -> Path:
    """Make the home where it is not there yet: the shipped dagster.yaml and initialised databases.

    Two processes that start on a fresh home at the same time would corrupt its databases for good, so the first one
    initialises them behind a lock; the next ones find them done.
    """
    home = set_environment()
    home.mkdir(parents=True, exist_ok=True)
    done = home / f".initialised-{dg.__version__}"
    if done.exists():
        return home
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            settings = home / "dagster.yaml"
            if not settings.exists():
                settings.write_text(files("isync_dagster.assets").joinpath("dagster.yaml").read_text())
            with dg.DagsterInstance.get() as instance:
                instance.get_runs(limit=1)
                instance.event_log_storage.get_concurrency_keys()
                instance.all_instigator_state()
            done.touch()
    return home


@contextmanager
def dagster_instance() -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of the home, after reaping what dead processes left: runs, pool slots, leases, temporaries.

    Automation of a target that a dead process left switched off is put back on.
    """
    prepare()
    with dg.DagsterInstance.get() as instance:
        reap(instance)
        settings = Settings.from_env()
        reap_store(Store.open(settings.store))
        put_back_what_is_left(settings)
        try:
            yield instance
        finally:
            # What the command itself could not put back is tried once more, and said.
            put_back_what_is_left(settings)
