"""Bulk 2.0 resources: ingest and query jobs."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import Any, Final

from isync_dagster.local_org.asking import compile_as
from isync_dagster.local_org.bulk_ingest import UPLOAD, results
from isync_dagster.local_org.bulk_jobs import DELIMITERS, FINAL, LINE_ENDS, Job
from isync_dagster.local_org.bulk_query import RESULT, locator, offset_of, page, write_csv
from isync_dagster.local_org.conditions import DAILY_QUERY_JOBS
from isync_dagster.local_org.multipart import is_multipart, read_parts
from isync_dagster.local_org.soql import SoqlError
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, not_found, route

OPERATIONS: Final = ("insert", "update", "upsert", "delete", "hardDelete")
CSV: Final = "text/csv; charset=UTF-8"
MULTIPART_LIMIT: Final = 100_000
PAGE_LIST: Final = 1000
PAGES_AT_ONCE: Final = 5
_RESULT_KINDS: Final = {
    "successfulresults": "successful",
    "failedresults": "failed",
    "unprocessedrecords": "unprocessed",
}


def create_ingest(call: Call) -> Reply:
    """POST jobs/ingest: JSON, or multipart with the rows in the same call."""
    content: bytes | None = None
    if is_multipart(call):
        values, content = _multipart(call)
    else:
        values = call.json_object()
    job = _new_ingest(call, values)
    if content is not None:
        (call.service.jobs.path(job) / UPLOAD).write_bytes(content)
        job.uploaded = True
        call.service.jobs.move(job, "UploadComplete")
    answer = job.info()
    if content is not None:
        call.service.jobs.enqueue(job)
    return Reply(answer)


def _new_ingest(call: Call, values: dict[str, Any]) -> Job:
    operation = values.get("operation")
    if operation not in OPERATIONS:
        raise ApiError(400, "INVALIDJOB", f"Invalid operation: {operation}" if operation else "Missing operation")
    name = values.get("object")
    if not name:
        raise ApiError(400, "INVALIDJOB", "Missing required field: object")
    sobject = call.org.schema.get(str(name))
    if sobject is None:
        raise ApiError(400, "INVALIDENTITY", f"Unable to find object: {name}")
    able = {"update": sobject.updateable, "delete": sobject.deletable, "hardDelete": sobject.deletable}
    if not able.get(str(operation), sobject.createable):
        raise ApiError(400, "INVALIDENTITY", f"Entity '{sobject.name}' is not supported by the Bulk API.")
    if values.get("contentType", "CSV") != "CSV":
        raise ApiError(400, "INVALIDJOB", f"Unsupported content type: {values['contentType']}")
    external_id = values.get("externalIdFieldName")
    if operation == "upsert":
        if not external_id:
            raise ApiError(400, "INVALIDJOB", "External ID field name is required for upsert operation")
        field = sobject.field(str(external_id))
        if field is None or not (field.id_lookup or field.external_id):
            raise ApiError(
                400,
                "INVALIDJOB",
                f"InvalidJob : Field name provided, {external_id} does not match an External ID, Salesforce Id, "
                f"or indexed field for {sobject.name}",
            )
        external_id = field.name
    if operation == "hardDelete" and not call.org.settings.hard_delete:
        raise ApiError(
            400,
            "FEATURENOTENABLED",
            "hardDelete operation requires special user profile permission, please contact your system administrator",
        )
    if not call.org.conditions.batches_left:
        raise ApiError(400, "EXCEEDEDQUOTA", "ApiBatchItems Limit exceeded.")
    assert call.session is not None
    return call.service.jobs.create(
        kind="ingest",
        operation=operation,
        object=sobject.name,
        created_by=call.session.user_id,
        state="Open",
        api_version=call.version,
        external_id=external_id if operation == "upsert" else None,
        assignment_rule=values.get("assignmentRuleId"),
        **_csv_options(values),
    )


def _csv_options(values: dict[str, Any]) -> dict[str, str]:
    delimiter, line_ending = values.get("columnDelimiter") or "COMMA", values.get("lineEnding") or "LF"
    if delimiter not in DELIMITERS:
        raise ApiError(400, "INVALIDJOB", f"Invalid columnDelimiter: {delimiter}")
    if line_ending not in LINE_ENDS:
        raise ApiError(400, "INVALIDJOB", f"Invalid lineEnding: {line_ending}")
    return {"column_delimiter": delimiter, "line_ending": line_ending}


def _multipart(call: Call) -> tuple[dict[str, Any], bytes]:
    parts = {part.name: bytes(part.content) for part in read_parts(call)}
    if "job" not in parts or "content" not in parts:
        raise ApiError(400, "INVALIDJOB", "A multipart job needs a part named job and a part named content")
    if len(parts["content"].decode(errors="replace")) > MULTIPART_LIMIT:
        raise ApiError(400, "CLIENTINPUTERROR", f"Content exceeds the limit of {MULTIPART_LIMIT} characters")
    return replace(call, body=parts["job"]).json_object(), parts["content"]


def _job(call: Call, kind: str) -> Job:
    job = call.service.jobs.find(call.path["job"], kind)
    if job is None:
        raise not_found()
    return job


def upload(call: Call) -> Reply:
    """PUT jobs/ingest/{id}/batches: once."""
    job = _job(call, "ingest")
    if job.state != "Open":
        raise ApiError(400, "INVALIDJOBSTATE", f"Job must be Open to upload data; it is {job.state}")
    if job.uploaded:
        raise ApiError(
            400,
            "INVALIDJOB",
            f"Found multiple contents for job: <{job.id}>, please 'Close' / 'Abort' / 'Delete' the current Job then "
            "create a new Job and make sure you only do 'PUT' once on a given Job.",
        )
    if not call.headers.get("content-type", "text/csv").lower().startswith("text/csv"):
        raise ApiError(415, "UNSUPPORTED_MEDIA_TYPE", "Unsupported Media Type")
    assert call.upload is not None
    target = call.service.jobs.path(job) / UPLOAD
    shutil.move(call.upload, target)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())
    job.uploaded = True
    call.service.jobs.save(job)
    return Reply(None, status=201)


def patch_ingest(call: Call) -> Reply:
    """PATCH jobs/ingest/{id}: UploadComplete or Aborted."""
    job = _job(call, "ingest")
    state = call.json_object().get("state")
    jobs = call.service.jobs
    if state == "UploadComplete":
        if not jobs.move(job, "UploadComplete", only_from=("Open",)):
            raise _wrong_state(job)
        if not job.uploaded:
            (jobs.path(job) / UPLOAD).touch()
        answer = job.info()
        jobs.enqueue(job)
        return Reply(answer)
    if state == "Aborted":
        if not jobs.move(job, "Aborted", only_from=("Open", "UploadComplete", "InProgress")):
            raise _wrong_state(job)
        return Reply(job.info())
    raise ApiError(400, "INVALIDJOBSTATE", f"Cannot set the job state to {state}")


def _wrong_state(job: Job) -> ApiError:
    return ApiError(400, "INVALIDJOBSTATE", f"Job state {job.state} does not allow this operation")


def get_job(kind: str) -> Any:
    """The handler that tells a job's state."""

    def handler(call: Call) -> Reply:
        return Reply(_job(call, kind).info(counters=True))

    return handler


