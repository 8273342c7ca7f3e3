"""Trouble at every call of every phase: the run comes through, or stops with a message and goes on from there."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module

import pytest

from isync_dagster.errors import IsyncError, TransientError
from isync_dagster.migration import reading
from isync_dagster_tests.faults.board import ARRIVED, WENT_ON, Board
from isync_dagster_tests.faults.picture import Picture
from isync_dagster_tests.faults.stage import Stage
from isync_dagster_tests.faults.wire import SCENARIOS, Trouble, in_phases, listening, scenario_names, troubles

SHARES = 8
HOW_TO_GO_ON = re.compile(r"again|resume|abort it|free |wait until|check the|raise|ask ", re.IGNORECASE)

SHORT = (
    ("extract", "source POST /jobs/query", "drop_after"),
    ("load", "target PUT /jobs/ingest/ID/batches", "drop_after"),
    ("load", "target GET /jobs/ingest/ID/successfulResults", "truncate"),
    ("relink", "target PATCH /jobs/ingest/ID", "expire_session"),
)
"""Where a short sweep makes trouble: each loses or cuts an answer that says what became of rows."""

Calls = dict[tuple[str, str, str], int]


@pytest.fixture(params=["Bulk 2.0", "REST"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How rows are read from both orgs."""
    if request.param == "Bulk 2.0":
        monkeypatch.setattr(reading, "REST_ROWS", -1)
    return str(request.param)


def _undisturbed(stage: Stage) -> tuple[Picture, Calls]:
    stage.clear()
    calls: Calls = {}
    phase: list[str] = []
    job = stage.job()
    with listening(stage.world, calls, phase):
        in_phases(job, phase.append)
    expected, _ = stage.undisturbed()
    return expected, calls


def _meet(stage: Stage, trouble: Trouble, expected: Picture, board: Board) -> None:
    stage.clear()
    entered: list[str] = []

    def enter(phase: str) -> None:
        if phase == trouble.phase and phase not in entered:
            stage.world.faults(trouble.side, trouble.rule)
        entered.append(phase)

    outcome = ARRIVED
    try:
        in_phases(stage.job(), enter)
    except IsyncError as error:
        assert HOW_TO_GO_ON.search(str(error)), f"{trouble}: {type(error).__name__} says not how to go on: {error}"
        outcome = WENT_ON
    assert stage.world.met(trouble.side), f"{trouble} was not met"
    stage.world.faults(trouble.side)
    stage.go_on()
    stage.arrived(expected)
    board.add(trouble.fault, f"{trouble.phase}: {trouble.call}", outcome)


@pytest.mark.parametrize("way", ["Bulk 2.0"], indirect=True)
def test_trouble_where_an_answer_tells_most(stage: Stage, way: str, board: Board) -> None:
    expected, calls = _undisturbed(stage)
    once = {(item.phase, item.call, item.kind): item for item in reversed(troubles(calls)) if not item.lasting}
    for key in SHORT:
        _meet(stage, once[key], expected, board)


@pytest.mark.parametrize("way", ["Bulk 2.0"], indirect=True)
@pytest.mark.parametrize("kind", ["status", "drop_before"])
def test_an_outage_of_the_call_that_saves_stops_the_run(stage: Stage, way: str, board: Board, kind: str) -> None:
    """Whatever the answers are, or are not: rows of which none says that they were saved, or refused, stay to be sent."""
    expected, calls = _undisturbed(stage)
    call = "target POST /composite/sobjects"
    lasts = next(
        replace(item, lasting=True)
        for item in troubles(calls)
        if (item.phase, item.call, item.kind) == ("load", call, kind)
        and (kind != "status" or dict(item.shape)["status"] == 500)
    )
    stage.clear()
    stage.world.faults("target", lasts.rule)
    with pytest.raises(TransientError, match=r"sent 3 times, and no answer says .* Materialize again"):
        in_phases(stage.job(), lambda _: None)
    stage.world.faults("target")
    assert stage.is_open()
    job = stage.job()
    run = job.store.runs(job.key).latest()
    assert run is not None
    sent = [
        entry
        for chunk in run.ledger("load", "Account").chunks()
        if (entry := run.ledger("load", "Account").last(chunk))
    ]
    # The tries are those of what Salesforce refuses for the moment: an outage uses none of them up.
    assert max(entry.attempt for entry in sent) == 3
    assert {entry.payload["tries"] for entry in sent} == {1}
    stage.go_on()
    stage.arrived(expected)
    board.add(lasts.fault, f"load: {call}", WENT_ON)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_trouble_at_every_call(stage: Stage, way: str, board: Board, share: int) -> None:
    expected, calls = _undisturbed(stage)
    assert {phase for _, phase, _ in calls} >= {"extract", "preflight", "load", "relink", "verify"}
    found = troubles(calls)
    if way == "REST":
        # The rest is the same whatever way rows are read.
        found = [item for item in found if item.call.split()[2].startswith("/query")]
    failures = []
    for trouble in found[share::SHARES]:
        try:
            _meet(stage, trouble, expected, board)
        except Exception as error:  # noqa: BLE001 - all failures of a sweep are told together
            failures.append(f"{trouble}: {type(error).__name__}: {str(error)[:600]}")
    assert not failures, "\n".join(failures)


# ── scenario files ───────────────────────────────────────────────────────────────────────────────────────


def _scenarios() -> list[str]:
    """Scenarios that leave the org's process alive."""
    names = scenario_names()
    return [name for name in names if not import_module(SCENARIOS).load(name).kills]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["Bulk 2.0"], indirect=True)
@pytest.mark.parametrize("side", ["target", "source"])
@pytest.mark.parametrize("name", _scenarios())
def test_a_scenario_of_the_local_org(stage: Stage, side: str, way: str, name: str, board: Board) -> None:
    """The scenario is in force from the first call until the run has stopped, three times at most; then it is over."""
    expected, _ = _undisturbed(stage)
    stage.clear()
    service = stage.world.served[side].service
    scenario = import_module(SCENARIOS).load(name)
    outcome = ARRIVED
    service.apply(scenario)  # type: ignore[attr-defined]
    try:
        for _ in range(3):
            try:
                in_phases(stage.job(), lambda _: None)
            except IsyncError as error:
                assert HOW_TO_GO_ON.search(str(error)), f"{type(error).__name__} says not how to go on: {error}"
                outcome = WENT_ON
            else:
                break
    finally:
        service.lift()  # type: ignore[attr-defined]
        stage.world.faults(side)
    stage.go_on()
    stage.arrived(expected)
    board.add(f"scenario {name}", side, outcome)
