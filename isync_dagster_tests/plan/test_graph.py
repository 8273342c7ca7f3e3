from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from isync_dagster.errors import CycleError
from isync_dagster.plan import graph
from isync_dagster.plan.graph import Link, load_order, minimal_deferral

examples = settings(deadline=None, max_examples=80)
"""No deadline: on a busy machine a slow example says nothing about the code."""

NAMES = ("A", "B", "C", "D", "E", "F")


@st.composite
def links(draw: st.DrawFn, names: tuple[str, ...] = NAMES, most: int = 12, hard: bool = True) -> list[Link]:
    """Lookups of random objects: some polymorphic, some required, with different numbers of rows."""
    found = []
    for number in range(draw(st.integers(0, most))):
        child = draw(st.sampled_from(names))
        parents = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
        deferrable = not hard or draw(st.integers(0, 3)) > 0
        rows = draw(st.integers(1, 5))
        against = draw(st.integers(0, 3))
        found += [Link(child, f"L{number}", parent, deferrable, rows, against) for parent in parents]
    return found


def is_acyclic(remaining: list[Link]) -> bool:
    parents: dict[str, set[str]] = {}
    for link in remaining:
        if link.child != link.parent:
            parents.setdefault(link.child, set()).add(link.parent)
    while parents:
        free = [name for name, above in parents.items() if not above & parents.keys()]
        if not free:
            return False
        for name in free:
            del parents[name]
    return True


@given(links())
@examples
def test_order_respects_every_lookup_that_is_not_deferred(found: list[Link]) -> None:
    try:
        result = load_order(NAMES, found)
    except CycleError:
        assume(False)
    place = {name: index for index, name in enumerate(result.order)}
    assert sorted(result.order) == sorted(NAMES)
    for link in found:
        if link.child != link.parent and link.key not in result.deferred:
            assert place[link.parent] < place[link.child]
            assert result.levels[link.parent] < result.levels[link.child]
        if not link.deferrable:
            assert link.key not in result.deferred


@given(links(names=NAMES[:4], most=7))
@examples
def test_deferral_is_the_cheapest_there_is(found: list[Link]) -> None:
    between = [link for link in found if link.child != link.parent]
    costs = {link.key: (link.rows, link.against) for link in between if link.deferrable}
    subsets = chain.from_iterable(combinations(sorted(costs), size) for size in range(len(costs) + 1))
    possible = [
        (sum(costs[key][0] for key in chosen), sum(costs[key][1] for key in chosen))
        for chosen in subsets
        if is_acyclic([link for link in between if link.key not in chosen])
    ]
    if not possible:
        with pytest.raises(CycleError):
            minimal_deferral(between)
        return
    deferred, exact = minimal_deferral(between)
    assert exact
    assert (sum(costs[key][0] for key in deferred), sum(costs[key][1] for key in deferred)) == min(possible)


@given(links())
@examples
def test_cycle_error_names_a_real_circle_of_required_lookups(found: list[Link]) -> None:
    required = [link for link in found if not link.deferrable and link.child != link.parent]
    try:
        load_order(NAMES, found)
    except CycleError as error:
        steps = [tuple(step.split(".")) for step in error.path]
        assert len(steps) >= 2
        for (child, field), (parent, _) in zip(steps, [*steps[1:], steps[0]], strict=True):
            assert any(link.child == child and link.field == field and link.parent == parent for link in required)
        assert " -> ".join([*error.path, steps[0][0]]) in str(error)
    else:
        assert is_acyclic(required)


@given(links(most=16, hard=False), st.randoms(use_true_random=False))
@examples
def test_result_does_not_depend_on_the_order_of_links(found: list[Link], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert load_order(NAMES, shuffled) == load_order(NAMES, found)


@given(links(most=16))
@examples
def test_greedy_answer_is_valid_and_holds_nothing_needless(found: list[Link]) -> None:
    between = [link for link in found if link.child != link.parent]
    assume(is_acyclic([link for link in between if not link.deferrable]))
    chosen = graph._greedy(between, graph._costs(between))
    assert is_acyclic([link for link in between if link.key not in chosen])
    for key in chosen:
        assert not is_acyclic([link for link in between if link.key not in chosen - {key}])


def test_large_components_take_the_greedy_answer_and_say_so() -> None:
    ring = [Link(f"N{number:03}", "Next", f"N{(number + 1) % 200:03}", rows=200 - number) for number in range(200)]
    result = load_order([f"N{number:03}" for number in range(200)], ring)
    assert not result.exact
    assert len(result.deferred) == 1
    assert result.components == (tuple(f"N{number:03}" for number in range(200)),)


def test_the_lookup_with_fewer_rows_is_deferred() -> None:
    result = load_order(
        ["Account", "Contact"],
        [Link("Account", "Main", "Contact", rows=10), Link("Contact", "Of", "Account", rows=900)],
    )
    assert result.deferred == {("Account", "Main")}
    assert result.order == ("Account", "Contact")


def test_a_polymorphic_lookup_is_deferred_whole() -> None:
    found = [
        Link("Task", "What", "Account", rows=1),
        Link("Task", "What", "Case", rows=1),
        Link("Account", "Last", "Task", deferrable=False),
    ]
    result = load_order(["Task", "Account", "Case"], found)
    assert result.deferred == {("Task", "What")}
    assert result.levels == {"Task": 0, "Case": 0, "Account": 1}


def test_rank_decides_inside_a_level_then_the_given_order() -> None:
    result = load_order(["C", "B", "A", "D"], [Link("D", "L", "A")], {"B": 1, "C": 2, "A": 2, "D": 0})
    assert result.order == ("B", "C", "A", "D")


def test_self_lookups_and_strangers_do_not_count() -> None:
    result = load_order(
        ["A"], [Link("A", "Parent", "A", deferrable=False), Link("A", "Other", "Unknown", deferrable=False)]
    )
    assert result == graph.LoadOrder(("A",), {"A": 0}, frozenset(), (), True)
