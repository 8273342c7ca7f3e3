"""The plan: a template resolved against two schemas, complete enough that nothing below asks either again.

Every class is a frozen dataclass; `Plan.to_json` and `Plan.from_json` are inverse, which is how a run keeps the
plan it was opened with. Lists are in a fixed order, so that equal inputs give equal plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from dataclasses import fields as dataclass_fields
from enum import Enum
from functools import cached_property
from typing import Any, Literal, cast

from isync_dagster.errors import PlanError
from isync_dagster.schema.model import Field, SObject
from isync_dagster.schema.snapshot import did_you_mean
from isync_dagster.template.models import MappedGone, Metric, Policy, Settings

__all__ = [
    "DroppedField",
    "FieldMapping",
    "KeyPart",
    "Lookup",
    "MappedGone",
    "ObjectPlan",
    "PhasePlan",
    "Plan",
    "Policy",
    "ReferenceRule",
    "StagedField",
    "WaveRule",
]

WaveRule = Literal["standard_price_book_first", "self_levels"]


@dataclass(frozen=True)
class FieldMapping:
    """A source field that is no lookup and the target field it goes to.

    `picklist` maps source values to target values; an empty target value means that the field is emptied. A mapping
    that is neither insertable nor updateable is there for the match key only: it is transformed, never sent.
    """

    source: Field
    target: Field
    picklist: Mapping[str, str] = field(default_factory=dict)

    @property
    def insertable(self) -> bool:
        """True where an insert may send the field."""
        return self.target.createable

    @property
    def updateable(self) -> bool:
        """True where an update may send the field."""
        return self.target.updateable


@dataclass(frozen=True)
class Lookup:
    """A lookup that is written, with everything that decides what its value becomes.

    A source id resolves through the id maps of `parents` and `others` and the natural keys of `references`, together.
    """

    source: Field
    target: Field
    parents: tuple[str, ...] = ()
    """Source objects of this template that it may point at."""
    references: tuple[str, ...] = ()
    """Objects resolved by natural key (keys of `Plan.references`)."""
    others: tuple[str, ...] = ()
    """Objects that are neither: resolved through the id map of earlier templates only."""
    required: bool = False
    """True where the target refuses an insert without it."""
    deferred: bool = False
    """True where the insert leaves it empty and relink fills it."""
    kept: bool = False
    """True where the source id is sent as it is, because the template excludes the parent."""
    policy: Policy = Policy.NULL
    default: str | None = None
    """Target id or key for `Policy.DEFAULT`."""

    @property
    def insertable(self) -> bool:
        """True where an insert may send the lookup."""
        return self.target.createable

    @property
    def updateable(self) -> bool:
        """True where an update may send the lookup."""
        return self.target.updateable


@dataclass(frozen=True)
class KeyPart:
    """One part of a match key: field names in both orgs, and how the parts compare."""

    source: str
    target: str
    case_sensitive: bool = False
    is_lookup: bool = False


@dataclass(frozen=True)
class StagedField:
    """A written field whose real value relink sends once the objects in `after` are loaded.

    An insert sends `initial` instead, or nothing where it is empty.
    """

    target: str
    initial: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class DroppedField:
    """A source field that is not written, and why: nothing is ignored silently."""

    field: str
    reason: str


@dataclass(frozen=True)
class ReferenceRule:
    """How records of an object that is not migrated are found in the target by natural key.

    `by` holds keys in the order they are tried, each a tuple of field names that must all be equal. RecordType's
    `SobjectType` compares after the object is mapped to its target object. `default` is a target id or a value of
    one of the keys; `map_file` a CSV with the columns source and target; `where` a SOQL condition for both sides.
    """

    object: str
    by: tuple[tuple[str, ...], ...]
    default: str | None = None
    map_file: str | None = None
    where: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Every field that a key needs, once each."""
        return tuple(dict.fromkeys(name for key in self.by for name in key))


