"""Formulas against plain Python: the engine, its blanks, its refusals."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isync_dagster.local_org.formula import FUNCTIONS, FormulaError, Value, compile_formula, functions_of
from isync_dagster.local_org.formula.ast import Reference


class Row:
    """The names of one row's fields, as SQL literals."""

    now = "TIMESTAMP '2026-05-06 07:08:09'"

    def __init__(self, **fields: Value) -> None:
        self.fields = fields

    def value(self, reference: Reference) -> Value:
        found = self.fields.get(reference.text)
        if found is None:
            raise FormulaError(f"Field {reference.text} does not exist. Check spelling.")
        return found

    prior = value

    def is_new(self) -> str:
        return "FALSE"


ROW = Row(
    Text=Value("'Ab c'", "text"),
    NoText=Value("CAST(NULL AS VARCHAR)", "text"),
    Number=Value("2.5", "number"),
    NoNumber=Value("CAST(NULL AS DOUBLE)", "number"),
    Day=Value("DATE '2024-01-31'", "date"),
    Moment=Value("TIMESTAMP '2024-02-29 10:00:00'", "datetime"),
    Pick=Value("'x'", "picklist"),
    Tags=Value("'x;y'", "multipicklist"),
    Id=Value("'0015500001QdQWaAAN'", "id"),
    Truth=Value("TRUE", "boolean"),
)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        yield connection


def worth(database: duckdb.DuckDBPyConnection, text: str, names: Row = ROW, *, zero: bool = False) -> object:
    found = database.execute(f"SELECT {compile_formula(text, names, blanks_as_zero=zero).sql}").fetchone()
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ('IF(ISBLANK(NoText), "none", NoText)', "none"),
        ('Text & NoText & "!"', "Ab c!"),
        ("NoNumber + 1", None),
        ("ISBLANK(NoNumber)", True),
        ("NOT(NoNumber > 1)", True),
        ("NoNumber = NULL", True),
        ('CASE(Pick, "x", 1, "y", 2, 0)', 1),
        ('ISPICKVAL(Pick, "x") && INCLUDES(Tags, "y")', True),
        ("TEXT(Number) & TEXT(Day) & TEXT(Pick)", "2.52024-01-31x"),
        ("ADDMONTHS(Day, 1)", date(2024, 2, 29)),
        ("Day - DATE(2024, 1, 1)", 30),
        ("DATEVALUE(Moment) + 1", date(2024, 3, 1)),
        ("DATE(2023, 2, 30)", None),
        ("YEAR(TODAY()) * 100 + MONTH(TODAY())", 202605),
        ("ROUND(2.675, 2)", 2.68),
        ("ROUND(-2.5, 0)", -3),
        ("CEILING(-2.5)", -3),
        ("FLOOR(-2.5)", -2),
        ("Number / 0", None),
        ('Id = "0015500001QdQWa"', True),
        ("CASESAFEID(Id)", "0015500001QdQWaAAN"),
        ('REGEX("12345", "\\\\d{5}")', True),
        ('SUBSTITUTE(Text, "b", "") & LPAD("7", 3, "0")', "A c007"),
        ('MID("abcdef", 2, 3) & RIGHT("abc", 1)', "bcdc"),
        ("MAX(1, NoNumber)", None),
        ("BLANKVALUE(NoNumber, 7)", 7),
        ("2 + 3 * 2 ^ 2 - -1", 15),
        ("/* why */ TRUE || FALSE && FALSE", True),
        ("ISCHANGED(Text)", False),
    ],
)
def test_a_formula_is_worth_what_salesforce_says(
    database: duckdb.DuckDBPyConnection, formula: str, value: object
) -> None:
    assert worth(database, formula) == value


def test_blank_numbers_count_as_zero_only_where_the_field_says_so(database: duckdb.DuckDBPyConnection) -> None:
    assert worth(database, "NoNumber + 1", zero=True) == 1
    assert worth(database, "ISBLANK(NoNumber)", zero=True) is False


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        ("FOO(1)", "Unknown function FOO. Check spelling."),
        ("LEFT(Text)", "Incorrect number of parameters for function 'LEFT()'. Expected 2, received 1"),
        ("IF(1, 2, 3)", "Incorrect parameter type for function 'IF()'. Expected Boolean, received Number"),
        ('Pick = "x"', "Picklist fields are only supported in certain functions."),
        ("Missing__c + 1", "Field Missing__c does not exist. Check spelling."),
        ("VLOOKUP(Text, Text, Text)", "The local org does not work out VLOOKUP()."),
        ("1 +", "Syntax error"),
        ('"open', "Syntax error"),
    ],
)
def test_a_wrong_formula_is_refused_in_salesforces_words(formula: str, problem: str) -> None:
    with pytest.raises(FormulaError, match="^" + problem.replace("(", r"\(").replace(")", r"\)")):
        compile_formula(formula, ROW)


def test_the_functions_of_a_formula_are_listed_without_compiling_it() -> None:
    assert functions_of('If(Foo(1) > 2, "Bar()", Left(a.b, 1))') == {"IF", "FOO", "LEFT"}
    assert {"REGEX", "ADDMONTHS", "HYPERLINK"} <= set(FUNCTIONS)


NUMBERS = st.decimals(-9999, 9999, places=3)


@settings(max_examples=40, deadline=None)
@given(NUMBERS, NUMBERS, st.integers(0, 3))
def test_arithmetic_is_that_of_decimals(a: Decimal, b: Decimal, places: int) -> None:
    names = Row(A=Value(f"CAST({a} AS DOUBLE)", "number"), B=Value(f"CAST({b} AS DOUBLE)", "number"))
    with duckdb.connect(":memory:") as database:
        total = worth(database, "A * B + A - B", names)
        rounded = worth(database, f"ROUND(A, {places})", names)
        ordered = worth(database, "MIN(A, B) <= MAX(A, B) && (A < B) = NOT(A >= B)", names)
    assert float(total) == pytest.approx(float(a * b + a - b))  # type: ignore[arg-type]
    assert float(rounded) == pytest.approx(  # type: ignore[arg-type]
        float(a.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)), abs=1e-9
    )
    assert ordered is True


@settings(max_examples=40, deadline=None)
@given(st.dates(date(1990, 1, 1), date(2060, 12, 31)), st.integers(-60, 60))
def test_months_are_added_as_the_calendar_has_them(day: date, months: int) -> None:
    names = Row(D=Value(f"DATE '{day}'", "date"))
    with duckdb.connect(":memory:") as database:
        found = worth(database, f"ADDMONTHS(D, {months})", names)
        moved = worth(database, f"D + {months}", names)
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    at_end = day.day == calendar.monthrange(day.year, day.month)[1]
    assert found == date(year, month + 1, last if at_end else min(day.day, last))
    assert moved == day + timedelta(days=months)


@settings(max_examples=40, deadline=None)
@given(st.text("ab '\\\";%_", max_size=6), st.text("ab '\\\";%_", max_size=3), st.integers(0, 8))
def test_texts_travel_unharmed(text: str, part: str, count: int) -> None:
    escaped = text.replace("'", "''")
    names = Row(T=Value(f"'{escaped}'", "text"))
    literal = '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
    with duckdb.connect(":memory:") as database:
        assert worth(database, f"LEFT(T, {count}) & {literal}", names) == ((text[:count] + part) or None)
        assert worth(database, f"CONTAINS(T, {literal})", names) is (part in text)
        assert worth(database, "LEN(T)", names) == len(text)
        if part:
            assert worth(database, f'SUBSTITUTE(T, {literal}, "z")', names) == (text.replace(part, "z") or None)
