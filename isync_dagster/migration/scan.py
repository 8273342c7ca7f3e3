"""Scan: what a run would do, found by reading alone.

A scan is a rehearsal in a folder of its own in the store, on top of the id map that is there: the extract, the gate
and the decisions of the real verbs, and in the place of the load a note of which records would be in the target. No
run is opened, the store's id map and pending links stay as they are, and the connections to both orgs refuse every
call that writes. What it read is removed when it ends; what it found stays in `scan.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from isync_dagster.errors import MissingParentError, PreflightError
from isync_dagster.migration import reading
from isync_dagster.migration.extract import extract
from isync_dagster.migration.forecast import forecast
from isync_dagster.migration.live import record_counts
from isync_dagster.migration.mapped import proof_folder, prove
from isync_dagster.migration.model import Progress, SyncJob
from isync_dagster.migration.outcomes import counts_by, measured
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.remap import remap_rows, remap_rows_of, with_default_ids
from isync_dagster.migration.runs import guard_orgs
from isync_dagster.migration.scan_missing import PLACEHOLDER, missing_parents
from isync_dagster.migration.writing import release_target
from isync_dagster.plan.forecast import storage_mb
from isync_dagster.plan.model import ObjectPlan, Plan
from isync_dagster.plan.order import deferrals, edges, out_of_sequence, tree
from isync_dagster.plan.rules import KEY_ADVICE
from isync_dagster.store import files
from isync_dagster.store.runs import JobKey, Run
from isync_dagster.store.scans import Scan
from isync_dagster.store.store import Store

IN_TARGET = ("insert", "update", "identical", "existing")
TEXT = 120
"""Characters of a sample's value that are kept."""


def scan(job: SyncJob, phases: Sequence[str] = (), samples: int = 5) -> dict[str, Any]:
    """Read the phases (all, or those named and what they come after and is not done) and say what a run would do.

    `job` is of any phase. What comes back is what `scan.json` of the new scan folder holds: `phases` with the objects'
    counts, decisions, samples and estimates, `order`, `deferred`, `tree`, `sequences`, `missing`, `forecast`, `limits`.
    Raises what reading raises; nothing is written to an org in any case.
    """
    plan = job.plan
    made = job.store.scans(plan.source_org_id, plan.target_org_id, plan.template).open(job.opened_by)
    real, wanted = job.store, _phases(job.store, plan, phases)
    job = replace(
        job,
        store=real.rehearsal(made.work),
        source=job.source.reading(),
        target=job.target.reading(),
        reads_only=True,
    )
    try:
        with measured() as measure:
            found = _scan(job, real, made, wanted, samples)
            found = {**found, "calls": measure.calls, "seconds": round(measure.seconds, 1)}
        made.finish(found)
        return found
    finally:
        made.sweep()


def _phases(store: Store, plan: Plan, named: Sequence[str]) -> list[str]:
    """The phases to read, in the plan's order: a phase is understood only on top of those it comes after."""
    wanted = {plan.phase(name).name for name in named} or {phase.name for phase in plan.phases}
    waiting = list(wanted)
    while waiting:
        for earlier in plan.phase(waiting.pop()).after:
            latest = store.runs(JobKey(plan.source_org_id, plan.target_org_id, plan.template, earlier)).latest()
            if earlier not in wanted and (latest is None or latest.state not in ("closed", "accepted")):
                wanted.add(earlier)
                waiting.append(earlier)
    return [phase.name for phase in plan.phases if phase.name in wanted]


def _scan(job: SyncJob, real: Store, made: Scan, wanted: Sequence[str], samples: int) -> dict[str, Any]:
    plan = job.plan
    guard_orgs(job)
    t0 = job.source.server_time()
    totals = record_counts(job.source, [item.object for item in plan.objects])
    runs: dict[str, Run] = {}
    phases: list[dict[str, Any]] = []
    for phase in wanted:
        job = job.for_phase(phase)
        run = job.store.runs(job.key).open_or_resume(plan.to_json(), plan.hash, t0, job.opened_by)
        try:
            _prove_once(job, run, next(iter(runs.values()), None))
            runs[phase] = run
            phases.append(_phase(job, run, totals, samples))
        finally:
            release_target(job, run)
    missing = missing_parents(job, runs, made)
    limits = {"source": _limits(job.source.limits()), "target": _limits(job.target.limits())}
    return {
        "template": plan.template,
        "scan": made.number,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": job.opened_by,
        "t0": t0.isoformat(),
        "plan_hash": plan.hash,
        "source": {"alias": plan.source_alias, "org_id": plan.source_org_id},
        "target": {"alias": plan.target_alias, "org_id": plan.target_org_id},
        "phases": phases,
        "tree": tree(plan, [row["object"] for phase in phases for row in phase["objects"]]),
        "order": [{"object": edge.object, "after": edge.after, "reason": edge.reason} for edge in edges(plan)],
        "deferred": [{"object": item.object, "field": item.field, "reason": item.reason} for item in deferrals(plan)],
        "sequences": list(out_of_sequence(plan)),
        "missing": missing,
        "forecast": forecast(real, plan, phases, limits),
        "limits": limits,
    }


def _prove_once(job: SyncJob, run: Run, first: Run | None) -> None:
    """Look once a scan for the counterparts of earlier runs: a later phase must not look for those it pretends."""
    names = {item.object for item in job.plan.objects}
    names |= {
        name for item in job.plan.objects for lookup in item.lookups for name in (*lookup.parents, *lookup.others)
    }
    for name in sorted(names):
        if first is None:
            prove(job, run, name)
            continue
        proven = proof_folder(first) / name
        for path in files.names(proven):
            if path.startswith("gone") and path.endswith(".parquet"):
                files.write_parquet(proof_folder(run) / name / path, files.scan(proven / path))
        files.write_json(proof_folder(run) / name / "manifest.json", files.read_json(proven / "manifest.json") or {})


