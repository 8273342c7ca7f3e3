"""Resources of single records: create, read, update, upsert, delete, relationships."""

from __future__ import annotations

from typing import Any

import polars as pl

from isync_dagster.local_org.asking import ask
from isync_dagster.local_org.ids import is_id, to18
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.routes_query import first_page
from isync_dagster.local_org.routes_schema import basic, known
from isync_dagster.local_org.row_requests import check_conditions, given_record
from isync_dagster.local_org.soql import SoqlError, records, run
from isync_dagster.local_org.unique import key, sql_key
from isync_dagster.local_org.values import parse
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, not_found, route
from isync_dagster.local_org.writes import Result, delete, refuse_single, write
from isync_dagster.schema.model import Field, SObject


def _user(call: Call) -> str:
    assert call.session is not None
    return call.session.user_id


def create(call: Call) -> Reply:
    """POST sobjects/{Object}."""
    sobject = known(call)
    found = write(call.org, _user(call), "insert", sobject, [given_record(call, sobject)])[0]
    refuse_single(found)
    return _created(call, sobject, found)


def _created(call: Call, sobject: SObject, found: Result, *, upsert: bool = False) -> Reply:
    body: dict[str, Any] = {"id": found["id"], "success": True, "errors": []}
    if upsert:
        body["created"] = found["created"]
    status = 201 if found["created"] else 200
    headers = {"Location": f"{call.base}/sobjects/{sobject.name}/{found['id']}"} if found["created"] else {}
    return Reply(body, status=status, headers=headers)


