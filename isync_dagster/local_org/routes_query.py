"""Query resources: query, queryAll, their next pages, explain."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from isync_dagster.local_org.asking import ask
from isync_dagster.local_org.cursors import STEP, Answer
from isync_dagster.local_org.query_columns import column_metadata
from isync_dagster.local_org.soql import CompiledQuery, SoqlError, records, run
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
            compiled = ask(call, text, include_deleted=include_deleted)
        except SoqlError as error:
            raise ApiError(400, error.code, error.message) from error
        if call.query.get("columns", "").lower() == "true":
            return Reply(column_metadata(compiled))
        return first_page(call, compiled)

    return handler


def first_page(call: Call, compiled: CompiledQuery) -> Reply:
    """The first page of an answer; the rows after it are kept on disk."""
    size = PAGE if compiled.is_aggregate else _page_size(call)
    with call.org.storage.cursor() as cursor:
        if compiled.is_count:
            total = run(cursor, compiled).column(0)[0].as_py()
            return Reply({"totalSize": total, "done": True, "records": []})
        if compiled.is_aggregate:
            answer = _groups(compiled, run(cursor, compiled))
        else:
            rows = cursor.sql(compiled.sql, params=compiled.params or None).to_arrow_reader(STEP)
            answer = call.service.cursors.keep(compiled, rows, size)
    return _page(call, answer, 0, size)


def _page_size(call: Call) -> int:
    found = re.search(r"batchSize=(\d+)", call.headers.get("sforce-query-options", ""), re.IGNORECASE)
    return min(max(int(found.group(1)), 200), PAGE) if found else PAGE


def _groups(compiled: CompiledQuery, table: pa.Table) -> Answer:
    if table.num_rows > PAGE:
        raise ApiError(
            400,
            "EXCEEDED_ID_LIMIT",
            "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch",
        )
    return Answer(compiled, table.num_rows, table)


def _page(call: Call, answer: Answer, start: int, size: int) -> Reply:
    body: dict[str, Any] = {"totalSize": answer.rows, "done": start + size >= answer.rows}
    if not body["done"]:
        body["nextRecordsUrl"] = f"{call.base}/query/{answer.id}-{start + size}"
    body["records"] = records(
        answer.page(start, size),
        answer.compiled,
        version=call.version,
        more=lambda record, rows: (
            f"{call.base}/query/{call.service.cursors.keep_children(answer.compiled, record, rows)}-{PAGE}"
        ),
    )
    return Reply(body)


def query_more(call: Call) -> Reply:
    """GET query/{locator}."""
    cursor_id, _, start = call.path["locator"].partition("-")
    found = call.service.cursors.find(cursor_id)
    if found is None or not start.isdigit():
        raise ApiError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return _page(call, found, int(start), _page_size(call))


def _explain(call: Call) -> Reply:
    try:
        compiled = ask(call, call.query["explain"])
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
