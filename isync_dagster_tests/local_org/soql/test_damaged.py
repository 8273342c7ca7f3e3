"""Damaged queries: whatever is written, the answer is rows or Salesforce's refusal, never a fault of the server."""

from __future__ import annotations

import re
from random import Random

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isync_dagster.local_org.soql import SoqlError, records, run
from isync_dagster_tests.local_org.soql.org import compiled, record_id

SOUND = [
    "SELECT Id, Name, Owner.Name, (SELECT LastName, Owner.Name FROM Contacts WHERE LastName LIKE 'a%' "
    "ORDER BY Email LIMIT 2) "
    "FROM Account WHERE Name = 'x' AND (AnnualRevenue > 5 OR NOT Industry IN ('Tech', null)) ORDER BY "
    "Industry DESC NULLS "
    "LAST, Name LIMIT 5 OFFSET 1",
    "SELECT Industry, COUNT(Id) n, MAX(AnnualRevenue), CALENDAR_YEAR(CreatedDate) FROM Account WHERE CreatedDate = "
    "LAST_N_DAYS:5 GROUP BY ROLLUP(Industry, CALENDAR_YEAR(CreatedDate)) HAVING COUNT(Id) > 1 ORDER BY "
    "COUNT(Id) LIMIT 3",
    "SELECT TYPEOF Owner WHEN User THEN Username, Name WHEN Group THEN Name ELSE Name END, Subject FROM Case WHERE "
    "Owner.Type = 'User' AND AccountId IN (SELECT Id FROM Account WHERE Name != '') FOR VIEW",
    "SELECT FIELDS(ALL) FROM Account WHERE Tags__c INCLUDES ('A;B') AND Founded__c > TODAY AND Opens__c "
    "< 10:00:00Z AND "
    "Active__c = true LIMIT 200",
    "SELECT toLabel(Industry), FORMAT(AnnualRevenue) a, convertCurrency(AnnualRevenue), BillingAddress, "
    "DISTANCE(BillingAddress, GEOLOCATION(1,2), 'km') FROM Account USING SCOPE mine WHERE Id NOT IN "
    "('001000000000001')",
    "SELECT COUNT() FROM Order WHERE Account.Owner.Name LIKE '%x\\_' ORDER BY Name LIMIT 2",
    "SELECT Body, Id FROM Attachment a WHERE a.Parent.Name > 'b'",
    "SELECT SUM(AnnualRevenue) s, MIN(Founded__c), AVG(Score__c), COUNT_DISTINCT(Name), GROUPING(Name) "
    "FROM Account GROUP "
    "BY CUBE(Name)",
]
TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[\w.:]+|[<>=!]+|\S")
ODD = [
    "''",
    "'\\'",
    "'\\u00e9'",
    "'\x00'",
    "0",
    "99999999999999999999999",
    "-1",
    "1e400",
    "1e-400",
    "2024-13-45",
    "0001-01-01",
]
ODD += ["9999-12-31T23:59:59Z", "LAST_N_YEARS:9999999", "N_WEEKS_AGO:0", "ReportsTo.Name", "Contacts", "a", "count()"]
WORDS = [*(token for text in SOUND for token in TOKEN.findall(text)), *ODD]


def _kind(token: str) -> str:
    if token[0] in "'-0123456789" or ":" in token or token in ("TODAY", "null", "true"):
        return "value"
    return "word" if token[0].isalpha() else token


def _damage(random: Random) -> str:
    tokens = TOKEN.findall(random.choice(SOUND))
    for _ in range(random.randint(0, 2)):
        at = random.randrange(len(tokens))
        how = random.random()
        if how < 0.15 and len(tokens) > 3:
            del tokens[at]
        elif how < 0.8:
            tokens[at] = random.choice([word for word in WORDS if _kind(word) == _kind(tokens[at])])
        else:
            tokens.insert(at, random.choice(WORDS))
    return " ".join(tokens)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False), bulk=st.booleans())
def test_a_damaged_query_is_answered_or_refused(org: duckdb.DuckDBPyConnection, random: Random, bulk: bool) -> None:
    text = _damage(random)
    try:
        query = compiled(text, bulk=bulk, user_id=record_id("005", 1))
    except SoqlError as error:
        assert error.message
        return
    if bulk:
        org.sql(query.bulk_sql(), params=query.params or None).to_arrow_table()
    else:
        records(run(org, query), query)