def _record_id(call: Call, sobject: SObject) -> str:
    """The id in the path, 18 characters; 404 where it is none of this object or not stored."""
    given = call.path["id"]
    if not is_id(given) or given[:3] != sobject.key_prefix:
        raise ApiError(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {given}")
    record_id = to18(given)
    found = call.org.storage.rows(f'SELECT "IsDeleted" FROM {quote(sobject.name)} WHERE "Id" = ?', [record_id])
    if not found:
        raise not_found()
    if found[0][0]:
        raise ApiError(404, "ENTITY_IS_DELETED", "entity is deleted", [])
    return record_id


def read_row(call: Call, sobject: SObject, record_id: str) -> dict[str, Any]:
    """A record with all its fields, or those that `fields` asks for."""
    asked = [name.strip() for name in call.query.get("fields", "").split(",") if name.strip()]
    if asked:
        fields = [sobject.field(name) for name in asked]
        unknown = [name for name, field in zip(asked, fields, strict=True) if field is None]
        if unknown:
            raise ApiError(
                400,
                "INVALID_FIELD",
                f"\n{','.join(asked)}\n^\nERROR at Row:1:Column:1\nNo such column '{unknown[0]}' on entity "
                f"'{sobject.name}'. If you are attempting to use a custom field, be sure to append the '__c' after the "
                "custom field name. Please reference your WSDL or the describe call for the appropriate names.",
            )
        names = [field.name for field in fields if field is not None]
    else:
        names = [field.name for field in sobject.fields]
    return rows_by_id(call, sobject, [record_id], names)[0]


def rows_by_id(call: Call, sobject: SObject, ids: list[str], names: list[str]) -> list[dict[str, Any]]:
    """Records in the shape of a REST read, deleted ones too, in the order of their ids."""
    listed = ", ".join(f"'{record_id}'" for record_id in ids)
    text = f"SELECT {', '.join(dict.fromkeys(names))} FROM {sobject.name} WHERE Id IN ({listed})"
    compiled = ask(call, text, include_deleted=True)
    with call.org.storage.cursor() as cursor:
        return records(run(cursor, compiled), compiled, version=call.version)


def read(call: Call) -> Reply:
    """GET sobjects/{Object}/{id}."""
    sobject = known(call)
    record_id = _record_id(call, sobject)
    headers, unchanged = check_conditions(call, sobject, record_id)
    return unchanged or Reply(read_row(call, sobject, record_id), headers=headers)


def update(call: Call) -> Reply:
    """PATCH sobjects/{Object}/{id}."""
    sobject = known(call)
    record_id = _record_id(call, sobject)
    check_conditions(call, sobject, record_id)
    given = given_record(call, sobject)
    if any(name.lower() == "id" for name in given):
        raise ApiError(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
    refuse_single(write(call.org, _user(call), "update", sobject, [{**given, "Id": record_id}])[0])
    return Reply(None, status=204)


def remove(call: Call) -> Reply:
    """DELETE sobjects/{Object}/{id}."""
    sobject = known(call)
    record_id = _record_id(call, sobject)
    check_conditions(call, sobject, record_id)
    refuse_single(delete(call.org, _user(call), sobject, [record_id])[0])
    return Reply(None, status=204)


def _key(call: Call, sobject: SObject) -> tuple[Field, str]:
    name = call.path["key"]
    field = sobject.field(name)
    if field is None or not (field.external_id or field.id_lookup):
        raise ApiError(404, "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {name}")
    return field, call.path.get("value", "")


def _ids_of_key(call: Call, sobject: SObject, field: Field, value: str) -> list[str]:
    wanted = pl.select(key(field, parse(field, pl.lit(value)).value).alias("key")).item()
    if wanted is None:
        return []
    rows = call.org.storage.rows(
        f'SELECT "Id" FROM {quote(sobject.name)} WHERE {sql_key(field, quote(field.name))} = ? '
        'AND NOT "IsDeleted" ORDER BY "Id"',
        [wanted],
    )
    return [row[0] for row in rows]


def _one_of_key(call: Call, sobject: SObject) -> str | Reply:
    field, value = _key(call, sobject)
    ids = _ids_of_key(call, sobject, field, value)
    if len(ids) > 1:
        return _several(call, sobject, ids)
    if not ids:
        raise not_found()
    return ids[0]


def _several(call: Call, sobject: SObject, ids: list[str]) -> Reply:
    return Reply([f"{call.base}/sobjects/{sobject.name}/{record_id}" for record_id in ids], status=300)


def read_by_key(call: Call) -> Reply:
    """GET sobjects/{Object}/{ExternalId}/{value}; also a relationship or a blob of a record."""
    sobject = known(call)
    if is_id(call.path["key"]) and sobject.field(call.path["key"]) is None:
        return _follow(call, sobject)
    found = _one_of_key(call, sobject)
    return found if isinstance(found, Reply) else Reply(read_row(call, sobject, found))


def delete_by_key(call: Call) -> Reply:
    """DELETE sobjects/{Object}/{ExternalId}/{value}."""
    sobject = known(call)
    found = _one_of_key(call, sobject)
    if isinstance(found, Reply):
        return found
    refuse_single(delete(call.org, _user(call), sobject, [found])[0])
    return Reply(None, status=204)


def upsert(call: Call) -> Reply:
    """PATCH sobjects/{Object}/{ExternalId}/{value}: 201 created, 200 updated, 300 several match."""
    sobject = known(call)
    field, value = _key(call, sobject)
    given = given_record(call, sobject)
    if any(name.lower() == field.name.lower() for name in given):
        raise ApiError(400, "INVALID_FIELD", f"The {field.name} field should not be specified in the sobject data.")
    if field.name == "Id":
        call.path = {**call.path, "id": value}
        _record_id(call, sobject)
    ids = [value] if field.name == "Id" else _ids_of_key(call, sobject, field, value)
    if len(ids) > 1:
        return _several(call, sobject, ids)
    if not ids and call.query.get("updateOnly", "").lower() == "true":
        raise not_found()
    found = write(call.org, _user(call), "upsert", sobject, [{**given, field.name: value}], key=field.name)[0]
    refuse_single(found)
    return _created(call, sobject, found, upsert=True)


def insert_by_key(call: Call) -> Reply:
    """POST sobjects/{Object}/{ExternalId}: a plain insert."""
    return create(call)


def _follow(call: Call, sobject: SObject) -> Reply:
    """GET sobjects/{Object}/{id}/{relationship or blob field}."""
    name = call.path["value"]
    call.path = {**call.path, "id": call.path["key"]}
    record_id = _record_id(call, sobject)
    field = sobject.field(name)
    if field is not None and field.type == "base64":
        found = call.org.storage.rows(
            f'SELECT {quote(field.name)} FROM {quote(sobject.name)} WHERE "Id" = ?', [record_id]
        )
        return Reply(bytes(found[0][0] or b""), content_type="application/octet-stream")
    lookup = call.org.schema.relationship(sobject, name)
    if lookup is not None:
        return _follow_up(call, sobject, lookup, record_id)
    child = call.org.schema.child(sobject, name)
    if child is None:
        raise not_found()
    other = call.org.schema[child.child_s_object]
    asked = [item.strip() for item in call.query.get("fields", "").split(",") if item.strip()]
    names = ", ".join(asked or [item.name for item in other.fields])
    text = f"SELECT {names} FROM {other.name} WHERE {child.field} = '{record_id}'"
    try:
        compiled = ask(call, text)
    except SoqlError as error:
        raise ApiError(400, error.code, error.message) from error
    return first_page(call, compiled)


def _follow_up(call: Call, sobject: SObject, lookup: Field, record_id: str) -> Reply:
    rows = call.org.storage.rows(f'SELECT {quote(lookup.name)} FROM {quote(sobject.name)} WHERE "Id" = ?', [record_id])
    parent_id = rows[0][0]
    parent = call.org.schema.of_id(parent_id) if parent_id else None
    if parent is None:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    return Reply(read_row(call, parent, parent_id))


def routes() -> list[Route]:
    """The resources of this module; the order tells the more special path first."""
    one = r"~/sobjects/(?P<object>\w+)"
    return [
        route(one, GET=basic, POST=create),
        route(f"{one}/(?P<id>[^/]+)", GET=read, PATCH=update, DELETE=remove, POST=insert_by_key),
        route(f"{one}/(?P<key>[^/]+)/(?P<value>.+)", GET=read_by_key, PATCH=upsert, DELETE=delete_by_key),
    ]
