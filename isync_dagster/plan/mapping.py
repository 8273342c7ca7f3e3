"""Which source field goes to which target field; whatever goes nowhere gets its reason."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field

from isync_dagster.plan.conversion import lost_values, narrowing, refusal
from isync_dagster.plan.model import FieldMapping, KeyPart
from isync_dagster.plan.problems import Problems, listed
from isync_dagster.plan.rules import AUDIT_FIELDS, SET_BY_SALESFORCE, dropped_by_rule
from isync_dagster.plan.scope import Scoped
from isync_dagster.schema.model import COMPOUND_TYPES, Field
from isync_dagster.schema.snapshot import did_you_mean, nearest

NO_VALUES = COMPOUND_TYPES | {"base64"}
"""Types whose values no Bulk row can hold."""


@dataclass
class Draft:
    """What is known of an object before the order of all is: its mappings, lookups as pairs, what is dropped."""

    scoped: Scoped
    fields: list[FieldMapping] = dataclass_field(default_factory=list)
    lookups: list[tuple[Field, Field]] = dataclass_field(default_factory=list)
    dropped: dict[str, str] = dataclass_field(default_factory=dict)
    match_key: tuple[KeyPart, ...] = ()
    migration_key: str | None = None

    @property
    def name(self) -> str:
        return self.scoped.name


def draft_object(item: Scoped, scope: frozenset[str], skip_missing: bool, problems: Problems) -> Draft:
    """Map every field of an object; `scope` holds the source objects of the template."""
    return _Mapper(item, scope, skip_missing, problems).draft()


def carried_fields(item: Scoped, scope: frozenset[str]) -> tuple[str, ...]:
    """The source fields that the template would carry to a target that has every field, in the source's order."""
    mapper = _Mapper(item, scope, True, Problems(item.name))
    return tuple(field.name for field in item.source.fields if mapper.reason_to_stay(field) is None)


