from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from isync_dagster.local_org.server import Served
from isync_dagster_tests.local_org.orgs import Client


def new_key() -> str:
    return uuid.uuid4().hex[:12]


def test_create_read_update_delete(client: Client) -> None:
    account = client.create("Account", Name="Acme", BillingCity="Berlin", AnnualRevenue=12.5)
    row = client.call("GET", f"/sobjects/Account/{account}").json()
    assert row["attributes"] == {"type": "Account", "url": f"/services/data/v62.0/sobjects/Account/{account}"}
    assert (row["Name"], row["BillingAddress"]["city"], row["IsDeleted"]) == ("Acme", "Berlin", False)
    assert row["OwnerId"] == row["CreatedById"] == client.served.org.settings.user_id
    assert (
        client.call("PATCH", f"/sobjects/Account/{account}", json={"Name": "Acme 2", "BillingCity": None}).status_code
        == 204
    )
    row = client.call("GET", f"/sobjects/Account/{account[:15]}", params={"fields": "Name,BillingCity"}).json()
    assert (row["Name"], row["BillingCity"]) == ("Acme 2", None)
    assert client.call("DELETE", f"/sobjects/Account/{account}").status_code == 204
    gone = client.call("GET", f"/sobjects/Account/{account}")
    assert (gone.status_code, gone.json()[0]["errorCode"]) == (404, "ENTITY_IS_DELETED")
    assert client.query(f"SELECT Id FROM Account WHERE Id = '{account}'") == []


def test_unknown_ids_and_objects(client: Client) -> None:
    for path in ("/sobjects/Nothing/001000000000001AAA", "/sobjects/Nothing", "/nothing"):
        answer = client.call("GET", path)
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (404, "NOT_FOUND")
    answer = client.call("GET", "/sobjects/Account/badid")
    assert answer.json() == [
        {
            "message": "Provided external ID field does not exist or is not accessible: badid",
            "errorCode": "NOT_FOUND",
        }
    ]


def test_upsert_by_external_id(client: Client) -> None:
    key = f"k/{new_key()} ü"
    path = f"/sobjects/Project__c/Key__c/{quote(key, safe='')}"
    made = client.call("PATCH", path, json={"Name": "One"})
    assert made.status_code == 201
    assert made.json()["created"] is True
    again = client.call("PATCH", path, json={"Name": "Two"})
    assert (again.status_code, again.json()) == (
        200,
        {"id": made.json()["id"], "success": True, "errors": [], "created": False},
    )
    assert client.call("GET", path).json()["Name"] == "Two"
    assert client.call("DELETE", path).status_code == 204
    assert client.call("GET", path).status_code == 404


def test_upsert_where_several_match(client: Client) -> None:
    mail = f"{new_key()}@example.com"
    ids = [client.create("Contact", LastName="Twin", Email=mail) for _ in range(2)]
    answer = client.call("PATCH", f"/sobjects/Contact/Email/{mail}", json={"LastName": "X"})
    assert answer.status_code == 300
    assert answer.json() == [f"/services/data/v62.0/sobjects/Contact/{found}" for found in sorted(ids)]


def test_reference_by_external_id(client: Client) -> None:
    key = new_key()
    parent = client.create("Project__c", Name="P", Key__c=key)
    child = client.create("Project__c", Name="C", Parent__r={"Key__c": key})
    assert client.query(f"SELECT Parent__c FROM Project__c WHERE Id = '{child}'")[0]["Parent__c"] == parent
    code, message, fields = client.refusal("Project__c", Name="C", Parent__r={"Key__c": "none"})
    assert (code, fields) == ("INVALID_FIELD", ["Key__c"])
    assert message == "Foreign key external ID: none not found for field Key__c in entity Project__c"
    owned = client.create("Project__c", Name="O", Owner={"attributes": {"type": "User"}, "Username": "bea@example.com"})
    row = client.query(f"SELECT Owner.Name FROM Project__c WHERE Id = '{owned}'")[0]
    assert row["Owner"]["Name"] == "Bea Bee"


