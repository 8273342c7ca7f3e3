"""Plans between real schemas: recorded describes of developer orgs, where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from isync_dagster.plan.model import Plan
from isync_dagster.schema.model import SObject
from isync_dagster_tests.plan.builders import plan_of, recipe

DESCRIBES = Path(__file__).parents[3] / "shared" / "realdata" / "describes"
CRM = ("Account", "Contact", "Lead", "Opportunity", "OpportunityContactRole", "Case", "Task", "Event", "Campaign")

pytestmark = pytest.mark.skipif(not DESCRIBES.is_dir(), reason="no recorded describes here")


def described(*files: Path) -> dict[str, SObject]:
    answers = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {answer["name"]: SObject.from_json(answer) for answer in answers if "fields" in answer}


@pytest.fixture(scope="module")
def full() -> Mapping[str, SObject]:
    """Nine standard objects with all attributes; where two recordings exist, the newer one."""
    return (
        described(*(DESCRIBES / "grouparoo").glob("*.json"))
        | described(*(DESCRIBES / "amaxa").glob("*.json"))
        | described(*(file for file in (DESCRIBES / "cumulusci").glob("*.json") if file.stem != "_global"))
    )


def test_standard_objects_plan_in_their_natural_order(full: Mapping[str, SObject]) -> None:
    mine = recipe(*reversed(CRM), objects={"Account": {"exclude_parent_fields": ["ns__LinkedAccount__c"]}})
    plan = plan_of(mine, list(full.values()))
    place = {item.object: item.order for item in plan.objects}
    for item in plan.objects:
        assert all(place[parent] < place[item.object] for parent in item.parents)
    assert place["Account"] < place["Opportunity"] < place["OpportunityContactRole"]
    account = plan.object("Account")
    assert {lookup.source.name for lookup in account.deferred} >= {"ParentId"}
    assert plan.object("Task").lookup("WhoId").parents == ("Contact", "Lead")
    assert "Campaign" in plan.object("Event").lookup("WhatId").parents
    assert plan.object("Contact").lookup("OwnerId").references == ("User",)


def test_every_field_of_the_standard_objects_is_accounted_for(full: Mapping[str, SObject]) -> None:
    for item in plan_of(recipe(*CRM), list(full.values())).objects:
        used = {mapping.source.name for mapping in item.fields} | {lookup.source.name for lookup in item.lookups}
        dropped = {entry.field for entry in item.dropped}
        assert used | dropped == set(full[item.object].by_name)
        assert not used & dropped
        for mapping in (*item.fields, *item.lookups):
            assert mapping.insertable or mapping.updateable
            assert not mapping.target.calculated and mapping.target.name not in {"Id", "SystemModstamp"}
        assert all(full[item.object].by_name[name].bulk_selectable for name in item.source_fields)


def test_a_real_plan_survives_json(full: Mapping[str, SObject]) -> None:
    plan = plan_of(recipe(*CRM), list(full.values()))
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_an_attachment_is_refused_for_its_content(full: Mapping[str, SObject]) -> None:
    with pytest.raises(Exception, match=r"requires Body \(binary content\)"):
        plan_of(recipe("Attachment", "Account"), list(full.values()))


def test_a_projected_org_of_78_objects_has_an_order() -> None:
    """The recording lacks createable, so everything counts as writable: the worst case for circles."""
    objects = described(*(DESCRIBES / "projected-jira-org").glob("*.json"))
    names = [name for name, item in objects.items() if item.queryable and not name.endswith(("History", "Share"))]
    lines = [name for name in names if name not in {"User", "Group", "Profile", "RecordType", "UserRole"}]
    settings = {
        name: {"insert_new": False, "exclude_fields": [f.name for f in objects[name].fields if f.type == "base64"]}
        for name in lines
    }
    free = {
        name: SObject.from_json(
            {**item.to_json(), "fields": [{**field, "nillable": True} for field in item.to_json()["fields"]]}
        )
        for name, item in objects.items()
    }
    plan = plan_of(recipe(*lines, objects=settings), list(free.values()))
    place = {item.object: item.order for item in plan.objects}
    assert len(place) == len(lines) > 60
    for item in plan.objects:
        assert all(place[parent] < place[item.object] for parent in item.parents)
