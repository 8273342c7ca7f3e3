"""Rollback of parents whose children had waited for them in another run, and of those children; a request to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from isync_dagster.local_org.conditions import Conditions
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.local_org.values import error
from isync_dagster.migration.abort import abort, ask_to_stop
from isync_dagster.migration.explain import explain
from isync_dagster.migration.healing import heal_links
from isync_dagster.migration.links import link_totals
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.rollback import plan_rollback
from isync_dagster.migration.writing import release_all
from isync_dagster.store.ledger import Ledger
from isync_dagster.store.rollbacks import rollbacks, unfinished
from isync_dagster.store.runs import Run
from isync_dagster_tests.migration.test_rollback import tables, undo
from isync_dagster_tests.migration.world import (
    World,
    check,
    current,
    migrate,
    rows_of,
    some,
    template,
    together,
)

PHASES = ({"name": "people", "lines": ["Contact"]}, {"name": "accounts", "lines": ["Account"]})
KEYS = {"Contact": {"match_key": "Key__c"}, "Account": {"match_key": "Key__c", "exclude_fields": ["RecordTypeId"]}}


class Crash(BaseException):
    """The process is gone."""


def recipe(**settings: Any) -> Any:
    return template(["Contact", "Account"], KEYS, PHASES, **settings)


def _there() -> DataSet:
    """One contact that is matched and changed, one that is matched and equal; nobody's account."""
    return rows_of(
        "Contact",
        [
            {"Key__c": "c0", "LastName": "Theirs"},
            {"Key__c": "c1", "LastName": "Contact 1"},
        ],
    )


def run_of(job: SyncJob, phase: str) -> Run:
    return current(job.for_phase(phase))


def counted(job: SyncJob) -> dict[str, int]:
    """Links of AccountId by state, as the reports of the contacts' run count them."""
    totals = link_totals(run_of(job, "people"), job.object("Contact")).filter(pl.col("field") == "AccountId")
    return dict(totals.select("state", "rows").iter_rows())


def waiting(job: SyncJob) -> int:
    pending = job.store.pending(job.plan.source_org_id, job.plan.target_org_id).open("Contact")
    return int(pending.filter(pl.col("field") == "AccountId").select(pl.len()).collect().item())


def refusing(monkeypatch: pytest.MonkeyPatch, name: str, which: pl.Expr) -> None:
    """A validation rule of the target: it refuses some records of an object."""
    held = Conditions.refuse_held

    def refuse(conditions: Any, rows: Any, sobject: Any) -> None:
        held(conditions, rows, sobject)
        if sobject.name == name:
            rows.refuse([(which, error("FIELD_CUSTOM_VALIDATION_EXCEPTION", "An account is needed", "AccountId"))])

    monkeypatch.setattr(Conditions, "refuse_held", refuse)


