from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from isync_dagster.local_org.soql import records, run
from isync_dagster_tests.local_org.soql.org import ask, bulk, compiled, record_id

BASE = "/services/data/v60.0/sobjects"


def test_a_record_in_the_order_and_spelling_of_the_org(org: duckdb.DuckDBPyConnection) -> None:
    [found] = ask(
        org,
        "select name, ID, owner.name, annualrevenue, numberofemployees, score__c, active__c, founded__c, "
        "opens__c, createddate, "
        "billingaddress, owner.username, parent.name, description from account where name = 'ACME'",
    )
    assert found == {
        "attributes": {"type": "Account", "url": f"{BASE}/Account/{record_id('001', 1)}"},
        "Name": "Acme",
        "Id": record_id("001", 1),
        "Owner": {
            "attributes": {"type": "User", "url": f"{BASE}/User/{record_id('005', 1)}"},
            "Name": "Ann Admin",
            "Username": "ann@acme.example",
        },
        "AnnualRevenue": 12.5,
        "NumberOfEmployees": 7,
        "Score__c": 3.0,
        "Active__c": True,
        "Founded__c": "1999-12-31",
        "Opens__c": "08:30:00.000Z",
        "CreatedDate": "2024-03-15T09:08:07.000+0000",
        "BillingAddress": {
            "city": "Berlin",
            "latitude": 52.5,
            "longitude": 13.4,
            "postalCode": None,
            "street": "Main 1",
        },
        "Parent": None,
        "Description": None,
    }
    keys = list(found)
    assert keys[:4] == ["attributes", "Name", "Id", "Owner"]
    assert '"Score__c": 3.0' in json.dumps(found)


def test_a_missing_address_is_null(org: duckdb.DuckDBPyConnection) -> None:
    assert ask(org, "SELECT BillingAddress FROM Account WHERE Name = 'gamma'")[0]["BillingAddress"] is None


def test_parents_of_parents(org: duckdb.DuckDBPyConnection) -> None:
    [found] = ask(org, "SELECT Parent.Parent.Owner.Name, Parent.Name FROM Account WHERE Name = 'gamma'")
    assert found["Parent"]["Parent"]["Owner"]["Name"] == "Ann Admin"
    assert found["Parent"]["Name"] == 'Beta "B", Söhne'


def test_children(org: duckdb.DuckDBPyConnection) -> None:
    found = ask(
        org,
        "SELECT Name, (SELECT LastName, Owner.Name FROM Contacts ORDER BY LastName), (SELECT Id FROM Orders) "
        "FROM Account "
        "ORDER BY Name",
    )
    acme = found[0]
    assert acme["Contacts"] == {
        "totalSize": 2,
        "done": True,
        "records": [
            {
                "attributes": {"type": "Contact", "url": f"{BASE}/Contact/{record_id('003', 2)}"},
                "LastName": "Yan",
                "Owner": None,
            },
            {
                "attributes": {"type": "Contact", "url": f"{BASE}/Contact/{record_id('003', 1)}"},
                "LastName": "Zed",
                "Owner": {
                    "attributes": {"type": "User", "url": f"{BASE}/User/{record_id('005', 1)}"},
                    "Name": "Ann Admin",
                },
            },
        ],
    }
    assert acme["Orders"]["totalSize"] == 1
    assert found[1]["Orders"] is None
    assert found[2]["Contacts"] is None


def test_children_with_their_own_conditions(org: duckdb.DuckDBPyConnection) -> None:
    text = (
        "SELECT Name, (SELECT LastName FROM Account.Contacts WHERE LastName != 'Zed' ORDER BY LastName DESC LIMIT 1) "
        "FROM Account WHERE Name LIKE 'a%' OR Name LIKE 'b%' ORDER BY Name LIMIT 2"
    )
    found = ask(org, text)
    assert [[child["LastName"] for child in record["Contacts"]["records"]] for record in found] == [["Yan"], ["Xi"]]


def test_children_of_children(org: duckdb.DuckDBPyConnection) -> None:
    text = (
        "SELECT (SELECT LastName, (SELECT LastName FROM Contacts) FROM Contacts ORDER BY LastName) FROM Account LIMIT 1"
    )
    [found] = ask(org, text)
    by_name = {child["LastName"]: child["Contacts"] for child in found["Contacts"]["records"]}
    assert by_name["Yan"] is None
    assert by_name["Zed"]["records"][0]["LastName"] == "Yan"


def test_a_polymorphic_owner(org: duckdb.DuckDBPyConnection) -> None:
    found = ask(org, "SELECT Owner.Name, Owner.Type, Owner.IsActive FROM Case ORDER BY Subject")
    assert [record["Owner"] for record in found] == [
        {
            "attributes": {"type": "Name", "url": f"{BASE}/User/{record_id('005', 1)}"},
            "Name": "Ann Admin",
            "Type": "User",
            "IsActive": True,
        },
        {
            "attributes": {"type": "Name", "url": f"{BASE}/Group/00G000000000001EAA"},
            "Name": "Support Queue",
            "Type": "Group",
            "IsActive": None,
        },
        None,
    ]
    assert len(ask(org, "SELECT Id FROM Case WHERE Owner.Type = 'Group'")) == 1


