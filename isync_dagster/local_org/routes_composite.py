"""Composite calls: several resources in one request, with references from one answer into the next call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from isync_dagster.local_org.routes_schema import known
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, attributes_of, not_found, objects, route
from isync_dagster.local_org.writes import Undo, write

MOST: Final = 25
MOST_NODES: Final = 500
TREE_MOST: Final = 200
SHOWN_HEADERS: Final = ("Location", "ETag", "Last-Modified")
MOST_COSTLY: Final = 5
MOST_GRAPHS: Final = 75
_COLLECTION: Final = re.compile(r"/composite/sobjects", re.IGNORECASE)
_COSTLY: Final = re.compile(r"/composite/sobjects|/query(?:All)?/?\?", re.IGNORECASE)
_REFERENCE: Final = re.compile(r"@\{([^}]+)\}")


class _Halt(Exception):
    """Ends the transaction of an all-or-none composite."""


def sub_call(call: Call, method: str, url: str, body: Any, headers: Mapping[str, str]) -> Reply:
    """Answer one subrequest as if it had come by itself."""
    if not url.startswith("/"):
        url = f"/services/data/{url}"
    parts = urlsplit(url)
    found = call.service.find(unquote(parts.path))
    if found is None:
        return Reply(not_found().body(), status=404)
    item, groups = found
    inner = Call(
        call.service,
        method.upper(),
        parts.path,
        groups,
        dict(parse_qsl(parts.query, keep_blank_values=True)),
        {**call.headers, **{name.lower(): str(value) for name, value in headers.items()}},
        json.dumps(body, default=str).encode() if body is not None else b"",
        session=call.session,
    )
    return call.service.answer(item, inner)


def _resolve(value: Any, answers: Mapping[str, Any]) -> Any:
    """Put earlier answers in place of `@{ref.path}`."""
    if isinstance(value, dict):
        return {name: _resolve(item, answers) for name, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, answers) for item in value]
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return _lookup(whole.group(1), answers)
    return _REFERENCE.sub(lambda found: str(_lookup(found.group(1), answers)), value)


def _lookup(path: str, answers: Mapping[str, Any]) -> Any:
    steps = re.findall(r"[^.\[\]]+", path)
    if not steps or steps[0] not in answers:
        raise ApiError(400, "PROCESSING_HALTED", f"Invalid reference specified. No value for {path} found")
    value = answers[steps[0]]
    for step in steps[1:]:
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, dict) and step.lower() == "id" and "id" in value:
            value = value["id"]
        else:
            raise ApiError(400, "PROCESSING_HALTED", f"Invalid reference specified. No value for {path} found")
    return value


def _insisting(url: str, body: Any) -> tuple[str, Any]:
    """A collections call inside an all-or-none composite: the outer flag overrides the inner one."""
    if isinstance(body, dict):
        return url, {**body, "allOrNone": True}
    plain = re.sub(r"[?&]allOrNone=\w*", "", url, flags=re.IGNORECASE)
    return (f"{plain}&allOrNone=true" if "?" in plain else url), body


def _has_refusals(body: Any) -> bool:
    return isinstance(body, list) and any(isinstance(row, dict) and row.get("success") is False for row in body)


def headers_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The `httpHeaders` of a subrequest."""
    found = request.get("httpHeaders")
    return dict(found) if isinstance(found, dict) else {}


def _run(call: Call, requests: list[dict[str, Any]], *, all_or_none: bool) -> tuple[list[dict[str, Any]], bool]:
    """Answers of the subrequests in order, and whether all succeeded."""
    answers: dict[str, Any] = {}
    shown: list[dict[str, Any]] = []
    good = True
    for request in requests:
        reference = str(request.get("referenceId") or "")
        try:
            url = str(_resolve(request.get("url", ""), answers))
            body = _resolve(request.get("body"), answers)
            collection = _COLLECTION.search(url) is not None
            if all_or_none and collection:
                url, body = _insisting(url, body)
            reply = sub_call(call, str(request.get("method", "GET")), url, body, headers_of(request))
        except ApiError as error:
            reply, collection = Reply(error.body(), status=error.status), False
        if all_or_none and collection and _has_refusals(reply.body):
            good = False
        if reply.status < 300:
            answers[reference] = reply.body
        else:
            good = good and reply.status == 304
        headers = {name: value for name, value in reply.headers.items() if name in SHOWN_HEADERS}
        shown.append(
            {"body": reply.body, "httpHeaders": headers, "httpStatusCode": reply.status, "referenceId": reference}
        )
        if not good and all_or_none:
            break
    return shown, good


def _transactional(
    call: Call, requests: list[dict[str, Any]], *, all_or_none: bool
) -> tuple[list[dict[str, Any]], bool]:
    if not all_or_none:
        return _run(call, requests, all_or_none=False)
    shown: list[dict[str, Any]] = []
    try:
        with call.org.storage.transaction():
            shown, good = _run(call, requests, all_or_none=True)
            if not good:
                raise _Halt
        return shown, True
    except _Halt:
        halted = [
            {
                "errorCode": "PROCESSING_HALTED",
                "message": "The transaction was rolled back since another operation in the same transaction failed.",
            }
        ]
        culprit = len(shown) - 1
        answers = [
            shown[number]
            if number == culprit
            else {
                "body": halted,
                "httpHeaders": {},
                "httpStatusCode": 400,
                "referenceId": str(request.get("referenceId") or ""),
            }
            for number, request in enumerate(requests)
        ]
        return answers, False


