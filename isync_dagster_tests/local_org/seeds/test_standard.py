"""The standard objects, as written down, hold together and say what real describes say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.seeds.notation import fields_of
from isync_dagster.local_org.seeds.standard import SETUP_OBJECTS, standard, standard_objects

REAL = Path(__file__).parents[4] / "shared" / "realdata" / "describes" / "cumulusci"
SAME = {
    "type": "type",
    "length": "length",
    "precision": "precision",
    "scale": "scale",
    "nillable": "nillable",
    "createable": "createable",
    "updateable": "updateable",
    "defaultedOnCreate": "defaulted_on_create",
    "idLookup": "id_lookup",
    "nameField": "name_field",
    "restrictedPicklist": "restricted_picklist",
    "referenceTo": "reference_to",
    "soapType": "soap_type",
}
# What the recordings say of an org that has more clouds than the plain one that is written down here.
OTHER_ORG = {"WhatId", "OwnerId"}


@pytest.mark.skipif(not REAL.exists(), reason="the real describes are not here")
@pytest.mark.parametrize(
    "name", ["Account", "Contact", "Lead", "Opportunity", "Case", "Event", "OpportunityContactRole"]
)
def test_fields_are_those_of_a_real_org(name: str) -> None:
    ours = standard_objects()[name]
    for real in json.loads((REAL / f"{name}.json").read_text())["fields"]:
        if real["name"].endswith("__c"):
            continue
        field = ours.field(real["name"])
        assert field is not None, real["name"]
        for key, attribute in SAME.items():
            if key == "referenceTo" and field.name in OTHER_ORG:
                continue
            value = getattr(field, attribute)
            assert (list(value) if isinstance(value, tuple) else value) == real[key], (field.name, key)


def test_every_org_has_the_setup_objects() -> None:
    names = [item.name for item in standard(["Account"])]
    assert names == [*SETUP_OBJECTS, "Account"]
    with pytest.raises(ConfigError, match="Acount"):
        standard(["Acount"])


def test_children_say_what_a_delete_does() -> None:
    account = OrgSchema(standard_objects().values())["account"]
    rules = {(c.child_s_object, c.field): (c.cascade_delete, c.restricted_delete) for c in account.child_relationships}
    assert rules["Contact", "AccountId"] == (True, False)
    assert rules["Case", "AccountId"] == (False, True)
    assert rules["Account", "ParentId"] == (False, False)
    assert len(rules) == len(account.child_relationships)


def test_notation_says_everything_of_a_field() -> None:
    master, status, place = fields_of(
        """Project__c reference M > Project__c as Project__r < Times cascade
        Status__c picklist(40) cunR {Planned*|In
            Progress; soon|Done}; Hours__c double(5,2) cu"""
    )
    assert master.master_detail
    assert master.cascade_delete
    assert not master.updateable
    assert [value.value for value in status.picklist_values][1].startswith("In")
    assert status.default_value == "Planned"
    assert status.restricted_picklist
    assert (place.precision, place.scale, place.required) == (5, 2, True)


def test_a_mistake_in_the_notation_is_named() -> None:
    with pytest.raises(ValueError, match="Hours__c dou ble"):
        fields_of("Hours__c dou ble(5,2) cu 7")
