"""The demo with two real Celery workers, redis, PostgreSQL and an S3 server; one worker is killed in the middle.

`make distributed` runs it. The run goes on by itself on the worker that is left, and leaves what the same command on one
machine leaves: the same rows and lookups in the target, the same audit log, the same id map.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import polars as pl
import psutil
import pytest

from isync_dagster.assets.resources import connect
from isync_dagster.cli.console import Exit
from isync_dagster.cli.demo import serving
from isync_dagster.local_org.demo.make import make_demo
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.store import files
from isync_dagster.store.layout import decode
from isync_dagster.store.lease import LeaseDesk
from isync_dagster.store.ledger import ChunkState
from isync_dagster.store.store import Store
from isync_dagster_tests.distributed import services
from isync_dagster_tests.distributed.demo import ROOT, Picture, environment, migrating, picture_of, runs_of
from isync_dagster_tests.store.s3 import BUCKET, serving_s3
from isync_dagster_tests.store.s3 import environment as set_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(services.missing()), reason=services.missing() or "nothing"),
]

ROWS = 600
SLOW = {"kind": "delay", "path": "PATCH .*/jobs/ingest/", "seconds": 1.0, "times": 60}
"""Closing an upload takes a moment, so that there is a middle to be killed in."""


@pytest.fixture(scope="module")
def orgs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both orgs, to be copied."""
    folder = tmp_path_factory.mktemp("orgs")
    make_demo(folder, rows=ROWS)
    return folder


@pytest.fixture(scope="module")
def before(orgs: Path) -> dict[str, pl.Series]:
    """Ids of what the target holds at the start."""
    with LocalOrg.open(orgs / "demo_target") as target:
        return {name: target.table(name)["Id"] for name, count in target.counts().items() if count}


@pytest.fixture(scope="module")
def alone(orgs: Path, before: dict[str, pl.Series], tmp_path_factory: pytest.TempPathFactory) -> Picture:
    """What the command leaves on one machine."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(orgs, folder / "orgs")
    with serving(folder / "orgs"):
        process = migrating(environment(folder / "home", str(folder / "store")), folder / "log")
        assert process.wait() == Exit.OK, (folder / "log").read_text()
    with LocalOrg.open(folder / "orgs" / "demo_target") as target:
        return picture_of(Store.open(str(folder / "store")), target, before)


class Cluster:
    """Servers and workers, and the environment that all of them share."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        home = folder / "home"
        home.mkdir()
        shutil.copy(ROOT / "deploy" / "dagster.yaml", home)
        s3 = stack.enter_context(serving_s3())
        stack.enter_context(set_environment(s3))
        more = {
            "ISYNC_POSTGRES_URL": stack.enter_context(services.postgres()),
            "ISYNC_CELERY_BROKER": stack.enter_context(services.redis(folder)),
            "ISYNC_EXECUTOR": "celery",
        }
        self.env = environment(home, f"s3://{BUCKET}/store", **s3, **more)
        self.workers = {name: self._worker(name) for name in ("one", "two")}

    def _worker(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "isync_dagster.assets.celery_app", "worker"]
        command += ["--concurrency", "2", "-Q", "dagster", "-n", f"{name}@%h", "--loglevel", "INFO"]
        return self._stack.enter_context(
            services.process(command, self.folder / f"{name}.log", env=self.env, cwd=str(ROOT))
        )

    def migrate(self) -> subprocess.Popen[bytes]:
        """`isync migrate demo`, begun; ended with the cluster."""
        process = migrating(self.env, self.folder / "log")
        self._stack.callback(services.kill_all, process)
        return process

    def logs(self) -> str:
        """What everybody printed, for an assertion's message."""
        names = ("log", "one.log", "two.log")
        return "\n".join(f"── {name}\n{(self.folder / name).read_text()[-6000:]}" for name in names)

    def instance(self) -> dg.DagsterInstance:
        """The Dagster instance, as the test sees it."""
        os.environ["ISYNC_POSTGRES_URL"] = self.env["ISYNC_POSTGRES_URL"]
        self._stack.callback(os.environ.pop, "ISYNC_POSTGRES_URL")
        return self._stack.enter_context(dg.DagsterInstance.from_config(str(self.folder / "home")))


