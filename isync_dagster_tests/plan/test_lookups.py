"""What lookups resolve through, policies for missing parents, references, phases and sequences."""

from __future__ import annotations

import pytest

from isync_dagster.errors import PlanError
from isync_dagster.plan.model import PhasePlan, Policy, ReferenceRule
from isync_dagster.plan.scope import needed_objects
from isync_dagster_tests.plan.builders import READ_ONLY, lookup, plan_of, recipe, sobject, text

ACCOUNT = sobject("Account", lookup("OwnerId", "User", nillable=False, defaulted_on_create=True))
CONTACT = sobject("Contact", lookup("AccountId", "Account"))
USER = sobject("User", text("Username"), text("Email"), text("Long", filterable=False))


def test_parents_references_and_others_are_told_apart() -> None:
    task = sobject("Task", lookup("WhatId", "Account", "Solution", "Unseen", "User"))
    plan = plan_of(recipe("Task", "Account"), [ACCOUNT, task, sobject("Solution")])
    what = plan.object("Task").lookup("WhatId")
    assert (what.parents, what.references, what.others) == (("Account",), ("User",), ("Solution",))
    assert plan.object("Task").parents == ("Account",)


def test_an_owner_that_is_missing_falls_to_the_loading_user() -> None:
    owner = plan_of(recipe("Account"), [ACCOUNT]).object("Account").lookup("OwnerId")
    assert owner.references == ("User",)
    assert (owner.policy, owner.required) == (Policy.NULL, False)


def test_a_required_parent_without_line_or_reference_is_a_problem_that_names_the_choices() -> None:
    child = sobject("Child__c", lookup("Parent__c", "Parent__c", nillable=False))
    with pytest.raises(PlanError) as caught:
        plan_of(recipe("Child__c"), [child])
    for way in (
        "Add a line",
        "references",
        "exclude_parent_fields",
        "missing_parents: {Parent__c: default:",
        "drop_row",
    ):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    ("blocks", "policy", "warned"),
    [
        (
            {"objects": {"Child__c": {"missing_parents": {"Parent__c": "default:a00000000000001AAA"}}}},
            Policy.DEFAULT,
            False,
        ),
        ({"objects": {"Child__c": {"missing_parents": {"parent__C": "drop_row"}}}}, Policy.DROP_ROW, False),
        ({"objects": {"Child__c": {"missing_parents": {"Parent__c": "block"}}}}, Policy.BLOCK, True),
        ({"objects": {"Child__c": {"missing_parents": {"Parent__c": "stop"}}}}, Policy.STOP, True),
        ({"settings": {"missing_parents": {"required": "drop_row"}}}, Policy.DROP_ROW, False),
        ({"references": {"Parent__c": {"by": "Name"}}}, Policy.BLOCK, False),
    ],
)
def test_a_required_parent_out_of_scope_needs_a_decision(
    blocks: dict[str, object], policy: Policy, warned: bool
) -> None:
    child = sobject("Child__c", lookup("Parent__c", "Parent__c", nillable=False))
    plan = plan_of(recipe("Child__c", **blocks), [child])
    found = plan.object("Child__c").lookup("Parent__c")
    assert found.required and found.policy is policy
    assert any("another template has migrated" in warning for warning in plan.warnings) is warned


def test_a_required_lookup_cannot_be_left_empty() -> None:
    child = sobject("Child__c", lookup("Account__c", "Account", nillable=False))
    mine = recipe("Account", "Child__c", objects={"Child__c": {"missing_parents": {"Account__c": None}}})
    with pytest.raises(PlanError, match="a missing parent cannot leave it empty"):
        plan_of(mine, [ACCOUNT, child])


def test_policies_come_from_the_lookup_then_the_settings() -> None:
    child = sobject("Child__c", lookup("A__c", "Account"), lookup("B__c", "Account"))
    mine = recipe(
        "Account",
        "Child__c",
        settings={"missing_parents": {"optional": "default:001000000000001AAA"}},
        objects={"Child__c": {"missing_parents": {"B__c": "stop"}}},
    )
    plan = plan_of(mine, [ACCOUNT, child]).object("Child__c")
    assert (plan.lookup("A__c").policy, plan.lookup("A__c").default) == (Policy.DEFAULT, "001000000000001AAA")
    assert (plan.lookup("B__c").policy, plan.lookup("B__c").default) == (Policy.STOP, None)


