from __future__ import annotations

import gzip
import uuid

import polars as pl
import pytest

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster_tests.local_org.orgs import Client, errors_of

LINE_ENDING = "ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is LF"
NOT_POLYMORPHIC = "InvalidBatch : type is not needed for non polymorphic foreign key references"


def test_states_and_counters_of_a_job(client: Client) -> None:
    job = client.call("POST", "/jobs/ingest", json={"object": "account", "operation": "insert"}).json()
    assert (job["state"], job["object"], job["jobType"], job["apiVersion"]) == ("Open", "Account", "V2Ingest", 62.0)
    assert job["contentUrl"] == f"services/data/v62.0/jobs/ingest/{job['id']}/batches"
    assert "numberRecordsProcessed" not in job
    url = f"{client.served.url}/{job['contentUrl']}/"
    put = client.http.put(url, data=b"Name\nA\n", headers={"Content-Type": "text/csv"})
    assert (put.status_code, put.content) == (201, b"")
    again = client.http.put(url, data=b"Name\nA\n", headers={"Content-Type": "text/csv"})
    assert again.status_code == 400
    assert again.json()[0]["message"].startswith("Found multiple contents for job")
    path = f"/jobs/ingest/{job['id']}"
    assert client.call("PATCH", path, json={"state": "UploadComplete"}).json()["state"] == "UploadComplete"
    info = client.wait("ingest", job["id"])
    assert (info["state"], info["numberRecordsProcessed"], info["numberRecordsFailed"]) == ("JobComplete", 1, 0)
    assert client.call("PATCH", path, json={"state": "UploadComplete"}).json()[0]["errorCode"] == "INVALIDJOBSTATE"
    assert client.call("DELETE", path).status_code == 204
    assert client.call("GET", path).status_code == 404


def test_results_echo_the_upload_in_another_order(client: Client) -> None:
    mark = uuid.uuid4().hex
    names = [f'{mark} "quoted", {number}\nline' for number in range(60)]
    rows = "".join('"' + name.replace('"', '""') + f'",{number}\n' for number, name in enumerate(names))
    info = client.ingest("Account", "insert", "Name,NumberOfEmployees\n" + rows + '"",5\n')
    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (61, 1)
    done = client.results(info["id"])
    assert done.columns == ["sf__Id", "sf__Created", "Name", "NumberOfEmployees"]
    assert set(done["Name"]) == set(names)
    assert done["NumberOfEmployees"].to_list() != [str(number) for number in range(60)]
    assert set(done["sf__Created"]) == {"true"}
    stored = client.bulk_query(f"SELECT Id, Name, NumberOfEmployees FROM Account WHERE Name LIKE '{mark}%'")
    pairs = done.join(
        stored, left_on=["sf__Id", "Name", "NumberOfEmployees"], right_on=["Id", "Name", "NumberOfEmployees"]
    )
    assert pairs.height == 60
    failed = client.results(info["id"], "failedResults")
    assert errors_of(failed) == ["REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"]
    assert (failed["sf__Id"][0], failed["NumberOfEmployees"][0]) == ("", "5")
    answer = client.call("GET", f"/jobs/ingest/{info['id']}/unprocessedRecords")
    assert answer.text == '"Name","NumberOfEmployees"\n'


def test_empty_cells_are_left_alone_and_na_clears(client: Client) -> None:
    account = client.create("Account", Name="Old", Phone="1", Fax="2", NumberOfEmployees=3)
    client.ingest("Account", "update", f"Id,Phone,Fax,NumberOfEmployees\n{account[:15]},,#N/A,#N/A\n")
    row = client.call("GET", f"/sobjects/Account/{account}").json()
    assert (row["Phone"], row["Fax"], row["NumberOfEmployees"]) == ("1", None, None)


def test_upsert_inserts_and_updates(client: Client) -> None:
    key = uuid.uuid4().hex[:10]
    first = client.ingest("Project__c", "upsert", f"Key__c,Name\n{key}A,One\n", externalIdFieldName="Key__c")
    second = client.ingest(
        "Project__c", "upsert", f"Key__c,Name\n{key}a,Two\n{key}B,Three\n,Four\n", externalIdFieldName="key__c"
    )
    assert client.results(first["id"])["sf__Created"].to_list() == ["true"]
    done = client.results(second["id"]).sort("Key__c")
    assert dict(zip(done["Name"], done["sf__Created"], strict=True)) == {"Two": "false", "Three": "true"}
    assert errors_of(client.results(second["id"], "failedResults")) == [
        "MISSING_ARGUMENT:Key__c not specified:Key__c --"
    ]