class _Mapper:
    def __init__(self, item: Scoped, scope: frozenset[str], skip_missing: bool, problems: Problems) -> None:
        self._item = item
        self._scope = scope
        self._skip_missing = skip_missing
        self._problems = problems
        self._explicit = {name.lower(): target for name, target in item.settings.fields.items()}
        self._excluded = {name.lower() for name in item.settings.exclude_fields}
        self._picklists = {name.lower(): values for name, values in item.settings.picklists.items()}
        self._draft = Draft(item)
        self._missing: list[str] = []
        self._closed: list[str] = []
        self._writers = self._explicit_writers()

    def draft(self) -> Draft:
        self._migration_key()
        for source in self._item.source.fields:
            reason = self.reason_to_stay(source)
            if reason is None:
                reason = self._place(source)
            if reason is not None:
                self._draft.dropped[source.name] = reason
        self._report_lists()
        self._unused_picklists()
        return self._draft

    def _explicit_writers(self) -> dict[str, str]:
        """Lower-case target field -> the source field that the template maps to it."""
        writers: dict[str, str] = {}
        for source, target in self._item.settings.fields.items():
            first = writers.setdefault(target.lower(), source)
            if first != source:
                self._problem(source, f"{first} is mapped to {target} too: a target field takes one source field")
        return writers

    def _migration_key(self) -> None:
        name = self._item.settings.migration_key
        if name is None:
            return
        target = self._item.target.field(name)
        if target is None:
            known = [field.name for field in self._item.target.fields if field.external_id]
            self._problem(name, f"migration_key: the target has no such field{did_you_mean(name, known)}")
            return
        if not (target.external_id and target.unique):
            self._problem(name, "migration_key: the field must be both External ID and Unique in the target")
        if target.type != "string" or target.length < 18:
            self._problem(name, "migration_key: the field must be text of at least 18 characters, the length of an id")
        if not target.createable:
            self._problem(name, "migration_key: the target user may not write the field")
        writer = self._writers.get(target.name.lower())
        if writer is not None and writer.lower() != "id":
            self._problem(writer, f"is mapped to {target.name}, which receives the source id (migration_key)")
        self._draft.migration_key = target.name

    def reason_to_stay(self, source: Field) -> str | None:
        """Why a source field is not carried, whatever the target looks like; None where it may be."""
        mapped = self._explicit.get(source.name.lower())
        if source.name == "Id":
            if mapped is not None and mapped.lower() != (self._draft.migration_key or "").lower():
                self._problem("Id", f"to write the source id to {mapped}, name that field as migration_key")
            return "the record's own id: the id map keeps it"
        if source.name in SET_BY_SALESFORCE:
            return "only Salesforce sets it"
        if source.name.lower() in self._excluded:
            return "excluded by the template"
        if source.type in COMPOUND_TYPES:
            return "compound field: its parts are carried"
        if source.type == "base64":
            return "binary content cannot be carried by Bulk queries"
        if mapped is not None:
            return None
        if source.deprecated_and_hidden:
            return "deprecated and hidden in the source"
        return dropped_by_rule(self._item.source, source.name, self._scope)

    def _place(self, source: Field) -> str | None:
        """Find the target field and note the mapping; the reason where there is none."""
        mapped = self._explicit.get(source.name.lower())
        wanted = mapped or source.name
        target = self._item.target.field(wanted)
        if mapped is None and target is not None and target.name == self._draft.migration_key:
            return "the target field of this name receives the source id (migration_key)"
        writer = self._writers.get(wanted.lower())
        if mapped is None and writer is not None:
            return f"the target field of this name is filled from {writer}"
        if target is None:
            return self._no_target(source, wanted, mapped is not None)
        reason = _closed(target)
        if reason is not None:
            return self._closed_target(source, target, reason, mapped is not None)
        refused = refusal(source, target)
        if refused is not None:
            self._problem(
                source.name,
                f"cannot go to {self._item.target.name}.{target.name}: {refused}. Map it to a field that fits "
                "(fields), or leave it out (exclude_fields)",
            )
            return refused
        if source.is_reference:
            if not source.reference_to:
                return "points at no object that the source user can see"
            self._draft.lookups.append((source, target))
            return None
        if not target.createable and target.type == "boolean":
            return "can only be switched on by an update of the finished record"
        self._draft.fields.append(FieldMapping(source, target, self._values(source, target)))
        narrower = narrowing(source, target)
        if narrower is not None:
            self._warn(source.name, f"{self._item.target.name}.{target.name} {narrower}; the preflight counts the rows")
        if source.type == "encryptedstring":
            self._warn(source.name, "arrives masked unless the source user may view encrypted data")
        return None

    def _no_target(self, source: Field, wanted: str, mapped: bool) -> str:
        if mapped:
            known = [field.name for field in self._item.target.fields]
            self._problem(
                source.name, f"is mapped to {wanted}, which the target does not have{did_you_mean(wanted, known)}"
            )
        elif _holds_data(source):
            self._missing.append(source.name)
            return "not in the target (skip_missing_fields)"
        elif source.calculated:
            return "formula or roll-up in the source, not in the target"
        return "read-only in the source, not in the target"

    def _closed_target(self, source: Field, target: Field, reason: str, mapped: bool) -> str:
        if mapped:
            self._problem(source.name, f"is mapped to {target.name}, which cannot be written: {reason}")
        elif _holds_data(source) and not (target.calculated or target.auto_number or target.type in NO_VALUES):
            self._closed.append(source.name)
        return reason

    def _values(self, source: Field, target: Field) -> dict[str, str]:
        """The mapping of picklist values, checked against what the target accepts."""
        values = dict(self._picklists.get(source.name.lower(), {}))
        if values and target.restricted_picklist:
            for old, new in values.items():
                if new and new not in target.active_values():
                    guess = did_you_mean(new, target.active_values())
                    self._problem(
                        source.name, f"picklists: {old!r} becomes {new!r}, which {target.name} refuses{guess}"
                    )
        if values and source.picklist_values:
            known = {value.value for value in source.picklist_values}
            strange = [old for old in values if old not in known]
            if strange:
                self._warn(source.name, f"picklists: the source's picklist does not have {listed(strange)}")
        lost = lost_values(source, target, values)
        if lost:
            self._warn(
                source.name,
                f"{self._item.target.name}.{target.name} is restricted and refuses {listed(lost)}; map them "
                "(picklists); the preflight counts the rows",
            )
        return values

    def _report_lists(self) -> None:
        target = self._item.target.name
        if self._missing and self._skip_missing:
            self._warn(None, f"skip_missing_fields: the target's {target} lacks {listed(self._missing, 50)}")
        elif self._missing:
            known = [field.name for field in self._item.target.fields]
            names = [f"{name} ({guess}?)" if (guess := nearest(name, known)) else name for name in self._missing]
            self._problem(
                None,
                f"the target's {target} lacks {listed(names, 50)}. Create them there, map them (fields), leave them "
                "out (exclude_fields), or set skip_missing_fields: true",
            )
        if self._closed:
            self._warn(
                None,
                f"the source user may write {listed(self._closed, 50)} and the target user may not: check field-level "
                "security in the target, else these stay behind",
            )

    def _unused_picklists(self) -> None:
        carried = {mapping.source.name.lower() for mapping in self._draft.fields}
        for name in self._item.settings.picklists:
            source = self._item.source.field(name)
            if source is not None and name.lower() not in carried and source.name in self._draft.dropped:
                self._problem(name, f"picklists: the field is not carried: {self._draft.dropped[source.name]}")

    def _problem(self, field: str | None, what: str) -> None:
        self._problems.add(f"{self._item.name}.{field}" if field else self._item.name, what)

    def _warn(self, field: str | None, what: str) -> None:
        self._problems.warn(f"{self._item.name}.{field}" if field else self._item.name, what)


def _holds_data(source: Field) -> bool:
    """True where people or programs write the field, so that leaving it behind loses something."""
    return (source.createable or source.updateable) and not source.calculated and not source.auto_number


def _closed(target: Field) -> str | None:
    """Why nobody may write a target field, or None where the user may."""
    if target.type in NO_VALUES:
        return f"{target.type} in the target: its content cannot be written by Bulk"
    if target.calculated:
        return "formula or roll-up in the target: computed there"
    if target.auto_number:
        return "auto number in the target: numbered there"
    if target.createable or target.updateable:
        return None
    if target.name in AUDIT_FIELDS:
        return "audit field: the target user lacks the permission Set Audit Fields upon Record Creation"
    if target.extra_type_info in {"personname", "switchablepersonname"} and target.name_field:
        return "composed by Salesforce from its parts, which are carried"
    return "read-only in the target"
