from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import RequestError, UnknownOutcome
from isync_dagster.salesforce.collections import RESULT_SCHEMA, Collections, Headers
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.model import Field
from isync_dagster_tests.salesforce.scripted_org import DROP, Reply, Request, ScriptedOrg, refused

FIELDS = (
    Field("Name"),
    Field("Active__c", type="boolean"),
    Field("Count__c", type="int"),
    Field("Amount__c", type="currency"),
    Field("Day__c", type="date"),
    Field("ParentId", type="reference"),
)


def accept(request: Request) -> Reply:
    """Every row succeeds; ids count from 1 over the call."""
    records = request.json()["records"]
    return Reply(200, [{"id": f"id{number}", "success": True, "errors": []} for number in range(len(records))])


def sent(server: ScriptedOrg) -> list[dict[str, Any]]:
    return [record for item in server.requests for record in item.json()["records"]]


def test_insert_sends_json_types_and_leaves_nulls_out(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "composite/sobjects", accept)
    frame = pl.DataFrame(
        {
            "_row": [7, 8],
            "_note": ["not", "sent"],
            "Name": ['Ä "q" \\ \n\t\u0001 </script>', None],
            "Active__c": ["true", "false"],
            "Count__c": ["12", None],
            "Amount__c": ["12345678901234567.25", "-0.5"],
            "Day__c": [None, "2024-01-31"],
            "ParentId": [None, "001000000000001AAA"],
        }
    )
    result = Collections(org).insert("Account", frame, FIELDS)
    assert result.schema == pl.Schema(RESULT_SCHEMA)
    assert result.rows() == [(7, "id0", True, None, None, None), (8, "id1", True, None, None, None)]
    assert sent(server) == [
        {
            "attributes": {"type": "Account"},
            "Name": 'Ä "q" \\ \n\t\u0001 </script>',
            "Active__c": True,
            "Count__c": 12,
            "Amount__c": 12345678901234567.25,
        },
        {
            "attributes": {"type": "Account"},
            "Active__c": False,
            "Amount__c": -0.5,
            "Day__c": "2024-01-31",
            "ParentId": "001000000000001AAA",
        },
    ]
    assert b'"Amount__c":12345678901234567.25,' not in server.requests[0].body
    assert b'"Amount__c":12345678901234567.25' in server.requests[0].body


def test_a_row_without_values_is_a_record_all_the_same(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "composite/sobjects", accept)
    frame = pl.DataFrame({"Name": [None]}, schema={"Name": pl.String})
    assert Collections(org).insert("Account", frame, FIELDS)["target_id"].to_list() == ["id0"]
    assert sent(server) == [{"attributes": {"type": "Account"}}]


@pytest.mark.parametrize(
    ("text", "expected"), [("1.", "1."), ("0x1", "0x1"), ("1e3", 1000.0), ("NaN", "NaN"), ("", "")]
)
def test_text_that_is_no_number_stays_text(server: ScriptedOrg, org: Org, text: str, expected: object) -> None:
    server.on("POST", "composite/sobjects", accept)
    Collections(org).insert("Account", pl.DataFrame({"Amount__c": [text]}), FIELDS)
    assert sent(server)[0]["Amount__c"] == expected


def test_cleared_fields_are_null(server: ScriptedOrg, org: Org) -> None:
    server.on("PATCH", "composite/sobjects", accept)
    frame = pl.DataFrame(
        {"Id": ["001"], "Name": ["#N/A"], "Count__c": ["#N/A"], "Active__c": ["true"], "Day__c": [None]},
        schema_overrides={"Day__c": pl.String},
    )
    Collections(org).update("Account", frame, FIELDS)
    assert sent(server) == [
        {"attributes": {"type": "Account"}, "id": "001", "Name": None, "Count__c": None, "Active__c": True}
    ]