def test_a_policy_that_comes_too_late_is_told() -> None:
    node = sobject("Node__c", lookup("Up__c", "Node__c"))
    plan = plan_of(recipe("Node__c", objects={"Node__c": {"missing_parents": {"Up__c": "block"}}}), [node])
    assert plan.object("Node__c").lookup("Up__c").deferred
    assert any("too late for block" in warning for warning in plan.warnings)


def test_excluded_parents_are_kept_and_set_no_order() -> None:
    mine = recipe({"object": "Contact", "exclude_parents": "AccountId"}, "Account")
    plan = plan_of(mine, [ACCOUNT, CONTACT])
    kept = plan.object("Contact").lookup("AccountId")
    assert kept.kept and not kept.parents and not kept.deferred
    assert plan.object("Contact").parents == () and plan.object("Contact").level == 0
    assert any("source ids are sent, although Account gets new ids" in warning for warning in plan.warnings)
    by_settings = recipe("Contact", objects={"Contact": {"exclude_parent_fields": ["accountid"]}})
    assert plan_of(by_settings, [ACCOUNT, CONTACT]).object("Contact").lookup("AccountId").kept


def test_an_excluded_parent_has_no_policy() -> None:
    settings = {"exclude_parent_fields": ["AccountId"], "missing_parents": {"AccountId": "block"}}
    with pytest.raises(PlanError, match="keep one of the two"):
        plan_of(recipe("Contact", objects={"Contact": settings}), [ACCOUNT, CONTACT])


def test_lookups_that_cannot_be_written_are_dropped() -> None:
    item = sobject("Account", lookup("MasterRecordId", "Account", **READ_ONLY))
    plan = plan_of(recipe("Account"), [item]).object("Account")
    assert plan.lookups == () and plan.deferred_parents == ()


def test_a_lookup_that_only_updates_may_write_waits_for_relink() -> None:
    child = sobject("Child__c", lookup("Account__c", "Account", createable=False))
    plan = plan_of(recipe("Child__c", "Account"), [ACCOUNT, child]).object("Child__c")
    assert plan.lookup("Account__c").deferred and plan.parents == () and plan.deferred_parents == ("Account",)


def test_a_target_lookup_must_point_at_what_the_parents_become() -> None:
    target = sobject("Contact", lookup("AccountId", "Account"))
    mine = recipe("Account", "Contact", objects={"Account": {"target_object": "Firm__c"}})
    with pytest.raises(
        PlanError, match=r"Contact\.AccountId: the target's AccountId points at Account, not at Account \(as Firm__c\)"
    ):
        plan_of(mine, [ACCOUNT, CONTACT], [sobject("Firm__c", ACCOUNT.field("OwnerId")), target])
    mapped = recipe(
        "Account",
        "Contact",
        objects={"Account": {"target_object": "Firm__c"}, "Contact": {"fields": {"AccountId": "Firm__c"}}},
    )
    there = [sobject("Firm__c", ACCOUNT.field("OwnerId")), sobject("Contact", lookup("Firm__c", "Firm__c"))]
    assert plan_of(mapped, [ACCOUNT, CONTACT], there).object("Contact").lookup("Firm__c").parents == ("Account",)


def test_parents_without_a_home_are_told_once_an_object() -> None:
    plan = plan_of(recipe("Contact"), [sobject("Contact", lookup("A__c", "X__c"), lookup("B__c", "Y__c"))])
    assert [warning for warning in plan.warnings if "A__c (X__c), B__c (Y__c)" in warning]


def test_usual_references_are_there_without_being_named() -> None:
    item = sobject(
        "Case",
        lookup("OwnerId", "Group", "User"),
        lookup("RecordTypeId", "RecordType"),
        lookup("Book__c", "Pricebook2"),
    )
    plan = plan_of(recipe("Case"), [item])
    assert plan.references == {
        "Group": ReferenceRule("Group", (("Type", "DeveloperName"),)),
        "Pricebook2": ReferenceRule("Pricebook2", (("IsStandard",),), where="IsStandard = true"),
        "RecordType": ReferenceRule("RecordType", (("SobjectType", "DeveloperName"),)),
        "User": ReferenceRule("User", (("FederationIdentifier",), ("Username",), ("Email",))),
    }


def test_usual_keys_that_an_org_hides_are_left_out() -> None:
    plan = plan_of(recipe("Account"), [ACCOUNT, USER])
    assert plan.references["User"].by == (("Username",), ("Email",))


