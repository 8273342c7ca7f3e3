"""An overlay file: what makes one org differ from another on purpose.

```yaml
objects:
  Account:
    label: Client                       # describe attributes of the object
    fields:
      - {name: Tier__c, type: picklist, restrictedPicklist: true, picklistValues: [{value: A}, {value: B}]}
      - {name: Phone, length: 20}       # attributes of a field that is there are changed
    removeFields: [Fax]
    recordTypes: [Household]
removeObjects: [Campaign]
automation:                             # the declarations of `automation.model`, by kind
  validation_rules:
    - {object: Account, name: NoPhone, formula: ISBLANK(Phone), message: A client needs a phone.}
  triggers: []
  flows: []
  duplicate_rules: []
```

Attributes are those of a describe. Every unknown key is refused with the nearest known one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.automation.model import Automation
from isync_dagster.local_org.seeds.fields import USUAL_LENGTHS, dressed, label_of, plural_of
from isync_dagster.local_org.seeds.sfdx import custom_object
from isync_dagster.schema.model import Field as SField
from isync_dagster.schema.model import RecordTypeInfo, SObject
from isync_dagster.schema.snapshot import did_you_mean


class ObjectOverlay(BaseModel):
    """Changes of one object: describe attributes beside these keys."""

    model_config = ConfigDict(extra="allow")

    fields: list[dict[str, Any]] = Field([], description="fields added, or attributes of fields changed, by name")
    removeFields: list[str] = Field([], description="fields taken away")
    recordTypes: list[str | dict[str, Any]] = Field(
        [], description="record types added: a developer name, or the keys of recordTypeInfos"
    )


class Overlay(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    objects: dict[str, ObjectOverlay] = Field({}, description="object -> its changes; an unknown object is made")
    removeObjects: list[str] = Field([], description="objects taken away")
    automation: Automation = Field(Automation(), description="rules, triggers, flows, roll-ups, ...")


def read_overlay(path: Path) -> Overlay:
    """The overlay in a YAML file; ConfigError says where it is wrong."""
    try:
        answer = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    try:
        return Overlay.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {place}: {first['msg']}") from error


def lay_over(path: Path, base: Mapping[str, SObject]) -> tuple[dict[str, SObject], Automation]:
    """The objects with the overlay of a file laid over them, and its automation."""
    overlay = read_overlay(path)
    lower = {name.lower(): name for name in base}
    found = dict(base)
    for name in overlay.removeObjects:
        if name.lower() not in lower:
            raise ConfigError(f"{path}: removeObjects names {name}, which the schema has not{did_you_mean(name, base)}")
        found.pop(lower[name.lower()])
    for name, changes in overlay.objects.items():
        spelled = lower.get(name.lower(), name)
        item = found.get(spelled)
        if item is None:
            if not name.endswith("__c"):
                raise ConfigError(f"{path}: the schema has no object {name}{did_you_mean(name, base)}")
            label = label_of(name)
            item = replace(custom_object(name), label=label, label_plural=plural_of(label))
        found[spelled] = _changed(path, item, changes)
    return found, overlay.automation


def _changed(path: Path, item: SObject, changes: ObjectOverlay) -> SObject:
    where = f"{path}: objects.{item.name}"
    attributes = _attributes(where, SObject, changes.model_extra or {})
    fields = {field.name.lower(): field for field in item.fields}
    for name in changes.removeFields:
        if fields.pop(name.lower(), None) is None:
            known = [field.name for field in item.fields]
            raise ConfigError(f"{where}: removeFields names {name}, which it has not{did_you_mean(name, known)}")
    for given in changes.fields:
        if not given.get("name"):
            raise ConfigError(f"{where}: a field without name: {given}")
        spot = f"{where}.{given['name']}"
        named = _attributes(spot, SField, given)
        old = fields.get(str(given["name"]).lower())
        read = SObject.from_json({"name": "x", "fields": [given]}).fields[0]
        if old is None:
            made = _new_field(read, given)
        else:
            made = replace(old, **{key: getattr(read, key) for key in named if key != "name"})
        fields[made.name.lower()] = made
    infos = tuple(
        RecordTypeInfo("", info, info.replace("_", " ")) if isinstance(info, str)
        else SObject.from_json({"name": "x", "recordTypeInfos": [{"recordTypeId": "", **info}]}).record_type_infos[0]
        for info in changes.recordTypes
    )  # fmt: skip
    names = {info.developer_name for info in infos}
    kept = tuple(info for info in item.record_type_infos if info.developer_name not in names)
    return replace(item, **attributes, fields=tuple(fields.values()), record_type_infos=(*infos, *kept))


def _new_field(read: SField, given: Mapping[str, Any]) -> SField:
    changes: dict[str, Any] = {"custom": read.name.endswith("__c"), "label": read.label or label_of(read.name)}
    if "length" not in given:
        changes["length"] = USUAL_LENGTHS.get(read.type, 0)
    if read.type in ("double", "currency", "percent") and "precision" not in given:
        changes |= {"precision": 18, "scale": given.get("scale", 2)}
    if read.calculated_formula or read.auto_number:
        changes |= {"calculated": bool(read.calculated_formula), "createable": False, "updateable": False}
    if read.calculated:
        changes |= {"createable": False, "updateable": False}
    if read.type == "boolean":
        changes |= {"nillable": False, "defaulted_on_create": True}
    if read.is_reference and "relationshipName" not in given and read.name.endswith("__c"):
        changes["relationship_name"] = read.name[:-1] + "r"
    return dressed(replace(read, **changes))


def _attributes(where: str, model: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given attributes in the model's own names; ConfigError for one that a describe does not have."""
    known = {_camel(item.name): item.name for item in dataclass_fields(model)}
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: {key} is no attribute of a describe{did_you_mean(key, known)}")
    return {known[key]: value for key, value in given.items()}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
