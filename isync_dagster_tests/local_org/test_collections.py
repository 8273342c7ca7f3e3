from __future__ import annotations

import uuid

from isync_dagster_tests.local_org.orgs import Client

ROLLED_BACK = "ALL_OR_NONE_OPERATION_ROLLED_BACK"


def test_insert_keeps_the_order_of_mixed_records(client: Client) -> None:
    records = [
        {"attributes": {"type": "Account"}, "Name": "A"},
        {"attributes": {"type": "Contact"}, "LastName": "C"},
        {"attributes": {"type": "Account"}},
    ]
    found = client.call("POST", "/composite/sobjects", json={"records": records}).json()
    assert [item["success"] for item in found] == [True, True, False]
    assert [found[0]["id"][:3], found[1]["id"][:3]] == ["001", "003"]
    assert found[0].keys() == {"id", "success", "errors"}
    assert found[2] == {
        "success": False,
        "errors": [
            {
                "statusCode": "REQUIRED_FIELD_MISSING",
                "message": "Required fields are missing: [Name]",
                "fields": ["Name"],
            }
        ],
    }


def test_all_or_none_rolls_back(client: Client) -> None:
    mark = uuid.uuid4().hex
    records = [{"attributes": {"type": "Account"}, "Name": mark}, {"attributes": {"type": "Account"}}]
    found = client.call("POST", "/composite/sobjects", json={"allOrNone": True, "records": records}).json()
    assert [item["errors"][0]["statusCode"] for item in found] == [ROLLED_BACK, "REQUIRED_FIELD_MISSING"]
    assert client.query(f"SELECT Id FROM Account WHERE Name = '{mark}'") == []


def test_update_upsert_read_and_delete(client: Client) -> None:
    mark = uuid.uuid4().hex[:10]
    path = "/composite/sobjects/Project__c/Key__c"
    typed = {"attributes": {"type": "Project__c"}}
    records = [{**typed, "Key__c": f"{mark}{number}", "Name": str(number)} for number in range(3)]
    found = client.call("PATCH", path, json={"records": records}).json()
    assert [item["created"] for item in found] == [True] * 3
    records = [{**typed, "Key__c": f"{mark}0", "Name": "new"}, {**typed, "Key__c": mark, "Name": "more"}]
    again = client.call("PATCH", path, json={"records": records}).json()
    assert [(item["created"], item["success"]) for item in again] == [(False, True), (True, True)]
    assert again[0]["id"] == found[0]["id"]
    ids = [item["id"] for item in found]
    changes = [{**typed, "id": ids[0], "Budget__c": 5}, {**typed, "id": ids[1][:15], "Budget__c": 5}]
    done = client.call("PATCH", "/composite/sobjects", json={"records": changes}).json()
    assert [item["success"] for item in done] == [True, True]
    unknown = "001000000000001AAA"
    body = {"ids": [ids[1], unknown, ids[0]], "fields": ["Name", "Budget__c"]}
    rows = client.call("POST", "/composite/sobjects/Project__c", json=body).json()
    assert [row and row["Name"] for row in rows] == ["1", None, "new"]
    assert rows[2]["Budget__c"] == 5.0
    gone = client.call("DELETE", "/composite/sobjects", params={"ids": f"{ids[2]},{ids[0]},abc"}).json()
    assert [item["success"] for item in gone] == [True, True, False]


def test_a_key_twice_fails_every_row_that_has_it(client: Client) -> None:
    key = uuid.uuid4().hex[:10]
    records = [{"attributes": {"type": "Project__c"}, "Key__c": key, "Name": str(number)} for number in range(2)]
    found = client.call("PATCH", "/composite/sobjects/Project__c/Key__c", json={"records": records}).json()
    message = f"Duplicate external id specified: {key}"
    assert [item["errors"][0]["message"] for item in found] == [message, message]


def test_limits_and_bad_input(client: Client) -> None:
    records = [{"attributes": {"type": "Account"}, "Name": "A"}] * 201
    answer = client.call("POST", "/composite/sobjects", json={"records": records})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, "EXCEEDED_MAX_SIZE_REQUEST")
    mixed = [{"attributes": {"type": name}, "Name": "A"} for name in ("Account", "Project__c") * 6]
    assert client.call("POST", "/composite/sobjects", json={"records": mixed}).status_code == 400
    answer = client.call(
        "POST", "/composite/sobjects", json={"records": [{"attributes": {"type": "Account"}, "Foo": 1}]}
    )
    assert answer.json()[0]["message"] == "No such column 'Foo' on sobject of type Account"


