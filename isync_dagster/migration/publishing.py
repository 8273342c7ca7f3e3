"""A run's summary completed for the people who read it, and published: HTML, Markdown, and its refused rows as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from isync_dagster.errors import OrgError
from isync_dagster.migration.model import Summary, SyncJob, Verdict
from isync_dagster.migration.names import named
from isync_dagster.migration.refusals import refusals
from isync_dagster.migration.story import happened, used_by
from isync_dagster.report.render import write_report
from isync_dagster.store import files
from isync_dagster.store.runs import Run
from isync_dagster.store.scratch import scratch

PAIRS = 20
"""Spot-checked lookups that a report shows by name."""
LINKS = ("relationships", "relinked")


def publish(job: SyncJob, run: Run, summary: Summary) -> Summary:
    """Write report and CSV of a run whose orgs can be asked; the summary as it was written, with the report's path."""
    return write(run, replace(summary, spot_checks=_spot_checks(job, summary)))


def publish_again(run: Run, summary: Summary) -> Summary:
    """The same from the store alone: what was judged, retried or rolled back since is in it. Asks no org."""
    verdicts = [Verdict.from_json(data) for data in run.verdicts()]
    objects = tuple(
        replace(row, verdicts=tuple(verdict for verdict in verdicts if verdict.object == row.object) or row.verdicts)
        for row in summary.objects
    )
    shown = [
        {**row, "object": verdict.object}
        for verdict in verdicts
        for row in (verdict.table if verdict.name in LINKS else ())
        if "record" in row
    ]
    return write(
        run,
        replace(
            summary,
            state=str(run.state),
            objects=objects,
            spot_checks=tuple(shown[:PAIRS]) or summary.spot_checks,
        ),
    )


def write(run: Run, summary: Summary) -> Summary:
    """Write report and CSV with the run's history up to now."""
    names = [row.object for row in summary.objects]
    summary = replace(
        summary,
        opened_at=run.opened_at.isoformat(timespec="seconds"),
        opened_by=run.opened_by,
        used=used_by(run),
        history=happened(run, names),
        error_files=tuple(_errors(run, names)),
    )
    return replace(summary, report_path=str(write_report(summary, run.report_folder)))


def _errors(run: Run, names: list[str]) -> Iterator[str]:
    """`errors_<Object>_<time>.csv` beside the report for every object with refused rows; those of before are removed."""
    for name in files.names(run.report_folder):
        if name.startswith("errors_"):
            files.remove(run.report_folder / name)
    with scratch() as place:
        for found in refusals(run, names):
            written = found.export(place, datetime.now(UTC))
            if written is not None:
                path, _ = written
                files.write_bytes(run.report_folder / path.name, path.read_bytes())
                yield path.name


def _spot_checks(job: SyncJob, summary: Summary) -> tuple[dict[str, Any], ...]:
    """One lookup of each field of each object, at most PAIRS, with the names that both orgs have for it now."""
    rows: list[dict[str, Any]] = []
    for item in summary.objects:
        seen: set[str] = set()
        for verdict in item.verdicts:
            for row in verdict.table if verdict.name in LINKS else ():
                if {"field", "source", "parent", "target", "found"} <= set(row) and row["field"] not in seen:
                    seen.add(str(row["field"]))
                    rows.append({"object": item.object, **row})
    chosen = rows[:: max(1, -(-len(rows) // PAIRS))]
    try:
        return tuple(
            {**dict(pair), "object": row["object"]}
            for row, pair in zip(chosen, named(chosen, job.source, job.target), strict=True)
        )
    except OrgError:
        # The run is over: that an org gives no names must not keep it open. Its ids are shown.
        return tuple(
            {
                **row,
                "record": row["source"],
                "parent in the source": row["parent"],
                "parent in the target": row["found"],
            }
            for row in chosen
        )
