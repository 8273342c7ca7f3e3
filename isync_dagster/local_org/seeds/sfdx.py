"""Objects from Salesforce source metadata: `objects/**` of an SFDX project, or the older one-file form.

Custom objects are built whole; custom fields on standard objects are laid over a base describe. Validation
rules are kept as data, global value sets are resolved, and a namespace can be put before every name that has
none, as a managed package's source needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Final

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.automation.model import Automation, ValidationRule
from isync_dagster.local_org.automation.picklists import valid_for
from isync_dagster.local_org.seeds.fields import dressed, label_of, owner_field, plural_of, system_fields
from isync_dagster.local_org.seeds.notation import MASTER
from isync_dagster.local_org.seeds.sfdx_automation import (
    field_parts,
    read_automation,
    record_type_values,
    validation_rule,
)
from isync_dagster.local_org.seeds.sfdx_fields import Names, Summary, Xml, fitting_values, name_field, read_field
from isync_dagster.local_org.seeds.sfdx_files import files_of, parse_xml
from isync_dagster.local_org.seeds.standard import standard_objects
from isync_dagster.schema.model import ChildRelationship, Field, PicklistValue, RecordTypeInfo, SObject

# Events, external and big objects hold no records that the data API could load.
NO_RECORDS: Final = ("__e", "__x", "__b")


@dataclass
class SourceTree:
    """What a source folder says: its objects by name, and what the org does by itself."""

    objects: dict[str, SObject] = dataclass_field(default_factory=dict)
    automation: Automation = dataclass_field(default_factory=Automation)

    @property
    def validation_rules(self) -> list[ValidationRule]:
        """The validation rules on the objects."""
        return list(self.automation.validation_rules)


@dataclass
class _Parts:
    """The files of one object, gathered before it is built."""

    root: Xml | None = None
    fields: list[Xml] = dataclass_field(default_factory=list)
    record_types: list[Xml] = dataclass_field(default_factory=list)
    rules: list[Xml] = dataclass_field(default_factory=list)


def read_source(
    folder: Path,
    *,
    base: Mapping[str, SObject] | None = None,
    namespace: str | None = None,
    allow_empty: bool = False,
) -> SourceTree:
    """The objects under a source folder.

    `base` are the describes that fields on standard objects are laid over, our own standard objects by default.
    With `namespace` every object and field name without one gets it. ConfigError names the file that is wrong, or
    says that there is no object at all unless `allow_empty`.
    """
    folder = Path(folder)
    known = standard_objects() if base is None else {**standard_objects(), **base}
    names = Names(namespace)
    parts = _gather(folder, names)
    if not parts and not allow_empty:
        raise ConfigError(f"{folder} holds no object source (objects/<Object>/<Object>.object-meta.xml or fields)")
    value_sets = _value_sets(folder)
    tree = SourceTree()
    children: dict[str, list[ChildRelationship]] = {}
    summaries: list[tuple[str, str, Summary]] = []
    active: list[str] = []
    for name, part in sorted(parts.items()):
        built, mine = _build(name, part, known, names, value_sets, children)
        tree.objects[name] = built
        summaries += [(name, field_name, summary) for field_name, summary in mine.items()]
        tree.automation = tree.automation.plus(_own_automation(name, part, built, names))
        if part.root is not None and part.root.flag("enableActivities") and built.custom:
            active.append(name)
    for name, field_name, summary in summaries:
        tree.objects[name] = _summed(tree.objects[name], field_name, summary, tree.objects)
    for parent, items in children.items():
        if parent in tree.objects:
            item = tree.objects[parent]
            known_children = {(child.child_s_object, child.field) for child in item.child_relationships}
            fresh = [child for child in items if (child.child_s_object, child.field) not in known_children]
            tree.objects[parent] = replace(item, child_relationships=(*item.child_relationships, *fresh))
    _allow_activities(tree, known, active)
    tree.automation = tree.automation.plus(read_automation(folder, {**known, **tree.objects}, names))
    return tree


def _own_automation(name: str, part: _Parts, built: SObject, names: Names) -> Automation:
    """What the files of one object say of its automation."""
    kept = {field.name for field in built.fields}
    fields = [
        field_parts(item, name, full, names)
        for item in part.fields
        if (full := names.full(item.need("fullName"))) in kept
    ]
    naming = part.root.all("nameField") if part.root is not None else []
    fields += [field_parts(item, name, "Name", names) for item in naming]
    return Automation(
        validation_rules=tuple(validation_rule(name, item, names) for item in part.rules),
        roll_ups=tuple(item.roll_up for item in fields if item.roll_up is not None),
        lookup_filters=tuple(item.lookup_filter for item in fields if item.lookup_filter is not None),
        number_formats=tuple(item.number_format for item in fields if item.number_format is not None),
        record_type_values=tuple(
            value for item in part.record_types for value in record_type_values(name, item, names)
        ),
    )


def _gather(folder: Path, names: Names) -> dict[str, _Parts]:
    parts: dict[str, _Parts] = {}

    def of(name: str) -> _Parts:
        return parts.setdefault(names.full(name), _Parts())

    for file in sorted(folder.rglob("*.xml")) + sorted(folder.rglob("*.object")):
        kind = ".".join(file.name.split(".")[1:])
        if kind in ("object-meta.xml", "object"):
            name = file.name.split(".")[0]
            if not name.endswith(NO_RECORDS):
                root = parse_xml(file)
                part = of(name)
                part.root = root
                part.fields += root.all("fields")
                part.record_types += root.all("recordTypes")
                part.rules += root.all("validationRules")
            continue
        owner = file.parent.parent.name
        if owner.endswith(NO_RECORDS):
            continue
        if kind == "field-meta.xml":
            of(owner).fields.append(parse_xml(file))
        elif kind == "recordType-meta.xml":
            of(owner).record_types.append(parse_xml(file))
        elif kind == "validationRule-meta.xml":
            of(owner).rules.append(parse_xml(file))
    return parts


def _value_sets(folder: Path) -> dict[str, tuple[PicklistValue, ...]]:
    found: dict[str, tuple[PicklistValue, ...]] = {}
    for name, file in files_of(folder, "globalValueSet"):
        found[name] = tuple(item.picklist_value() for item in parse_xml(file).all("customValue"))
    return found


def _build(
    name: str,
    part: _Parts,
    known: Mapping[str, SObject],
    names: Names,
    value_sets: Mapping[str, tuple[PicklistValue, ...]],
    children: dict[str, list[ChildRelationship]],
) -> tuple[SObject, dict[str, Summary]]:
    fields: list[Field] = []
    summaries: dict[str, Summary] = {}
    for item in part.fields:
        read = read_field(item, names, value_sets)
        if read is None:
            continue
        fields += read.fields
        if read.summary:
            summaries[read.fields[0].name] = read.summary
        for parent in read.fields[0].reference_to:
            children.setdefault(parent, []).append(read.child_of(name))
    infos = tuple(_record_type(item) for item in part.record_types)
    base = known.get(name)
    fields = _with_dependencies(fields, part, base, names)
    if base is not None:
        mine = {field.name for field in fields}
        kept = tuple(field for field in base.fields if field.name not in mine)
        return (
            replace(base, fields=(*kept, *fields), record_type_infos=(*_usual(infos), *base.record_type_infos)),
            summaries,
        )
    return _custom(name, part, fields, infos), summaries


def _with_dependencies(fields: list[Field], part: _Parts, base: SObject | None, names: Names) -> list[Field]:
    """The fields with the bitmaps of dependent picklists, which need the controlling field's values."""
    controls = {field.name: field for field in (*(base.fields if base is not None else ()), *fields)}
    fitting = {names.full(item.need("fullName")): found for item in part.fields if (found := fitting_values(item))}
    made: list[Field] = []
    for field in fields:
        controller = controls.get(field.controller_name or "")
        if controller is None or field.name not in fitting:
            made.append(field)
            continue
        boolean = controller.type == "boolean"
        known = ["unchecked", "checked"] if boolean else [entry.value for entry in controller.picklist_values]
        pairs = fitting[field.name]
        values = tuple(
            replace(entry, valid_for=valid_for(known, pairs.get(entry.value, []))) for entry in field.picklist_values
        )
        made.append(replace(field, picklist_values=values))
    return made


