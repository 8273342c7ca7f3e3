"""One record explained from the store alone, and the rows that did not get through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from isync_dagster.errors import ConfigError
from isync_dagster.migration.explain import Explanation, explain
from isync_dagster.migration.refusals import Refusals, refusals
from isync_dagster_tests.migration.world import (
    Migration,
    World,
    current,
    migrate,
    rows_of,
    serving_world,
    some,
    template,
    together,
)

RECIPE = template(["Account", "Contact", "Part__c"], {"Account": {"match_key": "Key__c"}}, continue_on_error=True)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Migration]]:
    """A run with one of everything: inserted, updated, refused and blocked, linked, relinked and pending."""
    with serving_world(tmp_path_factory.mktemp("world")) as world:
        source = together(
            rows_of(
                "Account",
                [
                    {"Key__c": "a0", "Name": "New", "Zip__c": "01"},
                    {"Key__c": "a1", "Name": "Changed", "Zip__c": "02", "ParentId": "a0"},
                    {"Key__c": "a2", "Name": "First", "Code__c": "x"},
                    {"Key__c": "a3", "Name": "Second", "Code__c": "x"},
                ],
            ),
            rows_of(
                "Contact",
                [{"Key__c": f"c{n}", "LastName": f"Person {n}", "AccountId": f"a{n}"} for n in range(4)],
            ),
            some("Part__c", 4, Account__c=lambda n: f"a{n}"),
        )
        there = rows_of("Account", [{"Key__c": "a1", "Name": "Old", "Zip__c": "99"}])
        world.reset(source, there)
        yield world, migrate(world.job(RECIPE))


def one(told: tuple[World, Migration], record_id: str) -> Explanation:
    (found,) = explain(told[1].job.store, record_id)
    return found


def refused_key(world: World) -> str:
    (key,) = {"a2", "a3"} - world.ids("target", "Account").keys()
    return key


@pytest.mark.parametrize("form", ["source", "target", "15 characters"])
def test_an_inserted_record_by_any_of_its_ids(told: tuple[World, Migration], form: str) -> None:
    world, done = told
    source, target = world.ids("source", "Account")["a0"], world.ids("target", "Account")["a0"]
    found = one(told, {"source": source, "target": target, "15 characters": target[:15]}[form])
    assert (found.object, found.source_id, found.target_id) == ("Account", source, target)
    (visit,) = found.visits
    assert (visit.template, visit.phase, visit.run, visit.state) == ("world", "all", 1, "closed")
    assert (visit.decision, visit.matched_by) == ("insert", None)
    remap, load = (event for event in visit.events if event.stage in ("remap", "load"))
    assert remap.rule == "insert"
    assert (load.state, load.rule, load.attempt) == ("inserted", "insert", 1)
    assert load.sent["Name"] == "New"
    assert load.sent["Zip__c"] == "01"
    assert load.job_id is not None
    assert load.sent_at is not None
    assert load.at is not None
    assert json.loads(json.dumps(asdict(found)))["source_id"] == source
    assert done.job.plan.source_org_id == found.source_org_id


def test_an_updated_record_with_its_rule_and_what_was_there_before(told: tuple[World, Migration]) -> None:
    world, _ = told
    found = one(told, world.ids("source", "Account")["a1"])
    (visit,) = found.visits
    assert (visit.decision, visit.matched_by) == ("update", "match key")
    rules = {event.stage: event.rule for event in visit.events}
    assert rules == {"remap": "update, matched by match key", "load": "update", "relink": "update"}
    sent = {event.stage: event.sent for event in visit.events}
    assert sent["load"]["Zip__c"] == "02"
    parent = world.ids("target", "Account")["a0"]
    assert sent["relink"] == {"Id": found.target_id, "ParentId": parent}
    assert visit.before["load"]["Zip__c"] == "99"
    assert visit.before["load"]["Name"] == "Old"
    assert visit.before["relink"] == {"ParentId": None}
    link = next(link for link in visit.links if link.field == "ParentId")
    assert (link.state, link.source_parent_id, link.target_parent_id) == (
        "linked",
        world.ids("source", "Account")["a0"],
        parent,
    )
    assert [entry["how"] for entry in found.id_map] == ["match key", "updated"]


def test_a_refused_record_its_blocked_child_and_its_pending_child(told: tuple[World, Migration]) -> None:
    world, _ = told
    key = refused_key(world)
    source = world.ids("source", "Account")[key]
    found = one(told, source)
    assert found.target_id is None
    load = found.visits[0].events[-1]
    assert (load.state, load.code) == ("failed", "DUPLICATE_VALUE")
    assert "use it as match key" in load.advice
    assert load.sent["Code__c"] == "x"
    blocked = one(told, world.ids("source", "Part__c")[f"p{key[1]}"])
    assert blocked.visits[0].decision == "blocked"
    assert source in str(blocked.visits[0].reason)
    assert "DUPLICATE_VALUE" in str(blocked.visits[0].reason)
    assert [(link.field, link.state, link.policy) for link in blocked.visits[0].links] == [
        ("Account__c", "failed", "block")
    ]
    waits = one(told, world.ids("source", "Contact")[f"c{key[1]}"])
    assert [(link["field"], link["source_parent_id"], link["healed"]) for link in waits.pending] == [
        ("AccountId", source, None)
    ]
    states = {link.field: link.state for link in waits.visits[0].links}
    assert states["AccountId"] == "pending"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "is no Salesforce id"),
        ("001000000000001aaa", "Was the case changed"),
        ("001000000000001AAA", "No run has met the record"),
    ],
)
def test_what_is_no_id_or_not_known_is_said(told: tuple[World, Migration], text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        explain(told[1].job.store, text)


def test_only_runs_of_one_template(told: tuple[World, Migration]) -> None:
    world, done = told
    record = world.ids("source", "Account")["a0"]
    assert explain(done.job.store, record, "world")[0].visits
    assert explain(done.job.store, record, "other")[0].visits == ()


# ── what did not get through ─────────────────────────────────────────────────────────────────────────────


def test_refusals_are_grouped_and_exported_with_what_was_sent(told: tuple[World, Migration], tmp_path: Path) -> None:
    world, done = told
    run = current(done.job)
    found = {item.object: item for item in refusals(run, ["Account", "Contact", "Part__c"])}
    assert {name: len(item.groups()) for name, item in found.items()} == {"Account": 1, "Contact": 0, "Part__c": 1}
    key = refused_key(world)
    written = found["Account"].export(tmp_path, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert written == (tmp_path / "errors_Account_20260102T030405.csv", 1)
    row = pl.read_csv(written[0], infer_schema=False).row(0, named=True)
    assert row["source_id"] == world.ids("source", "Account")[key]
    assert (row["code"], row["state"], row["attempt"]) == ("DUPLICATE_VALUE", "failed", "1")
    assert row["sent.Code__c"] == "x"
    assert row["sent.Name"] == {"a2": "First", "a3": "Second"}[key]
    assert row["sf_job_id"]
    assert row["advice"]
    # A blocked row was never sent.
    parts = found["Part__c"].export(tmp_path / "deep" / "er", datetime(2026, 1, 2, tzinfo=UTC))
    assert parts is not None
    assert pl.read_csv(parts[0], infer_schema=False)["state"].to_list() == ["blocked"]
    assert found["Contact"].export(tmp_path, datetime.now(UTC)) is None


def test_refusals_of_one_code(told: tuple[World, Migration]) -> None:
    run = current(told[1].job)
    assert len(Refusals(run, "Account", "duplicate_value").groups()) == 1
    assert Refusals(run, "Account", "UNABLE_TO_LOCK_ROW").groups() == ()
