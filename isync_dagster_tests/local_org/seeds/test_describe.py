"""Describe JSON in every shape becomes objects that a local org can work with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.seeds.describe import describe_of, read_describes

REAL = Path(__file__).parents[4] / "shared" / "realdata" / "describes"


def _field(name: str, kind: str, **attributes: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "nillable": True, **attributes}


def test_a_projection_without_flags_takes_those_of_the_standard_object() -> None:
    found = describe_of(
        {
            "name": "Account",
            "fields": [
                _field("Id", "id", nillable=False),
                _field("Name", "string", nillable=False),
                _field("PhotoUrl", "url"),
                _field("Seats__c", "double"),
                _field("LastActivityDate", "date"),
            ],
        }
    )
    fields = found.by_name
    assert fields["Name"].required
    assert fields["Name"].length == 255
    assert not fields["PhotoUrl"].createable
    assert fields["Seats__c"].createable
    assert fields["Seats__c"].custom
    assert not fields["LastActivityDate"].updateable
    assert found.key_prefix == "001"


def test_a_projection_without_system_fields_gets_them() -> None:
    found = describe_of({"name": "Tax__c", "fields": [_field("Rate__c", "percent", createable=True, updateable=True)]})
    assert found.fields[0].name == "Id"
    assert {"CreatedDate", "SystemModstamp", "IsDeleted"} <= set(found.by_name)
    assert found.custom


def test_fields_keyed_by_name_and_bare_picklist_values(tmp_path: Path) -> None:
    kind = _field("Kind", "picklist", createable=True, updateable=True, picklistValues=["A", "B"])
    book = _field("BookId", "reference", createable=True, updateable=True, referenceTo=["PriceBook2"])
    export = {"objects": {"PriceBookEntry": {"name": "PriceBookEntry", "fields": {"Kind": kind, "BookId": book}}}}
    (tmp_path / "export.json").write_text(json.dumps(export))
    found = read_describes(tmp_path)["PricebookEntry"]
    assert [value.value for value in found.by_name["Kind"].picklist_values] == ["A", "B"]
    assert found.by_name["BookId"].reference_to == ("Pricebook2",)


def test_record_types_of_old_answers_have_no_developer_name() -> None:
    infos = [
        {"name": "House Hold", "recordTypeId": "0120000000000AAAAA"},
        {"name": "Master", "recordTypeId": "012000000000000AAA"},
    ]
    found = describe_of({"name": "Account", "fields": [_field("Id", "id")], "recordTypeInfos": infos})
    assert [(info.developer_name, info.master) for info in found.record_type_infos] == [
        ("House_Hold", False),
        ("Master", True),
    ]


def test_what_is_no_describe_is_named(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("{")
    with pytest.raises(ConfigError, match=r"x\.json"):
        read_describes(file)
    file.write_text("{}")
    with pytest.raises(ConfigError, match="holds no describe"):
        read_describes(tmp_path)


@pytest.mark.skipif(not REAL.exists(), reason="the real describes are not here")
@pytest.mark.parametrize(
    ("folder", "count"),
    [
        ("cumulusci", 8),
        ("amaxa", 2),
        ("grouparoo", 3),
        ("restforce", 1),
        ("projected-jira-org", 78),
        ("rlm-projected", 27),
    ],
)
def test_real_describes_make_an_org(folder: str, count: int) -> None:
    found = read_describes(REAL / folder)
    assert len(found) == count
    schema = OrgSchema(found.values())
    for item in schema:
        assert item.key_prefix
        assert item.fields[0].name == "Id"
        for field in item.fields:
            assert not (field.required and field.calculated), (item.name, field.name)
            if field.name in ("Id", "CreatedDate", "SystemModstamp"):
                assert not field.createable or field.name == "CreatedDate"