def delete_job(kind: str) -> Any:
    """The handler that deletes a job which is not at work."""

    def handler(call: Call) -> Reply:
        job = _job(call, kind)
        if job.state not in FINAL and not (kind == "ingest" and job.state == "UploadComplete"):
            raise _wrong_state(job)
        call.service.jobs.delete(job)
        return Reply(None, status=204)

    return handler


def list_jobs(kind: str) -> Any:
    """The handler that lists jobs, 1000 a page."""

    def handler(call: Call) -> Reply:
        wanted = call.query.get("jobType", "").lower()
        if wanted not in ("", "v2ingest", "v2query", "classic", "bigobjectingest"):
            raise ApiError(400, "INVALIDJOB", f"Invalid jobType: {call.query['jobType']}")
        own = "v2ingest" if kind == "ingest" else "v2query"
        jobs = call.service.jobs.of_kind(kind) if wanted in ("", own) else []
        start = offset_of(call.query["queryLocator"]) or 0 if call.query.get("queryLocator") else 0
        shown = jobs[start : start + PAGE_LIST]
        done = start + PAGE_LIST >= len(jobs)
        following = None if done else f"{call.base}/jobs/{kind}?queryLocator={locator(start + PAGE_LIST)}"
        return Reply({"done": done, "records": [job.info() for job in shown], "nextRecordsUrl": following})

    return handler


def ingest_results(call: Call) -> Reply:
    """GET the three result files of an ingest job."""
    job = _job(call, "ingest")
    if job.state not in FINAL:
        raise ApiError(400, "INVALIDJOBSTATE", f"Results are not available while the job is {job.state}")
    frame = results(call.service.jobs, job, _RESULT_KINDS[call.path["kind"].lower()])
    return Reply(write_csv(frame, job), content_type=CSV)


