"""The SOAP partner API: recycle bin, merge, lead conversion, faults."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
import requests

from isync_dagster_tests.local_org.orgs import Client

NIL = "{http://www.w3.org/2001/XMLSchema-instance}nil"


class Soap:
    """Partner calls by hand."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.token = str(client.http.headers["Authorization"]).removeprefix("Bearer ")

    def post(
        self, body: str, *, token: str | None = None, header: str = "", version: str = "62.0"
    ) -> requests.Response:
        envelope = (
            '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns="urn:partner.soap.sforce.com"><soapenv:Header>'
            f"<SessionHeader><sessionId>{escape(token or self.token)}</sessionId></SessionHeader>{header}"
            f"</soapenv:Header><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>"
        )
        return self.client.http.post(
            f"{self.client.served.url}/services/Soap/u/{version}",
            data=envelope.encode(),
            headers={"Content-Type": "text/xml", "SOAPAction": '""', "Authorization": None},  # type: ignore[dict-item]
        )

    def results(self, body: str, **options: Any) -> list[dict[str, Any]]:
        """The `result` elements of an answer as nested dicts; an element that comes again becomes a list."""
        answer = self.post(body, **options)
        assert answer.status_code == 200, answer.text
        return [_read(item) for item in ElementTree.fromstring(answer.text).iter() if item.tag.endswith("}result")]


def _read(element: ElementTree.Element) -> Any:
    if element.get(NIL) == "true":
        return None
    if not len(element):
        return element.text or ""
    found: dict[str, Any] = {}
    for child in element:
        name, value = child.tag.partition("}")[2], _read(child)
        if name in found:
            found[name] = [*(found[name] if isinstance(found[name], list) else [found[name]]), value]
        else:
            found[name] = value
    return found


@pytest.fixture
def soap(client: Client) -> Iterator[Soap]:
    return Soap(client)


def ids(*values: str) -> str:
    return "".join(f"<ids>{value}</ids>" for value in values)


def test_undelete_brings_back_what_a_cascade_took(soap: Soap) -> None:
    client = soap.client
    project = client.create("Project__c", Name="p", Code__c="undelete")
    step = client.create("Step__c", Project__c=project)
    alone = client.create("Step__c", Project__c=project)
    client.call("DELETE", f"/sobjects/Step__c/{alone}")
    assert client.query(f"SELECT Id FROM Step__c WHERE Id = '{alone}'") == []
    # What went by itself in another second stays in the bin.
    org = client.served.org
    with org.storage.transaction() as cursor:
        cursor.execute('UPDATE "Step__c" SET "SystemModstamp" = \'2020-01-01\' WHERE "Id" = ?', [alone])
    assert client.call("DELETE", f"/sobjects/Project__c/{project}").status_code == 204
    assert client.query(f"SELECT Id FROM Step__c WHERE Id = '{step}'") == []
    orphan = soap.results(f"<undelete>{ids(step)}</undelete>")[0]
    assert (orphan["success"], orphan["errors"]["statusCode"]) == ("false", "UNDELETE_FAILED")
    assert soap.results(f"<undelete>{ids(project)}</undelete>") == [{"id": project, "success": "true"}]
    assert [row["Id"] for row in client.query(f"SELECT Id FROM Step__c WHERE Project__c = '{project}'")] == [step]
    again = soap.results(f"<undelete>{ids(project, 'abc')}</undelete>")
    assert [item["errors"]["statusCode"] for item in again] == ["UNDELETE_FAILED", "MALFORMED_ID"]
    assert again[0]["errors"]["message"] == "Entity is not in the recycle bin"


