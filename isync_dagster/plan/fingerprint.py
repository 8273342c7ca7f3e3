"""Hashes that tell whether two plans are the same: of the settings and of the schema attributes they rest on.

Labels, help texts and other attributes that change nothing about a load are left out, so that a run survives
them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from operator import attrgetter
from typing import Any

from isync_dagster.plan.model import DroppedField, FieldMapping, ObjectPlan, Plan
from isync_dagster.schema.model import Field
from isync_dagster.template.models import Settings

_PLANNED = attrgetter(
    "name",
    "type",
    "length",
    "precision",
    "scale",
    "digits",
    "nillable",
    "createable",
    "updateable",
    "defaulted_on_create",
    "unique",
    "external_id",
    "case_sensitive",
    "restricted_picklist",
    "reference_to",
    "relationship_name",
)

_NOT_COUNTED = frozenset({"fingerprint", "source_label"})
_NOT_WRITTEN = {
    "continue_on_error",
    "huge_objects",
    "rejected_rows_threshold",
    "api_budget",
    "retention",
    "freshness",
    "validation",
}
"""Settings that say when a run stops, how it is judged and how long it is kept, not what it writes: an open run goes on with other ones."""


def fingerprint(item: ObjectPlan) -> str:
    """SHA-256 (hexadecimal) of an object's plan."""
    return _hash(
        {entry.name: getattr(item, entry.name) for entry in dataclass_fields(item) if entry.name not in _NOT_COUNTED}
    )


def plan_hash(plan: Plan) -> str:
    """SHA-256 (hexadecimal) of a plan: its objects by their fingerprints, everything else as it is."""
    values = {
        entry.name: getattr(plan, entry.name)
        for entry in dataclass_fields(plan)
        if entry.name not in ("hash", "metrics")
    }
    values["objects"] = [item.fingerprint for item in plan.objects]
    return _hash(values)


def _hash(value: Any) -> str:
    text = json.dumps(_compact(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _compact(value: Any) -> Any:
    if isinstance(value, FieldMapping):
        return (_field(value.source), _field(value.target), value.picklist)
    if isinstance(value, Field):
        return _field(value)
    if isinstance(value, DroppedField):
        return (value.field, value.reason)
    if isinstance(value, Settings):
        return value.model_dump(mode="json", exclude=_NOT_WRITTEN)
    if is_dataclass(value) and not isinstance(value, type):
        return [_compact(getattr(value, entry.name)) for entry in dataclass_fields(value)]
    if isinstance(value, Mapping):
        return {key: _compact(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_compact(item) for item in value]
    return value


def _field(field: Field) -> tuple[Any, ...]:
    return (*_PLANNED(field), [(entry.value, entry.active) for entry in field.picklist_values])