@pytest.mark.parametrize(
    ("values", "code", "message"),
    [
        ({"Name": "x", "Foo__c": 1}, "INVALID_FIELD", "No such column 'Foo__c' on sobject of type Project__c"),
        ({"Name": "x", "Id": "a"}, "INVALID_FIELD", "The Id field should not be specified in the sobject data."),
        ({"Name": "x", "Start__c": "31.12.2024"}, "JSON_PARSER_ERROR", "Cannot deserialize instance of date"),
        ({"Name": "x", "Budget__c": "abc"}, "JSON_PARSER_ERROR", "Cannot deserialize instance of double"),
        ({"Name": 5}, "JSON_PARSER_ERROR", "Cannot deserialize instance of string"),
        ({}, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]"),
        ({"Name": "n" * 81}, "STRING_TOO_LONG", f"Project Name: data value too large: {'n' * 81} (max length=80)"),
        (
            {"Name": "x", "Budget__c": 1234567},
            "NUMBER_OUTSIDE_VALID_RANGE",
            "Budget: value outside of valid range on numeric field: 1234567",
        ),
        ({"Name": "x", "Mail__c": "no mail"}, "INVALID_EMAIL_ADDRESS", "Mail: invalid email address: no mail"),
        (
            {"Name": "x", "Kind__c": "Old"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Kind: bad value for restricted picklist field: Old",
        ),
        (
            {"Name": "x", "Tags__c": "x;q"},
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            "Tags: bad value for restricted picklist field: x;q",
        ),
        ({"Name": "x", "Account__c": "abc"}, "MALFORMED_ID", "Account: id value of incorrect type: abc"),
        (
            {"Name": "x", "Account__c": "003000000000001AAA"},
            "FIELD_INTEGRITY_EXCEPTION",
            "Account: id value of incorrect type: 003000000000001AAA",
        ),
        (
            {"Name": "x", "Account__c": "001000000000001AAA"},
            "INVALID_CROSS_REFERENCE_KEY",
            "invalid cross reference id",
        ),
        (
            {"Name": "x", "RecordTypeId": "012000000000009AAA"},
            "INVALID_CROSS_REFERENCE_KEY",
            "Record Type ID: this ID value isn't valid for the user: 012000000000009AAA",
        ),
        (
            {"Name": "x", "Total__c": 5},
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "Unable to create/update fields: Total__c. Please check the security settings of this field",
        ),
    ],
)
def test_refusals(client: Client, values: dict[str, object], code: str, message: str) -> None:
    found = client.refusal("Project__c", **values)
    assert (found[0], found[1][: len(message)]) == (code, message)


def test_unavailable_record_type_is_refused(client: Client) -> None:
    closed = client.query("SELECT Id FROM RecordType WHERE SobjectType = 'Project__c' AND DeveloperName = 'Closed'")
    code, message, fields = client.refusal("Project__c", Name="x", RecordTypeId=closed[0]["Id"])
    assert (code, fields) == ("INVALID_CROSS_REFERENCE_KEY", ["RecordTypeId"])
    assert message.endswith(closed[0]["Id"])


def test_inactive_owner_is_refused(client: Client) -> None:
    idle = client.query("SELECT Id FROM User WHERE IsActive = false")[0]["Id"]
    code, message, fields = client.refusal("Account", Name="x", OwnerId=idle)
    assert (code, fields) == ("INACTIVE_OWNER_OR_USER", ["OwnerId"])
    assert message == f"operation performed with inactive user [{idle[:15]}] as owner of account"


def test_values_are_stored_as_the_platform_stores_them(client: Client) -> None:
    made = client.create(
        "Project__c",
        Name="v",
        Budget__c=1.005,
        Share__c="-2.25",
        Moment__c="2024-05-01T10:11:12.987+02:00",
        At__c="10:11:12.000Z",
        Mail__c="Rose.Larson@Example.com",
        Start__c="2024-02-29",
        Tags__c="z;x",
        Open__c=False,
    )
    row = client.call("GET", f"/sobjects/Project__c/{made}").json()
    assert (row["Budget__c"], row["Share__c"]) == (1.01, -2.3)
    assert row["Moment__c"] == "2024-05-01T08:11:12.000+0000"
    assert row["At__c"] == "10:11:12.000Z"
    assert row["Mail__c"] == "rose.larson@example.com"
    assert (row["Start__c"], row["Open__c"], row["Kind__c"]) == ("2024-02-29", False, "A")
    assert row["Tags__c"] == "x;z"
    small = client.query("SELECT Id FROM RecordType WHERE SobjectType = 'Project__c' AND DeveloperName = 'Small'")
    assert row["RecordTypeId"] == small[0]["Id"]


def test_unique_values_clash_without_regard_to_case_unless_the_field_has_it(client: Client) -> None:
    key = new_key()
    first = client.create("Project__c", Name="u", Key__c=key, Code__c=key)
    code, message, fields = client.refusal("Project__c", Name="u", Key__c=key.upper())
    assert (code, fields) == ("DUPLICATE_VALUE", ["Key__c"])
    assert message == f"duplicate value found: Key__c duplicates value on record with id: {first[:15]}"
    assert client.create("Project__c", Name="u", Code__c=key.upper() + "A")
    client.call("DELETE", f"/sobjects/Project__c/{first}")
    assert client.create("Project__c", Name="u", Key__c=key)


def test_nulling_a_required_field_and_changing_a_master_are_refused(client: Client) -> None:
    project, other = client.create("Project__c", Name="a"), client.create("Project__c", Name="b")
    step = client.create("Step__c", Project__c=project)
    answer = client.call("PATCH", f"/sobjects/Project__c/{project}", json={"Name": None})
    assert answer.json()[0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    answer = client.call("PATCH", f"/sobjects/Step__c/{step}", json={"Project__c": other})
    assert answer.json()[0]["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"


def test_delete_cascades_clears_and_is_restricted(client: Client) -> None:
    account = client.create("Account", Name="Parent")
    project = client.create("Project__c", Name="a", Account__c=account)
    step = client.create("Step__c", Project__c=project)
    child = client.create("Project__c", Name="c", Parent__c=project)
    case = client.create("Case", AccountId=account, Subject="s")
    answer = client.call("DELETE", f"/sobjects/Account/{account}")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "DELETE_FAILED")
    assert answer.json()[0]["message"].startswith("Your attempt to delete Parent could not be completed because")
    client.call("DELETE", f"/sobjects/Case/{case}")
    assert client.call("DELETE", f"/sobjects/Account/{account}").status_code == 204
    assert client.query(f"SELECT Account__c FROM Project__c WHERE Id = '{project}'")[0]["Account__c"] is None
    assert client.call("DELETE", f"/sobjects/Project__c/{project}").status_code == 204
    assert client.call("GET", f"/sobjects/Step__c/{step}").status_code == 404
    assert client.query(f"SELECT Parent__c FROM Project__c WHERE Id = '{child}'")[0]["Parent__c"] is None
    answer = client.call("GET", "/queryAll", params={"q": f"SELECT IsDeleted FROM Step__c WHERE Id = '{step}'"})
    assert answer.json()["records"][0]["IsDeleted"] is True


def test_relationships_and_deltas_are_resources(client: Client) -> None:
    account = client.create("Account", Name="Rel")
    contact = client.create("Contact", LastName="Kid", AccountId=account)
    assert client.call("GET", f"/sobjects/Contact/{contact}/Account").json()["Name"] == "Rel"
    kids = client.call("GET", f"/sobjects/Account/{account}/Contacts").json()
    assert [kid["Id"] for kid in kids["records"]] == [contact]
    now = datetime.now(UTC)
    span = {"start": (now - timedelta(days=1)).isoformat(), "end": (now + timedelta(days=1)).isoformat()}
    assert contact in client.call("GET", "/sobjects/Contact/updated/", params=span).json()["ids"]
    long_ago = {**span, "start": (now - timedelta(days=31)).isoformat()}
    refused = client.call("GET", "/sobjects/Contact/updated/", params=long_ago)
    assert refused.json()[0]["errorCode"] == "INVALID_REPLICATION_DATE"


def test_blobs(client: Client) -> None:
    account = client.create("Account", Name="B")
    made = client.create("Attachment", ParentId=account, Name="a.txt", Body="aGVsbG8=")
    row = client.call("GET", f"/sobjects/Attachment/{made}").json()
    assert row["BodyLength"] == 5
    assert row["Body"] == f"/services/data/v62.0/sobjects/Attachment/{made}/Body"
    assert client.call("GET", row["Body"]).content == b"hello"
    assert client.refusal("Attachment", ParentId=account, Name="a", Body="%%%")[0] == "JSON_PARSER_ERROR"


def test_an_upsert_may_repeat_the_master_but_not_change_it(client: Client) -> None:
    project, other = client.create("Project__c", Name="a"), client.create("Project__c", Name="b")
    step = client.create("Step__c", Project__c=project)
    path = f"/sobjects/Step__c/Id/{step}"
    assert client.call("PATCH", path, json={"Note__c": "x"}).status_code == 200
    typed = {"attributes": {"type": "Step__c"}, "Id": step}
    for master, good in ((project, True), (other, False)):
        body = {"records": [{**typed, "Project__c": master, "Note__c": "y"}]}
        found = client.call("PATCH", "/composite/sobjects/Step__c/Id", json=body).json()
        assert found[0]["success"] is good
    assert found[0]["errors"][0]["statusCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"


def test_wrong_methods_and_bodies(client: Client, served: Served) -> None:
    answer = client.call("DELETE", "/sobjects/Account")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (405, "METHOD_NOT_ALLOWED")
    answer = client.call("POST", "/sobjects/Account", data=b"{Name: 1}")
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "JSON_PARSER_ERROR")
    answer = client.call("POST", "/sobjects/Account", data=b"")
    assert answer.status_code == 400