def test_a_template_completes_and_adds_references() -> None:
    mine = recipe(
        "Account",
        references={
            "user": {"default": "admin@target.example", "map_file": "users.csv"},
            "Region__c": {"by": ["Code__c", "Country__c+Name"], "where": "Active__c = true"},
        },
    )
    item = sobject("Account", lookup("OwnerId", "User"), lookup("Region__c", "Region__c"))
    plan = plan_of(mine, [item])
    assert plan.references["User"].by[-1] == ("Email",)
    assert (plan.references["User"].default, plan.references["User"].map_file) == ("admin@target.example", "users.csv")
    assert plan.references["Region__c"].by == (("Code__c",), ("Country__c", "Name"))
    assert plan.references["Region__c"].fields == ("Code__c", "Country__c", "Name")
    assert plan.object("Account").lookup("Region__c").references == ("Region__c",)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"by": "Usernam"}, "no field Usernam; did you mean 'Username'"),
        ({"by": "Long"}, "Long cannot be filtered"),
    ],
)
def test_reference_keys_are_checked_where_the_object_is_described(reference: dict[str, str], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan_of(recipe("Account", references={"User": reference}), [ACCOUNT, USER])


def test_a_reference_needs_a_key_or_a_file() -> None:
    with pytest.raises(PlanError, match="say by which fields"):
        plan_of(recipe("Account", references={"Region__c": {}}), [ACCOUNT])


def test_a_migrated_object_is_a_reference_only_where_the_template_says_so() -> None:
    lines = ("Account", "User")
    assert plan_of(recipe(*lines), [ACCOUNT, USER]).object("Account").lookup("OwnerId").references == ()
    both = plan_of(recipe(*lines, references={"User": {"by": "Email"}}), [ACCOUNT, USER])
    owner = both.object("Account").lookup("OwnerId")
    assert (owner.parents, owner.references) == (("User",), ("User",))


def test_sequences_against_the_order_are_told_with_the_number_to_take() -> None:
    role = sobject("Role__c", lookup("Contact__c", "Contact", nillable=False))
    contact = sobject("Contact", lookup("AccountId", "Account", nillable=False))
    mine = recipe(
        {"object": "Role__c", "sequence": 5},
        {"object": "Contact", "sequence": 10},
        {"object": "Account", "sequence": 20},
    )
    plan = plan_of(mine, [ACCOUNT, contact, role])
    assert [item.object for item in plan.objects] == ["Account", "Contact", "Role__c"]
    told = [warning for warning in plan.warnings if "sequence" in warning]
    assert "Contact: has sequence 10, but needs Account (AccountId), which has 20: change it to 30" in told[0]
    assert "Role__c: has sequence 5, but needs Contact (Contact__c), which has 30: change it to 40" in told[1]
    unsaid = recipe("Role__c", "Contact", "Account")
    assert not [warning for warning in plan_of(unsaid, [ACCOUNT, contact, role]).warnings if "sequence" in warning]


def test_phases_hold_their_objects_in_load_order() -> None:
    mine = recipe(
        "Contact",
        "Account",
        phases=[
            {"name": "one", "lines": ["contact", "Account"], "where": {"account": "X = 1"}},
            {"name": "two", "lines": ["Contact"], "after": ["one"]},
        ],
    )
    assert plan_of(mine, [ACCOUNT, CONTACT]).phases == (
        PhasePlan("one", ("Account", "Contact"), {"Account": "X = 1"}),
        PhasePlan("two", ("Contact",), {}, ("one",)),
    )
    assert plan_of(recipe("Account"), [ACCOUNT]).phases == (PhasePlan("all", ("Account",)),)


def test_parents_of_a_later_phase_and_lines_without_a_phase_are_told() -> None:
    mine = recipe(
        "Account",
        "Contact",
        "Idle__c",
        phases=[{"name": "one", "lines": "Contact"}, {"name": "two", "lines": "Account"}],
    )
    warnings = plan_of(mine, [ACCOUNT, CONTACT, sobject("Idle__c")]).warnings
    assert "phases: no phase has Idle__c: these lines are never loaded" in warnings
    assert any("'one' points at Account, which only comes in phase 'two'" in warning for warning in warnings)


def test_needed_objects_name_lines_targets_and_references() -> None:
    mine = recipe(
        "Account",
        "Contact",
        "account",
        objects={"account": {"target_object": "Firm__c"}},
        references={"Region__c": {"by": "Name"}},
    )
    source, target = needed_objects(mine)
    assert source[:3] == ("Account", "Contact", "Region__c")
    assert target[:3] == ("Firm__c", "Contact", "Region__c")
    assert {"User", "RecordType", "Pricebook2"} <= set(source) & set(target)
