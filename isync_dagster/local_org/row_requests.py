"""What a call on a single record brings beside its path: the record with its blobs, and conditions on its state."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from isync_dagster.local_org.multipart import is_multipart, read_parts
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.web import ApiError, Call, Reply
from isync_dagster.schema.model import SObject


def given_record(call: Call, sobject: SObject) -> dict[str, Any]:
    """The record of a body: JSON, or a JSON part and binary parts named by the blob fields they fill."""
    if not is_multipart(call):
        return call.json_object()
    plain: dict[str, Any] | None = None
    blobs: dict[str, str] = {}
    for part in read_parts(call):
        field = sobject.field(part.name)
        if field is not None and field.type == "base64":
            blobs[field.name] = base64.b64encode(bytes(part.content)).decode()
        elif plain is None:
            plain = replace(call, body=bytes(part.content)).json_object()
        else:
            raise ApiError(400, "INVALID_FIELD", f"No such column '{part.name}' on sobject of type {sobject.name}")
    if plain is None:
        raise ApiError(400, "INVALID_MULTIPART_REQUEST", "Multipart message must include a non-binary part")
    return {**plain, **blobs}


def check_conditions(call: Call, sobject: SObject, record_id: str) -> tuple[dict[str, str], Reply | None]:
    """The headers that tell a record's state, and the 304 where the client has it; 412 where a condition fails.

    Dates are kept for every object that has them, `ETag` for Account only, as the platform does.
    """
    dated = "LastModifiedDate" if sobject.field("LastModifiedDate") else "SystemModstamp"
    rows = call.org.storage.rows(f'SELECT {quote(dated)} FROM {quote(sobject.name)} WHERE "Id" = ?', [record_id])
    changed: datetime | None = rows[0][0] if rows else None
    if changed is None:
        return {}, None
    changed = changed.replace(tzinfo=UTC, microsecond=0)
    headers = {"Last-Modified": format_datetime(changed, usegmt=True)}
    if sobject.name == "Account":
        digest = hashlib.sha256(f"{record_id} {changed.isoformat()}".encode()).hexdigest()[:32]
        headers["ETag"] = f'"{digest}--gzip"'
    unless, since = _date(call, "if-unmodified-since"), _date(call, "if-modified-since")
    if unless is not None and changed > unless:
        raise _failed()
    tag = headers.get("ETag", "")
    if tag and (match := call.headers.get("if-match")) and not _names(match, tag):
        raise _failed()
    if none := call.headers.get("if-none-match"):
        if tag and _names(none, tag):
            if call.method in ("GET", "HEAD"):
                return headers, Reply(None, status=304, headers=headers)
            raise _failed()
    elif since is not None and changed <= since and call.method in ("GET", "HEAD"):
        return headers, Reply(None, status=304, headers=headers)
    return headers, None


def _failed() -> ApiError:
    return ApiError(412, "PRECONDITION_FAILED", "The precondition specified in the request header is not satisfied")


def _names(header: str, tag: str) -> bool:
    """True where a list of entity tags holds this one, in strong or weak form."""
    wanted = tag.strip('"').removesuffix("--gzip")
    given = [item.strip().removeprefix("W/").strip('"').removesuffix("--gzip") for item in header.split(",")]
    return "*" in given or wanted in given


def _date(call: Call, name: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(call.headers.get(name, ""))
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
