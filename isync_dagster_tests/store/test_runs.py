from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from isync_dagster.errors import LeaseHeldError, StoreError
from isync_dagster.store import files
from isync_dagster.store.layout import JobKey
from isync_dagster.store.runs import RunState
from isync_dagster.store.store import Store
from isync_dagster_tests.store import racing
from isync_dagster_tests.store.conftest import JOB, SOURCE, TARGET
from isync_dagster_tests.store.racing import T0

PLAN = {"template": "demo", "objects": [{"name": "Account"}]}


def test_a_new_job_has_no_run(store: Store) -> None:
    runs = store.runs(JOB)
    assert (runs.current(), runs.latest(), runs.list()) == (None, None, ())


def test_a_run_keeps_what_it_was_opened_with(store: Store) -> None:
    opened = store.runs(JOB).open_or_resume(PLAN, "hash", T0, "me")
    run = store.runs(JOB).current()
    assert run == opened
    assert run is not None
    assert (run.number, run.state, run.t0, run.plan_hash, run.opened_by, run.plan()) == (
        1,
        "open",
        T0,
        "hash",
        "me",
        PLAN,
    )
    assert files.read_json(run.layout.plan) == PLAN
    shown = files.read_json(run.layout.state)
    assert shown is not None and (shown["state"], shown["run"]) == ("open", 1)


def test_while_open_it_is_resumed_whatever_the_plan(store: Store) -> None:
    runs = store.runs(JOB)
    first = runs.open_or_resume(PLAN, "hash", T0, "me")
    again = runs.open_or_resume({}, "other", datetime(2025, 1, 1, tzinfo=UTC), "you")
    assert (again.number, again.plan_hash, again.t0) == (first.number, "hash", T0)


def test_after_closing_the_next_one_opens(store: Store) -> None:
    runs = store.runs(JOB)
    runs.open_or_resume(PLAN, "1", T0, "me").close({"rows": 3})
    assert runs.current() is None
    assert runs.open_or_resume(PLAN, "2", T0, "me").number == 2
    assert [(run.number, run.state, run.plan_hash) for run in runs.list()] == [(1, "closed", "1"), (2, "open", "2")]
    assert runs.list()[0].summary() == {"rows": 3}


def test_more_than_nine_runs_stay_in_order(store: Store) -> None:
    runs = store.runs(JOB)
    for _ in range(11):
        runs.open_or_resume(PLAN, "h", T0, "me").close({})
    assert [run.number for run in runs.list()] == list(range(1, 12))


def test_jobs_do_not_see_each_other(store: Store) -> None:
    store.runs(JOB).open_or_resume(PLAN, "h", T0, "me")
    for job in (JobKey(SOURCE, TARGET, "demo", "other"), JobKey(TARGET, SOURCE, "demo", "all")):
        assert store.runs(job).latest() is None


def test_an_opening_that_was_cut_off_leaves_the_number_free(store: Store) -> None:
    layout = store.layout.run(JOB, 1)
    files.write_json(layout.folder / "leftover.json", {})
    assert store.runs(JOB).latest() is None
    assert store.runs(JOB).open_or_resume(PLAN, "h", T0, "me").number == 1


def test_t0_must_have_a_zone(store: Store) -> None:
    with pytest.raises(StoreError, match="time zone"):
        store.runs(JOB).open_or_resume(PLAN, "h", datetime(2024, 1, 1), "me")


class TestStates:
    def test_the_way_of_a_good_run(self, store: Store) -> None:
        run = store.runs(JOB).open_or_resume(PLAN, "h", T0, "me")
        assert run.close({"rows": 1}, by="me")
        assert run.accept(by="you")
        assert run.mark_rolled_back({"deleted": 1})
        assert [data["state"] for data in run.transitions()] == ["open", "closed", "accepted", "rolled_back"]
        assert all("plan" not in data for data in run.transitions())
        shown = files.read_json(run.layout.state)
        assert shown is not None and shown["state"] == "rolled_back"

    def test_each_step_is_repeatable(self, store: Store) -> None:
        run = store.runs(JOB).open_or_resume(PLAN, "h", T0, "me")
        assert [run.close({"rows": 1}), run.close({"rows": 2})] == [True, False]
        assert run.summary() == {"rows": 1}

    def test_an_abandoned_run_cannot_be_closed(self, store: Store) -> None:
        run = store.runs(JOB).open_or_resume(PLAN, "h", T0, "me")
        assert run.abandon("template changed")
        with pytest.raises(StoreError, match="is abandoned: it cannot become closed"):
            run.close({})
        assert (run.state, run.is_open, run.summary()) == (RunState.ABANDONED, False, None)
        assert store.runs(JOB).open_or_resume(PLAN, "h", T0, "me").number == 2

    def test_another_object_of_the_same_run_sees_the_change(self, store: Store) -> None:
        run = store.runs(JOB).open_or_resume(PLAN, "h", T0, "me")
        other = store.runs(JOB).get(1)
        run.close({})
        assert other is not None and other.state == "closed"


