"""Metadata as XML: fields, objects, record types and permission sets as the Metadata API takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Union
from xml.sax.saxutils import escape

from isync_dagster.schema.model import Field, PicklistValue, SObject

NAMESPACE = "http://soap.sforce.com/2006/04/metadata"
Value = Union[str, bool, int, "Elements"]
Elements = Sequence[tuple[str, Value]]
"""Child elements in order; the same name may stand more than once."""

_TYPES: Mapping[str, str] = {
    "boolean": "Checkbox", "currency": "Currency", "date": "Date", "datetime": "DateTime", "double": "Number",
    "email": "Email", "encryptedstring": "EncryptedText", "int": "Number", "multipicklist": "MultiselectPicklist",
    "percent": "Percent", "phone": "Phone", "picklist": "Picklist", "reference": "Lookup", "string": "Text",
    "textarea": "TextArea", "time": "Time", "url": "Url",
}  # fmt: skip


def document(kind: str, elements: Elements) -> str:
    """A metadata file of one component."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{kind} xmlns="{NAMESPACE}">\n{written(elements)}</{kind}>\n'


def written(elements: Elements, depth: int = 1) -> str:
    """Child elements, a line each."""
    indent, text = "    " * depth, ""
    for name, value in elements:
        if isinstance(value, bool):
            text += f"{indent}<{name}>{str(value).lower()}</{name}>\n"
        elif isinstance(value, str | int):
            text += f"{indent}<{name}>{escape(str(value))}</{name}>\n"
        else:
            text += f"{indent}<{name}>\n{written(value, depth + 1)}{indent}</{name}>\n"
    return text


def field_kind(field: Field) -> str | None:
    """The metadata type of a custom field; None for one that a describe does not tell enough of."""
    if field.calculated or field.auto_number:
        return None
    if field.master_detail:
        return "MasterDetail"
    if field.type == "textarea" and (field.length > 255 or field.html_formatted):
        return "Html" if field.html_formatted else "LongTextArea"
    return _TYPES.get(field.type)


def field_elements(field: Field, *, refers_to: str = "", children: str = "") -> Elements | None:
    """A `<CustomField>`, or None for a kind that a describe does not tell enough of.

    `refers_to` is the parent object in the target, `children` the name of the relationship in the other direction.
    """
    kind = field_kind(field)
    if kind is None or (field.is_reference and (len(field.reference_to) != 1 or not refers_to)):
        return None
    made: list[tuple[str, Value]] = [("fullName", field.name), ("label", field.label or field.name), ("type", kind)]
    if field.inline_help_text:
        made.append(("inlineHelpText", field.inline_help_text))
    if kind in ("Text", "LongTextArea", "Html", "EncryptedText"):
        made.append(("length", field.length or 255))
    if kind in ("LongTextArea", "Html"):
        made.append(("visibleLines", 10))
    if kind == "EncryptedText":
        made += [("maskChar", "asterisk"), ("maskType", "all")]
    if kind in ("Number", "Currency", "Percent"):
        made += [("precision", field.precision or field.digits or 18), ("scale", field.scale)]
    if kind == "Checkbox":
        made.append(("defaultValue", field.default_value is True))
    elif kind != "MasterDetail" and not field.nillable:
        made.append(("required", True))
    if kind in ("Text", "Number", "Email"):
        made.append(("externalId", field.external_id))
        made.append(("unique", field.unique))
        if field.unique and kind == "Text":
            made.append(("caseSensitive", field.case_sensitive))
    if kind in ("Picklist", "MultiselectPicklist"):
        made.append(("valueSet", _value_set(field)))
        if kind == "MultiselectPicklist":
            made.append(("visibleLines", 4))
    if field.is_reference:
        made += [("referenceTo", refers_to), ("relationshipName", children)]
        if kind == "MasterDetail":
            made += [
                ("relationshipOrder", field.relationship_order or 0),
                ("reparentableMasterDetail", field.updateable),
                ("writeRequiresMasterRead", field.write_requires_master_read),
            ]
        else:
            rule = "Cascade" if field.cascade_delete else "Restrict" if field.restricted_delete else "SetNull"
            made.append(("deleteConstraint", "Restrict" if rule == "SetNull" and not field.nillable else rule))
    return made


def _value_set(field: Field) -> Elements:
    values: list[tuple[str, Value]] = [("sorted", False)]
    values += [("value", value_elements(entry)) for entry in field.picklist_values]
    return [("restricted", field.restricted_picklist), ("valueSetDefinition", values)]


def value_elements(entry: PicklistValue) -> Elements:
    """One value of a picklist."""
    made: list[tuple[str, Value]] = [
        ("fullName", entry.value),
        ("default", entry.default_value),
        ("label", entry.label or entry.value),
    ]
    if not entry.active:
        made.append(("isActive", False))
    return made


def object_elements(item: SObject, fields: Iterable[Elements]) -> Elements:
    """A `<CustomObject>` without its fields' own files: names, the name field, who sees it."""
    detail = any(field.master_detail for field in item.fields)
    naming = item.name_field
    auto = naming is not None and naming.auto_number
    name: list[tuple[str, Value]] = [
        ("label", naming.label if naming is not None and naming.label else f"{item.label or item.name} Name"),
        ("type", "AutoNumber" if auto else "Text"),
    ]
    if auto:
        name.append(("displayFormat", "{0}"))
    made: list[tuple[str, Value]] = [
        ("label", item.label or item.name),
        ("pluralLabel", item.label_plural or item.label or item.name),
        ("nameField", name),
        ("deploymentStatus", "Deployed"),
        ("sharingModel", "ControlledByParent" if detail else "ReadWrite"),
    ]
    return [*made, *(("fields", field) for field in fields)]
