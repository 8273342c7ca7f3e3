"""An org's metadata through its APIs: queried, switched, deployed on the live org, retrieved."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from simple_salesforce.api import Salesforce

from isync_dagster.local_org.automation.model import Automation
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster.local_org.server import Served
from isync_dagster_tests.local_org.orgs import Client

AUTOMATION = Automation.model_validate(
    {
        "validation_rules": [
            {"object": "Account", "name": "No_X", "message": "no X", "formula": 'BEGINS(Name, "X")'},
        ],
        "triggers": [
            {"object": "Contact", "name": "Guard", "events": ["before insert"], "condition": 'LastName = "Bad"',
             "throws": "System.DmlException: no"},
        ],
        "flows": [
            {"object": "Contact", "name": "Tidy", "when": "before", "version": 3,
             "assign": [{"field": "Title", "formula": "UPPER(Title)"}]},
            {"object": "Account", "name": "Old rule", "kind": "workflow", "events": ["create"],
             "assign": [{"field": "Site", "formula": '"w"'}]},
        ],
        "duplicate_rules": [{"object": "Contact", "name": "Same", "match": ["Email"]}],
    }
)  # fmt: skip

PACKAGE = (
    '<?xml version="1.0"?><Package xmlns="http://soap.sforce.com/2006/04/metadata"><version>62.0</version></Package>'
)


def xml(kind: str, content: str) -> str:
    return f'<?xml version="1.0"?><{kind} xmlns="http://soap.sforce.com/2006/04/metadata">{content}</{kind}>'


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("package.xml", PACKAGE)
        for name, text in files.items():
            made.writestr(name, text)
    return buffer.getvalue()


def field(name: str, kind: str, content: str = "") -> str:
    return f"<fields><fullName>{name}</fullName><label>{name}</label><type>{kind}</type>{content}</fields>"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """An org of the test's own, whose metadata it may change."""
    folder = tmp_path / "org"
    objects = standard(("Account", "Contact"))
    with (
        LocalOrg.create(folder, objects, name="Meta", seed=9, automation=AUTOMATION) as org,
        org.serve(https=True) as running,
    ):
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    made = Client(served)
    yield made
    made.http.close()


def tooling(client: Client, soql: str) -> list[dict[str, Any]]:
    answer = client.call("GET", "/tooling/query", params={"q": soql})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["records"])


def deploy(client: Client, content: bytes, **options: Any) -> dict[str, Any]:
    """Deploy by REST; gives the deploy result."""
    parts = {
        "json": (None, json.dumps({"deployOptions": options}), "application/json"),
        "file": ("deploy.zip", content, "application/zip"),
    }
    answer = client.call("POST", "/metadata/deployRequest", files=parts)
    assert answer.status_code == 201, answer.text
    status = client.call("GET", f"/metadata/deployRequest/{answer.json()['id']}?includeDetails=true")
    result: dict[str, Any] = status.json()["deployResult"]
    assert result["done"] is True
    return result


def test_a_validation_rule_is_switched_off_and_on(client: Client) -> None:
    (rule,) = tooling(
        client,
        "SELECT Id, ValidationName, Active, EntityDefinition.QualifiedApiName FROM ValidationRule "
        "WHERE EntityDefinition.QualifiedApiName = 'Account'",
    )
    assert (rule["ValidationName"], rule["Active"]) == ("No_X", True)
    assert rule["EntityDefinition"]["QualifiedApiName"] == "Account"
    assert "/tooling/sobjects/ValidationRule/" in rule["attributes"]["url"]
    path = f"/tooling/sobjects/ValidationRule/{rule['Id']}"
    row = client.call("GET", path).json()
    assert row["FullName"] == "Account.No_X"
    assert client.refusal("Account", Name="X")[1] == "no X"
    metadata = {**row["Metadata"], "active": False}
    assert client.call("PATCH", path, json={"Metadata": metadata}).status_code == 204
    client.create("Account", Name="X")
    half = client.call("PATCH", path, json={"Metadata": {"active": True}})
    assert half.status_code == 400
    assert client.call("PATCH", path, json={"Metadata": {**metadata, "active": True}}).status_code == 204
    assert client.refusal("Account", Name="X")[1] == "no X"


