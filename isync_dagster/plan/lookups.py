"""What each lookup resolves through, what happens where that fails, and which lookups wait for relink."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from isync_dagster.plan.graph import Link
from isync_dagster.plan.mapping import Draft
from isync_dagster.plan.model import Lookup, Policy, ReferenceRule
from isync_dagster.plan.problems import Problems, listed
from isync_dagster.plan.scope import Scoped
from isync_dagster.schema.model import Field
from isync_dagster.schema.snapshot import Snapshot
from isync_dagster.template.models import PolicyRule, Settings


def resolve_lookups(
    draft: Draft,
    scope: Mapping[str, Scoped],
    rules: Mapping[str, ReferenceRule],
    source: Snapshot,
    settings: Settings,
    problems: Problems,
) -> tuple[Lookup, ...]:
    """The lookups of an object with parents, references, policy; none is deferred yet but those that must be."""
    item = draft.scoped
    explicit = {name.lower(): rule for name, rule in item.settings.missing_parents.items()}
    carried = {pair[0].name.lower() for pair in draft.lookups}
    for name in item.settings.missing_parents:
        field = item.source.field(name)
        if field is not None and field.is_reference and name.lower() not in carried:
            why = draft.dropped.get(field.name, "it is not written")
            problems.warn(f"{item.name}.{name}", f"missing_parents has no effect: {why}")
    lookups = []
    homeless = []
    for field, target in draft.lookups:
        where = f"{item.name}.{field.name}"
        own = explicit.get(field.name.lower())
        lookup = _lookup(field, target, item, scope, rules, source)
        if lookup.kept:
            _check_kept(where, field, own, scope, problems)
            lookups.append(lookup)
            continue
        usual = settings.missing_parents.required if lookup.required else settings.missing_parents.optional
        rule = own or usual
        lookup = replace(lookup, policy=rule.policy, default=rule.default)
        lost = [name for name in field.reference_to if name in scope and name not in lookup.parents]
        if lost:
            _report_lost(where, lookup, lost, scope, problems)
        elif lookup.required and not lookup.parents and not lookup.references:
            _check_required(where, lookup, own is not None, problems)
        elif not lookup.parents and not lookup.references and rule.policy is Policy.NULL:
            homeless.append(f"{field.name} ({'/'.join(field.reference_to[:3])})")
        _check_policy(where, lookup, item.name, problems)
        lookups.append(lookup)
    if homeless:
        problems.warn(
            item.name,
            f"no line and no reference for the parents of {listed(homeless, 20)}: they stay empty (pending links) "
            "unless another template has migrated them; add a line or a reference, or exclude them (exclude_fields)",
        )
    return tuple(lookups)


def _lookup(
    field: Field,
    target: Field,
    item: Scoped,
    scope: Mapping[str, Scoped],
    rules: Mapping[str, ReferenceRule],
    source: Snapshot,
) -> Lookup:
    if field.name.lower() in item.kept:
        return Lookup(field, target, required=target.required, kept=True)
    accepted = {name.lower() for name in target.reference_to}
    parents = tuple(
        name for name in field.reference_to if name in scope and scope[name].target.name.lower() in accepted
    )
    references = tuple(name for name in field.reference_to if name in rules and name.lower() in accepted)
    others = tuple(
        name
        for name in field.reference_to
        if name not in scope
        and name not in rules
        and name.lower() in accepted
        # Activities may point at eighty objects; those that nobody has described were never migrated.
        and (not field.polymorphic or name in source)
    )
    # A lookup that an insert may not send has to wait for relink.
    late = not target.createable and target.nillable
    return Lookup(field, target, parents, references, others, required=target.required, deferred=late)


def _check_kept(
    where: str, field: Field, own: PolicyRule | None, scope: Mapping[str, Scoped], problems: Problems
) -> None:
    migrated = [name for name in field.reference_to if name in scope]
    if migrated:
        problems.warn(
            where,
            f"is excluded as a parent: source ids are sent, although {', '.join(migrated)} gets new ids in the target",
        )
    if own is not None:
        problems.add(where, "is excluded as a parent and has a policy in missing_parents: keep one of the two")


def _report_lost(where: str, lookup: Lookup, lost: list[str], scope: Mapping[str, Scoped], problems: Problems) -> None:
    text = ", ".join(f"{name} (as {scope[name].target.name})" for name in lost)
    accepted = ", ".join(lookup.target.reference_to[:5]) or "nothing"
    what = f"the target's {lookup.target.name} points at {accepted}, not at {text}"
    if lookup.parents or lookup.references:
        problems.warn(where, f"{what}: such values stay empty")
    else:
        problems.add(where, f"{what}; map it to another lookup (fields), or leave it out (exclude_fields)")


def _check_required(where: str, lookup: Lookup, explicit: bool, problems: Problems) -> None:
    objects = ", ".join(lookup.source.reference_to[:5])
    what = f"is required in the target, and its parent {objects} has neither a line nor a reference"
    if lookup.policy in {Policy.DEFAULT, Policy.DROP_ROW} or (explicit and lookup.policy is not Policy.NULL):
        if lookup.policy not in {Policy.DEFAULT, Policy.DROP_ROW}:
            problems.warn(where, f"{what}: only parents that another template has migrated are found")
        return
    problems.add(
        where,
        f"{what}. Add a line for it, or say how it is found (references), or keep the id (exclude_parent_fields), or "
        f"choose what happens without it (missing_parents: {{{lookup.source.name}: default:<target id>}}, drop_row, or "
        "block where another template has migrated it)",
    )


def _check_policy(where: str, lookup: Lookup, name: str, problems: Problems) -> None:
    if lookup.required and lookup.policy is Policy.NULL:
        problems.add(
            where, "is required in the target, so a missing parent cannot leave it empty (missing_parents: null)"
        )
    if lookup.policy is Policy.FETCH_PARENT:
        if not lookup.parents:
            objects = ", ".join(lookup.source.reference_to[:5])
            problems.add(where, f"fetch_parent: {objects} has no line, so there is no way to carry it; add one")
        elif name in lookup.parents:
            problems.add(where, "fetch_parent: an object cannot fetch parents of its own kind; widen its line instead")


def mark_self_lookups(
    draft: Draft, lookups: Iterable[Lookup], problems: Problems
) -> tuple[tuple[Lookup, ...], str | None]:
    """Defer lookups of an object to itself; with the target name of the one that cannot be, which sets the levels."""
    keys = {part.target for part in draft.match_key if part.is_lookup}
    marked = []
    level_field: str | None = None
    for lookup in lookups:
        if draft.name not in lookup.parents or lookup.kept:
            marked.append(lookup)
            continue
        where = f"{draft.name}.{lookup.source.name}"
        if lookup.target.name in keys:
            problems.add(where, f"match_key: a lookup to {draft.name} itself is filled later, so it cannot be compared")
        if deferrable(lookup):
            marked.append(replace(lookup, deferred=True))
            continue
        if level_field is not None:
            problems.add(
                where,
                f"both this and {level_field} point at {draft.name} itself and neither can be filled later; leave one "
                "of them out (exclude_fields, exclude_parent_fields)",
            )
        level_field = lookup.target.name
        marked.append(lookup)
    return tuple(marked), level_field


def deferrable(lookup: Lookup) -> bool:
    """True where an insert may leave the lookup empty and an update may fill it."""
    return lookup.target.nillable and lookup.target.updateable


def links_of(
    draft: Draft, lookups: Iterable[Lookup], scope: Mapping[str, Scoped], rows: Mapping[str, int]
) -> Iterable[Link]:
    """The links of an object that decide the order; lookups already deferred and kept ones decide nothing."""
    keys = {part.target for part in draft.match_key if part.is_lookup}
    for lookup in lookups:
        if lookup.deferred or lookup.kept:
            continue
        free = deferrable(lookup) and lookup.target.name not in keys
        for parent in lookup.parents:
            if parent != draft.name:
                yield Link(
                    child=draft.name,
                    field=lookup.source.name,
                    parent=parent,
                    deferrable=free,
                    rows=rows.get(draft.name, 1),
                    against=_against(lookup, draft.scoped, scope[parent]),
                )


def _against(lookup: Lookup, child: Scoped, parent: Scoped) -> int:
    """How surprising a deferral would be: the template's own order counts most, then a policy, then being standard."""
    as_written = (parent.sequence, parent.position) < (child.sequence, child.position)
    return 4 * as_written + 2 * (lookup.policy is not Policy.NULL) + (not lookup.source.custom)
