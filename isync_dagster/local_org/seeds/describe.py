"""Objects from describe JSON in the shapes that tools leave behind.

Full answers of `GET /sobjects/{Object}/describe` of any API version, collections of them
(`{"objects": {name: describe}}`), and projections that lost attributes. What a projection lacks is filled in:
from the standard objects where they know the field, else from its type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.seeds.fields import USUAL_LENGTHS, dressed, label_of, plural_of, system_fields
from isync_dagster.local_org.seeds.standard import standard_objects
from isync_dagster.schema.model import COMPOUND_TYPES, MASTER_RECORD_TYPE_ID, Field, SObject

# Spellings that some exports use for objects whose API name is written otherwise.
SPELLINGS: Final = {"PriceBook2": "Pricebook2", "PriceBookEntry": "PricebookEntry"}

# Fields that a projection without flags would make writable, though no org lets anybody write them.
READ_ONLY: Final = frozenset(
    {"LastActivityDate", "LastViewedDate", "LastReferencedDate", "MasterRecordId", "IsClosed", "IsWon", "IsArchived"}
)


def read_describes(path: Path) -> dict[str, SObject]:
    """The objects of a describe file, or of every `*.json` of a folder, by name."""
    path = Path(path)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    found: dict[str, SObject] = {}
    for file in files:
        try:
            answer = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file} cannot be read as a describe: {error}") from error
        if isinstance(answer, dict) and not file.name.startswith("_"):
            found |= {item.name: item for item in _objects(answer)}
    if not found:
        raise ConfigError(f"{path} holds no describe of an object (a JSON object with the keys name and fields)")
    return found


def describe_of(answer: Mapping[str, Any]) -> SObject:
    """One object from its describe JSON, completed where it is a projection.

    A projection without the key `createable` in its fields takes the flags of the standard objects where they
    know the field; other fields of it are writable unless they are system fields, compound or computed.
    """
    sobject = SObject.from_json(_spelled(answer))
    given: list[Mapping[str, Any]] = list(answer["fields"])
    known = standard_objects().get(sobject.name)
    fields = [
        _completed(field, keys, known.field(field.name) if known else None)
        for field, keys in zip(sobject.fields, given, strict=True)
    ]
    names = {field.name for field in fields}
    if "Id" not in names:
        system = system_fields()
        fields = [system[0], *fields, *(field for field in system[1:] if field.name not in names)]
    label = sobject.label or label_of(sobject.name)
    return replace(
        sobject,
        label=label,
        label_plural=sobject.label_plural or plural_of(label),
        key_prefix=sobject.key_prefix or (known.key_prefix if known else None),
        custom=sobject.custom or sobject.name.endswith("__c"),
        fields=tuple(fields),
        record_type_infos=sobject.record_type_infos or (known.record_type_infos if known else ()),
    )


def _objects(answer: Mapping[str, Any]) -> Iterator[SObject]:
    if isinstance(answer.get("objects"), Mapping):
        for item in answer["objects"].values():
            yield describe_of(_listed(item))
    elif "name" in answer and answer.get("fields"):
        yield describe_of(_listed(answer))


def _listed(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """A describe whose fields are keyed by name, with the list that the API gives."""
    fields = answer["fields"]
    return {**answer, "fields": list(fields.values())} if isinstance(fields, Mapping) else answer


def _spelled(answer: Mapping[str, Any]) -> dict[str, Any]:
    def right(field: Mapping[str, Any]) -> dict[str, Any]:
        values = field.get("picklistValues") or ()
        return {
            **field,
            "referenceTo": [SPELLINGS.get(name, name) for name in field.get("referenceTo") or ()],
            "picklistValues": [
                {"value": value, "label": value} if isinstance(value, str) else value for value in values
            ],
        }

    def named(info: Mapping[str, Any]) -> dict[str, Any]:
        # Answers before v43 carry neither developer name nor the mark of the master record type.
        usual = {"developerName": re.sub(r"\W+", "_", info.get("name", ""))}
        return {**usual, "master": info.get("recordTypeId") == MASTER_RECORD_TYPE_ID, **info}

    return {
        **answer,
        "recordTypeInfos": [named(info) for info in answer.get("recordTypeInfos") or ()],
        "name": SPELLINGS.get(answer["name"], answer["name"]),
        "fields": [right(field) for field in answer["fields"]],
    }


def _completed(field: Field, given: Mapping[str, Any], known: Field | None) -> Field:
    changes: dict[str, Any] = {}
    if "createable" not in given:
        changes |= _flags(field, known)
    if "length" not in given:
        changes["length"] = known.length if known else USUAL_LENGTHS.get(field.type, 0)
    if "precision" not in given and field.type in ("double", "currency", "percent"):
        changes |= {"precision": known.precision, "scale": known.scale} if known else {"precision": 18, "scale": 2}
    if "restrictedPicklist" not in given and known is not None:
        changes["restricted_picklist"] = False  # a real org may hold values that our list does not have
    if "defaultedOnCreate" not in given and "createable" in given:
        # A server-owned or boolean field that may not be empty is filled by the server.
        changes["defaulted_on_create"] = not field.nillable and (
            field.type == "boolean" or field.name in ("OwnerId", "CurrencyIsoCode") or not field.createable
        )
        if known is not None:
            changes["defaulted_on_create"] = known.defaulted_on_create
    for attribute in ("name_field", "id_lookup", "auto_number", "compound_field_name", "polymorphic_foreign_key"):
        if known is not None and not getattr(field, attribute):
            changes[attribute] = getattr(known, attribute)
    if not field.custom and field.name.endswith("__c"):
        changes["custom"] = True
    changed = replace(field, label=field.label or label_of(field.name), **changes)
    return changed if "soapType" in given else dressed(changed)


def _flags(field: Field, known: Field | None) -> dict[str, Any]:
    if known is not None:
        return {
            "createable": known.createable,
            "updateable": known.updateable,
            "defaulted_on_create": known.defaulted_on_create,
        }
    system = {item.name: item for item in system_fields()}.get(field.name)
    closed = (
        system is not None
        or field.name in READ_ONLY
        or field.type in COMPOUND_TYPES
        or field.calculated
        or field.auto_number
    )
    return {
        "createable": not closed,
        "updateable": not closed,
        "defaulted_on_create": system is not None or field.type in ("boolean", "picklist") or field.name == "OwnerId",
    }
