"""A run that is stopped sends nothing new, accounts all that was sent, and goes on later as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.errors import ConfigError, RejectedRowsError, StoppedError
from isync_dagster.local_org.bulk_ingest import IngestRun
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration.abort import abort, ask_to_stop
from isync_dagster.migration.extract import extract
from isync_dagster.migration.load import load
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.reaping import reap_store
from isync_dagster.migration.remap import remap
from isync_dagster.migration.writing import release_all
from isync_dagster.store.ledger import Ledger
from isync_dagster_tests.migration.world import (
    World,
    assert_laws,
    current,
    migrate,
    send,
    serving_world,
    some,
    template,
    together,
)

OPTIONS: dict[str, Any] = {"chunk_bytes": 700, "parallel_jobs": 1, "collections_rows": 0}


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose target commits every three rows, so that a job can be aborted half-way."""
    with serving_world(tmp_path_factory.mktemp("world"), batch_rows=3, batches_per_commit=1) as made:
        yield made


@pytest.fixture
def accounts(world: World) -> World:
    world.reset(_data())
    return world


def _data() -> DataSet:
    return together(some("Account", 24, Zip__c=lambda n: f"{n:05d}"), some("Contact", 6, AccountId=lambda n: f"a{n}"))


def _job(world: World, **options: Any) -> SyncJob:
    return world.job(template(["Account", "Contact"]), **{**OPTIONS, **options})


