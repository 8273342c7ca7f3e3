"""What Salesforce refuses, with its code and words."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.soql import SoqlError, compile_query
from isync_dagster.schema.model import SObject
from isync_dagster_tests.local_org.soql.org import NOW, SCHEMA, compiled, lookup, record_id

WSDL = "Please reference your WSDL or the describe call for the appropriate names."


def refused(text: str, **options: Any) -> SoqlError:
    with pytest.raises(SoqlError) as caught:
        compiled(text, **options)
    return caught.value


def test_the_recorded_message_of_an_unknown_object() -> None:
    error = refused("select count() from XYZZY")
    assert error.code == "INVALID_TYPE"
    assert error.message == (
        "\nselect count() from XYZZY\n                    ^\nERROR at Row:1:Column:21\n"
        "sObject type 'XYZZY' is not supported. If you are attempting to use a custom object, be sure to append the "
        f"'__c' after the entity name. {WSDL}"
    )


def test_an_unknown_column_on_a_later_line() -> None:
    error = refused("SELECT Id\nFROM Account\nWHERE Foo = 1")
    assert error.code == "INVALID_FIELD"
    assert error.message == (
        "\nWHERE Foo = 1\n      ^\nERROR at Row:3:Column:7\n"
        "No such column 'Foo' on entity 'Account'. If you are attempting to use a custom field, be sure to append the "
        f"'__c' after the custom field name. {WSDL}"
    )


def test_a_long_line_is_shown_around_the_place() -> None:
    ids = ", ".join(f"'{record_id('001', number)}'" for number in range(50))
    error = refused(f"SELECT Id FROM Account WHERE Id IN ({ids}) AND Nope = 1")
    shown, caret = error.message.split("\n")[1:3]
    assert shown == f"'{record_id('001', 49)}') AND Nope = 1"
    assert shown[caret.index("^") :].startswith("Nope")
    assert f"Column:{36 + len(ids) + 7}\n" in error.message


def test_errors_survive_pickling() -> None:
    error = refused("SELECT Foo FROM Account")
    again = pickle.loads(pickle.dumps(error))
    assert (again.code, again.message) == (error.code, error.message)


@pytest.mark.parametrize(
    ("text", "code", "tail"),
    [
        (
            "SELECT Foo.Name FROM Account",
            "INVALID_FIELD",
            "Didn't understand relationship 'Foo' in field path. If you are attempting to use a custom "
            "relationship, be sure to "
            f"append the '__r' after the custom relationship name. {WSDL}",
        ),
        (
            "SELECT Id, (SELECT Id FROM Foos) FROM Account",
            "INVALID_TYPE",
            "Didn't understand relationship 'Foos' in FROM part of query call. If you are attempting to use a custom "
            f"relationship, be sure to append the '__r' after the custom relationship name. {WSDL}",
        ),
        ("SELECT Owner.Nope FROM Case", "INVALID_FIELD", "No such column 'Nope' on entity 'Name'."),
        ("SELECT Id FROM Account WHERE Id = 'abc'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: abc"),
        (
            "SELECT Id FROM Account WHERE OwnerId IN ('005', 'x')",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid ID field: 005",
        ),
        (
            "SELECT Id FROM Account WHERE Id LIKE '001%'",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator on id field",
        ),
        (
            "SELECT Id FROM Account WHERE Active__c > true",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator on boolean field",
        ),
        (
            "SELECT Id FROM Account WHERE Name INCLUDES ('a')",
            "INVALID_QUERY_FILTER_OPERATOR",
            "invalid operator on string field",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate > '2024-01-01'",
            "INVALID_FIELD",
            "value of filter criterion for field 'CreatedDate' must be of type dateTime and should not be "
            "enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE CreatedDate > 2024-01-01",
            "INVALID_FIELD",
            "value of filter criterion for field 'CreatedDate' must be of type dateTime and should not be "
            "enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE Founded__c = 2024-01-01T00:00:00Z",
            "INVALID_FIELD",
            "value of filter criterion for field 'Founded__c' must be of type date and should not be enclosed in "
            "quotes",
        ),
        (
            "SELECT Id FROM Account WHERE Name = 5",
            "INVALID_FIELD",
            "value of filter criterion for field 'Name' must be of type string and should be enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE AnnualRevenue = '5'",
            "INVALID_FIELD",
            "value of filter criterion for field 'AnnualRevenue' must be of type double and should not be "
            "enclosed in quotes",
        ),
        (
            "SELECT Id FROM Account WHERE Active__c = 'true'",
            "INVALID_FIELD",
            "value of filter criterion for field 'Active__c' must be of type boolean and should not be enclosed "
            "in quotes",
        ),
        ("SELECT Id FROM Account WHERE Founded__c = 2024-02-31", "MALFORMED_QUERY", "Invalid date: 2024-02-31"),
        (
            "SELECT Id FROM Account WHERE Description = 'x'",
            "INVALID_FIELD",
            "field 'Description' can not be filtered in a query call",
        ),
        (
            "SELECT Id FROM Account WHERE BillingAddress = null",
            "INVALID_FIELD",
            "field 'BillingAddress' can not be filtered in a query call",
        ),
        (
            "SELECT Id FROM Account ORDER BY Description",
            "INVALID_FIELD",
            "field 'Description' can not be sorted in a query call",
        ),
        (
            "SELECT CreatedDate, COUNT(Id) FROM Account GROUP BY CreatedDate",
            "MALFORMED_QUERY",
            "field 'CreatedDate' can not be grouped in a query call",
        ),
        ("SELECT SUM(Name) FROM Account", "MALFORMED_QUERY", "field Name does not support aggregate operator SUM"),
        (
            "SELECT COUNT(Active__c) FROM Account",
            "MALFORMED_QUERY",
            "field Active__c does not support aggregate operator COUNT",
        ),
        ("SELECT Name, COUNT(Id) FROM Account", "MALFORMED_QUERY", "Field must be grouped or aggregated: Name"),
        (
            "SELECT Name, Industry FROM Account GROUP BY Industry",
            "MALFORMED_QUERY",
            "Field must be grouped or aggregated: Name",
        ),
        (
            "SELECT Industry FROM Account GROUP BY Industry HAVING Name = 'x'",
            "MALFORMED_QUERY",
            "Field must be grouped or aggregated: Name",
        ),
        (
            "SELECT Industry FROM Account GROUP BY Industry ORDER BY Name",
            "MALFORMED_QUERY",
            "Ordered field must be grouped or aggregated: Name",
        ),
        ("SELECT COUNT(Id) x, MAX(Name) x FROM Account", "MALFORMED_QUERY", "duplicate alias: x"),
        ("SELECT Name n FROM Account", "MALFORMED_QUERY", "only aggregate expressions use field aliasing"),
        ("SELECT Id, id FROM Account", "INVALID_FIELD", "duplicate field selected: Id"),
        (
            "SELECT FIELDS(ALL) FROM Account",
            "MALFORMED_QUERY",
            "The SOQL FIELDS function must have a LIMIT of at most 200",
        ),
        (
            "SELECT FIELDS(CUSTOM) FROM Account LIMIT 201",
            "MALFORMED_QUERY",
            "The SOQL FIELDS function must have a LIMIT of at most 200",
        ),
        ("SELECT FIELDS(ALL), Name FROM Account LIMIT 2", "INVALID_FIELD", "duplicate field selected: Name"),
        ("SELECT Id FROM Account OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"),
        ("SELECT Id FROM Account ALL ROWS", "MALFORMED_QUERY", "ALL ROWS not allowed in this context"),
        ("SELECT Id FROM Hidden__c", "INVALID_TYPE_FOR_OPERATION", "entity type Hidden__c does not support query"),
        (
            "SELECT Id FROM Account WHERE Name = 'x' OR Id IN (SELECT AccountId FROM Contact)",
            "MALFORMED_QUERY",
            "Semi join sub-selects are not allowed with the 'OR' operator",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact WHERE Id IN (SELECT ReportsToId "
            "FROM Contact))",
            "MALFORMED_QUERY",
            "Nesting of semi join sub-selects is not supported",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT AccountId FROM Contact) AND Id IN (SELECT AccountId FROM "
            "Case) AND "
            "Id IN (SELECT AccountId FROM Order)",
            "MALFORMED_QUERY",
            "Maximum 2 semi join sub-selects are allowed",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT Name FROM Contact)",
            "MALFORMED_QUERY",
            "semi join sub-selects can only query id fields, cannot use: 'Name'",
        ),
        (
            "SELECT Id FROM Account WHERE Name IN (SELECT AccountId FROM Contact)",
            "MALFORMED_QUERY",
            "should be an id field, cannot use: 'Name'",
        ),
        (
            "SELECT Id FROM Contact WHERE Account.Id IN (SELECT AccountId FROM Case)",
            "MALFORMED_QUERY",
            "The left operand 'Account.Id' cannot have more than one level of relationships",
        ),
        (
            "SELECT Id FROM Account WHERE COUNT(Id) > 1",
            "MALFORMED_QUERY",
            "Aggregate functions are not allowed in a WHERE",
        ),
        (
            "SELECT ReportsTo.ReportsTo.ReportsTo.ReportsTo.ReportsTo.ReportsTo.Name FROM Contact",
            "MALFORMED_QUERY",
            "cannot follow more than 5",
        ),
        (
            "SELECT TYPEOF Account WHEN Account THEN Name END FROM Case",
            "MALFORMED_QUERY",
            "only supported on polymorphic",
        ),
        ("SELECT UPPER(Name) FROM Account", "MALFORMED_QUERY", "unexpected token: 'UPPER'"),
        (
            "SELECT Id FROM Account WHERE Name = 'x' AND (Name = 'y' OR Id IN (SELECT AccountId FROM Contact))",
            "MALFORMED_QUERY",
            "Semi join sub-selects are only allowed at the top level WHERE expressions and not in nested WHERE "
            "expressions.",
        ),
        (
            "SELECT Id FROM Account WHERE Id IN (SELECT ParentId FROM Account)",
            "MALFORMED_QUERY",
            "The inner and outer selects should not be on the same object type",
        ),
        (
            "SELECT Id FROM Contact WHERE AccountId IN (SELECT OwnerId FROM Case)",
            "MALFORMED_QUERY",
            "The selected field 'OwnerId' in the subquery and the left operand field in the where expression in the "
            "outer query 'AccountId' should point to the same object type",
        ),
        (
            "SELECT Id FROM Case WHERE AccountId IN (SELECT Account.Parent.Id FROM Contact)",
            "MALFORMED_QUERY",
            "cannot have more than one level of relationships",
        ),
        (
            "SELECT MAX(Name) FROM Account LIMIT 1",
            "MALFORMED_QUERY",
            "Non-grouped query that uses overall aggregate functions cannot also use LIMIT",
        ),
        (
            "SELECT COUNT(Id) FROM Account OFFSET 1",
            "MALFORMED_QUERY",
            "Non-grouped query that uses overall aggregate functions cannot also use OFFSET",
        ),
        (
            "SELECT Industry, COUNT(Industry) FROM Account GROUP BY Industry",
            "MALFORMED_QUERY",
            "Grouped field should not be aggregated: Industry",
        ),
        (
            "SELECT Industry FROM Account GROUP BY Industry, industry",
            "MALFORMED_QUERY",
            "duplicate grouping expression: Industry",
        ),
        (
            "SELECT COUNT() FROM Account ORDER BY Name",
            "MALFORMED_QUERY",
            "Ordered field must be grouped or aggregated: Name",
        ),
        (
            "SELECT COUNT(Id) FROM Account GROUP BY CUBE(Name, Industry, Active__c, IsDeleted)",
            "MALFORMED_QUERY",
            "GROUP BY CUBE can have at most 3 grouping expressions",
        ),
        (
            "SELECT Id FROM Account WHERE DISTANCE(BillingAddress, GEOLOCATION(1, 2), 'km') = 5",
            "INVALID_QUERY_FILTER_OPERATOR",
            "The DISTANCE function can only be compared with < or >, not with =",
        ),
        ("SELECT Id FROM Account USING SCOPE yours", "MALFORMED_QUERY", "unexpected token: 'yours'"),
        (f"SELECT Id FROM Account WHERE Name = '{'x' * 4001}'", "MALFORMED_QUERY", "at most 4000"),
        (
            "SELECT Name, (SELECT Id FROM Contacts OFFSET 1) FROM Account LIMIT 2",
            "MALFORMED_QUERY",
            "OFFSET in a subquery is only allowed if the parent query has LIMIT 1",
        ),
        (
            f"SELECT Id FROM Account ORDER BY {', '.join(['Name'] * 33)}",
            "MALFORMED_QUERY",
            "A query can be ordered by no more than 32 fields",
        ),
    ],
)
def test_refusals(text: str, code: str, tail: str) -> None:
    error = refused(text)
    assert error.code == code
    assert tail in error.message


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("SELECT BillingAddress FROM Account", "API_ERROR", "Selecting compound data not supported in Bulk Query"),
        ("SELECT COUNT() FROM Account", "API_ERROR", "Aggregate Relationships not supported in Bulk Query"),
        ("SELECT MAX(Name) FROM Account", "API_ERROR", "Aggregate Relationships not supported in Bulk Query"),
        ("SELECT Name FROM Account GROUP BY Name", "API_ERROR", "Aggregate Relationships not supported in Bulk Query"),
        (
            "SELECT (SELECT Id FROM Contacts) FROM Account",
            "API_ERROR",
            "Aggregate Relationships not supported in Bulk Query",
        ),
        ("SELECT Id FROM Account LIMIT 1 OFFSET 1", "API_ERROR", "OFFSET clause not supported in Bulk Query"),
        ("SELECT TYPEOF Owner WHEN User THEN Name END FROM Case", "API_ERROR", "TYPEOF not supported in Bulk Query"),
        ("SELECT Id FROM TaskStatus", "INVALIDENTITY", "Entity 'TaskStatus' is not supported by the Bulk API."),
        ("SELECT Body FROM Attachment", "API_ERROR", "Selecting binary data not supported in Bulk Query"),
        (
            "SELECT FIELDS(ALL) FROM Account LIMIT 1",
            "API_ERROR",
            "The SOQL FIELDS function with ALL is not supported in Bulk Query",
        ),
    ],
)
def test_bulk_refuses_what_bulk_cannot(text: str, code: str, message: str) -> None:
    error = refused(text, bulk=True)
    assert (error.code, error.message) == (code, message)
    if "FIELDS" not in text:
        assert compiled(text)


def test_links_to_files_need_a_filter_by_id() -> None:
    error = refused("SELECT Id FROM ContentDocumentLink WHERE LinkedEntityId != null")
    assert error.code == "MALFORMED_QUERY"
    assert error.message == (
        "Implementation restriction: ContentDocumentLink requires a filter by a single Id on ContentDocumentId or "
        "LinkedEntityId using the equals operator or multiple Id's using the IN operator."
    )
    listed = f"'{record_id('001', 1)}', '{record_id('001', 2)}'"
    assert compiled(f"SELECT Id FROM ContentDocumentLink WHERE LinkedEntityId IN ({listed})")
    assert refused(f"SELECT Id FROM ContentDocumentLink WHERE LinkedEntityId NOT IN ({listed})")


def test_what_older_versions_do_not_know() -> None:
    nested = "SELECT (SELECT LastName, (SELECT LastName FROM Contacts) FROM Contacts) FROM Account"
    assert compiled(nested, version=58.0)
    assert refused(nested, version=57.0).message.endswith("subqueries cannot be nested deeper than 2 levels")
    fields = "SELECT FIELDS(ALL) FROM Account LIMIT 5"
    assert compiled(fields, version=51.0)
    assert refused(fields, version=50.0).code == "MALFORMED_QUERY"


def test_a_query_reaches_at_most_55_parents() -> None:
    wide = SObject("Wide", fields=tuple(lookup(f"L{number}Id", "Account") for number in range(56)))
    schema = OrgSchema([*SCHEMA, wide])
    paths = [f"L{number}.Name" for number in range(56)]
    assert compile_query(f"SELECT {', '.join(paths[:55])} FROM Wide", schema, now=NOW)
    with pytest.raises(SoqlError, match="55"):
        compile_query(f"SELECT {', '.join(paths)} FROM Wide", schema, now=NOW)
