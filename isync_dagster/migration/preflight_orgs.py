"""What pre-flight asks the orgs: record types and what they offer, owners, unique values, rules, storage, calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any

import polars as pl

from isync_dagster.errors import RequestError
from isync_dagster.migration import reading
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.references import reference_map
from isync_dagster.migration.target import ID, described, needs_match, target_rows
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.findings import (
    Known,
    controller_of,
    doubled,
    record_type_lookup,
    unique_keys,
)
from isync_dagster.records.match import match
from isync_dagster.salesforce.automation import DUPLICATE_RULES, list_automation
from isync_dagster.schema.model import Field
from isync_dagster.store.runs import Run

ROW_MB = 2 / 1024
"""Data storage of one record: 2 KB for nearly every object."""
BATCH_ROWS = 10_000
"""Rows of an internal Bulk 2.0 batch, which is what the daily allowance counts."""
CALLS_A_JOB = 14
"""Create, upload, close, some polls and three result files of one Bulk ingest job, with its settling."""
CALLS_AN_OBJECT = 12
"""Describe, count, reading the target to match and to verify."""


def known_of(job: SyncJob, run: Run, plan: ObjectPlan, frame: pl.LazyFrame) -> tuple[Known, list[str]]:
    """What the rules of an object compare with, and what could not be judged, in words."""
    notes: list[str] = []
    decisions = job.plan.settings.preflight
    types, available, offered = _record_types(job, run, plan, notes)
    rows = tuple(_unique(job, run, plan, frame, notes))
    for mapping in plan.fields:
        field = mapping.target
        if field.dependent_picklist and field.restricted_picklist and controller_of(field, plan) is None:
            notes.append(
                f"{plan.object}.{field.name}: not judged against {field.controller_name}, which is not carried over"
            )
    return Known(types, available, offered, _owners(job, run, plan), rows, decisions), notes


def _record_types(
    job: SyncJob, run: Run, plan: ObjectPlan, notes: list[str]
) -> tuple[Mapping[str, str], frozenset[str] | None, Mapping[str, Mapping[str, frozenset[str]]]]:
    if record_type_lookup(plan) is None:
        return {}, None, {}
    # Bounded by the record types of the two orgs.
    pairs = dict(reference_map(job, run, "RecordType").select("source_id", "target_id").collect().iter_rows())
    infos = described(job, plan.target_object).record_type_infos
    own = {info.record_type_id for info in infos}
    types = {source: target for source, target in pairs.items() if target in own}
    available = frozenset(info.record_type_id for info in infos if info.available and info.active)
    restricted = [item.target.name for item in plan.fields if item.target.restricted_picklist]
    if not types or not restricted:
        return types, available, {}
    try:
        answer = job.target.request("GET", f"sobjects/{plan.target_object}/describe/layouts").json()
    except RequestError as error:
        notes.append(f"{plan.object}: picklists are not judged by record type ({error})")
        return types, available, {}
    offered = {
        item["recordTypeId"]: {
            entry["picklistName"]: frozenset(value["value"] for value in entry["picklistValues"] if value["active"])
            for entry in item.get("picklistsForRecordType") or ()
        }
        for item in answer.get("recordTypeMappings") or ()
    }
    return types, available, offered


def _owners(job: SyncJob, run: Run, plan: ObjectPlan) -> pl.Series | None:
    """Source ids of users and queues with a counterpart of their own. Bounded by the source's users and queues."""
    owner = next((item for item in plan.lookups if item.target.name == "OwnerId"), None)
    if owner is None:
        return None
    frames = [
        reference_map(job, run, name).filter(pl.col("how") != "default").select("source_id")
        for name in owner.references
    ]
    return pl.concat(frames).unique().collect()["source_id"] if frames else None