Before = dict[str, list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def prepared(served_world: World) -> tuple[Callable[[], None], Before, Before]:
    """Four contacts came first, their accounts in the next phase, which filled their lookups."""
    world = served_world
    data = together(some("Account", 4), some("Contact", 5, AccountId=lambda n: f"a{n}" if n < 4 else None))
    world.reset(data, _there())
    empty = tables(world)
    assert migrate(world.job(recipe(), "people")).failed() == []
    before = tables(world)
    done = migrate(world.job(recipe(), "accounts"))
    assert done.failed() == []
    assert waiting(done.job) == 0
    return world.checkpoint(), empty, before


@pytest.fixture
def healed(served_world: World, prepared: tuple[Callable[[], None], Before, Before]) -> tuple[World, Before, Before]:
    """The world, what the target held before both phases, and what between them."""
    back, empty, before = prepared
    back()
    return served_world, empty, before


def test_the_parents_go_and_what_was_healed_waits_again(healed: tuple[World, Before, Before]) -> None:
    world, empty, before = healed
    job = world.job(recipe(), "accounts")
    (plan,) = plan_rollback(job)
    assert (plan.in_conflict, plan.total("delete")) == (0, 4)
    assert any("4 lookups of Contact that were filled when their parent came" in text for text in plan.notes)
    result = undo(job)
    assert result.complete
    assert result.reopened == 4
    assert tables(world) == before
    # The run that remembered the links says so, in its checks too.
    assert counted(job) == {"pending": 4, "empty": 1}
    assert waiting(job) == 4
    verdicts = check(world.job(recipe(), "people"))
    assert verdicts["Contact", "relationships"].numbers["pending"] == 4
    assert all(verdict.passed for verdict in verdicts.values())
    told = explain(job.store, world.ids("source", "Contact")["c2"])[0]
    people = next(visit for visit in told.visits if visit.phase == "people")
    assert people.events[-1].stage == "heal-2"
    assert people.events[-1].sent == {"Id": world.ids("target", "Contact")["c2"], "AccountId": "#N/A"}
    assert next(link for link in people.links if link.field == "AccountId").state == "pending"
    # The next run of the parents fills them again.
    again = migrate(world.job(recipe(), "accounts"))
    assert again.failed() == []
    assert world.values("target", "Contact", "AccountId") == {f"c{n}": f"a{n}" if n < 4 else None for n in range(5)}
    assert counted(job) == {"linked": 4, "empty": 1}
    # And the contacts' own run is still undone to what there was before.
    release_all()
    assert undo(world.job(recipe(), "accounts")).complete
    assert undo(world.job(recipe(), "people")).complete
    assert tables(world) == empty


def test_the_children_go_alone_and_their_before_images_are_in_order(healed: tuple[World, Before, Before]) -> None:
    """The run with a heal: its updated records get back what they held before the load, not before the heal."""
    world, empty, _ = healed
    job = world.job(recipe(), "people")
    result = undo(job)
    assert result.complete
    assert result.states == {"Contact": {"deleted": 3, "updated": 2}}
    assert tables(world)["Contact"] == empty["Contact"]
    assert world.counts("Account") == {"Account": 4}


def test_a_value_that_somebody_set_since_is_a_stake(healed: tuple[World, Before, Before]) -> None:
    """Only what a heal put there is set back: who points a contact at another account of the run keeps that account."""
    world, _, _ = healed
    ids, accounts = world.ids("target", "Contact"), world.ids("target", "Account")
    world.client("target").request("PATCH", f"sobjects/Contact/{ids['c3']}", json={"AccountId": accounts["a0"]})
    result = undo(world.job(recipe(), "accounts"))
    assert result.states == {"Account": {"deleted": 3, "skipped": 1}}
    # c0 keeps its account too: it was not deleted.
    assert world.values("target", "Contact", "AccountId") == {
        "c0": "a0",
        "c3": "a0",
        "c1": None,
        "c2": None,
        "c4": None,
    }
    assert counted(world.job(recipe(), "people"))["pending"] == 3 - 1


def test_a_child_that_cannot_let_go_keeps_its_parent(
    healed: tuple[World, Before, Before], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _, _ = healed
    ids = world.ids("target", "Contact")
    refusing(monkeypatch, "Contact", pl.col("Id") == ids["c2"])
    result = undo(world.job(recipe(), "accounts"))
    assert result.states == {"Account": {"deleted": 3, "failed": 1}}
    assert result.codes == {"Account": {"FIELD_CUSTOM_VALIDATION_EXCEPTION": 1}}
    assert world.ids("target", "Contact") == ids
    assert {key: value for key, value in world.values("target", "Contact", "AccountId").items() if value} == {
        "c2": "a2"
    }
    assert counted(world.job(recipe(), "people")) == {"linked": 1, "pending": 3, "empty": 1}
    # The cause is gone: what was left is undone by the same command for that run.
    monkeypatch.undo()
    assert undo(world.job(recipe(), "accounts"), number=1).complete
    assert world.counts("Contact", "Account") == {"Contact": 5, "Account": 0}


@pytest.mark.slow
def test_a_crash_at_every_transition_of_the_emptying(
    healed: tuple[World, Before, Before], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _, before = healed
    record = Ledger.record
    met: set[tuple[Any, ...]] = set()

    def fatal(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        recorded = record(ledger, chunk, attempt, to, payload)
        where = (ledger.folder.parent.name, ledger.folder.name, chunk // 100_000, to)
        if where not in met:
            met.add(where)
            raise Crash
        return recorded

    monkeypatch.setattr(Ledger, "record", fatal)
    result = None
    while result is None:
        job = world.job(recipe(), "accounts", collections_rows=0)
        try:
            result = undo(job)
        except Crash:
            assert unfinished(current(job)) is not None
            # Nobody fills meanwhile what is being emptied.
            assert all(outcome.numbers["linked"] == 0 for outcome in _healed_meanwhile(world))
    assert {where[0] for where in met} == {"heal-2", "rollback-1"}
    assert result.complete
    assert tables(world) == before
    assert waiting(world.job(recipe(), "people")) == 4


def _healed_meanwhile(world: World) -> tuple[Any, ...]:
    from isync_dagster.errors import ConfigError

    release_all()
    try:
        return heal_links(world.job(recipe(), "people"))
    except ConfigError as error:
        assert "was begun and is not through" in str(error)
        return ()


def test_a_rollback_is_stopped_and_goes_on(
    healed: tuple[World, Before, Before], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _, before = healed
    job = world.job(recipe(), "accounts", collections_rows=0)
    record = Ledger.record

    def asks(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        recorded = record(ledger, chunk, attempt, to, payload)
        if (ledger.folder.parent.name, to) == ("heal-2", "closed"):
            ask_to_stop(world.job(recipe(), "accounts"), why="not now")
        return recorded

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", asks)
        result = undo(job)
    # What was on its way came to its end, and nothing more was sent.
    assert "not now" in result.stopped
    assert "`isync rollback world --phase accounts` goes on with it" in result.stopped
    assert world.counts("Account") == {"Account": 4}
    assert set(world.values("target", "Contact", "AccountId").values()) == {None}
    release_all()
    # Nobody is at work: an abort accounts what is left, and says what goes on.
    told = abort(world.job(recipe(), "accounts"))
    assert (told.verb, told.run) == ("rollback", 1)
    assert told.states == {"Account": {"pending": 4}}
    assert undo(world.job(recipe(), "accounts")).complete
    assert tables(world) == before
    assert [item.number for item in rollbacks(current(world.job(recipe(), "accounts")))] == [1]
