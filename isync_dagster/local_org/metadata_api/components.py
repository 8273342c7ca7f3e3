"""Single components by SOAP: createMetadata, readMetadata, updateMetadata, upsertMetadata, deleteMetadata.

A component is written as the file that it would be in a deploy, and laid over the org by the same code.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from isync_dagster.local_org.metadata_api.deploy import deploy
from isync_dagster.local_org.metadata_api.written import (
    SPACE,
    document,
    elements,
    field_metadata,
    object_content,
    record_type_metadata,
    rule_metadata,
)
from isync_dagster.local_org.web import ApiError
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

MOST: Final = 10
TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
# Parts of an object -> their element in the object's file.
PARTS: Final = {"CustomField": "fields", "RecordType": "recordTypes", "ValidationRule": "validationRules"}
# Components with a file of their own -> folder, suffix.
FILES: Final = {
    "CustomObject": ("objects", "object"),
    "PermissionSet": ("permissionsets", "permissionset"),
    "CustomPermission": ("customPermissions", "customPermission"),
    "DuplicateRule": ("duplicateRules", "duplicateRule"),
    "CustomMetadata": ("customMetadata", "md"),
}
Content = Callable[[str], str | None]


def save(org: LocalOrg, operation: str, given: list[ElementTree.Element]) -> list[dict[str, Any]]:
    """Create, update or upsert components; each is saved by itself, its result in the order given."""
    if len(given) > MOST:
        raise ApiError(500, "LIMIT_EXCEEDED", f"A call may save no more than {MOST} components")
    results: list[dict[str, Any]] = []
    for item in given:
        kind = (item.get(TYPE) or "").rpartition(":")[2]
        name = next((child.text or "" for child in item if _local(child) == "fullName"), "").strip()
        if kind not in FILES and kind not in PARTS:
            raise ApiError(500, "INVALID_TYPE", f"The local org does not save metadata of type {kind or 'nothing'}")
        if not name:
            results.append(_refused(name, "REQUIRED_FIELD_MISSING", "Required field is missing: fullName"))
            continue
        known = exists(org, kind, name)
        if operation == "createMetadata" and known:
            text = f"There is already a component named {name} of type {kind}."
            results.append(_refused(name, "DUPLICATE_DEVELOPER_NAME", text))
        elif operation == "updateMetadata" and not known:
            results.append(_refused(name, "INVALID_CROSS_REFERENCE_KEY", f"no {kind} named {name} found"))
        else:
            found = _result(name, _laid(org, *_file(kind, name, item)))
            results.append({**found, "created": not known} if operation == "upsertMetadata" else found)
    return results


def element(kind: str, name: str, metadata: dict[str, Any]) -> ElementTree.Element:
    """A component given as JSON, as a message has it."""
    content = elements("metadata", {"fullName": name, **metadata})
    made = ElementTree.fromstring(content)
    made.set(TYPE, kind)
    return made


def delete(org: LocalOrg, kind: str, names: list[str]) -> list[dict[str, Any]]:
    """Delete components of a type by their full names."""
    if len(names) > MOST:
        raise ApiError(500, "LIMIT_EXCEEDED", f"A call may delete no more than {MOST} components")
    results: list[dict[str, Any]] = []
    for name in names:
        if not exists(org, kind, name):
            results.append(_refused(name, "INVALID_CROSS_REFERENCE_KEY", f"no {kind} named {name} found"))
            continue
        types = elements("types", {"members": name, "name": kind})
        results.append(_result(name, _laid(org, "destructiveChanges.xml", document("Package", types))))
    return results


def read(org: LocalOrg, kind: str, names: list[str]) -> str:
    """The `records` elements of readMetadata; what is not there is a nil one."""
    known: dict[str, Content] = {
        "CustomObject": lambda name: _object(org, name),
        **{part: lambda name, part=part: _part(org, part, name) for part in PARTS},  # type: ignore[misc]
    }
    if kind not in known:
        raise ApiError(500, "INVALID_TYPE", f"The local org does not read metadata of type {kind or 'nothing'}")
    answer = ""
    for name in names:
        content = known[kind](name)
        if content is None:
            answer += '<records xsi:nil="true"/>'
        else:
            answer += f'<records xsi:type="{kind}">{elements("fullName", name)}{content}</records>'
    return f"<result>{answer}</result>"


def exists(org: LocalOrg, kind: str, name: str) -> bool:
    """Whether an org has a component."""
    sobject, _, part = name.partition(".")
    item = org.schema.get(sobject)
    if kind == "CustomObject":
        return item is not None
    if kind in PARTS:
        return item is not None and _part(org, kind, name) is not None
    automation = org.schema.automation
    match kind:
        case "CustomPermission":
            return name in automation.custom_permissions
        case "DuplicateRule":
            return any((rule.sobject, rule.name) == (sobject, part) for rule in automation.duplicate_rules)
        case "CustomMetadata":
            kinds = (sobject, f"{sobject}__mdt")
            return any(row.type in kinds and row.name == part for row in automation.custom_metadata)
        case "PermissionSet":
            return bool(org.storage.rows('SELECT 1 FROM "PermissionSet" WHERE "Name" = ?', [name]))
        case _:
            return False


def _object(org: LocalOrg, name: str) -> str | None:
    item = org.schema.get(name)
    return None if item is None else object_content(org.schema, item)


def _part(org: LocalOrg, kind: str, full: str) -> str | None:
    sobject, _, name = full.partition(".")
    item = org.schema.get(sobject)
    made = None if item is None else _part_of(org, item, kind, name)
    return None if made is None else "".join(elements(key, value) for key, value in made.items())


def _part_of(org: LocalOrg, item: SObject, kind: str, name: str) -> dict[str, Any] | None:
    if kind == "CustomField":
        field = item.field(name)
        return field_metadata(org.schema, item, field) if field is not None and field.custom else None
    if kind == "RecordType":
        infos = (info for info in item.record_type_infos if not info.master and info.developer_name == name)
        return next((record_type_metadata(org.schema, item, info) for info in infos), None)
    rules = (rule for rule in org.schema.automation.validation_rules if (rule.sobject, rule.name) == (item.name, name))
    return next((rule_metadata(rule) for rule in rules), None)


def _file(kind: str, name: str, item: ElementTree.Element) -> tuple[str, str]:
    """The path and the text of the file that a component would be in a deploy."""
    if kind in PARTS:
        sobject, _, part = name.partition(".")
        root = ElementTree.Element(f"{{{SPACE}}}CustomObject")
        inner = ElementTree.SubElement(root, f"{{{SPACE}}}{PARTS[kind]}")
        ElementTree.SubElement(inner, f"{{{SPACE}}}fullName").text = part
        path = f"objects/{sobject}.object"
    else:
        folder, suffix = FILES[kind]
        root = inner = ElementTree.Element(f"{{{SPACE}}}{kind}")
        path = f"{folder}/{name}.{suffix}"
    inner.extend(_plain(child) for child in item if _local(child) != "fullName")
    ElementTree.register_namespace("", SPACE)
    return path, ElementTree.tostring(root, encoding="unicode")


def _plain(element: ElementTree.Element) -> ElementTree.Element:
    """An element of a message as metadata files have it, in their namespace and without attributes."""
    copy = deepcopy(element)
    for one in copy.iter():
        one.tag = f"{{{SPACE}}}{_local(one)}"
        one.attrib.clear()
    return copy


def _laid(org: LocalOrg, path: str, text: str) -> list[str]:
    """Deploy one file; gives what is wrong with it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("package.xml", document("Package", ""))
        archive.writestr(path, text)
    return [item.problem or "" for item in deploy(org, buffer.getvalue()).failures]


def _result(name: str, problems: list[str]) -> dict[str, Any]:
    errors = [{"message": text, "statusCode": "FIELD_INTEGRITY_EXCEPTION"} for text in problems]
    return {"errors": errors, "fullName": name, "success": not problems}


def _refused(name: str, code: str, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "statusCode": code}], "fullName": name, "success": False}


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
