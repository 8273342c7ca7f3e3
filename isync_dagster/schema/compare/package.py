"""Differences as metadata to deploy: fields, picklist values, record types, objects, and a permission set for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field

from isync_dagster.schema.compare.model import Difference, Kind, Pair, Severity
from isync_dagster.schema.compare.picklists import mapping_of
from isync_dagster.schema.compare.written import Elements, Value, field_elements, object_elements, value_elements
from isync_dagster.schema.model import Field, PicklistValue, SObject
from isync_dagster.schema.snapshot import Snapshot

PERMISSION_SET = "Isync_Migration"
VALUE_SETS: Mapping[str, str] = {
    "Account.Industry": "Industry", "Account.Rating": "AccountRating", "Account.Type": "AccountType",
    "Account.Ownership": "AccountOwnership", "Account.AccountSource": "LeadSource", "Campaign.Status": "CampaignStatus",
    "Campaign.Type": "CampaignType", "Case.Origin": "CaseOrigin", "Case.Priority": "CasePriority",
    "Case.Reason": "CaseReason", "Case.Status": "CaseStatus", "Case.Type": "CaseType",
    "Contact.LeadSource": "LeadSource", "Contact.Salutation": "Salutation", "Contract.Status": "ContractStatus",
    "Lead.Industry": "Industry", "Lead.LeadSource": "LeadSource", "Lead.Rating": "AccountRating",
    "Lead.Salutation": "Salutation", "Lead.Status": "LeadStatus", "Opportunity.LeadSource": "LeadSource",
    "Opportunity.StageName": "OpportunityStage", "Opportunity.Type": "OpportunityType", "Order.Status": "OrderStatus",
    "Task.Priority": "TaskPriority", "Task.Status": "TaskStatus",
}  # fmt: skip
"""Field of a standard object -> the standard value set that it shows."""
_WITH_STAGES = frozenset(
    {"OpportunityStage", "CaseStatus", "LeadStatus", "ContractStatus", "OrderStatus", "TaskStatus"}
)
"""Value sets whose entries have more to them (probability, closed, converted) than a describe tells."""
_BUSINESS_PROCESS = frozenset({"Case", "Lead", "Opportunity", "Solution"})
_ALTERED = frozenset({Kind.FIELD_LENGTH, Kind.FIELD_PRECISION, Kind.FIELD_REQUIRED, Kind.FIELD_UNIQUE})


@dataclass(frozen=True)
class Part:
    """One component: its metadata type, the object that it belongs to (or empty), its own name, its elements."""

    kind: str
    object: str
    name: str
    elements: Elements

    @property
    def full_name(self) -> str:
        """As package.xml lists it."""
        return f"{self.object}.{self.name}" if self.object else self.name


@dataclass(frozen=True)
class Package:
    """What to deploy, and each difference that a deploy does not resolve with the reason."""

    parts: tuple[Part, ...]
    left: tuple[tuple[Difference, str], ...]

    def __bool__(self) -> bool:
        return bool(self.parts)


@dataclass
class _Access:
    """What the permission set opens."""

    fields: dict[str, None] = dataclass_field(default_factory=dict)
    objects: dict[str, None] = dataclass_field(default_factory=dict)
    record_types: dict[str, None] = dataclass_field(default_factory=dict)


def build_package(
    differences: Iterable[Difference], pairs: Sequence[Pair], source: Snapshot, target: Snapshot
) -> Package:
    """The components that make the target take what the source has, from both describes.

    Only custom fields and objects, values of standard picklists and record types can be deployed; the rest is in
    `left`. A field that is changed keeps all that its describe in the target says.
    """
    return _Builder(pairs, source, target).build(differences)


class _Builder:
    def __init__(self, pairs: Sequence[Pair], source: Snapshot, target: Snapshot) -> None:
        self._pairs = {pair.source.lower(): pair for pair in pairs}
        self._renamed = {pair.source.lower(): pair.target for pair in pairs}
        self._source, self._target = source, target
        self._fields: dict[tuple[str, str], Field] = {}
        """(target object, field) -> the field as it is to be."""
        self._from: dict[tuple[str, str], tuple[str, str]] = {}
        """(target object, field) -> the source's object and field, for what only the source knows."""
        self._sets: dict[str, dict[str, PicklistValue]] = {}
        self._record_types: dict[tuple[str, str], Elements] = {}
        self._objects: dict[str, SObject] = {}
        self._access = _Access()
        self._left: list[tuple[Difference, str]] = []

    def build(self, differences: Iterable[Difference]) -> Package:
        for item in differences:
            reason = self._take(item)
            if reason is not None:
                self._left.append((item, reason))
        return Package(tuple(self._parts()), tuple(self._left))

    def _take(self, item: Difference) -> str | None:
        """Take a difference in; the reason where a deploy cannot resolve it."""
        if item.kind is Kind.OBJECT_MISSING:
            return self._object(item)
        if item.kind is Kind.OBJECT_ACCESS:
            self._access.objects[item.target_object] = None
            return None
        if item.kind is Kind.RECORD_TYPE:
            return self._record_type(item)
        source, target = self._source.object(item.object), self._target.object(item.target_object)
        field = source.field(item.field) if item.field else None
        there = target.field(item.target_field) if item.target_field else None
        match item.kind:
            case Kind.FIELD_MISSING:
                return self._new_field(item, source, field)
            case Kind.FIELD_ACCESS if there is not None:
                self._access.fields[f"{target.name}.{there.name}"] = None
                return None
            case Kind.PICKLIST_VALUE if field is not None and there is not None:
                return self._value(item, target, field, there)
            case kind if kind in _ALTERED and there is not None:
                if item.severity is Severity.COSMETIC and item.rows == 0 and not _narrower(kind, field, there):
                    return "nothing to do: the target takes it"
                return self._alter(item, target, field, there)
        return "a deploy cannot change this without touching what the target holds: decide in the template or by hand"

    def _object(self, item: Difference) -> str | None:
        source = self._source.object(item.object)
        if not source.name.endswith("__c") or not item.target_object.endswith("__c"):
            return "a standard object comes with a feature or a licence of the org"
        self._objects[item.target_object] = source
        self._access.objects[item.target_object] = None
        for field in source.fields:
            if field.name.endswith("__c") and (field.createable or field.updateable):
                pair = self._pairs[source.name.lower()]
                name = next((to for own, to in pair.fields.items() if own.lower() == field.name.lower()), field.name)
                self._put(item.target_object, replace(field, name=name), source.name, field)
        for info in source.record_type_infos:
            if not info.master and info.active:
                self._put_record_type(item.target_object, info.developer_name, info.name)
        return None

    def _new_field(self, item: Difference, source: SObject, field: Field | None) -> str | None:
        if field is None:
            key = Field(item.target_field, length=18, external_id=True, unique=True, case_sensitive=True)
            key = replace(key, label="Source record id", custom=True)
            self._put(item.target_object, key, "", None)
            return None
        if not item.target_field.endswith("__c"):
            return "a standard field comes with the object or a feature of the org"
        self._put(item.target_object, replace(field, name=item.target_field), source.name, field)
        return None

    def _put(self, object: str, field: Field, from_object: str, source: Field | None) -> None:
        key = (object, field.name)
        self._fields[key] = field
        if source is not None:
            self._from[key] = (from_object, source.name)
        if field.nillable and not field.master_detail:
            self._access.fields[f"{object}.{field.name}"] = None

    def _current(self, target: SObject, there: Field) -> Field:
        return self._fields.get((target.name, there.name), there)

    def _alter(self, item: Difference, target: SObject, field: Field | None, there: Field) -> str | None:
        if not there.name.endswith("__c"):
            return "a standard field cannot be changed"
        if there.is_reference:
            return "a lookup's filters are not in its describe and would be lost: change it by hand"
        now = self._current(target, there)
        match item.kind:
            case Kind.FIELD_LENGTH if field is not None:
                if (there.length > 255) != (field.length > 255) and there.type != "textarea":
                    return "a text field of more than 255 characters is of another type: change it by hand"
                now = replace(now, length=max(field.length, there.length))
            case Kind.FIELD_PRECISION if field is not None:
                scale = max(field.scale, there.scale)
                whole = max(field.precision - field.scale, there.precision - there.scale)
                if whole + scale > 18:
                    return "no number field has more than 18 digits"
                now = replace(now, scale=scale, precision=whole + scale)
            case Kind.FIELD_REQUIRED:
                now = replace(now, nillable=True)
            case Kind.FIELD_UNIQUE:
                now = replace(now, unique=False)
        self._fields[target.name, there.name] = now
        return None

    def _value(self, item: Difference, target: SObject, field: Field, there: Field) -> str | None:
        pair = self._pairs[item.object.lower()]
        sent = mapping_of(pair.picklists, field.name).get(item.value, item.value)
        own = next((value for value in field.picklist_values if value.value == item.value), PicklistValue(sent, sent))
        value = replace(own, value=sent, active=True, default_value=False, valid_for=None)
        if there.name.endswith("__c"):
            if there.dependent_picklist:
                return "a dependent picklist: say by hand which controlling values the new one goes with"
            now = self._current(target, there)
            kept = tuple(entry for entry in now.picklist_values if entry.value != sent)
            self._fields[target.name, there.name] = replace(now, picklist_values=(*kept, value))
            return None
        name = VALUE_SETS.get(f"{target.name}.{there.name}")
        if name is None or name in _WITH_STAGES:
            return "the values of this standard field have more to them than a describe tells: add it by hand"
        values = self._sets.setdefault(name, {entry.value: entry for entry in there.picklist_values})
        values[sent] = value
        return None

    def _record_type(self, item: Difference) -> str | None:
        if item.target_object in _BUSINESS_PROCESS:
            return f"a record type of {item.target_object} needs a process that no describe tells: make it by hand"
        self._put_record_type(item.target_object, item.value, item.source)
        return None

    def _put_record_type(self, object: str, name: str, label: str) -> None:
        self._record_types[object, name] = [("fullName", name), ("active", True), ("label", label or name)]
        self._access.record_types[f"{object}.{name}"] = None

    # what comes of it

    def _parts(self) -> Iterable[Part]:
        for name, item in self._objects.items():
            fields = tuple(field for (object, _), field in self._fields.items() if object == name)
            yield Part("CustomObject", "", name, object_elements(replace(item, fields=(*_naming(item), *fields)), ()))
        for (object, name), field in self._fields.items():
            elements = self._elements(object, field)
            if elements is not None:
                yield Part("CustomField", object, name, elements)
        for (object, name), elements in self._record_types.items():
            yield Part("RecordType", object, name, elements)
        for name, values in self._sets.items():
            entries: list[tuple[str, Value]] = [("sorted", False)]
            entries += [("standardValue", value_elements(value)) for value in values.values()]
            yield Part("StandardValueSet", "", name, entries)
        if self._access.fields or self._access.objects or self._access.record_types:
            yield Part("PermissionSet", "", PERMISSION_SET, self._permission_set())

    def _elements(self, object: str, field: Field) -> Elements | None:
        if not field.is_reference:
            return field_elements(field)
        parent = field.reference_to[0] if field.reference_to else ""
        known = self._from.get((object, field.name))
        children = ""
        if known is not None and (item := self._source.find(parent)) is not None:
            children = next(
                (
                    child.relationship_name or ""
                    for child in item.child_relationships
                    if (child.child_s_object, child.field) == known
                ),
                "",
            )
        stem = re.sub(r"__[cr]$", "", children) or f"{re.sub('__c$', '', object)}_{re.sub('__c$', '', field.name)}"
        refers_to = self._renamed.get(parent.lower(), parent)
        return field_elements(field, refers_to=refers_to, children=re.sub(r"_+", "_", stem)[:40].strip("_"))

    def _permission_set(self) -> Elements:
        made: list[tuple[str, Value]] = [("label", "Isync Migration"), ("hasActivationRequired", False)]
        made += [
            ("fieldPermissions", [("editable", True), ("field", name), ("readable", True)])
            for name in sorted(self._access.fields)
        ]
        rights = ("allowCreate", "allowDelete", "allowEdit", "allowRead", "modifyAllRecords", "viewAllRecords")
        made += [
            ("objectPermissions", [*((right, True) for right in rights[:4]), ("modifyAllRecords", False),
                                   ("object", name), ("viewAllRecords", False)])
            for name in sorted(self._access.objects)
        ]  # fmt: skip
        made += [
            ("recordTypeVisibilities", [("recordType", name), ("visible", True)])
            for name in sorted(self._access.record_types)
        ]
        return made


def _naming(item: SObject) -> tuple[Field, ...]:
    return (item.name_field,) if item.name_field is not None else ()


def _narrower(kind: Kind, field: Field | None, there: Field) -> bool:
    """True where the target takes less than the source, whether rows need it or not."""
    if field is None:
        return kind is Kind.FIELD_REQUIRED
    match kind:
        case Kind.FIELD_LENGTH:
            return there.length < field.length
        case Kind.FIELD_PRECISION:
            whole = there.precision - there.scale < field.precision - field.scale
            return whole or there.scale < field.scale
        case Kind.FIELD_REQUIRED:
            return not there.nillable and field.nillable
    return there.unique and not field.unique
