"""Differences of a template's orgs as changes of the template: a mapping, an exclusion, a policy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isync_dagster.schema.compare import Difference, Kind, Pair, Severity
from isync_dagster.schema.conversion import refusal
from isync_dagster.schema.model import Field, SObject
from isync_dagster.schema.snapshot import Snapshot
from isync_dagster.template.patch import Change


@dataclass(frozen=True)
class Resolution:
    """What the template can do about differences, and the differences that it can do nothing about."""

    changes: tuple[Change, ...]
    left: tuple[Difference, ...]


def resolve(differences: Iterable[Difference], pairs: Sequence[Pair], source: Snapshot, target: Snapshot) -> Resolution:
    """The changes of the template that resolve these differences.

    A field that the target has under the same label is mapped to it, any other that it lacks is left out; a picklist
    value that the target spells otherwise is mapped to it, any other is emptied where the field may be empty.
    """
    by_name = {pair.source.lower(): pair for pair in pairs}
    taken: set[tuple[str, str]] = set()
    changes: dict[tuple[str, ...], Change] = {}
    left: list[Difference] = []
    for item in differences:
        pair = by_name[item.object.lower()]
        from_object, to_object = source.find(item.object), target.find(item.target_object)
        change = None
        if from_object is not None and to_object is not None:
            change = _change(item, pair, from_object, to_object, taken)
        if change is None:
            left.append(item)
        else:
            changes.setdefault((*change.path, change.value), change)
    return Resolution(tuple(changes.values()), tuple(left))


def _change(
    item: Difference, pair: Pair, source: SObject, target: SObject, taken: set[tuple[str, str]]
) -> Change | None:
    place = ("objects", source.name)
    field = source.field(item.field) if item.field else None
    if field is None:
        return None
    match item.kind:
        case Kind.FIELD_MISSING:
            twin = _twin(field, source, target, pair, taken)
            if twin is not None:
                taken.add((target.name, twin.name))
                why = f"the target calls {field.label!r} {twin.name}"
                return Change((*place, "fields", field.name), twin.name, why)
            return Change((*place, "exclude_fields"), field.name, f"not in the target's {target.name}", add=True)
        case Kind.FIELD_TYPE | Kind.FIELD_COMPUTED if item.severity is not Severity.COSMETIC:
            why = f"{item.source} does not go to {item.target}"
            return Change((*place, "exclude_fields"), field.name, why, add=True)
        case Kind.FIELD_ACCESS if item.severity is not Severity.COSMETIC:
            return Change((*place, "exclude_fields"), field.name, "the target's user may not write it", add=True)
        case Kind.RELATIONSHIP if item.severity is not Severity.COSMETIC and item.value:
            why = f"the target's lookup takes no {item.value}"
            return Change((*place, "exclude_fields"), field.name, why, add=True)
        case Kind.PICKLIST_VALUE:
            return _picklist(item, place, field, target)
        case Kind.RECORD_TYPE if item.severity is Severity.BLOCKS:
            why = f"without {item.value} in the target rows get the user's default record type"
            return Change((*place, "missing_parents", field.name), "null", why)
    return None


def _picklist(item: Difference, place: tuple[str, ...], field: Field, target: SObject) -> Change | None:
    there = target.field(item.target_field)
    if there is None or not there.restricted_picklist:
        return None
    spelled = {_plain(value.value): value.value for value in there.picklist_values if value.active}
    labelled = {_plain(value.label): value.value for value in there.picklist_values if value.active and value.label}
    own = next((value.label for value in field.picklist_values if value.value == item.value), "")
    twin = spelled.get(_plain(item.value)) or labelled.get(_plain(own or item.value))
    path = (*place, "picklists", field.name, item.value)
    if twin is not None:
        return Change(path, twin, "the target's spelling")
    if there.nillable:
        return Change(path, "", f"the target has no such value; {item.rows or 0:,} rows lose it")
    return None


def _twin(field: Field, source: SObject, target: SObject, pair: Pair, taken: set[tuple[str, str]]) -> Field | None:
    """A target field that is surely the same one: the same label and a type that fits, and nothing else fills it."""
    filled = {name.lower() for name in pair.fields.values()} | pair.filled
    for there in target.fields:
        free = source.field(there.name) is None and there.name.lower() not in filled
        if not free or (target.name, there.name) in taken or not there.createable:
            continue
        same = field.label and there.label and _plain(field.label) == _plain(there.label)
        if same and there.type == field.type and refusal(field, there) is None:
            return there
    return None


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()