def test_undelete_fills_the_lookups_that_the_delete_emptied(soap: Soap) -> None:
    client = soap.client
    account, other = (client.create("Account", Name=name) for name in ("back", "other"))
    kept, moved = (client.create("Project__c", Name=name, Account__c=account) for name in ("kept", "moved"))

    def accounts() -> list[str | None]:
        found = client.query(f"SELECT Account__c FROM Project__c WHERE Id IN ('{kept}', '{moved}') ORDER BY Name")
        return [row["Account__c"] for row in found]

    client.call("DELETE", f"/sobjects/Account/{account}")
    assert accounts() == [None, None]
    client.call("PATCH", f"/sobjects/Project__c/{moved}", json={"Account__c": other})
    assert soap.results(f"<undelete>{ids(account)}</undelete>")[0]["success"] == "true"
    assert accounts() == [account, other]


def test_a_row_whose_unique_value_is_taken_stays_in_the_bin(soap: Soap) -> None:
    client = soap.client
    first = client.create("Project__c", Name="a", Code__c="taken")
    client.call("DELETE", f"/sobjects/Project__c/{first}")
    client.create("Project__c", Name="b", Code__c="taken")
    found = soap.results(f"<undelete>{ids(first)}</undelete>")[0]
    assert (found["success"], found["errors"]["statusCode"]) == ("false", "DUPLICATE_VALUE")
    assert len(client.query("SELECT Id FROM Project__c WHERE Code__c = 'taken'")) == 1


def test_emptying_the_recycle_bin(soap: Soap) -> None:
    client = soap.client
    account = client.create("Account", Name="purged")
    assert soap.results(f"<emptyRecycleBin>{ids(account)}</emptyRecycleBin>")[0]["success"] == "false"
    client.call("DELETE", f"/sobjects/Account/{account}")
    assert soap.results(f"<emptyRecycleBin>{ids(account)}</emptyRecycleBin>")[0]["success"] == "true"
    answer = client.call("GET", "/queryAll", params={"q": f"SELECT Id FROM Account WHERE Id = '{account}'"})
    assert answer.json()["totalSize"] == 0


def merge(master: str, *losers: str, more: str = "") -> str:
    gone = "".join(f"<recordToMergeIds>{item}</recordToMergeIds>" for item in losers)
    record = f"<masterRecord><type>Account</type><Id>{master}</Id>{more}</masterRecord>"
    return f"<merge><request>{record}{gone}</request></merge>"


def test_merge_moves_children_and_remembers_the_winner(soap: Soap) -> None:
    client = soap.client
    winner, first, second = (client.create("Account", Name=name) for name in ("w", "x", "y"))
    contact = client.create("Contact", LastName="c", AccountId=first)
    task = client.create("Task", Subject="t", WhatId=second)
    found = soap.results(merge(winner, first, second, more="<Site>kept</Site>"))[0]
    assert (found["success"], found["mergedRecordIds"]) == ("true", [first, second])
    relation = client.query(f"SELECT Id, AccountId FROM AccountContactRelation WHERE ContactId = '{contact}'")
    assert [row["AccountId"] for row in relation] == [winner]
    assert set(found["updatedRelatedIds"]) == {contact, task, relation[0]["Id"]}
    assert client.query(f"SELECT AccountId FROM Contact WHERE Id = '{contact}'")[0]["AccountId"] == winner
    assert client.query(f"SELECT WhatId FROM Task WHERE Id = '{task}'")[0]["WhatId"] == winner
    assert client.query(f"SELECT Site FROM Account WHERE Id = '{winner}'")[0]["Site"] == "kept"
    gone = client.call("GET", "/queryAll", params={"q": f"SELECT MasterRecordId FROM Account WHERE Id = '{first}'"})
    assert gone.json()["records"][0]["MasterRecordId"] == winner


def test_a_refused_merge_changes_nothing(soap: Soap) -> None:
    client = soap.client
    winner, loser = (client.create("Account", Name=name) for name in ("w2", "l2"))
    contact = client.create("Contact", LastName="c", AccountId=loser)
    found = soap.results(merge(winner, loser, more="<ParentId>001000000000000AAA</ParentId>"))[0]
    assert found["success"] == "false"
    assert client.query(f"SELECT AccountId FROM Contact WHERE Id = '{contact}'")[0]["AccountId"] == loser
    assert soap.results(merge(winner, winner))[0]["errors"]["statusCode"] == "MERGE_FAILED"


