"""Layouts and the picklist values of a record type, as far as data tools read them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from isync_dagster.local_org import describe
from isync_dagster.local_org.automation.model import on
from isync_dagster.local_org.ids import is_id, to18
from isync_dagster.local_org.routes_schema import known
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, not_found, route
from isync_dagster.schema.model import Field, PicklistValue, SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

PICKLISTS: Final = ("picklist", "multipicklist")


def values_of(org: LocalOrg, sobject: SObject, field: Field, record_type_id: str) -> tuple[PicklistValue, ...]:
    """The values that a record type offers: those declared for it, else the active ones of the field."""
    names = {info.developer_name.lower() for info in sobject.record_type_infos if info.record_type_id == record_type_id}
    offered = next(
        (
            item.values
            for item in on(org.schema.automation.record_type_values, sobject.name)
            if item.name.lower() == field.name.lower() and item.record_type.lower() in names
        ),
        None,
    )
    return tuple(
        entry for entry in field.picklist_values if entry.active and (offered is None or entry.value in offered)
    )


def _record_types(call: Call, sobject: SObject) -> list[dict[str, Any]]:
    found = describe.full(sobject, call.base)["recordTypeInfos"]
    return [dict(entry) for entry in found]


def _layout_id(record_type_id: str) -> str:
    return to18("00h" + record_type_id[3:15])


def _mapping(org: LocalOrg, sobject: SObject, entry: dict[str, Any]) -> dict[str, Any]:
    record_type_id = to18(entry["recordTypeId"])
    return {
        **entry,
        "recordTypeId": record_type_id,
        "layoutId": _layout_id(record_type_id),
        "picklistsForRecordType": [
            {
                "picklistName": field.name,
                "picklistValues": [_value(entry) for entry in values_of(org, sobject, field, record_type_id)],
            }
            for field in sobject.fields
            if field.type in PICKLISTS
        ],
    }


def _value(entry: PicklistValue) -> dict[str, Any]:
    return {
        "active": entry.active,
        "defaultValue": entry.default_value,
        "label": entry.label or entry.value,
        "validFor": entry.valid_for,
        "value": entry.value,
    }


def _layout(sobject: SObject, record_type_id: str) -> dict[str, Any]:
    """One section with every field of the object; required is what an insert needs."""
    rows = [
        {
            "layoutItems": [
                {
                    "editableForNew": field.createable,
                    "editableForUpdate": field.updateable,
                    "label": field.label,
                    "layoutComponents": [{"displayLines": 1, "tabOrder": number, "type": "Field", "value": field.name}],
                    "placeholder": False,
                    "required": field.createable and not field.nillable and not field.defaulted_on_create,
                }
            ],
            "numItems": 1,
        }
        for number, field in enumerate(sobject.fields, 1)
        if field.name != "IsDeleted"
    ]
    section = {
        "columns": 1,
        "heading": "Information",
        "layoutRows": rows,
        "parentLayoutId": _layout_id(record_type_id),
        "rows": len(rows),
        "useCollapsibleSection": False,
        "useHeading": False,
    }
    return {
        "buttonLayoutSection": {"detailButtons": []},
        "detailLayoutSections": [section],
        "editLayoutSections": [section],
        "feedView": None,
        "highlightsPanelLayoutSection": None,
        "id": _layout_id(record_type_id),
        "multirowEditLayoutSections": [],
        "offlineLinks": [],
        "quickActionList": {"quickActionListItems": []},
        "relatedContent": None,
        "relatedLists": [],
        "saveOptions": [],
    }


def layouts(call: Call) -> Reply:
    """GET sobjects/{Object}/describe/layouts, and one record type's."""
    sobject = known(call)
    entries = _record_types(call, sobject)
    if not entries:
        raise not_found()
    mappings = [_mapping(call.org, sobject, entry) for entry in entries]
    if wanted := call.path.get("type"):
        one = next((item for item in mappings if is_id(wanted) and item["recordTypeId"] == to18(wanted)), None)
        if one is None:
            raise not_found()
        return Reply(_layout(sobject, one["recordTypeId"]))
    return Reply(
        {
            "layouts": [_layout(sobject, item["recordTypeId"]) for item in mappings],
            "recordTypeMappings": mappings,
            "recordTypeSelectorRequired": [sum(1 for item in mappings if item["available"]) > 2],
        }
    )


