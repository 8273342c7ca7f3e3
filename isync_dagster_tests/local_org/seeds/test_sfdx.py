"""Source metadata becomes the objects that its deployment would make."""

from __future__ import annotations

from pathlib import Path

import pytest

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.seeds.sfdx import SourceTree, read_source
from isync_dagster.schema.model import Field

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
SPACE = 'xmlns="http://soap.sforce.com/2006/04/metadata"'


def _object(folder: Path, name: str, body: str = "", **fields: str) -> None:
    home = folder / "main" / "objects" / name
    (home / "fields").mkdir(parents=True, exist_ok=True)
    if body:
        (home / f"{name}.object-meta.xml").write_text(f"{HEAD}<CustomObject {SPACE}>{body}</CustomObject>")
    for field, text in fields.items():
        xml = f"{HEAD}<CustomField {SPACE}><fullName>{field}</fullName>{text}</CustomField>"
        (home / "fields" / f"{field}.field-meta.xml").write_text(xml)


TEXT_NAME = (
    "<label>Plan</label><pluralLabel>Plans</pluralLabel><nameField><label>Plan</label><type>Text</type></nameField>"
)
AUTO_NAME = "<nameField><label>No</label><type>AutoNumber</type></nameField>"


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    _object(
        tmp_path,
        "Plan__c",
        TEXT_NAME + "<enableActivities>true</enableActivities>",
        Code__c="<type>Text</type><length>12</length><externalId>true</externalId><unique>true</unique>"
        "<caseSensitive>true</caseSensitive><required>true</required>",
        Size__c="<type>Number</type><precision>7</precision><scale>3</scale>",
        Open__c="<type>Checkbox</type><defaultValue>true</defaultValue>",
        Kind__c="<type>Picklist</type><valueSet><restricted>true</restricted><valueSetDefinition><value><fullName>A</fullName>"
        "<default>true</default><label>Ay</label></value><value><fullName>B%2C C</fullName><isActive>false</isActive>"
        "<label>B</label></value></valueSetDefinition></valueSet>",
        Shared__c="<type>MultiselectPicklist</type><valueSet><valueSetName>Colours</valueSetName></valueSet>",
        Notes__c="<type>LongTextArea</type><length>50000</length>",
        Brief__c="<type>Html</type><length>20000</length>",
        Secret__c="<type>EncryptedText</type><length>20</length>",
        Place__c="<type>Location</type><scale>6</scale><displayLocationInDecimal>true</displayLocationInDecimal>",
        Twice__c="<type>Number</type><precision>18</precision><scale>2</scale><formula>Size__c * 2</formula>",
        Sum__c="<type>Summary</type><summarizedField>Step__c.Cost__c</summarizedField>"
        "<summaryForeignKey>Step__c.Plan__c</summaryForeignKey><summaryOperation>sum</summaryOperation>",
        Start__c='<type>Text</type><length>20</length><defaultValue>"soon"</defaultValue>',
        Parent__c="<type>Lookup</type><referenceTo>Plan__c</referenceTo><relationshipName>Sub_Plans</relationshipName>"
        "<deleteConstraint>Restrict</deleteConstraint>",
        Account__c="<type>Lookup</type><referenceTo>Account</referenceTo><relationshipName>Plans</relationshipName>"
        "<required>true</required>",
    )
    _object(
        tmp_path,
        "Step__c",
        AUTO_NAME,
        Cost__c="<type>Currency</type><precision>16</precision><scale>2</scale>",
        Plan__c="<type>MasterDetail</type><referenceTo>Plan__c</referenceTo><relationshipName>Steps</relationshipName>"
        "<relationshipOrder>0</relationshipOrder><reparentableMasterDetail>false</reparentableMasterDetail>",
    )
    _object(
        tmp_path, "Account", Tier__c="<type>Text</type><length>9</length>", Industry="<trackHistory>true</trackHistory>"
    )
    _object(tmp_path, "Setting__mdt", TEXT_NAME)
    home = tmp_path / "main" / "objects" / "Plan__c"
    (home / "recordTypes").mkdir()
    (home / "recordTypes" / "Big.recordType-meta.xml").write_text(
        f"{HEAD}<RecordType {SPACE}><fullName>Big</fullName><active>true</active><label>Big one</label></RecordType>"
    )
    (home / "validationRules").mkdir()
    (home / "validationRules" / "R.validationRule-meta.xml").write_text(
        f"{HEAD}<ValidationRule {SPACE}><fullName>R</fullName><active>true</active>"
        "<errorConditionFormula>Size__c &lt; 0</errorConditionFormula><errorMessage>No.</errorMessage></ValidationRule>"
    )
    sets = tmp_path / "main" / "globalValueSets"
    sets.mkdir()
    (sets / "Colours.globalValueSet-meta.xml").write_text(
        f"{HEAD}<GlobalValueSet {SPACE}><customValue><fullName>Red</fullName><label>Red</label></customValue></GlobalValueSet>"
    )
    return read_source(tmp_path)


