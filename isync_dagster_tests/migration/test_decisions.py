"""What becomes of each row: found or new, mapped, in scope or not, refused, blocked, and what that means for the run."""

from __future__ import annotations

from typing import Any

import pytest

from isync_dagster.errors import ConfigError, RejectedRowsError
from isync_dagster.migration.checks import check_rejected_rows
from isync_dagster.migration.finish import finish
from isync_dagster.migration.load import load
from isync_dagster.migration.remap import remap
from isync_dagster_tests.migration.world import (
    World,
    assert_laws,
    check,
    current,
    migrate,
    rows_of,
    send,
    some,
    template,
    together,
)

BY_KEY = {"Account": {"match_key": "Key__c"}}


def test_rows_found_by_key_are_identical_updated_or_new(world: World) -> None:
    source: list[dict[str, Any]] = [
        {"Key__c": "same", "Name": "Same", "Notes__c": "one\r\ntwo", "Size__c": "1.50", "Rating__c": "Hot"},
        {"Key__c": "CHANGED", "Name": "New name", "Notes__c": None, "Size__c": "2", "Rating__c": "Hot"},
        {"Key__c": "new", "Name": "New", "Notes__c": "n", "Size__c": None, "Rating__c": None},
    ]
    target: list[dict[str, Any]] = [
        {"Key__c": "same", "Name": "Same", "Remarks__c": "one\ntwo", "Size__c": "1.5", "Rating__c": "Hot"},
        {
            "Key__c": "changed",
            "Name": "Old name",
            "Remarks__c": "gone",
            "Size__c": "2",
            "Rating__c": "Hot",
            "Legacy__c": "L",
        },
        {"Key__c": "bystander", "Name": "Bystander", "Remarks__c": "b"},
    ]
    world.reset(rows_of("Account", source), rows_of("Account", target))
    done = migrate(world.job(template(["Account"], BY_KEY)))
    assert done.failed() == []
    assert_laws(done)
    assert done.states("Account") == {"identical": 1, "inserted": 1, "updated": 1}
    assert world.values("target", "Account", "Remarks__c") == {
        "same": "one\ntwo",
        "CHANGED": None,
        "new": "n",
        "bystander": "b",
    }
    assert world.values("target", "Account", "Legacy__c")["CHANGED"] == "L"
    assert world.values("target", "Account", "Rating__c")["new"] is None


@pytest.mark.parametrize(
    ("settings", "states", "names"),
    [
        ({"update_existing": False}, {"existing": 1, "inserted": 1}, {"a0": "Theirs", "a1": "Account 1"}),
        ({"insert_new": False}, {"skipped": 1, "updated": 1}, {"a0": "Account 0"}),
    ],
)
def test_updates_and_inserts_can_be_switched_off(
    world: World, settings: dict[str, Any], states: dict[str, int], names: dict[str, str]
) -> None:
    parts = some("Part__c", 2, Account__c=lambda n: f"a{n}")
    world.reset(together(some("Account", 2), parts), rows_of("Account", [{"Key__c": "a0", "Name": "Theirs"}]))
    own = {"Account": {"match_key": "Key__c", **settings}}
    done = migrate(world.job(template(["Account", "Part__c"], own, continue_on_error=True)))
    assert done.states("Account") == states
    assert_laws(done)
    assert world.values("target", "Account", "Name") == names
    expected = {"p0": "a0", "p1": "a1"} if "a1" in names else {"p0": "a0"}
    assert world.values("target", "Part__c", "Account__c") == expected


def test_a_key_of_two_parts_one_of_them_a_lookup(world: World) -> None:
    contacts = [{"Key__c": f"c{n}", "LastName": "Smith", "AccountId": f"a{n}"} for n in range(3)]
    there = [{"Key__c": "theirs", "LastName": "SMITH", "AccountId": "a1"}]
    world.reset(
        together(some("Account", 3), rows_of("Contact", contacts)),
        together(some("Account", 3), rows_of("Contact", there)),
    )
    own: dict[str, dict[str, Any]] = {
        **BY_KEY,
        "Contact": {"match_key": ["LastName", "AccountId"], "exclude_fields": ["Key__c"]},
    }
    done = migrate(world.job(template(["Account", "Contact"], own)))
    assert done.failed() == []
    assert_laws(done)
    assert done.states("Contact") == {"inserted": 2, "updated": 1}
    assert world.counts("Contact") == {"Contact": 3}
    # The one under a1 was found, whatever its case.
    assert world.values("target", "Contact", "LastName") == {"theirs": "Smith"}


