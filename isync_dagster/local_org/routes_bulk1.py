"""Bulk 1.0 resources: jobs of batches in CSV, JSON or XML."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import polars as pl

from isync_dagster.local_org.bulk1_batch import outcome_path
from isync_dagster.local_org.bulk1_jobs import OVER, QUERIES, Batch, Bulk1Job
from isync_dagster.local_org.bulk1_wire import (
    Bulk1Error,
    error_reply,
    info_reply,
    list_reply,
    query_result,
    read_control,
    result_list,
    row_results,
)
from isync_dagster.local_org.ids import to18
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, route

OPERATIONS: Final = ("insert", "update", "upsert", "delete", "hardDelete", "query", "queryAll")
CONTENT_TYPES: Final = ("CSV", "JSON", "XML")
MOST_BYTES: Final = 10_000_000
CHUNK_ROWS: Final = 100_000
CHUNK_MOST: Final = 250_000
_MODES: Final = {"0": "Parallel", "1": "Serial", "parallel": "Parallel", "serial": "Serial", "": "Parallel"}


def _answering(handler: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
    """The handler with every refusal in this API's own envelope."""

    def answer(call: Call) -> Reply:
        try:
            return handler(call)
        except ApiError as error:
            return error_reply(error, call.headers)

    return answer


def create(call: Call) -> Reply:
    """POST job."""
    given = read_control(call)
    operation, name = str(given.get("operation") or ""), str(given.get("object") or "")
    if operation not in OPERATIONS:
        raise Bulk1Error(400, "InvalidJob", f"Unknown operation: {operation}" if operation else "Missing operation")
    sobject = call.org.schema.get(name)
    if sobject is None:
        raise Bulk1Error(400, "InvalidJob", f"Unable to find object: {name}")
    able = {"update": sobject.updateable, "delete": sobject.deletable, "hardDelete": sobject.deletable}
    if not (sobject.queryable if operation in QUERIES else able.get(operation, sobject.createable)):
        raise Bulk1Error(400, "InvalidEntity", f"Entity '{sobject.name}' is not supported by the Bulk API.")
    content_type = str(given.get("contentType") or "XML").upper()
    if content_type not in CONTENT_TYPES:
        raise Bulk1Error(400, "InvalidJob", f"Unsupported contentType: {content_type}")
    mode = _MODES.get(str(given.get("concurrencyMode") or "").lower())
    if mode is None:
        raise Bulk1Error(400, "InvalidJob", f"Unknown concurrencyMode: {given['concurrencyMode']}")
    if operation == "hardDelete" and not call.org.settings.hard_delete:
        raise Bulk1Error(
            400,
            "FeatureNotEnabled",
            "hardDelete operation requires special user profile permission, please contact your system administrator",
        )
    assert call.session is not None
    size, start = _chunking(call) if operation in QUERIES else (0, "")
    job = call.service.bulk1.create(
        operation=operation,
        object=sobject.name,
        created_by=call.session.user_id,
        api_version=call.path["v"],
        external_id=_external_id(given, sobject.name, call) if operation == "upsert" else None,
        assignment_rule=given.get("assignmentRuleId") or None,
        concurrency_mode=mode,
        content_type=content_type,
        chunk_size=size,
        chunk_start=start,
    )
    return info_reply(call, "jobInfo", job.info(), "", status=201)


def _external_id(given: dict[str, Any], name: str, call: Call) -> str:
    wanted = str(given.get("externalIdFieldName") or "")
    field = call.org.schema[name].field(wanted) if wanted else None
    if not wanted:
        raise Bulk1Error(400, "InvalidJob", "External ID was blank for the upsert operation")
    if field is None or not (field.id_lookup or field.external_id):
        raise Bulk1Error(
            400,
            "InvalidJob",
            f"Field name provided, {wanted} does not match an External ID, Salesforce Id, or indexed field for {name}",
        )
    return field.name


def _chunking(call: Call) -> tuple[int, str]:
    """Rows a chunk (0: no chunking) and the first id, of `Sforce-Enable-PKChunking`."""
    header = call.headers.get("sforce-enable-pkchunking", "")
    if not header or header.strip().lower() == "false":
        return 0, ""
    size = re.search(r"chunkSize\s*=\s*(\d+)", header, re.IGNORECASE)
    start = re.search(r"startRow\s*=\s*(\w+)", header, re.IGNORECASE)
    rows = int(size.group(1)) if size else CHUNK_ROWS
    if not 1 <= rows <= CHUNK_MOST:
        raise Bulk1Error(400, "InvalidJob", f"Invalid chunkSize: {rows}. The maximum is {CHUNK_MOST}")
    return rows, to18(start.group(1)) if start else ""


def _job(call: Call) -> Bulk1Job:
    job = call.service.bulk1.get(call.path["job"])
    if job is None:
        raise Bulk1Error(400, "InvalidJob", f"Invalid job id: {call.path['job']}")
    return job


def _batch(call: Call) -> tuple[Bulk1Job, Batch]:
    job = _job(call)
    wanted = to18(call.path["batch"])
    batch = next((item for item in job.batches if item.id == wanted), None)
    if batch is None:
        raise Bulk1Error(400, "InvalidBatch", f"Invalid batch id: {call.path['batch']}")
    return job, batch