def _unique(
    job: SyncJob, run: Run, plan: ObjectPlan, frame: pl.LazyFrame, notes: list[str]
) -> Iterator[tuple[str, str, pl.Series, str]]:
    """Rows whose value of a unique field another row, or another record of the target, has. Bounded by the findings."""
    fields = [item.target for item in plan.fields if item.target.unique and (item.insertable or item.updateable)]
    keyed = {part.target for part in plan.match_key} if len(plan.match_key) == 1 else set()
    for field in fields:
        if field.name not in keyed:
            # Of a match key of one field its own check tells.
            ids = doubled(frame, field).select("_source_id").collect(engine="streaming")["_source_id"]
            if len(ids):
                yield "unique", field.name, ids, "another row of the batch has the same value of this unique field"
    if not fields:
        return
    if any(part.is_lookup for part in plan.match_key):
        names = ", ".join(field.name for field in fields)
        notes.append(
            f"{plan.object}: whether {names} is free in the target shows after remap, since the match key holds a lookup"
        )
        return
    there = _taken(job, run, plan, fields)
    own = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).read(plan.object)
    matched = match(frame, plan, own.select("source_id", "target_id"), there).select("_source_id", "_target_id")
    sent = (
        pl.lit(plan.insert_new) & pl.col("_target_id").is_null()
        | pl.lit(plan.update_existing) & pl.col("_target_id").is_not_null()
    )
    for field in fields:
        found = (
            unique_keys(frame, field, "_source_id")
            .join(unique_keys(there, field, "Id"), on="_key", how="inner")
            .join(matched, on="_source_id", how="left")
            .filter(sent & pl.col("Id").ne_missing(pl.col("_target_id")))
        )
        ids = found.select("_source_id").unique().collect(engine="streaming")["_source_id"]
        if len(ids):
            yield "unique", field.name, ids, "another record of the target has the same value of this unique field"


def _taken(job: SyncJob, run: Run, plan: ObjectPlan, fields: list[Field]) -> pl.LazyFrame:
    """The target's rows: as read to match, or just their unique values where nothing is read to match."""
    if needs_match(job, plan):
        return target_rows(job, run, plan)
    folder = run.folder / "preflight" / "taken" / plan.object
    # A unique field is indexed: its filled values are a small part of most objects.
    wanted = (ID, *fields)
    condition = " OR ".join(f"{field.name} != null" for field in fields)
    reading.read(
        job,
        job.target,
        object=plan.target_object,
        fields=wanted,
        where=f"({condition})",
        folder=folder,
        stage="preflight",
    )
    return reading.scan(folder, wanted)


# ── what concerns an object or the org as a whole ────────────────────────────────────────────────────────


def access_of(job: SyncJob, plan: ObjectPlan, rows: int) -> Iterator[dict[str, Any]]:
    """An object that the loading user may not create or update; fields are compared by the drift check."""
    there = described(job, plan.target_object)
    for flag, wanted, word in (
        ("createable", plan.insert_new, "create"),
        ("updateable", plan.update_existing, "update"),
    ):
        if rows and wanted and not getattr(there, flag):
            yield finding(
                "access", plan.object, rows, f"the loading user may not {word} records of {plan.target_object}"
            )


def duplicate_rules_of(job: SyncJob, rows: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Active duplicate rules on the objects that get rows: by Bulk they refuse what they only warn of elsewhere."""
    targets = {job.object(name).target_object: name for name, count in rows.items() if count}
    if not targets or "duplicate_rules" in job.plan.settings.automation.off:
        return
    for item in list_automation(job.target, targets, [DUPLICATE_RULES]):
        if item.active:
            name = targets[item.object]
            text = f"duplicate rule {item.name} is active: rows that it finds alike are refused (DUPLICATES_DETECTED)"
            yield finding("duplicate_rule", name, rows[name], text, severity="warn")


def limits_of(job: SyncJob, rows: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Storage and the daily allowances of the target against what the phase may need at most."""
    total = sum(rows.values())
    if not total:
        return
    limits = job.target.limits()
    storage = limits.get("DataStorageMB") or {}
    need = total * ROW_MB
    if "Remaining" in storage and need > float(storage["Remaining"]):
        text = (
            f"{total:,} records need {need:,.2f} MB (2 KB each), {storage['Remaining']:,} MB of {storage['Max']:,} are left: "
            "free storage in the target or have it raised, then materialize again"
        )
        yield finding("storage", "", total, text)
    objects = sum(1 for count in rows.values() if count)
    jobs = sum(ceil(count / 100_000) for count in rows.values())
    calls = objects * CALLS_AN_OBJECT + jobs * CALLS_A_JOB * 2
    for name, wanted, what in (
        ("DailyApiRequests", calls, "API calls"),
        ("DailyBulkApiBatches", sum(ceil(count / BATCH_ROWS) for count in rows.values()), "Bulk batches"),
    ):
        left = (limits.get(name) or {}).get("Remaining")
        if left is not None and wanted > int(left):
            text = (
                f"about {wanted:,} {what} are needed, {left:,} are left for 24 hours: the run will stop and go on later"
            )
            yield finding("api_budget", "", total, text, severity="warn")


def finding(
    kind: str,
    object: str,
    rows: int,
    message: str,
    field: str = "",
    *,
    severity: str = "error",
    sample: str | None = None,
) -> dict[str, Any]:
    """One row of the table of findings."""
    return {
        "object": object,
        "check": kind,
        "kind": kind,
        "severity": severity,
        "field": field,
        "rows": rows,
        "message": message,
        "value": None,
        "sample": sample,
    }