def test_a_flow_is_switched_by_its_definition(client: Client) -> None:
    soql = (
        "SELECT Id, DeveloperName, ActiveVersion.VersionNumber, LatestVersion.VersionNumber FROM FlowDefinition "
        "WHERE DeveloperName = 'Tidy'"
    )
    (flow,) = tooling(client, soql)
    assert (flow["ActiveVersion"]["VersionNumber"], flow["LatestVersion"]["VersionNumber"]) == (3, 3)
    path = f"/tooling/sobjects/FlowDefinition/{flow['Id']}"
    assert client.call("PATCH", path, json={"Metadata": {"activeVersionNumber": 9}}).status_code == 400
    assert client.call("PATCH", path, json={"Metadata": {"activeVersionNumber": 0}}).status_code == 204
    assert tooling(client, soql)[0]["ActiveVersion"] is None
    contact = client.create("Contact", LastName="A", Title="t")
    assert client.query(f"SELECT Title FROM Contact WHERE Id = '{contact}'")[0]["Title"] == "t"
    view = client.query("SELECT IsActive, TriggerType FROM FlowDefinitionView WHERE ApiName = 'Tidy'")[0]
    assert (view["IsActive"], view["TriggerType"]) == (False, "RecordBeforeSave")
    assert client.call("PATCH", path, json={"Metadata": {"activeVersionNumber": 3}}).status_code == 204
    contact = client.create("Contact", LastName="A", Title="t")
    assert client.query(f"SELECT Title FROM Contact WHERE Id = '{contact}'")[0]["Title"] == "T"


def test_a_workflow_rule_is_switched(client: Client) -> None:
    (rule,) = tooling(client, "SELECT Id, Name, TableEnumOrId FROM WorkflowRule")
    path = f"/tooling/sobjects/WorkflowRule/{rule['Id']}"
    metadata = client.call("GET", path).json()["Metadata"]
    assert client.call("PATCH", path, json={"Metadata": {**metadata, "active": False}}).status_code == 204
    account = client.create("Account", Name="w")
    assert client.query(f"SELECT Site FROM Account WHERE Id = '{account}'")[0]["Site"] is None
    client.call("PATCH", path, json={"Metadata": metadata})
    account = client.create("Account", Name="w")
    assert client.query(f"SELECT Site FROM Account WHERE Id = '{account}'")[0]["Site"] == "w"


def test_tooling_refuses_what_the_platform_refuses(client: Client) -> None:
    (trigger,) = tooling(client, "SELECT Id, Name, TableEnumOrId, Status FROM ApexTrigger")
    assert (trigger["Name"], trigger["TableEnumOrId"], trigger["Status"]) == ("Guard", "Contact", "Active")
    answer = client.call("PATCH", f"/tooling/sobjects/ApexTrigger/{trigger['Id']}", json={"Status": "Inactive"})
    assert answer.json()[0]["errorCode"] == "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY"
    many = client.call("GET", "/tooling/query", params={"q": "SELECT Id, Metadata FROM Flow"})
    assert many.status_code == 400
    assert "must specify no more than one row for retrieval" in many.json()[0]["message"]
    wrong = client.call("GET", "/tooling/query", params={"q": "SELECT Nope FROM ApexTrigger"})
    assert wrong.json()[0]["errorCode"] == "INVALID_FIELD"
    assert client.call("GET", "/tooling/sobjects/ValidationRule/03d000000000000AAA").status_code == 404


def test_a_trigger_and_a_duplicate_rule_go_inactive_by_a_deploy(client: Client) -> None:
    assert client.refusal("Contact", LastName="Bad")[0] == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"
    result = deploy(
        client,
        archive(
            **{
                "triggers/Guard.trigger": "trigger Guard on Contact (before insert) {}",
                "triggers/Guard.trigger-meta.xml": xml("ApexTrigger", "<status>Inactive</status>"),
                "duplicateRules/Contact.Same.duplicateRule": xml("DuplicateRule", "<isActive>false</isActive>"),
            }
        ),
    )
    assert result["status"] == "Succeeded"
    client.create("Contact", LastName="Bad", Email="same@example.com")
    client.create("Contact", LastName="Two", Email="same@example.com")
    assert client.query("SELECT IsActive FROM DuplicateRule")[0]["IsActive"] is False


