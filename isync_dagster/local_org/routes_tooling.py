"""Tooling resources: queries over an org's metadata, single records of it, and their switches."""

from __future__ import annotations

import json
from typing import Any, Final

import duckdb

from isync_dagster.local_org import describe
from isync_dagster.local_org.soql import SoqlError, compile_query, records, run
from isync_dagster.local_org.tooling.switches import switch
from isync_dagster.local_org.tooling.tables import SCHEMA, tables
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, not_found, route
from isync_dagster.schema.model import SObject

ONE_ROW: Final = ("Metadata", "FullName")


def _rows(call: Call, text: str) -> tuple[SObject, list[dict[str, Any]], int]:
    """The object, records and total of a query over the metadata."""
    try:
        compiled = compile_query(text, SCHEMA, now=call.org.query_time())
    except SoqlError as error:
        raise ApiError(400, error.code, error.message) from error
    with duckdb.connect(":memory:") as connection:
        for name, frame in tables(call.org).items():
            connection.register(name, frame)
        table = run(connection, compiled)
    if compiled.is_count:
        return compiled.sobject, [], int(table.column(0)[0].as_py())
    found = records(table, compiled, version=call.version)
    selected = {column.path for column in compiled.columns if not column.hidden}
    if len(found) > 1 and selected & set(ONE_ROW):
        raise ApiError(
            400,
            "MALFORMED_QUERY",
            "When retrieving results with Metadata or FullName fields, the query qualifications must specify no more "
            f"than one row for retrieval. Result size: {len(found)}",
        )
    return compiled.sobject, [_tooling(item) for item in found], len(found)


def _tooling(record: dict[str, Any]) -> dict[str, Any]:
    """A record with tooling URLs, and its metadata as the object that it is."""
    answer: dict[str, Any] = {}
    for key, value in record.items():
        if key == "attributes":
            answer[key] = (
                {**value, "url": value["url"].replace("/sobjects/", "/tooling/sobjects/")}
                if ("url" in value)
                else value
            )
        elif key == "Metadata" and isinstance(value, str):
            answer[key] = json.loads(value)
        elif isinstance(value, dict):
            answer[key] = _tooling(value)
        else:
            answer[key] = value
    return answer


def query(call: Call) -> Reply:
    """GET tooling/query."""
    text = call.query.get("q")
    if not text:
        raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
    sobject, found, total = _rows(call, text)
    return Reply(
        {
            "size": len(found),
            "totalSize": total,
            "done": True,
            "queryLocator": None,
            "entityTypeName": sobject.name,
            "records": found,
        }
    )


def _known(call: Call) -> SObject:
    found = SCHEMA.get(call.path["object"])
    if found is None:
        raise not_found()
    return found


def describe_global(call: Call) -> Reply:
    """GET tooling/sobjects."""
    entries = [describe.global_entry(item, f"{call.base}/tooling") for item in SCHEMA]
    return Reply({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": entries})


def describe_object(call: Call) -> Reply:
    """GET tooling/sobjects/{Object}/describe."""
    return Reply(describe.full(_known(call), f"{call.base}/tooling"))


def read(call: Call) -> Reply:
    """GET tooling/sobjects/{Object}/{id}."""
    sobject = _known(call)
    return Reply(_record(call, sobject))


def _record(call: Call, sobject: SObject) -> dict[str, Any]:
    record_id = call.path["id"]
    if not record_id.isalnum():
        raise not_found()
    names = ", ".join(field.name for field in sobject.fields)
    key = "DurableId" if sobject.name == "EntityDefinition" else "Id"
    try:
        _, found, _ = _rows(call, f"SELECT {names} FROM {sobject.name} WHERE {key} = '{record_id}'")
    except ApiError as error:
        raise not_found() from error
    if not found:
        raise not_found()
    return found[0]


def update(call: Call) -> Reply:
    """PATCH tooling/sobjects/{Object}/{id}."""
    sobject = _known(call)
    record = _record(call, sobject)
    switch(call.org, sobject.name, record["Id"], call.json_object())
    return Reply(None, status=204)


def routes() -> list[Route]:
    """The resources of this module."""
    one = r"~/tooling/sobjects/(?P<object>\w+)"
    return [
        route("~/tooling/query", GET=query),
        route("~/tooling/sobjects", GET=describe_global),
        route(f"{one}/describe", GET=describe_object),
        route(rf"{one}/(?P<id>[\w.]+)", GET=read, PATCH=update),
    ]