def test_converting_a_lead(soap: Soap) -> None:
    client = soap.client
    lead = client.create("Lead", LastName="Lee", FirstName="Ann", Company="Leeco", Email="ann@example.com")
    body = "<convertLead><leadConverts><leadId>{}</leadId><convertedStatus>{}</convertedStatus>{}</leadConverts></convertLead>"
    wrong = soap.results(body.format(lead, "Open - Not Contacted", ""))[0]
    assert (wrong["success"], wrong["errors"]["statusCode"]) == ("false", "INVALID_STATUS")
    found = soap.results(
        body.format(lead, "Closed - Converted", "<doNotCreateOpportunity>true</doNotCreateOpportunity>")
    )[0]
    assert (found["success"], found["opportunityId"]) == ("true", None)
    contact = client.query(f"SELECT Email, Account.Name FROM Contact WHERE Id = '{found['contactId']}'")[0]
    assert (contact["Email"], contact["Account"]["Name"]) == ("ann@example.com", "Leeco")
    row = client.query(f"SELECT IsConverted, Status, ConvertedContactId FROM Lead WHERE Id = '{lead}'")[0]
    assert (row["IsConverted"], row["ConvertedContactId"]) == (True, found["contactId"])
    again = soap.results(body.format(lead, "Closed - Converted", ""))[0]
    assert again["errors"]["statusCode"] == "CANNOT_UPDATE_CONVERTED_LEAD"


def test_rows_queries_and_deltas(soap: Soap) -> None:
    record = "<sObjects><type>Account</type><Name>{}</Name></sObjects>"
    made = soap.results(f"<create>{record.format('S &amp; T')}{record.format('')}</create>")
    assert [item["success"] for item in made] == ["true", "false"]
    assert made[1]["errors"]["fields"] == "Name"
    header = "<AllOrNoneHeader><allOrNone>true</allOrNone></AllOrNoneHeader>"
    undone = soap.results(f"<create>{record.format('undone')}{record.format('')}</create>", header=header)
    assert undone[0]["errors"]["statusCode"] == "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    empty = f"<update><sObjects><type>Account</type><fieldsToNull>Site</fieldsToNull><Id>{made[0]['id']}</Id></sObjects></update>"
    assert soap.results(empty)[0]["success"] == "true"
    found = soap.results(
        "<query><queryString>SELECT Id, Name FROM Account WHERE Name LIKE 'S %'</queryString></query>"
    )[0]
    assert (found["done"], found["size"], found["records"]["Name"]) == ("true", "1", "S & T")
    wrong = soap.post("<query><queryString>SELECT FROM Account</queryString></query>")
    assert wrong.status_code == 500 and "sf:MalformedQueryFault" in wrong.text
    now = datetime.now(UTC)
    span = f"<startDate>{(now - timedelta(hours=1)).isoformat()}</startDate><endDate>{(now + timedelta(hours=1)).isoformat()}</endDate>"
    deltas = soap.results(f"<getUpdated><sObjectType>Account</sObjectType>{span}</getUpdated>")[0]
    assert made[0]["id"] in deltas["ids"]


def test_faults(soap: Soap) -> None:
    expired = soap.post("<getUserInfo/>", token="gone")
    assert expired.status_code == 500
    assert "<faultcode>sf:INVALID_SESSION_ID</faultcode>" in expired.text
    assert 'xmlns:sf="urn:fault.partner.soap.sforce.com"' in expired.text
    unknown = soap.post("<describeEverything/>")
    assert "INVALID_OPERATION" in unknown.text
    login = "<login><username>x</username><password>y</password></login>"
    assert "INVALID_LOGIN" in soap.post(login).text
    assert "not available in this version" in soap.post(login, version="65.0").text
