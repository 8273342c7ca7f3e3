"""Small orgs for plan tests: each builder gives what the describe of a plain developer org would say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from isync_dagster.plan.build import build_plan
from isync_dagster.plan.model import Plan
from isync_dagster.schema.model import Field, PicklistValue, SObject
from isync_dagster.schema.snapshot import OrgIdentity, Snapshot
from isync_dagster.template.models import Template

SOURCE_ID = "00D000000000001EAA"
TARGET_ID = "00D000000000002EAA"
READ_ONLY: dict[str, Any] = {"createable": False, "updateable": False}


def system_fields() -> tuple[Field, ...]:
    """The fields every object has, none of them writable."""
    return (
        Field("Id", "id", length=18, nillable=False, defaulted_on_create=True, **READ_ONLY),
        Field("IsDeleted", "boolean", nillable=False, defaulted_on_create=True, **READ_ONLY),
        Field("CreatedDate", "datetime", nillable=False, defaulted_on_create=True, **READ_ONLY),
        Field(
            "CreatedById", "reference", reference_to=("User",), nillable=False, defaulted_on_create=True, **READ_ONLY
        ),
        Field("SystemModstamp", "datetime", nillable=False, defaulted_on_create=True, **READ_ONLY),
    )


def text(name: str, length: int = 80, **attributes: Any) -> Field:
    return Field(name, "string", length=length, custom=name.endswith("__c"), **attributes)


def lookup(name: str, *parents: str, **attributes: Any) -> Field:
    return Field(name, "reference", length=18, reference_to=parents, custom=name.endswith("__c"), **attributes)


def picklist(name: str, *values: str, restricted: bool = False, **attributes: Any) -> Field:
    entries = tuple(PicklistValue(value, value) for value in values)
    return Field(name, "picklist", length=255, picklist_values=entries, restricted_picklist=restricted, **attributes)


def sobject(name: str, *fields: Field, **attributes: Any) -> SObject:
    """An object with the system fields, a Name unless `fields` has one, and `fields`."""
    named = () if any(field.name == "Name" for field in fields) else (text("Name", name_field=True),)
    return SObject(name, label=name, fields=(*system_fields(), *named, *fields), **attributes)


def changed(item: SObject, name: str, **attributes: Any) -> SObject:
    """The object with one field changed."""
    fields = tuple(replace(field, **attributes) if field.name == name else field for field in item.fields)
    return replace(item, fields=fields)


def without(item: SObject, *names: str) -> SObject:
    """The object without some fields."""
    return replace(item, fields=tuple(field for field in item.fields if field.name not in names))


def org(alias: str, org_id: str, *objects: SObject) -> Snapshot:
    identity = OrgIdentity(alias, org_id, name=alias, api_version="62.0")
    return Snapshot(identity, datetime(2026, 1, 31, tzinfo=UTC), {item.name: item for item in objects})


def recipe(*lines: str | dict[str, Any], **blocks: Any) -> Template:
    """A template with a line for each name (or the line as it is)."""
    entries = [{"object": line} if isinstance(line, str) else line for line in lines]
    return Template.model_validate({"name": "demo", "source": "here", "target": "there", "lines": entries} | blocks)


def plan_of(
    template: Template,
    objects: list[SObject],
    target_objects: list[SObject] | None = None,
    rows: dict[str, int] | None = None,
) -> Plan:
    """The plan of a template between two orgs; without `target_objects` both have the same schema."""
    return build_plan(
        template,
        org("here", SOURCE_ID, *objects),
        org("there", TARGET_ID, *(target_objects or objects)),
        rows,
    )
