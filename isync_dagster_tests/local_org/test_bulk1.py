"""Bulk 1.0: batches in order, serial and chunked, errors in its own envelope."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.server import Served
from isync_dagster_tests.local_org.orgs import Client, read_csv

PATH = "/services/async/62.0/job"


class Bulk1:
    """Plain calls of Bulk 1.0 in JSON."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.token = str(client.http.headers["Authorization"]).removeprefix("Bearer ")

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"X-SFDC-Session": self.token, "Authorization": None, **options.pop("headers", {})}
        return self.client.call(method, PATH + path, headers=headers, **options)

    def job(self, headers: dict[str, str] | None = None, **values: Any) -> str:
        answer = self("POST", "", json={"contentType": "CSV", "object": "Account", **values}, headers=headers or {})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def batch(self, job: str, content: str, kind: str = "text/csv") -> str:
        answer = self("POST", f"/{job}/batch", data=content.encode(), headers={"Content-Type": kind})
        assert answer.status_code == 201, answer.text
        found = answer.text
        return found.split("<id>")[1].split("<")[0] if found.startswith("<") else str(answer.json()["id"])

    def batches(self, job: str) -> list[dict[str, Any]]:
        """All batches of a job once none is at work."""
        for _ in range(2000):
            infos: list[dict[str, Any]] = self("GET", f"/{job}/batch", headers=JSON).json()["batchInfo"]
            if all(info["state"] in ("Completed", "Failed", "NotProcessed") for info in infos):
                return infos
            time.sleep(0.01)
        raise AssertionError(infos)


JSON = {"Content-Type": "application/json"}


@pytest.fixture
def bulk1(client: Client) -> Iterator[Bulk1]:
    return Bulk1(client)


def test_csv_results_keep_the_order_of_the_batch(bulk1: Bulk1) -> None:
    job = bulk1.job(operation="insert")
    batch = bulk1.batch(job, "Name,Site\r\nOne,a\r\n,b\r\nThree,#N/A\r\n")
    info = bulk1.batches(job)[0]
    assert (info["state"], info["numberRecordsProcessed"], info["numberRecordsFailed"]) == ("Completed", 3, 1)
    frame = read_csv(bulk1("GET", f"/{job}/batch/{batch}/result").content)
    assert frame.columns == ["Id", "Success", "Created", "Error"]
    assert frame["Success"].to_list() == ["true", "false", "true"]
    assert frame["Error"][1] == "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"
    ids = frame["Id"].to_list()
    stored = bulk1.client.query(
        f"SELECT Id, Name, Site FROM Account WHERE Id IN ('{ids[0]}', '{ids[2]}') ORDER BY Name"
    )
    assert [(row["Name"], row["Site"]) for row in stored] == [("One", "a"), ("Three", None)]
    assert bulk1("GET", f"/{job}/batch/{batch}/request").content == b"Name,Site\r\nOne,a\r\n,b\r\nThree,#N/A\r\n"


