"""Resources beside rows and Bulk: web-server login, search, layouts, files, conditions, versions."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from isync_dagster.local_org.auth import challenge_of
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster.local_org.server import Served
from isync_dagster.schema.model import Field, PicklistValue, SObject
from isync_dagster_tests.local_org.orgs import Client

REDIRECT = "http://localhost:1717/OauthRedirect"


def code_of(client: Client, served: Served, **more: str) -> str:
    query = {"response_type": "code", "client_id": served.consumer_key, "redirect_uri": REDIRECT, **more}
    form = {"username": served.username, "password": served.password}
    answer = client.call("POST", "/services/oauth2/authorize", params=query, data=form, allow_redirects=False)
    assert answer.status_code == 302, answer.text
    return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]


def test_web_server_login_with_pkce(client: Client, served: Served) -> None:
    exchange = {"grant_type": "authorization_code", "client_id": served.consumer_key, "redirect_uri": REDIRECT}
    code = code_of(client, served, code_challenge=challenge_of("v" * 50), state="s")
    wrong = client.call("POST", "/services/oauth2/token", data={**exchange, "code": code, "code_verifier": "w" * 50})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_grant")
    code = code_of(client, served, code_challenge=challenge_of("v" * 50))
    form = {**exchange, "code": code, "code_verifier": "v" * 50}
    good = client.call("POST", "/services/oauth2/token", data=form).json()
    assert good["access_token"] and good["refresh_token"]
    twice = client.call("POST", "/services/oauth2/token", data=form)
    assert twice.json()["error_description"] == "expired authorization code"
    refresh = {"grant_type": "refresh_token", "refresh_token": good["refresh_token"], "client_id": served.consumer_key}
    assert client.call("POST", "/services/oauth2/token", data=refresh).status_code == 200
    client.call("POST", "/services/oauth2/revoke", data={"token": good["refresh_token"]})
    assert client.call("POST", "/services/oauth2/token", data=refresh).status_code == 400


def test_a_code_is_sent_to_this_machine_only(client: Client, served: Served) -> None:
    query = {"response_type": "code", "client_id": served.consumer_key, "redirect_uri": "https://evil.example/x"}
    answer = client.call("GET", "/services/oauth2/authorize", params=query, allow_redirects=False)
    assert answer.status_code == 400 and "redirect_uri_mismatch" in answer.text


def test_introspect_and_identity(client: Client, served: Served) -> None:
    token = client.log_in()
    form = {"token": token, "client_id": served.consumer_key, "client_secret": served.consumer_secret}
    alive = client.call("POST", "/services/oauth2/introspect", data=form).json()
    assert (alive["active"], alive["username"]) == (True, served.username)
    assert client.call("POST", "/services/oauth2/introspect", data={**form, "token": "x"}).json() == {"active": False}
    assert client.call("POST", "/services/oauth2/introspect", data={"token": token}).status_code == 401
    org = served.org
    mine = client.call("GET", f"/id/{org.org_id}/{org.settings.user_id}").json()
    assert (mine["username"], mine["urls"]["rest"]) == (served.username, f"{served.url}/services/data/v{{version}}/")
    assert client.call("GET", f"/id/{org.org_id}/005000000000000AAA").status_code == 403


def test_versions(client: Client) -> None:
    listed = client.call("GET", "/services/data").json()
    assert (listed[0]["version"], listed[-1]) == (
        "31.0",
        {"label": "Summer '26", "url": "/services/data/v67.0", "version": "67.0"},
    )
    assert client.call("GET", "/services/data/v68.0/limits").json()[0]["errorCode"] == "NOT_FOUND"
    assert client.call("GET", "/services/data/v30.0/limits").status_code == 410


def test_search(client: Client) -> None:
    one = client.create("Account", Name="Quixotic Ltd", Site="Hall 7")
    two = client.create("Contact", LastName="Zebra", FirstName="Quixotic")

    def found(sosl: str) -> list[str]:
        answer = client.call("GET", "/search", params={"q": sosl})
        assert answer.status_code == 200, answer.text
        return [row["Id"] for row in answer.json()["searchRecords"]]

    assert found("FIND {quixotic}") == [one, two]
    assert found("FIND {quix*} IN NAME FIELDS RETURNING Contact(Id, Name ORDER BY Name LIMIT 1)") == [two]
    assert found("FIND {quix} RETURNING Account(Id)") == []
    assert found("FIND {\"quixotic ltd\"} RETURNING Account(Id, Name WHERE Site = 'Hall 7'), Contact(Id)") == [one]
    assert found("FIND {quixotic OR zebra} RETURNING Account(Id), Contact(Id) LIMIT 1") == [one]
    for wrong, code in (
        ("FIND quixotic", "MALFORMED_SEARCH"),
        ("FIND {q}", "MALFORMED_SEARCH"),
        ("FIND {quixotic} RETURNING Nope(Id)", "INVALID_TYPE"),
        ("FIND {quixotic} RETURNING Account(Nope)", "INVALID_FIELD"),
    ):
        refused = client.call("GET", "/search", params={"q": wrong})
        assert (refused.status_code, refused.json()[0]["errorCode"]) == (400, code), wrong
    posted = {"q": "quixotic", "sobjects": [{"name": "Account", "fields": ["Id", "Name"]}], "overallLimit": 5}
    assert client.call("POST", "/parameterizedSearch", json=posted).json()["searchRecords"][0]["Name"] == "Quixotic Ltd"
    asked = {"q": "quixotic", "sobject": "Contact", "Contact.fields": "Id,LastName"}
    records = client.call("GET", "/parameterizedSearch", params=asked).json()["searchRecords"]
    assert [row["LastName"] for row in records] == ["Zebra"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of an org with files and a dependent picklist."""
    car = SObject(
        "Car__c",
        label="Car",
        custom=True,
        layoutable=True,
        fields=(
            Field("Name", "string", label="Name", length=80, name_field=True),
            Field("Make__c", "picklist", label="Make", length=255, picklist_values=(PicklistValue("Fiat"), PicklistValue("Seat"))),
            Field("Model__c", "picklist", label="Model", length=255, controller_name="Make__c", dependent_picklist=True,
                  picklist_values=(PicklistValue("Uno", valid_for="gAAA"), PicklistValue("Ibiza", valid_for="QAAA"),
                                   PicklistValue("Old", active=False))),
        ),
    )  # fmt: skip
    names = ("Account", "Attachment", "ContentDocument", "ContentVersion", "ContentDocumentLink")
    with (
        LocalOrg.create(tmp_path_factory.mktemp("files") / "org", [*standard(names), car], name="Files", seed=2) as org,
        org.serve() as served,
    ):
        made = Client(served)
        yield made
        made.http.close()


