"""Why a value is not what was sent: the automation that may have changed it is named, no other, and doubt is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from isync_dagster.local_org.automation.model import Automation
from isync_dagster.migration.causes import BY_TARGET, NOT_SENT, Suspects
from isync_dagster.migration.checks import verify_target
from isync_dagster.migration.model import State
from isync_dagster.salesforce.automation import WORKFLOW_RULES
from isync_dagster.salesforce.automation_effects import Writer, writers
from isync_dagster.schema.model import Field
from isync_dagster_tests.migration.world import World, migrate, serving_world, some, template, together

ACTS = Automation.model_validate(
    {
        "triggers": [
            {"object": "Account", "name": "Zips", "events": ["before insert"],
             "assign": [{"field": "Zip__c", "formula": '"trigger"'}],
             "body": "trigger Zips on Account (before insert) {\\n  for (Account a : Trigger.new) a.Zip__c = 'trigger';\\n}"},
            {"object": "Account", "name": "Later", "events": ["before update"], "condition": "FALSE",
             "body": "trigger Later on Account (before update) { a.Zip__c = null; /* a.Code__c */ }"},
        ],
        "flows": [
            {"object": "Account", "name": "Stamp", "when": "before",
             "assign": [{"field": "Mail__c", "formula": '"flow@example.com"'}]},
            {"object": "Account", "name": "Stamp_Again", "when": "before", "events": ["create"], "condition": "FALSE",
             "assign": [{"field": "Mail__c", "formula": '"never@example.com"'}]},
            {"object": "Account", "name": "Old_Rule", "kind": "workflow", "when": "before",
             "assign": [{"field": "Code__c", "formula": '"rule " & Key__c'}]},
            {"object": "Contact", "name": "Tell_Account", "events": ["create"], "condition": "NOT(ISBLANK(AccountId))",
             "assign": [{"record": "Account", "field": "Remarks__c", "formula": '"has people"'}]},
        ],
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving_world(tmp_path_factory.mktemp("causes"), automation=ACTS) as made:
        made.reset(together(
            some("Account", 4, Zip__c="1", Mail__c="sent@example.com", Code__c=lambda n: f"c{n}", Notes__c="n"),
            some("Contact", 2, AccountId=lambda n: f"a{n}"),
        ))  # fmt: skip
        yield made


def test_what_sets_which_field_is_read_from_the_metadata(world: World) -> None:
    assert not world.target.schema.problems
    found = {item.key: item for item in writers(world.client("target"), "Account")}
    assert set(found) == {"triggers Account.Zips", "triggers Account.Later", "flows Account.Stamp",
                          "flows Account.Stamp_Again", "workflow_rules Account.Old_Rule",
                          "flows Contact.Tell_Account"}  # fmt: skip
    assert found["flows Account.Stamp"].fields == {"mail__c"}
    assert found["flows Account.Stamp_Again"].events == {"create"}
    assert found["workflow_rules Account.Old_Rule"].fields == {"code__c"}
    assert found["flows Contact.Tell_Account"].fields == {"remarks__c"}
    later = found["triggers Account.Later"]
    assert (later.events, "zip__c" in later.fields, "code__c" in later.fields) == ({"update"}, True, False)


def test_each_deviation_names_what_may_have_done_it(world: World) -> None:
    done = migrate(world.job(template(("Account", "Contact"), rejected_rows_threshold=4)))
    assert done.states("Account") == {"inserted": 4}
    verdict = done.verdicts["Account", "fields"]
    why = {row["field"]: row["why"] for row in verdict.table}
    assert set(why) == {"Zip__c", "Mail__c", "Code__c", "Remarks__c"}
    assert verdict.numbers["changed by the target"] == 4 * 3 + 2
    # Account is relinked (ParentId), so a trigger on updates may have been at it too, though not at a field it names not.
    zips = "one of trigger Account.Later (its code names the field), trigger Account.Zips (its code names the field)"
    assert why["Zip__c"] == f"{BY_TARGET}: {zips}"
    assert why["Mail__c"].startswith(
        f"{BY_TARGET}: one of flow Account.Stamp (sets the field), flow Account.Stamp_Again (sets the field); possible too: "
        "trigger Account.Later (its code does not name the field; classes that it calls are not read)"
    )
    assert why["Code__c"].startswith(
        f"{BY_TARGET}: workflow rule Account.Old_Rule (a field update of it sets the field); "
    )
    assert why["Remarks__c"].startswith(f"{BY_TARGET}: flow Contact.Tell_Account (sets the field)")


def test_what_the_run_had_off_is_no_suspect_and_what_may_not_be_read_is_said(world: World) -> None:
    found = writers(world.client("target"), "Account")
    mail = Suspects(found, {}, frozenset({"flows Account.Stamp"})).cause("Mail__c", State.INSERTED, empty=False)
    assert "flow Account.Stamp_Again (sets the field)" in mail
    assert "Account.Stamp " not in mail
    refused = {"kind": "status", "status": 403, "code": "INSUFFICIENT_ACCESS", "message": "no", "path": "tooling/query",
               "times": None}  # fmt: skip
    job = world.job(template(("Account", "Contact"), rejected_rows_threshold=4))
    world.faults("target", refused)
    try:
        verdicts = {verdict.name: verdict for verdict in verify_target(job, "Account")}
    finally:
        world.faults("target")
    assert all(
        "which automation is not known (the user may not read it" in row["why"] for row in verdicts["fields"].table
    )


@pytest.mark.parametrize(
    ("state", "empty", "field", "wanted"),
    [
        (State.INSERTED, False, {}, "workflow rule A.W (sets it)"),
        (State.UPDATED, False, {}, "no active trigger, flow or workflow rule that the user may read sets the field"),
        (State.IDENTICAL, False, {}, NOT_SENT),
        (State.INSERTED, True, {"default_value": "Cold"},
         "one of workflow rule A.W (sets it), the field's default (Cold), since nothing was sent"),
        (State.UPDATED, False, {"calculated": True}, "the formula that the field is now"),
    ],
)  # fmt: skip
def test_what_was_sent_decides_who_is_asked(state: State, empty: bool, field: dict[str, Any], wanted: str) -> None:
    rule = Writer(WORKFLOW_RULES, "A.W", frozenset({"create"}), frozenset({"f"}), "sets it")
    assert wanted in Suspects((rule,), {"F": Field("F", **field)}).cause("F", state, empty)