def test_xml_rows_and_control_plane(bulk1: Bulk1) -> None:
    head = 'xmlns="http://www.force.com/2009/06/asyncapi/dataload"'
    xml = {"Content-Type": "application/xml"}
    account = bulk1.client.create("Account", Name="Parent xml")
    created = bulk1(
        "POST",
        "",
        data=f"<jobInfo {head}><operation>upsert</operation><object>Project__c</object>"
        "<externalIdFieldName>Key__c</externalIdFieldName><concurrencyMode>Serial</concurrencyMode>"
        "<contentType>XML</contentType></jobInfo>",
        headers=xml,
    )
    assert created.status_code == 201 and "<concurrencyMode>Serial</concurrencyMode>" in created.text
    job = created.text.split("<id>")[1].split("<")[0]
    rows = (
        f'<sObjects {head} xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><sObject><Key__c>x1</Key__c>'
        f"<Name>P &amp; Q</Name><Account__c>{account}</Account__c></sObject><sObject><Key__c>x2</Key__c><Name>R</Name>"
        '<Kind__c xsi:nil="true"/></sObject><sObject><Key__c>x3</Key__c><Name>S</Name><Parent__r><sObject>'
        "<Key__c>x1</Key__c></sObject></Parent__r></sObject></sObjects>"
    )
    batch = bulk1.batch(job, rows, "application/xml")
    assert [info["state"] for info in bulk1.batches(job)] == ["Completed"]
    result = bulk1("GET", f"/{job}/batch/{batch}/result").text
    assert result.count("<success>true</success>") == 2, result
    stored = bulk1.client.query("SELECT Name, Account__c, Kind__c FROM Project__c WHERE Key__c = 'x1'")
    assert (stored[0]["Name"], stored[0]["Account__c"], stored[0]["Kind__c"]) == ("P & Q", account, "A")
    assert "Foreign key external ID: x1 not found" in result, "a parent of the same chunk is not there yet"
    closed = bulk1("POST", f"/{job}", data=f"<jobInfo {head}><state>Closed</state></jobInfo>", headers=xml)
    assert "<state>Closed</state>" in closed.text
    again = bulk1("POST", f"/{job}/batch", data=rows, headers=xml)
    assert (again.status_code, "<exceptionCode>InvalidJobState</exceptionCode>" in again.text) == (400, True)


def test_a_bad_batch_fails_as_a_whole(bulk1: Bulk1) -> None:
    job = bulk1.job(operation="insert")
    batch = bulk1.batch(job, "Name,Nope\na,b\n")
    info = bulk1.batches(job)[0]
    assert (info["state"], info["stateMessage"]) == ("Failed", "InvalidBatch : Field name not found : Nope")
    refused = bulk1("GET", f"/{job}/batch/{batch}/result", headers=JSON)
    assert (refused.status_code, refused.json()) == (
        400,
        {"exceptionCode": "InvalidBatch", "exceptionMessage": "Records not processed"},
    )
    gone = bulk1("POST", f"/{job}", json={"state": "Aborted"}, headers=JSON)
    assert gone.json()["state"] == "Aborted"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"operation": "magic"}, "InvalidJob"),
        ({"operation": "insert", "object": "Nothing__c"}, "InvalidJob"),
        ({"operation": "insert", "contentType": "PDF"}, "InvalidJob"),
        ({"operation": "upsert"}, "InvalidJob"),
        ({"operation": "hardDelete"}, "FeatureNotEnabled"),
    ],
)
def test_jobs_that_are_refused(bulk1: Bulk1, values: dict[str, str], code: str) -> None:
    answer = bulk1("POST", "", json={"object": "Account", "contentType": "CSV", **values})
    assert (answer.status_code, answer.json()["exceptionCode"]) == (400, code)


def test_a_session_that_ended_is_told_in_the_envelope(bulk1: Bulk1) -> None:
    answer = bulk1("GET", "/750000000000001", headers={"X-SFDC-Session": "gone", **JSON})
    assert (answer.status_code, answer.json()["exceptionCode"]) == (400, "InvalidSessionId")
    assert (
        "<exceptionCode>InvalidSessionId</exceptionCode>"
        in bulk1("GET", "/750000000000001", headers={"X-SFDC-Session": "gone"}).text
    )


def test_pk_chunking_splits_a_query_and_loses_no_row(bulk1: Bulk1) -> None:
    insert = bulk1.job(operation="insert")
    bulk1.batch(insert, "Name,Site\n" + "".join(f"Chunk {number},pk\n" for number in range(95)))
    bulk1.batches(insert)
    job = bulk1.job({"Sforce-Enable-PKChunking": "chunkSize=40"}, operation="query")
    bulk1.batch(job, "SELECT Id, Name FROM Account WHERE Site = 'pk' OR Site = 'none'")
    infos = bulk1.batches(job)
    assert infos[0]["state"] == "NotProcessed"
    assert len(infos) > 2
    names: list[str] = []
    for info in infos[1:]:
        assert info["state"] == "Completed"
        listed = bulk1("GET", f"/{job}/batch/{info['id']}/result").text
        result = listed.split("<result>")[1].split("<")[0]
        names += read_csv(bulk1("GET", f"/{job}/batch/{info['id']}/result/{result}").content)["Name"].to_list()
    assert sorted(names) == sorted(f"Chunk {number}" for number in range(95))


