"""Preflight: one gate a phase, between all extracts and the first row that is written.

It runs the transform lazily over the extracts and finds what can be known without references: match keys
that are not unique in the source or the target, and values that the target would refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.errors import PreflightError
from isync_dagster.migration.carried import look_at_left, note_inputs, same_rows
from isync_dagster.migration.drift import check_drift
from isync_dagster.migration.extract import extracted
from isync_dagster.migration.left import is_left
from isync_dagster.migration.lookup_filters import KIND, Judged, judged_filters
from isync_dagster.migration.model import Outcome, SyncJob
from isync_dagster.migration.outcomes import Measure, kept, measured
from isync_dagster.migration.preflight_orgs import (
    access_of,
    duplicate_rules_of,
    finding,
    known_of,
    limits_of,
)
from isync_dagster.migration.references import resolve_references, standard_price_book
from isync_dagster.migration.runs import current_run, guard_orgs
from isync_dagster.migration.stopping import guarded
from isync_dagster.migration.target import described, read_target, target_rows
from isync_dagster.migration.threshold import allowed_rejects
from isync_dagster.migration.writing import claimed, hold_target
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.findings import find
from isync_dagster.records.match import duplicate_keys, sharing_keys
from isync_dagster.records.transform import transform
from isync_dagster.store import files
from isync_dagster.store.runs import Run
from isync_dagster.template.models import PreflightDecision

SAMPLES = 20


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
    resolve_references(job, run)
    if any(plan.object == "Pricebook2" for plan in job.plan.objects_in(job.phase)):
        standard_price_book(job, run)
    plans = job.plan.objects_in(job.phase)
    rows = {plan.object: extracted(run, plan).select(pl.len()).collect().item() for plan in plans}
    table: list[dict[str, Any]] = list(_caps(job, rows))
    blocking = list(table)
    notes: list[str] = []
    for plan in plans:
        check_drift(job, plan, "target")
    note_inputs(job, run)
    look_at_left(job, run, plans)
    # Where the match key holds no lookup (see `_object_findings`).
    early = (plan for plan in plans if not any(part.is_lookup for part in plan.match_key))
    read_target(job, run, [plan for plan in early if not is_left(run, plan)])
    for plan in plans:
        for row, blocks in _object_findings(job, run, plan, rows[plan.object], notes):
            table.append(row)
            if blocks:
                blocking.append(row)
    for row in (*duplicate_rules_of(job, rows), *limits_of(job, rows)):
        row = _decided(job, row)
        if row["severity"] != "off":
            table.append(row)
        if row["severity"] == "error":
            blocking.append(row)
    notes += [_said(item) for item in job.plan.settings.preflight]
    numbers = {
        "findings": sum(row["rows"] for row in table if row["severity"] == "error"),
        "warnings": sum(row["rows"] for row in table if row["severity"] == "warn"),
        "blocking": sum(row["rows"] for row in blocking),
    }
    outcome = Outcome(
        "",
        "preflight",
        run.number,
        rows=sum(rows.values()),
        numbers=numbers,
        calls=measure.calls,
        seconds=measure.seconds,
        errors=tuple(table),
        notes=(*(() if table else ("nothing found",)), *dict.fromkeys(notes)),
    )
    files.write_json(_manifest(run), {**outcome.to_json(), "passed": not blocking})
    kept(run, outcome)
    if blocking:
        raise PreflightError(_message(job, run, blocking), findings=len(blocking), table=table, notes=outcome.notes)
    return outcome


def _caps(job: SyncJob, rows: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    cap, total = job.plan.settings.caps.rows, sum(rows.values())
    if cap is not None and total > cap:
        text = f"phase {job.phase!r} has {total:,} rows, the template's caps allow {cap:,}"
        yield finding("cap", "", total, text, "rows")


def _decided(job: SyncJob, row: dict[str, Any]) -> dict[str, Any]:
    """A finding on an object or the org as the template's decisions count it."""
    for item in job.plan.settings.preflight:
        if (
            item.check == row["kind"]
            and item.object in (None, row["object"])
            and (not item.fields or row["field"] in item.fields)
        ):
            row = {**row, "severity": str(item.severity)}
    return row


def _said(item: PreflightDecision) -> str:
    where = ".".join(part for part in (item.object or "", ", ".join(item.fields)) if part) or "all objects"
    return f"decision: {item.check} of {where} counts as {item.severity}: {item.why}"


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


def _object_findings(
    job: SyncJob, run: Run, plan: ObjectPlan, rows: int, notes: list[str]
) -> Iterator[tuple[dict[str, Any], bool]]:
    for row in access_of(job, plan, rows):
        row = _decided(job, row)
        if row["severity"] != "off":
            yield row, row["severity"] == "error"
    base = _same(job, run, plan)
    if base is None:
        unjudged: list[str] = []
        rows_found = list(_judged(job, run, plan, unjudged))
        kept: dict[str, Any] = {
            "rows": [{"row": row, "blocks": blocks} for row, blocks in rows_found],
            "notes": unjudged,
        }
    else:
        for name in files.find(base.folder / "preflight"):
            of_it = name.rsplit("/", 1)[-1].partition(".")[0] == plan.object
            if of_it and name.endswith(".parquet") and not name.startswith(("filters/", "taken/")):
                files.copy(base.folder / "preflight" / name, run.folder / "preflight" / name)
        kept = files.read_json(_found(base, plan)) or {}
    files.write_json(_found(run, plan), kept)
    notes += kept["notes"]
    yield from ((item["row"], item["blocks"]) for item in kept["rows"])


