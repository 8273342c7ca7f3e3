from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from isync_dagster.schema.model import Field, PicklistValue, RecordTypeInfo, SObject

DESCRIBES = Path(__file__).parents[3] / "shared" / "realdata" / "describes"

ANSWER = {
    "name": "Case",
    "keyPrefix": "500",
    "createable": True,
    "somethingNew": {"unknown": 1},
    "fields": [
        {"name": "Id", "type": "id", "createable": False, "nillable": False, "defaultedOnCreate": True},
        {
            "name": "Status",
            "type": "picklist",
            "restrictedPicklist": True,
            "picklistValues": [
                {"value": "New", "label": "New", "active": True, "defaultValue": True, "validFor": None},
                {"value": "Old", "label": "Old", "active": False, "defaultValue": False, "validFor": "gAAA"},
            ],
        },
        {"name": "OwnerId", "type": "reference", "referenceTo": ["Group", "User"], "relationshipName": "Owner"},
        {"name": "Sum__c", "type": "double", "calculated": True, "createable": False, "unique": None},
    ],
    "recordTypeInfos": [{"recordTypeId": "012000000000000AAA", "developerName": "Master", "master": True}],
    "childRelationships": [{"childSObject": "CaseComment", "field": "ParentId", "cascadeDelete": True}],
}


def case() -> SObject:
    return SObject.from_json(ANSWER)


def test_a_describe_answer_is_read_with_its_own_names() -> None:
    item = case()
    assert (item.name, item.key_prefix, item.queryable) == ("Case", "500", True)
    assert [field.name for field in item.fields] == ["Id", "Status", "OwnerId", "Sum__c"]
    assert item.by_name["OwnerId"].reference_to == ("Group", "User")
    assert item.by_name["Sum__c"].unique is False
    assert item.record_type_infos == (RecordTypeInfo("012000000000000AAA", "Master", master=True),)
    assert item.child_relationships[0].cascade_delete
    assert item.by_name["Status"].picklist_values[1] == PicklistValue("Old", "Old", active=False, valid_for="gAAA")


@pytest.mark.parametrize("trimmed", [True, False])
def test_json_is_read_back_whole(trimmed: bool) -> None:
    again = json.loads(json.dumps(case().to_json(trimmed=trimmed)))
    assert SObject.from_json(again) == case()
    assert ("nillable" in again["fields"][1]) is not trimmed


def test_names_are_found_in_any_case() -> None:
    assert case().field("ownerid") == case().by_name["OwnerId"]
    assert case().field("Nothing") is None
    assert [field.name for field in case().references] == ["OwnerId"]


@pytest.mark.parametrize(
    ("field", "required"),
    [
        (Field("A", nillable=False), True),
        (Field("A"), False),
        (Field("A", nillable=False, defaulted_on_create=True), False),
        (Field("A", "boolean", nillable=False), False),
        (Field("A", nillable=False, createable=False), False),
    ],
)
def test_required_means_that_an_insert_without_it_is_refused(field: Field, required: bool) -> None:
    assert field.required is required


@pytest.mark.parametrize(
    ("field", "has_default"),
    [
        (Field("A"), False),
        (Field("A", default_value=""), False),
        (Field("A", default_value=False), True),
        (Field("A", default_value_formula="TODAY()"), True),
        (Field("A", defaulted_on_create=True), True),
        (Field("A", picklist_values=(PicklistValue("x", default_value=True),)), True),
    ],
)
def test_a_default_is_whatever_the_server_fills_in(field: Field, has_default: bool) -> None:
    assert field.has_default is has_default


def test_master_details_are_told_from_lookups() -> None:
    assert Field("A", "reference", relationship_order=0).master_detail
    assert Field("A", "reference", cascade_delete=True, nillable=False).master_detail
    assert not Field("A", "reference", cascade_delete=True).master_detail
    assert not Field("A", relationship_order=0).master_detail


def test_only_active_values_are_accepted() -> None:
    assert case().by_name["Status"].active_values() == {"New"}


def test_what_bulk_cannot_select() -> None:
    assert [kind for kind in ("string", "address", "location", "base64") if not Field("A", kind).bulk_selectable] == [
        "address",
        "location",
        "base64",
    ]


def test_record_types_of_api_versions_before_43_are_read() -> None:
    old = {"name": "Lead", "fields": [], "recordTypeInfos": [{"recordTypeId": "012000000000000AAA", "name": "Master"}]}
    assert SObject.from_json(old).record_type_infos[0].name == "Master"


def recorded() -> Iterator[Path]:
    for file in sorted(DESCRIBES.glob("*/*.json")):
        if not file.stem.startswith("_") and "rlm" not in file.parent.name:
            yield file


@pytest.mark.skipif(not DESCRIBES.is_dir(), reason="no recorded describes here")
def test_every_recorded_describe_is_read_and_kept() -> None:
    files = list(recorded())
    assert len(files) > 80
    for file in files:
        answer = json.loads(file.read_text(encoding="utf-8"))
        item = SObject.from_json(answer)
        assert [field.name for field in item.fields] == [field["name"] for field in answer["fields"]], file
        assert SObject.from_json(json.loads(json.dumps(item.to_json(trimmed=True)))) == item