def _custom(name: str, part: _Parts, fields: list[Field], infos: tuple[RecordTypeInfo, ...]) -> SObject:
    if name.endswith("__mdt"):
        return metadata_type(name, (part.root.text("label") if part.root else None) or label_of(name), fields)
    root = part.root
    label = (root.text("label") if root else None) or label_of(name)
    setting = root is not None and root.text("customSettingsType") is not None
    system = system_fields()
    detail = any(field.master_detail for field in fields)
    # A package's own fields may lie on an object whose own file, and name field, live in another package.
    naming = name_field(root, name) if not setting or root is None else replace(name_field(None, name), nillable=True)
    own = [] if detail or setting else [owner_field(queues=True)]
    if setting:
        own = [
            replace(
                owner_field(queues=False),
                name="SetupOwnerId",
                label="Location",
                reference_to=("Organization", "Profile", "User"),
                relationship_name="SetupOwner",
                polymorphic_foreign_key=True,
            )
        ]
    return SObject(
        name,
        label=label,
        label_plural=(root.text("pluralLabel") if root else None) or plural_of(label),
        custom=True,
        custom_setting=setting,
        fields=(*system[:2], naming, *own, *system[2:], *fields),
        record_type_infos=(*_usual(infos), MASTER if not infos else replace(MASTER, default_record_type_mapping=False)),
    )


