"""Which objects a template moves, from which object to which, and under what conditions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isync_dagster.errors import SnapshotError
from isync_dagster.plan.problems import Problems, listed
from isync_dagster.plan.rules import KEY_ADVICE, REFERENCE_RULES, SCOPE_ADVICE, STANDARD_BOOK, names_field
from isync_dagster.schema.model import SObject
from isync_dagster.schema.snapshot import Snapshot, did_you_mean
from isync_dagster.template.models import Line, ObjectSettings, Template


@dataclass(frozen=True)
class Scoped:
    """One object of the template with both describes, its settings and the conditions of its lines."""

    source: SObject
    target: SObject
    settings: ObjectSettings
    sequence: int
    sequenced: bool
    """True where the template says the sequence."""
    position: int
    where: str | None
    order_by: str | None
    limit: int | None
    kept: frozenset[str]
    """Lower-case names of lookups whose ids are sent as they are."""

    @property
    def name(self) -> str:
        return self.source.name


def needed_objects(template: Template) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The objects whose describes a plan of this template asks for: (source names, target names).

    Those of the lines must be in the snapshots; those of references are used where they are there.
    """
    settings = {name.lower(): item for name, item in template.objects.items()}
    spelled: dict[str, str] = {}
    for line in template.lines:
        spelled.setdefault(line.object.lower(), line.object)
    lines = list(spelled.values())
    targets = [settings[name.lower()].target_object or name if name.lower() in settings else name for name in lines]
    references = [*template.references, *REFERENCE_RULES]
    return tuple(dict.fromkeys([*lines, *references])), tuple(dict.fromkeys([*targets, *references]))


def scope_of(template: Template, source: Snapshot, target: Snapshot, problems: Problems) -> dict[str, Scoped]:
    """The objects of a template by the source's spelling of their names, in the order of the lines."""
    settings = {name.lower(): item for name, item in template.objects.items()}
    lines: dict[str, list[tuple[int, Line]]] = {}
    for position, line in enumerate(template.lines):
        lines.setdefault(line.object.lower(), []).append((position, line))
    scoped: dict[str, Scoped] = {}
    for key in _moved(template, lines, problems):
        own = settings.get(key, ObjectSettings())
        name = lines[key][0][1].object
        from_object = _describe(source, name, "source", problems)
        to_object = _describe(target, own.target_object or name, "target", problems)
        if from_object is None or to_object is None:
            continue
        item = _scoped(from_object, to_object, own, lines[key], problems)
        _check_rights(item, problems)
        _advise(item, problems)
        scoped[from_object.name] = item
    return scoped


def _moved(template: Template, lines: dict[str, list[tuple[int, Line]]], problems: Problems) -> Iterable[str]:
    if not template.settings.skip_transactional_objects:
        return lines
    transactional = {name.lower() for name in template.settings.transactional_objects}
    skipped = [entries[0][1].object for name, entries in lines.items() if name in transactional]
    if skipped:
        problems.warn("lines", f"skip_transactional_objects leaves out {', '.join(skipped)}")
    if len(skipped) == len(lines):
        problems.add("lines", "skip_transactional_objects leaves out every line, so there is nothing to move")
    return [name for name in lines if name not in transactional]


def _describe(snapshot: Snapshot, name: str, side: str, problems: Problems) -> SObject | None:
    try:
        return snapshot.object(name)
    except SnapshotError as error:
        problems.add(name, f"{side}: {error}")
        return None


def _scoped(
    source: SObject,
    target: SObject,
    settings: ObjectSettings,
    lines: list[tuple[int, Line]],
    problems: Problems,
) -> Scoped:
    sequences = [line.sequence for _, line in lines if line.sequence is not None]
    position = lines[0][0]
    wheres = [line.where for _, line in lines]
    where: str | None = None
    if all(wheres):
        where = wheres[0] if len(wheres) == 1 else " OR ".join(f"({text})" for text in wheres)
    if source.name == STANDARD_BOOK and source.field("IsStandard") and not names_field(where, "IsStandard"):
        # Every org has its standard book, which can be neither inserted nor deleted: it is a reference.
        where = f"({where}) AND IsStandard = false" if where else "IsStandard = false"
    orders = {line.order_by for _, line in lines}
    kept = {name.lower(): name for _, line in lines for name in line.exclude_parents}
    kept |= {name.lower(): name for name in settings.exclude_parent_fields}
    for name in kept.values():
        field = source.field(name)
        if field is None or not field.is_reference:
            lookups = [lookup.name for lookup in source.references]
            what = "is not in the source" if field is None else "is no lookup"
            problems.add(f"{source.name}.{name}", f"excluded as a parent, but {what}{did_you_mean(name, lookups)}")
    return Scoped(
        source=source,
        target=target,
        settings=settings,
        sequence=min(sequences) if sequences else (position + 1) * 10,
        sequenced=bool(sequences),
        position=position,
        where=where,
        order_by=orders.pop() if len(orders) == 1 else None,
        limit=lines[0][1].limit,
        kept=frozenset(kept),
    )


def _check_rights(item: Scoped, problems: Problems) -> None:
    if not item.source.queryable:
        problems.add(item.name, "the source does not let this object be queried; remove its line")
    if item.settings.insert_new and not item.target.createable:
        problems.add(
            item.name,
            f"the target user may not create {item.target.name} (or nobody may); give the permission, or set "
            "insert_new: false to update only",
        )
    if not item.target.updateable and item.settings.update_existing and item.settings.match_key:
        problems.warn(item.name, f"{item.target.name} cannot be updated in the target: found records stay as they are")
    if not item.settings.insert_new and not (item.settings.match_key or item.settings.migration_key):
        problems.warn(
            item.name, "insert_new is false and there is no match key: only records of earlier runs are found"
        )


def _advise(item: Scoped, problems: Problems) -> None:
    for advice in SCOPE_ADVICE.get(item.name, ()):
        if item.source.field(advice.field) is not None and not names_field(item.where, advice.field):
            problems.warn(item.name, f"consider where: {advice.condition}; {advice.why}")
    if item.name in KEY_ADVICE and not (item.settings.match_key or item.settings.migration_key):
        key, why = KEY_ADVICE[item.name]
        problems.warn(item.name, f"consider match_key: {key}; {why}")


def check_field_names(item: Scoped, problems: Problems) -> None:
    """Refuse names in the object settings that the source object does not have."""
    settings = item.settings
    named = {
        "exclude_fields": settings.exclude_fields,
        "fields": tuple(settings.fields),
        "picklists": tuple(settings.picklists),
        "missing_parents": tuple(settings.missing_parents),
        "match_key": tuple(source for source, _ in settings.key_pairs),
    }
    known = [field.name for field in item.source.fields]
    for key, names in named.items():
        unknown = [name for name in names if item.source.field(name) is None]
        for name in unknown[:5]:
            problems.add(f"{item.name}.{name}", f"{key}: the source has no such field{did_you_mean(name, known)}")
        if len(unknown) > 5:
            problems.add(item.name, f"{key}: nor has the source {listed(unknown[5:])}")
    for name in settings.missing_parents:
        field = item.source.field(name)
        if field is not None and not field.is_reference:
            problems.add(f"{item.name}.{name}", "missing_parents: this field is no lookup")
