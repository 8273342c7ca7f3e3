"""Overlay files: two orgs that differ on purpose; wrong files say where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.seeds.sources import source_from

OVERLAY = """
objects:
  Account:
    label: Client
    fields:
      - {name: Tier__c, type: picklist, restrictedPicklist: true, picklistValues: [{value: A}, {value: B}]}
      - {name: Phone, length: 20, nillable: false}
      - {name: Twice__c, type: double, calculated: true, calculatedFormula: LEN(Name) * 2}
    removeFields: [Fax]
    recordTypes: [Household]
  Visit__c:
    fields:
      - {name: Account__c, type: reference, referenceTo: [Account]}
removeObjects: [Campaign]
automation:
  validation_rules:
    - {object: Account, name: Tiered, formula: "ISPICKVAL(Tier__c, '')", message: A client has a tier.}
"""


def test_an_overlay_changes_fields_objects_and_rules(tmp_path: Path) -> None:
    path = tmp_path / "target.yml"
    path.write_text(OVERLAY)
    source = source_from([path])
    found = {item.name: item for item in source.objects}
    account = found["Account"]
    assert (account.label, account.field("Fax")) == ("Client", None)
    phone, tier, twice = (account.field(name) for name in ("Phone", "Tier__c", "Twice__c"))
    assert phone is not None and (phone.length, phone.nillable, phone.type) == (20, False, "phone")
    assert tier is not None and tier.custom and tier.active_values() == {"A", "B"}
    assert twice is not None and not twice.createable and (twice.precision, twice.scale) == (18, 2)
    assert account.record_type_infos[0].developer_name == "Household"
    assert found["Visit__c"].field("Account__c") is not None
    assert "Campaign" not in found
    assert [rule.name for rule in source.automation.validation_rules] == ["Tiered"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("objects: {Acount: {label: x}}", "the schema has no object Acount; did you mean 'Account'"),
        ("objects: {Account: {fields: [{name: Phone, lenght: 1}]}}", "lenght is no attribute of a describe; did you mean 'length'"),
        ("objects: {Account: {removeFields: [Fx]}}", "removeFields names Fx, which it has not; did you mean 'Fax'"),
        ("automation: {validation_rules: [{object: Account, name: x}]}", "formula: Field required"),
        ("automations: {}", "automations: Extra inputs are not permitted"),
        ("removeObjects: [Nothing]", "removeObjects names Nothing"),
        ("objects: [", "cannot be read as YAML"),
    ],
)  # fmt: skip
def test_a_wrong_overlay_says_where_it_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "target.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=problem.replace("(", r"\(")):
        source_from([path])


def test_an_overlay_after_a_source_brings_only_what_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "src" / "objects" / "Thing__c" / "fields" / "A__c.field-meta.xml"
    file.parent.mkdir(parents=True)
    file.write_text(
        '<CustomField xmlns="http://soap.sforce.com/2006/04/metadata"><fullName>A__c</fullName><label>A</label>'
        "<type>Checkbox</type></CustomField>"
    )
    path = tmp_path / "target.yml"
    path.write_text("objects: {Account: {removeFields: [Fax]}}")
    found = {item.name: item for item in source_from([tmp_path / "src", path]).objects}
    assert found["Account"].field("Fax") is None
    assert "Thing__c" in found
    assert "Opportunity" not in found
