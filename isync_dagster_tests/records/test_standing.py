"""A row that was sent, as the next run has it: decided, and with nothing left for its second pass."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.relink import relink, relink_payload
from isync_dagster.records.standing import standing, standing_late
from isync_dagster.records.words import MATCHED_BY
from isync_dagster_tests.records.builders import id_map, object_plan
from isync_dagster_tests.records.test_relink import DEFERRED, PAIRS, STAGED, deferred, frame_of

HERE = id_map(("s0", "t0"))


def matched(rows: pl.LazyFrame, by: str | None = None) -> pl.LazyFrame:
    return rows.with_columns(_matched_by=pl.lit(by, dtype=MATCHED_BY))


def after(rows: pl.LazyFrame, plan: ObjectPlan, ids: pl.LazyFrame = HERE) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Decided `rows` and their second pass, both as the next run takes them over from one that has sent all of it."""
    loaded = rows.with_columns(_target_id=pl.lit("t0"))
    late = relink(loaded, plan, lambda _: PAIRS)
    other = standing(rows, plan, ids, late).collect()
    kept = rows.collect().drop(other.columns)
    return kept.hstack(other), standing_late(late, plan).collect()


@pytest.mark.parametrize("decision", ["insert", "update", "identical"])
@pytest.mark.parametrize("parent", ["p1", "lost", None])
@pytest.mark.parametrize("now", ["q1", "q2", None])
def test_a_second_pass_that_was_sent_sends_nothing_more(decision: str, parent: str | None, now: str | None) -> None:
    rows = matched(deferred(parent, None if decision == "insert" else now, decision))
    decided, late = after(rows, DEFERRED)
    again = relink(decided.lazy(), DEFERRED, lambda _: PAIRS)
    assert relink_payload(again, DEFERRED).collect().is_empty()
    assert relink_payload(late.lazy(), DEFERRED).collect().is_empty()
    assert late.drop("_row").equals(again.select(late.columns).collect().drop("_row"))
    assert decided["_decision"].to_list() == ["identical"]
    # A parent that comes later is linked, as it would have been.
    found = relink_payload(relink(decided.lazy(), DEFERRED, lambda _: id_map(("lost", "q5"), ("p1", "q1"))), DEFERRED)
    assert found.collect().height == (parent == "lost")


@pytest.mark.parametrize(
    ("decision", "value", "now", "left"),
    [
        ("insert", "Activated", None, "Activated"),
        ("insert", "Draft", None, "Draft"),
        ("insert", None, None, None),
        ("update", "Activated", "Draft", "Activated"),
        ("identical", None, "Draft", "Draft"),
        ("existing", "Activated", "Draft", "Draft"),
    ],
)
def test_a_staged_field_holds_what_the_second_pass_gave_it(
    decision: str, value: str | None, now: str | None, left: str | None
) -> None:
    rows = matched(frame_of(decision, **{"Status": value, "_now.Status": now}))
    decided, _ = after(rows, STAGED)
    assert decided["_now.Status"].to_list() == [left]
    assert relink_payload(relink(decided.lazy(), STAGED, lambda _: PAIRS), STAGED).collect().is_empty()


@pytest.mark.parametrize(
    ("decision", "by", "updates", "becomes", "known_by"),
    [
        ("insert", None, True, "identical", "id map"),
        ("insert", None, False, "existing", "id map"),
        ("update", "match key", True, "identical", "id map"),
        ("identical", "match key", True, "identical", "id map"),
        ("existing", "match key", False, "existing", "id map"),
        ("skipped", None, True, "skipped", None),
        ("dropped", "match key", True, "dropped", "match key"),
        ("blocked", None, True, "blocked", None),
    ],
)
def test_what_becomes_of_each_decision(
    decision: str, by: str | None, updates: bool, becomes: str, known_by: str | None
) -> None:
    there = None if decision in ("insert", "skipped", "blocked") else "t0"
    rows = matched(frame_of(decision, there, **{"Name": "n", "_now.Name": "m" if decision == "update" else None}), by)
    rows = rows.with_columns(_changed=pl.lit(["Name"] if decision == "update" else [], dtype=pl.List(pl.String)))
    ids = HERE if decision == "insert" else id_map()
    (row,) = standing(rows, object_plan(update_existing=updates), ids, None).collect().to_dicts()
    expected: dict[str, Any] = {
        "_decision": becomes,
        "_target_id": "t0" if decision == "insert" else there,
        "_matched_by": known_by,
        "_changed": [],
        "_now.Name": None,
    }
    assert row == expected


def test_what_is_left_as_it_is_has_no_second_pass() -> None:
    """Where updates are off, an inserted record is none of the next run's business."""
    plan = object_plan(lookups=DEFERRED.lookups, update_existing=False)
    decided, late = after(matched(deferred("p1")), plan)
    assert decided["_decision"].to_list() == ["existing"]
    assert late.is_empty()


def test_a_row_that_never_arrived_has_no_target_id() -> None:
    (row,) = standing(matched(frame_of("insert", None)), object_plan(), id_map(), None).collect().to_dicts()
    assert row["_target_id"] is None
