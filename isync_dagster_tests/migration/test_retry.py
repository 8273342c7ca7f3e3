"""Just what was refused, blocked or left is sent again, with everything that waited for it; the rest is not touched."""

from __future__ import annotations

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, RejectedRowsError
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration.finish import finish
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.retry import Retried, retry, unfinished
from isync_dagster.migration.writing import release_all
from isync_dagster.report.summary import summary_from_json
from isync_dagster.store.ledger import Ledger
from isync_dagster.template import Template
from isync_dagster_tests.migration.world import (
    STAMPED,
    Migration,
    World,
    assert_laws,
    check,
    current,
    migrate,
    send,
    some,
    template,
    together,
)

OBJECTS = ("Account", "Contact", "Part__c", "Memo__c")


def _data() -> DataSet:
    """a1 is refused (its code is taken); everything that hangs on it waits, is blocked, or goes without."""
    return together(
        some("Account", 4, Code__c=lambda n: "x" if n < 2 else None, ParentId=lambda n: "a1" if n == 2 else None),
        some("Contact", 4, AccountId=lambda n: f"a{n}", ReportsToId=lambda n: "c1" if n == 3 else None),
        some("Part__c", 4, Account__c=lambda n: f"a{n % 2}"),
        some("Memo__c", 2, WhatId=lambda n: f"a{n}"),
    )


def _template(**settings: object) -> Template:
    # The cause is corrected in the target (`_gone`), which the comparison of fields would name.
    validation = {"exclude_fields": {"Account": ["Code__c"]}}
    defaults = {"continue_on_error": True, "validation": validation}
    return template(OBJECTS, {"Account": {"exclude_fields": ["RecordTypeId"]}}, **{**defaults, **settings})


def _gone(world: World) -> None:
    """The cause is gone: nobody else has the code any more."""
    world.execute("target", f"""UPDATE "Account" SET "Code__c" = 'y', {STAMPED} WHERE "Key__c" = 'a0'""")


def _with_all_lookups(world: World) -> None:
    assert world.values("target", "Account", "ParentId") == {"a2": "a1"} | {f"a{n}": None for n in (0, 1, 3)}
    assert world.values("target", "Contact", "AccountId") == {f"c{n}": f"a{n}" for n in range(4)}
    assert world.values("target", "Contact", "ReportsToId")["c3"] == "c1"
    assert world.values("target", "Part__c", "Account__c") == {f"p{n}": f"a{n % 2}" for n in range(4)}
    assert world.values("target", "Memo__c", "WhatId") == {"m0": "a0", "m1": "a1"}
    assert world.counts(*OBJECTS) == {"Account": 4, "Contact": 4, "Part__c": 4, "Memo__c": 2}


def _as_undisturbed(world: World, job: SyncJob) -> None:
    """Target, states, lookups and verdicts are those of a run in which nothing was refused."""
    _with_all_lookups(world)
    done = Migration(job, {}, check(job))
    assert done.failed() == []
    assert_laws(done)
    for name in OBJECTS:
        assert set(done.states(name)) == {"inserted"}
    pending = job.store.pending(job.plan.source_org_id, job.plan.target_org_id)
    assert all(pending.open(name).collect().is_empty() for name in pending.objects())
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    for name in OBJECTS:
        known = dict(id_map.read(name).select("source_id", "target_id").collect().iter_rows())
        ours, theirs = world.ids("source", name), world.ids("target", name)
        assert known == {ours[key]: theirs[key] for key in ours}