def test_picklist_values_by_record_type(files: Client) -> None:
    master = "012000000000000AAA"
    values = files.call("GET", f"/ui-api/object-info/Car__c/picklist-values/{master}").json()["picklistFieldValues"]
    model = values["Model__c"]
    assert model["controllerValues"] == {"Fiat": 0, "Seat": 1}
    assert [(item["value"], item["validFor"]) for item in model["values"]] == [("Uno", [0]), ("Ibiza", [1])]
    layouts = files.call("GET", "/sobjects/Car__c/describe/layouts").json()
    mapping = layouts["recordTypeMappings"][0]
    assert (mapping["recordTypeId"], mapping["master"]) == (master, True)
    picklists = {item["picklistName"]: item["picklistValues"] for item in mapping["picklistsForRecordType"]}
    assert [item["value"] for item in picklists["Model__c"]] == ["Uno", "Ibiza"]
    assert files.call("GET", "/ui-api/object-info/Car__c/picklist-values/012000000000001").status_code == 404


def test_a_version_by_multipart_makes_its_document(files: Client) -> None:
    account = files.create("Account", Name="With files")
    content = bytes(range(256)) * 40 + b"\r\n--\r\n"
    plain = json.dumps({"PathOnClient": "folder/plan.pdf", "FirstPublishLocationId": account})
    parts = {
        "entity_content": (None, plain, "application/json"),
        "VersionData": ("plan.pdf", content, "application/octet-stream"),
    }
    made = files.call("POST", "/sobjects/ContentVersion", files=parts)
    assert made.status_code == 201, made.text
    version = files.call("GET", f"/sobjects/ContentVersion/{made.json()['id']}").json()
    assert (version["Title"], version["FileType"], version["ContentSize"]) == ("plan", "PDF", len(content))
    assert version["Checksum"] == hashlib.md5(content).hexdigest()
    assert files.call("GET", version["VersionData"]).content == content
    document = version["ContentDocumentId"]
    links = files.query(
        f"SELECT LinkedEntityId, ShareType FROM ContentDocumentLink WHERE ContentDocumentId = '{document}'"
    )
    user = files.served.org.settings.user_id
    assert {(row["LinkedEntityId"], row["ShareType"]) for row in links} == {(account, "V"), (user, "I")}
    second = files.create(
        "ContentVersion", PathOnClient="plan2.pdf", ContentDocumentId=document,
        VersionData=base64.b64encode(b"two").decode(),
    )  # fmt: skip
    shown = files.query(
        f"SELECT Id, IsLatest, VersionNumber FROM ContentVersion WHERE ContentDocumentId = '{document}' ORDER BY Id"
    )
    assert [(row["IsLatest"], row["VersionNumber"]) for row in shown] == [(False, "1"), (True, "2")]
    latest = files.query(f"SELECT LatestPublishedVersionId, Title FROM ContentDocument WHERE Id = '{document}'")[0]
    assert (latest["LatestPublishedVersionId"], latest["Title"]) == (second, "plan2")
    code, _, fields = files.refusal("ContentVersion", PathOnClient="x.txt")
    assert (code, fields) == ("REQUIRED_FIELD_MISSING", ["VersionData"])


