"""A small org in memory for SOQL tests: objects, rows, and a way to ask it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import duckdb

from isync_dagster.local_org.org_schema import OrgSchema, quote
from isync_dagster.local_org.soql import CompiledQuery, compile_query, records, run
from isync_dagster.local_org.storage import OPTIMIZERS_OFF
from isync_dagster.schema.model import Field, PicklistValue, SObject

NOW = datetime(2024, 3, 15, 12, 30, tzinfo=UTC)


def lookup(name: str, *targets: str, relationship: str | None = None, **flags: Any) -> Field:
    return Field(name, "reference", length=18, reference_to=targets, relationship_name=relationship, **flags)


def picklist(*values: str) -> tuple[PicklistValue, ...]:
    return tuple(PicklistValue(value, value.upper()) for value in values)


ID = Field("Id", "id", length=18, nillable=False)
DELETED = Field("IsDeleted", "boolean", nillable=False)
CREATED = Field("CreatedDate", "datetime", groupable=False)
NAME = Field("Name", length=80, name_field=True)

ACCOUNT = SObject(
    "Account",
    key_prefix="001",
    fields=(
        ID,
        DELETED,
        CREATED,
        NAME,
        Field("Industry", "picklist", picklist_values=picklist("Tech", "Energy", "Apparel")),
        Field("AnnualRevenue", "currency", precision=18, scale=2),
        Field("NumberOfEmployees", "int", digits=8),
        Field("Score__c", "double", precision=18, scale=0, custom=True),
        Field("Active__c", "boolean", custom=True, nillable=False),
        Field("Founded__c", "date", custom=True),
        Field("Opens__c", "time", custom=True),
        Field("Tags__c", "multipicklist", custom=True, groupable=False),
        Field("Code__c", length=20, custom=True, unique=True, case_sensitive=True, external_id=True),
        Field("Description", "textarea", filterable=False, sortable=False, groupable=False, aggregatable=False),
        Field("BillingAddress", "address"),
        *(Field(f"Billing{part}", compound_field_name="BillingAddress") for part in ("Street", "City", "PostalCode")),
        *(
            Field(f"Billing{part}", "double", precision=18, scale=15, compound_field_name="BillingAddress")
            for part in ("Latitude", "Longitude")
        ),
        lookup("ParentId", "Account", relationship="Parent"),
        lookup("OwnerId", "User", relationship="Owner"),
    ),
)
CONTACT = SObject(
    "Contact",
    key_prefix="003",
    fields=(
        ID,
        DELETED,
        CREATED,
        NAME,
        Field("LastName", length=80),
        Field("Email", "email", length=80),
        lookup("AccountId", "Account", relationship="Account"),
        lookup("ReportsToId", "Contact", relationship="ReportsTo"),
        lookup("OwnerId", "User", relationship="Owner"),
    ),
)
USER = SObject("User", key_prefix="005", fields=(ID, NAME, Field("Username"), Field("IsActive", "boolean")))
GROUP = SObject("Group", key_prefix="00G", fields=(ID, NAME, Field("Type", "picklist")))
CASE = SObject(
    "Case",
    key_prefix="500",
    fields=(
        ID,
        DELETED,
        Field("Subject", name_field=True),
        lookup("AccountId", "Account", relationship="Account"),
        lookup("OwnerId", "Group", "User", relationship="Owner", polymorphic_foreign_key=True, name_pointing=True),
    ),
)
ORDER = SObject(
    "Order", key_prefix="801", fields=(ID, DELETED, NAME, lookup("AccountId", "Account", relationship="Account"))
)
ATTACHMENT = SObject(
    "Attachment",
    key_prefix="00P",
    fields=(ID, DELETED, NAME, Field("Body", "base64"), lookup("ParentId", "Account", relationship="Parent")),
)
HIDDEN = SObject("Hidden__c", custom=True, queryable=False, fields=(ID, NAME))
TASK_STATUS = SObject("TaskStatus", fields=(ID, Field("MasterLabel", name_field=True)))
LINK = SObject(
    "ContentDocumentLink",
    key_prefix="06A",
    fields=(ID, lookup("ContentDocumentId", "ContentDocument"), lookup("LinkedEntityId", "Account", "Contact")),
)

SCHEMA = OrgSchema([ACCOUNT, CONTACT, USER, GROUP, CASE, ORDER, ATTACHMENT, HIDDEN, TASK_STATUS, LINK])


def record_id(prefix: str, number: int) -> str:
    """An 18-character id; its last three characters fit, since none of the others is a capital."""
    return f"{prefix}{number:012d}AAA"


ROWS: dict[str, list[dict[str, Any]]] = {
    "User": [
        {"Id": record_id("005", 1), "Name": "Ann Admin", "Username": "ann@acme.example", "IsActive": True},
        {"Id": record_id("005", 2), "Name": "Bo Builder", "Username": "bo@acme.example", "IsActive": False},
    ],
    "Group": [{"Id": "00G000000000001EAA", "Name": "Support Queue", "Type": "Queue"}],
    "Account": [
        {
            "Id": record_id("001", 1), "Name": "Acme", "Industry": "Tech", "AnnualRevenue": Decimal("12.50"),
            "NumberOfEmployees": 7, "Score__c": 3, "Active__c": True, "Founded__c": date(1999, 12, 31),
            "Opens__c": time(8, 30), "Tags__c": "A;B", "Code__c": "x1", "BillingStreet": "Main 1",
            "BillingCity": "Berlin", "BillingLatitude": Decimal("52.5"), "BillingLongitude": Decimal("13.4"),
            "OwnerId": record_id("005", 1), "CreatedDate": datetime(2024, 3, 15, 9, 8, 7),
        },
        {
            "Id": record_id("001", 2), "Name": "Beta \"B\", Söhne", "AnnualRevenue": Decimal("1200000"),
            "Active__c": False, "Tags__c": "B;C", "ParentId": record_id("001", 1), "Code__c": "X1",
            "OwnerId": record_id("005", 2), "CreatedDate": datetime(2024, 2, 29, 23, 59, 59),
        },
        {
            "Id": record_id("001", 3), "Name": "gamma", "Industry": "Apparel", "Active__c": True,
            "ParentId": record_id("001", 2), "CreatedDate": datetime(2023, 1, 1), "Description": "long\ntext",
        },
        {
            "Id": record_id("001", 4), "Name": "Gone", "IsDeleted": True, "Active__c": False,
            "CreatedDate": datetime(2023, 1, 1),
        },
    ],
    "Contact": [
        {"Id": record_id("003", 1), "LastName": "Zed", "Name": "Zoe Zed", "AccountId": record_id("001", 1),
         "OwnerId": record_id("005", 1), "Email": "zoe@acme.example"},
        {"Id": record_id("003", 2), "LastName": "Yan", "Name": "Yan", "AccountId": record_id("001", 1),
         "ReportsToId": record_id("003", 1)},
        {"Id": record_id("003", 3), "LastName": "Xi", "Name": "Xi", "AccountId": record_id("001", 2)},
        {"Id": record_id("003", 4), "LastName": "Alone", "Name": "Alone"},
    ],
    "Case": [
        {"Id": record_id("500", 1), "Subject": "Broken", "OwnerId": record_id("005", 1),
         "AccountId": record_id("001", 1)},
        {"Id": record_id("500", 2), "Subject": "Late", "OwnerId": "00G000000000001EAA"},
        {"Id": record_id("500", 3), "Subject": "Nobody"},
    ],
    "Order": [{"Id": record_id("801", 1), "Name": "First", "AccountId": record_id("001", 1)}],
    "Attachment": [
        {"Id": record_id("00P", 1), "Name": "a.txt", "Body": b"bytes", "ParentId": record_id("001", 1)},
        {"Id": record_id("00P", 2), "Name": "empty"},
    ],
}  # fmt: skip


def database(rows: dict[str, list[dict[str, Any]]] = ROWS) -> duckdb.DuckDBPyConnection:
    """A fresh database with the schema's tables and the rows."""
    connection = duckdb.connect(":memory:", config={"threads": 1, "disabled_optimizers": OPTIMIZERS_OFF})
    for sobject in SCHEMA:
        connection.execute(SCHEMA.ddl(sobject))
    for name, listed in rows.items():
        for row in listed:
            values = {"IsDeleted": False, **row}
            columns = ", ".join(quote(column) for column in values)
            marks = ", ".join("?" for _ in values)
            connection.execute(f"INSERT INTO {quote(name)} ({columns}) VALUES ({marks})", list(values.values()))
    return connection


def compiled(text: str, **options: Any) -> CompiledQuery:
    return compile_query(text, SCHEMA, now=NOW, **options)


def ask(connection: duckdb.DuckDBPyConnection, text: str, **options: Any) -> list[dict[str, Any]]:
    """The REST records of a query."""
    query = compiled(text, **options)
    return records(run(connection, query), query, version="60.0")


def names(connection: duckdb.DuckDBPyConnection, text: str, **options: Any) -> list[str]:
    """The Name values of a query's records."""
    return [record["Name"] for record in ask(connection, text, **options)]


def bulk(connection: duckdb.DuckDBPyConnection, text: str, **options: Any) -> list[dict[str, str]]:
    """The rows of a Bulk result, as text by header."""
    query = compiled(text, bulk=True, **options)
    rows: list[dict[str, str]] = connection.sql(query.bulk_sql(), params=query.params).to_arrow_table().to_pylist()
    return rows
