"""The describe model: what Salesforce says of an object and its fields.

The names are Salesforce's own attribute names in snake case; `from_json` takes an answer of
`GET /sobjects/{Object}/describe` (any API version), a projection of one, or a trimmed snapshot, and
`to_json` gives the same keys back. Attributes that are absent take the value that most fields have, so
that a trimmed file stays small: `to_json(trimmed=True)` leaves those out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import cached_property
from typing import Any

MASTER_RECORD_TYPE_ID = "012000000000000AAA"

COMPOUND_TYPES = frozenset({"address", "location"})
NUMBER_TYPES = frozenset({"double", "currency", "percent"})
TEXT_TYPES = frozenset(
    {"string", "picklist", "multipicklist", "combobox", "phone", "url", "email", "textarea", "encryptedstring"}
)


def _camel(name: str) -> str:
    """Give the Salesforce spelling of an attribute: `relationship_name` -> `relationshipName`."""
    return re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name)


@dataclass(frozen=True, slots=True)
class PicklistValue:
    """One entry of a picklist; `value` is what travels, `label` is what people see."""

    value: str
    label: str = ""
    active: bool = True
    default_value: bool = False
    valid_for: str | None = None


@dataclass(frozen=True, slots=True)
class RecordTypeInfo:
    """A record type of an object as the describe lists it; `record_type_id` differs between orgs."""

    record_type_id: str
    developer_name: str = ""
    """Absent in answers of API versions below 43."""
    name: str = ""
    active: bool = True
    available: bool = True
    default_record_type_mapping: bool = False
    master: bool = False


@dataclass(frozen=True, slots=True)
class ChildRelationship:
    """A lookup that points at this object, with what a delete of this object does to it."""

    child_s_object: str
    field: str
    relationship_name: str | None = None
    cascade_delete: bool = False
    restricted_delete: bool = False
    deprecated_and_hidden: bool = False
    junction_id_list_names: tuple[str, ...] = ()
    junction_reference_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object: the attributes of the describe (`salesforce` names in snake case)."""

    name: str
    type: str = "string"
    label: str = ""
    length: int = 0
    precision: int = 0
    scale: int = 0
    digits: int = 0
    nillable: bool = True
    createable: bool = True
    updateable: bool = True
    defaulted_on_create: bool = False
    calculated: bool = False
    auto_number: bool = False
    external_id: bool = False
    id_lookup: bool = False
    unique: bool = False
    case_sensitive: bool = False
    name_field: bool = False
    reference_to: tuple[str, ...] = ()
    relationship_name: str | None = None
    relationship_order: int | None = None
    polymorphic_foreign_key: bool = False
    name_pointing: bool = False
    cascade_delete: bool = False
    restricted_delete: bool = False
    restricted_picklist: bool = False
    dependent_picklist: bool = False
    controller_name: str | None = None
    picklist_values: tuple[PicklistValue, ...] = ()
    compound_field_name: str | None = None
    custom: bool = False
    default_value: Any = None
    default_value_formula: str | None = None
    calculated_formula: str | None = None
    formula_treat_null_number_as_zero: bool = False
    deprecated_and_hidden: bool = False
    encrypted: bool = False
    html_formatted: bool = False
    extra_type_info: str | None = None
    inline_help_text: str | None = None
    filterable: bool = True
    sortable: bool = True
    groupable: bool = True
    aggregatable: bool = True
    permissionable: bool = True
    byte_length: int = 0
    soap_type: str | None = None
    filtered_lookup_info: Any = None
    mask: str | None = None
    mask_type: str | None = None
    ai_prediction_field: bool = False
    display_location_in_decimal: bool = False
    high_scale_number: bool = False
    query_by_distance: bool = False
    reference_target_field: str | None = None
    search_prefilterable: bool = False
    write_requires_master_read: bool = False

    @property
    def is_reference(self) -> bool:
        """True for a lookup or master-detail field (not for the record's own Id)."""
        return self.type == "reference"

    @property
    def polymorphic(self) -> bool:
        """True where the lookup may point at more than one object in this org."""
        return len(self.reference_to) > 1

    @property
    def master_detail(self) -> bool:
        """True for a master-detail relationship: it has a relationship order, or cascades and is required."""
        return self.is_reference and (
            self.relationship_order is not None or (self.cascade_delete and not self.nillable)
        )

    @property
    def required(self) -> bool:
        """True where an insert without a value is refused (REQUIRED_FIELD_MISSING)."""
        return self.createable and not self.nillable and not self.defaulted_on_create and self.type != "boolean"

    @property
    def has_default(self) -> bool:
        """True where the server fills the field when an insert leaves it out."""
        return (
            self.defaulted_on_create
            or self.default_value not in (None, "")
            or bool(self.default_value_formula)
            or any(value.default_value for value in self.picklist_values)
        )

    @property
    def bulk_selectable(self) -> bool:
        """True where a Bulk query can select the field: no compound field and no binary content."""
        return self.type not in COMPOUND_TYPES and self.type != "base64"

    def active_values(self) -> frozenset[str]:
        """The values that a restricted picklist accepts."""
        return frozenset(value.value for value in self.picklist_values if value.active)


