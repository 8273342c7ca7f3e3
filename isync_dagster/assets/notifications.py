"""Sensors that tell people how a migration ended; off until somebody switches them on."""

# No `from __future__ import annotations`: Dagster reads the annotations of sensor functions at run time.

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from isync_dagster.assets import keys
from isync_dagster.assets.notify import TO, WEBHOOK, Channels
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.work import boundary

if TYPE_CHECKING:
    from isync_dagster.migration.model import Summary

HOW = f"Posts to {WEBHOOK} (Slack, Teams, any webhook) and mails to {TO}; off until it is switched on."
LONGEST = 1_500
"""Characters of an error that a message quotes."""


def notification_sensors() -> list[dg.SensorDefinition]:
    """`notify_success` and `notify_failure`, for the runs of every template."""

    @dg.run_status_sensor(
        name="notify_success",
        run_status=dg.DagsterRunStatus.SUCCESS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Tells people of every migration that ran to its end, with its verdict and report. {HOW}",
    )
    def succeeded(
        context: dg.RunStatusSensorContext, workbench: dg.ResourceParam[Workbench]
    ) -> Iterator[dg.SkipReason]:
        yield _tell(context.dagster_run, workbench, "")

    @dg.run_failure_sensor(
        name="notify_failure",
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Tells people of every migration that failed, with the reason and what to do. {HOW}",
    )
    def failed(context: dg.RunFailureSensorContext, workbench: dg.ResourceParam[Workbench]) -> Iterator[dg.SkipReason]:
        yield _tell(context.dagster_run, workbench, context.failure_event.message or "It failed.")

    return [succeeded, failed]


def _tell(run: dg.DagsterRun, workbench: Workbench, failure: str) -> dg.SkipReason:
    template, phase = run.tags.get(keys.TEMPLATE_TAG), run.tags.get("dagster/partition")
    if template not in workbench.plans or phase is None:
        return dg.SkipReason(f"{run.job_name} migrates no phase of a template: nobody is told.")
    with boundary():
        channels = Channels.from_env()
        if not channels.any:
            return dg.SkipReason(f"Nobody to tell: set {WEBHOOK}, or {TO} with a mail server.")
        subject, text = message(workbench, str(template), phase, failure)
        done = channels.send(subject, text)
    return dg.SkipReason(f"Told by {' and '.join(done)}: {subject}")


def message(workbench: Workbench, template: str, phase: str, failure: str) -> tuple[str, str]:
    """Subject and text: the verdict, what became of the records, where the report is; for a failure the reason."""
    from isync_dagster.report.summary import summary_from_json
    from isync_dagster.store.layout import JobKey

    plan = workbench.plan(template)
    run = workbench.store.runs(JobKey(plan.source_org_id, plan.target_org_id, template, phase)).latest()
    name = f"{template} · {phase}{f' · run {run.number}' if run is not None else ''}"
    if failure:
        text = f"{plan.source_alias} → {plan.target_alias}\n{failure.strip()[:LONGEST]}\n"
        todo = f"Once the cause is fixed, `isync migrate {template} --phase {phase}` goes on where it stopped."
        return f"✗ {name} failed", text + todo
    closed = run.summary() if run is not None else None
    if closed is None:
        return f"✓ {name}: the steps ended well; the run is open", f"{plan.source_alias} → {plan.target_alias}"
    return _verdict(name, summary_from_json(closed))


def _verdict(name: str, summary: "Summary") -> tuple[str, str]:
    from isync_dagster.report.render import Page

    page = Page(summary)
    states: dict[str, Any] = {str(state): page.total(state) for state in page.states}
    lines = [
        page.headline,
        f"{summary.source} → {summary.target}",
        f"{page.extracted:,} records: " + ", ".join(f"{count:,} {state}" for state, count in states.items() if count),
        f"{page.verified:,} lookups verified, {page.wrong:,} wrong.",
    ]
    lines += [
        f"✗ {verdict.object} {page.check_name(verdict.name)}: {verdict.text[:300]}" for verdict in page.failed[:5]
    ]
    if summary.report_path:
        lines.append(f"Report: {summary.report_path}")
    return f"{'✓' if summary.kept else '✗'} {name} is through", "\n".join(lines)
