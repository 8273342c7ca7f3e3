"""The public surface of simple-salesforce: logins, REST, Bulk 1.0, Bulk 2.0."""

from __future__ import annotations

import base64
import csv
import io
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import requests
from simple_salesforce import Salesforce, SFType
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceResourceNotFound,
)
from simple_salesforce.format import format_soql

from isync_dagster.local_org.server import Served
from isync_dagster_tests.conformance.keys import jwt_keys
from isync_dagster_tests.conformance.packages import deployed, unzipped, zipped

NAME = "simple-salesforce 1.12"
VERSION = "62.0"


def feature(name: str) -> Callable[[Any], Any]:
    return pytest.mark.feature(NAME, name)


class ToLocalOrg(requests.adapters.HTTPAdapter):
    """The library's own hook for another network: what goes to login.salesforce.com reaches the local org."""

    def __init__(self, served: Served) -> None:
        super().__init__()
        self.target = urlsplit(served.https_url).netloc

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        assert request.url is not None
        request.url = urlunsplit(urlsplit(request.url)._replace(netloc=self.target))
        return super().send(request, *args, **options)


@pytest.fixture
def session(served: Served) -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.verify = served.ca_file
        made.trust_env = False
        for host in ("login", "test", "acme.my"):
            made.mount(f"https://{host}.salesforce.com", ToLocalOrg(served))
        yield made


@pytest.fixture
def sf(served: Served, session: requests.Session) -> Salesforce:
    return Salesforce(
        username=served.username,
        password=served.password,
        security_token=served.security_token,
        session=session,
        version=VERSION,
    )


def name() -> str:
    return f"conf {uuid.uuid4().hex[:12]}"


@feature("SOAP login")
def test_soap_login(sf: Salesforce, served: Served) -> None:
    assert sf.sf_instance == urlsplit(served.https_url).netloc
    assert sf.query("SELECT Id FROM Organization")["records"][0]["Id"] == served.org.org_id


@feature("SOAP login refused")
def test_soap_login_refused(served: Served, session: requests.Session) -> None:
    with pytest.raises(SalesforceAuthenticationFailed, match="INVALID_LOGIN"):
        Salesforce(username=served.username, password="no", security_token="no", session=session)


@feature("SOAP login by organization id")
def test_login_by_organization(served: Served, session: requests.Session) -> None:
    made = Salesforce(
        username=served.username, password=served.password, organizationId=served.org.org_id, session=session
    )
    assert made.limits()["DailyApiRequests"]["Max"]


@feature("OAuth password flow")
def test_password_flow(served: Served, session: requests.Session) -> None:
    made = Salesforce(
        username=served.username,
        password=served.password,
        consumer_key=served.consumer_key,
        consumer_secret=served.consumer_secret,
        session=session,
    )
    assert made.is_sandbox() is False


@feature("OAuth client credentials")
def test_client_credentials(served: Served, session: requests.Session) -> None:
    made = Salesforce(
        consumer_key=served.consumer_key, consumer_secret=served.consumer_secret, domain="acme.my", session=session
    )
    assert made.oauth2("userinfo")["organization_id"] == served.org.org_id


@feature("OAuth JWT bearer")
def test_jwt(served: Served, session: requests.Session) -> None:
    private, _ = jwt_keys()
    made = Salesforce(username=served.username, consumer_key=served.consumer_key, privatekey=private, session=session)
    assert made.oauth2("userinfo")["preferred_username"] == served.username


@feature("session id, expiry and refresh")
def test_session_id(sf: Salesforce, served: Served, session: requests.Session) -> None:
    direct = Salesforce(session_id=sf.session_id, instance_url=served.https_url, session=session, version=VERSION)
    assert direct.query("SELECT COUNT() FROM User")["totalSize"] >= 3
    served.service.sessions.end(sf.session_id)
    with pytest.raises((SalesforceExpiredSession, RuntimeError)):
        direct.query("SELECT Id FROM User")
    assert sf.query("SELECT Id FROM User")["totalSize"] >= 3


