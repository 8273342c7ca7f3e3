"""The load order: strongly connected components of the lookup graph, minimal deferral, levels.

A lookup makes its child wait for its parents. Where lookups form cycles, some of them must be deferred: left
empty by the insert and filled by relink. Deferral is of a whole lookup (a polymorphic one with all its parents),
only of lookups that may be empty for a while, and as cheap as possible: exact where a component is small enough
to be searched, greedy with clean-up beyond.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from isync_dagster.errors import CycleError

SEARCH_LOOKUPS = 40
"""Components with more lookups that may be deferred are not searched: the greedy answer stands."""

SEARCH_STEPS = 1_000
"""Branches that the search of one component may take before its best answer so far stands."""

LookupKey = tuple[str, str]
"""A lookup by its child object and field."""

Cost = tuple[int, int]
"""What a deferral costs: rows that relink must touch, then how much the choice goes against what people expect."""


@dataclass(frozen=True, slots=True)
class Link:
    """A lookup from `child` to one of its `parents`' objects; a polymorphic lookup has one link a parent."""

    child: str
    field: str
    parent: str
    deferrable: bool = True
    rows: int = 1
    against: int = 0

    @property
    def key(self) -> LookupKey:
        return (self.child, self.field)

    @property
    def step(self) -> str:
        """The link as messages name it."""
        return f"{self.child}.{self.field}"


@dataclass(frozen=True)
class LoadOrder:
    """The result: objects in load order, the level of each, the lookups that are deferred."""

    order: tuple[str, ...]
    levels: Mapping[str, int]
    deferred: frozenset[LookupKey]
    components: tuple[tuple[str, ...], ...]
    """Groups of objects that refer to each other in a circle, those of one object left out."""
    exact: bool
    """False where a component was too large for the exact search."""


def load_order(objects: Sequence[str], links: Iterable[Link], rank: Mapping[str, int] | None = None) -> LoadOrder:
    """Order objects so that every lookup that is not deferred points backwards.

    `rank` decides inside a level (then the position in `objects`). Links from an object to itself are ignored:
    whether a self lookup is deferred or loaded level by level is not a question of order. Links to objects that are
    not in `objects` are ignored too. Raises `CycleError` naming the steps of a cycle that no deferral can break.
    """
    known = set(objects)
    between = sorted(
        (link for link in links if link.child != link.parent and link.child in known and link.parent in known),
        key=lambda link: (link.child, link.field, link.parent),
    )
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(objects)
    graph.add_edges_from((link.child, link.parent) for link in between)
    deferred: set[LookupKey] = set()
    components = []
    exact = True
    for component in sorted(sorted(found) for found in nx.strongly_connected_components(graph) if len(found) > 1):
        members = set(component)
        inside = [link for link in between if link.child in members and link.parent in members]
        chosen, complete = minimal_deferral(inside)
        deferred |= chosen
        exact = exact and complete
        components.append(tuple(component))
    levels = _levels(objects, [link for link in between if link.key not in deferred])
    place = {name: index for index, name in enumerate(objects)}
    ranks = rank or {}
    order = sorted(objects, key=lambda name: (levels[name], ranks.get(name, 0), place[name]))
    return LoadOrder(tuple(order), levels, frozenset(deferred), tuple(components), exact)


def minimal_deferral(links: Sequence[Link]) -> tuple[frozenset[LookupKey], bool]:
    """The cheapest set of lookups whose deferral leaves `links` without a cycle, and whether that is proven.

    Cost is the sum of `rows`, ties are decided by the sum of `against`. Raises `CycleError` where the links
    that must not be deferred form a cycle by themselves.
    """
    hard = [link for link in links if not link.deferrable]
    steps = _cycle(hard)
    if steps:
        raise _cycle_error(steps)
    costs = _costs(links)
    upper = _greedy(links, costs)
    if len(costs) > SEARCH_LOOKUPS:
        return frozenset(upper), False
    search = _Search(links, costs, upper)
    search.run()
    return frozenset(search.best), search.steps <= SEARCH_STEPS


class _Search:
    """Branch and bound: some lookup of every cycle must be deferred, so branch over those of a shortest one."""

    def __init__(self, links: Sequence[Link], costs: Mapping[LookupKey, Cost], upper: set[LookupKey]) -> None:
        self._links = links
        self._costs = costs
        self.best = upper
        self._best_cost = _sum(upper, costs)
        self.steps = 0

    def run(self) -> None:
        self._branch(set(), frozenset())

    def _branch(self, chosen: set[LookupKey], kept: frozenset[LookupKey]) -> None:
        """Extend `chosen`, never by a lookup of `kept`: another branch has tried those."""
        self.steps += 1
        if self.steps > SEARCH_STEPS:
            return
        cost = _sum(chosen, self._costs)
        if cost >= self._best_cost:
            return
        cycle = _cycle([link for link in self._links if link.key not in chosen])
        if not cycle:
            self.best, self._best_cost = set(chosen), cost
            return
        if self._bound(chosen, kept, cost) >= self._best_cost:
            return
        options = sorted(
            {link.key for link in cycle if link.deferrable} - kept, key=lambda key: (self._costs[key], key)
        )
        for option in options:
            self._branch(chosen | {option}, kept)
            kept = kept | {option}

    def _bound(self, chosen: set[LookupKey], kept: frozenset[LookupKey], cost: Cost) -> Cost:
        """A cost that no extension of `chosen` can undercut: cycles without a common lookup each need one."""
        rows, against = cost
        left = [link for link in self._links if link.key not in chosen]
        while cycle := _cycle(left):
            options = {link.key for link in cycle if link.deferrable} - kept
            if not options:
                return (2**62, 0)
            # Rows and preference are bounded apart: the cheapest of each need not be the same lookup.
            rows += min(self._costs[key][0] for key in options)
            against += min(self._costs[key][1] for key in options)
            used = {link.key for link in cycle if link.deferrable}
            left = [link for link in left if link.key not in used]
        return (rows, against)