def test_a_closed_run_is_retried_and_tells_the_new_truth(world: World) -> None:
    world.reset(_data())
    done = migrate(world.job(_template()))
    assert done.states("Account") == {"failed": 1, "inserted": 3}
    assert done.states("Part__c") == {"blocked": 2, "inserted": 2}
    assert done.summary is not None and not done.summary.kept
    (file,) = [name for name in done.summary.error_files if name.startswith("errors_Account_")]
    assert "DUPLICATE_VALUE" in (current(done.job).report_folder / file).read_text()
    assert world.values("target", "Contact", "AccountId")["c1"] is None
    _gone(world)
    release_all()
    world.watch("source", "(GET|POST) .*/query")
    job = world.job(_template())
    told = retry(job)
    # Two reads of the source's identity and clock, and no row of it.
    assert world.met("source") <= 2
    assert told.states == {"Account": {"inserted": 1}, "Part__c": {"inserted": 2}}
    assert told.relinked == {"Account": 1, "Contact": 1, "Memo__c": 1}
    _as_undisturbed(world, job)
    run = current(job)
    assert run.state == "closed"
    assert [data["state"] for data in run.transitions()] == ["open", "closed", "closed"]
    summary = summary_from_json(run.summary() or {})
    assert summary.kept
    assert {row.object: dict(row.states) for row in summary.objects}["Account"] == {"inserted": 4}
    assert summary.closed_at == done.summary.closed_at
    page = (run.report_folder / "report.html").read_text()
    assert "The promise is kept" in page
    assert run.audit("Account").latest().filter(pl.col("stage") == "retry-1").collect().height == 1
    # Nothing is left to retry, and nothing is sent by one.
    world.watch("target", "(POST|PATCH|PUT|DELETE) .*/(jobs/ingest|composite/(sobjects|tree|graph))")
    assert retry(world.job(_template())).rows == 0
    assert world.met("target") == 0


def test_an_open_run_is_retried_and_then_resumed(world: World) -> None:
    world.reset(_data())
    options = {"chunk_bytes": 120, "parallel_jobs": 1}
    with pytest.raises(RejectedRowsError, match=r"isync retry world --phase all"):
        send(world.job(_template(continue_on_error=False), **options))
    sent = world.counts("Account")["Account"]
    assert sent < 3
    assert world.counts("Contact") == {"Contact": 0}
    _gone(world)
    release_all()
    told = retry(world.job(_template(continue_on_error=False), **options))
    assert told.states == {"Account": {"inserted": 1}}
    assert told.summary is None
    assert world.counts("Account") == {"Account": sent + 1}
    # The rows that were not sent yet go with the run, and no row twice.
    job = world.job(_template(continue_on_error=False), **options)
    send(job)
    assert all(verdict.passed for verdict in check(job).values())
    assert finish(job).kept
    _as_undisturbed(world, job)


@pytest.mark.slow
def test_only_what_is_named(world: World) -> None:
    world.reset(
        together(
            some("Account", 4, Code__c=lambda n: "x" if n < 2 else None, Mail__c=lambda n: f"m{n}@example.com"),
            some("Contact", 3, AccountId=lambda n: f"a{n}", Email=lambda n: "nonsense" if n == 2 else None),
            some("Part__c", 4, Account__c=lambda n: f"a{n % 2}"),
        )
    )
    names = ("Account", "Contact", "Part__c")
    recipe = template(names, {"Account": {"exclude_fields": ["RecordTypeId"]}}, continue_on_error=True)
    done = migrate(world.job(recipe))
    assert done.states("Account") == {"failed": 1, "inserted": 3}
    assert done.states("Contact") == {"failed": 1, "inserted": 2}
    _gone(world)
    release_all()
    assert retry(world.job(recipe), codes=["UNABLE_TO_LOCK_ROW"]).rows == 0
    assert retry(world.job(recipe), ["Contact"]).states == {"Contact": {"failed": 1}}
    # The children of a parent that arrives go with it, though they were not named.
    assert retry(world.job(recipe), codes=["DUPLICATE_VALUE"]).states == {
        "Account": {"inserted": 1},
        "Part__c": {"inserted": 2},
    }
    told = retry(world.job(recipe))
    assert told.states == {"Contact": {"failed": 1}}
    assert told.number == 4
    with pytest.raises(ConfigError, match=r"no object 'Contract'"):
        retry(world.job(recipe), ["Contract"])


@pytest.mark.slow
def test_rows_corrected_in_the_source_are_read_again_where_asked(world: World) -> None:
    world.reset(_data())
    migrate(world.job(_template()))
    release_all()
    world.execute("source", """UPDATE "Account" SET "Code__c" = 'z' WHERE "Key__c" = 'a1'""")
    # Without being asked a retry sends what the run extracted.
    assert retry(world.job(_template())).states["Account"] == {"failed": 1}
    job = world.job(_template())
    assert retry(job, extract_again=True).states == {"Account": {"inserted": 1}, "Part__c": {"inserted": 2}}
    _as_undisturbed(world, job)
    assert world.values("target", "Account", "Code__c")["a1"] == "z"