def composite(call: Call) -> Reply:
    """POST composite."""
    given = call.json_object()
    requests = objects(given, "compositeRequest")
    if len(requests) > MOST:
        raise ApiError(400, "LIMIT_EXCEEDED", f"Limit of {MOST} subrequests exceeded")
    if sum(bool(_COSTLY.search(str(request.get("url", "")))) for request in requests) > MOST_COSTLY:
        raise ApiError(400, "LIMIT_EXCEEDED", f"Limit of {MOST_COSTLY} query and collection subrequests exceeded")
    shown, _ = _transactional(call, requests, all_or_none=bool(given.get("allOrNone", False)))
    return Reply({"compositeResponse": shown})


def batch(call: Call) -> Reply:
    """POST composite/batch: independent calls."""
    given = call.json_object()
    requests = objects(given, "batchRequests")
    if len(requests) > MOST:
        raise ApiError(400, "LIMIT_EXCEEDED", f"Limit of {MOST} subrequests exceeded")
    results: list[dict[str, Any]] = []
    failed = False
    for request in requests:
        method = str(request.get("method", "GET")).upper()
        if method not in ("GET", "POST", "PATCH", "PUT", "DELETE"):
            raise ApiError(400, "JSON_PARSER_ERROR", f"Invalid HTTP method: {method}")
        if failed and given.get("haltOnError"):
            halted = {"errorCode": "BATCH_PROCESSING_HALTED", "message": "Batch processing halted per request"}
            results.append({"statusCode": 412, "result": [halted]})
            continue
        reply = sub_call(call, method, str(request.get("url", "")), request.get("richInput"), {})
        failed = failed or reply.status >= 400
        results.append({"statusCode": reply.status, "result": reply.body})
    return Reply({"hasErrors": failed, "results": results})


def graph(call: Call) -> Reply:
    """POST composite/graph: every graph a transaction."""
    given = call.json_object()
    graphs = [(item, objects(item, "compositeRequest")) for item in objects(given, "graphs")]
    if sum(len(requests) for _, requests in graphs) > MOST_NODES:
        raise ApiError(400, "LIMIT_EXCEEDED", f"Limit of {MOST_NODES} nodes exceeded")
    if len(graphs) > MOST_GRAPHS:
        raise ApiError(400, "LIMIT_EXCEEDED", f"Limit of {MOST_GRAPHS} graphs exceeded")
    answer: list[dict[str, Any]] = []
    for item, requests in graphs:
        shown, good = _transactional(call, requests, all_or_none=True)
        answer.append(
            {"graphId": item.get("graphId"), "graphResponse": {"compositeResponse": shown}, "isSuccessful": good}
        )
    return Reply({"graphs": answer})


def tree(call: Call) -> Reply:
    """POST composite/tree/{Object}: parents with their children, all or nothing."""
    given = call.json_object()
    rows = objects(given, "records")
    made: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    try:
        with call.org.storage.transaction():
            _plant(call, known(call).name, rows, None, made, failed, 1)
            if failed:
                raise Undo([])
    except Undo:
        return Reply({"hasErrors": True, "results": failed}, status=400)
    return Reply({"hasErrors": False, "results": made}, status=201)


def _plant(
    call: Call,
    name: str,
    rows: list[dict[str, Any]],
    parent: tuple[str, str] | None,
    made: list[dict[str, Any]],
    failed: list[dict[str, Any]],
    level: int,
) -> None:
    sobject = known(call, name)
    if level > 5 or len(made) + len(failed) + len(rows) > TREE_MOST:
        raise ApiError(400, "LIMIT_EXCEEDED", "A tree holds at most 200 records on 5 levels")
    assert call.session is not None
    plain: list[dict[str, Any]] = []
    below: list[dict[str, list[dict[str, Any]]]] = []
    for row in rows:
        nested = {
            key: objects(item, "records") for key, item in row.items() if isinstance(item, dict) and "records" in item
        }
        values = {key: item for key, item in row.items() if key not in nested}
        if parent is not None:
            values[parent[0]] = parent[1]
        plain.append(values)
        below.append(nested)
    found = write(call.org, call.session.user_id, "insert", sobject, plain)
    for row, result, nested in zip(plain, found, below, strict=True):
        reference = attributes_of(row).get("referenceId")
        if not result["success"]:
            failed.append({"referenceId": reference, "errors": result["errors"]})
            continue
        made.append({"referenceId": reference, "id": result["id"]})
        for key, children in nested.items():
            child = call.org.schema.child(sobject, key)
            if child is None:
                raise ApiError(400, "INVALID_FIELD", f"No such column '{key}' on sobject of type {sobject.name}")
            _plant(call, child.child_s_object, children, (child.field, result["id"]), made, failed, level + 1)


def routes() -> list[Route]:
    """The resources of this module."""
    return [
        route("~/composite", POST=composite),
        route("~/composite/batch", POST=batch),
        route("~/composite/graph", POST=graph),
        route(r"~/composite/tree/(?P<object>\w+)", POST=tree),
    ]
