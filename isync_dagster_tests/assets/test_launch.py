"""Phases run in the order that `after` asks for, whatever order they were named in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isync_dagster.assets.launch import phases_in_order, run_config
from isync_dagster.errors import PlanError
from isync_dagster.plan.model import PhasePlan
from isync_dagster_tests.assets.plans import small_plan

PLAN = replace(
    small_plan(),
    phases=(
        PhasePlan("c", ("Account",), after=("a", "b")),
        PhasePlan("b", ("Account",), after=("a",)),
        PhasePlan("a", ("Account",)),
        PhasePlan("z", ("Account",)),
    ),
)


@pytest.mark.parametrize(
    ("wanted", "order"),
    [([], ["a", "b", "c", "z"]), (["c", "b"], ["b", "c"]), (["c"], ["c"]), (["z", "c", "a"], ["z", "a", "c"])],
)
def test_order(wanted: list[str], order: list[str]) -> None:
    assert phases_in_order(PLAN, wanted) == order


def test_an_unknown_phase_is_refused_before_anything_runs() -> None:
    with pytest.raises(PlanError, match="'x'"):
        phases_in_order(PLAN, ["a", "x"])


def test_run_config_holds_only_what_was_given() -> None:
    assert run_config({}) == {}
    assert run_config({"spot_checks": 3}, log_level="ERROR") == {
        "resources": {"run_options": {"config": {"spot_checks": 3}}},
        "loggers": {"console": {"config": {"log_level": "ERROR"}}},
    }
