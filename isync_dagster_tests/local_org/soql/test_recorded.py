"""Queries that real orgs answered: the recorded rows are loaded, asked for again, and must come back the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest
import yaml

from isync_dagster.local_org.org_schema import OrgSchema, quote
from isync_dagster.local_org.soql import SoqlError, compile_query, parse, records, run
from isync_dagster.local_org.soql.ast import (
    And,
    Comparison,
    Condition,
    Item,
    Query,
    Subquery,
    TypeOf,
)
from isync_dagster.local_org.soql.ast import (
    Path as FieldPath,
)
from isync_dagster.local_org.soql.literals import text_value
from isync_dagster.schema.model import Field, SObject
from isync_dagster_tests.local_org.soql.org import NOW

RECORDINGS = Path(__file__).parents[4] / "shared" / "realdata" / "api"

Json = dict[str, Any]
# The Tooling API says more of a list of records, which is the server's business.
TOOLING_KEYS = {"size", "queryLocator", "entityTypeName"}


def _recorded() -> Iterator[Any]:
    """(query, HTTP status, body) of every recorded query."""
    for file in sorted(RECORDINGS.rglob("*.yaml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for number, interaction in enumerate(content.get("interactions", [])):
            address = urlsplit(interaction.get("request", {}).get("uri") or "")
            if "/query" not in address.path or not address.query:
                continue
            text = parse_qs(address.query)["q"][0]
            answer = interaction["response"]
            body = json.loads(answer["body"]["string"])
            yield pytest.param(text, answer["status"]["code"], body, id=f"{file.stem}-{number}")


CASES = list(_recorded()) or [
    pytest.param("", 0, None, marks=pytest.mark.skip(reason=f"no recordings beside the checkout ({RECORDINGS})"))
]


class Loader:
    """Objects and rows rebuilt from recorded records."""

    def __init__(self) -> None:
        self.fields: dict[str, dict[str, Field]] = {}
        self.rows: dict[str, dict[str, Json]] = {}
        self.children: dict[tuple[str, str], str] = {}

    def field(self, name: str, field: Field) -> None:
        self.fields.setdefault(name, {"Id": Field("Id", "id"), "IsDeleted": Field("IsDeleted", "boolean")})
        self.fields[name].setdefault(field.name, field)

    def take(self, record: Json) -> str:
        """Keeps a record, its parents and its children; gives its id."""
        name, record_id = str(record["attributes"]["url"]).split("/")[-2:]
        self.field(name, Field("Id", "id"))
        row = self.rows.setdefault(name, {}).setdefault(record_id, {"Id": record_id})
        for key, value in record.items():
            if key == "attributes":
                continue
            if isinstance(value, dict) and "records" in value:
                for child in value["records"]:
                    below = self.take(child)
                    self.child(name, key, child["attributes"]["type"])
                    self.rows[child["attributes"]["type"]][below][f"{name}Id"] = record_id
            elif isinstance(value, dict):
                *_, target, _ = value["attributes"]["url"].split("/")
                known = self.fields[name].get(f"{key}Id")
                self.fields[name][f"{key}Id"] = Field(
                    f"{key}Id",
                    "reference",
                    reference_to=tuple(sorted({target, *(known.reference_to if known else ())})),
                    relationship_name=key,
                    polymorphic_foreign_key=value["attributes"]["type"] == "Name",
                )
                row[f"{key}Id"] = self.take(value)
            elif key != "Id":
                kind = (
                    "boolean" if isinstance(value, bool) else "double" if isinstance(value, int | float) else "string"
                )
                if value is not None or key not in self.fields[name]:
                    self.field(name, Field(key, kind))
                row[key] = value
        return record_id

    def child(self, parent: str, key: str, name: str) -> None:
        self.children[parent, key] = name
        self.field(name, Field(f"{parent}Id", "reference", reference_to=(parent,), relationship_name=parent))

    def complete(self, name: str, query: Query) -> None:
        """What the query names and no record shows: empty subqueries, and fields of its conditions."""
        for item in query.select:
            if isinstance(item, Subquery):
                key = item.query.sources[0].path.text
                if (name, key) not in self.children:
                    self.child(name, key, key.removesuffix("s"))
                self.complete(self.children[name, key], item.query)
            elif isinstance(item, TypeOf):
                key, kinds = f"{item.path.text}Id", tuple(branch.type.text for branch in item.branches)
                self.fields[name][key] = Field(
                    key,
                    "reference",
                    reference_to=kinds,
                    relationship_name=item.path.text,
                    polymorphic_foreign_key=True,
                )
                for branch in item.branches:
                    for inner in branch.fields:
                        self.field(branch.type.text, Field(inner.text if isinstance(inner, FieldPath) else "Id"))
            elif isinstance(item, Item) and isinstance(item.expression, FieldPath) and len(item.expression.parts) == 1:
                self.field(name, Field(item.expression.text, "string"))
        for path, value in _equalities(query.where):
            self.field(name, Field(path, "string"))
            for row in self.rows.get(name, {}).values():
                row.setdefault(next(known for known in self.fields[name] if known.lower() == path.lower()), value)

    def schema(self) -> OrgSchema:
        objects = {name: SObject(name, fields=tuple(fields.values())) for name, fields in self.fields.items()}
        answer = OrgSchema(objects.values())
        named = []
        for sobject in answer:
            children = tuple(
                replace(child, relationship_name=key)
                for (parent, key), name in self.children.items()
                for child in sobject.child_relationships
                if parent == sobject.name and name == child.child_s_object and child.field == f"{parent}Id"
            )
            named.append(replace(sobject, child_relationships=children or sobject.child_relationships))
        return OrgSchema(named)

    def database(self, schema: OrgSchema) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:")
        for sobject in schema:
            connection.execute(schema.ddl(sobject))
        for name, rows in self.rows.items():
            for row in rows.values():
                columns = ", ".join(quote(column) for column in row)
                marks = ", ".join("?" for _ in row)
                connection.execute(f"INSERT INTO {quote(name)} ({columns}) VALUES ({marks})", list(row.values()))
        return connection


def _equalities(condition: Condition | None) -> Iterator[tuple[str, str | None]]:
    if isinstance(condition, And):
        for part in condition.conditions:
            yield from _equalities(part)
    elif isinstance(condition, Comparison) and isinstance(condition.left, FieldPath):
        fixed = condition.operator == "=" and condition.value.kind == "text"
        yield condition.left.text, text_value(condition.value.text) if fixed else None


def _any_version(answer: Any) -> Any:
    """Version and tooling part of urls made equal, Id as the url has it: recordings are scrubbed there."""
    if isinstance(answer, dict):
        same = {key: _any_version(value) for key, value in answer.items() if key not in TOOLING_KEYS}
        if "Id" in same:
            same["Id"] = answer["attributes"]["url"].rsplit("/", 1)[1]
        return same
    if isinstance(answer, list):
        return [_any_version(value) for value in answer]
    if isinstance(answer, str):
        return re.sub(r"^/services/data/v[^/]+(/tooling)?/", "/services/data/v/", answer)
    return answer


def _keys(answer: Any) -> Any:
    """Every key in its order."""
    if isinstance(answer, dict):
        return [(key, _keys(value)) for key, value in answer.items()]
    return [_keys(value) for value in answer] if isinstance(answer, list) else None


@pytest.mark.parametrize(("text", "status", "body"), CASES)
def test_a_recorded_query_is_answered_as_recorded(text: str, status: int, body: Any) -> None:
    query = parse(text)
    name = query.sources[0].path.text
    loader = Loader()
    if status == 400:
        loader.field("Account", Field("Name"))
        with pytest.raises(SoqlError) as caught:
            compile_query(text.rstrip(), loader.schema(), now=NOW)
        assert [{"message": caught.value.message, "errorCode": caught.value.code}] == body
        return
    expected = body["records"]
    kinds = {record["attributes"]["type"] for record in expected}
    loader.field(name, Field("Id", "id"))
    if not expected or kinds == {"AggregateResult"}:
        count = expected[0]["expr0"] if expected else body["totalSize"]
        for number in range(count):
            loader.rows.setdefault(name, {})[str(number)] = {"Id": f"{number:018d}"}
    else:
        for record in expected:
            loader.take(record)
        name = kinds.pop()
    loader.complete(name, query)
    schema = loader.schema()
    compiled = compile_query(re.sub(r"(?i) offset \d+", "", text), schema, now=NOW)
    rows = run(loader.database(schema), compiled)
    if compiled.is_count:
        assert rows["c0"].to_pylist() == [body["totalSize"]]
        return
    by_url = lambda record: str(record["attributes"].get("url"))  # noqa: E731
    found = sorted(_any_version(records(rows, compiled)), key=by_url)
    wanted = sorted(_any_version(expected), key=by_url)
    assert found == wanted
    assert _keys(found) == _keys(wanted)
    assert len(found) == body["totalSize"]


def _recording(name: str) -> Any:
    path = RECORDINGS / "restforce" / "sobject" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no recordings beside the checkout ({RECORDINGS})")
    return json.loads(path.read_text(encoding="utf-8"))


def _selected(record: Json) -> Iterator[str]:
    """The SELECT list that an answered record was asked with."""
    for key, value in record.items():
        if isinstance(value, dict) and "records" in value:
            yield f"(SELECT {', '.join(_selected(value['records'][0]))} FROM {key})"
        elif isinstance(value, dict) and key != "attributes":
            yield from (f"{key}.{path}" for path in _selected(value))
        elif key != "attributes":
            yield key


@pytest.mark.parametrize(
    "name",
    [
        "query_success_response",
        "query_paginated_first_page_response",
        "query_paginated_last_page_response",
        "org_query_response",
    ],
)
def test_an_answer_kept_by_another_client_is_given_again(name: str) -> None:
    """Parents, child lists, every scalar type: loaded, asked for by what the record shows, and read back the same."""
    body = _recording(name)
    loader = Loader()
    for record in body["records"]:
        loader.take(record)
    [asked] = {record["attributes"]["type"] for record in body["records"]}
    text = f"SELECT {', '.join(_selected(body['records'][0]))} FROM {asked}"
    schema = loader.schema()
    compiled = compile_query(text, schema, now=NOW)
    found = records(run(loader.database(schema), compiled), compiled)
    own = [record for record in found if record["attributes"]["url"].endswith(f"/{_last(body['records'][0])}")]
    assert [_any_version(record) for record in own] == [_any_version(record) for record in body["records"]]


def _last(record: Json) -> str:
    return str(record["attributes"]["url"]).rsplit("/", 1)[1]


def test_groups_and_their_total_are_those_that_another_client_kept() -> None:
    body = _recording("query_aggregate_success_response")
    details = [record for record in body["records"] if record["CampaignId"] is not None]
    loader = Loader()
    loader.field("Member", Field("CampaignId", "string"))
    loader.field("Member", Field("Value", "double"))
    for number, record in enumerate(details):
        half = record["expr0"] / 2
        for part in (0, 1):
            row = {"Id": f"{2 * number + part:018d}", "CampaignId": record["CampaignId"], "Value": half}
            loader.rows.setdefault("Member", {})[row["Id"]] = row
    schema = loader.schema()
    text = "SELECT CampaignId, SUM(Value) FROM Member GROUP BY ROLLUP(CampaignId) ORDER BY CampaignId DESC NULLS LAST"
    compiled = compile_query(text, schema, now=NOW)
    found = records(run(loader.database(schema), compiled), compiled)
    assert sorted(found, key=str) == sorted(body["records"], key=str)
    assert _keys(found[0]) == _keys(body["records"][0])
    assert found[-1] == body["records"][-1]


def test_an_empty_answer_has_no_records() -> None:
    body = _recording("query_empty_response")
    loader = Loader()
    loader.field("Whizbang", Field("Name"))
    schema = loader.schema()
    compiled = compile_query("SELECT Name FROM Whizbang", schema, now=NOW)
    assert records(run(loader.database(schema), compiled), compiled) == body["records"]