def test_with_a_clear_column_the_marker_is_plain_text(server: ScriptedOrg, org: Org) -> None:
    server.on("PATCH", "composite/sobjects", accept)
    frame = pl.DataFrame(
        {"Id": ["001", "002"], "Name": ["#N/A", "x"], "Count__c": [None, "1"], "_clear": [["Count__c"], None]},
        schema_overrides={"Count__c": pl.String, "_clear": pl.List(pl.String)},
    )
    Collections(org).update("Account", frame, FIELDS)
    assert [{key: item.get(key, "absent") for key in ("Name", "Count__c")} for item in sent(server)] == [
        {"Name": "#N/A", "Count__c": None},
        {"Name": "x", "Count__c": 1},
    ]


def test_a_relationship_column_is_nested(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "composite/sobjects", accept)
    frame = pl.DataFrame({"Parent__r.Key__c": ['a"b', None]})
    Collections(org).insert("Account", frame, FIELDS)
    assert sent(server)[0]["Parent__r"] == {"Key__c": 'a"b'}
    assert "Parent__r" not in sent(server)[1]


def test_two_hundred_rows_a_call_in_order(server: ScriptedOrg, org: Org) -> None:
    def number(request: Request) -> Reply:
        names = [record["Name"] for record in request.json()["records"]]
        return Reply(200, [{"id": f"id-{name}", "success": True, "errors": []} for name in names])

    server.on("POST", "composite/sobjects", number)
    frame = pl.DataFrame({"Name": [str(number) for number in range(450)]})
    frames = list(Collections(org).send("insert", "Account", frame, FIELDS))
    assert [part.height for part in frames] == [200, 200, 50]
    result = pl.concat(frames)
    assert result["_row"].to_list() == list(range(450))
    assert result["target_id"].to_list() == [f"id-{number}" for number in range(450)]


def test_no_rows_no_call(server: ScriptedOrg, org: Org) -> None:
    result = Collections(org).insert("Account", pl.DataFrame({"Name": []}, schema={"Name": pl.String}), FIELDS)
    assert (result.height, result.schema, server.requests) == (0, pl.Schema(RESULT_SCHEMA), [])


def test_refused_rows_carry_their_code(server: ScriptedOrg, org: Org) -> None:
    missing = {
        "statusCode": "REQUIRED_FIELD_MISSING",
        "message": "Required fields are missing: [Name]",
        "fields": ["Name"],
    }
    rule = {"statusCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "No", "fields": []}
    server.on(
        "POST",
        "composite/sobjects",
        Reply(
            200,
            [
                {"id": "1", "success": True, "errors": []},
                {"success": False, "errors": [missing, rule]},
                {"id": None, "success": False, "errors": []},
            ],
        ),
    )
    result = Collections(org).insert("Account", pl.DataFrame({"Name": ["a", "b", "c"]}), FIELDS)
    assert result.rows()[1:] == [
        (1, None, None, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]; No", "Name"),
        (2, None, None, "UNKNOWN_EXCEPTION", "", None),
    ]


def test_upsert_by_external_id(server: ScriptedOrg, org: Org) -> None:
    answer = [
        {"id": "1", "success": True, "errors": [], "created": True},
        {"id": "2", "success": True, "errors": [], "created": False},
    ]
    server.on("PATCH", "composite/sobjects/Account/Key__c", [DROP, Reply(200, answer)])
    frame = pl.DataFrame({"Key__c": ["a", "b"], "Name": ["x", "y"]})
    result = Collections(org).upsert("Account", frame, FIELDS, "Key__c")
    assert result["created"].to_list() == [True, False]
    assert server.requests[0].json() == server.requests[1].json()


def test_delete(server: ScriptedOrg, org: Org) -> None:
    answer = [
        {"id": "1", "success": True, "errors": []},
        {"id": "2", "success": False, "errors": [{"statusCode": "ENTITY_IS_DELETED", "message": "m", "fields": []}]},
    ]
    server.on("DELETE", "composite/sobjects", Reply(200, answer))
    result = Collections(org).delete("Account", pl.DataFrame({"Id": ["1", "2"]}))
    assert result["code"].to_list() == [None, "ENTITY_IS_DELETED"]
    assert result["target_id"].to_list() == ["1", "2"]
    assert server.requests[0].query == {"ids": "1,2", "allOrNone": "false"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (Headers(), {"Sforce-Auto-Assign": "FALSE", "Sforce-Mru": "updateMru=false"}),
        (Headers(assignment_rules=True), {"Sforce-Auto-Assign": "TRUE"}),
        (
            Headers(allow_duplicates=True),
            {"Sforce-Duplicate-Rule-Header": "allowSave=true; includeRecordDetails=false; runAsCurrentUser=true"},
        ),
    ],
)
def test_headers(server: ScriptedOrg, org: Org, headers: Headers, expected: dict[str, str]) -> None:
    server.on("POST", "composite/sobjects", accept)
    Collections(org, headers).insert("Lead", pl.DataFrame({"Name": ["a"]}), FIELDS)
    given = server.requests[0].headers
    assert {name: given[name] for name in expected} == expected
    assert ("Sforce-Duplicate-Rule-Header" in given) is headers.allow_duplicates


