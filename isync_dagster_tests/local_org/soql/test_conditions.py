"""Random conditions, compared with a plain evaluation of the same condition over the rows."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isync_dagster.local_org.soql import compile_query, run
from isync_dagster.local_org.soql.literals import day_range
from isync_dagster_tests.local_org.soql.org import NOW, SCHEMA, database, names, record_id

Row = dict[str, Any]
TEXTS = ["", "a", "A", "ab", "aB", "b_c", "B%C", "100%", "O'Neil", 'say "x"', "back\\slash", "line\nbreak", "é", "É"]
IDS = [record_id("001", number) for number in range(1, 9)]
DAYS = [date(2024, 3, 15) + timedelta(days=shift) for shift in (-800, -100, -31, -15, -5, -1, 0, 1, 4, 20, 91, 400)]
NUMBERS = [Decimal(text) for text in ("-1.5", "0", "0.01", "7", "7.1", "1200000")]
SPANS = [
    "TODAY",
    "YESTERDAY",
    "THIS_WEEK",
    "LAST_MONTH",
    "NEXT_QUARTER",
    "THIS_YEAR",
    "LAST_N_DAYS:5",
    "NEXT_N_WEEKS:2",
]
SPANS += [
    "LAST_90_DAYS",
    "N_MONTHS_AGO:1",
    "LAST_N_YEARS:2",
    "THIS_FISCAL_QUARTER",
    "N_DAYS_AGO:1",
    "LAST_N_QUARTERS:1",
]


def _row(number: int) -> Row:
    def pick(values: list[Any], step: int) -> Any:
        return values[(number * step) % len(values)]

    day = pick([*DAYS, None], 5)
    return {
        "Id": record_id("001", number),
        "Name": pick([*TEXTS[1:], None], 3) ,
        "Code__c": pick(["x", "X", "xy", None], 1),
        "AnnualRevenue": pick([*NUMBERS, None], 1),
        "NumberOfEmployees": pick([0, 7, -2, None], 1),
        "Active__c": number % 3 == 0,
        "Founded__c": day,
        "CreatedDate": pick([datetime(d.year, d.month, d.day, hour) for d in DAYS for hour in (0, 23)] + [None], 7),
        "Tags__c": pick(["A", "A;B", "B;C", "A;B;C", None], 1),
        "ParentId": pick([*IDS, None, None], 3),
    }  # fmt: skip


ROWS = [_row(number) for number in range(1, 61)]
BY_ID = {row["Id"]: row for row in ROWS}


@pytest.fixture(scope="module")
def accounts() -> duckdb.DuckDBPyConnection:
    return database({"Account": ROWS})


@dataclass
class Test:
    """A condition as text and as a function of a row."""

    __test__ = False
    text: str
    holds: Callable[[Row], bool]


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


def _compare(sign: str, have: Any, want: Any) -> bool:
    if sign == "!=":
        return bool(have != want)
    if have is None or want is None:
        return sign == "=" and have is want
    return COMPARE[sign](have, want)


def _like(pattern: str, text: str | None) -> bool:
    if text is None:
        return False
    if pattern == "":
        return text == ""
    if pattern[0] == "%":
        return any(_like(pattern[1:], text[at:]) for at in range(len(text) + 1))
    if pattern[0] == "\\":
        return text[:1] == pattern[1] and _like(pattern[2:], text[1:])
    return text != "" and pattern[0] in ("_", text[0]) and _like(pattern[1:], text[1:])


SIGNS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
EQUALITY = st.sampled_from(["=", "!="])


def _field(path: str) -> Callable[[Row], Any]:
    def read(row: Row) -> Any:
        at: Row | None = row
        *steps, last = path.split(".")
        for _ in steps:
            at = BY_ID.get(at["ParentId"]) if at is not None and at["ParentId"] else None
        value = None if at is None else at[last]
        return None if value == "" else value

    return read


@st.composite
def texts(draw: st.DrawFn) -> Test:
    path = draw(st.sampled_from(["Name", "Parent.Name", "parent.parent.name"]))
    read = _field(path.replace("name", "Name"))
    sign, value = draw(SIGNS), draw(st.sampled_from([*TEXTS, None]))
    want = value.lower() if value else None

    def holds(row: Row) -> bool:
        have = read(row)
        return _compare(sign, have.lower() if have else None, want)

    return Test(f"{path} {sign} {'null' if value is None else _quoted(value)}", holds)


@st.composite
def likes(draw: st.DrawFn) -> Test:
    pattern = "".join(draw(st.lists(st.sampled_from(["a", "B", "%", "_", "\\%", "\\_", "'", "é"]), max_size=4)))
    shown = pattern.replace("'", "\\'")
    return Test(f"Name LIKE '{shown}'", lambda row: _like(pattern.lower(), row["Name"] and row["Name"].lower()))


@st.composite
def exact_texts(draw: st.DrawFn) -> Test:
    sign, value = draw(EQUALITY), draw(st.sampled_from(["x", "X", "XY"]))
    return Test(f"Code__c {sign} '{value}'", lambda row: _compare(sign, row["Code__c"], value))


@st.composite
def numbers(draw: st.DrawFn) -> Test:
    name = draw(st.sampled_from(["AnnualRevenue", "NumberOfEmployees"]))
    sign, value = draw(SIGNS), draw(st.sampled_from([*NUMBERS, Decimal("7.005"), None]))
    return Test(f"{name} {sign} {'NULL' if value is None else value}", lambda row: _compare(sign, row[name], value))


@st.composite
def booleans(draw: st.DrawFn) -> Test:
    sign, value = draw(EQUALITY), draw(st.booleans())
    return Test(f"Active__c {sign} {str(value).upper()}", lambda row: _compare(sign, row["Active__c"], value))


@st.composite
def dates(draw: st.DrawFn) -> Test:
    sign, day = draw(SIGNS), draw(st.sampled_from(DAYS))
    if draw(st.booleans()):
        return Test(f"Founded__c {sign} {day}", lambda row: _compare(sign, row["Founded__c"], day))
    moment = datetime(day.year, day.month, day.day, 1)
    shown = moment.strftime("%Y-%m-%dT%H:%M:%SZ") if draw(st.booleans()) else f"{day}T02:00:00+01:00"
    return Test(f"CreatedDate {sign} {shown}", lambda row: _compare(sign, row["CreatedDate"], moment))


@st.composite
def spans(draw: st.DrawFn) -> Test:
    sign, span = draw(SIGNS), draw(st.sampled_from(SPANS))
    name = draw(st.sampled_from(["Founded__c", "CreatedDate"]))
    first, after = day_range(span, NOW.date())

    def holds(row: Row) -> bool:
        have = row[name]
        if have is None:
            return sign == "!="
        day = have.date() if isinstance(have, datetime) else have
        inside = first <= day < after
        return {
            "=": inside,
            "!=": not inside,
            "<": day < first,
            "<=": day < after,
            ">": day >= after,
            ">=": day >= first,
        }[sign]

    return Test(f"{name} {sign} {span}", holds)


@st.composite
def memberships(draw: st.DrawFn) -> Test:
    word = draw(st.sampled_from(["IN", "NOT IN"]))
    path = draw(st.sampled_from(["Name", "ParentId", "Parent.ParentId"]))
    chosen = draw(st.lists(st.sampled_from(TEXTS if path == "Name" else IDS), min_size=1, max_size=20))
    read = _field(path)
    size = draw(st.sampled_from([15, 18]))
    shown = [_quoted(text if path == "Name" else text[:size]) for text in chosen]
    wanted = {text.lower() or None for text in chosen}

    def holds(row: Row) -> bool:
        have = read(row)
        return ((have.lower() if have else None) in wanted) == (word == "IN")

    return Test(f"{path} {word} ({', '.join(shown)})", holds)


@st.composite
def includes(draw: st.DrawFn) -> Test:
    word = draw(st.sampled_from(["INCLUDES", "EXCLUDES"]))
    chosen = draw(st.lists(st.sampled_from(["A", "b", "A;C", "b;c", "D"]), min_size=1, max_size=2))

    def holds(row: Row) -> bool:
        have = set((row["Tags__c"] or "").lower().split(";"))
        found = any(set(value.lower().split(";")) <= have for value in chosen)
        return found == (word == "INCLUDES")

    return Test(f"Tags__c {word} ({', '.join(_quoted(value) for value in chosen)})", holds)


LEAVES = st.one_of(texts(), likes(), exact_texts(), numbers(), booleans(), dates(), spans(), memberships(), includes())


def _join(word: str, parts: list[Test]) -> Test:
    check = all if word == "AND" else any
    return Test(
        f" {word} ".join(f"({part.text})" for part in parts), lambda row: check(part.holds(row) for part in parts)
    )


CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_join, st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=3)),
        inner.map(lambda part: Test(f"NOT ({part.text})", lambda row: not part.holds(row))),
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=CONDITIONS)
def test_a_filter_keeps_what_a_plain_evaluation_keeps(accounts: duckdb.DuckDBPyConnection, condition: Test) -> None:
    compiled = compile_query(f"SELECT Id FROM Account WHERE {condition.text}", SCHEMA, now=NOW)
    found = set(run(accounts, compiled)["c0"].to_pylist())
    assert found == {row["Id"] for row in ROWS if condition.holds(row)}
    counted = compile_query(f"SELECT COUNT() FROM Account WHERE {condition.text}", SCHEMA, now=NOW)
    assert run(accounts, counted)["c0"].to_pylist() == [len(found)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["AnnualRevenue", "Founded__c", "CreatedDate", "Code__c"]),
    down=st.booleans(),
    nulls=st.sampled_from(["", " NULLS FIRST", " NULLS LAST"]),
    limit=st.integers(0, 70),
    skip=st.integers(0, 70),
)
def test_order_limit_and_offset(
    accounts: duckdb.DuckDBPyConnection, name: str, down: bool, nulls: str, limit: int, skip: int
) -> None:
    text = f"SELECT Id FROM Account ORDER BY {name} {'DESC' if down else 'ASC'}{nulls} LIMIT {limit} OFFSET {skip}"
    found = run(accounts, compile_query(text, SCHEMA, now=NOW))["c0"].to_pylist()
    by_id = sorted(ROWS, key=lambda row: str(row["Id"]))

    def fold(value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    filled = sorted((row for row in by_id if row[name] is not None), key=lambda row: fold(row[name]), reverse=down)
    empty = [row for row in by_id if row[name] is None]
    ordered = filled + empty if "LAST" in nulls else empty + filled
    assert found == [row["Id"] for row in ordered][skip : skip + limit]


def test_hundreds_of_ids(accounts: duckdb.DuckDBPyConnection) -> None:
    listed = ", ".join(f"'{record_id('001', number)[:15]}'" for number in range(50, 800))
    compiled = compile_query(f"SELECT Id FROM Account WHERE Id IN ({listed})", SCHEMA, now=NOW)
    assert len(compiled.params) == 1
    assert len(run(accounts, compiled)) == 11


def test_days_begin_in_the_users_time_zone() -> None:
    rows = [
        {"Id": record_id("001", number), "Name": str(moment), "CreatedDate": moment}
        for number, moment in enumerate([datetime(2024, 3, 14, 22, 59), datetime(2024, 3, 14, 23, 1)], start=1)
    ]
    connection = database({"Account": rows})
    text = "SELECT Name FROM Account WHERE CreatedDate = TODAY"
    assert names(connection, text) == []
    assert names(connection, text, zone=ZoneInfo("Europe/Berlin")) == ["2024-03-14 23:01:00"]
    local = "SELECT Name FROM Account WHERE HOUR_IN_DAY(convertTimezone(CreatedDate)) = 0"
    assert names(connection, local, zone=ZoneInfo("Europe/Berlin")) == ["2024-03-14 23:01:00"]


@pytest.mark.parametrize(
    ("span", "first", "after"),
    [
        ("TODAY", "2024-03-15", "2024-03-16"),
        ("YESTERDAY", "2024-03-14", "2024-03-15"),
        ("TOMORROW", "2024-03-16", "2024-03-17"),
        ("THIS_WEEK", "2024-03-10", "2024-03-17"),
        ("LAST_WEEK", "2024-03-03", "2024-03-10"),
        ("NEXT_MONTH", "2024-04-01", "2024-05-01"),
        ("LAST_QUARTER", "2023-10-01", "2024-01-01"),
        ("NEXT_YEAR", "2025-01-01", "2026-01-01"),
        ("LAST_N_DAYS:30", "2024-02-14", "2024-03-16"),
        ("NEXT_N_DAYS:3", "2024-03-16", "2024-03-19"),
        ("LAST_90_DAYS", "2023-12-16", "2024-03-16"),
        ("NEXT_90_DAYS", "2024-03-16", "2024-06-14"),
        ("LAST_N_MONTHS:2", "2024-01-01", "2024-03-01"),
        ("NEXT_N_QUARTERS:1", "2024-04-01", "2024-07-01"),
        ("N_YEARS_AGO:1", "2023-01-01", "2024-01-01"),
        ("N_WEEKS_AGO:1", "2024-03-03", "2024-03-10"),
        ("LAST_N_DAYS:99999999", "0001-01-01", "2024-03-16"),
    ],
)
def test_relative_dates(span: str, first: str, after: str) -> None:
    assert [str(day) for day in day_range(span, date(2024, 3, 15))] == [first, after]


def test_fiscal_years_begin_where_the_org_says() -> None:
    day = date(2024, 3, 15)
    assert [str(item) for item in day_range("THIS_FISCAL_YEAR", day, 4)] == ["2023-04-01", "2024-04-01"]
    assert [str(item) for item in day_range("THIS_FISCAL_QUARTER", day, 2)] == ["2024-02-01", "2024-05-01"]
    assert [str(item) for item in day_range("LAST_FISCAL_QUARTER", day, 1)] == ["2023-10-01", "2024-01-01"]
