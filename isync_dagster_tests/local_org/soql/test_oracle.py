"""Whole queries against an oracle: the same rows as Polars frames, the same question asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations
from random import Random
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isync_dagster_tests.local_org.soql.org import ask, compiled, database, record_id, run

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LONG = settings(QUICK, max_examples=400)

WORDS = ["alpha", "Beta", "BETA", "gamma ray", "O'Neil", "100%", "Zoë", None]
INDUSTRIES = ["Tech", "Energy", "Apparel", None]


def _rows() -> dict[str, list[dict[str, Any]]]:
    random = Random(3)
    users = [{"Id": record_id("005", n), "Name": f"User {n}", "IsActive": n % 2 == 0} for n in range(1, 4)]
    accounts = [
        {
            "Id": record_id("001", n),
            "Name": random.choice(WORDS),
            "Industry": random.choice(INDUSTRIES),
            "NumberOfEmployees": random.choice([0, 1, 5, 70, None]),
            "Active__c": random.random() < 0.5,
            "Founded__c": random.choice([date(2020, 1, 1) + timedelta(days=random.randrange(900)), None]),
            "ParentId": record_id("001", random.randrange(1, n)) if n > 1 and random.random() < 0.6 else None,
            "OwnerId": random.choice(users)["Id"],
        }
        for n in range(1, 41)
    ]
    contacts = [
        {
            "Id": record_id("003", n),
            "LastName": random.choice([*WORDS[:-1], "Zed"]),
            "Email": random.choice(["a@x.example", "b@x.example", None]),
            "AccountId": random.choice([*accounts[:25], {"Id": None}])["Id"],
            "ReportsToId": record_id("003", random.randrange(1, n)) if n > 1 and random.random() < 0.5 else None,
            "OwnerId": random.choice([*users, {"Id": None}])["Id"],
        }
        for n in range(1, 121)
    ]
    return {"User": users, "Account": accounts, "Contact": contacts}


ROWS = _rows()
TABLES = {name: pl.DataFrame(rows, infer_schema_length=None) for name, rows in ROWS.items()}


def _with(frame: pl.DataFrame, link: str, path: str, table: pl.DataFrame) -> pl.DataFrame:
    """The frame with a parent's columns under `path.`."""
    parent = table.rename({name: f"{path}.{name}" for name in table.columns})
    return frame.join(parent, left_on=link, right_on=f"{path}.Id", how="left", maintain_order="left")


ACCOUNTS = _with(TABLES["Account"], "ParentId", "Parent", TABLES["Account"])
ACCOUNTS = _with(ACCOUNTS, "Parent.ParentId", "Parent.Parent", TABLES["Account"])
ACCOUNTS = _with(ACCOUNTS, "Parent.OwnerId", "Parent.Owner", TABLES["User"])
CONTACTS = _with(TABLES["Contact"], "AccountId", "Account", TABLES["Account"])
CONTACTS = _with(CONTACTS, "Account.OwnerId", "Account.Owner", TABLES["User"])
CONTACTS = _with(CONTACTS, "ReportsToId", "ReportsTo", TABLES["Contact"])


@dataclass(frozen=True)
class Root:
    """An object to ask: its wide frame, and its paths by what can be done with them."""

    name: str
    frame: pl.DataFrame
    texts: Sequence[str]
    numbers: Sequence[str]
    days: Sequence[str]
    groups: Sequence[str]


CONTACT = Root(
    "Contact",
    CONTACTS,
    ["LastName", "Email", "Account.Name", "Account.Owner.Name", "ReportsTo.LastName"],
    ["Account.NumberOfEmployees"],
    ["Account.Founded__c"],
    ["Account.Industry", "Account.Active__c", "Email", "ReportsTo.Email", "Account.NumberOfEmployees"],
)
ACCOUNT = Root(
    "Account",
    ACCOUNTS,
    ["Name", "Parent.Name", "Parent.Parent.Name", "Parent.Owner.Name"],
    ["NumberOfEmployees", "Parent.NumberOfEmployees"],
    ["Founded__c"],
    ["Industry", "Active__c", "Parent.Industry", "NumberOfEmployees"],
)
ROOTS = st.sampled_from([CONTACT, ACCOUNT])


@pytest.fixture(scope="module")
def rows() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = database(ROWS)
    yield connection
    connection.close()


# conditions: the text, and the expression that means the same (never null)


@dataclass(frozen=True)
class Where:
    text: str
    holds: pl.Expr


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