@pytest.mark.parametrize("operation", ["insert", "delete"])
def test_a_lost_answer_is_an_unknown_outcome(server: ScriptedOrg, org: Org, operation: str) -> None:
    server.on("*", "composite/sobjects", DROP)
    collections = Collections(org)
    frame = pl.DataFrame({"Id": ["1"]})
    call: Callable[[], Any] = (
        (lambda: collections.delete("Account", frame))
        if operation == "delete"
        else (lambda: collections.insert("Account", pl.DataFrame({"Name": ["a"]}), FIELDS))
    )
    with pytest.raises(UnknownOutcome):
        call()
    assert len(server.requests) == 1


def test_an_upsert_on_id_is_as_careful_as_an_insert(server: ScriptedOrg, org: Org) -> None:
    server.on("PATCH", "composite/sobjects/Account/Id", DROP)
    with pytest.raises(UnknownOutcome):
        Collections(org).upsert("Account", pl.DataFrame({"Name": ["a"]}), FIELDS, "Id")


def test_an_update_is_repeated(server: ScriptedOrg, org: Org) -> None:
    server.on("PATCH", "composite/sobjects", [DROP, Reply(200, [{"id": "1", "success": True, "errors": []}])])
    assert Collections(org).update("Account", pl.DataFrame({"Id": ["1"], "Name": ["a"]}), FIELDS).height == 1


def test_one_value_that_sinks_the_call_fails_its_own_row_only(server: ScriptedOrg, org: Org) -> None:
    def parse(request: Request) -> Reply:
        if any(record["Day__c"] == "bad" for record in request.json()["records"]):
            return refused(400, "JSON_PARSER_ERROR", "Cannot deserialize instance of date from VALUE_STRING value bad")
        return accept(request)

    server.on("POST", "composite/sobjects", parse)
    days = ["2024-01-31"] * 20
    days[13] = "bad"
    result = Collections(org).insert("Account", pl.DataFrame({"Day__c": days}), FIELDS)
    assert result["_row"].to_list() == list(range(20))
    assert result.filter(pl.col("code").is_not_null())["_row"].to_list() == [13]
    assert "Cannot deserialize" in result["message"][13]


def test_a_refusal_of_the_whole_call_is_raised(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "composite/sobjects", refused(404, "NOT_FOUND"))
    with pytest.raises(RequestError):
        Collections(org).insert("Nope__c", pl.DataFrame({"Name": ["a", "b"]}), FIELDS)
    assert len(server.requests) == 1


def test_fewer_answers_than_rows_are_not_guessed_at(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "composite/sobjects", Reply(200, [{"id": "1", "success": True, "errors": []}]))
    with pytest.raises(UnknownOutcome, match="2 Account rows got 1 answers"):
        Collections(org).insert("Account", pl.DataFrame({"Name": ["a", "b"]}), FIELDS)
