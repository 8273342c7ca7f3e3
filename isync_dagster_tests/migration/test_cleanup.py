"""What runs keep for how long, what protects them, and what is said of what is gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, DataError, StoreError
from isync_dagster.migration.acceptance import accept
from isync_dagster.migration.checks import check_conservation
from isync_dagster.migration.cleanup import (
    CleanupPlan,
    Kind,
    apply_cleanup,
    cleaned_kinds,
    plan_cleanup,
    require_kept,
)
from isync_dagster.migration.explain import explain
from isync_dagster.migration.extract import extract
from isync_dagster.store import files
from isync_dagster.store.runs import Run
from isync_dagster.store.store import Store
from isync_dagster.template.models import Retention
from isync_dagster_tests.migration.world import World, current, migrate, some, template, together

RECIPE = template(["Account", "Contact"])


def later(store: Store, days: int) -> Store:
    """The same store so many days later."""
    return replace(store, clock=lambda: datetime.now().astimezone() + timedelta(days=days))


def kinds(plan: CleanupPlan) -> set[str]:
    return {str(item.kind) for item in plan.removals}


@pytest.fixture(scope="module")
def kept(served_world: World) -> Callable[[], None]:
    served_world.reset(together(some("Account", 3), some("Contact", 3, AccountId=lambda n: f"a{n}")))
    migrate(served_world.job(RECIPE))
    return served_world.checkpoint()


@pytest.fixture
def run(served_world: World, kept: Callable[[], None]) -> Run:
    """A closed run in a store of its own."""
    kept()
    return current(served_world.job(RECIPE))


def store_of(world: World) -> Store:
    return Store.open(str(world.store_folder))


def test_each_kind_goes_in_its_time_and_says_so(served_world: World, run: Run) -> None:
    store = store_of(served_world)
    source, target = served_world.ids("source", "Account")["a0"], served_world.ids("target", "Account")["a0"]
    assert kinds(plan_cleanup(store, {})) == set()
    assert kinds(plan_cleanup(later(store, 59), {})) == set()
    due = plan_cleanup(later(store, 61), {})
    assert kinds(due) == {"rows"}
    # Nothing is removed by looking.
    assert files.exists(run.folder / "extract" / "Account" / "manifest.json")
    before = {name: files.find(run.folder / name) for name in ("audit", "before", "report", "verdicts", "state")}
    ledger = [name for name in files.find(run.folder / "ledger") if name.endswith(".json")]
    done = apply_cleanup(due, by="test")
    assert done.files == due.files > 10
    assert done.bytes > 0
    assert not files.find(run.folder / "extract")
    assert not files.find(run.folder / "remap")
    assert files.find(run.folder / "ledger") == ledger
    assert {name: files.find(run.folder / name) for name in before} == before
    assert set(cleaned_kinds(run)) == {Kind.ROWS}
    assert kinds(plan_cleanup(later(store, 61), {})) == set()
    # The audit log still tells, and says what is missing.
    (found,) = explain(store, source)
    assert (found.target_id, found.visits[0].events[-1].state) == (target, "inserted")
    assert found.visits[0].events[-1].sent == {}
    assert any("rows of run 1" in text and "by test: kept for 60 days" in text for text in found.visits[0].missing)
    with pytest.raises(StoreError, match=r"A rollback is not possible any more: .*rows of run 1"):
        require_kept(run, [Kind.ROWS], "A rollback")
    with pytest.raises(ConfigError, match=r"Account cannot be checked any more: .*were removed"):
        check_conservation(served_world.job(RECIPE), "Account")
    # In the end the id map alone knows, for good.
    assert kinds(plan_cleanup(later(store, 400), {})) == {"audit_log", "before_images", "reports"}
    apply_cleanup(plan_cleanup(later(store, 400), {}), by="test")
    assert not files.find(run.folder / "audit")
    (found,) = explain(store, target)
    assert (found.source_id, found.visits) == (source, ())
    # The next run needs nothing of it.
    again = migrate(served_world.job(RECIPE))
    assert again.failed() == []
    assert again.states("Account") == {"identical": 3}


def test_the_template_says_how_long(served_world: World, run: Run) -> None:
    store = later(store_of(served_world), 10)
    own = {"world": Retention(rows=5, audit_log=9, before_images=11, reports=10)}
    assert kinds(plan_cleanup(store, own)) == {"rows", "audit_log", "reports"}
    assert kinds(plan_cleanup(store, own, ["other"])) == set()
    assert kinds(plan_cleanup(store, {"other": Retention(rows=0)})) == set()


def test_a_hold_protects_until_a_run_is_accepted(served_world: World, run: Run) -> None:
    store = later(store_of(served_world), 400)
    runs = store.runs(run.job)
    due = plan_cleanup(store, {})
    runs.set_hold("until finance has signed", "test")
    held = plan_cleanup(store, {})
    assert held.removals == ()
    assert [kept.why for kept in held.protected] == ["it is held: until finance has signed"]
    # A hold that came after the plan was made counts as well.
    assert apply_cleanup(due, by="test").removals == ()
    assert files.find(run.folder / "audit")
    assert accept(runs).state == "accepted"
    assert runs.hold is None
    assert len(plan_cleanup(store, {}).removals) == len(due.removals)
    run.set_hold("evidence", "test")
    assert plan_cleanup(store, {}).removals == ()


def test_a_run_is_accepted_once_its_checks_pass(served_world: World, run: Run) -> None:
    runs = store_of(served_world).runs(run.job)
    with pytest.raises(ConfigError, match=r"no run 7 \(runs: 1\)"):
        accept(runs, 7)
    verdict = run.verdicts()[0]
    run.write_verdict(verdict["object"], verdict["name"], {**verdict, "passed": False, "text": "3 are gone."})
    with pytest.raises(DataError, match=r"(?s)is not accepted:.*3 are gone.*--anyway"):
        accept(runs)
    assert run.state == "closed"
    assert accept(runs, anyway="the three were tests", by="Ann").state == "accepted"
    last = run.transitions()[-1]
    assert (last["by"], last["details"]["anyway"]) == ("Ann", "the three were tests")
    assert last["details"]["against"] == [f"{verdict['object']} {verdict['name']}: 3 are gone."]
    assert accept(runs).number == 1
    assert len(run.transitions()) == 3


def test_an_open_run_is_neither_touched_nor_accepted(served_world: World, run: Run) -> None:
    job = served_world.job(RECIPE)
    extract(job, "Account")
    nothing = Retention(rows=0, audit_log=0, before_images=0, reports=0)
    due = plan_cleanup(later(store_of(served_world), 4000), {"world": nothing})
    assert {item.run.number for item in due.removals} == {1}
    assert current(job).number == 2
    with pytest.raises(ConfigError, match="is open, and only a closed run is accepted"):
        accept(job.store.runs(job.key))


def test_the_audit_log_of_a_run_is_complete(served_world: World, run: Run) -> None:
    rows = run.audit("Contact").read().collect()
    load = rows.filter(pl.col("stage") == "load")
    assert load.height == 3
    for name in ("target_id", "attempt", "sf_job_id", "chunk", "rule", "sent_at", "at"):
        assert load[name].null_count() == 0, name
    assert load.filter(pl.col("sent_at") > pl.col("at") + timedelta(minutes=5)).is_empty()
    assert rows.filter(pl.col("rule").is_null()).is_empty()
