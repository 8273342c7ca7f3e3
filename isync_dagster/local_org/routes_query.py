"""Query resources: query, queryAll, their next pages, explain."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from isync_dagster.local_org.query_columns import column_metadata
from isync_dagster.local_org.soql import CompiledQuery, SoqlError, compile_query, records, run
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, route

PAGE = 2000


def query(include_deleted: bool) -> Any:
    """The handler of query and queryAll."""

    def handler(call: Call) -> Reply:
        if "explain" in call.query:
            return _explain(call)
        text = call.query.get("q", "").rstrip()
        if not text:
            raise ApiError(400, "MALFORMED_QUERY", "A query string has to be specified")
        try:
            compiled = compile_query(text, call.org.schema, now=call.org.query_time(), include_deleted=include_deleted)
        except SoqlError as error:
            raise ApiError(400, error.code, error.message) from error
        if call.query.get("columns", "").lower() == "true":
            return Reply(column_metadata(compiled))
        with call.org.storage.cursor() as cursor:
            table = run(cursor, compiled)
        if compiled.is_count:
            return Reply({"totalSize": table.column(0)[0].as_py(), "done": True, "records": []})
        return page(call, compiled, table, 0, None)

    return handler


def page(call: Call, compiled: CompiledQuery, table: pa.Table, start: int, cursor_id: str | None) -> Reply:
    """One page of a query's rows, with the address of the next where there is one."""
    size = PAGE
    if found := re.search(r"batchSize=(\d+)", call.headers.get("sforce-query-options", ""), re.IGNORECASE):
        size = min(max(int(found.group(1)), 200), 2000)
    answer: dict[str, Any] = {"totalSize": table.num_rows, "done": start + size >= table.num_rows}
    if not answer["done"]:
        if compiled.is_aggregate:
            raise ApiError(
                400,
                "EXCEEDED_ID_LIMIT",
                "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch",
            )
        cursor_id = cursor_id or call.service.cursors.keep(compiled, table)
        answer["nextRecordsUrl"] = f"{call.base}/query/{cursor_id}-{start + size}"
    answer["records"] = records(table.slice(start, size), compiled, version=call.version)
    return Reply(answer)


def query_more(call: Call) -> Reply:
    """GET query/{locator}."""
    cursor_id, _, start = call.path["locator"].partition("-")
    found = call.service.cursors.find(cursor_id)
    if found is None or not start.isdigit():
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    compiled, table = found
    return page(call, compiled, table, int(start), cursor_id)


def _explain(call: Call) -> Reply:
    try:
        compiled = compile_query(call.query["explain"], call.org.schema, now=call.org.query_time())
    except SoqlError as error:
        raise ApiError(400, error.code, error.message) from error
    plan = {
        "cardinality": 1,
        "fields": [],
        "leadingOperationType": "TableScan",
        "notes": [],
        "relativeCost": 1.0,
        "sobjectCardinality": 1,
        "sobjectType": compiled.sobject.name,
    }
    return Reply({"plans": [plan], "sourceQuery": call.query["explain"]})


def routes() -> list[Route]:
    """The resources of this module."""
    return [
        route("~/query", GET=query(False)),
        route("~/queryAll", GET=query(True)),
        route(r"~/query(?:All)?/(?P<locator>\w+-\d+|\w+)", GET=query_more),
    ]