def _found(run: Run, plan: ObjectPlan) -> UPath:
    """What was found in the rows of an object, counted; written when all of it is, for the run that comes after."""
    return run.folder / "preflight" / f"{plan.object}.json"


def _same(job: SyncJob, run: Run, plan: ObjectPlan) -> Run | None:
    """The run before, where it looked at the same rows of the object by the same rules: what it found holds."""
    there = described(job, plan.target_object)
    fields = (there.field(lookup.target.name) for lookup in plan.lookups)
    if any(field is not None and field.filtered_lookup_info for field in fields):
        # Such a filter looks at values of other records.
        return None
    base, _ = same_rows(job, run, plan)
    if base is None or not files.exists(_found(base, plan)):
        return None
    # What closes the gate may have been set anew while the run is open.
    return base if base.plan()["settings"] == job.plan.settings.model_dump(mode="json") else None


def _judged(job: SyncJob, run: Run, plan: ObjectPlan, notes: list[str]) -> Iterator[tuple[dict[str, Any], bool]]:
    """The findings in the rows of an object, by kind, with whether they close the gate."""
    frame = transform(extracted(run, plan), plan)
    if not any(part.is_lookup for part in plan.match_key):
        # A key that holds a lookup compares target ids, which only remap knows: match reports it row by row. And its
        # target rows must not be read yet: loading the parent may make some (a campaign's member statuses).
        yield from _keys(run, plan, frame, "match key is not unique in the source")
        yield from _keys(run, plan, target_rows(job, run, plan), "match key is not unique in the target", "Id")
    filters = list(judged_filters(job, run, plan, frame))
    for row in _open_filters(plan, filters):
        row = _decided(job, row)
        if row["severity"] != "off":
            yield row, row["severity"] == "error"
    known, unjudged = known_of(job, run, plan, frame)
    notes += unjudged
    refused = tuple((KIND, item.field, item.refused, item.message) for item in filters if len(item.refused))
    known = replace(known, rows=(*known.rows, *refused))
    path = run.folder / "preflight" / f"{plan.object}.parquet"
    files.write_parquet(path, find(frame, plan, known))
    found = files.scan(path)
    errors = found.filter(pl.col("severity") == "error")
    wrong = errors.select(pl.col("_source_id").n_unique()).collect().item()
    blocks = not job.plan.settings.continue_on_error and wrong > allowed_rejects(job, run, plan)
    grouped = (
        found.group_by("check", "severity", "field")
        .agg(
            pl.col("_source_id").n_unique().alias("rows"),
            pl.col("message").first(),
            pl.col("value").first().str.slice(0, 80),
            pl.col("_source_id").first().alias("sample"),
        )
        .sort("rows", "check", "field", descending=[True, False, False])
        .collect()
    )
    for kind in grouped["check"].unique(maintain_order=True):
        one = run.folder / "preflight" / kind / f"{plan.object}.parquet"
        files.write_parquet(one, found.filter(pl.col("check") == kind))
    for row in grouped.to_dicts():
        yield {"object": plan.object, "kind": row["check"], **row}, blocks and row["severity"] == "error"


def _open_filters(plan: ObjectPlan, filters: Iterable[Judged]) -> Iterator[dict[str, Any]]:
    """A warning a lookup whose filter does not show of all rows whether they pass."""
    for item in filters:
        if item.open:
            text = f"not judged by the lookup's filter: {'; '.join(item.reasons)}"
            yield finding(KIND, plan.object, item.open, text, item.field, severity="warn")


def _keys(
    run: Run, plan: ObjectPlan, frame: pl.LazyFrame, what: str, id_column: str = "_source_id"
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Key values that several rows share: blocking, since a match on them would be a guess.

    All rows are listed in `match_key/<Object>.<source or target>.parquet`, like any other finding; of the target's rows
    `_source_id` has the target's id.
    """
    if not plan.match_key:
        return
    side = what.rsplit(" ", 1)[-1]
    path = run.folder / "preflight" / f"{plan.object}.keys-{side}.parquet"
    count = files.write_parquet(path, duplicate_keys(frame, plan, id_column))
    if not count:
        return
    shown = files.scan(path).head(3).collect()
    samples = "; ".join(f"{row['key']!r} in {row['rows']} rows ({', '.join(row['ids'])})" for row in shown.to_dicts())
    name = " + ".join(part.target for part in plan.match_key)
    listed = sharing_keys(frame, plan, id_column).select(
        check=pl.lit("match_key"), severity=pl.lit("error"), field=pl.lit(name), _source_id="_id", value="key",
        message=pl.lit(what),
    )  # fmt: skip
    files.write_parquet(run.folder / "preflight" / "match_key" / f"{plan.object}.{side}.parquet", listed)
    yield (
        {
            "object": plan.object,
            "check": what,
            "kind": "match_key",
            "severity": "error",
            "field": name,
            "rows": count,
            "message": f"{count} key values are shared, such as {samples}",
            "value": None,
            "sample": None,
        },
        True,
    )


def _message(job: SyncJob, run: Run, blocking: list[dict[str, Any]]) -> str:
    lines = [
        f"  {'.'.join(part for part in (row['object'], row['field']) if part) or 'target'}: {row['check']} ({row['rows']} rows): "
        f"{row['message']}"
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
