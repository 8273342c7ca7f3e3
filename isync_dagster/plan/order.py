"""Why the objects of a plan load in this order: the reason of each wait, of each deferral, and the tree of parents."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from isync_dagster.plan.model import Lookup, ObjectPlan, Plan
from isync_dagster.plan.rules import LOADED_AFTER

SEQUENCE = "has sequence "
"""How the plan's warnings about a line's sequence begin, after the object."""


@dataclass(frozen=True)
class Edge:
    """An object that waits for another, and why."""

    object: str
    after: str
    reason: str


@dataclass(frozen=True)
class Deferral:
    """A lookup that relink fills, and why the insert leaves it empty."""

    object: str
    field: str
    parents: tuple[str, ...]
    reason: str


def edges(plan: Plan) -> tuple[Edge, ...]:
    """The reason of each wait, in load order of the objects that wait."""
    return tuple(
        Edge(item.object, parent, "; ".join(_reasons(item, parent))) for item in plan.objects for parent in item.parents
    )


def deferrals(plan: Plan) -> tuple[Deferral, ...]:
    """Every lookup that is filled later, in load order of its objects."""
    return tuple(
        Deferral(item.object, lookup.source.name, lookup.parents, _why_later(plan, item, lookup))
        for item in plan.objects
        for lookup in item.deferred
    )


def out_of_sequence(plan: Plan) -> tuple[str, ...]:
    """The warnings of the plan about sequences that disagree with the natural order."""
    return tuple(text for text in plan.warnings if SEQUENCE in text)


def tree(plan: Plan, objects: Sequence[str] | None = None) -> str:
    """The objects (or some) as a text tree: below the parent that comes last before it, other parents beside it.

    Lookups filled later are no branches; an object with one to itself is marked.
    """
    names = [item.object for item in plan.objects if objects is None or item.object in objects]
    children: dict[str, list[str]] = {name: [] for name in ["", *names]}
    for name in names:
        parents = [parent for parent in plan.object(name).parents if parent in children]
        children[max(parents, key=names.index) if parents else ""].append(name)
    lines: list[str] = []
    for name in children[""]:
        lines.append(_label(plan, name, ""))
        lines += _below(plan, name, children, "")
    return "\n".join(lines)


def _below(plan: Plan, parent: str, children: dict[str, list[str]], indent: str) -> Iterator[str]:
    own = children[parent]
    for index, name in enumerate(own):
        last = index == len(own) - 1
        yield f"{indent}{'└─ ' if last else '├─ '}{_label(plan, name, parent)}"
        yield from _below(plan, name, children, indent + ("   " if last else "│  "))


def _label(plan: Plan, name: str, parent: str) -> str:
    item = plan.object(name)
    notes = [f"also after {', '.join(others)}"] if (others := [p for p in item.parents if p != parent]) else []
    notes += [f"{lookup.source.name} filled later" for lookup in item.deferred]
    return f"{name} ({'; '.join(notes)})" if notes else name


def _reasons(item: ObjectPlan, parent: str) -> list[str]:
    found = []
    for lookup in item.lookups:
        if parent in lookup.parents and not lookup.deferred and not lookup.kept:
            kind = (
                "master-detail" if lookup.target.master_detail else "required lookup" if lookup.required else "lookup"
            )
            found.append(f"{kind} {lookup.source.name}")
    if parent in LOADED_AFTER.get(item.object, ()):
        found.append("a rule of the platform")
    return found


def _why_later(plan: Plan, item: ObjectPlan, lookup: Lookup) -> str:
    if item.object in lookup.parents:
        return f"points at {item.object} itself: its records get their ids first"
    for parent in lookup.parents:
        circle = _path(plan, parent, item.object)
        if circle:
            shown = " → ".join([item.object, *circle])
            return f"closes the circle {shown}; of its lookups this one is the cheapest to fill later"
    return "an insert may not set it"


def _path(plan: Plan, start: str, end: str) -> list[str]:
    """The shortest way from `start` to `end` along lookups, both ends included; empty where there is none."""
    known = {item.object: item for item in plan.objects}
    ways: dict[str, str] = {start: ""}
    waiting = deque([start])
    while waiting:
        name = waiting.popleft()
        if name == end:
            found = [name]
            while ways[found[-1]]:
                found.append(ways[found[-1]])
            return found[::-1]
        for parent in dict.fromkeys(parent for lookup in known[name].lookups for parent in lookup.parents):
            if parent in known and parent not in ways:
                ways[parent] = name
                waiting.append(parent)
    return []
