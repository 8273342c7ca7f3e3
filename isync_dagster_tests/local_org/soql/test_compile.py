from __future__ import annotations

import duckdb

from isync_dagster.local_org.soql import run
from isync_dagster_tests.local_org.soql.org import ask, compiled, names, record_id


def test_values_travel_as_parameters() -> None:
    query = compiled("SELECT Id FROM Account WHERE Name = 'x; DROP TABLE' AND AnnualRevenue > 77.125 LIMIT 3")
    assert "DROP" not in query.sql
    assert "77" not in query.sql
    assert query.params[0] == "x; DROP TABLE"


def test_order_puts_nulls_first_and_folds_case(org: duckdb.DuckDBPyConnection) -> None:
    assert names(org, "SELECT Name FROM Account ORDER BY Name DESC") == ["gamma", 'Beta "B", Söhne', "Acme"]
    assert names(org, "SELECT Name FROM Account ORDER BY AnnualRevenue DESC") == ["gamma", 'Beta "B", Söhne', "Acme"]
    assert names(org, "SELECT Name FROM Account ORDER BY AnnualRevenue") == ["gamma", "Acme", 'Beta "B", Söhne']
    assert names(org, "SELECT Name FROM Account ORDER BY AnnualRevenue NULLS LAST")[-1] == "gamma"


def test_a_picklist_sorts_as_its_values_are_arranged(org: duckdb.DuckDBPyConnection) -> None:
    assert names(org, "SELECT Name FROM Account WHERE Industry != null ORDER BY Industry") == ["Acme", "gamma"]


def test_rows_are_stable_by_id_without_an_order(org: duckdb.DuckDBPyConnection) -> None:
    found = [record["Id"] for record in ask(org, "SELECT Id FROM Contact")]
    assert found == sorted(found)
    assert len(found) == 4


def test_limit_and_offset(org: duckdb.DuckDBPyConnection) -> None:
    assert names(org, "SELECT Name FROM Contact ORDER BY Name LIMIT 2 OFFSET 1") == ["Xi", "Yan"]
    assert names(org, "SELECT Name FROM Contact LIMIT 0") == []


def test_deleted_rows_only_for_query_all(org: duckdb.DuckDBPyConnection) -> None:
    assert "Gone" not in names(org, "SELECT Name FROM Account")
    assert "Gone" in names(org, "SELECT Name FROM Account", include_deleted=True)
    assert names(org, "SELECT Name FROM Account WHERE IsDeleted = true") == []
    assert names(org, "SELECT Name FROM Account WHERE IsDeleted = true", include_deleted=True) == ["Gone"]


def test_aliases_and_the_objects_own_name(org: duckdb.DuckDBPyConnection) -> None:
    assert names(org, "SELECT a.Name FROM Account a WHERE a.Owner.Name = 'ann admin'") == ["Acme"]
    assert names(org, "SELECT Account.Name FROM Account WHERE Account.Owner.IsActive = false") == ['Beta "B", Söhne']
    found = ask(
        org, "SELECT c.LastName, a.Name FROM Contact c, c.Account a WHERE a.Industry = 'Tech' ORDER BY c.LastName"
    )
    assert [(record["LastName"], record["Account"]["Name"]) for record in found] == [("Yan", "Acme"), ("Zed", "Acme")]


def test_semi_and_anti_joins(org: duckdb.DuckDBPyConnection) -> None:
    assert names(org, "SELECT Name FROM Account WHERE Id IN (SELECT AccountId FROM Contact WHERE LastName = 'xi')") == [
        'Beta "B", Söhne'
    ]
    assert names(org, "SELECT Name FROM Account WHERE Id NOT IN (SELECT AccountId FROM Contact)") == ["gamma"]
    assert names(org, "SELECT Name FROM Contact WHERE AccountId NOT IN (SELECT Id FROM Account)") == ["Alone"]


def test_count(org: duckdb.DuckDBPyConnection) -> None:
    for text, expected in [
        ("SELECT COUNT() FROM Contact", 4),
        ("SELECT COUNT() FROM Contact WHERE AccountId != null", 3),
        ("SELECT count( ) FROM Contact LIMIT 2", 2),
        ("SELECT COUNT() FROM Contact WHERE Account.Industry = 'Tech' LIMIT 10 OFFSET 1", 1),
    ]:
        query = compiled(text)
        assert query.is_count
        assert run(org, query).to_pylist() == [{"c0": expected}]