def test_a_deployed_field_is_usable_at_once(client: Client) -> None:
    account = client.create("Account", Name="Before")
    old = client.call("GET", "/sobjects/Account/describe").headers["Last-Modified"]
    content = (
        field("Level__c", "Text", "<length>20</length><externalId>true</externalId><unique>true</unique>")
        + field("Half__c", "Number", "<precision>10</precision><scale>1</scale><formula>LEN(Name) / 2</formula>")
        + field("Mood__c", "Picklist", "<valueSet><restricted>true</restricted><valueSetDefinition>"
                "<value><fullName>good</fullName><default>false</default></value></valueSetDefinition></valueSet>")
        + "<recordTypes><fullName>Big</fullName><active>true</active><label>Big</label></recordTypes>"
        + "<validationRules><fullName>Short</fullName><active>true</active><errorConditionFormula>LEN(Level__c) &lt; 2 "
        "&amp;&amp; NOT(ISBLANK(Level__c))</errorConditionFormula><errorMessage>short</errorMessage></validationRules>"
    )  # fmt: skip
    child = (
        "<label>Visit</label><pluralLabel>Visits</pluralLabel><deploymentStatus>Deployed</deploymentStatus>"
        "<nameField><label>No</label><type>AutoNumber</type><displayFormat>V-{000}</displayFormat></nameField>"
        + field(
            "Account__c",
            "MasterDetail",
            "<referenceTo>Account</referenceTo><relationshipName>Visits</relationshipName>",
        )
    )
    result = deploy(
        client,
        archive(
            **{
                "objects/Account.object": xml("CustomObject", content),
                "objects/Visit__c.object": xml("CustomObject", child),
            }
        ),
    )
    assert result["status"] == "Succeeded", result["details"]["componentFailures"]
    assert result["numberComponentsDeployed"] == result["numberComponentsTotal"] > 4
    fresh = client.call("GET", "/sobjects/Account/describe", headers={"If-Modified-Since": old})
    assert fresh.status_code in (200, 304)
    assert client.query(f"SELECT Half__c, Level__c FROM Account WHERE Id = '{account}'")[0]["Half__c"] == 3.0
    assert (
        client.call("PATCH", "/sobjects/Account/Level__c/L1", json={"Name": "Up", "Mood__c": "good"}).status_code == 201
    )
    assert client.refusal("Account", Name="m", Mood__c="bad")[0] == "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
    assert client.refusal("Account", Name="s", Level__c="x")[1] == "short"
    big = client.query("SELECT Id FROM RecordType WHERE DeveloperName = 'Big'")[0]["Id"]
    client.create("Account", Name="b", RecordTypeId=big)
    visit = client.create("Visit__c", Account__c=account)
    assert client.query(f"SELECT Name, Account__r.Name FROM Visit__c WHERE Id = '{visit}'")[0]["Name"] == "V-001"
    # A wider type keeps the values; a deleted field takes its values along.
    wider = field("Level__c", "TextArea")
    assert deploy(client, archive(**{"objects/Account.object": xml("CustomObject", wider)}))["success"]
    assert client.query("SELECT Level__c FROM Account WHERE Name = 'Up'")[0]["Level__c"] == "L1"
    gone = xml("Package", "<types><members>Account.Level__c</members><members>Account.Nope__c</members>"
               "<name>CustomField</name></types>")  # fmt: skip
    refused = deploy(client, archive(**{"destructiveChanges.xml": gone}))
    assert refused["details"]["componentFailures"][0]["problem"] == "No CustomField named: Account.Nope__c found"
    assert client.query("SELECT Level__c FROM Account WHERE Name = 'Up'")[0]["Level__c"] == "L1"


def test_a_failed_deploy_changes_nothing_and_says_why(client: Client) -> None:
    content = field("Fine__c", "Checkbox", "<defaultValue>false</defaultValue>") + field(
        "Wrong__c", "Text", "<formula>Nothing__c &amp; 1</formula>"
    )
    result = deploy(client, archive(**{"objects/Contact.object": xml("CustomObject", content)}))
    assert (result["status"], result["numberComponentErrors"], result["numberComponentsDeployed"]) == ("Failed", 1, 0)
    (failure,) = result["details"]["componentFailures"]
    assert (failure["componentType"], failure["fullName"]) == ("CustomField", "Contact.Wrong__c")
    assert failure["problem"] == "Field Nothing__c does not exist. Check spelling."
    names = {item["name"] for item in client.call("GET", "/sobjects/Contact/describe").json()["fields"]}
    assert not {"Fine__c", "Wrong__c"} & names
    checked = deploy(client, archive(**{"objects/Contact.object": xml("CustomObject", field("Dry__c", "Phone"))}),
                     checkOnly=True)  # fmt: skip
    assert checked["success"]
    assert client.call("GET", "/query", params={"q": "SELECT Dry__c FROM Contact"}).status_code == 400
    broken = deploy(client, b"no zip")
    assert broken["status"] == "Failed"