@feature("describe global, object, layout, metadata, If-Modified-Since")
def test_describe(sf: Salesforce) -> None:
    listed = {item["name"] for item in sf.describe()["sobjects"]}
    assert {"Account", "Project__c"} <= listed
    assert len(sf.Account.describe()["fields"][0]) >= 57
    assert sf.Account.metadata()["objectDescribe"]["keyPrefix"] == "001"
    mapping = sf.Account.describe_layout("012000000000000AAA")
    assert mapping["editLayoutSections"][0]["layoutRows"]
    later = (datetime.now(UTC) + timedelta(days=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    from simple_salesforce.exceptions import SalesforceGeneralError

    with pytest.raises(SalesforceGeneralError) as caught:
        sf.Account.describe(headers={"If-Modified-Since": later})
    assert caught.value.status == 304


@feature("create, get, update, delete, recycle bin")
def test_rows(sf: Salesforce) -> None:
    label = name()
    made = sf.Account.create({"Name": label, "AnnualRevenue": 125})
    assert made["success"] and made["errors"] == []
    assert sf.Account.get(made["id"])["AnnualRevenue"] == 125
    assert sf.Account.update(made["id"], {"Name": label + "!"}) == 204
    assert sf.Account.delete(made["id"]) == 204
    with pytest.raises(SalesforceResourceNotFound) as caught:
        sf.Account.get(made["id"])
    assert caught.value.content[0]["errorCode"] in ("ENTITY_IS_DELETED", "NOT_FOUND")
    gone = sf.query_all(format_soql("SELECT Id FROM Account WHERE Name = {}", label + "!"), include_deleted=True)
    assert gone["totalSize"] == 1


@feature("refusals carry Salesforce's code and fields")
def test_refusals(sf: Salesforce) -> None:
    with pytest.raises(SalesforceMalformedRequest) as caught:
        sf.Account.create({})
    assert caught.value.content[0] == {
        "message": "Required fields are missing: [Name]",
        "errorCode": "REQUIRED_FIELD_MISSING",
        "fields": ["Name"],
    }
    with pytest.raises(SalesforceResourceNotFound):
        sf.Nothing__c.get("a00000000000001")


@feature("external id: upsert, get, 300 on several")
def test_external_id(sf: Salesforce) -> None:
    key = uuid.uuid4().hex[:12]
    assert sf.Project__c.upsert(f"Key__c/{key}", {"Name": "p"}) == 201
    assert sf.Project__c.upsert(f"Key__c/{key}", {"Name": "q"}) == 200
    assert sf.Project__c.get_by_custom_id("Key__c", key)["Name"] == "q"
    mail = f"{key}@example.com"
    for last in ("a", "b"):
        sf.Contact.create({"LastName": last, "Email": mail})
    with pytest.raises(SalesforceMoreThanOneRecord):
        sf.Contact.get_by_custom_id("Email", mail)


@feature("query, query_more, query_all, query_all_iter")
def test_queries(sf: Salesforce) -> None:
    label = name()
    rows = [{"Name": f"{label} {number}"} for number in range(450)]
    assert all(item["success"] for item in sf.bulk.Account.insert(rows, batch_size=200))
    soql = format_soql("SELECT Id, Name FROM Account WHERE Name LIKE '{:like}%'", label)
    options = {"headers": {"Sforce-Query-Options": "batchSize=200"}}
    first = sf.query(soql, **options)
    assert (first["totalSize"], first["done"], len(first["records"])) == (450, False, 200)
    second = sf.query_more(first["nextRecordsUrl"], identifier_is_url=True, **options)
    assert len(second["records"]) == 200
    third = sf.query_more(first["nextRecordsUrl"].rsplit("/", 1)[1], **options)
    assert third["records"] == second["records"]
    assert len(sf.query_all(soql)["records"]) == 450
    assert len({row["Id"] for row in sf.query_all_iter(soql)}) == 450


@feature("SOSL search and quick_search")
def test_search(sf: Salesforce) -> None:
    word = "zq" + uuid.uuid4().hex[:10]
    made = sf.Account.create({"Name": f"Firm {word} Ltd"})
    found = sf.search(f"FIND {{{word}}} IN NAME FIELDS RETURNING Account(Id, Name WHERE Name != null LIMIT 5)")
    assert [row["Id"] for row in found["searchRecords"]] == [made["id"]]
    assert [row["Id"] for row in sf.quick_search(word[:8] + "*")["searchRecords"]] == [made["id"]]
    with pytest.raises(SalesforceMalformedRequest, match="No search term found"):
        sf.search("FIND nothing")


@feature("getUpdated, getDeleted")
def test_deltas(sf: Salesforce) -> None:
    kept, gone = (sf.Account.create({"Name": name()})["id"] for _ in range(2))
    sf.Account.delete(gone)
    start, end = datetime.now(UTC) - timedelta(minutes=5), datetime.now(UTC) + timedelta(minutes=5)
    assert kept in sf.Account.updated(start, end)["ids"]
    assert gone in [item["id"] for item in sf.Account.deleted(start, end)["deletedRecords"]]


@feature("limits, api usage, restful, set_password")
def test_org(sf: Salesforce, served: Served, session: requests.Session) -> None:
    assert sf.limits()["DataStorageMB"]["Max"] > 0
    assert sf.api_usage["api-usage"].used > 0
    assert "sobjects" in sf.restful("")
    counts = sf.restful("limits/recordCount", params={"sObjects": "User"})
    assert counts["sObjects"][0]["name"] == "User"
    user = sf.query("SELECT Id FROM User WHERE Username = 'bea@example.com'")["records"][0]["Id"]
    assert sf.set_password(user, "s3cret-enough!") is None
    own = Salesforce(
        username="bea@example.com", password="s3cret-enough!", security_token=served.security_token, session=session
    )
    assert own.oauth2("userinfo")["user_id"] == user


@feature("composite, batch, tree, graph, collections by restful")
def test_composite(sf: Salesforce) -> None:
    label = name()
    graph = {
        "allOrNone": True,
        "compositeRequest": [
            {"method": "POST", "url": f"/services/data/v{VERSION}/sobjects/Account", "referenceId": "a",
             "body": {"Name": label}},
            {"method": "POST", "url": f"/services/data/v{VERSION}/sobjects/Contact", "referenceId": "c",
             "body": {"LastName": label, "AccountId": "@{a.id}"}},
            {"method": "GET", "url": f"/services/data/v{VERSION}/sobjects/Contact/@{{c.id}}?fields=AccountId",
             "referenceId": "r"},
        ],
    }  # fmt: skip
    answer = sf.restful("composite", method="POST", json=graph)["compositeResponse"]
    assert [item["httpStatusCode"] for item in answer] == [201, 201, 200]
    assert answer[2]["body"]["AccountId"] == answer[0]["body"]["id"]
    batch = {"batchRequests": [{"method": "GET", "url": f"v{VERSION}/sobjects/Account/{answer[0]['body']['id']}"}]}
    assert sf.restful("composite/batch", method="POST", json=batch)["results"][0]["result"]["Name"] == label
    tree = {"records": [{"attributes": {"type": "Account", "referenceId": "r1"}, "Name": label, "Contacts": {
        "records": [{"attributes": {"type": "Contact", "referenceId": "r2"}, "LastName": label}]}}]}  # fmt: skip
    planted = sf.restful("composite/tree/Account/", method="POST", json=tree)
    assert [item["referenceId"] for item in planted["results"]] == ["r1", "r2"]
    rows = {"records": [{"attributes": {"type": "Account"}, "Name": label} for _ in range(3)]}
    saved = sf.restful("composite/sobjects", method="POST", json=rows)
    assert [item["success"] for item in saved] == [True] * 3
    ids = [item["id"] for item in saved]
    read = sf.restful("composite/sobjects/Account", method="POST", json={"ids": ids, "fields": ["Name"]})
    assert [row["Name"] for row in read] == [label] * 3
    gone = sf.restful("composite/sobjects", method="DELETE", params={"ids": ",".join(ids)})
    assert [item["id"] for item in gone] == ids


@feature("base64: upload, update, download")
def test_blobs(sf: Salesforce, tmp_path: Path) -> None:
    account = sf.Account.create({"Name": name()})["id"]
    first, second = b"\x00\x01first\xff" * 50, b"second"
    made = sf.Attachment.create({"ParentId": account, "Name": "a.bin", "Body": base64.b64encode(first).decode()})
    row = sf.Attachment.get(made["id"])
    assert row["BodyLength"] == len(first)
    assert row["Body"].endswith(f"/sobjects/Attachment/{made['id']}/Body")
    assert sf.Attachment.get_base64(made["id"]) == first
    path = tmp_path / "b.bin"
    path.write_bytes(second)
    assert sf.Attachment.update_base64(made["id"], str(path)) == 204
    assert sf.Attachment.get_base64(made["id"]) == second


@feature("Bulk 1.0: insert, update, upsert, delete, hardDelete, query, queryAll, serial, detailed results, submit_dml")
def test_bulk1(sf: Salesforce) -> None:
    label = name()
    rows = [{"Name": f"{label} {number}"} for number in range(7)]
    made = sf.bulk.Account.insert(rows, batch_size=3, use_serial=True)
    assert [item["success"] for item in made] == [True] * 7
    ids = [item["id"] for item in made]
    stored = {
        row["Id"]: row["Name"]
        for row in sf.query_all(f"SELECT Id, Name FROM Account WHERE Name LIKE '{label}%'")["records"]
    }
    assert [stored[record_id] for record_id in ids] == [row["Name"] for row in rows], "results keep the order sent"
    changed = sf.bulk.Account.update([{"Id": record_id, "Site": "x"} for record_id in ids])
    assert all(item["success"] and not item["created"] for item in changed)
    keys = [uuid.uuid4().hex[:10] for _ in range(2)]
    upserted = sf.bulk.Project__c.upsert([{"Key__c": key, "Name": key} for key in keys], "Key__c")
    assert [item["created"] for item in upserted] == [True, True]
    wrong = sf.bulk.submit_dml(
        "Account", "insert", [{"Name": label}, {"Site": "no name"}], include_detailed_results=True
    )
    assert [item["success"] for item in wrong] == [True, False]
    assert wrong[1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    found = sf.bulk.Account.query(f"SELECT Id, Name FROM Account WHERE Site = 'x' AND Name LIKE '{label}%'")
    assert {row["Id"] for row in found} == set(ids)
    assert all(item["success"] for item in sf.bulk.Account.delete([{"Id": record_id} for record_id in ids[:3]]))
    everything = sf.bulk.Account.query_all(f"SELECT Id, IsDeleted FROM Account WHERE Name LIKE '{label} %'")
    assert sum(row["IsDeleted"] for row in everything) == 3
    assert all(item["success"] for item in sf.bulk.Account.hard_delete([{"Id": record_id} for record_id in ids[3:]]))


@feature("Bulk 2.0: insert, update, upsert, delete, hard_delete from records and files, all result files")
def test_bulk2_ingest(sf: Salesforce, tmp_path: Path) -> None:
    label = name()
    records = [{"Name": f"{label} {number}", "Site": "a\nb" if number == 1 else "x"} for number in range(5)]
    jobs = sf.bulk2.Account.insert(records=records)
    assert [job["numberRecordsProcessed"] for job in jobs] == [5]
    done = list(csv.DictReader(io.StringIO(sf.bulk2.Account.get_successful_records(jobs[0]["job_id"]))))
    ids = [row["sf__Id"] for row in done]
    assert {row["Name"] for row in done} == {row["Name"] for row in records}
    path = tmp_path / "update.csv"
    path.write_text("Id,Site\n" + "".join(f"{record_id},y\n" for record_id in ids) + "001000000000000AAA,z\n")
    job = sf.bulk2.Account.update(str(path))[0]
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (6, 1)
    failed = list(csv.DictReader(io.StringIO(sf.bulk2.Account.get_failed_records(job["job_id"]))))
    assert [row["Site"] for row in failed] == ["z"]
    assert sf.bulk2.Account.get_unprocessed_records(job["job_id"]).strip().replace('"', "") == "Id,Site"
    keys = [uuid.uuid4().hex[:10] for _ in range(3)]
    up = sf.bulk2.Project__c.upsert(records=[{"Key__c": key, "Name": key} for key in keys], external_id_field="Key__c")
    assert up[0]["numberRecordsFailed"] == 0
    assert sf.bulk2.Account.delete(records=[{"Id": record_id} for record_id in ids[:2]])[0]["numberRecordsFailed"] == 0
    gone = sf.bulk2.Account.hard_delete(records=[{"Id": record_id} for record_id in ids[2:]])
    assert gone[0]["numberRecordsFailed"] == 0
    left = sf.query_all(f"SELECT Id FROM Account WHERE Name LIKE '{label}%'", include_deleted=True)
    assert {row["Id"] for row in left["records"]} == set(ids[:2])


@feature("Bulk 2.0: query, query_all, download in pages")
def test_bulk2_query(sf: Salesforce, tmp_path: Path) -> None:
    label = name()
    sf.bulk2.Account.insert(records=[{"Name": f"{label} {number}"} for number in range(1500)])
    soql = f"SELECT Id, Name FROM Account WHERE Name LIKE '{label}%'"
    pages = list(sf.bulk2.Account.query(soql, max_records=600))
    assert [len(page.splitlines()) - 1 for page in pages] == [600, 600, 300]
    assert all(page.startswith('"Id","Name"') for page in pages)
    files = sf.bulk2.Account.download(soql, path=str(tmp_path), max_records=1000)
    assert sum(item["number_of_records"] for item in files) == 1500
    assert len(list(sf.bulk2.Account.query_all(soql, max_records=700))) == 3


@feature("a type from a session (SFType)")
def test_sftype(sf: Salesforce, session: requests.Session) -> None:
    accounts = SFType("Account", sf.session_id, sf.sf_instance, sf_version=VERSION, session=session)
    assert accounts.create({"Name": name()})["success"]


@feature("every API version from v58.0 to v67.0")
def test_versions(sf: Salesforce, served: Served, session: requests.Session) -> None:
    for number in range(58, 68):
        made = Salesforce(
            session_id=sf.session_id, instance_url=served.https_url, session=session, version=f"{number}.0"
        )
        row = made.query("SELECT Id FROM User LIMIT 1")["records"][0]
        assert row["attributes"]["url"].startswith(f"/services/data/v{number}.0/sobjects/User/")


@pytest.fixture
def mdapi(sf: Salesforce, served: Served, monkeypatch: pytest.MonkeyPatch) -> Any:
    # The library's WSDL client has a session of its own, which looks for certificates in the environment.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", served.ca_file)
    return sf.mdapi


@feature("mdapi: describe_metadata, list_metadata, read, create, update, upsert, delete of objects and fields")
def test_metadata(sf: Salesforce, mdapi: Any) -> None:
    described = mdapi.describe_metadata()
    assert "CustomObject" in [item["xmlName"] for item in described["metadataObjects"]]
    query = mdapi.ListMetadataQuery(type="CustomObject")
    assert "Project__c" in [item["fullName"] for item in mdapi.list_metadata(query)]
    read = mdapi.CustomObject.read("Project__c")
    assert "Key__c" in [item.fullName for item in read.fields]
    made = mdapi.CustomObject(
        fullName="Md__c",
        label="Md",
        pluralLabel="Mds",
        nameField=mdapi.CustomField(label="Name", type=mdapi.FieldType("Text")),
        deploymentStatus=mdapi.DeploymentStatus("Deployed"),
        sharingModel=mdapi.SharingModel("ReadWrite"),
    )
    mdapi.CustomObject.create(made)
    with pytest.raises(Exception, match="DUPLICATE_DEVELOPER_NAME"):
        mdapi.CustomObject.create(made)
    size = mdapi.CustomField(fullName="Md__c.Size__c", label="Size", type=mdapi.FieldType("Text"), length=10)
    mdapi.CustomField.upsert(size)
    row = sf.Md__c.create({"Name": "m", "Size__c": "0123456789"})
    size.length = 12
    mdapi.CustomField.update(size)
    sf.Md__c.update(row["id"], {"Size__c": "012345678901"})
    assert sf.Md__c.get(row["id"])["Size__c"] == "012345678901"
    mdapi.CustomField.delete("Md__c.Size__c")
    assert "Size__c" not in [item["name"] for item in sf.Md__c.describe()["fields"]]
    with pytest.raises(Exception, match="INVALID_CROSS_REFERENCE_KEY"):
        mdapi.CustomField.delete("Md__c.Size__c")


@feature("deploy, checkDeployStatus, mdapi.retrieve")
def test_deploy(sf: Salesforce, mdapi: Any, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    good.write_bytes(base64.b64decode(zipped(deployed("Shipped__c"))))
    bad.write_bytes(base64.b64decode(zipped(deployed("Unfit__c", to="Nothing__c"))))
    started = sf.deploy(str(good), sandbox=False)
    status = sf.checkDeployStatus(started["asyncId"])
    assert status["state"] == "Succeeded" and status["deployment_detail"]["failed_count"] == "0"
    refused = sf.checkDeployStatus(sf.deploy(str(bad), sandbox=False)["asyncId"])
    assert refused["state"] == "Failed"
    assert "Nothing__c" in refused["deployment_detail"]["errors"][0]["message"]
    account = sf.Account.create({"Name": name()})["id"]
    made = sf.Shipped__c.create({"Name": "s", "Account__c": account})
    assert sf.Shipped__c.get(made["id"])["Account__c"] == account
    job, _ = mdapi.retrieve(started["asyncId"], unpackaged={"CustomObject": ["Shipped__c"]})
    state, problem, _, archive = mdapi.retrieve_zip(job)
    assert (state, problem) == ("Succeeded", None)
    files = unzipped(base64.b64encode(archive).decode())
    assert "<fullName>Note__c</fullName>" in files["objects/Shipped__c.object"]


@feature("toolingexecute: query, read and change of metadata records")
def test_tooling(sf: Salesforce) -> None:
    made = sf.toolingexecute(
        "sobjects/CustomField",
        method="POST",
        data={"FullName": "Account.Tooled__c", "Metadata": {"type": "Text", "label": "Tooled", "length": 9}},
    )
    found = sf.toolingexecute(
        "query",
        params={"q": "SELECT Id, DeveloperName FROM CustomField WHERE EntityDefinitionId = 'Account'"},
    )
    assert [row["DeveloperName"] for row in found["records"]] == ["Tooled"]
    one = sf.toolingexecute(f"sobjects/CustomField/{made['id']}")
    assert (one["FullName"], one["Metadata"]["length"]) == ("Account.Tooled__c", 9)
    sf.toolingexecute(f"sobjects/CustomField/{made['id']}", method="DELETE")
    assert "Tooled__c" not in [item["name"] for item in sf.Account.describe()["fields"]]
