"""The whole way of a rich world: what arrives, and that a second run changes nothing."""

from __future__ import annotations

import pytest

from isync_dagster_tests.migration.world import (
    EVERYTHING,
    World,
    assert_laws,
    migrate,
    rich_data,
    some,
    template,
)


def test_everything_arrives_and_a_second_run_sends_nothing(world: World) -> None:
    world.reset(rich_data())
    done = migrate(world.job(template()))
    assert done.failed() == []
    assert_laws(done)
    assert done.summary is not None
    assert done.summary.kept
    for name in EVERYTHING:
        assert done.states(name) == {"inserted": len(world.picture("source", name))}
        assert world.picture("source", name) == world.picture("target", name), name
    assert world.values("target", "Account", "OwnerId") == {
        f"a{n}": ("admin@target.example", "jane@corp.example.box")[n % 2 == 0] for n in range(14)
    }
    assert done.outcomes["Account", "relink"].numbers["sent"] == 14

    world.watch("target", "(POST|PATCH|PUT|DELETE) .*/(jobs/ingest|composite/(sobjects|tree|graph))")
    again = migrate(world.job(template()))
    assert again.failed() == []
    assert_laws(again)
    for name in EVERYTHING:
        assert again.states(name) == {"identical": len(world.picture("source", name))}, name
        assert world.picture("source", name) == world.picture("target", name), name
    assert world.met("target") == 0


@pytest.mark.parametrize(("refused", "asked"), [(0, 0), (1, 1), (4, 1)])
def test_the_list_of_failures_is_asked_for_where_a_row_is_not_among_the_successes(
    world: World, refused: int, asked: int
) -> None:
    world.reset(some("Contact", 4, Email=lambda n: "nonsense" if n < refused else None))
    world.watch("target", "GET .*/failedResults")
    done = migrate(world.job(template(["Contact"], continue_on_error=True, preflight=LEFT), collections_rows=0))
    expected = {"failed": refused, "inserted": 4 - refused}
    assert done.states("Contact") == {state: rows for state, rows in expected.items() if rows}
    assert world.met("target") == asked
    assert_laws(done)


LEFT = [{"check": "email", "severity": "warn", "why": "left to the target"}]
