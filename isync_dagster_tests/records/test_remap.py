"""Lookups become target ids or a recorded decision; a source id never slips through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isync_dagster.plan.model import Lookup, Policy
from isync_dagster.records.ids import unambiguous
from isync_dagster.records.remap import link_counts, resolve
from isync_dagster.records.transform import UNFIT
from isync_dagster_tests.records.builders import id_map, lookup, record_id

KNOWN = {record_id("001", number): record_id("001", 900 + number) for number in range(5)}
MISSING = record_id("001", 77)


def maps(_: Lookup) -> pl.LazyFrame:
    return id_map(*KNOWN.items())


def rows(*parents: str | None, name: str = "AccountId") -> pl.LazyFrame:
    ids = [record_id("003", number) for number in range(len(parents))]
    return pl.LazyFrame({"_source_id": ids, name: pl.Series(parents, dtype=pl.String)})


def one(parent: str | None, item: Lookup, **options: Any) -> dict[str, Any]:
    return resolve(rows(parent), [item], maps, **options).collect().row(0, named=True)


SOURCE, TARGET = next(iter(KNOWN.items()))


@pytest.mark.parametrize("policy", list(Policy))
def test_a_known_parent_is_linked_whatever_the_policy(policy: Policy) -> None:
    row = one(SOURCE, lookup("AccountId", "Account", policy=policy, default=record_id("001", 1)))
    assert row["AccountId"] == TARGET
    assert row["_from.AccountId"] == SOURCE
    assert row["_link.AccountId"] == "linked"
    assert (row["_decision"], row["_reason"], row["_stop"]) == (None, None, None)


@pytest.mark.parametrize("policy", list(Policy))
def test_no_parent_is_empty_whatever_the_policy(policy: Policy) -> None:
    row = one(None, lookup("AccountId", "Account", policy=policy, default=record_id("001", 1)))
    assert (row["AccountId"], row["_from.AccountId"], row["_link.AccountId"]) == (None, None, "empty")
    assert (row["_decision"], row["_reason"], row["_stop"]) == (None, None, None)


WORDS = f"AccountId: parent {MISSING} of Account is not in the target"


@pytest.mark.parametrize(
    ("item", "value", "state", "fate", "reason", "stop"),
    [
        (lookup("AccountId", "Account", policy=Policy.BLOCK), None, "failed", "blocked", WORDS, None),
        (lookup("AccountId", "Account", policy=Policy.STOP), None, "failed", "blocked", WORDS, WORDS),
        (lookup("AccountId", "Account", policy=Policy.DROP_ROW), None, "dropped", "dropped", WORDS, None),
        (lookup("AccountId", "Account", policy=Policy.NULL), None, "pending", None, None, None),
        (
            lookup("AccountId", "Account", policy=Policy.NULL, defaulted_on_create=True),
            None,
            "defaulted",
            None,
            None,
            None,
        ),
        (
            lookup("AccountId", "Account", policy=Policy.DEFAULT, default="001D"),
            "001D",
            "defaulted",
            None,
            None,
            None,
        ),
        (lookup("AccountId", "Account", policy=Policy.FETCH_PARENT), None, "pending", None, None, None),
        (
            lookup("AccountId", "Account", policy=Policy.FETCH_PARENT, required=True),
            None,
            "failed",
            "blocked",
            WORDS,
            None,
        ),
    ],
)
def test_a_missing_parent_meets_the_policy(
    item: Lookup, value: str | None, state: str, fate: str | None, reason: str | None, stop: str | None
) -> None:
    row = one(MISSING, item)
    assert (row["AccountId"], row["_link.AccountId"]) == (value, state)
    assert (row["_decision"], row["_reason"], row["_stop"]) == (fate, reason, stop)
    assert row["_from.AccountId"] == MISSING


def test_kept_lookups_pass_unchanged() -> None:
    row = one(MISSING, lookup("AccountId", "Account", kept=True))
    assert (row["AccountId"], row["_link.AccountId"], row["_decision"]) == (MISSING, "kept", None)


def test_deferred_lookups_wait_for_relink() -> None:
    item = lookup("AccountId", "Account", deferred=True, policy=Policy.BLOCK)
    row = one(SOURCE, item)
    assert (row["AccountId"], row["_from.AccountId"], row["_link.AccountId"]) == (None, SOURCE, "pending")
    assert one(None, item)["_link.AccountId"] == "empty"


def test_a_blocked_row_names_its_parents_error() -> None:
    failed = pl.LazyFrame({"source_id": [MISSING, MISSING], "reason": ["failed DUPLICATE_VALUE"] * 2})
    row = one(MISSING, lookup("AccountId", "Account", policy=Policy.BLOCK), failed_parents=failed)
    assert row["_reason"] == f"{WORDS}: failed DUPLICATE_VALUE"
    row = one(SOURCE, lookup("AccountId", "Account", policy=Policy.BLOCK), failed_parents=failed)
    assert row["_reason"] is None


def test_several_missing_parents() -> None:
    items = [
        lookup("A", "Account", policy=Policy.BLOCK),
        lookup("B", "Account", policy=Policy.DROP_ROW),
        lookup("C", "X", "Y", "Z", "W", policy=Policy.BLOCK),
    ]
    frame = pl.LazyFrame({"_source_id": ["s"], "A": [MISSING], "B": [MISSING], "C": [MISSING]})
    row = resolve(frame, items, maps).collect().row(0, named=True)
    assert row["_decision"] == "dropped"
    assert row["_reason"] == (
        f"A: parent {MISSING} of Account is not in the target; B: parent {MISSING} of Account is not in the target; "
        f"C: parent {MISSING} of one of 4 objects is not in the target"
    )


def test_a_row_with_a_value_that_does_not_fit_is_blocked() -> None:
    unfit = pl.Series([[{"field": "N", "value": "x"}, {"field": "D", "value": "y"}], None], dtype=UNFIT)
    frame = pl.LazyFrame({"_source_id": ["s", "t"], "_unfit": unfit})
    assert resolve(frame, [], maps).collect().select("_decision", "_reason").rows() == [
        (
            "blocked",
            "N: x does not fit the type of the target's field; D: y does not fit the type of the target's field",
        ),
        (None, None),
    ]


def test_spill_is_called_after_each_join() -> None:
    seen: list[str] = []

    def spill(frame: pl.LazyFrame, name: str) -> pl.LazyFrame:
        seen.append(name)
        return frame.collect().lazy()

    items = [lookup("A", "Account"), lookup("B", "Account", deferred=True), lookup("C", "Account")]
    frame = pl.LazyFrame({"_source_id": ["s"], "A": [SOURCE], "B": [SOURCE], "C": [SOURCE]})
    assert resolve(frame, items, maps, spill=spill).collect()["C"].to_list() == [TARGET]
    assert seen == ["A", "C"]


def test_an_id_with_two_targets_is_not_guessed_and_multiplies_no_rows() -> None:
    doubled = id_map((SOURCE, TARGET), (SOURCE, record_id("001", 5)))
    found = resolve(rows(SOURCE), [lookup("AccountId", "Account")], lambda _: unambiguous(doubled)).collect()
    assert found.select("AccountId", "_link.AccountId").rows() == [(None, "pending")]
    same = id_map((SOURCE, TARGET), (SOURCE, TARGET))
    found = resolve(rows(SOURCE), [lookup("AccountId", "Account")], lambda _: unambiguous(same)).collect()
    assert found["AccountId"].to_list() == [TARGET]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.sampled_from([*KNOWN, MISSING])), max_size=20),
    st.sampled_from(list(Policy)),
    st.booleans(),
    st.booleans(),
)
def test_rows_keep_their_order_and_no_source_id_survives(
    parents: list[str | None], policy: Policy, deferred: bool, required: bool
) -> None:
    item = replace(
        lookup("AccountId", "Account", policy=policy, default=record_id("001", 999), required=required),
        deferred=deferred,
    )
    lazy = rows(*parents)
    frame = resolve(lazy, [item], maps).collect()
    assert frame["_source_id"].to_list() == lazy.collect()["_source_id"].to_list()
    assert frame["_from.AccountId"].to_list() == parents
    assert not set(frame["AccountId"].drop_nulls()) & {*KNOWN, MISSING}
    assert frame["_link.AccountId"].null_count() == 0
    # The second law: the states of a lookup add up to the rows.
    counts = link_counts(frame.lazy(), [item]).collect()
    assert counts["rows"].sum() == len(parents)
    for parent, value, state in frame.select("_from.AccountId", "AccountId", "_link.AccountId").rows():
        assert (state == "empty") == (parent is None)
        if parent in KNOWN and not deferred:
            assert (value, state) == (KNOWN[parent], "linked")