def _get(tree: SourceTree, sobject: str, name: str) -> Field:
    found = tree.objects[sobject].field(name)
    assert found is not None
    return found


def test_types_lengths_and_flags(tree: SourceTree) -> None:
    code = _get(tree, "Plan__c", "Code__c")
    assert (code.length, code.external_id, code.id_lookup, code.unique, code.case_sensitive, code.required) == (
        12, True, True, True, True, True,
    )  # fmt: skip
    size = _get(tree, "Plan__c", "Size__c")
    assert (size.type, size.precision, size.scale) == ("double", 7, 3)
    assert _get(tree, "Plan__c", "Open__c").default_value is True
    assert _get(tree, "Plan__c", "Notes__c").length == 50000
    assert _get(tree, "Plan__c", "Brief__c").html_formatted
    assert _get(tree, "Plan__c", "Secret__c").type == "encryptedstring"
    assert _get(tree, "Plan__c", "Start__c").default_value == "soon"


def test_picklists(tree: SourceTree) -> None:
    kind = _get(tree, "Plan__c", "Kind__c")
    assert [(value.value, value.active) for value in kind.picklist_values] == [("A", True), ("B, C", False)]
    assert kind.restricted_picklist
    assert kind.default_value == "A"
    shared = _get(tree, "Plan__c", "Shared__c")
    assert [value.value for value in shared.picklist_values] == ["Red"]
    assert shared.restricted_picklist


def test_what_the_server_computes_is_not_writable(tree: SourceTree) -> None:
    for name in ("Twice__c", "Sum__c"):
        field = _get(tree, "Plan__c", name)
        assert field.calculated
        assert not field.createable
    total = _get(tree, "Plan__c", "Sum__c")
    assert (total.type, total.scale) == ("currency", 2)
    number = _get(tree, "Step__c", "Name")
    assert number.auto_number
    assert not number.createable
    assert _get(tree, "Plan__c", "Place__c").type == "location"
    assert _get(tree, "Plan__c", "Place__Latitude__s").compound_field_name == "Place__c"


def test_lookups_and_the_other_direction(tree: SourceTree) -> None:
    detail = _get(tree, "Step__c", "Plan__c")
    assert detail.master_detail
    assert not detail.updateable
    assert detail.required
    assert _get(tree, "Plan__c", "Account__c").required
    parent = _get(tree, "Plan__c", "Parent__c")
    assert parent.relationship_name == "Parent__r"
    children = {child.relationship_name: child for child in tree.objects["Plan__c"].child_relationships}
    assert children["Steps__r"].cascade_delete
    assert children["Sub_Plans__r"].restricted_delete
    assert "Plans__r" in {child.relationship_name for child in tree.objects["Account"].child_relationships}
    assert tree.objects["Step__c"].field("OwnerId") is None
    assert tree.objects["Plan__c"].field("OwnerId") is not None


def test_custom_fields_lie_over_the_standard_object(tree: SourceTree) -> None:
    account = tree.objects["Account"]
    assert account.field("Tier__c") is not None
    assert _get(tree, "Account", "Industry").type == "picklist"
    assert "Plan__c" in _get(tree, "Task", "WhatId").reference_to
    assert not tree.objects["Setting__mdt"].createable


def test_record_types_and_rules(tree: SourceTree) -> None:
    infos = tree.objects["Plan__c"].record_type_infos
    assert [(info.developer_name, info.name, info.default_record_type_mapping) for info in infos] == [
        ("Big", "Big one", True),
        ("Master", "Master", False),
    ]
    (rule,) = tree.validation_rules
    assert (rule.sobject, rule.formula, rule.message, rule.active) == ("Plan__c", "Size__c < 0", "No.", True)


def test_a_namespace_is_put_before_names_without_one(tmp_path: Path) -> None:
    _object(tmp_path, "Plan__c", TEXT_NAME, Size__c="<type>Date</type>")
    _object(
        tmp_path,
        "other__Thing__c",
        Plan__c="<type>Lookup</type><referenceTo>Plan__c</referenceTo><relationshipName>Things</relationshipName>",
    )
    objects = read_source(tmp_path, namespace="ns").objects
    lookup = objects["other__Thing__c"].field("ns__Plan__c")
    assert objects["ns__Plan__c"].field("ns__Size__c") is not None
    assert lookup is not None
    assert lookup.reference_to == ("ns__Plan__c",)
    assert OrgSchema(objects.values()).relationship(objects["other__Thing__c"], "ns__Plan__r") is not None


def test_what_is_wrong_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no object source"):
        read_source(tmp_path)
    _object(tmp_path, "Plan__c", TEXT_NAME, Odd__c="<type>Hologram</type>")
    with pytest.raises(ConfigError, match=r"Odd__c\.field-meta\.xml: the field type Hologram"):
        read_source(tmp_path)
    _object(tmp_path, "Plan__c", TEXT_NAME, Odd__c="<type>")
    with pytest.raises(ConfigError, match="not well-formed"):
        read_source(tmp_path)