@dataclass(frozen=True)
class ObjectPlan:
    """How one object travels; tuples of fields follow the order of the source describe."""

    object: str
    target_object: str
    sequence: int
    level: int
    """Length of the longest chain of parents: objects of one level do not depend on each other."""
    order: int
    """Position in the load order, from 0."""
    where: str | None = None
    order_by: str | None = None
    limit: int | None = None
    fields: tuple[FieldMapping, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    match_key: tuple[KeyPart, ...] = ()
    migration_key: str | None = None
    """Target field that receives the source id; it has no mapping in `fields`."""
    update_existing: bool = True
    insert_new: bool = True
    mapped_gone: MappedGone = MappedGone.REINSERT
    """What becomes of a record whose counterpart is in the target no more."""
    dropped: tuple[DroppedField, ...] = ()
    parents: tuple[str, ...] = ()
    """Objects that must be loaded before: by a lookup that is not deferred, or by a rule of the platform."""
    deferred_parents: tuple[str, ...] = ()
    """Objects whose load relink waits for, itself included where it refers to itself."""
    fetched_by: tuple[str, ...] = ()
    """Objects whose extract must run before this one's, since they name parents to fetch."""
    wave_rule: WaveRule | None = None
    self_level_field: str | None = None
    """Target name of the self lookup that `self_levels` sorts the rows by."""
    staged: tuple[StagedField, ...] = ()
    clear_defaults: tuple[str, ...] = ()
    """Written target fields (no lookups) whose server default would stand where the source is empty."""
    has_relink: bool = False
    scope_has_created_date: bool = True
    """False where the source has no CreatedDate to bound the scope by."""
    source_fields: tuple[str, ...] = ()
    """What the extract selects: Id first, SystemModstamp last where the object has it."""
    source_label: str = ""
    fingerprint: str = ""
    """SHA-256 of everything above and of the schema attributes it rests on."""

    def lookup(self, target_field: str) -> Lookup:
        """The lookup that writes this target field; raises KeyError where there is none."""
        return self._lookups[target_field]

    def mapping(self, target_field: str) -> FieldMapping:
        """The field mapping that writes this target field; raises KeyError where there is none."""
        return self._mappings[target_field]

    @cached_property
    def deferred(self) -> tuple[Lookup, ...]:
        """The lookups that relink fills."""
        return tuple(lookup for lookup in self.lookups if lookup.deferred)

    @cached_property
    def _lookups(self) -> Mapping[str, Lookup]:
        return {lookup.target.name: lookup for lookup in self.lookups}

    @cached_property
    def _mappings(self) -> Mapping[str, FieldMapping]:
        return {mapping.target.name: mapping for mapping in self.fields}


@dataclass(frozen=True)
class PhasePlan:
    """A phase: its objects in load order, conditions added to those of the lines, phases that come before."""

    name: str
    objects: tuple[str, ...]
    where: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A template resolved against the snapshots of both orgs; `objects` are in load order."""

    template: str
    source_alias: str
    target_alias: str
    source_org_id: str
    target_org_id: str
    source_api_version: str
    target_api_version: str
    objects: tuple[ObjectPlan, ...]
    phases: tuple[PhasePlan, ...]
    settings: Settings = field(default_factory=Settings)
    references: Mapping[str, ReferenceRule] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    """What is compared of the business; they write nothing, so they are not part of `hash`."""
    hash: str = ""
    """SHA-256 of the plan: equal hashes, equal plans, in any process."""

    def object(self, name: str) -> ObjectPlan:
        """The plan of a source object; raises `PlanError` with the nearest name."""
        found = self._objects.get(name)
        if found is None:
            raise PlanError(
                f"Template {self.template!r} has no object {name!r}{did_you_mean(name, self._objects)} "
                f"It has: {', '.join(self._objects)}.",
                template=self.template,
                object=name,
            )
        return found

    def phase(self, name: str) -> PhasePlan:
        """A phase by name; raises `PlanError` with the nearest name."""
        found = self._phases.get(name)
        if found is None:
            raise PlanError(
                f"Template {self.template!r} has no phase {name!r}{did_you_mean(name, self._phases)} "
                f"It has: {', '.join(self._phases)}.",
                template=self.template,
                phase=name,
            )
        return found

    def objects_in(self, phase: str) -> tuple[ObjectPlan, ...]:
        """The objects of a phase in load order."""
        return tuple(self.object(name) for name in self.phase(phase).objects)

    @cached_property
    def _objects(self) -> Mapping[str, ObjectPlan]:
        return {item.object: item for item in self.objects}

    @cached_property
    def _phases(self) -> Mapping[str, PhasePlan]:
        return {item.name: item for item in self.phases}

    def to_json(self) -> dict[str, Any]:
        """The whole plan as JSON; describes of fields are trimmed. It is made once: do not change it."""
        return self._json

    @cached_property
    def _json(self) -> dict[str, Any]:
        return cast(dict[str, Any], _encode(self))

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Plan:
        """Read what `to_json` gave; raises `PlanError` where it is of another shape."""
        try:
            values = dict(answer)
            values["objects"] = tuple(_object_plan(item) for item in answer["objects"])
            values["phases"] = tuple(
                PhasePlan(**{**item, "objects": tuple(item["objects"]), "after": tuple(item["after"])})
                for item in answer["phases"]
            )
            values["settings"] = Settings.model_validate(answer["settings"])
            values["references"] = {
                name: ReferenceRule(**{**item, "by": tuple(tuple(key) for key in item["by"])})
                for name, item in answer["references"].items()
            }
            values["warnings"] = tuple(answer["warnings"])
            values["metrics"] = tuple(Metric.model_validate(item) for item in answer.get("metrics", ()))
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise PlanError(
                f"This plan cannot be read ({error!r}): it was written by another version of the tool. "
                "Abandon its run and open a new one."
            ) from error


def _encode(value: Any) -> Any:
    if isinstance(value, Field):
        return SObject(name="", fields=(value,)).to_json(trimmed=True)["fields"][0]
    if isinstance(value, Settings | Metric):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _encode(getattr(value, item.name)) for item in dataclass_fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return value


def _field(item: Mapping[str, Any]) -> Field:
    return SObject.from_json({"name": "", "fields": [item]}).fields[0]


def _object_plan(item: Mapping[str, Any]) -> ObjectPlan:
    values = dict(item)
    values["fields"] = tuple(
        FieldMapping(_field(mapping["source"]), _field(mapping["target"]), dict(mapping["picklist"]))
        for mapping in item["fields"]
    )
    values["lookups"] = tuple(_lookup(lookup) for lookup in item["lookups"])
    values["mapped_gone"] = MappedGone(item.get("mapped_gone", MappedGone.REINSERT))
    values["match_key"] = tuple(KeyPart(**part) for part in item["match_key"])
    values["dropped"] = tuple(DroppedField(**dropped) for dropped in item["dropped"])
    values["staged"] = tuple(StagedField(**{**staged, "after": tuple(staged["after"])}) for staged in item["staged"])
    for name in ("parents", "deferred_parents", "fetched_by", "clear_defaults", "source_fields"):
        values[name] = tuple(item[name])
    return ObjectPlan(**values)


def _lookup(item: Mapping[str, Any]) -> Lookup:
    values = dict(item)
    values["source"] = _field(item["source"])
    values["target"] = _field(item["target"])
    values["policy"] = Policy(item["policy"])
    for name in ("parents", "references", "others"):
        values[name] = tuple(item[name])
    return Lookup(**values)