def get_job(call: Call) -> Reply:
    """GET job/{id}."""
    job = _job(call)
    return info_reply(call, "jobInfo", job.info(), job.content_type)


def change_job(call: Call) -> Reply:
    """POST job/{id}: Closed or Aborted."""
    job = _job(call)
    state = read_control(call).get("state")
    if state not in ("Closed", "Aborted"):
        raise Bulk1Error(400, "InvalidJob", f"Unknown state: {state}")
    if job.state != "Open" and not (job.state == "Closed" and state == "Aborted"):
        raise Bulk1Error(400, "InvalidJobState", f"Job is {job.state}; it cannot become {state}")
    call.service.bulk1.end(job, str(state))
    return info_reply(call, "jobInfo", job.info(), job.content_type)


def add_batch(call: Call) -> Reply:
    """POST job/{id}/batch: rows or a query; a query of a job with PK chunking becomes many batches."""
    job = _job(call)
    if job.state != "Open":
        raise Bulk1Error(400, "InvalidJobState", f"Can't add batch to a job that is {job.state}")
    if len(call.body) > MOST_BYTES:
        raise Bulk1Error(400, "ClientInputError", f"Failed to read request. Exceeded max size limit of {MOST_BYTES}")
    if job.chunk_size:
        batch = call.service.bulk1.add(job, [call.body], "NotProcessed")[0]
        call.service.bulk1.add(job, _chunks(call, job))
    else:
        batch = call.service.bulk1.add(job, [call.body])[0]
    return info_reply(call, "batchInfo", batch.info(job.id), job.content_type, status=201)


def _chunks(call: Call, job: Bulk1Job) -> list[bytes]:
    """The query of a chunked job, once for each span of ids."""
    text = call.body.decode("utf-8", "replace").strip()
    if re.search(r"\border\s+by\b|\blimit\b", text, re.IGNORECASE):
        raise Bulk1Error(400, "InvalidBatch", "PK chunking does not support ORDER BY or LIMIT")
    starts = call.org.storage.rows(
        f'SELECT "Id" FROM (SELECT "Id", row_number() OVER (ORDER BY "Id") AS n FROM {quote(job.object)} '
        'WHERE "Id" >= ?) WHERE (n - 1) % ? = 0 ORDER BY "Id"',
        [job.chunk_start, job.chunk_size],
    )
    edges = [str(row[0]) for row in starts]
    spans = [
        f"Id >= '{first}'" + (f" AND Id < '{last}'" if last else "")
        for first, last in zip(edges, [*edges[1:], ""], strict=True)
    ]
    where = re.search(r"\bwhere\b", text, re.IGNORECASE)
    if where is None:
        return [f"{text} WHERE {span}".encode() for span in spans]
    return [f"{text[: where.end()]} {span} AND ({text[where.end() :].strip()})".encode() for span in spans]


def list_batches(call: Call) -> Reply:
    """GET job/{id}/batch."""
    job = _job(call)
    return list_reply(call, [batch.info(job.id) for batch in job.batches], job.content_type)


def get_batch(call: Call) -> Reply:
    """GET job/{id}/batch/{id}."""
    job, batch = _batch(call)
    return info_reply(call, "batchInfo", batch.info(job.id), job.content_type)


def request(call: Call) -> Reply:
    """GET job/{id}/batch/{id}/request: what was sent."""
    job, batch = _batch(call)
    content = (call.service.bulk1.path(job) / f"{batch.id}.request").read_bytes()
    kinds = {"CSV": "text/csv", "JSON": "application/json", "XML": "application/xml"}
    return Reply(content, content_type=kinds[job.kind])


def result(call: Call) -> Reply:
    """GET job/{id}/batch/{id}/result: the outcome of rows, or the list of a query's results."""
    job, batch = _batch(call)
    if batch.state not in OVER:
        raise Bulk1Error(400, "InvalidBatch", "Batch not completed")
    if batch.state != "Completed":
        raise Bulk1Error(400, "InvalidBatch", "Records not processed")
    if job.operation in QUERIES:
        return result_list(call, [batch.result] if batch.result else [], job.content_type)
    return row_results(pl.read_parquet(outcome_path(call.service.bulk1, job, batch.id)), job.content_type)


def query_rows(call: Call) -> Reply:
    """GET job/{id}/batch/{id}/result/{id}: the rows of a query."""
    job, batch = _batch(call)
    if batch.result != call.path["result"][:15]:
        raise Bulk1Error(400, "InvalidBatch", f"Invalid result id: {call.path['result']}")
    content = (call.service.bulk1.path(job) / f"{batch.result}.result").read_bytes()
    return query_result(content, job.content_type)


def routes() -> list[Route]:
    """The resources of this module."""
    job = r"/services/async/(?P<v>\d+\.\d)/job"
    one = rf"{job}/(?P<job>\w+)"
    batch = rf"{one}/batch/(?P<batch>\w+)"
    return [
        route(job, POST=_answering(create)),
        route(one, GET=_answering(get_job), POST=_answering(change_job)),
        route(f"{one}/batch", GET=_answering(list_batches), POST=_answering(add_batch)),
        route(batch, GET=_answering(get_batch)),
        route(f"{batch}/request", GET=_answering(request)),
        route(f"{batch}/result", GET=_answering(result)),
        route(rf"{batch}/result/(?P<result>\w+)", GET=_answering(query_rows)),
    ]