def _phase(job: SyncJob, run: Run, totals: Mapping[str, int], samples: int) -> dict[str, Any]:
    objects = job.plan.objects_in(job.phase)
    for item in _in_order_of_extract(objects):
        extract(job, item.object)
    gate = _gate(job, run)
    rows, stopped = [], []
    for item in objects:
        job.progress(Progress(item.object, "scan", "deciding"))
        with measured() as measure:
            try:
                remap_rows(job, run, with_default_ids(job, run, item), measure)
            except MissingParentError as error:
                stopped.append(str(error))
        _as_if_loaded(job, run, item)
        rows.append(_object(run, item, totals, samples))
    return {"phase": job.phase, "after": list(job.phase_plan.after), "objects": rows, "gate": gate, "stopped": stopped}


def _in_order_of_extract(objects: Sequence[ObjectPlan]) -> list[ObjectPlan]:
    """Children before the parents that they fetch; else the load order."""
    known = {item.object: item for item in objects}
    ordered: dict[str, ObjectPlan] = {}

    def place(item: ObjectPlan) -> None:
        for child in item.fetched_by:
            if child in known and child not in ordered:
                place(known[child])
        ordered.setdefault(item.object, item)

    for item in objects:
        place(item)
    return list(ordered.values())


def _gate(job: SyncJob, run: Run) -> dict[str, Any]:
    """What the gate of a run would find in these rows, and whether it would let the run go on."""
    try:
        found = preflight(job)
    except PreflightError as error:
        kept = files.read_json(run.folder / "preflight" / "outcome.json") or {}
        return {"passed": False, "findings": kept.get("errors", []), "message": str(error).split("\n", 1)[0]}
    return {"passed": True, "findings": [dict(row) for row in found.errors], "message": ""}


def _as_if_loaded(job: SyncJob, run: Run, item: ObjectPlan) -> None:
    """Note which records would be in the target, so that their children resolve, and why others would not."""
    rows = remap_rows_of(run, item.object)
    decided = pl.col("_decision").cast(pl.String)
    there = rows.filter(decided.is_in(IN_TARGET)).select(
        source_id="_source_id",
        target_id=pl.coalesce("_target_id", pl.format(PLACEHOLDER + "{}", "_source_id")),
        how=pl.lit("scan"),
    )
    where: dict[str, Any] = {"template": run.job.template, "phase": run.job.phase, "run": run.number}
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    id_map.append(item.object, item.target_object, there, part="scan", **where)
    rest = rows.filter(~decided.is_in(IN_TARGET)).select(
        source_id="_source_id", state=decided, message="_reason", stage=pl.lit("remap")
    )
    run.audit(item.object).append("scan", rest)


def _object(run: Run, item: ObjectPlan, totals: Mapping[str, int], samples: int) -> dict[str, Any]:
    """One object of a phase: counts, decisions, what would change, samples, sizes."""
    rows = remap_rows_of(run, item.object)
    read = reading.recorded(run.extract_folder(item.object))
    assert read is not None
    states = counts_by(rows, "_decision")
    in_scope = sum(states.values())
    changed = rows.select(pl.col("_changed").explode().alias("field")).drop_nulls().group_by("field").len()
    return {
        "object": item.object,
        "target_object": item.target_object,
        "level": item.level,
        "in_org": totals.get(item.object),
        "counted": read.counted,
        "in_scope": in_scope,
        "fetched": in_scope - read.rows,
        "decisions": states,
        "changed_fields": dict(changed.sort("len", "field", descending=[True, False]).collect().iter_rows()),
        "samples": _samples(rows, item, samples),
        "has_relink": item.has_relink,
        "read_mb": round(read.bytes / 1_048_576, 3),
        "source_mb": round(storage_mb(item.object, in_scope), 3),
        "target_mb": round(storage_mb(item.target_object, states.get("insert", 0)), 3),
        "note": KEY_ADVICE[item.object][1] if item.object in KEY_ADVICE else "",
    }


def _samples(rows: pl.LazyFrame, item: ObjectPlan, samples: int) -> list[dict[str, Any]]:
    """Some rows of each decision; those of updates with every field as it is and as it would be."""
    named = [mapping.target.name for mapping in item.fields if mapping.target.name_field]
    name = next(
        iter([*named, *(mapping.target.name for mapping in item.fields if mapping.target.name == "LastName")]), ""
    )
    found = []
    for decision in (*IN_TARGET, "skipped", "blocked", "dropped"):
        few = rows.filter(pl.col("_decision").cast(pl.String) == decision).head(samples).collect()
        for row in few.to_dicts():
            found.append(
                {
                    "decision": decision,
                    "source_id": row["_source_id"],
                    "name": _text(row.get(name)),
                    "target_id": row["_target_id"],
                    "matched_by": row["_matched_by"],
                    "reason": row["_reason"],
                    "changes": [
                        {"field": field, "now": _text(row[f"_now.{field}"]), "then": _text(row[field])}
                        for field in row["_changed"] or []
                    ],
                }
            )
    return found


def _text(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    if text.startswith(PLACEHOLDER):
        return f"the new record of {text.removeprefix(PLACEHOLDER)}"
    return text if len(text) <= TEXT else text[: TEXT - 1] + "…"


def _limits(answer: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    wanted = ("DailyApiRequests", "DailyBulkApiBatches", "DailyBulkV2QueryJobs", "DataStorageMB", "FileStorageMB")
    return {
        name: {"Max": int(answer[name]["Max"]), "Remaining": int(answer[name]["Remaining"])}
        for name in wanted
        if name in answer
    }