def test_simple_salesforce_deploys_and_retrieves(served: Served) -> None:
    session = requests.Session()
    session.trust_env = False
    session.verify = served.ca_file
    token = Client(served).log_in()
    host = served.https_url.removeprefix("https://")
    salesforce = Salesforce(session_id=token, instance=host, session=session, version="62.0")
    content = archive(**{"objects/Account.object": xml("CustomObject", field("By_Soap__c", "Date"))})
    found, _ = salesforce.mdapi.deploy(io.BytesIO(content), sandbox=True)
    state, _, components, _ = salesforce.mdapi.check_deploy_status(found)
    assert (state, components["failed_count"]) == ("Succeeded", "0")
    assert any(item["name"] == "By_Soap__c" for item in salesforce.Account.describe()["fields"])
    retrieved, _ = salesforce.mdapi.retrieve("", unpackaged={"CustomObject": ["Account"], "ApexTrigger": ["*"]})
    state, _, _, zipped = salesforce.mdapi.retrieve_zip(retrieved)
    assert state == "Succeeded"
    with zipfile.ZipFile(io.BytesIO(zipped)) as opened:
        assert "By_Soap__c" in opened.read("objects/Account.object").decode()
        assert "triggers/Guard.trigger-meta.xml" in opened.namelist()
        again = opened.read("objects/Account.object").decode()
    # What was retrieved can be deployed.
    assert deploy(Client(served), archive(**{"objects/Account.object": again}))["success"]


def test_soap_needs_a_session(served: Served) -> None:
    body = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body>'
        '<listMetadata xmlns="http://soap.sforce.com/2006/04/metadata"><queries><type>CustomField</type></queries>'
        "</listMetadata></e:Body></e:Envelope>"
    )
    client = Client(served)
    content = xml("CustomObject", field("Listed__c", "Date"))
    assert deploy(client, archive(**{"objects/Account.object": content}))["success"]
    listed = client.call("POST", "/services/Soap/m/62.0", data=body)
    assert "<fullName>Account.Listed__c</fullName>" in listed.text
    del client.http.headers["Authorization"]
    refused = client.call("POST", "/services/Soap/m/62.0", data=body)
    assert refused.status_code == 500
    assert "INVALID_SESSION_ID" in refused.text


def test_a_custom_field_is_made_changed_and_taken_away_by_tooling(client: Client) -> None:
    given = {"FullName": "Contact.Tool__c", "Metadata": {"type": "Text", "label": "Tool", "length": 5}}
    made = client.call("POST", "/tooling/sobjects/CustomField", json=given)
    assert made.status_code == 201, made.text
    found = tooling(client, "SELECT Id, DeveloperName FROM CustomField WHERE EntityDefinitionId = 'Contact'")
    assert [(row["Id"], row["DeveloperName"]) for row in found] == [(made.json()["id"], "Tool")]
    one = f"/tooling/sobjects/CustomField/{made.json()['id']}"
    metadata = client.call("GET", one).json()["Metadata"]
    assert client.refusal("Contact", LastName="t", Tool__c="123456")[0] == "STRING_TOO_LONG"
    assert client.call("PATCH", one, json={"Metadata": {**metadata, "length": 6}}).status_code == 204
    contact = client.create("Contact", LastName="t", Tool__c="123456")
    again = client.call("POST", "/tooling/sobjects/CustomField", json=given)
    assert again.json()[0]["errorCode"] == "DUPLICATE_DEVELOPER_NAME"
    assert client.call("DELETE", one).status_code == 204
    assert "Tool__c" not in client.call("GET", f"/sobjects/Contact/{contact}").json()
    assert client.call("GET", one).status_code == 404
    bare = client.call("POST", "/tooling/sobjects/CustomField", json={"FullName": "Contact.X__c"})
    assert bare.json()[0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    trigger = client.call("POST", "/tooling/sobjects/ApexTrigger", json=given)
    assert trigger.json()[0]["errorCode"] == "INVALID_TYPE_FOR_OPERATION"
