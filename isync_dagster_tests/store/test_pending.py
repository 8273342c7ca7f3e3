from __future__ import annotations

import polars as pl
import pytest

from isync_dagster.errors import StoreError
from isync_dagster.store.pending import COLUMNS, Pending
from isync_dagster.store.store import Store
from isync_dagster_tests.store.conftest import SOURCE, TARGET

RUN = ("demo", "all", 1)
LINKS = pl.DataFrame(
    {
        "source_id": ["c1", "c1", "c2"],
        "field": ["ReportsToId", "AccountId", "ReportsToId"],
        "source_parent_id": ["p1", "a1", "p1"],
        "parent_object": ["Contact", "Account", None],
    }
)


@pytest.fixture
def pending(store: Store) -> Pending:
    return store.pending(SOURCE, TARGET)


def waiting(pending: Pending) -> set[tuple[str, str, str]]:
    return set(pending.open("Contact").select("source_id", "field", "source_parent_id").collect().iter_rows())


def test_nothing_waits_at_first(pending: Pending) -> None:
    assert pending.open("Contact").collect().height == 0
    assert pending.open("Contact").collect_schema() == COLUMNS


def test_links_wait_until_they_are_healed(pending: Pending) -> None:
    assert pending.add("Contact", LINKS, *RUN, "load-1") == 3
    assert waiting(pending) == {("c1", "ReportsToId", "p1"), ("c1", "AccountId", "a1"), ("c2", "ReportsToId", "p1")}
    assert pending.heal("Contact", LINKS.select("source_id", "field").head(1), *RUN, "relink-1") == 1
    assert waiting(pending) == {("c1", "AccountId", "a1"), ("c2", "ReportsToId", "p1")}


def test_a_repeat_of_the_first_does_not_undo_the_healing(pending: Pending) -> None:
    pending.add("Contact", LINKS, *RUN, "load-1")
    pending.heal("Contact", LINKS, *RUN, "relink-1")
    pending.add("Contact", LINKS, *RUN, "load-1")
    assert waiting(pending) == set()


def test_a_link_can_wait_again_for_another_parent(pending: Pending) -> None:
    pending.add("Contact", LINKS, *RUN, "load-1")
    pending.heal("Contact", LINKS, *RUN, "relink-1", how="dropped")
    pending.add("Contact", LINKS.head(1).with_columns(source_parent_id=pl.lit("p2")), "demo", "all", 2, "load-1")
    assert waiting(pending) == {("c1", "ReportsToId", "p2")}


def test_a_link_must_say_what_it_waits_for(pending: Pending) -> None:
    with pytest.raises(StoreError, match="3 of 3 rows have no source_parent_id"):
        pending.add("Contact", LINKS.drop("source_parent_id"), *RUN, "load-1")


def test_each_link_says_how_it_ended_and_what_it_holds(pending: Pending) -> None:
    pending.add("Contact", LINKS, *RUN, "load-1")
    ended = LINKS.head(2).with_columns(how=pl.Series(["linked", "kept"]), target_parent_id=pl.Series(["t1", None]))
    pending.heal("Contact", ended, *RUN, "heal-1")
    rows = pending.links("Contact").select("source_id", "field", "healed", "target_parent_id").collect().rows()
    assert set(rows) == {
        ("c1", "ReportsToId", "linked", "t1"),
        ("c1", "AccountId", "kept", None),
        ("c2", "ReportsToId", None, None),
    }
    assert waiting(pending) == {("c2", "ReportsToId", "p1")}
