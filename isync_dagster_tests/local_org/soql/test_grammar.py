from __future__ import annotations

import pytest

from isync_dagster.local_org.soql import SoqlError, parse
from isync_dagster.local_org.soql.ast import And, Call, Comparison, Item, Not, Or, Path, Subquery, TypeOf

PARSED = [
    "SELECT Id FROM Account",
    "select id from account a where a.name = 'x' limit 5 offset 3",
    "SELECT Order.Name, Group.Name FROM Order ORDER BY Order.Name DESC NULLS LAST, Id ASC",
    "SELECT Id, (SELECT Id, (SELECT Id FROM Cases) FROM Contacts ORDER BY Name LIMIT 2) FROM Account",
    "SELECT COUNT() FROM Group",
    "SELECT COUNT(Id) total, Industry FROM Account GROUP BY Industry HAVING COUNT(Id) > 1 AND Industry != null",
    "SELECT Industry, GROUPING(Industry) g FROM Account GROUP BY ROLLUP(Industry)",
    "SELECT Industry, Type, COUNT(Id) FROM Account GROUP BY CUBE(Industry, Type)",
    "SELECT FIELDS(STANDARD), Custom__c FROM Account LIMIT 200",
    "SELECT toLabel(Industry), FORMAT(MIN(AnnualRevenue)) low, convertCurrency(AnnualRevenue) FROM Account",
    "SELECT TYPEOF What WHEN Account THEN Name, Phone WHEN Case THEN Subject ELSE Name END, Id FROM Task",
    "SELECT Id FROM Account USING SCOPE mine WHERE Name LIKE 'a%' WITH SECURITY_ENFORCED",
    "SELECT Title FROM FAQ__kav WITH DATA CATEGORY Geography__c ABOVE usa__c AND Product__c AT (a__c, b__c)",
    "SELECT Id FROM Account FOR VIEW",
    "SELECT Id FROM Account LIMIT 1 FOR UPDATE",
    "SELECT Id FROM Account FOR REFERENCE ALL ROWS",
    "SELECT Id FROM A WHERE Tags__c INCLUDES ('A;B','C') AND Tags__c EXCLUDES ('D')",
    "SELECT Id FROM A WHERE Id IN (SELECT AccountId FROM Contact) AND Id NOT IN (SELECT AccountId FROM Case)",
    "SELECT Id FROM A WHERE DISTANCE(Place__c, GEOLOCATION(37.7,-122.4), 'mi') < 20.5 ORDER BY "
    "DISTANCE(Place__c, GEOLOCATION(37.7,-122.4), 'mi')",
    "SELECT Id FROM A WHERE D = TODAY OR D > LAST_N_DAYS:30 OR D <= N_FISCAL_QUARTERS_AGO:2 OR D = NEXT_90_DAYS",
    "SELECT Id FROM A WHERE D = 2024-01-31 AND T >= 2024-01-31T00:00:00Z AND T < 2024-01-31T00:00:00.123+02:00",
    "SELECT Id FROM A WHERE T = 12:30:00.000Z AND N = -1.5e3 AND C > USD5000 AND B = true AND X != NULL",
    "SELECT c.Name, a.Name FROM Contact c, c.Account a WHERE a.Name != 'x'",
    "SELECT CALENDAR_YEAR(convertTimezone(CreatedDate)), COUNT(Id) FROM A GROUP BY "
    "CALENDAR_YEAR(convertTimezone(CreatedDate))",
    r"SELECT Id FROM A WHERE Name = 'O\'Neil \"x\" \\ \n' AND Name LIKE '100\%\_%'",
    "SELECT\n  Id ,\n\tName\nFROM\r\n Account\nWHERE ( ( Name = 'a' ) )",
    "SELECT Limit__c, Order__c, From__c FROM A WHERE Not__c = 1 AND In__c IN (1) AND NOT(Like__c LIKE 'x')",
]


@pytest.mark.parametrize("text", PARSED)
def test_everything_of_the_reference_parses(text: str) -> None:
    assert parse(text).sources


def test_case_of_keywords_does_not_matter() -> None:
    upper = parse("SELECT ID FROM ACCOUNT WHERE NAME NOT IN ('A') ORDER BY NAME DESC NULLS LAST")
    lower = parse("select ID from ACCOUNT where NAME not in ('A') order by NAME desc nulls last")
    assert upper == lower