def _greedy(links: Sequence[Link], costs: Mapping[LookupKey, Cost]) -> set[LookupKey]:
    """A deferral found in polynomial time: place objects one by one, then take back what was not needed.

    Next comes, among the objects whose required parents are placed, the one whose own lookups cost least to defer;
    of equals the one that spares others most.
    """
    lookups: dict[str, dict[LookupKey, set[str]]] = {}
    waiting: dict[str, set[str]] = {}
    spared: dict[str, Cost] = {}
    for link in links:
        waiting.setdefault(link.child, set())
        waiting.setdefault(link.parent, set())
        if link.deferrable:
            lookups.setdefault(link.child, {}).setdefault(link.key, set()).add(link.parent)
            rows, against = spared.get(link.parent, (0, 0))
            spared[link.parent] = (rows - link.rows, against - link.against)
        else:
            waiting[link.child].add(link.parent)
    left = set(waiting)
    chosen: set[LookupKey] = set()
    while left:
        options = []
        for name in left:
            if not waiting[name] & left:
                forced = {key for key, parents in lookups.get(name, {}).items() if parents & left}
                options.append((_sum(forced, costs), spared.get(name, (0, 0)), name, forced))
        _, _, name, forced = min(options, key=lambda option: option[:3])
        chosen |= forced
        left.remove(name)
    return _taken_back(chosen, links, costs)


def _taken_back(chosen: set[LookupKey], links: Sequence[Link], costs: Mapping[LookupKey, Cost]) -> set[LookupKey]:
    """`chosen` without the lookups, dearest first, that close no circle with those that are not deferred."""
    parents: dict[str, set[str]] = {}
    targets: dict[LookupKey, set[str]] = {}
    for link in links:
        if link.key in chosen:
            targets.setdefault(link.key, set()).add(link.parent)
        else:
            parents.setdefault(link.child, set()).add(link.parent)
    needed = set(chosen)
    for key in sorted(chosen, key=lambda key: (costs[key], key), reverse=True):
        child = key[0]
        if not _reaches(parents, targets[key], child):
            parents.setdefault(child, set()).update(targets[key])
            needed.remove(key)
    return needed


def _reaches(parents: Mapping[str, set[str]], starts: Iterable[str], goal: str) -> bool:
    seen = set(starts)
    stack = list(seen)
    while stack:
        name = stack.pop()
        if name == goal:
            return True
        new = parents.get(name, set()) - seen
        seen |= new
        stack.extend(new)
    return False


def _costs(links: Iterable[Link]) -> dict[LookupKey, Cost]:
    return {link.key: (link.rows, link.against) for link in links if link.deferrable}


def _sum(keys: Iterable[LookupKey], costs: Mapping[LookupKey, Cost]) -> Cost:
    rows = against = 0
    for key in keys:
        rows += costs[key][0]
        against += costs[key][1]
    return (rows, against)


def _cycle(links: Iterable[Link]) -> list[Link]:
    """The links of a shortest cycle, from its alphabetically first object on; empty where there is none.

    Of parallel links the one that cannot be deferred stands for its pair, since no other choice helps there.
    """
    out: dict[str, dict[str, Link]] = {}
    for link in links:
        known = out.setdefault(link.child, {}).get(link.parent)
        if known is None or (known.deferrable and not link.deferrable):
            out[link.child][link.parent] = link
    _prune(out)
    best: list[Link] = []
    for start in sorted(out):
        found = _shortest(out, start, len(best) if best else None)
        if found:
            best = found
            if len(best) == 2:
                break
    return best


def _prune(out: dict[str, dict[str, Link]]) -> None:
    """Take away objects that no cycle can pass: those without a parent left."""
    children: dict[str, set[str]] = {}
    for child, parents in out.items():
        for parent in parents:
            children.setdefault(parent, set()).add(child)
    dead = [name for name in children if name not in out]
    while dead:
        gone = dead.pop()
        for child in children.get(gone, ()):
            del out[child][gone]
            if not out[child]:
                del out[child]
                dead.append(child)


def _shortest(out: Mapping[str, Mapping[str, Link]], start: str, shorter_than: int | None) -> list[Link]:
    """A shortest way from `start` back to itself with fewer than `shorter_than` links."""
    came: dict[str, Link] = {}
    queue = deque([(start, 0)])
    while queue:
        name, length = queue.popleft()
        if shorter_than is not None and length + 1 >= shorter_than:
            return []
        for parent in sorted(out.get(name, ())):
            link = out[name][parent]
            if parent == start:
                path = [link]
                while path[-1].child != start:
                    path.append(came[path[-1].child])
                return path[::-1]
            if parent not in came:
                came[parent] = link
                queue.append((parent, length + 1))
    return []


def _levels(objects: Sequence[str], links: Sequence[Link]) -> dict[str, int]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(objects)
    graph.add_edges_from((link.parent, link.child) for link in links)
    return {name: level for level, generation in enumerate(nx.topological_generations(graph)) for name in generation}


def _cycle_error(cycle: Sequence[Link]) -> CycleError:
    path = tuple(link.step for link in cycle)
    way = " -> ".join((*path, cycle[0].child))
    return CycleError(
        f"{way}: these lookups form a circle and none of them can be left empty at first (each is required, cannot be "
        "updated, or is part of a match key), so no load order exists. Exclude one of them (exclude_parents, "
        "exclude_fields), give its match key other fields, or make it optional in the target.",
        path=path,
    )
