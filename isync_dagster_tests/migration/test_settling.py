"""Rows that were sent and have no result: found in the target, sent again, or unknown; never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.errors import ConfigError, UnsettledError
from isync_dagster.local_org.bulk_ingest import IngestRun
from isync_dagster.migration.checks import check_conservation
from isync_dagster.migration.finish import finish
from isync_dagster.migration.load import load
from isync_dagster.migration.writing import release_all
from isync_dagster.salesforce.bulk_ingest import BulkIngest
from isync_dagster.store.ledger import Ledger
from isync_dagster_tests.migration.world import (
    World,
    assert_laws,
    current,
    migrate,
    rows_of,
    send,
    serving_world,
    some,
    template,
    together,
)


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world whose target commits every five rows, so that a job can fail half-way."""
    with serving_world(tmp_path_factory.mktemp("world"), batch_rows=5, batches_per_commit=1) as made:
        yield made


@pytest.fixture
def accounts(world: World) -> World:
    world.reset(
        together(
            some("Account", 9, Rating__c="Hot", Zip__c=lambda n: f"0{n}", Size__c=lambda n: f"{n}.50"),
            rows_of("Account", [{"_ref": f"twin{n}", "Name": "Twin", "Rating__c": "Hot"} for n in range(4)]),
        )
    )
    return world


def _arrived(world: World) -> None:
    release_all()
    done = migrate(world.job(template(["Account"])))
    assert done.failed() == []
    assert_laws(done)
    assert done.states("Account") == {"inserted": 13}
    assert world.picture("source", "Account") == world.picture("target", "Account")


def test_a_job_that_fails_half_way(accounts: World, monkeypatch: pytest.MonkeyPatch) -> None:
    window = IngestRun._window
    failed = False

    def breaks_once(run: IngestRun, sobject: Any, part: Any, relations: Any, first: int, **more: Any) -> Any:
        nonlocal failed
        if first and not failed:
            failed = True
            raise RuntimeError("the platform has a bad day")
        return window(run, sobject, part, relations, first, **more)

    monkeypatch.setattr(IngestRun, "_window", breaks_once)
    _arrived(accounts)
    assert failed


def test_a_job_that_somebody_aborts_half_way(accounts: World, monkeypatch: pytest.MonkeyPatch) -> None:
    window = IngestRun._window
    aborted = False

    def aborts_once(run: IngestRun, sobject: Any, part: Any, relations: Any, first: int, **more: Any) -> Any:
        nonlocal aborted
        outcome = window(run, sobject, part, relations, first, **more)
        if not aborted:
            aborted = True
            run.jobs.move(run.job, "Aborted")
        return outcome

    monkeypatch.setattr(IngestRun, "_window", aborts_once)
    _arrived(accounts)
    assert aborted


def _lose_results(monkeypatch: pytest.MonkeyPatch, then: Any = None) -> None:
    """The first read of successful results comes back empty, as after seven days or a platform fault."""
    read = BulkIngest.results
    lost = False

    def loses_once(bulk: BulkIngest, job_id: str, kind: Any, to: Path, *, expected: int | None = None) -> int:
        nonlocal lost
        if kind == "successful" and not lost:
            lost = True
            if then is not None:
                then()
            return 0
        return read(bulk, job_id, kind, to, expected=expected)

    monkeypatch.setattr(BulkIngest, "results", loses_once)


def test_rows_without_result_that_are_there_are_paired(accounts: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _lose_results(monkeypatch)
    _arrived(accounts)


def test_rows_without_result_that_are_not_there_are_sent_again(
    accounts: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lose_results(monkeypatch, lambda: accounts.execute("target", """DELETE FROM "Account" WHERE "Zip__c" < '04'"""))
    _arrived(accounts)


def test_a_record_that_somebody_else_has_changed_meanwhile_is_not_sent_twice(
    accounts: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = accounts.target.table("User")["Id"].to_list()[-1]
    # Another user's change without effect on what was sent: the record is still the one that this user made.
    sql = f"""UPDATE "Account" SET "LastModifiedById" = '{other}', "Legacy__c" = 'x' WHERE "Zip__c" = '04'"""
    _lose_results(monkeypatch, lambda: accounts.execute("target", sql))
    _arrived(accounts)


def test_a_record_in_changed_form_is_unknown_and_stops_the_run(
    accounts: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = """UPDATE "Account" SET "Name" = 'Renamed by a flow' WHERE "Zip__c" = '04'"""
    _lose_results(monkeypatch, lambda: accounts.execute("target", sql))
    job = accounts.job(template(["Account"]))
    with pytest.raises(
        UnsettledError, match=r"Account, chunk 0: 1 rows were sent and their outcome could not be settled"
    ):
        send(job)
    verdict = check_conservation(job, "Account")
    assert not verdict.passed
    assert verdict.numbers["unknown"] == 1
    assert verdict.numbers["inserted"] == 12
    # It stays stopped: neither a later call nor the close of the run walks over it.
    release_all()
    with pytest.raises(UnsettledError, match="1 rows of run 1 were sent and their outcome is not known"):
        load(accounts.job(template(["Account"])), "Account")
    with pytest.raises(ConfigError, match="1 rows with unknown outcome"):
        finish(job)
    assert accounts.counts("Account") == {"Account": 13}


def test_records_that_were_there_before_are_not_taken_for_ours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # Made by the same user a moment ago, and equal to what is sent but for the key that finds others.
    world.reset(
        some("Account", 3, Rating__c="Hot"),
        rows_of("Account", [{"Key__c": "mine", "Name": "Account 1", "Rating__c": "Hot"}]),
    )
    _lose_results(monkeypatch)
    done = migrate(world.job(template(["Account"], {"Account": {"match_key": "Key__c"}})))
    assert done.failed() == []
    assert done.states("Account") == {"inserted": 3}
    assert world.counts("Account") == {"Account": 4}


@pytest.mark.parametrize("state", ["uploaded", "closed", "finished"])
def test_a_job_that_the_org_has_no_more(accounts: World, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    """Resumed after more than seven days: job and results are gone, the records are not."""

    class Crash(BaseException):
        pass

    record = Ledger.record

    def cut_off(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        recorded = record(ledger, chunk, attempt, to, payload)
        if to == state:
            raise Crash
        return recorded

    job = accounts.job(template(["Account"]))
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", cut_off)
        with pytest.raises(Crash):
            send(job)
    entry = current(job).ledger("load", "Account").last(0)
    assert entry is not None
    jobs = accounts.served["target"].service.jobs
    known = jobs.find(entry.payload["job_id"], "ingest")
    assert known is not None
    if state == "closed":
        job.target.tuning.sleep(0.5)
    jobs.delete(known)
    _arrived(accounts)


def test_a_job_aborted_before_it_was_closed(accounts: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off between the abort of a job that was left open and its note: the next resume finds it aborted."""

    class Crash(BaseException):
        pass

    record = Ledger.record

    def cut_off(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        recorded = record(ledger, chunk, attempt, to, payload)
        if to == "created":
            raise Crash
        return recorded

    job = accounts.job(template(["Account"]))
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", cut_off)
        with pytest.raises(Crash):
            send(job)
    entry = current(job).ledger("load", "Account").last(0)
    assert entry is not None
    BulkIngest(job.target).abort(entry.payload["job_id"])
    _arrived(accounts)
