"""What happened to a run, and what it took: the lines of its history, seconds and API calls by stage and object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from isync_dagster.store import files
from isync_dagster.store.rollbacks import rollbacks
from isync_dagster.store.runs import Run, RunState

_LATER = ("retry", "heal", "rollback")


def used_by(run: Run) -> tuple[Mapping[str, Any], ...]:
    """What each stage of each object took: `stage`, `object` (empty for the whole run), `calls`, `seconds`."""
    found = []
    for name in files.names(run.folder / "used"):
        data = files.read_json(run.folder / "used" / name)
        if data is None:
            continue
        stage, _, object = name.removesuffix(".json").rpartition("-")
        whole = "" if object == "all" else object
        found.append({"stage": stage, "object": whole, "calls": data["calls"], "seconds": data["seconds"]})
    return tuple(found)


def happened(run: Run, objects: Iterable[str]) -> tuple[Mapping[str, Any], ...]:
    """The history of a run, oldest first: `at` (ISO), `what`, `by`.

    Openings, stops, closings, sign-off; rows that were sent again, lookups that were healed, rollbacks.
    """
    lines = [_transition(data, number) for number, data in enumerate(run.transitions())]
    lines += [
        {"at": str(data["at"]), "what": f"asked to stop: {data['why']}", "by": str(data.get("by") or "")}
        for data in _stops(run)
    ]
    lines += _sent_later(run, objects)
    for item in rollbacks(run):
        begun, done = item.begun() or {}, item.done()
        if done is None:
            lines.append({"at": str(begun.get("at") or ""), "what": f"rollback {item.number} begun", "by": ""})
    return tuple(sorted(lines, key=lambda line: line["at"]))


def _transition(data: Mapping[str, Any], number: int) -> dict[str, Any]:
    state, details = str(data["state"]), data.get("details") or {}
    what = {
        RunState.OPEN: "opened",
        RunState.CLOSED: "closed",
        RunState.ACCEPTED: "accepted",
        RunState.ROLLED_BACK: "rolled back",
        RunState.ABANDONED: "given up",
    }.get(RunState(state), state)
    told = details.get("anyway") or details.get("why")
    return {"at": str(data["at"]), "what": f"{what}: {told}" if told else what, "by": str(data.get("by") or "")}


def _stops(run: Run) -> list[Mapping[str, Any]]:
    folder = run.layout.stops
    found = (files.read_json(folder / name) for name in files.names(folder) if name.endswith(".json"))
    return [data for data in found if data is not None and data.get("at")]


def _sent_later(run: Run, objects: Iterable[str]) -> list[dict[str, Any]]:
    """A line for each retry, heal and rollback of each object, by what became of its rows."""
    lines = []
    stage = pl.col("stage")
    for name in objects:
        logs = [run.audit(name), *(item.audit(name) for item in rollbacks(run))]
        for log in logs:
            if not log.parts():
                continue
            rows = log.read().filter(stage.str.contains(f"^({'|'.join(_LATER)})"))
            # Bounded: one row a stage and state.
            counted = rows.group_by("stage", "state").agg(rows=pl.len(), at=pl.col("at").max()).sort("stage", "state")
            steps: dict[str, list[dict[str, Any]]] = {}
            for row in counted.collect().to_dicts():
                steps.setdefault(row["stage"], []).append(row)
            for step, states in steps.items():
                told = ", ".join(f"{row['rows']:,} {row['state']}" for row in states)
                at = max(row["at"] for row in states)
                lines.append({"at": at.isoformat(), "what": f"{step.replace('-', ' ')} of {name}: {told}", "by": ""})
    return lines
