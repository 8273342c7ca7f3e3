"""The forecast of a scan, learned from earlier runs of the org pair, and how far off it was afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from isync_dagster.plan import forecast as model
from isync_dagster.plan.forecast import Estimate, Rates, Sample
from isync_dagster.plan.model import Plan
from isync_dagster.store import files
from isync_dagster.store.runs import Run
from isync_dagster.store.store import Store

RUNS = 20
"""Newest runs of an org pair that rates are learned from."""
SENT = ("inserted", "updated", "failed")


def forecast(
    store: Store, plan: Plan, phases: Sequence[Mapping[str, Any]], limits: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What each object and phase of a scan (its `phases`) will take, and what of it the orgs have left for it."""
    rates = learned_rates(store, plan.source_org_id, plan.target_org_id)
    rows, totals = [], []
    for phase in phases:
        found = _phase(rates, phase)
        rows.append(found)
        totals.append(found)
    total = {key: round(sum(row[key] for row in totals), 3) for key in ("calls", "batches", "storage_mb")}
    seconds = {key: round(sum(row["seconds"][key] for row in totals), 1) for key in ("low", "likely", "high")}
    return {
        "learned_from": rates.runs,
        "basis": _basis(rates),
        "phases": rows,
        "total": {**total, "seconds": seconds},
        "against": _against(total, limits),
    }


def learned_rates(store: Store, source_org_id: str, target_org_id: str) -> Rates:
    """The rates of the newest closed runs of an org pair, whatever their template."""
    runs = [
        run
        for key in store.jobs()
        if (key.source_org_id, key.target_org_id) == (source_org_id, target_org_id)
        for run in store.runs(key).list()
        if run.summary() is not None
    ]
    newest = sorted(runs, key=lambda run: run.opened_at)[-RUNS:]
    walls = {run.label: _seconds(run) for run in newest}
    return model.learn([sample for run in newest for sample in _samples(run)], walls)


def forecast_error(store: Store, run: Run, plan: Plan, calls: int, seconds: float) -> dict[str, int | float]:
    """The newest forecast of the run's phase made before it, and its error, as numbers of the summary; {} without one."""
    scans = store.scans(run.job.source_org_id, run.job.target_org_id, run.job.template)
    for scan in reversed(scans.all()):
        found = scan.found
        if found is None or found["plan_hash"] != plan.hash or datetime.fromisoformat(found["at"]) > run.opened_at:
            continue
        for phase in found["forecast"]["phases"]:
            if phase["phase"] == run.job.phase:
                return _error(found["scan"], phase, calls, seconds)
    return {}


def _error(scan: int, phase: Mapping[str, Any], calls: int, seconds: float) -> dict[str, int | float]:
    likely = phase["seconds"]["likely"]
    return {
        "forecast: scan": scan,
        "forecast: API calls": phase["calls"],
        "forecast: error of API calls, %": _off(phase["calls"], calls),
        "forecast: seconds": likely,
        "forecast: error of seconds, %": _off(likely, seconds),
        "forecast: seconds within its range": int(phase["seconds"]["low"] <= seconds <= phase["seconds"]["high"]),
    }


def _off(forecast: float, actual: float) -> float:
    """How much more (or less) was forecast than came, in percent of what came."""
    return round((forecast - actual) / actual * 100, 1) if actual else 0.0


def past_errors(store: Store, plan: Plan) -> list[dict[str, Any]]:
    """What earlier runs of the template say of the forecasts made before them, oldest first."""
    found = []
    for key in store.jobs():
        if (key.source_org_id, key.target_org_id, key.template) != (
            plan.source_org_id,
            plan.target_org_id,
            plan.template,
        ):
            continue
        for run in store.runs(key).list():
            numbers = (run.summary() or {}).get("numbers", {})
            if "forecast: scan" in numbers:
                found.append({"phase": key.phase, "run": run.number, "at": run.opened_at, **numbers})
    return sorted(found, key=lambda row: row["at"])


def _phase(rates: Rates, phase: Mapping[str, Any]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    estimates: list[Estimate] = []
    for item in phase["objects"]:
        inserts, updates = (item["decisions"].get(name, 0) for name in ("insert", "update"))
        estimate = model.of_object(
            rates,
            item["target_object"],
            read=item["in_scope"],
            inserts=inserts,
            updates=updates,
            relink=item["has_relink"],
        )
        estimates.append(estimate)
        rows.append({"object": item["object"], **_told(rates, estimate)})
    whole = model.of_phase(
        rates,
        estimates,
        read=sum(item["in_scope"] for item in phase["objects"]),
        sent=sum(item["decisions"].get(name, 0) for item in phase["objects"] for name in ("insert", "update")),
    )
    return {"phase": phase["phase"], "objects": rows, **_told(rates, whole)}


def _told(rates: Rates, estimate: Estimate) -> dict[str, Any]:
    likely = estimate.seconds
    return {
        "calls": estimate.calls,
        "batches": estimate.batches,
        "storage_mb": estimate.storage_mb,
        "seconds": {
            "low": round(likely * rates.low, 1),
            "likely": round(likely, 1),
            "high": round(likely * rates.high, 1),
        },
    }


def _basis(rates: Rates) -> str:
    if not rates.learned:
        return (
            "There is no earlier run of this org pair to learn from: the rates are those of two local orgs on one machine, "
            "so the times are a guess with a wide range. Migrate a small phase first, then scan again."
        )
    runs = "the last run" if rates.runs == 1 else f"the last {rates.runs} runs"
    return f"Learned from {runs} of this org pair; calls of checks come on top."


def _against(total: Mapping[str, float], limits: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is needed of each limit, and what is left of it; both orgs are held against all of the calls."""
    wanted = [
        (side, name, need)
        for side, names in (
            ("source", {"DailyApiRequests": "calls"}),
            ("target", {"DailyApiRequests": "calls", "DailyBulkApiBatches": "batches", "DataStorageMB": "storage_mb"}),
        )
        for name, need in names.items()
    ]
    return [
        {
            "org": side,
            "limit": name,
            "needed": total[need],
            "remaining": limits[side][name]["Remaining"],
            "max": limits[side][name]["Max"],
            "enough": total[need] <= limits[side][name]["Remaining"],
        }
        for side, name, need in wanted
        if name in limits.get(side, {})
    ]


def _samples(run: Run) -> Iterable[Sample]:
    """What each stage of each object took in a closed run; bounded by its objects."""
    summary = run.summary() or {}
    objects = {row["object"]: row for row in summary.get("objects", ())}
    read = sum(row["extracted"] for row in objects.values())
    sent = sum(row["states"].get(state, 0) for row in objects.values() for state in SENT)
    for name in files.names(run.folder / "used"):
        stage, _, object = name.removesuffix(".json").partition("-")
        used = files.read_json(run.folder / "used" / name)
        if used is None or stage not in model.STAGES or (object != "all" and object not in objects):
            continue
        if object == "all":
            rows = read if stage == "preflight" else sent
        elif stage in ("extract", "remap"):
            rows = objects[object]["extracted"]
        else:
            rows = sum(objects[object]["states"].get(state, 0) for state in SENT)
        yield Sample(run.label, stage, rows, float(used["seconds"]), int(used["calls"]))


def _seconds(run: Run) -> float:
    numbers = (run.summary() or {}).get("numbers", {})
    return float(numbers.get("seconds", 0.0))
