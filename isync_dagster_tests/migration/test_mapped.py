"""Counterparts that were deleted or merged in the target since they were mapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import DataError
from isync_dagster.migration import mapped
from isync_dagster.migration.writing import release_all
from isync_dagster.store.idmap import IdMap
from isync_dagster_tests.migration.world import (
    STAMPED,
    Migration,
    World,
    assert_laws,
    current,
    migrate,
    send,
    some,
    template,
    together,
)

PHASES = ({"name": "accounts", "lines": ["Account"]}, {"name": "contacts", "lines": ["Contact"]})


def recipe(**settings: Any) -> Any:
    return template(["Account", "Contact"], phases=PHASES, **settings)


def id_map(done: Migration) -> IdMap:
    return done.job.store.idmap(done.job.plan.source_org_id, done.job.plan.target_org_id)


@pytest.fixture(scope="module")
def prepared(served_world: World) -> Callable[[], None]:
    served_world.reset(together(some("Account", 4), some("Contact", 4, AccountId=lambda n: f"a{n}")))
    assert migrate(served_world.job(recipe(), "accounts")).failed() == []
    return served_world.checkpoint()


@pytest.fixture
def migrated(served_world: World, prepared: Callable[[], None]) -> World:
    """Four accounts in the target, by the phase `accounts`; a contact of each is still to come."""
    prepared()
    return served_world


def test_a_deleted_parent_blocks_where_the_policy_says_so_and_is_named(migrated: World) -> None:
    gone = migrated.ids("target", "Account")["a1"]
    migrated.delete("Account", "a1")
    own = {"Contact": {"missing_parents": {"AccountId": "block"}}}
    done = migrate(migrated.job(template(["Account", "Contact"], own, PHASES, continue_on_error=True), "contacts"))
    assert_laws(done)
    assert done.states("Contact") == {"blocked": 1, "inserted": 3}
    row = done.row("Contact", migrated.ids("source", "Contact")["c1"])
    assert f"its counterpart {gone} is deleted in the target" in row["message"]
    buried = id_map(done).tombstones("Account").select("source_id", "target_id", "gone", "phase").collect()
    assert buried.rows() == [(migrated.ids("source", "Account")["a1"], gone, "deleted", "contacts")]


def test_a_deleted_record_is_inserted_anew_and_linked(migrated: World) -> None:
    before = migrated.ids("target", "Account")
    migrated.delete("Account", "a1")
    again = migrate(migrated.job(recipe(), "accounts"))
    assert again.failed() == []
    assert_laws(again)
    assert again.states("Account") == {"identical": 3, "inserted": 1}
    now = migrated.ids("target", "Account")
    assert now.keys() == before.keys()
    assert now["a1"] != before["a1"]
    assert id_map(again).tombstones("Account").collect().is_empty()
    done = migrate(migrated.job(recipe(), "contacts"))
    assert done.failed() == []
    assert migrated.values("target", "Contact", "AccountId")["c1"] == "a1"


def test_a_merged_record_is_the_one_that_survived_where_the_template_follows(migrated: World) -> None:
    # a1 went into a2, and a2 into a3: what counts is the end of the chain.
    migrated.execute("target", f"""UPDATE "Account" SET "Zip__c" = 'theirs', {STAMPED} WHERE "Key__c" = 'a3'""")
    winner = migrated.ids("target", "Account")["a3"]
    migrated.merge("a1", "a2")
    migrated.merge("a2", "a3")
    rows = recipe(mapped_gone="follow_merge")
    again = migrate(migrated.job(rows, "accounts"))
    assert again.failed() == []
    assert_laws(again)
    assert again.states("Account") == {"existing": 2, "updated": 1, "identical": 1}
    left = again.row("Account", migrated.ids("source", "Account")["a1"])
    assert f"its counterpart was merged into {winner} in the target" in left["message"]
    done = migrate(migrated.job(rows, "contacts"))
    assert done.failed() == []
    assert_laws(done)
    shown = migrated.values("target", "Contact", "AccountId")
    assert shown == {"c0": "a0", "c1": "a3", "c2": "a3", "c3": "a3"}
    assert migrated.counts("Account")["Account"] == 2
    # A third run knows it still, and writes none of the three sources over the one record.
    third = migrate(migrated.job(rows, "accounts"))
    assert third.failed() == []
    assert third.states("Account") == {"existing": 2, "identical": 2}
    assert id_map(third).history("Account").filter(pl.col("gone") == "merged").collect().height == 2


@pytest.mark.parametrize("phase", ["accounts", "contacts"])
def test_fail_stops_before_anything_is_written_until_it_is_back(migrated: World, phase: str) -> None:
    gone = migrated.ids("target", "Account")["a1"]
    migrated.delete("Account", "a1")
    strict = recipe(mapped_gone="fail")
    job = migrated.job(strict, phase)
    with pytest.raises(DataError, match=rf"(?s)Account: 1 records .*{gone} \(deleted.*mapped_gone"):
        send(job)
    assert migrated.counts("Account", "Contact") == {"Account": 3, "Contact": 0}
    assert job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).tombstones("Account").collect().is_empty()
    migrated.execute("target", """UPDATE "Account" SET "IsDeleted" = false WHERE "Key__c" = 'a1'""")
    release_all()
    done = migrate(migrated.job(strict, phase))
    assert done.failed() == []
    assert migrated.ids("target", "Account")["a1"] == gone


def test_many_that_are_gone_are_asked_for_in_one_read(migrated: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "ASK_BY_ID", 1)
    migrated.delete("Account", "a0", "a1", "a2")
    # The object's own word counts before that of the settings.
    own = {"Account": {"mapped_gone": "reinsert"}}
    done = migrate(migrated.job(template(["Account", "Contact"], own, PHASES, mapped_gone="fail"), "contacts"))
    assert done.failed() == []
    assert_laws(done)
    # Without the proof Salesforce would refuse the contacts: ENTITY_IS_DELETED.
    assert done.states("Contact") == {"inserted": 4}
    buried = id_map(done).tombstones("Account").collect()
    assert buried["gone"].to_list() == ["deleted"] * 3
    assert migrated.values("target", "Contact", "AccountId") == {"c0": None, "c1": None, "c2": None, "c3": "a3"}


def test_what_is_proven_is_proven_once_a_run(migrated: World) -> None:
    job = migrated.job(recipe(), "contacts")
    send(job)
    run = current(job)
    migrated.delete("Account", "a3")
    # Resumed, the run rests on what it has found; it does not judge what it brought itself.
    assert mapped.prove(job, run, "Account") == {"deleted": 0, "merged": 0, "followed": 0, "out of sight": 0}
    assert mapped.prove(job, run, "Contact")["deleted"] == 0
