"""The slices of a plan, and what its order says about the order that the template gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isync_dagster.plan.model import Lookup, ObjectPlan, PhasePlan
from isync_dagster.plan.problems import Problems, listed
from isync_dagster.plan.scope import Scoped
from isync_dagster.template.models import Template

ALL = "all"
"""The phase of a template that names none."""


def plan_phases(template: Template, objects: Sequence[ObjectPlan]) -> tuple[PhasePlan, ...]:
    """The phases with their objects in load order; lines that are left out of the plan are left out here too."""
    if not template.phases:
        return (PhasePlan(ALL, tuple(item.object for item in objects)),)
    phases = []
    for phase in template.phases:
        members = {name.lower() for name in phase.lines}
        where = {name.lower(): text for name, text in phase.where.items()}
        names = tuple(item.object for item in objects if item.object.lower() in members)
        conditions = {name: where[name.lower()] for name in names if name.lower() in where}
        phases.append(PhasePlan(phase.name, names, conditions, phase.after))
    return tuple(phases)


def check_sequences(objects: Sequence[ObjectPlan], scope: Mapping[str, Scoped], problems: Problems) -> None:
    """Say of each line whose sequence is below that of a parent what it should be."""
    right: dict[str, int] = {}
    for item in objects:
        right[item.object] = item.sequence
        first = max(
            (name for name in item.parents if scope[name].sequenced), key=lambda name: right[name], default=None
        )
        if first is None or not scope[item.object].sequenced or right[first] <= item.sequence:
            continue
        right[item.object] = (right[first] // 10 + 1) * 10
        lookups = [lookup.source.name for lookup in item.lookups if first in lookup.parents and not lookup.deferred]
        by = f" ({', '.join(lookups)})" if lookups else ""
        problems.warn(
            item.object,
            f"has sequence {item.sequence}, but needs {first}{by}, which has {right[first]}: change it to "
            f"{right[item.object]} (the order is computed from the lookups in any case)",
        )


def warn_of_later_parents(objects: Sequence[ObjectPlan], phases: Sequence[PhasePlan], problems: Problems) -> None:
    """Say which lookups point at objects that only a later phase brings, and which lines no phase has."""
    idle = [item.object for item in objects if not any(item.object in phase.objects for phase in phases)]
    if idle:
        problems.warn("phases", f"no phase has {listed(idle)}: these lines are never loaded")
    brought: set[str] = set()
    for index, phase in enumerate(phases):
        brought |= set(phase.objects)
        later = {name for other in phases[index + 1 :] for name in other.objects} - brought
        for item in objects:
            if item.object in phase.objects:
                for lookup in item.lookups:
                    _warn_of_later(item, lookup, phase, later, phases, problems)


def _warn_of_later(
    item: ObjectPlan,
    lookup: Lookup,
    phase: PhasePlan,
    later: set[str],
    phases: Sequence[PhasePlan],
    problems: Problems,
) -> None:
    for parent in lookup.parents:
        if parent in later and not lookup.kept:
            comes = next(other.name for other in phases if parent in other.objects)
            fate = "its rows are blocked" if lookup.required else "it is a pending link"
            problems.warn(
                f"{item.object}.{lookup.source.name}",
                f"in phase {phase.name!r} points at {parent}, which only comes in phase {comes!r}: until then {fate}",
            )