def compact_layouts(call: Call) -> Reply:
    """GET sobjects/{Object}/describe/compactLayouts: the system default."""
    sobject = known(call)
    name = sobject.name_field
    return Reply(
        {
            "compactLayouts": [
                {
                    "actions": [],
                    "fieldItems": [
                        {"editableForNew": False, "editableForUpdate": False, "label": name.label, "required": False,
                         "layoutComponents": [{"type": "Field", "value": name.name}]}
                    ] if name else [],
                    "id": None,
                    "imageItems": None,
                    "label": "System Default",
                    "name": "SYSTEM",
                    "objectType": sobject.name,
                }
            ],
            "defaultCompactLayoutId": None,
            "recordTypeCompactLayoutMappings": [
                {"available": entry["available"], "compactLayoutId": None, "compactLayoutName": "SYSTEM",
                 "recordTypeId": to18(entry["recordTypeId"]), "recordTypeName": entry["name"]}
                for entry in _record_types(call, sobject)
            ],
            "urls": {"primary": f"{call.base}/compactLayouts?q={sobject.name}"},
        }
    )  # fmt: skip


def named_layout(call: Call) -> Reply:
    """GET sobjects/{Object}/describe/namedLayouts/{name}: a local org has none."""
    known(call)
    raise not_found()


def approval_layouts(call: Call) -> Reply:
    """GET sobjects/{Object}/describe/approvalLayouts: a local org has none."""
    known(call)
    return Reply({"approvalLayouts": []})


def listviews(call: Call) -> Reply:
    """GET sobjects/{Object}/listviews: a local org has none."""
    name = known(call).name
    return Reply({"done": True, "listviews": [], "nextRecordsUrl": None, "size": 0, "sobjectType": name})


def quick_actions(call: Call) -> Reply:
    """GET sobjects/{Object}/quickActions: a local org has none."""
    known(call)
    return Reply([])


def picklist_values(call: Call) -> Reply:
    """GET ui-api/object-info/{Object}/picklist-values/{recordTypeId}[/{field}]."""
    sobject = known(call)
    entries = _record_types(call, sobject)
    wanted = call.path["type"]
    known_types = {to18(entry["recordTypeId"]) for entry in entries}
    if not is_id(wanted) or to18(wanted) not in known_types:
        raise ApiError(404, "INVALID_RECORD_TYPE_ID", "The requested record type ID does not exist")
    url = f"{call.base}/ui-api/object-info/{sobject.name}/picklist-values/{to18(wanted)}"
    fields = {
        field.name: _field_values(call.org, sobject, field, to18(wanted), f"{url}/{field.name}")
        for field in sobject.fields
        if field.type in PICKLISTS
    }
    if name := call.path.get("field"):
        found = next((value for key, value in fields.items() if key.lower() == name.lower()), None)
        if found is None:
            raise not_found()
        return Reply(found)
    return Reply({"eTag": "", "picklistFieldValues": fields})


def _field_values(org: LocalOrg, sobject: SObject, field: Field, record_type_id: str, url: str) -> dict[str, Any]:
    controller = sobject.field(field.controller_name) if field.controller_name else None
    controlling = [entry.value for entry in controller.picklist_values] if controller is not None else []
    values = [
        {
            "attributes": None,
            "label": entry.label or entry.value,
            "validFor": valid_places(entry.valid_for) if controller is not None else [],
            "value": entry.value,
        }
        for entry in values_of(org, sobject, field, record_type_id)
    ]
    usual = next((entry.value for entry in field.picklist_values if entry.default_value), None)
    return {
        "controllerValues": {value: place for place, value in enumerate(controlling)},
        "defaultValue": next((value for value in values if value["value"] == usual), None) if usual else None,
        "eTag": "",
        "url": url,
        "values": values,
    }


def valid_places(bitmap: str | None) -> list[int]:
    """The places of the controlling values for which an entry is valid, from the describe's bitmap.

    >>> valid_places("oAAA")
    [0, 2]
    """
    data = base64.b64decode(bitmap or "")
    return [place for place in range(len(data) * 8) if data[place >> 3] & (0x80 >> place % 8)]


def routes() -> list[Route]:
    """The resources of this module."""
    one = r"~/sobjects/(?P<object>\w+)/describe"
    values = r"~/ui-api/object-info/(?P<object>\w+)/picklist-values/(?P<type>\w+)"
    return [
        route(rf"{one}/layouts(?:/(?P<type>\w+))?", GET=layouts),
        route(f"{one}/compactLayouts", GET=compact_layouts),
        route(rf"{one}/namedLayouts/(?P<name>\w+)", GET=named_layout),
        route(f"{one}/approvalLayouts", GET=approval_layouts),
        route(r"~/sobjects/(?P<object>\w+)/listviews", GET=listviews),
        route(r"~/sobjects/(?P<object>\w+)/quickActions", GET=quick_actions),
        route(rf"{values}(?:/(?P<field>\w+))?", GET=picklist_values),
    ]