SIGNS: dict[str, Callable[[pl.Expr, Any], pl.Expr]] = {
    "=": lambda have, want: have == want,
    "<": lambda have, want: have < want,
    "<=": lambda have, want: have <= want,
    ">": lambda have, want: have > want,
    ">=": lambda have, want: have >= want,
}


def _compare(path: str, sign: str, shown: str, have: pl.Expr, want: Any) -> Where:
    if sign == "!=":
        return Where(f"{path} != {shown}", ~(have == want).fill_null(False))
    return Where(f"{path} {sign} {shown}", SIGNS[sign](have, want).fill_null(False))


@st.composite
def leaves(draw: st.DrawFn, root: Root) -> Where:
    kind = draw(st.sampled_from(["text", "list", "like", "number", "day", "null"]))
    sign = draw(st.sampled_from([*SIGNS, "!="]))
    if kind == "number":
        path, value = draw(st.sampled_from(root.numbers)), draw(st.sampled_from([0, 1, 5.5, 70]))
        return _compare(path, sign, str(value), pl.col(path), value)
    if kind == "day":
        path = draw(st.sampled_from(root.days))
        day = date(2020, 1, 1) + timedelta(days=draw(st.integers(0, 900)))
        return _compare(path, sign, str(day), pl.col(path), day)
    path = draw(st.sampled_from(root.texts))
    have = pl.col(path).str.to_lowercase()
    if kind == "null":
        word = draw(st.sampled_from(["=", "!="]))
        return Where(f"{path} {word} null", have.is_null() if word == "=" else have.is_not_null())
    values = draw(st.lists(st.sampled_from([*WORDS[:-1], "User 2", "a@x.example"]), min_size=1, max_size=12))
    if kind == "text":
        return _compare(path, sign, _quoted(values[0]), have, values[0].lower())
    if kind == "like":
        start = values[0][: draw(st.integers(1, 3))]
        return Where(
            f"{path} LIKE {_quoted(start)[:-1]}%'", have.str.starts_with(pl.lit(start.lower())).fill_null(False)
        )
    word = draw(st.sampled_from(["IN", "NOT IN"]))
    found = have.is_in([value.lower() for value in values]).fill_null(False)
    return Where(f"{path} {word} ({', '.join(map(_quoted, values))})", found if word == "IN" else ~found)


def conditions(root: Root) -> st.SearchStrategy[Where]:
    def joined(word: str, parts: list[Where]) -> Where:
        holds = pl.all_horizontal if word == "AND" else pl.any_horizontal
        return Where(f" {word} ".join(f"({part.text})" for part in parts), holds(*(part.holds for part in parts)))

    return st.recursive(
        leaves(root),
        lambda inner: st.one_of(
            st.builds(joined, st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=2, max_size=3)),
            inner.map(lambda part: Where(f"NOT ({part.text})", ~part.holds)),
        ),
        max_leaves=4,
    )


@st.composite
def joins(draw: st.DrawFn, root: Root) -> Where:
    """A semi- or anti-join to the other object."""
    word = draw(st.sampled_from(["IN", "NOT IN"]))
    if root is CONTACT:
        inner = draw(conditions(ACCOUNT))
        column, ids = "AccountId", ACCOUNTS.filter(inner.holds)["Id"]
        text = f"AccountId {word} (SELECT Id FROM Account WHERE {inner.text})"
    else:
        inner = draw(conditions(CONTACT))
        column, ids = "Id", CONTACTS.filter(inner.holds)["AccountId"].drop_nulls()
        text = f"Id {word} (SELECT AccountId FROM Contact WHERE {inner.text})"
    found = pl.col(column).is_in(ids.implode()).fill_null(False)
    return Where(text, found if word == "IN" else ~found)


@st.composite
def wheres(draw: st.DrawFn, root: Root) -> Where:
    parts = [draw(conditions(root))] if draw(st.booleans()) else []
    parts += draw(st.lists(joins(root), max_size=2))
    if not parts:
        return Where("", pl.lit(True))
    shown = [part.text if "(SELECT" in part.text else f"({part.text})" for part in parts]
    return Where(" WHERE " + " AND ".join(shown), pl.all_horizontal(*(part.holds for part in parts)))


@st.composite
def orders(draw: st.DrawFn, root: Root) -> tuple[str, list[pl.Expr], list[bool], list[bool]]:
    """ORDER BY as text, and as keys, directions and nulls of a sort; the id makes it total."""
    chosen = draw(st.lists(st.sampled_from([*root.texts, *root.numbers, *root.days]), unique=True, max_size=3))
    shown: list[str] = []
    keys: list[pl.Expr] = []
    down: list[bool] = []
    last: list[bool] = []
    for path in chosen:
        direction = draw(st.sampled_from(["", " ASC", " DESC"]))
        nulls = draw(st.sampled_from(["", " NULLS FIRST", " NULLS LAST"]))
        shown.append(f"{path}{direction}{nulls}")
        keys.append(pl.col(path).str.to_lowercase() if path in root.texts else pl.col(path))
        down.append("DESC" in direction)
        last.append("LAST" in nulls)
    text = f" ORDER BY {', '.join(shown)}" if shown else ""
    return text, [*keys, pl.col("Id")], [*down, False], [*last, False]