class TestRaces:
    def test_workers_that_open_at_once_share_a_run(self, shared: Store) -> None:
        rounds = 6
        seen = racing.race(racing.open_runs, 3, str(shared.root), JOB, rounds)
        plans = {entry for worker in seen for entry in worker}
        # Every worker saw one and the same plan for a number, and each plan belongs to its hash.
        assert len({number for number, _, _ in plans}) == len(plans)
        assert all(plan_hash == f"plan of {worker}" for _, plan_hash, worker in plans)
        runs = shared.runs(JOB).list()
        assert [run.number for run in runs] == list(range(1, len(runs) + 1))
        assert all([data["state"] for data in run.transitions()] == ["open", "closed"] for run in runs)
        assert {number for number, _, _ in plans} == {run.number for run in runs}


class TestContents:
    def test_verdicts_come_back_as_written_and_the_newest_counts(self, store: Store) -> None:
        run = store.runs(JOB).open_or_resume(PLAN, "h", T0, "me")
        assert run.verdicts() == []
        run.write_verdict("Account", "record count", {"passed": False})
        run.write_verdict("Account", "record count", {"passed": True})
        run.write_verdict("Contact", "record count", {"passed": False, "n": 1})
        assert run.verdicts() == [{"passed": True}, {"passed": False, "n": 1}]

    def test_ledgers_are_listed(self, store: Store) -> None:
        run = store.runs(JOB).open_or_resume(PLAN, "h", T0, "me")
        assert run.ledgers() == []
        for step, name in (("load", "Account"), ("retry-1", "Contact")):
            run.ledger(step, name).record(1, 1, "planned", {})
        assert run.ledgers() == [("load", "Account"), ("retry-1", "Contact")]

    def test_a_hold_is_set_and_released(self, store: Store) -> None:
        run = store.runs(JOB).open_or_resume(PLAN, "h", T0, "me")
        assert run.hold is None
        run.set_hold("audit", by="me")
        assert run.hold is not None and run.hold["why"] == "audit"
        run.release_hold()
        assert run.hold is None

    def test_a_hold_of_the_sync_job_is_no_run(self, store: Store) -> None:
        runs = store.runs(JOB)
        assert runs.hold is None
        runs.set_hold("until May", "me")
        assert runs.hold is not None
        assert runs.hold["why"] == "until May"
        assert runs.list() == ()
        assert store.jobs() == [JOB]
        runs.release_hold()
        assert runs.hold is None

    def test_an_acceptance_keeps_its_reason(self, store: Store) -> None:
        run = store.runs(JOB).open_or_resume({}, "h", T0, "me")
        run.close({})
        assert run.accept("Ann", {"anyway": "agreed"})
        assert run.transitions()[-1]["details"] == {"anyway": "agreed"}

    def test_before_images_of_any_columns(self, store: Store) -> None:
        before = store.runs(JOB).open_or_resume(PLAN, "h", T0, "me").before("Account")
        assert before.read_all().collect().height == 0
        assert not before.has("load-1")
        assert before.write("load-1", pl.DataFrame({"Id": ["1"], "Name": ["A"]})) == 1
        before.write("relink-1", pl.DataFrame({"Id": ["1"], "ParentId": ["p"]}))
        assert before.has("load-1")
        assert before.parts() == ["load-1", "relink-1"]
        assert before.read("load-1").collect().columns == ["Id", "Name"]
        assert set(before.read_all().collect().columns) == {"Id", "Name", "ParentId", "_part"}
        with pytest.raises(StoreError, match="1 of 1 rows have no Id"):
            before.write("x", pl.DataFrame({"Id": [None]}, schema={"Id": pl.String}))

    def test_a_claim_is_for_one_worker(self, store: Store) -> None:
        run = store.runs(JOB).open_or_resume(PLAN, "h", T0, "me")
        with run.claim("load", "Account", "worker 1"):
            with pytest.raises(
                LeaseHeldError, match=r"load of Account in run demo/all/1 from 00DA+ is being written to by worker 1"
            ):
                run.claim("load", "Account", "worker 1")
            run.claim("load", "Contact", "worker 2").release()
        run.claim("load", "Account", "worker 2").release()
