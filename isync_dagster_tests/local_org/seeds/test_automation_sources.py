"""Automation in source metadata: written sources, and the real projects where those are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.sfdx import read_source
from isync_dagster.local_org.seeds.sources import source_from

REAL = Path(__file__).parents[4] / "shared" / "realdata" / "datasets"
SPACE = 'xmlns="http://soap.sforce.com/2006/04/metadata"'


def write(folder: Path, path: str, kind: str, content: str) -> None:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'<?xml version="1.0"?><{kind} {SPACE}>{content}</{kind}>')


@pytest.fixture
def source(tmp_path: Path) -> Path:
    field = "objects/Account/fields/Level__c.field-meta.xml"
    write(
        tmp_path,
        field,
        "CustomField",
        "<fullName>Level__c</fullName><label>L</label><type>Text</type><length>9</length>",
    )
    write(
        tmp_path,
        "flows/Tidy.flow-meta.xml",
        "Flow",
        "<label>Tidy</label><status>Active</status><start><object>Account</object>"
        "<recordTriggerType>Create</recordTriggerType><triggerType>RecordBeforeSave</triggerType><filterLogic>and"
        "</filterLogic><filters><field>Industry</field><operator>EqualTo</operator><value><stringValue>Banking"
        "</stringValue></value></filters></start><assignments><name>a</name><assignmentItems><assignToReference>"
        "$Record.Level__c</assignToReference><operator>Assign</operator><value><stringValue>hi</stringValue></value>"
        "</assignmentItems></assignments>",
    )
    write(
        tmp_path,
        "flows/Rich.flow-meta.xml",
        "Flow",
        "<label>Rich</label><status>Active</status><start><object>Account</object><triggerType>RecordAfterSave"
        "</triggerType></start><loops><name>l</name></loops>",
    )
    write(
        tmp_path,
        "workflows/Account.workflow-meta.xml",
        "Workflow",
        "<fieldUpdates><fullName>Set</fullName><field>Site</field><literalValue>w</literalValue><operation>Literal"
        "</operation></fieldUpdates><rules><fullName>R</fullName><active>true</active><actions><name>Set</name><type>"
        "FieldUpdate</type></actions><criteriaItems><field>Account.Type</field><operation>equals</operation><value>"
        "Customer, Partner</value></criteriaItems><triggerType>onCreateOnly</triggerType></rules>",
    )
    trigger = tmp_path / "triggers" / "T.trigger"
    trigger.parent.mkdir()
    trigger.write_text("/* trigger X on Y (z) */ trigger T on Account (before insert, after update) { }")
    write(
        tmp_path,
        "matchingRules/Lead.matchingRule-meta.xml",
        "MatchingRules",
        "<matchingRules><fullName>M</fullName><matchingRuleItems><fieldName>Phone</fieldName></matchingRuleItems></matchingRules>",
    )
    write(
        tmp_path,
        "duplicateRules/Lead.D.duplicateRule-meta.xml",
        "DuplicateRule",
        "<actionOnInsert>Block</actionOnInsert><alertText>Again?</alertText><isActive>true</isActive>"
        "<duplicateRuleMatchRules><matchingRule>M</matchingRule></duplicateRuleMatchRules>",
    )
    write(tmp_path, "customPermissions/P.customPermission-meta.xml", "CustomPermission", "<label>P</label>")
    return tmp_path


def test_automation_of_a_source_folder_is_read(source: Path) -> None:
    made = read_source(source).automation
    tidy, rich, rule = sorted(made.flows, key=lambda flow: flow.name == "R" or (flow.name == "Rich") * 0.5)
    assert (tidy.when, tidy.events, tidy.condition) == ("before", ("create",), 'AND(OR(TEXT(Industry) = "Banking"))')
    assert [(item.field, item.formula) for item in tidy.assign] == [("Level__c", '"hi"')]
    assert (rich.understood, rich.assign) == (False, ())
    assert (rule.kind, rule.events, rule.assign[0].formula) == ("workflow", ("create",), '"w"')
    (trigger,) = made.triggers
    assert (trigger.name, trigger.sobject, trigger.events) == ("T", "Account", ("before insert", "after update"))
    (duplicate,) = made.duplicate_rules
    assert (duplicate.match, duplicate.action_on_insert, duplicate.message) == (("Phone",), "Block", "Again?")
    assert made.custom_permissions == ("P",)


def test_rules_that_were_read_work_in_an_org(source: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    read = source_from([source])
    folder = tmp_path_factory.mktemp("read") / "org"
    with LocalOrg.create(folder, read.objects, name="Read", seed=2, automation=read.automation) as org:
        assert org.schema.problems == {}
        account = org.schema.rules(org.describe("Account"))
        assert account is not None
        assert sorted(flow.name for flow in account.flows) == ["R", "Rich", "Tidy"]


# Project -> computed fields that work, and those that read a field of a package whose source is not there.
PROJECTS = {
    "npsp-trailhead": ("npsp", 10, 5),
    "summit-events": (None, 66, 0),
    "dreamhouse-lwc": (None, 5, 0),
    "coral-cloud": (None, 23, 0),
    "outbound-funds": (None, 4, 0),
}


@pytest.mark.skipif(not REAL.is_dir(), reason="no real projects beside the checkout")
@pytest.mark.parametrize("name", PROJECTS)
def test_formulas_of_real_projects_compile(name: str, tmp_path: Path) -> None:
    namespace, works, missing = PROJECTS[name]
    read = source_from([REAL / name], namespace=namespace)
    with LocalOrg.create(tmp_path / "org", read.objects, name=name, seed=1, automation=read.automation) as org:
        assert sum(len(org.schema.computed_of(item)) for item in org.schema) == works
        assert len(org.schema.problems) == missing
        assert all(text.endswith("does not exist. Check spelling.") for text in org.schema.problems.values())
        for item in org.schema:
            if org.schema.computed_of(item):
                org.table(item.name)