def test_a_query_of_another_object_fails(bulk1: Bulk1) -> None:
    job = bulk1.job(operation="query")
    bulk1.batch(job, "SELECT Id FROM Contact")
    assert "does not match the entity of the requested Bulk API Job (Account)" in bulk1.batches(job)[0]["stateMessage"]


def test_batches_go_on_after_a_restart(fresh: LocalOrg) -> None:
    with fresh.serve() as served:
        first = Bulk1(Client(served))
        job = first.job(operation="insert")
        first.batch(job, "Name\nbefore\n")
        first.batches(job)
        waiting = served.service.bulk1.get(job)
        assert waiting is not None
        served.service.bulk1.close()
        made = served.service.bulk1.folder / waiting.id
        first.client.http.close()
    # A batch that was queued when the process ended, and one that had committed but was not yet noted as completed.
    text = (made / "job.json").read_text()
    queued = text.replace('"Completed"', '"InProgress"')
    assert queued != text
    (made / "job.json").write_text(queued)
    with fresh.serve() as served:
        second = Bulk1(Client(served))
        assert [info["state"] for info in second.batches(job)] == ["Completed"]
        assert second.client.query("SELECT COUNT(Id) n FROM Account WHERE Name = 'before'")[0]["n"] == 1
        second.client.http.close()


def test_serial_batches_go_one_after_the_other(bulk1: Bulk1, served: Served) -> None:
    job = bulk1.job(operation="insert", concurrencyMode="Serial")
    for number in range(6):
        bulk1.batch(job, f"Name\nSerial {number}\n")
    infos = bulk1.batches(job)
    assert [info["state"] for info in infos] == ["Completed"] * 6
    rows = bulk1.client.query("SELECT Name FROM Account WHERE Name LIKE 'Serial %' ORDER BY Id")
    assert [row["Name"] for row in rows] == [f"Serial {number}" for number in range(6)]


def test_parallel_batches_contend_for_a_parent_and_serial_ones_do_not(bulk1: Bulk1) -> None:
    parent = bulk1.client.create("Account", Name="Contended")
    locks = {"name": "locks", "description": "one lock at a time", "locks": {"parallel": 4, "degree": 1}}
    assert bulk1.client.call("POST", "/__local_org/scenario", json=locks).status_code == 200
    try:
        failed = {}
        for mode in ("Parallel", "Serial"):
            job = bulk1.job(operation="insert", object="Contact", concurrencyMode=mode)
            for number in range(3):
                bulk1.batch(job, f"LastName,AccountId\n{mode}{number},{parent}\n")
            failed[mode] = [info["numberRecordsFailed"] for info in bulk1.batches(job)]
        assert (sorted(failed["Parallel"]), failed["Serial"]) == ([0, 1, 1], [0, 0, 0])
        stored = bulk1.client.query(f"SELECT LastName FROM Contact WHERE AccountId = '{parent}'")
        assert len(stored) == 4
    finally:
        bulk1.client.call("DELETE", "/__local_org/scenario")


def test_a_reset_forgets_jobs_and_gives_no_id_twice(fresh: LocalOrg) -> None:
    with fresh.serve() as served:
        bulk1 = Bulk1(Client(served))
        job = bulk1.job(operation="insert")
        batch = bulk1.batch(job, "Name\nGone\n")
        bulk1.batches(job)
        assert bulk1.client.call("POST", "/__local_org/reset").status_code == 200
        assert bulk1("GET", f"/{job}").status_code == 400
        assert not (fresh.folder / "bulk1" / job).exists()
        second = bulk1.job(operation="insert")
        again = bulk1.batch(second, "Name\nAnew\n")
        assert bulk1.batches(second)[0]["numberRecordsFailed"] == 0
        assert len({job, second, batch, again}) == 4
        assert [row["Name"] for row in bulk1.client.query("SELECT Name FROM Account")] == ["Anew"]
        bulk1.client.http.close()