def test_a_migration_key_finds_what_a_lost_store_knew(world: World) -> None:
    world.reset(together(some("Account", 5, ParentId=lambda n: f"a{n - 1}" if n else None)))
    recipe = template(["Account"], {"Account": {"migration_key": "Legacy__c"}})
    first = migrate(world.job(recipe))
    assert first.failed() == []
    assert first.states("Account") == {"inserted": 5}
    by_key = {key: name for name, key in world.values("target", "Account", "Legacy__c").items()}
    assert by_key == {source_id: name for name, source_id in world.ids("source", "Account").items()}

    world.stores += 1
    again = migrate(world.job(recipe))
    assert again.failed() == []
    assert again.states("Account") == {"identical": 5}
    assert world.counts("Account") == {"Account": 5}
    assert world.values("target", "Account", "ParentId")["a4"] == "a3"


def test_scope_is_what_the_line_says(world: World) -> None:
    world.reset(some("Account", 8, Zip__c=lambda n: f"0{n % 2}"))
    lines = {"Account": {"where": "Zip__c = '01'", "order_by": "Name DESC", "limit": 3}}
    done = migrate(world.job(template(["Account"], conditions=lines)))
    assert done.failed() == []
    assert_laws(done)
    assert world.values("target", "Account", "Zip__c") == {"a7": "01", "a5": "01", "a3": "01"}
    assert done.verdicts["Account", "record_count"].numbers["source"] == 3


def test_an_empty_object_is_through_at_once(world: World) -> None:
    done = migrate(world.job(template(["Account", "Contact"])))
    assert done.failed() == []
    assert_laws(done)
    assert done.summary is not None
    assert done.summary.kept


# ── refused rows ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("threshold", "passes"), [(0, False), (1, False), (2, True), ("10%", False), ("20%", True), ("19.9%", False)]
)
def test_refused_rows_within_the_threshold_pass(world: World, threshold: int | str, passes: bool) -> None:
    # The target's Code__c is unique: the second and third of a code are refused there, which nothing here foresees.
    world.reset(some("Account", 10, Code__c=lambda n: "x" if n < 3 else None))
    done = migrate(world.job(template(["Account"], continue_on_error=True, rejected_rows_threshold=threshold)))
    assert_laws(done)
    assert done.states("Account") == {"failed": 2, "inserted": 8}
    verdict = done.verdicts["Account", "rejected_rows"]
    assert verdict.passed is passes
    assert verdict.numbers["failed"] == 2
    assert verdict.table[0]["code"] == "DUPLICATE_VALUE"
    assert verdict.table[0]["rows"] == 2
    assert done.summary is not None
    assert done.summary.kept is passes


def test_nothing_more_is_sent_once_too_many_rows_are_refused(world: World) -> None:
    world.reset(together(some("Account", 30, Code__c="x"), some("Part__c", 3, Account__c=lambda n: f"a{n}")))
    job = world.job(template(["Account", "Part__c"]), chunk_bytes=200, parallel_jobs=1)
    with pytest.raises(RejectedRowsError, match=r"Account: .* rows were refused, 0 are allowed") as stopped:
        send(job)
    for way in ("isync retry world --phase all", "isync migrate world", "isync rollback world --phase all"):
        assert way in str(stopped.value)
    with pytest.raises(ConfigError, match=r"cannot be closed: Account \(not loaded.* after \d+ rows were refused"):
        finish(job)
    states = dict(current(job).audit("Account").latest().collect()["state"].value_counts().iter_rows())
    assert states["inserted"] == 1
    assert 0 < states["failed"] < 10
    assert states["pending"] == 30 - 1 - states["failed"]
    verdict = check_rejected_rows(job, "Account")
    assert not verdict.passed
    assert f"{states['pending']} rows are not sent yet" in verdict.text
    assert world.counts("Account", "Part__c") == {"Account": 1, "Part__c": 0}

    # Begun again it stays stopped, in every object: the refusals are still there.
    later = world.job(template(["Account", "Part__c"]))
    with pytest.raises(RejectedRowsError, match="was stopped: Account: "):
        remap(later, "Part__c")
    with pytest.raises(RejectedRowsError):
        load(later, "Account")
    assert world.counts("Account", "Part__c") == {"Account": 1, "Part__c": 0}
    # Another setting is no other plan: the same run goes on past the refused rows.
    done = migrate(world.job(template(["Account", "Part__c"], continue_on_error=True)))
    assert_laws(done)
    assert done.states("Account") == {"failed": 29, "inserted": 1}
    assert done.states("Part__c") == {"blocked": 2, "inserted": 1}