def _at(monkeypatch: pytest.MonkeyPatch, state: str, act: Callable[[], None]) -> None:
    """Act once, when the first chunk of the load has come to a state."""
    record = Ledger.record
    done = False

    def recorded(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        nonlocal done
        first = record(ledger, chunk, attempt, to, payload)
        if to == state and ledger.folder.parent.name == "load" and not done:
            done = True
            act()
        return first

    monkeypatch.setattr(Ledger, "record", recorded)


def _states(world: World, job: SyncJob, name: str = "Account") -> dict[str, int]:
    latest = current(job).audit(name).latest().collect()
    return dict(latest.group_by("state").len().sort("state").iter_rows())


def _goes_on(world: World) -> None:
    release_all()
    done = migrate(_job(world))
    assert done.failed() == []
    assert_laws(done)
    assert done.states("Account") == {"inserted": 24}
    assert world.counts("Account", "Contact") == {"Account": 24, "Contact": 6}
    assert world.picture("source", "Contact") == world.picture("target", "Contact")


@pytest.mark.parametrize(
    "state",
    [
        "closed",
        *(pytest.param(state, marks=pytest.mark.slow) for state in ("planned", "created", "uploaded", "paired")),
    ],
)
def test_a_request_from_elsewhere_stops_the_worker(
    accounts: World, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    # Another process on another machine has the store in common with the worker, and nothing else.
    elsewhere = _job(accounts)
    with monkeypatch.context() as patch:
        _at(patch, state, lambda: (ask_to_stop(elsewhere, why="enough"), None)[1])
        with pytest.raises(StoppedError, match=r"was stopped by test: enough\. .*isync migrate world --phase all"):
            send(_job(accounts))
    job = _job(accounts)
    states = _states(accounts, job)
    arrived = accounts.counts("Account")["Account"]
    # What had been handed over was waited for; all else is pending; nothing is in between.
    assert (arrived > 0) is (state in ("closed", "paired"))
    assert states == {key: n for key, n in (("inserted", arrived), ("pending", 24 - arrived)) if n}
    assert accounts.counts("Contact") == {"Contact": 0}
    ledger = current(job).ledger("load", "Account")
    assert set(ledger.states().values()) <= {(1, "planned"), (1, "failed"), (1, "done")}
    assert current(job).state == "open"
    _goes_on(accounts)


@pytest.mark.slow
def test_jobs_in_flight_are_aborted_where_asked(accounts: World, monkeypatch: pytest.MonkeyPatch) -> None:
    window = IngestRun._window
    elsewhere = _job(accounts)
    asked = False

    def aborts_after_the_first(run: IngestRun, sobject: Any, part: Any, relations: Any, first: int, **more: Any) -> Any:
        nonlocal asked
        outcome = window(run, sobject, part, relations, first, **more)
        if not asked:
            asked = True
            ask_to_stop(elsewhere, "abort")
            # The client sees the request at its next look, and the org the abort while it is at work.
            while run.job.state != "Aborted" and run.jobs.find(run.job.id, "ingest").state != "Aborted":
                elsewhere.target.tuning.sleep(0.01)
        return outcome

    monkeypatch.setattr(IngestRun, "_window", aborts_after_the_first)
    with pytest.raises(StoppedError):
        send(_job(accounts, chunk_bytes=100_000))
    monkeypatch.undo()
    arrived = accounts.counts("Account")["Account"]
    assert 0 < arrived < 24
    assert _states(accounts, _job(accounts)) == {"inserted": arrived, "pending": 24 - arrived}
    _goes_on(accounts)


@pytest.mark.slow
def test_what_a_killed_worker_left_is_accounted(accounts: World, tmp_path: Path) -> None:
    job = _job(accounts)
    recipe = {
        "plan": job.plan.to_json(),
        "store": str(accounts.store_folder),
        "options": OPTIONS,
        "orgs": {side: accounts.served[side].credentials() for side in ("source", "target")},
        "kill_at": "load:closed",
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
    desk = job.store.lease(job.plan.target_org_id)
    holder = desk.holder()
    assert holder is not None and not holder["live"]
    told = abort(job)
    run = current(job)
    sent = accounts.counts("Account")["Account"]
    assert sent > 0
    # The job that was in flight is read to its end; the children that were not decided yet are pending too.
    assert told.states == {"Account": {"inserted": sent, "pending": 24 - sent}, "Contact": {"pending": 6}}
    assert run.audit("Contact").latest().collect()["stage"].unique().to_list() == ["extract"]
    assert desk.holder() is None
    _goes_on(accounts)


@pytest.mark.slow
def test_a_dead_holders_lease_is_given_back_and_a_living_ones_is_not(accounts: World) -> None:
    job = _job(accounts)
    code = (
        "import sys,os,signal; from isync_dagster.store.store import Store;"
        "Store.open(sys.argv[1]).lease(sys.argv[2]).acquire('gone/all/1', 'a killed worker');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(accounts.store_folder), job.plan.target_org_id],
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL
    desk = job.store.lease(job.plan.target_org_id)
    assert desk.holder() is not None
    assert reap_store(job.store).leases == ("a killed worker (gone/all/1)",)
    assert desk.holder() is None
    assert reap_store(job.store).leases == ()
    with desk.acquire("mine/all/1", "a living worker"):
        assert reap_store(job.store).leases == ()
        assert desk.holder() is not None


@pytest.mark.slow
def test_the_cancelled_run_says_how_to_go_on_and_its_siblings_stop_too(accounts: World) -> None:
    job = _job(accounts)
    for name in ("Contact", "Account"):
        extract(job, name)
    preflight(job)
    remap(job, "Account")
    with pytest.raises(StoppedError, match="it was cancelled"):
        load(replace(job, cancelled=lambda: True), "Account")
    assert accounts.counts("Account") == {"Account": 0}
    # A new session is not stopped by what was asked of an older one.
    ask_to_stop(job)
    with pytest.raises(StoppedError):
        remap(job, "Contact")
    with pytest.raises(StoppedError):
        load(job, "Account")
    _goes_on(accounts)


@pytest.mark.slow
def test_where_nothing_is_open_there_is_nothing_to_stop(accounts: World) -> None:
    with pytest.raises(ConfigError, match="has no open run"):
        abort(_job(accounts))
    migrate(_job(accounts))
    with pytest.raises(ConfigError, match="has no open run"):
        abort(_job(accounts))


def test_a_refused_row_stops_a_sibling_that_is_at_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.reset(together(some("Account", 3, Code__c="x"), some("Contact", 24, Email=lambda n: f"p{n}@example.com")))
    recipe = template(["Account", "Contact"], {"Contact": {"exclude_fields": ["AccountId"]}})
    job, other = world.job(recipe, **OPTIONS), world.job(recipe, **OPTIONS)
    for name in ("Contact", "Account"):
        extract(job, name)
    preflight(job)
    for name in ("Contact", "Account"):
        remap(job, name)

    def refused_elsewhere() -> None:
        with pytest.raises(RejectedRowsError, match="Account: 2 rows were refused"):
            load(other, "Account")

    # Account's rows are refused by another worker when the first chunk of Contact is on its way.
    with monkeypatch.context() as patch:
        _at(patch, "closed", refused_elsewhere)
        with pytest.raises(RejectedRowsError, match=r"was stopped: Account: 2 rows .*isync retry world --phase all"):
            load(job, "Contact")
    arrived = world.counts("Contact")["Contact"]
    assert 0 < arrived < 24
    assert _states(world, job, "Contact") == {"inserted": arrived, "pending": 24 - arrived}
    ledger = current(job).ledger("load", "Contact")
    assert [state for _, state in ledger.states().values()].count("done") == 1