def create_query(call: Call) -> Reply:
    """POST jobs/query."""
    values = call.json_object()
    operation = values.get("operation")
    if operation not in ("query", "queryAll"):
        raise ApiError(400, "INVALIDJOB", f"Invalid operation: {operation}")
    text = values.get("query")
    if not isinstance(text, str) or not text.strip():
        raise ApiError(400, "INVALIDJOB", "Missing required field: query")
    try:
        assert call.session is not None
        compiled = compile_as(
            call.org,
            text,
            user_id=call.session.user_id,
            version=call.version,
            include_deleted=operation == "queryAll",
            bulk=True,
        )
    except SoqlError as error:
        raise ApiError(400, error.code, error.message) from error
    if not call.org.conditions.claim_query_job():
        message = f"Max bulk v2 query jobs ({DAILY_QUERY_JOBS}) per 24 hrs has been exceeded"
        raise ApiError(400, "LIMIT_EXCEEDED", message)
    job = call.service.jobs.create(
        kind="query",
        operation=operation,
        object=compiled.sobject.name,
        query=text,
        created_by=call.session.user_id,
        state="UploadComplete",
        api_version=call.version,
        **_csv_options(values),
    )
    answer = job.info()
    call.service.jobs.enqueue(job)
    return Reply(answer)


def patch_query(call: Call) -> Reply:
    """PATCH jobs/query/{id}: Aborted."""
    job = _job(call, "query")
    state = call.json_object().get("state")
    if state != "Aborted" or not call.service.jobs.move(job, "Aborted", only_from=("UploadComplete", "InProgress")):
        raise _wrong_state(job)
    return Reply(job.info())


def _finished_query(call: Call) -> Job | Reply:
    job = _job(call, "query")
    if float(job.api_version) != float(call.version):
        raise ApiError(409, "INVALIDJOB", f"The job was created in API version {job.api_version}")
    if job.state in ("UploadComplete", "InProgress"):
        return Reply(None, status=204)
    if job.state != "JobComplete":
        raise _wrong_state(job)
    return job


def query_results(call: Call) -> Reply:
    """GET jobs/query/{id}/results: one CSV page."""
    job = _finished_query(call)
    if isinstance(job, Reply):
        return job
    rows = call.org.settings.query_page_rows
    if asked := call.query.get("maxRecords"):
        if not asked.isdigit() or int(asked) < 1:
            raise ApiError(400, "INVALIDJOB", f"Invalid maxRecords: {asked}")
        rows = min(int(asked), 1_000_000)
    start = 0
    if given := call.query.get("locator"):
        found = offset_of(given)
        if found is None or found >= max(job.processed, 1):
            raise ApiError(400, "INVALIDQUERYLOCATOR", f"Invalid locator: {given}")
        start = found
    count = max(min(rows, job.processed - start), 0)
    body = page(call.service.jobs.path(job) / RESULT, job, start, count)
    following = locator(start + count) if start + count < job.processed else "null"
    headers = {"Sforce-Locator": following, "Sforce-NumberOfRecords": str(count)}
    return Reply(body, headers=headers, content_type=CSV)


def result_pages(call: Call) -> Reply:
    """GET jobs/query/{id}/resultPages: up to five pages that can be fetched at the same time."""
    job = _finished_query(call)
    if isinstance(job, Reply):
        return job
    settings = call.org.settings
    rows = settings.query_page_rows
    start = offset_of(call.query["locator"]) or 0 if call.query.get("locator") else 0
    starts = list(range(start, max(job.processed, 1), rows))[:PAGES_AT_ONCE]
    after = start + PAGES_AT_ONCE * rows
    done = after >= job.processed
    url = f"/services/data/v{job.api_version}/jobs/query/{job.id}"
    answer: dict[str, Any] = {
        "resultPages": [
            {settings.results_links: f"{url}/results?locator={locator(at)}&maxRecords={rows}"} for at in starts
        ]
    }
    if not done:
        answer[settings.results_next] = f"{url}/resultPages?locator={locator(after)}"
    answer["done"] = done
    return Reply(answer)


def routes() -> list[Route]:
    """The resources of this module."""
    ingest, query = r"~/jobs/ingest/(?P<job>\w+)", r"~/jobs/query/(?P<job>\w+)"
    return [
        route("~/jobs/ingest", POST=create_ingest, GET=list_jobs("ingest")),
        route(ingest, GET=get_job("ingest"), PATCH=patch_ingest, DELETE=delete_job("ingest")),
        route(f"{ingest}/batches", to_file=True, PUT=upload),
        route(f"{ingest}/(?P<kind>successfulResults|failedResults|unprocessedrecords)", GET=ingest_results),
        route("~/jobs/query", POST=create_query, GET=list_jobs("query")),
        route(query, GET=get_job("query"), PATCH=patch_query, DELETE=delete_job("query")),
        route(f"{query}/results", GET=query_results),
        route(f"{query}/resultPages", GET=result_pages),
    ]
