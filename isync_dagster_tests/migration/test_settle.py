"""Rows of unknown outcome are shown, looked for once more, or decided by a person; then the run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, UnsettledError
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.settle import as_csv, read_decisions, settle, unknown_rows
from isync_dagster.migration.writing import release_all
from isync_dagster.salesforce.bulk_ingest import BulkIngest
from isync_dagster.store.ledger import Ledger
from isync_dagster_tests.migration.world import World, assert_laws, current, migrate, send, some, template

RENAME = """UPDATE "Account" SET "Name" = 'Renamed by a flow' WHERE "Key__c" = 'a1'"""
NAME_BACK = """UPDATE "Account" SET "Name" = 'Account 1' WHERE "Key__c" = 'a1'"""
DELETE = """DELETE FROM "Account" WHERE "Key__c" = 'a1'"""


@pytest.fixture
def unknown(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Four accounts that were sent; the results were lost, and a1 is in the target in changed form."""
    world.reset(some("Account", 4, Rating__c="Hot"))
    read = BulkIngest.results
    lost = False

    def loses_once(bulk: BulkIngest, job_id: str, kind: Any, to: Path, *, expected: int | None = None) -> int:
        nonlocal lost
        if kind == "successful" and not lost:
            lost = True
            world.execute("target", RENAME)
            return 0
        return read(bulk, job_id, kind, to, expected=expected)

    with monkeypatch.context() as patch:
        patch.setattr(BulkIngest, "results", loses_once)
        with pytest.raises(UnsettledError, match="isync settle world --phase all"):
            send(_job(world))
    release_all()
    return world


def _job(world: World) -> SyncJob:
    # What made a1 another one is no part of what is settled.
    return world.job(template(["Account"], validation={"exclude_fields": {"Account": ["Name"]}}))


def _said(world: World, decision: str) -> pl.DataFrame:
    return pl.DataFrame({"source_id": [world.ids("source", "Account")["a1"]], "decision": [decision]})


def _goes_on(world: World) -> None:
    job = _job(world)
    done = migrate(job)
    assert_laws(done)
    assert done.states("Account") == {"inserted": 4}
    assert world.counts("Account") == {"Account": 4}
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).read("Account").collect()
    ours, theirs = world.ids("source", "Account"), world.ids("target", "Account")
    assert dict(id_map.select("source_id", "target_id").iter_rows()) == {ours[key]: theirs[key] for key in ours}


@pytest.mark.slow
def test_it_shows_what_was_sent_and_what_it_may_be(unknown: World) -> None:
    found = unknown_rows(_job(unknown))
    assert found.height == 1
    row = found.row(0, named=True)
    assert row["object"] == "Account"
    assert row["source_id"] == unknown.ids("source", "Account")["a1"]
    assert row["candidates"] == unknown.ids("target", "Account")["a1"]
    assert json.loads(row["sent"])["Name"] == "Account 1"
    assert row["sf_job_id"].startswith("750")
    # A look alone changes nothing: the record is still there in changed form.
    assert settle(_job(unknown)).left.height == 1


@pytest.mark.slow
def test_a_second_look_finds_it(unknown: World) -> None:
    unknown.execute("target", NAME_BACK)
    done = settle(_job(unknown))
    assert (done.found, done.not_sent, done.left.height) == (1, 0, 0)
    _goes_on(unknown)


@pytest.mark.slow
def test_a_second_look_finds_that_it_is_not_there(unknown: World) -> None:
    unknown.execute("target", DELETE)
    done = settle(_job(unknown))
    assert (done.found, done.not_sent, done.left.height) == (0, 1, 0)
    _goes_on(unknown)


def test_the_word_of_a_person_is_kept_with_the_name(unknown: World, tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    as_csv(unknown_rows(_job(unknown)), file)
    assert read_decisions(file).is_empty(), "nothing is decided by an empty column"
    target = unknown.ids("target", "Account")["a1"]
    filled = pl.read_csv(file, infer_schema=False).with_columns(decision=pl.lit(f"sent:{target}"))
    filled.write_csv(file)
    job = _job(unknown)
    assert settle(job, ["Account"], read_decisions(file)).found == 1
    run = current(job)
    entries = run.ledger("load", "Account").entries(0)
    assert [entry.state for entry in entries][-4:] == ["done", "settled", "paired", "done"]
    assert entries[-1].payload["by"] == "test"
    row = run.audit("Account").latest().filter(pl.col("target_id") == target).collect().row(0, named=True)
    assert (row["state"], row["message"]) == ("inserted", "sent, by the word of test")
    _goes_on(unknown)


@pytest.mark.slow
def test_what_was_not_sent_is_sent_when_the_run_goes_on(unknown: World) -> None:
    done = settle(_job(unknown), (), _said(unknown, "not-sent"), look=False)
    assert done.not_sent == 1
    unknown.execute("target", DELETE)
    _goes_on(unknown)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["settled", "paired"])
def test_a_decision_that_is_cut_off_is_not_lost(unknown: World, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    class Crash(BaseException):
        pass

    record = Ledger.record

    def cut_off(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        recorded = record(ledger, chunk, attempt, to, payload)
        if to == state:
            raise Crash
        return recorded

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", cut_off)
        with pytest.raises(Crash):
            settle(_job(unknown), (), _said(unknown, f"sent:{unknown.ids('target', 'Account')['a1']}"), look=False)
    with pytest.raises(UnsettledError, match="isync settle"):
        send(_job(unknown))
    assert settle(_job(unknown)).left.is_empty()
    _goes_on(unknown)


def test_a_decision_that_cannot_be_right_changes_nothing(unknown: World) -> None:
    mine, there = unknown.ids("source", "Account"), unknown.ids("target", "Account")
    for decision, words in (
        ("perhaps", "A decision is `not-sent` or `sent:<target id>`"),
        ("sent:001000000000ZZZAAA", "The target has no Account 001000000000ZZZAAA"),
        (f"sent:{there['a2']}", f"is the counterpart of {mine['a2']} already"),
        ("sent:' OR Id != '", "is no id of Salesforce"),
    ):
        with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
            settle(_job(unknown), (), _said(unknown, decision), look=False)
    other = pl.DataFrame({"source_id": [mine["a2"]], "decision": ["not-sent"]})
    with pytest.raises(ConfigError, match=r"The outcome of .* is known"):
        settle(_job(unknown), (), other, look=False)
    assert unknown_rows(_job(unknown)).height == 1
