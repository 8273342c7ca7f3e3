"""The plan as a whole: order, waves, staged fields, pins, hashes, and all problems told at once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from isync_dagster.errors import CycleError, PlanError
from isync_dagster.plan.build import build_plan
from isync_dagster.plan.model import Plan, Policy, StagedField
from isync_dagster.schema.model import SObject
from isync_dagster_tests.plan.builders import (
    READ_ONLY,
    SOURCE_ID,
    TARGET_ID,
    changed,
    lookup,
    org,
    picklist,
    plan_of,
    recipe,
    sobject,
    text,
)

ACCOUNT = sobject("Account", lookup("ParentId", "Account"), lookup("Main__c", "Contact"))
CONTACT = sobject("Contact", lookup("AccountId", "Account"), lookup("ReportsToId", "Contact"))
ROLE = sobject(
    "Role__c",
    lookup("Account__c", "Account", nillable=False, updateable=False),
    lookup("Contact__c", "Contact", nillable=False),
)


def test_objects_come_in_the_order_their_lookups_demand() -> None:
    plan = plan_of(recipe("Role__c", "Account", "Contact"), [ACCOUNT, CONTACT, ROLE])
    assert [(item.object, item.level, item.order) for item in plan.objects] == [
        ("Account", 0, 0),
        ("Contact", 1, 1),
        ("Role__c", 2, 2),
    ]
    account, contact, role = plan.objects
    assert account.deferred_parents == ("Account", "Contact")
    assert account.parents == ()
    assert {item.source.name for item in account.deferred} == {"ParentId", "Main__c"}
    assert contact.parents == ("Account",)
    assert [item.source.name for item in contact.deferred] == ["ReportsToId"]
    assert role.parents == ("Account", "Contact")
    assert not role.has_relink and account.has_relink


def test_the_templates_own_order_decides_which_lookup_of_a_circle_waits() -> None:
    mine = recipe({"object": "Contact", "sequence": 10}, {"object": "Account", "sequence": 20})
    plan = plan_of(mine, [ACCOUNT, CONTACT])
    assert [item.object for item in plan.objects] == ["Contact", "Account"]
    assert plan.object("Contact").lookup("AccountId").deferred
    assert not plan.object("Account").lookup("Main__c").deferred


def test_known_row_counts_decide_before_the_templates_order() -> None:
    mine = recipe({"object": "Contact", "sequence": 10}, {"object": "Account", "sequence": 20})
    plan = plan_of(mine, [ACCOUNT, CONTACT], rows={"Contact": 900, "Account": 10})
    assert [item.object for item in plan.objects] == ["Account", "Contact"]


def test_sequence_decides_between_independent_objects() -> None:
    mine = recipe({"object": "A__c", "sequence": 20}, {"object": "B__c", "sequence": 10})
    assert [item.object for item in plan_of(mine, [sobject("A__c"), sobject("B__c")]).objects] == ["B__c", "A__c"]


def test_circle_of_required_lookups_is_a_cycle_error_with_its_path() -> None:
    first = sobject("A__c", lookup("B__c", "B__c", nillable=False))
    second = sobject("B__c", lookup("A__c", "A__c", updateable=False))
    with pytest.raises(CycleError, match=r"A__c\.B__c -> B__c\.A__c -> A__c") as caught:
        plan_of(recipe("A__c", "B__c"), [first, second])
    assert caught.value.path == ("A__c.B__c", "B__c.A__c")


def test_a_cycle_beside_other_problems_is_listed_with_them() -> None:
    first = sobject("A__c", lookup("B__c", "B__c", nillable=False))
    second = sobject("B__c", lookup("A__c", "A__c", updateable=False))
    with pytest.raises(PlanError, match="2 problems") as caught:
        plan_of(recipe("A__c", "B__c", objects={"A__c": {"exclude_fields": ["Nmae"]}}), [first, second])
    assert not isinstance(caught.value, CycleError)
    assert "did you mean 'Name'?" in str(caught.value)
    assert "A__c.B__c -> B__c.A__c -> A__c" in str(caught.value)


def test_every_problem_is_told_at_once_with_the_nearest_names() -> None:
    mine = recipe(
        "Acount",
        {"object": "Contact", "exclude_parents": ["AcountId"]},
        objects={"Contact": {"match_key": "Emial", "fields": {"Name": "Nam__c"}, "missing_parents": {"Name": "block"}}},
        pins={"target_org_id": "00D000000000009AAA"},
    )
    with pytest.raises(PlanError) as caught:
        plan_of(mine, [ACCOUNT, sobject("Contact", lookup("AccountId", "Account"), text("Email"))])
    message = str(caught.value)
    for part in (
        "no object 'Acount'; did you mean 'Account'?",
        "isync orgs snapshot here --objects Acount",
        "Contact.AcountId: excluded as a parent, but is not in the source; did you mean 'AccountId'?",
        "Contact.Emial: match_key: the source has no such field; did you mean 'Email'?",
        "Contact.Name: is mapped to Nam__c, which the target does not have; did you mean 'Name'?",
        "Contact.Name: missing_parents: this field is no lookup",
        "pinned to the target org 00D000000000009AAA",
    ):
        assert part in message
    assert len(caught.value.problems) == message.count("\n")


def test_source_and_target_must_be_two_orgs() -> None:
    here = org("here", SOURCE_ID, ACCOUNT, CONTACT)
    there = org("there", SOURCE_ID, ACCOUNT, CONTACT)
    with pytest.raises(PlanError, match=f"are the same org {SOURCE_ID}"):
        build_plan(recipe("Account"), here, there)


def test_pins_that_fit_pass_in_either_length() -> None:
    pins = {"source_org_id": SOURCE_ID[:15], "target_org_id": TARGET_ID}
    assert plan_of(recipe("Account", pins=pins), [ACCOUNT]).source_org_id == SOURCE_ID


def test_a_self_lookup_that_cannot_wait_is_loaded_level_by_level() -> None:
    node = sobject("Node__c", lookup("Up__c", "Node__c", nillable=False))
    plan = plan_of(recipe("Node__c"), [node]).object("Node__c")
    assert (plan.wave_rule, plan.self_level_field) == ("self_levels", "Up__c")
    assert not plan.has_relink and plan.parents == ()
    once = sobject("Node__c", lookup("Up__c", "Node__c", updateable=False))
    assert plan_of(recipe("Node__c"), [once]).object("Node__c").self_level_field == "Up__c"


def test_two_self_lookups_that_cannot_wait_have_no_levels() -> None:
    node = sobject("Node__c", lookup("Up__c", "Node__c", nillable=False), lookup("By__c", "Node__c", nillable=False))
    with pytest.raises(PlanError, match="both this and Up__c point at Node__c itself"):
        plan_of(recipe("Node__c"), [node])


def order_org() -> list[SObject]:
    status = picklist("Status", "Draft", "Activated", nillable=False)
    return [
        sobject("Contract", status),
        sobject("Order", status, lookup("ContractId", "Contract")),
        sobject("OrderItem", lookup("OrderId", "Order", nillable=False, updateable=False)),
    ]


def test_orders_start_as_drafts_and_are_activated_after_their_products() -> None:
    plan = plan_of(recipe("Order", "OrderItem", "Contract"), order_org())
    assert plan.object("Order").staged == (StagedField("Status", "Draft", ("OrderItem",)),)
    assert plan.object("Order").deferred_parents == ("OrderItem",)
    assert plan.object("Order").has_relink
    assert plan.object("Contract").staged == (StagedField("Status", "Draft"),)
    assert plan.object("Contract").deferred_parents == ()


def test_a_status_without_draft_is_sent_as_it_is() -> None:
    target = [changed(order_org()[0], "Status", picklist_values=())]
    assert plan_of(recipe("Contract"), order_org()[:1], target).object("Contract").staged == ()


def test_a_field_that_only_updates_may_write_is_left_to_relink() -> None:
    late = text("Reason__c", createable=False)
    switch = text("IsPartner", createable=False)
    plan = plan_of(recipe("A__c"), [sobject("A__c", late, replace(switch, type="boolean"))]).object("A__c")
    assert plan.staged == (StagedField("Reason__c", ""),)
    assert plan.mapping("Reason__c").updateable and not plan.mapping("Reason__c").insertable
    assert [item.field for item in plan.dropped if "switched on" in item.reason] == ["IsPartner"]


def test_defaults_that_would_stand_where_the_source_is_empty_are_cleared() -> None:
    fields = (
        picklist("Rating__c", "Hot", default_value="Hot"),
        picklist("Needed__c", "Hot", default_value="Hot", nillable=False),
        text("Once__c", default_value="x", updateable=False),
        text("Plain__c"),
    )
    assert plan_of(recipe("A__c"), [sobject("A__c", *fields)]).object("A__c").clear_defaults == ("Rating__c",)


def price_books() -> list[SObject]:
    standard = replace(text("IsStandard", **READ_ONLY), type="boolean", nillable=False)
    return [
        sobject("Product2"),
        sobject("Pricebook2", standard),
        sobject(
            "PricebookEntry",
            lookup("Pricebook2Id", "Pricebook2", nillable=False, updateable=False),
            lookup("Product2Id", "Product2", nillable=False, updateable=False),
        ),
    ]


def test_the_standard_price_book_is_a_reference_even_where_price_books_migrate() -> None:
    plan = plan_of(
        recipe("PricebookEntry", {"object": "Pricebook2", "where": "IsActive = true"}, "Product2"), price_books()
    )
    entry = plan.object("PricebookEntry")
    assert entry.wave_rule == "standard_price_book_first"
    assert entry.lookup("Pricebook2Id").parents == ("Pricebook2",)
    assert entry.lookup("Pricebook2Id").references == ("Pricebook2",)
    assert plan.object("Pricebook2").where == "(IsActive = true) AND IsStandard = false"
    assert plan.references["Pricebook2"].where == "IsStandard = true"


def test_a_campaign_member_comes_after_the_statuses_of_its_campaign() -> None:
    plan = plan_of(
        recipe("CampaignMember", "CampaignMemberStatus"), [sobject("CampaignMember"), sobject("CampaignMemberStatus")]
    )
    assert [item.object for item in plan.objects] == ["CampaignMemberStatus", "CampaignMember"]
    assert plan.object("CampaignMember").parents == ("CampaignMemberStatus",)
    assert any("match_key: [CampaignId, Label]" in warning for warning in plan.warnings)


def test_two_lines_of_an_object_are_joined_by_or() -> None:
    mine = recipe({"object": "Account", "where": "A = 1", "sequence": 7}, {"object": "account", "where": "B = 2"})
    plan = plan_of(mine, [ACCOUNT]).object("Account")
    assert plan.where == "(A = 1) OR (B = 2)"
    assert plan.sequence == 7
    everything = recipe({"object": "Account", "where": "A = 1"}, "Account")
    assert plan_of(everything, [ACCOUNT]).object("Account").where is None


def test_transactional_objects_are_left_out_with_a_warning() -> None:
    mine = recipe(
        "Account",
        "Task",
        settings={"skip_transactional_objects": True},
        phases=[{"name": "one", "lines": ["Account", "Task"]}],
    )
    plan = plan_of(mine, [ACCOUNT, sobject("Task", lookup("WhatId", "Account", "Case"))])
    assert [item.object for item in plan.objects] == ["Account"]
    assert plan.phase("one").objects == ("Account",)
    assert "lines: skip_transactional_objects leaves out Task" in plan.warnings


def test_fetched_parents_wait_for_the_extracts_that_name_them() -> None:
    mine = recipe("Account", "Contact", objects={"Contact": {"missing_parents": {"AccountId": "fetch_parent"}}})
    plan = plan_of(mine, [sobject("Account"), CONTACT])
    assert plan.object("Account").fetched_by == ("Contact",)
    assert plan.object("Contact").fetched_by == ()
    assert plan.object("Contact").lookup("AccountId").policy is Policy.FETCH_PARENT


def test_fetching_in_a_circle_is_refused() -> None:
    settings = {
        "Account": {"missing_parents": {"Main__c": "fetch_parent"}},
        "Contact": {"missing_parents": {"AccountId": "fetch_parent"}},
    }
    with pytest.raises(PlanError, match=r"Account\.Main__c -> Contact\.AccountId -> Account: fetch_parent in a circle"):
        plan_of(recipe("Account", "Contact", objects=settings), [ACCOUNT, CONTACT])


@pytest.mark.parametrize(
    ("lookup_name", "message"),
    [("AccountId", "Account has no line"), ("ReportsToId", "cannot fetch parents of its own kind")],
)
def test_fetching_needs_a_line_of_another_object(lookup_name: str, message: str) -> None:
    mine = recipe("Contact", objects={"Contact": {"missing_parents": {lookup_name: "fetch_parent"}}})
    with pytest.raises(PlanError, match=message):
        plan_of(mine, [ACCOUNT, CONTACT])


def test_the_extract_reads_what_is_used_with_id_first_and_the_clock_last() -> None:
    plan = plan_of(recipe("Contact", objects={"Contact": {"exclude_fields": ["ReportsToId"]}}), [ACCOUNT, CONTACT])
    assert plan.object("Contact").source_fields == ("Id", "Name", "AccountId", "SystemModstamp")
    assert plan.object("Contact").scope_has_created_date
    no_clock = SObject("Old__c", fields=(text("Name", name_field=True),))
    bare = plan_of(recipe("Old__c"), [no_clock]).object("Old__c")
    assert bare.source_fields == ("Id", "Name") and not bare.scope_has_created_date


def test_an_object_nobody_may_create_needs_insert_new_off() -> None:
    closed = replace(ACCOUNT, createable=False, updateable=False)
    with pytest.raises(PlanError, match="may not create Account"):
        plan_of(recipe("Account"), [ACCOUNT], [closed])
    off = {"Account": {"insert_new": False, "match_key": "Name"}}
    plan = plan_of(recipe("Account", objects=off), [ACCOUNT], [closed])
    assert not plan.object("Account").insert_new and not plan.object("Account").update_existing
    with pytest.raises(PlanError, match="does not let this object be queried"):
        plan_of(recipe("Account"), [replace(ACCOUNT, queryable=False)])


def rich_plan() -> Plan:
    mine = recipe(
        {"object": "Account", "where": "Name != 'x'", "limit": 5, "order_by": "Name"},
        "Contact",
        "Order",
        "OrderItem",
        settings={"rejected_rows_threshold": "0.5%", "missing_parents": {"optional": "default:001000000000001AAA"}},
        objects={"Account": {"match_key": "Name", "missing_parents": {"ParentId": None}}},
        references={"User": {"by": ["Email"], "default": "a@b.example"}, "Contract": {"by": "ContractNumber+Name"}},
        phases=[
            {"name": "a", "lines": "Account", "where": {"Account": "X = 1"}},
            {"name": "b", "lines": "Contact", "after": "a"},
        ],
    )
    return plan_of(mine, [ACCOUNT, sobject("Contact", lookup("OwnerId", "User", "Group")), *order_org()[1:]])


def test_plan_survives_json() -> None:
    plan = rich_plan()
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.to_json() == plan.to_json()


def test_a_plan_of_another_shape_is_refused() -> None:
    answer = dict(rich_plan().to_json())
    del answer["objects"]
    with pytest.raises(PlanError, match="another version"):
        Plan.from_json(answer)
    with pytest.raises(PlanError, match="another version"):
        Plan.from_json({**rich_plan().to_json(), "extra": 1})


def test_hash_is_the_same_in_every_process_and_tells_changes() -> None:
    assert rich_plan().hash == rich_plan().hash
    code = "from isync_dagster_tests.plan.test_build import rich_plan; print(rich_plan().hash)"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert other.stdout.strip() == rich_plan().hash
    assert len({rich_plan().hash, plan_of(recipe("Account"), [ACCOUNT]).hash}) == 2


@pytest.mark.parametrize(
    ("attributes", "same"), [({"label": "New label"}, True), ({"length": 20}, False), ({"unique": True}, False)]
)
def test_only_schema_attributes_that_matter_change_the_hash(attributes: dict[str, object], same: bool) -> None:
    plan = plan_of(recipe("Account"), [ACCOUNT])
    other = plan_of(recipe("Account"), [ACCOUNT], [changed(ACCOUNT, "Name", **attributes)])
    assert (plan.object("Account").fingerprint == other.object("Account").fingerprint) is same


def test_unknown_names_of_a_plan_are_answered_with_the_nearest() -> None:
    plan = plan_of(recipe("Account"), [ACCOUNT])
    with pytest.raises(PlanError, match="no object 'Acount'; did you mean 'Account'"):
        plan.object("Acount")
    with pytest.raises(PlanError, match="no phase 'al'; did you mean 'all'"):
        plan.phase("al")
    assert plan.objects_in("all") == plan.objects


def test_a_large_template_is_planned_whole() -> None:
    size = 150
    objects = [
        sobject(
            f"O{number}__c",
            *(text(f"F{field}__c") for field in range(190)),
            lookup("A__c", f"O{number * 7 % size}__c"),
            lookup("B__c", f"O{number * 11 % size}__c"),
        )
        for number in range(size)
    ]
    mine = recipe(*(item.name for item in objects))
    here, there = org("here", SOURCE_ID, *objects), org("there", TARGET_ID, *objects)
    plan = build_plan(mine, here, there)
    placed = {item.object: item.order for item in plan.objects}
    assert len(placed) == size
    assert all(len(item.fields) == 191 for item in plan.objects)
    assert all(placed[parent] < placed[item.object] for item in plan.objects for parent in item.parents)


def test_planning_loads_no_frames_and_no_dagster() -> None:
    code = (
        "import sys, isync_dagster.plan.build, isync_dagster.template, isync_dagster.schema.snapshot;"
        "print(sorted({'polars', 'dagster', 'pyarrow', 'simple_salesforce', 'requests'} & sys.modules.keys()))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
