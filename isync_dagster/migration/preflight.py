"""Preflight: one gate a phase, between all extracts and the first row that is written.

It runs the transform lazily over the extracts and finds what can be known without references: match keys
that are not unique in the source or the target, and values that the target would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.errors import PreflightError
from isync_dagster.migration.drift import check_drift
from isync_dagster.migration.extract import extracted
from isync_dagster.migration.model import Outcome, SyncJob
from isync_dagster.migration.outcomes import Measure, kept, measured
from isync_dagster.migration.references import reference_map, standard_price_book
from isync_dagster.migration.runs import current_run, guard_orgs
from isync_dagster.migration.stopping import guarded
from isync_dagster.migration.target import target_rows
from isync_dagster.migration.threshold import allowed_rejects
from isync_dagster.migration.writing import claimed, hold_target
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.findings import find
from isync_dagster.records.match import duplicate_keys
from isync_dagster.records.transform import transform
from isync_dagster.store import files
from isync_dagster.store.runs import Run

SAMPLES = 20
FINDINGS = {
    "object": pl.String,
    "check": pl.String,
    "field": pl.String,
    "value": pl.String,
    "message": pl.String,
    "_source_id": pl.String,
}


def preflight(job: SyncJob) -> Outcome:
    """Check every object of the phase; the findings lie in the run's folder `preflight`.

    Raises `PreflightError`, which lists them, where a match key is not unique, or where more rows than the
    template's threshold would be refused and continue on error is off. Nothing is written to an org.
    """
    with measured() as measure:
        run = current_run(job)
        guard_orgs(job)
        hold_target(job, run)
        with claimed(job, run, "preflight", "all"), guarded(job, run) as job:
            return _preflight(job, run, measure)


def _preflight(job: SyncJob, run: Run, measure: Measure) -> Outcome:
    for name in job.plan.references:
        reference_map(job, run, name)
    if any(plan.object == "Pricebook2" for plan in job.plan.objects_in(job.phase)):
        standard_price_book(job, run)
    rows, table, blocking = 0, [], []
    for plan in job.plan.objects_in(job.phase):
        check_drift(job, plan, "target")
        rows += extracted(run, plan).select(pl.len()).collect().item()
        for row, blocks in _object_findings(job, run, plan):
            table.append(row)
            if blocks:
                blocking.append(row)
    numbers = {"findings": sum(row["rows"] for row in table), "blocking": sum(row["rows"] for row in blocking)}
    outcome = Outcome(
        "",
        "preflight",
        run.number,
        rows=rows,
        numbers=numbers,
        calls=measure.calls,
        seconds=measure.seconds,
        errors=tuple(table),
        notes=() if table else ("nothing found",),
    )
    files.write_json(_manifest(run), {**outcome.to_json(), "passed": not blocking})
    kept(run, outcome)
    if blocking:
        raise PreflightError(_message(job, run, blocking), findings=len(blocking))
    return outcome


def require_preflight(run: Run) -> None:
    """Raise `PreflightError` unless the gate of this run is open: nothing is decided, let alone sent, before."""
    if not (files.read_json(_manifest(run)) or {}).get("passed"):
        raise PreflightError(
            f"Run {run.number} of {run.job.template!r}, phase {run.job.phase!r}, has not passed its preflight. Materialize "
            "the preflight asset; it names what is in the way.",
            run=run.number,
        )


def _manifest(run: Run) -> UPath:
    return run.folder / "preflight" / "outcome.json"


def _object_findings(job: SyncJob, run: Run, plan: ObjectPlan) -> Iterator[tuple[dict[str, Any], bool]]:
    frame = transform(extracted(run, plan), plan)
    if not any(part.is_lookup for part in plan.match_key):
        # A key that holds a lookup compares target ids, which only remap knows: match reports it row by row. And its
        # target rows must not be read yet: loading the parent may make some (a campaign's member statuses).
        yield from _keys(run, plan, duplicate_keys(frame, plan), "match key is not unique in the source")
        there = target_rows(job, run, plan)
        yield from _keys(run, plan, duplicate_keys(there, plan, "Id"), "match key is not unique in the target")
    found = find(frame, plan)
    path = run.folder / "preflight" / f"{plan.object}.parquet"
    files.write_parquet(path, found)
    found = files.scan(path)
    refused = found.select(pl.col("_source_id").n_unique()).collect().item()
    blocks = not job.plan.settings.continue_on_error and refused > allowed_rejects(job, run, plan)
    grouped = (
        found.group_by("check", "field")
        .agg(
            pl.col("_source_id").n_unique().alias("rows"),
            pl.col("message").first(),
            pl.col("value").first().str.slice(0, 80),
            pl.col("_source_id").first().alias("sample"),
        )
        .sort("rows", "check", "field", descending=[True, False, False])
        .collect()
    )
    for row in grouped.to_dicts():
        yield {"object": plan.object, **row}, blocks


def _keys(run: Run, plan: ObjectPlan, doubled: pl.LazyFrame, what: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """Key values that several rows share: blocking, since a match on them would be a guess."""
    if not plan.match_key:
        return
    path = run.folder / "preflight" / f"{plan.object}.keys-{what.rsplit(' ', 1)[-1]}.parquet"
    count = files.write_parquet(path, doubled)
    if not count:
        return
    shown = files.scan(path).head(3).collect()
    samples = "; ".join(f"{row['key']!r} in {row['rows']} rows ({', '.join(row['ids'])})" for row in shown.to_dicts())
    yield (
        {
            "object": plan.object,
            "check": what,
            "field": " + ".join(part.target for part in plan.match_key),
            "rows": count,
            "message": f"{count} key values are shared, such as {samples}",
            "value": None,
            "sample": None,
        },
        True,
    )


def _message(job: SyncJob, run: Run, blocking: list[dict[str, Any]]) -> str:
    lines = [
        f"  {row['object']}.{row['field']}: {row['check']} ({row['rows']} rows): {row['message']}"
        for row in blocking[:SAMPLES]
    ]
    more = len(blocking) - SAMPLES
    return (
        f"Preflight of {job.plan.template!r}, phase {job.phase!r}, found problems; nothing was written to the target:\n"
        + "\n".join(lines)
        + (f"\n  … and {more} more kinds" if more > 0 else "")
        + f"\nAll rows are listed in {run.folder / 'preflight'}. Correct the data or the template (mapping, picklists, match "
        "key, exclude_fields); or let refused rows be collected with `continue_on_error: true` or a higher "
        "`rejected_rows_threshold`. Give this run up with "
        f"`isync runs abandon {job.plan.template} --phase {job.phase}` to extract anew."
    )
