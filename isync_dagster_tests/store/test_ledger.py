from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from isync_dagster.errors import StoreError
from isync_dagster.store import files
from isync_dagster.store.ledger import ORDER, Ledger
from isync_dagster.store.store import Store
from isync_dagster_tests.store import racing
from isync_dagster_tests.store.conftest import JOB
from isync_dagster_tests.store.racing import T0

ROWS = pl.DataFrame({"_row": [0, 1], "Name": ["a", "b"]})
NOW = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def ledger(url: str) -> Ledger:
    """An empty ledger with a clock that stands."""
    store = Store.open(url, clock=lambda: NOW)
    return store.runs(JOB).open_or_resume({}, "h", T0, "me").ledger("load", "Account")


def test_an_empty_ledger(ledger: Ledger) -> None:
    assert (ledger.chunks(), ledger.states(), ledger.pending(), ledger.entries(1)) == ([], {}, [], [])
    assert ledger.last(1) is None


def test_a_transition_is_recorded_once(ledger: Ledger) -> None:
    assert ledger.record(1, 1, "planned", {"rows": 2})
    assert not ledger.record(1, 1, "planned", {"rows": 3})
    last = ledger.last(1)
    assert last is not None
    assert (last.chunk, last.attempt, last.state, last.payload, last.at) == (1, 1, "planned", {"rows": 2}, NOW)


def test_all_states_in_order(ledger: Ledger) -> None:
    for state in ORDER:
        assert ledger.record(3, 1, state, {"state": state})
    assert [entry.state for entry in ledger.entries(3)] == list(ORDER)
    assert [entry.n for entry in ledger.entries(3)] == list(range(1, len(ORDER) + 1))
    assert ledger.pending() == []


def test_nobody_goes_back(ledger: Ledger) -> None:
    ledger.record(1, 1, "planned", {})
    ledger.record(1, 1, "failed", {"why": "left open"})
    assert not ledger.record(1, 1, "uploaded", {})
    ledger.record(1, 2, "planned", {})
    assert not ledger.record(1, 1, "done", {})
    assert ledger.states() == {1: (2, "planned")}


def test_states_tell_each_chunk(ledger: Ledger) -> None:
    for chunk in (10, 2, 100_000):
        ledger.record(chunk, 1, "planned", {})
    ledger.record(10, 1, "done", {})
    ledger.record(2, 1, "failed", {})
    ledger.record(2, 10, "created", {"job_id": "750"})
    assert ledger.states() == {2: (10, "created"), 10: (1, "done"), 100_000: (1, "planned")}
    assert ledger.chunks() == [2, 10, 100_000]
    assert ledger.pending() == [2, 100_000]
    last = ledger.last(2)
    assert last is not None and (last.attempt, last.payload) == (10, {"job_id": "750"})


def test_an_unknown_state_is_refused(ledger: Ledger) -> None:
    with pytest.raises(StoreError, match="knows no state 'sent'"):
        ledger.record(1, 1, "sent", {})


def test_planned_rows_are_kept_with_their_hash(ledger: Ledger) -> None:
    assert ledger.plan(1, 1, ROWS.lazy(), {"operation": "insert"})
    last = ledger.last(1)
    assert last is not None
    assert (last.payload["operation"], last.payload["rows_count"]) == ("insert", 2)
    assert len(last.payload["rows_hash"]) == 64
    assert ledger.rows(1).collect().equals(ROWS)
    assert not ledger.plan(1, 1, ROWS.head(1), {})
    assert ledger.rows(1).collect().equals(ROWS)


def test_rows_written_by_hand_have_a_place(ledger: Ledger) -> None:
    for attempt in (1, 2):
        files.write_parquet(ledger.rows_path(1, attempt), ROWS.head(attempt))
        assert ledger.chunks() == ([] if attempt == 1 else [1])
        ledger.record(1, attempt, "planned", {})
    assert [ledger.rows(1, attempt).collect().height for attempt in (1, 2)] == [1, 2]
    assert ledger.rows_path(1, 2) == ledger.results_path(1, 2, "rows")


def test_results_lie_beside_and_are_no_entries(ledger: Ledger) -> None:
    ledger.record(1, 1, "planned", {})
    files.write_parquet(ledger.results_path(1, 1, "successful"), ROWS)
    files.write_parquet(ledger.results_path(1, 1, "settle").parent / "settle-1" / "part-1.parquet", ROWS)
    assert ledger.states() == {1: (1, "planned")}
    assert len(ledger.entries(1)) == 1


def test_steps_and_objects_do_not_mix(store: Store) -> None:
    run = store.runs(JOB).open_or_resume({}, "h", T0, "me")
    run.ledger("load", "Account").record(1, 1, "planned", {})
    assert run.ledger("relink", "Account").chunks() == []
    assert run.ledger("load", "Contact").chunks() == []


def test_a_crash_between_rows_and_entry_is_harmless(local: Store) -> None:
    run = local.runs(JOB).open_or_resume({}, "h", T0, "me")
    ledger = run.ledger("load", "Account")
    with racing.paused(racing.stop_with_rows, local.root.path, JOB):
        assert len(files.names(ledger.folder / "000001" / "001")) == 1
    assert (ledger.chunks(), ledger.last(1)) == ([], None)
    assert ledger.plan(1, 1, ROWS, {})
    assert ledger.rows(1).collect().equals(ROWS)


def test_of_workers_that_plan_at_once_one_wins_each_chunk(shared: Store) -> None:
    run = shared.runs(JOB).open_or_resume({}, "h", T0, "me")
    won = racing.race(racing.record_transitions, 3, str(shared.root), JOB, 15)
    assert sorted(chunk for chunks in won for chunk in chunks) == list(range(15))
    ledger = run.ledger("load", "Account")
    for worker, chunks in enumerate(won):
        for chunk in chunks:
            entry = ledger.last(chunk)
            assert entry is not None and entry.payload["worker"] == worker
            assert ledger.rows(chunk).collect()["_row"].to_list() == [worker]
