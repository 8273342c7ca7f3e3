"""The sf CLI from npm, logged in by access token over https with the org's own certificate."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.local_org.server import Served
from isync_dagster_tests.conformance.npm import Cli, needs_clients
from isync_dagster_tests.conformance.packages import document, field, fields, object_content
from isync_dagster_tests.local_org.orgs import Client

pytestmark = needs_clients


def feature(name: str) -> Callable[[Any], Any]:
    return pytest.mark.feature("sf CLI 2.150", name)


@pytest.fixture(scope="module")
def sf(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    cli = Cli(served, tmp_path_factory.mktemp("sf"))
    client = Client(served)
    try:
        answer = cli.log_in(client.log_in())
    finally:
        client.http.close()
    assert answer["orgId"] == served.org.org_id
    return cli


@pytest.fixture
def client(served: Served) -> Any:
    made = Client(served)
    yield made
    made.http.close()


def label() -> str:
    return f"sf{uuid.uuid4().hex[:10]}"


@feature("org login access-token, org display, sobject list")
def test_org(sf: Cli) -> None:
    assert sf("org", "display")["connectedStatus"] == "Connected"
    assert {"Account", "Project__c"} <= set(sf("sobject", "list", "--sobject", "all"))


@feature("sobject describe")
def test_describe(sf: Cli) -> None:
    described = sf("sobject", "describe", "--sobject", "Project__c")
    assert "Key__c" in [field["name"] for field in described["fields"]]


@feature("data create, get, update, delete record")
def test_records(sf: Cli) -> None:
    name = label()
    made = sf("data", "create", "record", "-s", "Account", "-v", f"Name='{name}' NumberOfEmployees=5")
    assert sf("data", "get", "record", "-s", "Account", "-i", made["id"])["NumberOfEmployees"] == 5
    sf("data", "update", "record", "-s", "Account", "-i", made["id"], "-v", "NumberOfEmployees=6")
    assert sf("data", "get", "record", "-s", "Account", "-w", f"Name={name}")["NumberOfEmployees"] == 6
    sf("data", "delete", "record", "-s", "Account", "-i", made["id"])
    refused = sf("data", "create", "record", "-s", "Account", "-v", "Site=x", fails=True)
    assert "REQUIRED_FIELD_MISSING" in json.dumps(refused)


@feature("data query (columns, subqueries, aggregates), data search")
def test_query(sf: Cli, client: Client) -> None:
    name = label()
    account = client.create("Account", Name=name)
    client.create("Contact", LastName=name, AccountId=account)
    found = sf(
        "data", "query", "-q", f"SELECT Name, (SELECT LastName FROM Contacts) FROM Account WHERE Name = '{name}'"
    )
    assert found["records"][0]["Contacts"]["records"][0]["LastName"] == name
    counted = sf("data", "query", "-q", f"SELECT Name, COUNT(Id) n FROM Account WHERE Name = '{name}' GROUP BY Name")
    assert counted["records"][0]["n"] == 1
    wrong = sf("data", "query", "-q", "SELECT Nope FROM Account", fails=True)
    assert wrong["name"] == "INVALID_FIELD"
    searched = sf("data", "search", "-q", f"FIND {{{name}}} IN NAME FIELDS RETURNING Account(Id)")
    assert [row["Id"] for row in searched["searchRecords"]] == [account]


@feature("data import tree, data export tree, with a plan")
def test_tree(sf: Cli, client: Client) -> None:
    name, folder = label(), sf.home / label()
    folder.mkdir()
    accounts = [{"attributes": {"type": "Account", "referenceId": f"a{n}"}, "Name": f"{name} {n}"} for n in range(3)]
    contacts = [
        {"attributes": {"type": "Contact", "referenceId": f"c{n}"}, "LastName": f"{name} {n}", "AccountId": f"@a{n}"}
        for n in range(3)
    ]
    for file, rows in (("a.json", accounts), ("c.json", contacts)):
        (folder / file).write_text(json.dumps({"records": rows}))
    plan = [{"sobject": "Account", "files": ["a.json"]}, {"sobject": "Contact", "files": ["c.json"]}]
    (folder / "plan.json").write_text(json.dumps(plan))
    made = sf("data", "import", "tree", "--plan", str(folder / "plan.json"))
    assert len(made) == 6
    stored = client.query(f"SELECT LastName, Account.Name FROM Contact WHERE LastName LIKE '{name}%'")
    assert all(row["LastName"] == row["Account"]["Name"] for row in stored) and len(stored) == 3
    out = sf.home / "out"
    soql = f"SELECT Name, (SELECT LastName, AccountId FROM Contacts) FROM Account WHERE Name LIKE '{name}%'"
    sf("data", "export", "tree", "-q", soql, "--plan", "--output-dir", str(out))
    exported = json.loads((out / "Contact.json").read_text())["records"]
    assert {row["AccountId"][:1] for row in exported} == {"@"} and len(exported) == 3


def write_csv(path: Path, rows: list[dict[str, str]]) -> str:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@feature("data import bulk, update bulk, upsert bulk, delete bulk, export bulk")
def test_bulk(sf: Cli, client: Client) -> None:
    name = label()
    rows = [{"Name": f"{name} {number}", "Site": "x"} for number in range(30)]
    done = sf("data", "import", "bulk", "-f", write_csv(sf.home / "in.csv", rows), "-s", "Account", "-w", "3")
    assert (done["successfulRecords"], done["failedRecords"]) == (30, 0)
    ids = [row["Id"] for row in client.query(f"SELECT Id FROM Account WHERE Name LIKE '{name}%'")]
    changed = write_csv(sf.home / "up.csv", [{"Id": item, "Site": "y"} for item in ids])
    assert sf("data", "update", "bulk", "-f", changed, "-s", "Account", "-w", "3")["successfulRecords"] == 30
    keyed = write_csv(sf.home / "key.csv", [{"Key__c": f"{name}{number}", "Name": name} for number in range(4)])
    upserted = sf("data", "upsert", "bulk", "-f", keyed, "-s", "Project__c", "-i", "Key__c", "-w", "3")
    assert len(upserted["records"]["successfulResults"]) == 4
    out = sf.home / "out.csv"
    soql = f"SELECT Id, Site FROM Account WHERE Name LIKE '{name}%'"
    assert (
        sf("data", "export", "bulk", "-q", soql, "--output-file", str(out), "-r", "csv", "-w", "3")["totalSize"] == 30
    )
    with out.open(newline="") as stream:
        assert {row["Site"] for row in csv.DictReader(stream)} == {"y"}
    gone = write_csv(sf.home / "del.csv", [{"Id": item} for item in ids])
    assert (
        len(sf("data", "delete", "bulk", "-f", gone, "-s", "Account", "-w", "3")["records"]["successfulResults"]) == 30
    )
    assert client.query(soql) == []


@feature("data import resume, data bulk results after an asynchronous import")
def test_resume(sf: Cli, client: Client) -> None:
    name = label()
    rows = [{"Name": f"{name} {number}"} for number in range(5)] + [{"Name": ""}]
    started = sf("data", "import", "bulk", "-f", write_csv(sf.home / "later.csv", rows), "-s", "Account")
    client.wait("ingest", started["jobId"])
    resumed = sf("data", "import", "resume", "-i", started["jobId"], "-w", "3", org=False, fails=True)
    assert "FailedRecordDetailsError" in json.dumps(resumed), resumed
    results = sf("data", "bulk", "results", "-i", started["jobId"])
    assert (results["successfulRecords"], results["failedRecords"]) == (5, 1)


@feature("project deploy start, project retrieve start")
def test_project(sf: Cli, served: Served) -> None:
    folder = sf.home / "project"
    objects = folder / "force-app" / "main" / "default" / "objects" / "Cli__c"
    (objects / "fields").mkdir(parents=True)
    directories = [{"path": "force-app", "default": True}]
    (folder / "sfdx-project.json").write_text(json.dumps({"packageDirectories": directories}))
    (objects / "Cli__c.object-meta.xml").write_text(document("CustomObject", object_content("Cli__c")))
    for one, text in fields("Cli__c").items():
        (objects / "fields" / f"{one}.field-meta.xml").write_text(document("CustomField", text))
    done = sf("project", "deploy", "start", "--source-dir", "force-app", "-w", "5", folder=folder)
    assert done["success"] and done["numberComponentErrors"] == 0
    item = served.org.schema.get("Cli__c")
    assert item is not None and item.field("Account__c") is not None
    note = objects / "fields" / "Note__c.field-meta.xml"
    note.unlink()
    sf("project", "retrieve", "start", "--metadata", "CustomObject:Cli__c", "-w", "5", folder=folder)
    assert "<length>40</length>" in note.read_text()
    broken = document(
        "CustomField",
        field(
            "Lost__c", "<type>Lookup</type><referenceTo>Nothing__c</referenceTo><relationshipName>L</relationshipName>"
        ),
    )
    (objects / "fields" / "Lost__c.field-meta.xml").write_text(broken)
    refused = sf("project", "deploy", "start", "--source-dir", "force-app", "-w", "5", folder=folder, fails=True)
    assert "Nothing__c" in json.dumps(refused)