def test_composite_references_earlier_answers(client: Client) -> None:
    body = {
        "compositeRequest": [
            {
                "method": "POST",
                "url": "/services/data/v62.0/sobjects/Account",
                "referenceId": "a",
                "body": {"Name": "C"},
            },
            {
                "method": "POST",
                "url": "/services/data/v62.0/sobjects/Contact",
                "referenceId": "c",
                "body": {"LastName": "K", "AccountId": "@{a.id}"},
            },
            {
                "method": "GET",
                "url": "/services/data/v62.0/query?q=SELECT Name FROM Account WHERE Id = '@{a.id}'",
                "referenceId": "q",
            },
            {"method": "GET", "url": "/services/data/v62.0/sobjects/Nothing/@{a.id}", "referenceId": "n"},
        ]
    }
    found = client.call("POST", "/composite", json=body).json()["compositeResponse"]
    assert [item["httpStatusCode"] for item in found] == [201, 201, 200, 404]
    assert found[2]["body"]["records"][0]["Name"] == "C"
    assert found[3]["body"][0]["errorCode"] == "NOT_FOUND"


def test_composite_all_or_none(client: Client) -> None:
    mark = uuid.uuid4().hex
    url = "/services/data/v62.0/sobjects/Account"
    body = {
        "allOrNone": True,
        "compositeRequest": [
            {"method": "POST", "url": url, "referenceId": "a", "body": {"Name": mark}},
            {"method": "POST", "url": url, "referenceId": "b", "body": {}},
            {"method": "POST", "url": url, "referenceId": "c", "body": {"Name": mark}},
        ],
    }
    found = client.call("POST", "/composite", json=body).json()["compositeResponse"]
    assert [item["body"][0]["errorCode"] for item in found] == [
        "PROCESSING_HALTED",
        "REQUIRED_FIELD_MISSING",
        "PROCESSING_HALTED",
    ]
    assert client.query(f"SELECT Id FROM Account WHERE Name = '{mark}'") == []


def test_batch_and_tree(client: Client) -> None:
    body = {
        "batchRequests": [
            {"method": "GET", "url": "v62.0/limits"},
            {"method": "POST", "url": "v62.0/sobjects/Account", "richInput": {}},
        ]
    }
    found = client.call("POST", "/composite/batch", json=body).json()
    assert (found["hasErrors"], [item["statusCode"] for item in found["results"]]) == (True, [200, 400])
    tree = {
        "records": [
            {
                "attributes": {"type": "Account", "referenceId": "r1"},
                "Name": "Tree",
                "Contacts": {"records": [{"attributes": {"type": "Contact", "referenceId": "r2"}, "LastName": "Leaf"}]},
            }
        ]
    }
    answer = client.call("POST", "/composite/tree/Account", json=tree)
    assert (answer.status_code, [item["referenceId"] for item in answer.json()["results"]]) == (201, ["r1", "r2"])
    del tree["records"][0]["Contacts"]["records"][0]["LastName"]  # type: ignore[index]
    answer = client.call("POST", "/composite/tree/Account", json=tree)
    assert (answer.status_code, [item["referenceId"] for item in answer.json()["results"]]) == (400, ["r2"])


def test_an_outer_all_or_none_overrides_a_collection_inside(client: Client) -> None:
    base = "/services/data/v62.0"
    rows = [{"attributes": {"type": "Account"}, "Name": "outer"}, {"attributes": {"type": "Account"}}]
    requests = [
        {"method": "POST", "url": f"{base}/sobjects/Account", "referenceId": "a", "body": {"Name": "outer"}},
        {"method": "POST", "url": f"{base}/composite/sobjects", "referenceId": "b",
         "body": {"allOrNone": False, "records": rows}},
    ]  # fmt: skip
    answer = client.call("POST", "/composite", json={"allOrNone": True, "compositeRequest": requests})
    shown = answer.json()["compositeResponse"]
    assert shown[0]["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert [row["errors"][0]["statusCode"] for row in shown[1]["body"]] == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "REQUIRED_FIELD_MISSING",
    ]
    assert client.query("SELECT Id FROM Account WHERE Name = 'outer'") == []
    loose = client.call("POST", "/composite", json={"allOrNone": False, "compositeRequest": requests}).json()
    assert [row["success"] for row in loose["compositeResponse"][1]["body"]] == [True, False]
    assert len(client.query("SELECT Id FROM Account WHERE Name = 'outer'")) == 2


def test_a_composite_holds_five_queries(client: Client) -> None:
    query = {"method": "GET", "url": "/services/data/v62.0/query?q=SELECT+Id+FROM+User"}
    requests = [{**query, "referenceId": f"q{number}"} for number in range(6)]
    assert client.call("POST", "/composite", json={"compositeRequest": requests[:5]}).status_code == 200
    refused = client.call("POST", "/composite", json={"compositeRequest": requests})
    assert (refused.status_code, refused.json()[0]["errorCode"]) == (400, "LIMIT_EXCEEDED")
