"""What follows from a field's type: SOAP type, byte length and what SOQL may do with it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from isync_dagster.schema.model import COMPOUND_TYPES, Field

LONG_TEXT: Final = 255  # a text area beyond this length can be neither filtered nor sorted

SOAP_TYPES: Final = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "time": "xsd:time",
    "base64": "xsd:base64Binary",
    "anyType": "xsd:anyType",
    "address": "urn:address",
    "location": "urn:location",
}

# The length that a field of this type has where its source does not say.
USUAL_LENGTHS: Final = {
    "id": 18,
    "reference": 18,
    "string": 255,
    "picklist": 255,
    "combobox": 255,
    "multipicklist": 4099,
    "phone": 40,
    "email": 80,
    "url": 255,
    "textarea": 32000,
    "encryptedstring": 175,
}


def dressed(field: Field) -> Field:
    """The field with every attribute that its type decides, as a full describe has them."""
    kind = field.type
    long_text = kind == "textarea" and field.length > LONG_TEXT
    compound = kind in COMPOUND_TYPES
    binary = kind == "base64"
    number = kind in ("double", "currency", "percent")
    required = not field.nillable and not field.defaulted_on_create
    return replace(
        field,
        soap_type=SOAP_TYPES.get(kind, "xsd:string"),
        byte_length=field.length if kind in ("id", "reference") else 3 * field.length,
        digits=field.digits or (8 if kind == "int" else 0),
        filterable=not (long_text or binary),
        sortable=not (long_text or binary or compound or kind == "multipicklist"),
        groupable=not (
            long_text
            or binary
            or compound
            or number
            or field.auto_number
            or kind in ("datetime", "time", "multipicklist", "combobox")
        ),
        aggregatable=not (long_text or binary or compound or kind in ("boolean", "multipicklist")),
        permissionable=field.permissionable and not required and (field.createable or field.updateable or field.custom),
    )


def label_of(name: str) -> str:
    """The usual label of an API name.

    >>> label_of("AccountId"), label_of("BillingPostalCode"), label_of("npsp__Primary_Contact__c")
    ('Account ID', 'Billing Postal Code', 'Primary Contact')
    """
    stem = re.sub(r"^[A-Za-z]\w*?__(?=\w+__)", "", name)
    stem = re.sub(r"__(c|s|pc|mdt|e|x|b)$", "", stem)
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", stem.replace("_", " "))
    return re.sub(r"\bId\b", "ID", words).strip()


def plural_of(label: str) -> str:
    """The usual plural of a label.

    >>> plural_of("Case"), plural_of("Opportunity"), plural_of("Branch")
    ('Cases', 'Opportunities', 'Branches')
    """
    if re.search(r"[^aeiou]y$", label):
        return label[:-1] + "ies"
    return label + ("es" if re.search(r"(s|x|ch|sh)$", label) else "s")


def system_fields(*, deleted: bool = True, created: bool = True, modified: bool = True) -> tuple[Field, ...]:
    """Id first, then the audit fields that an object has; none of them is writable."""
    found = [Field("Id", "id", "Record ID", 18, id_lookup=True)]
    if deleted:
        found.append(Field("IsDeleted", "boolean", "Deleted", default_value=False))
    if created:
        found += [Field("CreatedDate", "datetime", "Created Date"), _user("CreatedById")]
    if modified:
        found += [Field("LastModifiedDate", "datetime", "Last Modified Date"), _user("LastModifiedById")]
    found.append(Field("SystemModstamp", "datetime", "System Modstamp"))
    return tuple(
        dressed(
            replace(
                field,
                nillable=False,
                createable=False,
                updateable=False,
                defaulted_on_create=True,
                permissionable=False,
            )
        )
        for field in found
    )


def _user(name: str) -> Field:
    return Field(
        name, "reference", label_of(name), 18, reference_to=("User",), relationship_name=name.removesuffix("Id")
    )


def owner_field(*, queues: bool) -> Field:
    """The OwnerId of an object; `queues` where a queue may own a record (custom objects, Case, Lead)."""
    return dressed(
        Field(
            "OwnerId",
            "reference",
            "Owner ID",
            18,
            nillable=False,
            defaulted_on_create=True,
            reference_to=("Group", "User") if queues else ("User",),
            relationship_name="Owner",
            polymorphic_foreign_key=queues,
            name_pointing=queues,
        )
    )