def _read(record: dict[str, Any] | None, path: str) -> Any:
    for step in path.split("."):
        record = None if record is None else record[step]
    return record


def _shown(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _asked(rows: duckdb.DuckDBPyConnection, text: str, paths: Sequence[str]) -> list[tuple[Any, ...]]:
    return [tuple(_read(record, path) for path in paths) for record in ask(rows, text)]


def _expected(frame: pl.DataFrame, paths: Sequence[str]) -> list[tuple[Any, ...]]:
    return [tuple(_shown(value) for value in row) for row in frame.select(paths).iter_rows()]


# records


@st.composite
def plain_queries(draw: st.DrawFn) -> tuple[str, list[str], pl.DataFrame]:
    root = draw(ROOTS)
    paths = draw(
        st.lists(st.sampled_from([*root.texts, *root.numbers, *root.days, "Id"]), min_size=1, max_size=5, unique=True)
    )
    where, (order, keys, down, last) = draw(wheres(root)), draw(orders(root))
    limit, skip = draw(st.none() | st.integers(0, 130)), draw(st.none() | st.integers(0, 130))
    text = f"SELECT {', '.join(paths)} FROM {root.name}{where.text}{order}"
    text += f" LIMIT {limit}" * (limit is not None) + f" OFFSET {skip}" * (skip is not None)
    frame = root.frame.filter(where.holds).sort(keys, descending=down, nulls_last=last)
    return text, paths, frame.slice(skip or 0, limit)


def check_plain(rows: duckdb.DuckDBPyConnection, query: tuple[str, list[str], pl.DataFrame]) -> None:
    text, paths, frame = query
    assert _asked(rows, text, paths) == _expected(frame, paths), text


# groups


@st.composite
def group_queries(draw: st.DrawFn) -> tuple[str, int, pl.DataFrame]:
    root = draw(ROOTS)
    groups = draw(st.lists(st.sampled_from(root.groups), min_size=1, max_size=3, unique=True))
    kind = draw(st.sampled_from(["", "ROLLUP", "CUBE"]))
    where = draw(wheres(root))
    text_path, number, day = root.texts[0], root.numbers[-1], root.days[0]
    if not kind and number in groups:
        groups.remove(number)  # a plain group may not aggregate what it groups
    if not groups:
        groups = [root.groups[0]]
    measures = {
        "COUNT(Id)": pl.len().cast(pl.Int64),
        f"COUNT({text_path})": pl.col(text_path).count().cast(pl.Int64),
        f"COUNT_DISTINCT({text_path})": pl.col(text_path).drop_nulls().n_unique().cast(pl.Int64),
        f"SUM({number})": pl.when(pl.col(number).count() > 0).then(pl.col(number).sum()),
        f"MIN({number})": pl.col(number).min(),
        f"MAX({day})": pl.col(day).max(),
    }
    chosen = draw(st.lists(st.sampled_from(list(measures)), min_size=1, max_size=4, unique=True))
    least = draw(st.none() | st.integers(1, 20))
    having = f" HAVING COUNT(Id) >= {least}" if least is not None else ""
    listed = ", ".join(groups)
    by = f"{kind}({listed})" if kind else listed
    selected = ", ".join([*(f"{path} g{n}" for n, path in enumerate(groups)), *chosen])
    frame = root.frame.filter(where.holds)
    parts = []
    for kept in _groupings(groups, kind):
        part = frame.group_by(kept) if kept else frame
        measured = [measures[name].alias(name) for name in chosen] + [pl.len().alias("#rows")]
        found = part.agg(measured) if kept else frame.select(measured)
        empty = [pl.lit(None, frame.schema[name]).alias(name) for name in groups if name not in kept]
        parts.append(found.with_columns(empty).select(*groups, *chosen, "#rows"))
    answer = pl.concat(parts)
    if least is not None:
        answer = answer.filter(pl.col("#rows") >= least)
    text = f"SELECT {selected} FROM {root.name}{where.text} GROUP BY {by}{having}"
    return text, len(groups) + len(chosen), answer.drop("#rows")


def _groupings(groups: list[str], kind: str) -> list[tuple[str, ...]]:
    if kind == "ROLLUP":
        return [tuple(groups[:size]) for size in range(len(groups), -1, -1)]
    if kind == "CUBE":
        return [chosen for size in range(len(groups), -1, -1) for chosen in combinations(groups, size)]
    return [tuple(groups)]


def check_groups(rows: duckdb.DuckDBPyConnection, query: tuple[str, int, pl.DataFrame]) -> None:
    text, width, frame = query
    found = [tuple(record.values())[1:] for record in ask(rows, text)]
    wanted = [tuple(_shown(value) for value in row) for row in frame.iter_rows()]
    assert all(len(row) == width for row in found)
    assert sorted(found, key=repr) == sorted(wanted, key=repr), text


# children


@st.composite
def child_queries(draw: st.DrawFn) -> tuple[str, list[tuple[str, list[str] | None]]]:
    where, (order, keys, down, last) = draw(wheres(ACCOUNT)), draw(orders(ACCOUNT))
    limit = draw(st.none() | st.integers(0, 30))
    inner, (child_order, child_keys, child_down, child_last) = draw(conditions(CONTACT)), draw(orders(CONTACT))
    filtered = draw(st.booleans())
    most = draw(st.none() | st.integers(1, 4))
    text = f"(SELECT Id FROM Contacts{f' WHERE {inner.text}' if filtered else ''}{child_order}"
    text += f" LIMIT {most})" if most is not None else ")"
    text = f"SELECT Id, {text} FROM Account{where.text}{order}" + f" LIMIT {limit}" * (limit is not None)
    children = CONTACTS.filter(inner.holds) if filtered else CONTACTS
    children = children.sort(child_keys, descending=child_down, nulls_last=child_last)
    by_parent = dict(
        children.filter(pl.col("AccountId").is_not_null())
        .group_by("AccountId", maintain_order=True)
        .agg(pl.col("Id").head(most or 1000))
        .iter_rows()
    )
    frame = ACCOUNTS.filter(where.holds).sort(keys, descending=down, nulls_last=last).slice(0, limit)
    return text, [(parent, by_parent.get(parent)) for parent in frame["Id"]]


def check_children(rows: duckdb.DuckDBPyConnection, query: tuple[str, list[tuple[str, list[str] | None]]]) -> None:
    text, wanted = query
    found = [
        (record["Id"], record["Contacts"] and [child["Id"] for child in record["Contacts"]["records"]])
        for record in ask(rows, text)
    ]
    assert found == wanted, text


@QUICK
@given(query=plain_queries())
def test_records(rows: duckdb.DuckDBPyConnection, query: Any) -> None:
    check_plain(rows, query)


def test_subqueries_that_begin_alike(rows: duckdb.DuckDBPyConnection) -> None:
    """All conditions together admit what each of them admits: an optimizer of DuckDB 2.0 loses rows here (`OPTIMIZERS_OFF`)."""
    conditions = (
        "(LastName = 'alpha' OR Account.Name = 'alpha')",
        "AccountId IN (SELECT Id FROM Account WHERE NOT (Parent.Parent.Name = 'alpha'))",
        "AccountId IN (SELECT Id FROM Account WHERE NOT (Parent.Owner.Name = 'alpha'))",
    )
    each = [{row["Id"] for row in ask(rows, f"SELECT Id FROM Contact WHERE {item}")} for item in conditions]
    together = {row["Id"] for row in ask(rows, f"SELECT Id FROM Contact WHERE {' AND '.join(conditions)}")}
    assert together == set.intersection(*each)
    assert together


@QUICK
@given(query=group_queries())
def test_groups(rows: duckdb.DuckDBPyConnection, query: Any) -> None:
    check_groups(rows, query)


@QUICK
@given(query=child_queries())
def test_children(rows: duckdb.DuckDBPyConnection, query: Any) -> None:
    check_children(rows, query)


@QUICK
@given(root=ROOTS, data=st.data())
def test_counts(rows: duckdb.DuckDBPyConnection, root: Root, data: st.DataObject) -> None:
    where = data.draw(wheres(root))
    query = compiled(f"SELECT COUNT() FROM {root.name}{where.text}")
    assert run(rows, query)["c0"].to_pylist() == [root.frame.filter(where.holds).height], where.text


@pytest.mark.slow
@LONG
@given(plain=plain_queries(), groups=group_queries(), children=child_queries())
def test_thousands_of_queries(rows: duckdb.DuckDBPyConnection, plain: Any, groups: Any, children: Any) -> None:
    check_plain(rows, plain)
    check_groups(rows, groups)
    check_children(rows, children)