@dataclass(frozen=True)
class SObject:
    """One object of an org: its flags, fields, children and record types."""

    name: str
    label: str = ""
    label_plural: str = ""
    key_prefix: str | None = None
    custom: bool = False
    custom_setting: bool = False
    createable: bool = True
    updateable: bool = True
    deletable: bool = True
    undeletable: bool = True
    queryable: bool = True
    retrieveable: bool = True
    replicateable: bool = True
    mergeable: bool = False
    triggerable: bool = True
    searchable: bool = True
    layoutable: bool = True
    deprecated_and_hidden: bool = False
    fields: tuple[Field, ...] = ()
    child_relationships: tuple[ChildRelationship, ...] = ()
    record_type_infos: tuple[RecordTypeInfo, ...] = ()

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """The fields by their API name, spelled as the org spells it."""
        return {field.name: field for field in self.fields}

    @cached_property
    def _by_lower(self) -> Mapping[str, Field]:
        return {field.name.lower(): field for field in self.fields}

    def field(self, name: str) -> Field | None:
        """The field of that API name in any case (Salesforce names are case-insensitive), or None."""
        return self._by_lower.get(name.lower())

    @property
    def references(self) -> tuple[Field, ...]:
        """The lookup and master-detail fields."""
        return tuple(field for field in self.fields if field.is_reference)

    @property
    def name_field(self) -> Field | None:
        """The field that people read as the record's name, where the object has one."""
        return next((field for field in self.fields if field.name_field), None)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> SObject:
        """Read a describe answer, full, projected or trimmed; unknown attributes are not kept."""
        values = _known(cls, answer)
        values["fields"] = tuple(_field(item) for item in answer.get("fields") or ())
        values["child_relationships"] = tuple(
            ChildRelationship(**_known(ChildRelationship, item)) for item in answer.get("childRelationships") or ()
        )
        values["record_type_infos"] = tuple(
            RecordTypeInfo(**_known(RecordTypeInfo, item)) for item in answer.get("recordTypeInfos") or ()
        )
        return cls(**values)

    def to_json(self, *, trimmed: bool = False) -> dict[str, Any]:
        """Give the describe's own keys back; `trimmed` leaves out every attribute at its usual value."""
        return _to_json(self, trimmed)


_KEYS: dict[type, dict[str, tuple[str, Any]]] = {}


def _keys(kind: type) -> dict[str, tuple[str, Any]]:
    """Salesforce key -> (attribute, usual value) of a model class, worked out once."""
    found = _KEYS.get(kind)
    if found is None:
        found = {_camel(item.name): (item.name, item.default) for item in dataclass_fields(kind)}
        _KEYS[kind] = found
    return found


def _known(kind: type, item: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of `item` that the model has, lists as tuples; explicit nulls of flags are dropped."""
    keys = _keys(kind)
    values: dict[str, Any] = {}
    for key, value in item.items():
        known = keys.get(key)
        if known is None:
            continue
        attribute, usual = known
        if isinstance(value, list):
            value = tuple(value)
        if value is None and usual is not None and isinstance(usual, str | bool | int | tuple):
            continue
        values[attribute] = value
    return values


def _field(item: Mapping[str, Any]) -> Field:
    values = _known(Field, item)
    picklist: Iterable[Mapping[str, Any]] = item.get("picklistValues") or ()
    values["picklist_values"] = tuple(PicklistValue(**_known(PicklistValue, entry)) for entry in picklist)
    return Field(**values)


def _to_json(model: Any, trimmed: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for key, (attribute, usual) in _keys(type(model)).items():
        value = getattr(model, attribute)
        if trimmed and value == usual:
            continue
        if isinstance(value, tuple):
            value = [
                _to_json(item, trimmed)
                if isinstance(item, Field | PicklistValue | ChildRelationship | RecordTypeInfo)
                else item
                for item in value
            ]
        answer[key] = value
    return answer