def custom_object(name: str) -> SObject:
    """A custom object with a name, an owner and the system fields, and nothing else."""
    return _custom(name, _Parts(), [], ())


def metadata_type(name: str, label: str, fields: Iterable[Field]) -> SObject:
    """A custom metadata type: its records are read by the data API and written by the Metadata API."""
    own = [
        Field("DeveloperName", "string", "Custom Metadata Record Name", 40, nillable=False, name_field=False),
        Field("MasterLabel", "string", "Label", 40, nillable=False, name_field=True),
        Field("Label", "string", "Label", 40, nillable=False),
        Field("Language", "picklist", "Master Language", 40, nillable=False),
        Field("NamespacePrefix", "string", "Namespace Prefix", 15),
        Field("QualifiedApiName", "string", "Qualified API Name", 70),
    ]
    closed = tuple(replace(dressed(field), createable=False, updateable=False) for field in (*own, *fields))
    return SObject(
        name,
        label=label,
        label_plural=plural_of(label),
        custom=True,
        createable=False,
        updateable=False,
        deletable=False,
        undeletable=False,
        triggerable=False,
        layoutable=False,
        fields=(*system_fields(deleted=False, created=False, modified=False), *closed),
    )


def _usual(infos: tuple[RecordTypeInfo, ...]) -> tuple[RecordTypeInfo, ...]:
    """The record types with the first active one as what the user gets by default."""
    first = next((info.developer_name for info in infos if info.active), None)
    return tuple(replace(info, default_record_type_mapping=info.developer_name == first) for info in infos)


def _record_type(item: Xml) -> RecordTypeInfo:
    developer_name = item.need("fullName")
    return RecordTypeInfo("", developer_name, item.text("label") or developer_name, active=item.flag("active", True))


def _summed(item: SObject, field_name: str, summary: Summary, objects: Mapping[str, SObject]) -> SObject:
    """Give a roll-up the type of what it sums up; a count is a whole number."""
    detail = objects.get(summary.sobject)
    source = detail.field(summary.field) if detail and summary.field else None
    if source is None:
        return item
    fields = tuple(
        replace(
            field,
            type=source.type,
            precision=source.precision,
            scale=source.scale,
            length=0,
            soap_type=source.soap_type,
        )
        if field.name == field_name
        else field
        for field in item.fields
    )
    return replace(item, fields=fields)


def _allow_activities(tree: SourceTree, known: Mapping[str, SObject], active: Iterable[str]) -> None:
    """Let tasks and events be about the custom objects that allow activities."""
    names = tuple(active)
    if not names:
        return
    for activity in ("Task", "Event"):
        item = tree.objects.get(activity) or known.get(activity)
        if item is None:
            continue
        fields = tuple(
            replace(field, reference_to=tuple(dict.fromkeys((*field.reference_to, *names))))
            if field.name == "WhatId"
            else field
            for field in item.fields
        )
        tree.objects[activity] = replace(item, fields=fields)


def is_custom_name(name: str) -> bool:
    """True for the API name of something custom: it ends in `__c`, `__s` and the like.

    >>> is_custom_name("Level__c"), is_custom_name("npsp__Level__c"), is_custom_name("Account")
    (True, True, False)
    """
    return re.search(r"__[a-z]+$", name) is not None
