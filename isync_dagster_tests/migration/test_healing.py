"""Pending links: filled by the phase that brings the parent, or when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from isync_dagster.assets import resources
from isync_dagster.cli import app
from isync_dagster.cli import relink as command
from isync_dagster.errors import UnknownOutcome
from isync_dagster.migration import healing
from isync_dagster.migration.finish import finish
from isync_dagster.migration.healing import heal_links
from isync_dagster.migration.links import link_totals
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.writing import release_all
from isync_dagster.store.runs import Run
from isync_dagster_tests.migration.world import (
    STAMPED,
    World,
    assert_laws,
    check,
    current,
    migrate,
    rows_of,
    send,
    some,
    template,
    together,
)

PHASES = ({"name": "people", "lines": ["Contact"]}, {"name": "accounts", "lines": ["Account"]})
LATE = {"accounts": {"Account": "Key__c != 'a3'"}}


def recipe(phases: Any = PHASES, **settings: Any) -> Any:
    return template(["Contact", "Account"], phases=phases, **settings)


def waiting(job: SyncJob) -> list[str]:
    """Source ids of the contacts whose account is still waited for."""
    pending = job.store.pending(job.plan.source_org_id, job.plan.target_org_id).open("Contact")
    return sorted(pending.filter(pl.col("field") == "AccountId").collect()["source_id"])


def run_of(job: SyncJob, phase: str) -> Run:
    return current(job.for_phase(phase))


def counted(job: SyncJob, phase: str = "people") -> dict[str, int]:
    """Links of AccountId by state, as the run's reports count them."""
    totals = link_totals(run_of(job, phase), job.object("Contact")).filter(pl.col("field") == "AccountId")
    return dict(totals.select("state", "rows").iter_rows())


@pytest.fixture(scope="module")
def prepared(served_world: World) -> Callable[[], None]:
    world = served_world
    world.reset(
        together(some("Account", 4), some("Contact", 5, AccountId=lambda n: f"a{n}" if n < 4 else None)),
    )
    done = migrate(world.job(recipe(), "people"))
    assert done.failed() == []
    assert len(waiting(done.job)) == 4
    return world.checkpoint()


@pytest.fixture
def people(served_world: World, prepared: Callable[[], None]) -> World:
    """Four contacts in the target, whose accounts come in the next phase; one has none."""
    prepared()
    return served_world


def test_the_phase_that_brings_the_parent_fills_what_waits(people: World) -> None:
    done = migrate(people.job(recipe(), "accounts"))
    assert done.failed() == []
    assert_laws(done)
    assert people.values("target", "Contact", "AccountId") == {f"c{n}": f"a{n}" if n < 4 else None for n in range(5)}
    assert waiting(done.job) == []
    # As if they had never waited: in the checks and reports of the run that remembered them.
    assert counted(done.job) == {"linked": 4, "empty": 1}
    before = people.job(recipe(), "people")
    verdicts = check(before)
    assert all(verdict.passed for verdict in verdicts.values())
    assert verdicts["Contact", "relationships"].numbers["AccountId verified"] == 4
    assert verdicts["Contact", "relationships"].numbers["pending"] == 0
    # Ledgered and accounted like a load, with what was there before.
    run = run_of(done.job, "people")
    assert ("heal-1", "Contact") in run.ledgers()
    audit = run.audit("Contact").latest().collect()
    healed = audit.filter(pl.col("stage") == "heal-1")
    assert healed.height == 4
    assert healed["sent_at"].null_count() == 0
    assert set(healed["rule"]) == {"update"}
    assert audit["state"].unique().to_list() == ["inserted"]
    images = run.before("Contact").read("heal-1").collect()
    assert images.height == 4
    assert images["AccountId"].null_count() == 4
    # Nothing is left to do.
    assert heal_links(people.job(recipe(), "people")) == ()


def test_only_what_can_be_filled_is_sent_and_the_rest_waits_on(people: World, monkeypatch: pytest.MonkeyPatch) -> None:
    late = (
        {"name": "people", "lines": ["Contact"]},
        {"name": "accounts", "lines": ["Account"], "where": LATE["accounts"]},
    )
    done = migrate(people.job(recipe(late), "accounts"))
    assert done.failed() == []
    assert people.values("target", "Contact", "AccountId")["c3"] is None
    assert waiting(done.job) == [people.ids("source", "Contact")["c3"]]
    assert counted(done.job) == {"linked": 3, "pending": 1, "empty": 1}
    assert run_of(done.job, "people").ledger("heal-1", "Contact").rows(0).collect().height == 3
    # The rest comes later, and is asked for by hand: another phase of the same template has brought it.
    again = migrate(people.job(recipe(), "accounts"), close=False)
    release_all()
    monkeypatch.setenv("ISYNC_STORE", str(people.store_folder))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(resources, "connect", lambda orgs, alias: people.client(alias))
    monkeypatch.setattr(command, "load_plans", lambda settings, names: {"world": people.plan(recipe())})
    result = CliRunner().invoke(app, ["relink", "world", "--object", "Contact"])
    assert result.exit_code == 0, result.output
    assert "heal-2 of run 1, phase people" in " ".join(result.output.split())
    assert "No link waits for its parent" in result.output
    assert people.values("target", "Contact", "AccountId")["c3"] == "a3"
    assert counted(again.job) == {"linked": 4, "empty": 1}