@pytest.mark.slow
def test_a_record_gone_in_the_source_stays_as_it_was_accounted(world: World) -> None:
    world.reset(some("Account", 3, Code__c=lambda n: "x" if n < 2 else None))
    migrate(world.job(template(["Account"], continue_on_error=True)))
    release_all()
    world.execute("source", """DELETE FROM "Account" WHERE "Key__c" = 'a1'""")
    job = world.job(template(["Account"], continue_on_error=True))
    retry(job, extract_again=True)
    assert Migration(job, {}, {}).states("Account") == {"failed": 1, "inserted": 2}


@pytest.mark.slow
def test_a_refused_second_pass_is_tried_again_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = False
    record = Ledger.record

    def deletes_the_parent(ledger: Ledger, chunk: int, attempt: int, to: str, payload: object) -> bool:
        nonlocal gone
        if to == "planned" and ledger.folder.parent.name == "relink" and not gone:
            gone = True
            world.execute("target", """UPDATE "Account" SET "IsDeleted" = true WHERE "Key__c" = 'a3'""")
        return record(ledger, chunk, attempt, to, payload)  # type: ignore[arg-type]

    world.reset(some("Account", 4, ParentId=lambda n: "a3" if n == 1 else "a0" if n == 2 else None))
    recipe = template(["Account"], continue_on_error=True)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", deletes_the_parent)
        send(world.job(recipe))
    job = world.job(recipe)
    states = Migration(job, {}, {}).states("Account")
    assert states == {"failed": 1, "inserted": 3}
    world.execute("target", """UPDATE "Account" SET "IsDeleted" = false WHERE "Key__c" = 'a3'""")
    release_all()
    told = retry(job)
    assert told.states == {"Account": {"inserted": 1}}
    assert world.values("target", "Account", "ParentId") == {"a0": None, "a1": "a3", "a2": "a0", "a3": None}
    assert world.counts("Account") == {"Account": 4}
    assert all(verdict.passed for verdict in check(job).values())


@pytest.mark.slow
@pytest.mark.parametrize(("step", "state"), [("retry-1", "created"), ("retry-1", "done"), ("retry-1-relink", "closed")])
def test_a_retry_that_is_cut_off_goes_on(world: World, monkeypatch: pytest.MonkeyPatch, step: str, state: str) -> None:
    class Crash(BaseException):
        pass

    world.reset(_data())
    migrate(world.job(_template(), collections_rows=0))
    _gone(world)
    release_all()
    record = Ledger.record
    dead = False

    def cut_off(ledger: Ledger, chunk: int, attempt: int, to: str, payload: object) -> bool:
        nonlocal dead
        if dead:
            raise Crash
        recorded = record(ledger, chunk, attempt, to, payload)  # type: ignore[arg-type]
        if to == state and ledger.folder.parent.name == step:
            dead = True
            raise Crash
        return recorded

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", cut_off)
        with pytest.raises(Crash):
            retry(world.job(_template(), collections_rows=0))
    release_all()
    job = world.job(_template(), collections_rows=0)
    assert unfinished(current(job)) == 1
    told: Retried = retry(job, ["Contact"])
    assert told.number == 1
    assert "was cut off" in told.notes[0]
    _as_undisturbed(world, job)
    assert unfinished(current(job)) is None


def test_what_cannot_be_retried_says_what_can(world: World) -> None:
    world.reset(_data())
    with pytest.raises(ConfigError, match="has never run"):
        retry(world.job(_template()))
    migrate(world.job(_template()))
    other = template(OBJECTS, {"Account": {"exclude_fields": ["RecordTypeId", "Code__c"]}}, continue_on_error=True)
    with pytest.raises(ConfigError, match="was made with another plan"):
        retry(world.job(other))
    current(world.job(_template())).accept()
    with pytest.raises(ConfigError, match=r"run 1 is accepted.*isync migrate world --phase all"):
        retry(world.job(_template()))