def test_groups(org: duckdb.DuckDBPyConnection) -> None:
    kind = {"attributes": {"type": "AggregateResult"}}
    found = ask(
        org,
        "SELECT Account.Name, COUNT(Id), MAX(LastName) last FROM Contact WHERE AccountId != null GROUP BY Account.Name "
        "HAVING COUNT(Id) > 0 ORDER BY COUNT(Id) DESC",
    )
    assert found == [
        {**kind, "Name": "Acme", "expr0": 2, "last": "Zed"},
        {**kind, "Name": 'Beta "B", Söhne', "expr0": 1, "last": "Xi"},
    ]
    assert ask(org, "SELECT SUM(AnnualRevenue), AVG(NumberOfEmployees) a, COUNT_DISTINCT(OwnerId) FROM Account") == [
        {**kind, "expr0": 1200012.5, "a": 7.0, "expr1": 2}
    ]
    assert ask(org, "SELECT Industry i, COUNT(Id) n FROM Account GROUP BY Industry ORDER BY COUNT(Id), Industry")[
        0
    ] == {
        **kind,
        "i": None,
        "n": 1,
    }


def test_rollup_ends_with_the_total(org: duckdb.DuckDBPyConnection) -> None:
    found = ask(org, "SELECT Active__c, COUNT(Id) n, GROUPING(Active__c) g FROM Account GROUP BY ROLLUP(Active__c)")
    assert [(row["Active__c"], row["n"], row["g"]) for row in found] == [(False, 1, 0), (True, 2, 0), (None, 3, 1)]
    cube = ask(org, "SELECT Active__c, IsDeleted, COUNT(Id) n FROM Account GROUP BY CUBE(Active__c, IsDeleted)")
    assert len(cube) == 6


def test_date_functions_group_and_filter(org: duckdb.DuckDBPyConnection) -> None:
    found = ask(
        org,
        "SELECT CALENDAR_YEAR(CreatedDate) y, COUNT(Id) n FROM Account GROUP BY CALENDAR_YEAR(CreatedDate) ORDER BY "
        "CALENDAR_YEAR(CreatedDate) DESC",
    )
    assert [(row["y"], row["n"]) for row in found] == [(2024, 2), (2023, 1)]
    for condition in [
        "CALENDAR_MONTH(CreatedDate) = 3",
        "CALENDAR_QUARTER(CreatedDate) = 1 AND DAY_IN_MONTH(CreatedDate) = 15",
        "DAY_IN_WEEK(CreatedDate) = 6 AND HOUR_IN_DAY(CreatedDate) = 9",
        "DAY_ONLY(CreatedDate) = 2024-03-15",
        "DAY_ONLY(convertTimezone(CreatedDate)) = TODAY",
        "WEEK_IN_MONTH(CreatedDate) = 3 AND WEEK_IN_YEAR(CreatedDate) = 11 AND DAY_IN_YEAR(CreatedDate) = 75",
        "FISCAL_YEAR(CreatedDate) = 2024 AND FISCAL_QUARTER(CreatedDate) = 1 AND FISCAL_MONTH(CreatedDate) = 3",
    ]:
        assert names(org, f"SELECT Name FROM Account WHERE {condition}") == ["Acme"], condition
    shifted = "SELECT Name FROM Account WHERE FISCAL_YEAR(CreatedDate) = 2024 AND FISCAL_MONTH(CreatedDate) = 1"
    assert names(org, shifted, fiscal_start=3) == []
    assert names(org, shifted.replace("2024", "2025"), fiscal_start=3) == ["Acme"]


def test_scope_mine(org: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT Name FROM Account USING SCOPE mine"
    assert names(org, query, user_id=record_id("005", 1)) == ["Acme"]


def test_distance(org: duckdb.DuckDBPyConnection) -> None:
    place = "DISTANCE(BillingAddress, GEOLOCATION(48.137, 11.575), '{}')"
    assert names(org, f"SELECT Name FROM Account WHERE {place.format('km')} < 510") == ["Acme"]
    assert names(org, f"SELECT Name FROM Account WHERE {place.format('km')} < 490") == []
    assert names(org, f"SELECT Name FROM Account WHERE {place.format('mi')} < 315") == ["Acme"]
