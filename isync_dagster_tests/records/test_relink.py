"""What the second pass sends."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from isync_dagster.plan.model import ObjectPlan, Policy, StagedField
from isync_dagster.records.relink import left_open, pending_links, relink, relink_payload
from isync_dagster.records.words import DECISIONS, LINK_STATES
from isync_dagster_tests.records.builders import id_map, lookup, object_plan, text

PAIRS = id_map(("p1", "q1"), ("p2", "q2"))
DEFERRED = object_plan(lookups=(lookup("ParentId", "Account", deferred=True),))


def frame_of(decision: str = "insert", target_id: str | None = "t0", **columns: Any) -> pl.LazyFrame:
    own = {"_decision": DECISIONS, "_changed": pl.List(pl.String)}
    values = {
        "_row": pl.Series([0], dtype=pl.UInt32),
        "_source_id": ["s0"],
        "_target_id": pl.Series([target_id], dtype=pl.String),
        "_decision": pl.Series([decision], dtype=own["_decision"]),
        "_changed": pl.Series([[]], dtype=own["_changed"]),
    }
    for name, value in columns.items():
        kind = LINK_STATES if name.startswith("_link.") else (pl.Boolean if isinstance(value, bool) else pl.String)
        values[name] = pl.Series([value], dtype=kind)
    return pl.LazyFrame(values)


def deferred(parent: str | None, now: str | None = None, decision: str = "insert") -> pl.LazyFrame:
    state = "pending" if parent else "empty"
    return frame_of(
        decision, **{"ParentId": None, "_from.ParentId": parent, "_link.ParentId": state, "_now.ParentId": now}
    )


def run(frame: pl.LazyFrame, plan: ObjectPlan) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(the relinked row, its payload or None)."""
    linked = relink(frame, plan, lambda _: PAIRS)
    payload = relink_payload(linked, plan).collect()
    return linked.collect().row(0, named=True), (payload.row(0, named=True) if payload.height else None)


@pytest.mark.parametrize(
    ("decision", "parent", "now", "state", "sent"),
    [
        ("insert", "p1", None, "linked", "q1"),
        ("insert", None, None, "empty", None),
        ("insert", "lost", None, "pending", None),
        ("update", "p1", "q1", "linked", None),
        ("update", "p1", "q2", "linked", "q1"),
        ("identical", "p1", None, "linked", "q1"),
        ("identical", None, "q2", "empty", "#N/A"),
        ("identical", "lost", "q2", "pending", None),
    ],
)
def test_deferred_lookups(decision: str, parent: str | None, now: str | None, state: str, sent: str | None) -> None:
    row, payload = run(deferred(parent, now, decision), DEFERRED)
    assert row["_link.ParentId"] == state
    assert (payload["ParentId"] if payload else None) == sent
    assert row["_changed"] == (["ParentId"] if sent else [])
    if payload:
        assert payload["Id"] == "t0"
        assert payload["_clear"] == (["ParentId"] if sent == "#N/A" else [])


def test_a_default_stands_in_for_a_missing_parent() -> None:
    plan = object_plan(lookups=(lookup("ParentId", "Account", deferred=True, policy=Policy.DEFAULT, default="q9"),))
    row, payload = run(deferred("lost"), plan)
    assert row["_link.ParentId"] == "defaulted"
    assert payload is not None
    assert payload["ParentId"] == "q9"


@pytest.mark.parametrize("decision", ["existing", "skipped", "blocked", "dropped"])
def test_rows_that_are_not_ours_to_write_are_left_out(decision: str) -> None:
    assert relink(deferred("p1", None, decision), DEFERRED, lambda _: PAIRS).collect().is_empty()


def test_rows_that_did_not_arrive_are_left_out() -> None:
    frame = deferred("p1").with_columns(pl.lit(None, dtype=pl.String).alias("_target_id"))
    assert relink(frame, DEFERRED, lambda _: PAIRS).collect().is_empty()


STAGED = object_plan(fields=(text("Status"),), staged=(StagedField("Status", "Draft"),))


@pytest.mark.parametrize(
    ("decision", "value", "now", "sent"),
    [
        ("insert", "Activated", None, "Activated"),
        ("insert", "Draft", None, None),
        ("insert", None, None, None),
        ("update", "Activated", "Draft", "Activated"),
        ("identical", "Activated", "Activated", None),
        ("identical", None, "Draft", None),
    ],
)
def test_staged_fields_get_their_real_value(
    decision: str, value: str | None, now: str | None, sent: str | None
) -> None:
    _, payload = run(frame_of(decision, **{"Status": value, "_now.Status": now}), STAGED)
    assert (payload["Status"] if payload else None) == sent


def test_a_staged_field_without_an_initial_value_is_sent() -> None:
    plan = object_plan(fields=(text("Status"),), staged=(StagedField("Status", ""),))
    _, payload = run(frame_of("insert", **{"Status": "Activated", "_now.Status": None}), plan)
    assert payload is not None
    assert payload["Status"] == "Activated"


@pytest.mark.parametrize(
    ("decision", "value", "sent"), [("insert", None, "#N/A"), ("insert", "x", None), ("update", None, None)]
)
def test_defaults_of_the_server_are_cleared_where_the_source_is_empty(
    decision: str, value: str | None, sent: str | None
) -> None:
    plan = object_plan(fields=(text("Rating"),), clear_defaults=("Rating",))
    _, payload = run(frame_of(decision, **{"Rating": value, "_now.Rating": value}), plan)
    assert (payload["Rating"] if payload else None) == sent


def test_what_only_an_update_may_set_follows_the_insert() -> None:
    plan = object_plan(fields=(text("Later", createable=False), text("Name")))
    _, payload = run(frame_of("insert", **{"Later": "x", "_now.Later": None, "Name": "n"}), plan)
    assert payload is not None
    assert {name: value for name, value in payload.items() if not name.startswith("_")} == {"Id": "t0", "Later": "x"}
    assert run(frame_of("update", **{"Later": "x", "_now.Later": "y", "Name": "n"}), plan)[1] is None


def test_pending_links() -> None:
    plan = object_plan(lookups=(lookup("A", "Account"), lookup("B", "Account")))
    frame = frame_of(**{"_link.A": "pending", "_from.A": "p9", "_link.B": "linked", "_from.B": "p1"})
    assert pending_links(frame, plan).collect().rows() == [("s0", "A", "p9")]
    assert pending_links(frame, object_plan()).collect().is_empty()


@pytest.mark.parametrize("decision", ["insert", "update", "identical", "existing"])
@pytest.mark.parametrize("parent", ["p1", "lost", None])
@pytest.mark.parametrize("now", ["q1", "q2", None])
def test_what_was_not_left_open_has_nothing_to_send(decision: str, parent: str | None, now: str | None) -> None:
    frame = deferred(parent, now, decision)
    kept = left_open(frame, DEFERRED)
    assert kept.collect().height == (parent is not None or now is not None)
    payloads = [relink_payload(relink(rows, DEFERRED, lambda _: PAIRS), DEFERRED).collect() for rows in (frame, kept)]
    assert payloads[0].equals(payloads[1])
    if not kept.collect().height:
        states = relink(frame, DEFERRED, lambda _: PAIRS).select("_link.ParentId").collect()["_link.ParentId"]
        assert set(states) <= {"empty"}


def test_where_more_than_lookups_is_left_every_row_is_looked_at() -> None:
    plan = object_plan(fields=(text("Status"),), lookups=DEFERRED.lookups, staged=(StagedField("Status", "Draft"),))
    frame = deferred(None).with_columns(Status=pl.lit("Active"))
    assert left_open(frame, plan).collect().height == 1