def test_multipart_attachment_and_its_refusals(files: Client) -> None:
    account = files.create("Account", Name="Holder")
    plain = json.dumps({"Name": "a.bin", "ParentId": account})
    parts = {"entity_attachment": (None, plain, "application/json"), "Body": ("a.bin", b"\x00\xff", "application/x")}
    made = files.call("POST", "/sobjects/Attachment/", files=parts).json()["id"]
    assert files.call("GET", f"/sobjects/Attachment/{made}/Body").content == b"\x00\xff"
    change = {"entity": (None, "{}", "application/json"), "Body": ("a.bin", b"new", "application/x")}
    assert files.call("PATCH", f"/sobjects/Attachment/{made}", files=change).status_code == 204
    assert files.call("GET", f"/sobjects/Attachment/{made}/Body").content == b"new"
    alone = files.call("POST", "/sobjects/Attachment", files={"Body": ("a", b"x")})
    assert (alone.status_code, alone.json()[0]["message"]) == (400, "Multipart message must include a non-binary part")
    broken = files.call("POST", "/sobjects/Attachment", data=b"--x", headers={"Content-Type": "multipart/form-data"})
    assert broken.status_code == 400


def test_conditions_on_a_record(client: Client) -> None:
    account = client.create("Account", Name="Conditional")
    path = f"/sobjects/Account/{account}"
    first = client.call("GET", path)
    changed, tag = first.headers["Last-Modified"], first.headers["ETag"]
    assert client.call("GET", path, headers={"If-Modified-Since": changed}).status_code == 304
    assert client.call("GET", path, headers={"If-None-Match": tag}).status_code == 304
    long_ago = "Mon, 01 Jan 2001 00:00:00 GMT"
    assert client.call("GET", path, headers={"If-Modified-Since": long_ago}).status_code == 200
    stale = client.call("PATCH", path, json={"Site": "x"}, headers={"If-Unmodified-Since": long_ago})
    assert stale.status_code == 412
    assert client.call("DELETE", path, headers={"If-Match": '"other"'}).status_code == 412
    assert client.call("PATCH", path, json={"Site": "x"}, headers={"If-Match": tag}).status_code == 204
    assert client.query(f"SELECT Site FROM Account WHERE Id = '{account}'")[0]["Site"] == "x"


def test_columns_of_a_query(client: Client) -> None:
    soql = "SELECT Id, Parent.Name, NumberOfEmployees, (SELECT LastName FROM Contacts) FROM Account"
    found = client.call("GET", "/query", params={"q": soql, "columns": "true"}).json()
    assert (found["entityName"], found["idSelected"], found["keyPrefix"]) == ("Account", True, "001")
    assert [(item["columnName"], item["aggregate"], len(item["joinColumns"])) for item in found["columnMetadata"]] == [
        ("Id", False, 0), ("Parent", False, 1), ("NumberOfEmployees", False, 0), ("Contacts", True, 1),
    ]  # fmt: skip
    grouped = client.call("GET", "/query", params={"q": "SELECT COUNT(Id) FROM Account", "columns": "true"}).json()
    assert [(item["columnName"], item["aggregate"]) for item in grouped["columnMetadata"]] == [("expr0", True)]
