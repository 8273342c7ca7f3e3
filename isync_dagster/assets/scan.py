"""The scan of a template as an asset and a job: it reads, writes to no org, and opens no run."""

# No `from __future__ import annotations`: Dagster reads the annotations of asset functions at run time.

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from isync_dagster.assets import keys, work
from isync_dagster.assets.cancellation import Token
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.verbs import verb
from isync_dagster.assets.work import RETRY, boundary
from isync_dagster.migration.model import Progress

if TYPE_CHECKING:
    from isync_dagster.plan.model import Plan

SCAN = "scan"


class ScanConfig(dg.Config):
    """What to look at."""

    phases: list[str] = Field(default=[], description="Phases to scan; none means all of the template.")
    samples: int = Field(default=5, ge=0, le=100, description="Sample records of each decision an object.")


def scan_config(plan: "Plan", phases: list[str], samples: int) -> dict[str, Any]:
    """The run config of the job `scan_<template>`."""
    name = keys.gate_key(plan.template, SCAN).to_python_identifier()
    return {"ops": {name: {"config": {"phases": phases, "samples": samples}}}}


def scan_asset(plan: "Plan") -> dg.AssetsDefinition:
    """`[template, scan]`: without partitions, since one scan looks at phases on top of each other."""

    @dg.asset(
        key=keys.gate_key(plan.template, SCAN),
        description=(
            f"What a migration to `{plan.target_alias}` would do, found by reading alone: records in scope, what would be "
            "inserted, updated or left, parents that will be missing and why, and what it will take. Writes to no org "
            "and opens no run."
        ),
        group_name=keys.slug(plan.template),
        kinds={"salesforce", "polars"},
        owners=[keys.OWNER],
        tags={keys.STAGE_TAG: SCAN, keys.TEMPLATE_TAG: plan.template},
        code_version=plan.hash,
        pool=keys.pool(plan.source_alias),
        retry_policy=RETRY,
    )
    def scan(
        context: dg.AssetExecutionContext,
        config: ScanConfig,
        run_options: RunOptionsResource,
        workbench: dg.ResourceParam[Workbench],
    ) -> dg.MaterializeResult[Any]:
        run_id = context.run.run_id

        def progress(progress: Progress) -> None:
            for listener in work.listeners:
                listener(plan.template, SCAN, progress)

        with boundary():
            job = workbench.job(
                plan.template,
                plan.phases[0].name,
                run_options.options(),
                cancelled=Token(run_id).is_set,
                progress=progress,
                opened_by=f"Dagster run {run_id}",
                session=run_id,
            )
            found = verb(SCAN)(job, config.phases, config.samples)
        return dg.MaterializeResult(metadata=metadata(found))

    return scan


def scan_job(plan: "Plan") -> Any:
    """`scan_<template>`."""
    return dg.define_asset_job(
        keys.job_name(SCAN, plan.template),
        selection=dg.AssetSelection.assets(keys.gate_key(plan.template, SCAN)),
        description=f"Says what a migration of {plan.template} would do. Reads only.",
        tags={keys.TEMPLATE_TAG: plan.template},
    )


def metadata(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a scan found, as numbers to plot and tables to read."""
    total, objects = found["forecast"]["total"], [row for phase in found["phases"] for row in phase["objects"]]
    decisions: dict[str, int] = {}
    for row in objects:
        for name, rows in row["decisions"].items():
            decisions[name] = decisions.get(name, 0) + rows
    told: dict[str, Any] = {
        "dagster/row_count": dg.MetadataValue.int(sum(row["in_scope"] for row in objects)),
        "scan": dg.MetadataValue.int(found["scan"]),
        "api_calls": dg.MetadataValue.int(found["calls"]),
        "missing parents": dg.MetadataValue.int(sum(row["records"] for row in found["missing"])),
        "forecast/seconds": dg.MetadataValue.float(float(total["seconds"]["likely"])),
        "forecast/calls": dg.MetadataValue.int(int(total["calls"])),
        "forecast/storage_mb": dg.MetadataValue.float(float(total["storage_mb"])),
        "hierarchy": dg.MetadataValue.md(f"```\n{found['tree']}\n```"),
        "objects": dg.MetadataValue.md(table(object_rows(found))),
        "order": dg.MetadataValue.md(table(found["order"])),
        "filled later": dg.MetadataValue.md(table(found["deferred"])),
        "forecast": dg.MetadataValue.md(f"{found['forecast']['basis']}\n\n{table(forecast_rows(found['forecast']))}"),
        "limits": dg.MetadataValue.md(table(found["forecast"]["against"])),
    }
    told |= {f"would/{name}": dg.MetadataValue.int(rows) for name, rows in decisions.items()}
    if found["missing"]:
        told["missing parents and why"] = dg.MetadataValue.md(table(missing_rows(found)))
    if found["sequences"]:
        told["sequences"] = dg.MetadataValue.md("\n".join(f"- {text}" for text in found["sequences"]))
    if changes := change_rows(found):
        told["would change"] = dg.MetadataValue.md(table(changes))
    if findings := [{"phase": phase["phase"], **row} for phase in found["phases"] for row in phase["gate"]["findings"]]:
        told["would be refused"] = dg.MetadataValue.md(table(findings))
    return {name: value for name, value in told.items() if not _is_empty(value)}


def object_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row an object and phase: how many records, and what would become of them."""
    return [
        {
            "phase": phase["phase"],
            "object": row["object"],
            "in org": row["in_org"],
            "counted": row["counted"],
            "in scope": row["in_scope"],
            **{name: row["decisions"].get(name, 0) for name in ("insert", "update", "identical", "existing")},
            "skip": row["decisions"].get("skipped", 0),
            "blocked": row["decisions"].get("blocked", 0),
            "dropped": row["decisions"].get("dropped", 0),
            "MB": row["source_mb"],
        }
        for phase in found["phases"]
        for row in phase["objects"]
    ]


def missing_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a lookup and reason."""
    return [
        {
            "object": row["object"],
            "lookup": row["field"],
            "parent": row["parent_object"],
            "records": row["records"],
            "why": row["reason"],
            "becomes": row["fate"],
            "samples": ", ".join(row["samples"]),
        }
        for row in found["missing"]
    ]


def change_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a field of a sample that would be updated: as it is and as it would be."""
    return [
        {
            "object": row["object"],
            "record": sample["name"] or sample["source_id"],
            "target id": sample["target_id"],
            "found by": sample["matched_by"],
            **change,
        }
        for phase in found["phases"]
        for row in phase["objects"]
        for sample in row["samples"]
        for change in sample["changes"]
    ]


def forecast_rows(forecast: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row an object, then its phase's: calls, batches, storage, time. An object's time is that of it alone."""
    rows = []
    for phase in forecast["phases"]:
        for row in (*phase["objects"], {"object": "all of the phase", **phase}):
            rows.append(
                {
                    "phase": phase["phase"],
                    "object": row["object"],
                    "API calls": row["calls"],
                    "Bulk batches": row["batches"],
                    "target MB": round(row["storage_mb"], 1),
                    "likely": duration(row["seconds"]["likely"]),
                    "range": f"{duration(row['seconds']['low'])} – {duration(row['seconds']['high'])}",
                }
            )
    return rows


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(4.2), duration(90), duration(7_300)
    ('4 s', '1 min 30 s', '2 h 1 min')
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3_600} h {whole % 3_600 // 60} min"


def _is_empty(value: Any) -> bool:
    return isinstance(value, dg.MarkdownMetadataValue) and not (value.md_str or "").strip()
