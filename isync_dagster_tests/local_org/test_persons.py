"""Person accounts, and an org whose storage is full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster.schema.model import Field, RecordTypeInfo, SObject
from isync_dagster_tests.local_org.orgs import Client

CLOSED = {"createable": False, "updateable": False}
PERSON = (
    Field("IsPersonAccount", "boolean", nillable=False, defaulted_on_create=True, default_value=False, **CLOSED),  # type: ignore[arg-type]
    Field("PersonContactId", "reference", reference_to=("Contact",), relationship_name="PersonContact", **CLOSED),  # type: ignore[arg-type]
    Field("FirstName", "string", length=40),
    Field("LastName", "string", length=80),
    Field("PersonEmail", "email", length=80),
    Field("Score__pc", "double", precision=5, scale=0, custom=True),
)


def _with_persons(item: SObject) -> SObject:
    if item.name == "Account":
        fields = [replace(field, nillable=True) if field.name == "Name" else field for field in item.fields]
        infos = (RecordTypeInfo("", "Business"), RecordTypeInfo("", "PersonAccount"), *item.record_type_infos)
        return replace(item, fields=(*fields, *PERSON), record_type_infos=infos)
    if item.name == "Contact":
        more = (PERSON[0], Field("Score__c", "double", precision=5, scale=0, custom=True))
        return replace(item, fields=(*item.fields, *more))
    return item


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    objects = [_with_persons(item) for item in standard(("Account", "Contact"))]
    folder = tmp_path_factory.mktemp("persons") / "org"
    with LocalOrg.create(folder, objects, name="Persons", seed=6) as org, org.serve() as served:
        made = Client(served)
        yield made
        made.http.close()


def test_a_person_is_an_account_and_a_contact(client: Client) -> None:
    kind = client.query("SELECT Id FROM RecordType WHERE IsPersonType = true")[0]["Id"]
    person = client.create(
        "Account", FirstName="Pia", LastName="Person", PersonEmail="P@example.com", Score__pc=7, RecordTypeId=kind
    )
    row = client.call("GET", f"/sobjects/Account/{person}").json()
    assert (row["Name"], row["IsPersonAccount"]) == ("Pia Person", True)
    contact = client.call("GET", f"/sobjects/Contact/{row['PersonContactId']}").json()
    assert (contact["AccountId"], contact["Name"], contact["Email"]) == (person, "Pia Person", "p@example.com")
    assert (contact["IsPersonAccount"], contact["Score__c"]) == (True, 7.0)
    answer = client.call(
        "PATCH", f"/sobjects/Account/{person}", json={"LastName": "Wed", "PersonEmail": "w@example.com"}
    )
    assert answer.status_code == 204, answer.text
    assert client.query(f"SELECT Name FROM Account WHERE Id = '{person}'")[0]["Name"] == "Pia Wed"
    found = client.query(f"SELECT Email, LastName FROM Contact WHERE AccountId = '{person}'")[0]
    assert (found["Email"], found["LastName"]) == ("w@example.com", "Wed")
    # The contact lives and ends with its account.
    alone = client.call("DELETE", f"/sobjects/Contact/{contact['Id']}")
    assert alone.json()[0]["errorCode"] == "INSUFFICIENT_ACCESS_OR_READONLY"
    moved = client.call("PATCH", f"/sobjects/Contact/{contact['Id']}", json={"AccountId": None})
    assert moved.json()[0]["fields"] == ["AccountId"]
    assert client.call("DELETE", f"/sobjects/Account/{person}").status_code == 204
    assert client.query("SELECT Id FROM Contact") == []


def test_names_follow_the_kind(client: Client) -> None:
    kind = client.query("SELECT Id FROM RecordType WHERE IsPersonType = true")[0]["Id"]
    assert client.refusal("Account", Name="x", LastName="L", RecordTypeId=kind)[::2] == (
        "INVALID_FIELD_FOR_INSERT_UPDATE", ["Name"]
    )  # fmt: skip
    assert client.refusal("Account", FirstName="x", RecordTypeId=kind)[::2] == ("REQUIRED_FIELD_MISSING", ["LastName"])
    assert client.refusal("Account", Name="x", LastName="L")[::2] == ("INVALID_FIELD_FOR_INSERT_UPDATE", ["LastName"])
    assert client.refusal("Account", Phone="1")[::2] == ("REQUIRED_FIELD_MISSING", ["Name"])
    business = client.create("Account", Name="Firm")
    answer = client.call("PATCH", f"/sobjects/Account/{business}", json={"FirstName": "F"})
    assert answer.json()[0]["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"


def test_a_full_org_takes_no_more_rows(client: Client) -> None:
    storage = client.served.org.storage
    storage.row_limit = sum(storage.counts().values()) + 1
    try:
        records = [{"attributes": {"type": "Account"}, "Name": name} for name in ("one", "two")]
        answers = client.call("POST", "/composite/sobjects", json={"records": records}).json()
        assert [item["success"] for item in answers] == [True, False]
        assert answers[1]["errors"][0] == {
            "statusCode": "STORAGE_LIMIT_EXCEEDED", "message": "storage limit exceeded", "fields": []
        }  # fmt: skip
    finally:
        storage.row_limit = 0


def test_an_id_that_is_deleted_twice_in_one_call_is_refused_once(client: Client) -> None:
    account = client.create("Account", Name="Twice")
    answers = client.call("DELETE", f"/composite/sobjects?ids={account},{account}").json()
    assert [item["success"] for item in answers] == [True, False]
    assert answers[1]["errors"][0]["statusCode"] == "DUPLICATE_VALUE"
