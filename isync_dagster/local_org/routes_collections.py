"""sObject collections: up to 200 records of mixed types in one call, results in the order of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from isync_dagster.local_org.ids import is_id, to18
from isync_dagster.local_org.routes_rows import rows_by_id
from isync_dagster.local_org.routes_schema import known
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, attributes_of, objects, route
from isync_dagster.local_org.writes import Result, Undo, delete, roll_back_if_refused, write
from isync_dagster.schema.model import SObject

MOST: Final = 200
MOST_READ: Final = 2000
MOST_CHUNKS: Final = 10


def _user(call: Call) -> str:
    assert call.session is not None
    return call.session.user_id


def _records(call: Call) -> tuple[list[dict[str, Any]], bool]:
    given = call.json_object()
    records = objects(given, "records")
    _refuse_many(len(records))
    return records, bool(given.get("allOrNone", False))


def _refuse_many(count: int) -> None:
    if count > MOST:
        raise ApiError(
            400,
            "EXCEEDED_MAX_SIZE_REQUEST",
            "record limit reached. cannot submit more than 200 records into this call",
        )


def _object_of(call: Call, record: Mapping[str, Any]) -> SObject:
    name = attributes_of(record).get("type")
    if not name:
        raise ApiError(400, "INVALID_INPUT", "sObject type is required in attributes")
    found = call.org.schema.get(str(name))
    if found is None:
        raise ApiError(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
    return found


def _runs(call: Call, records: Sequence[Mapping[str, Any]]) -> list[tuple[SObject, list[Mapping[str, Any]]]]:
    """Consecutive records of one object; at most ten runs a call."""
    typed = [(_object_of(call, record), record) for record in records]
    runs = [
        (group[0][0], [record for _, record in group])
        for group in (list(items) for _, items in groupby(typed, key=lambda pair: pair[0].name))
    ]
    if len(runs) > MOST_CHUNKS:
        raise ApiError(
            400, "INVALID_INPUT", "Cannot have more than 10 chunks in a single operation. Please rearrange the data."
        )
    return runs


def _answer(found: list[Result], *, created: bool = False) -> Reply:
    shown: list[Result] = []
    for item in found:
        entry = dict(item)
        if not created or not entry["success"]:
            entry.pop("created", None)
        shown.append(entry)
    return Reply(shown)


def _run_all(call: Call, operation: str, *, creating: bool) -> Reply:
    records, all_or_none = _records(call)
    runs = _runs(call, records)
    found: list[Result] = []
    try:
        with call.org.storage.transaction():
            for sobject, part in runs:
                found += write(call.org, _user(call), operation, sobject, part)
            if all_or_none:
                roll_back_if_refused(found, creating=creating)
    except Undo as undo:
        found = undo.results
    return _answer(found)


def insert(call: Call) -> Reply:
    """POST composite/sobjects."""
    return _run_all(call, "insert", creating=True)


def update(call: Call) -> Reply:
    """PATCH composite/sobjects."""
    return _run_all(call, "update", creating=False)


def upsert(call: Call) -> Reply:
    """PATCH composite/sobjects/{Object}/{Key}."""
    sobject = known(call)
    records, all_or_none = _records(call)
    name = call.path["key"]
    field = sobject.field(name)
    if field is None or not (field.external_id or field.id_lookup):
        raise ApiError(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {name}")
    for record in records:
        other = attributes_of(record).get("type")
        if other is not None and str(other).lower() != sobject.name.lower():
            raise ApiError(400, "INVALID_INPUT", f"All records must be of type {sobject.name}")
    found: list[Result] = []
    try:
        with call.org.storage.transaction():
            found = write(call.org, _user(call), "upsert", sobject, records, key=field.name)
            if all_or_none:
                roll_back_if_refused(found, creating=True)
    except Undo as undo:
        found = undo.results
    return _answer(found, created=True)


def remove(call: Call) -> Reply:
    """DELETE composite/sobjects?ids=."""
    ids = [item.strip() for item in call.query.get("ids", "").split(",") if item.strip()]
    if not ids:
        raise ApiError(400, "MISSING_ARGUMENT", "ids parameter is required")
    _refuse_many(len(ids))
    all_or_none = call.query.get("allOrNone", "false").lower() == "true"
    found: list[Result] = [{} for _ in ids]
    by_object: dict[str, list[int]] = {}
    for number, record_id in enumerate(ids):
        sobject = call.org.schema.of_id(record_id) if is_id(record_id) else None
        if sobject is None:
            message = f"malformed id {record_id}"
            problem = {"statusCode": "MALFORMED_ID", "message": message, "fields": []}
            found[number] = {"id": record_id, "success": False, "errors": [problem], "created": False}
        else:
            by_object.setdefault(sobject.name, []).append(number)
    try:
        with call.org.storage.transaction():
            for name, numbers in by_object.items():
                done = delete(call.org, _user(call), call.org.schema[name], [ids[number] for number in numbers])
                for number, result in zip(numbers, done, strict=True):
                    found[number] = result
            if all_or_none:
                roll_back_if_refused(found, creating=False)
    except Undo as undo:
        found = undo.results
    return _answer(found)


def _texts(given: Any) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise ApiError(400, "JSON_PARSER_ERROR", "The request needs lists of texts as ids and fields")
    return given


def read(call: Call) -> Reply:
    """GET (query parameters) or POST (`ids`, `fields`) composite/sobjects/{Object}."""
    sobject = known(call)
    if call.method == "POST":
        given = call.json_object()
        ids, fields = _texts(given.get("ids")), _texts(given.get("fields"))
    else:
        ids = [item for item in call.query.get("ids", "").split(",") if item]
        fields = [item for item in call.query.get("fields", "").split(",") if item]
    if len(ids) > MOST_READ:
        raise ApiError(400, "EXCEEDED_MAX_SIZE_REQUEST", "Cannot get more than 2000 records at once")
    known_fields = [sobject.field(str(name)) for name in fields]
    for name, field in zip(fields, known_fields, strict=True):
        if field is None:
            raise ApiError(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {sobject.name}")
    if not fields:
        raise ApiError(400, "MISSING_ARGUMENT", "fields parameter is required")
    whole = [to18(str(item)) for item in ids if is_id(str(item))]
    names = ["Id", *(field.name for field in known_fields if field is not None)]
    rows = rows_by_id(call, sobject, whole, names) if whole else []
    by_id = {row["Id"]: row for row in rows}
    asked_id = any(field is not None and field.name == "Id" for field in known_fields)
    answer: list[dict[str, Any] | None] = []
    for item in ids:
        row = by_id.get(to18(str(item))) if is_id(str(item)) else None
        if row is not None and not asked_id:
            row = {name: value for name, value in row.items() if name != "Id"}
        answer.append(row)
    return Reply(answer)


def routes() -> list[Route]:
    """The resources of this module."""
    return [
        route("~/composite/sobjects", POST=insert, PATCH=update, DELETE=remove),
        route(r"~/composite/sobjects/(?P<object>\w+)", GET=read, POST=read),
        route(r"~/composite/sobjects/(?P<object>\w+)/(?P<key>\w+)", PATCH=upsert),
    ]