@pytest.fixture
def cluster(orgs: Path, tmp_path: Path) -> Iterator[Cluster]:
    """Everything up, nothing migrated."""
    shutil.copytree(orgs, tmp_path / "orgs")
    with serving(tmp_path / "orgs"), ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def test_a_worker_is_killed_in_the_middle(cluster: Cluster, alone: Picture, before: Mapping[str, pl.Series]) -> None:
    target = connect(ROOT / "templates" / "orgs.yaml", "demo_target")
    target.request("POST", "/__local_org/faults", json=SLOW)
    store = Store.open(cluster.env["ISYNC_STORE"])
    driver = cluster.migrate()

    victim, what = _wait_for_a_load(store, cluster, driver)
    services.kill_all(cluster.workers[victim])
    left = _unfinished(store, what)
    target.request("DELETE", "/__local_org/faults")
    assert left, f"{what} was through already when the worker died"

    assert driver.wait() == Exit.OK, cluster.logs()
    events = _events(cluster.instance())
    assert ("STEP_UP_FOR_RETRY", f"demo__{what}__load") in events, cluster.logs()
    survivor = next(name for name in cluster.workers if name != victim)
    assert cluster.workers[survivor].poll() is None
    with _closed(cluster) as org:
        found = picture_of(store, org, before)
    assert found.target == alone.target
    assert found.idmap == alone.idmap
    assert found.audit == alone.audit
    assert files.names(store.layout.root / "leases") == _only_free(store), "every lease is given back"


def _wait_for_a_load(store: Store, cluster: Cluster, driver: subprocess.Popen[bytes]) -> tuple[str, str]:
    """(worker, object) as soon as a worker has rows of an object with Salesforce and no answer yet."""
    while driver.poll() is None:
        for job in store.jobs():
            run = store.runs(job).latest()
            claims = [] if run is None else files.names(run.folder / "claims" / "load")
            for name in claims:
                assert run is not None
                holder = LeaseDesk(run.layout.claim("load", name), name).holder()
                worker = holder and _worker_of(int(holder["pid"]), cluster)
                if worker and _is_sent(run.ledger("load", name).states()):
                    return worker, name
        time.sleep(0.02)
    raise AssertionError(f"no load was seen at work\n{cluster.logs()}")


def _is_sent(states: Mapping[int, tuple[int, str]]) -> bool:
    return any(state not in (ChunkState.PLANNED, ChunkState.DONE) for _, state in states.values())


def _worker_of(pid: int, cluster: Cluster) -> str | None:
    """The worker that has this process."""
    for name, worker in cluster.workers.items():
        if worker.poll() is None and pid in {child.pid for child in psutil.Process(worker.pid).children(True)}:
            return name
    return None


def _unfinished(store: Store, object: str) -> list[int]:
    runs = [run for run in runs_of(store).values() if object in files.names(run.folder / "claims" / "load")]
    return [chunk for run in runs for chunk in run.ledger("load", object).pending()]


def _events(instance: dg.DagsterInstance) -> set[tuple[str, str | None]]:
    return {
        (entry.dagster_event.event_type_value, entry.dagster_event.step_key)
        for run in instance.get_runs()
        for entry in instance.all_logs(run.run_id)
        if entry.dagster_event is not None
    }


@contextmanager
def _closed(cluster: Cluster) -> Iterator[LocalOrg]:
    """A copy of the target's folder: the org itself is still being served."""
    shutil.copytree(cluster.folder / "orgs" / "demo_target", cluster.folder / "copy")
    with LocalOrg.open(cluster.folder / "copy") as org:
        yield org


def _only_free(store: Store) -> list[str]:
    return [name for name in files.names(store.layout.root / "leases") if store.lease(decode(name)).holder() is None]
