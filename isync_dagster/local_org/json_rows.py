"""Records as JSON calls send them, turned into the text columns that the row rules take."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import polars as pl

from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.relations import BadRelation, Relation, read_relation
from isync_dagster.local_org.values import CLEAR
from isync_dagster.local_org.web import ApiError, attributes_of
from isync_dagster.schema.model import COMPOUND_TYPES, NUMBER_TYPES, Field, SObject

_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATETIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})")
_TIME: Final = re.compile(r"\d{2}:\d{2}:\d{2}(\.\d+)?Z?")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class JsonRows:
    """Text columns by field (`_row` first), and the relationship columns among them."""

    frame: pl.DataFrame
    relations: tuple[Relation, ...]


def read_records(
    schema: OrgSchema, sobject: SObject, records: Sequence[Mapping[str, Any]], *, id_allowed: bool = False
) -> JsonRows:
    """Read records of one object; ApiError refuses the whole call as the platform's parser does."""
    columns: dict[str, list[str | None]] = {}
    relations: dict[str, Relation] = {}
    for number, record in enumerate(records):
        for key, value in record.items():
            if key.lower() == "attributes":
                continue
            if isinstance(value, Mapping):
                column, text = _relation(schema, sobject, key, value, relations)
            else:
                column, text = _cell(sobject, key, value, id_allowed)
            cells = columns.setdefault(column, [None] * len(records))
            cells[number] = text
    frame = pl.DataFrame(
        {"_row": pl.int_range(len(records), dtype=pl.UInt32, eager=True), **columns},
        schema={"_row": pl.UInt32, **dict.fromkeys(columns, pl.String)},
    )
    return JsonRows(frame, tuple(relations.values()))


def _cell(sobject: SObject, key: str, value: Any, id_allowed: bool) -> tuple[str, str | None]:
    field = sobject.field(key)
    if field is None or field.type in COMPOUND_TYPES:
        raise ApiError(400, "INVALID_FIELD", f"No such column '{key}' on sobject of type {sobject.name}")
    if field.name == "Id":
        if not id_allowed:
            raise ApiError(400, "INVALID_FIELD", "The Id field should not be specified in the sobject data.")
        return "Id", None if value in (None, "") else str(value)
    return field.name, _text(field, value)


def _relation(
    schema: OrgSchema, sobject: SObject, key: str, value: Mapping[str, Any], relations: dict[str, Relation]
) -> tuple[str, str | None]:
    keys = [name for name in value if name != "attributes"]
    lookup = schema.relationship(sobject, key)
    if lookup is None or len(keys) != 1:
        raise ApiError(400, "INVALID_FIELD", f"No such column '{key}' on sobject of type {sobject.name}")
    kind = attributes_of(value).get("type", "")
    path = f"{kind}:{key}.{keys[0]}" if kind and lookup.polymorphic else f"{key}.{keys[0]}"
    try:
        relation = relations.get(path) or read_relation(schema, sobject, path)
    except BadRelation as error:
        raise ApiError(400, "INVALID_FIELD", str(error)) from error
    relations[path] = relation
    given = value[keys[0]]
    return path, CLEAR if given is None else _text(relation.key, given)


def _text(field: Field, value: Any) -> str:
    """A JSON value as the text of its field's type; JSON_PARSER_ERROR where it has another type."""
    if value is None:
        return CLEAR
    kind = "double" if field.type in NUMBER_TYPES else field.type
    if isinstance(value, bool):
        if kind == "boolean":
            return str(value).lower()
        raise _mismatch(kind, "VALUE_TRUE" if value else "VALUE_FALSE", str(value).lower())
    if isinstance(value, int | Decimal | float):
        if kind == "double" or (kind == "int" and value == int(value)):
            return str(int(value)) if kind == "int" else format(value, "f")
        raise _mismatch(kind, "VALUE_NUMBER_INT" if isinstance(value, int) else "VALUE_NUMBER_FLOAT", str(value))
    if not isinstance(value, str):
        raise _mismatch(kind, "START_ARRAY" if isinstance(value, list) else "START_OBJECT", "")
    return _checked(kind, value)


def _checked(kind: str, value: str) -> str:
    if value == "" and kind not in ("boolean", "int", "double", "date", "datetime", "time"):
        return CLEAR
    good = True
    if kind == "boolean":
        good = value.lower() in ("true", "false", "0", "1")
    elif kind == "int":
        good = bool(re.fullmatch(r"[+-]?\d+", value))
    elif kind == "double":
        good = bool(_NUMBER.fullmatch(value))
    elif kind == "date":
        good = bool(_DATE.fullmatch(value[:10])) and (len(value) == 10 or bool(_DATETIME.fullmatch(value)))
        value = value[:10]
    elif kind == "datetime":
        good = bool(_DATETIME.fullmatch(value)) or bool(_DATE.fullmatch(value))
        value = _whole_datetime(value)
    elif kind == "time":
        good = bool(_TIME.fullmatch(value))
    elif kind == "base64":
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            good = False
    if not good:
        raise _mismatch(kind, "VALUE_STRING", value)
    return value.replace("\x00", "")


def _whole_datetime(value: str) -> str:
    """A datetime with seconds, and a date as its midnight."""
    if _DATE.fullmatch(value):
        return value + "T00:00:00Z"
    return re.sub(r"(T\d{2}:\d{2})(Z|[+-])", r"\1:00\2", value)


def _mismatch(kind: str, token: str, value: str) -> ApiError:
    return ApiError(
        400,
        "JSON_PARSER_ERROR",
        f"Cannot deserialize instance of {kind} from {token} value {value} or request may be missing a required "
        "field at [line:1, column:1]",
    )