def test_a_key_twice_in_a_chunk_is_refused_and_in_another_chunk_updates(client: Client) -> None:
    key = uuid.uuid4().hex[:10]
    keys = [f"{key}{number}" for number in range(400)]
    keys[1] = keys[0]
    keys[250] = keys[5]
    csv = "Key__c,Name\n" + "".join(f"{item},N{number}\n" for number, item in enumerate(keys))
    info = client.ingest("Project__c", "upsert", csv, externalIdFieldName="Key__c")
    failed = client.results(info["id"], "failedResults")
    assert set(errors_of(failed)) == {f"DUPLICATE_VALUE:Duplicate external id specified: {keys[0]}:Key__c --"}
    assert failed.height == 2
    done = client.results(info["id"])
    assert done.filter(pl.col("sf__Created") == "false")["Name"].to_list() == ["N250"]
    stored = client.query(f"SELECT Name FROM Project__c WHERE Key__c = '{keys[5]}'")
    assert [row["Name"] for row in stored] == ["N250"]


def test_relationship_columns(client: Client) -> None:
    key = uuid.uuid4().hex[:10]
    parent = client.create("Project__c", Name="P", Key__c=key)
    info = client.ingest(
        "Project__c",
        "insert",
        f"Name,Parent__r.Key__c,User:Owner.Username\nA,{key},bea@example.com\nB,{key}x,bea@example.com\nC,,\n",
    )
    done = client.results(info["id"])
    assert sorted(done["Name"]) == ["A", "C"]
    failed = client.results(info["id"], "failedResults")
    message = f"Foreign key external ID: {key}x not found for field Key__c in entity Project__c"
    assert errors_of(failed) == [f"INVALID_FIELD:{message}:Key__c --"]
    child = done.filter(pl.col("Name") == "A")["sf__Id"][0]
    row = client.query(f"SELECT Parent__c, Owner.Username FROM Project__c WHERE Id = '{child}'")[0]
    assert (row["Parent__c"], row["Owner"]["Username"]) == (parent, "bea@example.com")


def test_a_row_may_name_a_parent_of_an_earlier_chunk(client: Client) -> None:
    key = uuid.uuid4().hex[:10]
    rows = [f"{key}{number},N,{f'{key}{number - 250}' if number >= 250 else ''}" for number in range(300)]
    rows += [f"{key}300,N,{key}299"]
    info = client.ingest("Project__c", "insert", "Key__c,Name,Parent__r.Key__c\n" + "\n".join(rows) + "\n")
    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (301, 1)
    assert client.results(info["id"], "failedResults")["Key__c"].to_list() == [f"{key}300"]
    linked = client.query(f"SELECT Parent__r.Key__c FROM Project__c WHERE Key__c = '{key}260'")
    assert linked[0]["Parent__r"]["Key__c"] == f"{key}10"


@pytest.mark.parametrize(
    ("operation", "csv", "message"),
    [
        ("insert", "Name,Industryy\nA,b\n", "InvalidBatch : Field name not found : Industryy"),
        ("insert", "Name\r\nA\r\n", LINE_ENDING),
        ("insert", "\ufeffName\nA\n", "InvalidBatch : Field name not found : \ufeffName"),
        ("insert", "Name,Account:Parent.Name\nA,b\n", f"{NOT_POLYMORPHIC}: Parent"),
        ("insert", "Name,Parent:Account:X\nA,b\n", "InvalidBatch : Field name not found : Parent:Account:X"),
        ("update", "Name\nA\n", "InvalidBatch : Field name not found : Id"),
        ("delete", "Id,Name\n001,b\n", "InvalidBatch : Delete operation requires only the 'Id' field"),
        ("insert", "Name,BillingAddress\nA,b\n", "InvalidBatch : Field name not found : BillingAddress"),
    ],
)  # fmt: skip
def test_job_level_failures(client: Client, operation: str, csv: str, message: str) -> None:
    info = client.ingest("Account", operation, csv)
    assert (info["state"], info["errorMessage"]) == ("Failed", message)
    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (0, 0)


def test_row_level_refusals(client: Client) -> None:
    csv = (
        "Name,Start__c,Budget__c,Total__c,Kind__c,Open__c\n"
        "A,6/15/19,,,,\n"
        'B,,"1,5",,,\n'
        "C,,,7,,\n"
        "D,,,,Old,\n"
        "E,,,,,maybe\n"
        "F,2024-01-31,1e2,,B,0\n"
    )
    info = client.ingest("Project__c", "insert", csv)
    failed = {row["Name"]: row["sf__Error"] for row in client.results(info["id"], "failedResults").to_dicts()}
    assert failed["A"] == (
        "INVALID_FIELD:Failed to deserialize field at col 1. Due to, '6/15/19' is not a valid value for the type "
        "xsd:date:Start__c --"
    )
    assert "'1,5' is not a valid value for the type xsd:double" in failed["B"]
    assert failed["C"].startswith("INVALID_FIELD_FOR_INSERT_UPDATE:Unable to create/update fields: Total__c.")
    assert failed["D"] == (
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST:Kind: bad value for restricted picklist field: Old:Kind__c --"
    )
    assert "'maybe' is not a valid value for the type xsd:boolean" in failed["E"]
    done = client.results(info["id"])
    row = client.call("GET", f"/sobjects/Project__c/{done['sf__Id'][0]}").json()
    assert (row["Start__c"], row["Budget__c"], row["Kind__c"], row["Open__c"]) == ("2024-01-31", 100.0, "B", False)