def test_a_value_that_somebody_set_meanwhile_stays(people: World) -> None:
    people.execute("target", f"""UPDATE "Contact" SET "LastName" = 'theirs', {STAMPED} WHERE "Key__c" = 'c0'""")
    theirs = people.client("target").request("POST", "sobjects/Account", json={"Name": "Theirs", "Key__c": "t"}).json()
    people.execute(
        "target", f"""UPDATE "Contact" SET "AccountId" = '{theirs["id"]}', {STAMPED} WHERE "Key__c" = 'c1'"""
    )
    people.delete("Contact", "c2")
    done = migrate(people.job(recipe(), "accounts"))
    assert done.failed() == []
    assert people.values("target", "Contact", "AccountId") == {"c0": "a0", "c1": "t", "c3": "a3", "c4": None}
    assert people.values("target", "Contact", "LastName")["c0"] == "theirs"
    assert counted(done.job)["kept"] == 1
    # The deleted one waits on; the one that is set does not.
    assert waiting(done.job) == [people.ids("source", "Contact")["c2"]]
    assert done.summary is not None
    assert any("1 lookups hold a value that somebody set" in text for text in done.summary.warnings)


def test_a_parent_that_came_back_under_another_id_is_linked_again(people: World) -> None:
    assert migrate(people.job(recipe(), "accounts")).failed() == []
    people.delete("Account", "a0")
    assert people.values("target", "Contact", "AccountId")["c0"] is None
    again = migrate(people.job(recipe(), "accounts"))
    assert again.states("Account") == {"identical": 3, "inserted": 1}
    assert people.values("target", "Contact", "AccountId")["c0"] == "a0"
    assert ("heal-2", "Contact") in run_of(again.job, "people").ledgers()


def test_a_refused_link_waits_on_and_loses_no_record(people: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = healing.plan_heal

    def deleted_just_now(job: SyncJob, step: Any, sender: Any) -> None:
        people.delete("Account", "a1")
        plan(job, step, sender)

    monkeypatch.setattr(healing, "plan_heal", deleted_just_now)
    job = people.job(recipe(), "accounts")
    done = migrate(job)
    assert done.failed() == []
    assert people.values("target", "Contact", "AccountId") == {
        "c0": "a0",
        "c1": None,
        "c2": "a2",
        "c3": "a3",
        "c4": None,
    }
    assert waiting(job) == [people.ids("source", "Contact")["c1"]]
    assert counted(job) == {"linked": 3, "pending": 1, "empty": 1}
    audit = run_of(job, "people").audit("Contact").latest().collect()
    assert audit["state"].unique().to_list() == ["inserted"]
    assert audit.drop_nulls("code")["source_id"].to_list() == [people.ids("source", "Contact")["c1"]]
    assert done.summary is not None
    assert any("1 links were refused and wait on" in text for text in done.summary.warnings)


def test_a_heal_that_was_cut_off_goes_on(people: World) -> None:
    job = people.job(recipe(), "accounts", collections_rows=0)
    send(job)
    check(job)
    people.faults("target", {"kind": "drop_after", "path": "POST .*/jobs/ingest", "times": None})
    with pytest.raises(UnknownOutcome):
        finish(job)
    people.faults("target")
    release_all()
    again = people.job(recipe(), "accounts", collections_rows=0)
    assert finish(again).kept
    assert people.values("target", "Contact", "AccountId") == {f"c{n}": f"a{n}" if n < 4 else None for n in range(5)}
    assert [step for step, name in run_of(again, "people").ledgers() if name == "Contact" and "heal" in step] == [
        "heal-1"
    ]
    assert counted(again) == {"linked": 4, "empty": 1}


def test_a_later_run_of_the_child_closes_what_it_resolves_itself(people: World) -> None:
    job = people.job(recipe(), "accounts")
    send(job)
    # The accounts are there, and nobody has healed yet: the next run of the contacts sends the lookup itself.
    release_all()
    second = migrate(people.job(recipe(), "people"))
    assert second.states("Contact") == {"identical": 1, "updated": 4}
    assert len(waiting(second.job)) == 0
    assert run_of(second.job, "people").number == 2
    assert not [step for step, _ in run_of(second.job, "people").ledgers() if "heal" in step]


def test_deferred_lookups_wait_and_are_filled_too(world: World) -> None:
    parts = (
        {"name": "few", "lines": ["Account"], "where": {"Account": "Key__c = 'a1'"}},
        {"name": "all", "lines": ["Account"]},
    )
    world.reset(rows_of("Account", [{"Key__c": "a0", "Name": "A"}, {"Key__c": "a1", "Name": "B", "ParentId": "a0"}]))
    recipe_ = template(["Account"], phases=parts)
    first = migrate(world.job(recipe_, "few"))
    assert first.failed() == []
    assert world.values("target", "Account", "ParentId") == {"a1": None}
    done = migrate(world.job(recipe_, "all"))
    assert done.failed() == []
    assert world.values("target", "Account", "ParentId") == {"a0": None, "a1": "a0"}


def test_a_record_that_is_left_as_it_is_has_no_link_that_waits(world: World) -> None:
    there = rows_of("Contact", [{"Key__c": "c0", "LastName": "Theirs"}])
    world.reset(together(some("Account", 1), some("Contact", 1, AccountId="a0")), there)
    own = {"Contact": {"match_key": "Key__c", "update_existing": False}}
    left = template(["Contact", "Account"], own, PHASES)
    first = migrate(world.job(left, "people"))
    assert first.states("Contact") == {"existing": 1}
    assert waiting(first.job) == []
    assert migrate(world.job(left, "accounts")).failed() == []
    assert world.values("target", "Contact", "AccountId") == {"c0": None}