def test_typeof(org: duckdb.DuckDBPyConnection) -> None:
    text = "SELECT Subject, TYPEOF Owner WHEN User THEN Username, Name {} END FROM Case ORDER BY Subject"
    found = ask(org, text.format("ELSE Name"))
    assert found[0]["Owner"] == {
        "attributes": {"type": "User", "url": f"{BASE}/User/{record_id('005', 1)}"},
        "Username": "ann@acme.example",
        "Name": "Ann Admin",
    }
    assert found[1]["Owner"] == {
        "attributes": {"type": "Group", "url": f"{BASE}/Group/00G000000000001EAA"},
        "Name": "Support Queue",
    }
    assert found[2]["Owner"] is None
    assert [record["Owner"] is None for record in ask(org, text.format(""))] == [False, True, True]


def test_blobs_are_urls(org: duckdb.DuckDBPyConnection) -> None:
    found = ask(org, "SELECT Body FROM Attachment ORDER BY Name")
    assert [record["Body"] for record in found] == [f"{BASE}/Attachment/{record_id('00P', 1)}/Body", None]


def test_labels_and_formats(org: duckdb.DuckDBPyConnection) -> None:
    [found] = ask(
        org,
        "SELECT toLabel(Industry), FORMAT(AnnualRevenue) money, FORMAT(Founded__c) day, convertCurrency(AnnualRevenue) "
        "FROM Account WHERE toLabel(Industry) = 'TECH'",
    )
    assert found["Industry"] == "TECH"
    assert (found["money"], found["day"], found["AnnualRevenue"]) == ("12.50", "12/31/1999", 12.5)
    [group] = ask(
        org, "SELECT toLabel(Industry) i, COUNT(Id) FROM Account WHERE Industry = 'Tech' GROUP BY toLabel(Industry)"
    )
    assert group["i"] == "TECH"


def test_formats_of_groups_and_of_the_users_time(org: duckdb.DuckDBPyConnection) -> None:
    [group] = ask(org, "SELECT FORMAT(MIN(AnnualRevenue)) low, FORMAT(MAX(CreatedDate)) late FROM Account")
    assert (group["low"], group["late"]) == ("12.50", "3/15/2024, 9:08 AM")
    text = "SELECT FORMAT(CreatedDate) FROM Account WHERE Name = 'Acme'"
    assert ask(org, text, zone=ZoneInfo("Asia/Tokyo"))[0]["CreatedDate"] == "3/15/2024, 6:08 PM"


def test_fields(org: duckdb.DuckDBPyConnection) -> None:
    [found] = ask(org, "SELECT FIELDS(CUSTOM), Id FROM Account LIMIT 1")
    assert set(found) == {"attributes", "Id"} | {
        f"{name}__c" for name in ("Score", "Active", "Founded", "Opens", "Tags", "Code")
    }
    assert "BillingAddress" in ask(org, "SELECT FIELDS(ALL) FROM Account LIMIT 200")[0]
    standard = compiled("SELECT FIELDS(STANDARD) FROM Account", bulk=True)
    assert "BillingCity" in standard.header
    assert not {"BillingAddress", "Score__c"} & set(standard.header)


def test_a_slice_of_the_rows_is_a_page(org: duckdb.DuckDBPyConnection) -> None:
    query = compiled("SELECT Name FROM Contact ORDER BY Name")
    rows = run(org, query)
    pages = [records(rows.slice(start, 2), query) for start in (0, 2)]
    assert [[record["Name"] for record in page] for page in pages] == [["Alone", "Xi"], ["Yan", "Zoe Zed"]]


def test_bulk_text_of_every_type(org: duckdb.DuckDBPyConnection) -> None:
    found = bulk(
        org,
        "SELECT id, Name, AnnualRevenue, NumberOfEmployees, score__c, Active__c, Founded__c, Opens__c, "
        "CreatedDate, BillingLatitude, "
        "owner.name, Parent.name, Description FROM Account ORDER BY Id",
    )
    assert found[0] == {
        "Id": record_id("001", 1),
        "Name": "Acme",
        "AnnualRevenue": "12.5",
        "NumberOfEmployees": "7",
        "Score__c": "3.0",
        "Active__c": "true",
        "Founded__c": "1999-12-31",
        "Opens__c": "08:30:00.000Z",
        "CreatedDate": "2024-03-15T09:08:07.000Z",
        "BillingLatitude": "52.5",
        "Owner.Name": "Ann Admin",
        "Parent.Name": "",
        "Description": "",
    }
    assert found[1]["AnnualRevenue"] == "1200000.0"
    assert found[2]["Description"] == "long\ntext"
    assert all(value is not None for row in found for value in row.values())


def test_bulk_leaves_hidden_columns_out() -> None:
    query = compiled("SELECT Name, Owner.Name FROM Account", bulk=True)
    assert query.header == ("Name", "Owner.Name")


def test_bulk_copies_to_csv(org: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    query = compiled("SELECT Name FROM Account WHERE Name LIKE 'beta%'", bulk=True)
    target = tmp_path / "out.csv"
    org.execute(f"COPY ({query.bulk_sql()}) TO '{target}' (HEADER, FORCE_QUOTE *)", query.params)
    assert target.read_text(encoding="utf-8") == '"Name"\n"Beta ""B"", Söhne"\n'