def test_updates_and_deletes_of_unknown_rows(client: Client) -> None:
    account = client.create("Account", Name="X")
    gone = client.create("Account", Name="Y")
    client.call("DELETE", f"/sobjects/Account/{gone}")
    csv = f"Id,Name\n{account},New\n{gone},New\n{account[:-6]}zzzAAA,New\n003000000000001AAA,New\n,New\nabc,New\n"
    info = client.ingest("Account", "update", csv)
    failed = {
        row["Id"]: row["sf__Error"].split(":")[0] for row in client.results(info["id"], "failedResults").to_dicts()
    }
    assert failed == {
        gone: "ENTITY_IS_DELETED",
        f"{account[:-6]}zzzAAA": "INVALID_CROSS_REFERENCE_KEY",
        "003000000000001AAA": "MALFORMED_ID",
        "": "MISSING_ARGUMENT",
        "abc": "MALFORMED_ID",
    }
    info = client.ingest("Account", "delete", f"Id\n{account}\n{gone}\n")
    assert client.results(info["id"])["sf__Id"].to_list() == [account]
    assert client.results(info["id"], "failedResults")["sf__Id"].to_list() == [gone]
    answer = client.call("POST", "/jobs/ingest", json={"object": "Account", "operation": "hardDelete"})
    assert answer.json()[0]["errorCode"] == "FEATURENOTENABLED"


def test_delimiters_line_ends_and_gzip(client: Client) -> None:
    options = {"columnDelimiter": "PIPE", "lineEnding": "CRLF"}
    info = client.ingest("Account", "insert", "Name|Phone\r\nA, B|1\r\n", **options)
    answer = client.call("GET", f"/jobs/ingest/{info['id']}/successfulResults")
    assert answer.text.splitlines()[0] == '"sf__Id"|"sf__Created"|"Name"|"Phone"'
    assert answer.text.endswith('"A, B"|"1"\r\n')
    job = client.call("POST", "/jobs/ingest", json={"object": "Account", "operation": "insert"}).json()["id"]
    client.call(
        "PUT",
        f"/jobs/ingest/{job}/batches",
        data=gzip.compress(b"Name\nZipped\n"),
        headers={"Content-Type": "text/csv", "Content-Encoding": "gzip"},
    )
    client.call("PATCH", f"/jobs/ingest/{job}", json={"state": "UploadComplete"})
    assert client.wait("ingest", job)["numberRecordsProcessed"] == 1


def test_multipart_job(client: Client) -> None:
    answer = client.call(
        "POST",
        "/jobs/ingest",
        files={
            "job": (None, '{"object":"Account","operation":"insert","contentType":"CSV"}', "application/json"),
            "content": ("content", "Name\nMany parts\n", "text/csv"),
        },
    )
    assert answer.json()["state"] == "UploadComplete"
    assert client.wait("ingest", answer.json()["id"])["numberRecordsProcessed"] == 1


def test_an_aborted_job_leaves_its_rows_unprocessed(client: Client) -> None:
    job = client.call("POST", "/jobs/ingest", json={"object": "Account", "operation": "insert"}).json()["id"]
    client.call("PUT", f"/jobs/ingest/{job}/batches", data=b"Name\nA\nB\n", headers={"Content-Type": "text/csv"})
    assert client.call("PATCH", f"/jobs/ingest/{job}", json={"state": "Aborted"}).json()["state"] == "Aborted"
    assert client.results(job, "unprocessedrecords")["Name"].to_list() == ["A", "B"]
    assert client.results(job).height == 0


def test_many_rows_in_several_windows(fresh: LocalOrg) -> None:
    fresh.settings = fresh.settings.__class__(**{**fresh.settings.__dict__, "batch_rows": 500, "batches_per_commit": 2})
    with fresh.serve() as served:
        client = Client(served)
        csv = "Name,AnnualRevenue\n" + "".join(f"Acme {number},{number}\n" for number in range(5500))
        info = client.ingest("Account", "insert", csv)
        assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (5500, 0)
        assert client.results(info["id"])["sf__Id"].n_unique() == 5500
        assert fresh.counts()["Account"] == 5500
        client.http.close()
