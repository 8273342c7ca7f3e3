"""Every policy for a parent that is not in the target."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, MissingParentError
from isync_dagster_tests.migration.world import (
    Migration,
    World,
    assert_laws,
    migrate,
    rows_of,
    send,
    some,
    template,
    together,
)

OUTSIDE = {"Account": {"where": "Key__c != 'a1'"}}


def _run(world: World, policy: str | None, **settings: Any) -> Migration:
    own = {"Contact": {"missing_parents": {"AccountId": policy}}}
    return migrate(world.job(template(["Account", "Contact"], own, conditions=OUTSIDE, **settings)))


@pytest.fixture
def orphan(world: World) -> World:
    """Three accounts of which the second stays behind, and a contact of each."""
    world.reset(
        together(some("Account", 3), some("Contact", 3, AccountId=lambda n: f"a{n}")),
        rows_of("Account", [{"Key__c": "spare", "Name": "Spare account"}]),
    )
    return world


def test_null_leaves_a_pending_link(orphan: World) -> None:
    done = _run(orphan, "null")
    assert done.failed() == []
    assert_laws(done)
    assert orphan.values("target", "Contact", "AccountId") == {"c0": "a0", "c1": None, "c2": "a2"}
    plan = done.job.plan
    pending = done.job.store.pending(plan.source_org_id, plan.target_org_id).open("Contact").collect()
    assert pending.select("field", "source_parent_id").rows() == [("AccountId", orphan.ids("source", "Account")["a1"])]


def test_block_holds_the_row_back(orphan: World) -> None:
    done = _run(orphan, "block", continue_on_error=True)
    assert_laws(done)
    assert done.states("Contact") == {"blocked": 1, "inserted": 2}
    assert done.failed() == [("Contact", "rejected_rows")]
    assert orphan.values("target", "Contact", "AccountId") == {"c0": "a0", "c2": "a2"}
    row = done.row("Contact", orphan.ids("source", "Contact")["c1"])
    assert orphan.ids("source", "Account")["a1"] in row["message"]


def test_drop_row_is_a_decision_and_no_failure(orphan: World) -> None:
    done = _run(orphan, "drop_row")
    assert done.failed() == []
    assert_laws(done)
    assert done.states("Contact") == {"dropped": 1, "inserted": 2}
    assert orphan.counts("Contact") == {"Contact": 2}


def test_stop_ends_the_run_before_the_object_is_sent(orphan: World) -> None:
    own = {"Contact": {"missing_parents": {"AccountId": "stop"}}}
    with pytest.raises(MissingParentError, match=r"Contact: a parent is missing.*\n?.*AccountId") as raised:
        send(orphan.job(template(["Account", "Contact"], own, conditions=OUTSIDE)))
    assert orphan.ids("source", "Contact")["c1"] in str(raised.value)
    assert orphan.counts("Contact") == {"Contact": 0}


def test_fetch_parent_brings_it_along(orphan: World) -> None:
    done = _run(orphan, "fetch_parent")
    assert done.failed() == []
    assert_laws(done)
    assert done.outcomes["Account", "extract"].numbers["fetched_parents"] == 1
    assert orphan.values("target", "Contact", "AccountId") == {"c0": "a0", "c1": "a1", "c2": "a2"}
    assert orphan.counts("Account") == {"Account": 4}


def test_fetch_parent_needs_the_children_first(orphan: World) -> None:
    from isync_dagster.migration.extract import extract

    own = {"Contact": {"missing_parents": {"AccountId": "fetch_parent"}}}
    job = orphan.job(template(["Account", "Contact"], own, conditions=OUTSIDE))
    with pytest.raises(ConfigError, match="Contact is not extracted"):
        extract(job, "Account")
    extract(job, "Contact")
    assert extract(job, "Account").rows == 3


@pytest.mark.parametrize("named", ["id", "Spare account"])
def test_default_stands_in_by_id_or_name(orphan: World, named: str) -> None:
    spare = orphan.ids("target", "Account")["spare"]
    done = _run(orphan, f"default:{spare if named == 'id' else named}")
    assert done.failed() == []
    assert_laws(done)
    assert orphan.values("target", "Contact", "AccountId") == {"c0": "a0", "c1": "spare", "c2": "a2"}
    links = done.summary.objects[1].links if done.summary else {}
    assert links["defaulted"] >= 1


def test_a_default_that_names_nobody_stops_before_anything_of_the_object_is_sent(orphan: World) -> None:
    own = {"Contact": {"missing_parents": {"AccountId": "default:Nobody"}}}
    with pytest.raises(ConfigError, match="'Nobody' of the lookup AccountId names no record"):
        send(orphan.job(template(["Account", "Contact"], own, conditions=OUTSIDE)))
    assert orphan.counts("Contact") == {"Contact": 0}


def test_a_source_id_is_never_written(orphan: World) -> None:
    _run(orphan, "null")
    ours = set(orphan.source.table("Account")["Id"]) | set(orphan.source.table("User")["Id"])
    for name in ("Account", "Contact"):
        table = orphan.target.table(name)
        for column in table.columns:
            if table.schema[column] == pl.String and column != "Legacy__c":
                assert not ours & set(table[column].drop_nulls()), column
