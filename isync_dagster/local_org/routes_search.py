"""Search resources: SOSL, parameterized search, recent items."""

from __future__ import annotations

import re
from typing import Any, Final

from isync_dagster.local_org.asking import ask
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.soql import SoqlError, records, run
from isync_dagster.local_org.sosl import GROUPS, MOST, Returning, Search, matching_ids, read_sosl
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, route

SHORTEST: Final = 2


def search(call: Call) -> Reply:
    """GET search?q=."""
    text = call.query.get("q")
    if not text:
        raise ApiError(400, "MALFORMED_SEARCH", "No search term found. The search term must be enclosed in braces.")
    return Reply({"searchRecords": _found(call, read_sosl(text))})


def parameterized(call: Call) -> Reply:
    """GET (query parameters) or POST (JSON) parameterizedSearch."""
    asked = _from_query(call) if call.method == "GET" else _from_json(call)
    return Reply({"searchRecords": _found(call, asked)})


def _from_query(call: Call) -> Search:
    given = call.query
    names = [name.strip() for name in given.get("sobject", "").split(",") if name.strip()]
    common = given.get("fields", "Id")
    returning = []
    for name in names:
        fields = given.get(f"{name}.fields", common)
        rest = _rest(given.get(f"{name}.where"), given.get(f"{name}.limit") or given.get("defaultLimit"))
        returning.append(Returning(name, tuple(item.strip() for item in fields.split(",")), rest))
    return Search(given.get("q", ""), _group(given.get("in")), tuple(returning), _number(given.get("overallLimit")))


def _from_json(call: Call) -> Search:
    given = call.json_object()
    objects, common = given.get("sobjects") or [], given.get("fields") or ["Id"]
    if not isinstance(objects, list) or not all(isinstance(item, dict) and item.get("name") for item in objects):
        raise ApiError(400, "JSON_PARSER_ERROR", "The request needs a list of objects with a name as sobjects")
    returning = []
    for item in objects:
        fields = item.get("fields") or common
        if not isinstance(fields, list):
            raise ApiError(400, "JSON_PARSER_ERROR", "The request needs a list of texts as fields")
        rest = _rest(item.get("where"), item.get("limit") or given.get("defaultLimit"))
        returning.append(Returning(str(item["name"]), tuple(str(name) for name in fields), rest))
    return Search(
        str(given.get("q") or ""), _group(given.get("in")), tuple(returning), _number(given.get("overallLimit"))
    )


def _group(given: Any) -> str:
    group = str(given or "ALL").upper()
    if group not in GROUPS:
        raise ApiError(400, "INVALID_SEARCH", f"Invalid value for in: {given}")
    return group


def _number(given: Any) -> int:
    if given in (None, ""):
        return MOST
    if not str(given).isdigit() or int(given) < 1:
        raise ApiError(400, "INVALID_SEARCH", f"Invalid limit: {given}")
    return min(int(given), MOST)


def _rest(where: Any, limit: Any) -> str:
    condition = f"WHERE {where} " if where else ""
    return condition + (f"LIMIT {_number(limit)}" if limit else "")


def _found(call: Call, asked: Search) -> list[dict[str, Any]]:
    if len(asked.text.replace("*", "").strip()) < SHORTEST:
        raise ApiError(400, "MALFORMED_SEARCH", f"search term must be longer than one character: {asked.text}")
    wanted = asked.returning or tuple(Returning(item.name) for item in call.org.schema if item.searchable)
    found: list[dict[str, Any]] = []
    for item in wanted:
        sobject = call.org.schema.get(item.object)
        if sobject is None:
            raise ApiError(
                400,
                "INVALID_TYPE",
                f"\n{item.object}\n^\nERROR at Row:1:Column:1\nsObject type '{item.object}' is not supported.",
            )
        ids = matching_ids(call.org.storage, sobject, asked)
        if not ids and not item.rest and item.fields == ("Id",):
            continue
        found += _rows(call, item, ids)
        if len(found) >= asked.limit:
            break
    return found[: asked.limit]


def _rows(call: Call, item: Returning, ids: list[str]) -> list[dict[str, Any]]:
    """The matched records as SOQL gives them; an unknown field is refused also where nothing matched."""
    listed = ", ".join(f"'{record_id}'" for record_id in ids or ["000000000000000"])
    inside = f"Id IN ({listed})"
    where, rest = _condition(item.rest)
    condition = f"{inside} AND ({where})" if where else inside
    text = f"SELECT {', '.join(item.fields)} FROM {item.object} WHERE {condition} {rest}"
    try:
        compiled = ask(call, text)
    except SoqlError as error:
        raise ApiError(400, error.code, error.message) from error
    with call.org.storage.cursor() as cursor:
        return records(run(cursor, compiled), compiled, version=call.version)


def _condition(rest: str) -> tuple[str, str]:
    """The condition of a RETURNING clause, and what follows it."""

    found = re.match(r"\s*WHERE\s+(.*?)(\s+(?:ORDER\s+BY|LIMIT|OFFSET)\b.*)?$", rest, re.IGNORECASE | re.DOTALL)
    return (found[1], found[2] or "") if found else ("", rest)


def recent(call: Call) -> Reply:
    """GET recent: what the caller wrote last, newest first."""
    assert call.session is not None
    limit = min(_number(call.query.get("limit")), 200)
    found: list[tuple[Any, dict[str, Any]]] = []
    for sobject in call.org.schema:
        if not sobject.layoutable or sobject.name_field is None:
            continue
        name = sobject.name_field.name
        rows = call.org.storage.rows(
            f'SELECT "SystemModstamp", "Id", {quote(name)} FROM {quote(sobject.name)} WHERE NOT "IsDeleted" AND '
            f'"LastModifiedById" = ? ORDER BY "SystemModstamp" DESC, "Id" DESC LIMIT {limit}',
            [call.session.user_id],
        )
        for moment, record_id, label in rows:
            attributes = {"type": sobject.name, "url": f"{call.base}/sobjects/{sobject.name}/{record_id}"}
            found.append((moment, {"attributes": attributes, "Id": record_id, "Name": label}))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return Reply([item for _, item in found[:limit]])


def routes() -> list[Route]:
    """The resources of this module."""
    return [
        route("~/search", GET=search),
        route("~/parameterizedSearch", GET=parameterized, POST=parameterized),
        route("~/recent", GET=recent),
    ]