def test_tree_of_a_condition() -> None:
    where = parse("SELECT Id FROM A WHERE x = 1 AND (y = 2 OR NOT z = 3)").where
    assert isinstance(where, And)
    first, second = where.conditions
    assert isinstance(first, Comparison)
    assert isinstance(second, Or)
    assert isinstance(second.conditions[1], Not)


def test_selected_things_keep_their_order_and_place() -> None:
    select = parse("SELECT Id, (SELECT Id FROM Cs), COUNT(x) n, TYPEOF W WHEN A THEN b END FROM A").select
    assert [type(item) for item in select] == [Item, Subquery, Item, TypeOf]
    first, _, third, _ = select
    assert isinstance(first, Item)
    assert first.expression == Path(("Id",), 7)
    assert isinstance(third, Item)
    assert isinstance(third.expression, Call)
    assert (third.expression.name, third.alias) == ("COUNT", "n")


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("SELECT Id FRO Account", "FRO"),
        ("SELECT Id FROM Account WHERE", "<EOF>"),
        ("SELECT FROM Account", "FROM"),
        ("SELECT Id FROM Account WHERE a = 1 AND b = 2 OR c = 3", "OR"),
        ("SELECT Id FROM Account WHERE a = 1 OR b = 2 AND c = 3", "AND"),
        ("SELECT Id FROM Account;", ";"),
        ("SELECT * FROM Account", "*"),
        ("SELECT Id, FROM Account", "FROM"),
        ("SELECT Id FROM Account LIMIT x", "x"),
        ("SELECT Id FROM Account LIMIT 1.5", "1.5"),
        ("SELECT Industry FROM Account HAVING COUNT(Id) > 1", "HAVING"),
        ("SELECT Id FROM Account ORDER BY Name LIMIT 1 WHERE Name = 'x'", "WHERE"),
        ("DELETE FROM Account", "DELETE"),
        ("", "<EOF>"),
    ],
)
def test_a_token_that_does_not_fit_is_named(text: str, token: str) -> None:
    with pytest.raises(SoqlError) as caught:
        parse(text)
    assert caught.value.code == "MALFORMED_QUERY"
    assert caught.value.message == f"unexpected token: '{token}'"


@pytest.mark.parametrize("text", ["Name = :name", "Name = foo", "D = LAST_N_DAYS", "Id IN ids", "Id NOT IN :ids"])
def test_a_name_where_a_value_must_stand_is_a_bind_variable(text: str) -> None:
    with pytest.raises(SoqlError) as caught:
        parse(f"SELECT Id FROM Account WHERE {text}")
    assert caught.value.code == "MALFORMED_QUERY"
    column = 30 + text.rindex(" ")
    assert caught.value.message.endswith(
        f"ERROR at Row:1:Column:{column + 1}\nBind variables only allowed in Apex code"
    )


def test_an_open_text_literal() -> None:
    with pytest.raises(SoqlError) as caught:
        parse("SELECT Id FROM Account WHERE Name = 'abc")
    assert caught.value.code == "MALFORMED_QUERY"
    assert caught.value.message.endswith(
        "\nERROR at Row:1:Column:36\nline 1:40 mismatched character '<EOF>' expecting '''"
    )


def test_a_character_that_no_query_has() -> None:
    """As a real org answered it: the lexer's own column, which counts from 0, is shown as the column."""
    with pytest.raises(SoqlError) as caught:
        parse('SELECT FirstName, LastName\nFROM CampaignMember WHERE Id = "00v3D000003BjNa"')
    assert caught.value.message == (
        '\nFROM CampaignMember WHERE Id = "00v3D000003BjNa"\n                              ^\n'
        "ERROR at Row:2:Column:31\nline 2:31 no viable alternative at character '\"'"
    )


def test_a_query_that_is_too_long() -> None:
    with pytest.raises(SoqlError) as caught:
        parse("SELECT Id FROM Account WHERE Name = '" + "x" * 100_000 + "'")
    assert caught.value.code == "QUERY_TOO_COMPLICATED"


def test_a_moment_needs_its_time_zone() -> None:
    with pytest.raises(SoqlError) as caught:
        parse("SELECT Id FROM A WHERE D > 2024-01-01T00:00:00 LIMIT 1")
    assert caught.value.message.endswith("ERROR at Row:1:Column:46\nline 1:46 no viable alternative at character ' '")
    with pytest.raises(SoqlError, match="line 1:46 no viable alternative at character '<EOF>'"):
        parse("SELECT Id FROM A WHERE D > 2024-01-01T00:00:00")