def test_a_child_of_a_refused_parent_is_blocked_with_its_reason(world: World) -> None:
    world.reset(
        together(
            some("Account", 3, Code__c=lambda n: "x" if n < 2 else None),
            some("Part__c", 3, Account__c=lambda n: f"a{n}"),
            some("Memo__c", 3, WhatId=lambda n: f"a{n}"),
        )
    )
    done = migrate(world.job(template(["Account", "Part__c", "Memo__c"], continue_on_error=True)))
    assert_laws(done)
    assert done.states("Part__c") == {"blocked": 1, "inserted": 2}
    assert done.states("Memo__c") == {"inserted": 3}
    refused = next(key for key in ("a0", "a1") if key not in world.ids("target", "Account"))
    row = done.row("Part__c", world.ids("source", "Part__c")[f"p{refused[1]}"])
    assert row["state"] == "blocked"
    assert world.ids("source", "Account")[refused] in row["message"]
    assert "DUPLICATE_VALUE" in row["message"]
    # An optional lookup stays empty and is remembered.
    assert world.values("target", "Memo__c", "WhatId")[f"m{refused[1]}"] is None
    pending = done.job.store.pending(done.job.plan.source_org_id, done.job.plan.target_org_id).open("Memo__c").collect()
    assert pending["source_id"].to_list() == [world.ids("source", "Memo__c")[f"m{refused[1]}"]]


def test_a_level_below_a_refused_one_is_blocked(world: World) -> None:
    world.reset(
        some("Node__c", 5, Parent__c=lambda n: f"n{n - 1}" if n else None, Name=lambda n: "x" * (200 if n == 2 else 3))
    )
    done = migrate(world.job(template(["Node__c"], continue_on_error=True)))
    assert_laws(done)
    assert done.states("Node__c") == {"blocked": 2, "failed": 1, "inserted": 2}
    assert world.values("target", "Node__c", "Parent__c") == {"n0": None, "n1": "n0"}


# ── phases and many chunks ───────────────────────────────────────────────────────────────────────────────


def test_a_phase_refuses_until_the_one_before_is_done(world: World) -> None:
    world.reset(together(some("Account", 3), some("Contact", 3, AccountId=lambda n: f"a{n}")))
    recipe = template(
        ["Account", "Contact"],
        phases=[
            {"name": "first", "lines": ["Account"], "where": {"Account": "Name != 'Account 2'"}},
            {"name": "second", "lines": ["Contact"], "after": ["first"]},
        ],
    )
    with pytest.raises(ConfigError, match="comes after phase 'first', which has never run"):
        send(world.job(recipe, "second"))
    job = world.job(recipe, "first")
    send(job)
    with pytest.raises(ConfigError, match=r"comes after phase 'first', which is open \(run 1\)"):
        send(world.job(recipe, "second"))
    check(job)
    assert finish(job).kept
    assert world.counts("Account", "Contact") == {"Account": 2, "Contact": 0}

    done = migrate(world.job(recipe, "second"))
    assert done.failed() == []
    assert_laws(done)
    assert world.values("target", "Contact", "AccountId") == {"c0": "a0", "c1": "a1", "c2": None}
    assert done.verdicts["Contact", "relationships"].numbers["pending"] == 1


def test_many_small_chunks_side_by_side(world: World) -> None:
    world.reset(some("Account", 60, Zip__c=lambda n: f"{n:05d}", ParentId=lambda n: f"a{n // 2}" if n else None))
    done = migrate(world.job(template(["Account"]), chunk_bytes=600, parallel_jobs=3, collections_rows=0))
    assert done.failed() == []
    assert_laws(done)
    assert len(current(done.job).ledger("load", "Account").chunks()) > 5
    assert len(current(done.job).ledger("relink", "Account").chunks()) > 2
    assert world.picture("source", "Account") == world.picture("target", "Account")


def test_relink_touches_only_rows_that_have_something_to_fill(world: World) -> None:
    world.reset(some("Account", 20, Rating__c="Hot", ParentId=lambda n: "a0" if n in (3, 4) else None))
    done = migrate(world.job(template(["Account"])))
    assert done.failed() == []
    ledger = current(done.job).ledger("relink", "Account")
    assert [ledger.rows(chunk).collect().height for chunk in ledger.chunks()] == [2]


def test_remap_waits_for_the_gate_and_for_the_extract(world: World) -> None:
    from isync_dagster.errors import PreflightError
    from isync_dagster.migration.extract import extract
    from isync_dagster.migration.preflight import preflight

    world.reset(some("Account", 2))
    job = world.job(template(["Account", "Contact"]))
    extract(job, "Account")
    with pytest.raises(PreflightError, match="has not passed its preflight"):
        remap(job, "Account")
    with pytest.raises(ConfigError, match="Contact is not extracted in run 1"):
        preflight(job)
    extract(job, "Contact")
    preflight(job)
    assert remap(job, "Account").rows == 2
