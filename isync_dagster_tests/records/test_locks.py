"""Which parents rows contend for, and which lookup decides their order."""

from __future__ import annotations

import polars as pl

from isync_dagster.records.locks import Kind, by_rule, contention, locking, skewed
from isync_dagster_tests.records.builders import lookup

ROWS = 20_000


def _rows(**parents: int) -> pl.LazyFrame:
    """`ROWS` rows whose lookups point at so many different parents, in turn."""
    number = pl.int_range(ROWS)
    return pl.select(**{name: (number % count).cast(pl.String) for name, count in parents.items()}).lazy()


def _order(rows: pl.LazyFrame, **kinds: Kind) -> list[str]:
    return [item.field for item in contention(rows, kinds, {})]


def test_setup_records_are_not_locked() -> None:
    owner = lookup("OwnerId", "User", "Group")
    what = lookup("WhatId", "Account", "User")
    master = lookup("Master__c", "Campaign", relationship_order=0, nillable=False)
    assert [item.target.name for item in locking((owner, what, master))] == ["Master__c", "WhatId"]
    assert by_rule((owner, what)) == ()
    assert by_rule((what, lookup("R", "Account", required=True), master)) == ("Master__c",)


def test_the_skew_of_the_data_decides() -> None:
    rows = _rows(Account=5_000, Campaign=20, Own=ROWS)
    order = _order(rows, Account="master-detail", Campaign="optional", Own="required")
    # Each row has a parent of its own there, so that nothing contends for one.
    assert order == ["Campaign", "Account"]


def test_the_kind_decides_between_lookups_that_are_about_as_contended() -> None:
    rows = _rows(One=300, Two=200, Three=250)
    assert _order(rows, One="master-detail", Two="optional", Three="required") == ["One", "Three", "Two"]


def test_the_share_is_what_a_random_order_meets() -> None:
    rows = _rows(Parent=1_000).collect().sample(fraction=1.0, shuffle=True, seed=3).with_row_index()
    (found,) = contention(rows.lazy(), {"Parent": "optional"}, {})
    # Siblings at the same moment: the same chunk of 200 rows in one of four batches of 5,000 rows.
    moment, batch = (pl.col("index") % 5_000) // 200, pl.col("index") // 5_000
    met = rows.with_columns(moment=moment, batch=batch).filter(pl.col("batch").n_unique().over("moment", "Parent") > 1)
    assert abs(found.share - met.height / ROWS) < 0.05
    assert found.rows == ROWS
    assert 20 <= found.largest <= 40


def test_columns_may_have_other_names_in_the_extract() -> None:
    rows = _rows(Parent=3).with_columns(pl.when(pl.int_range(ROWS) < ROWS // 2).then("Parent").alias("Parent"))
    (found,) = contention(rows, {"Target__c": "required"}, {"Target__c": "Parent"})
    assert (found.field, found.rows) == ("Target__c", ROWS // 2)


def test_skewed_names_the_parents_with_too_many_children() -> None:
    rows = pl.LazyFrame({"p": ["a"] * 6 + ["b"] * 5 + [None] * 9 + ["c"] * 7})
    assert skewed(rows, "p", 5).to_list() == ["a", "c"]
    assert skewed(rows, "p", 7).to_list() == []
