"""Tooling resources: queries over an org's metadata, single records of it, and their switches."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import duckdb

from isync_dagster.local_org import describe
from isync_dagster.local_org.metadata_api.components import PARTS, delete, element, save
from isync_dagster.local_org.soql import SoqlError, compile_query, records, run
from isync_dagster.local_org.tooling.switches import switch
from isync_dagster.local_org.tooling.tables import SCHEMA, metadata_id, tables
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
        for name, frame in tables(call.org, compiled.sql).items():
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
    given = call.json_object()
    if sobject.name == "CustomField":
        metadata = given.get("Metadata")
        if not isinstance(metadata, dict):
            raise ApiError(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Metadata]", ["Metadata"])
        changed = element(sobject.name, record["FullName"], metadata)
        _saved(call, save(call.org, "updateMetadata", [changed]))
    else:
        switch(call.org, sobject.name, record["Id"], given)
    return Reply(None, status=204)


def create(call: Call) -> Reply:
    """POST tooling/sobjects/CustomField (or ValidationRule): `FullName` and `Metadata`."""
    sobject = _known(call)
    given = call.json_object()
    name, metadata = given.get("FullName"), given.get("Metadata")
    if sobject.name not in PARTS or sobject.name == "RecordType":
        raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"entity type {sobject.name} does not support create")
    if not isinstance(name, str) or not name:
        raise ApiError(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [FullName]", ["FullName"])
    if not isinstance(metadata, dict):
        raise ApiError(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Metadata]", ["Metadata"])
    _saved(call, save(call.org, "createMetadata", [element(sobject.name, name, metadata)]))
    made = metadata_id(call.org, sobject.name, name)
    return Reply({"id": made, "success": True, "errors": [], "warnings": [], "infos": []}, status=201)


def _saved(call: Call, results: list[dict[str, Any]]) -> None:
    """The refusal of a saved component, or a changed schema that describes tell of."""
    for item in results:
        for problem in item["errors"]:
            raise ApiError(400, problem["statusCode"], problem["message"], [])
    call.service.modified = time.time()


def remove(call: Call) -> Reply:
    """DELETE tooling/sobjects/CustomField/{id} (or ValidationRule)."""
    sobject = _known(call)
    if sobject.name not in PARTS or sobject.name == "RecordType":
        raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"entity type {sobject.name} does not support delete")
    _saved(call, delete(call.org, sobject.name, [_record(call, sobject)["FullName"]]))
    return Reply(None, status=204)


def routes() -> list[Route]:
    """The resources of this module."""
    one = r"~/tooling/sobjects/(?P<object>\w+)"
    return [
        route("~/tooling/query", GET=query),
        route("~/tooling/sobjects", GET=describe_global),
        route(f"{one}/describe", GET=describe_object),
        route(one, POST=create),
        route(rf"{one}/(?P<id>[\w.]+)", GET=read, PATCH=update, DELETE=remove),
    ]
