"""`isync retry`, `isync settle` and `isync abort`: what is done about a run that is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets import keys
from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.launch import run_config, run_job
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.board import Failure
from isync_dagster.cli.console import Exit
from isync_dagster.cli.home import dagster_instance
from isync_dagster.cli.outcome import WORDS, judge, read_run, runs_of, say_what_is_wrong
from isync_dagster.errors import ConfigError
from isync_dagster.migration.model import Verdict
from isync_dagster.plan.model import Plan

BY = "isync {} on the command line"


def retry(
    console: Console,
    template: str,
    phases: Sequence[str],
    objects: Sequence[str],
    codes: Sequence[str],
    extract_again: bool,
    confirm_production: str,
) -> Exit:
    """Run the job `retry_…` on the instance of the UI, and print what came of the rows."""
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    wanted = [plan.phase(name).name for name in phases]
    for name in objects:
        plan.object(name)
    name = keys.job_name("retry", template)
    asked = {
        "confirm": template,
        "phases": wanted,
        "objects": list(objects),
        "codes": [code for item in codes for code in item.split(",") if code],
        "extract_again": extract_again,
    }
    options = {"confirm_production": confirm_production} if confirm_production else {}
    config = {**run_config(options, log_level="CRITICAL"), "ops": {f"{name}_rows": {"config": asked}}}
    failures: list[Failure] = []
    told: dict[str, Any] = {}

    def on_event(event: dg.DagsterEvent) -> None:
        if event.event_type is dg.DagsterEventType.STEP_FAILURE:
            failures.append(_failure(event))
        elif event.event_type is dg.DagsterEventType.STEP_OUTPUT:
            told.update(event.step_output_data.metadata or {})

    with dagster_instance() as instance:
        run = run_job(instance, name, config=config, tags={keys.TEMPLATE_TAG: template}, on_event=on_event)
    if told and told["tried"].value:
        console.print(escape(str(told["rows"].value)))
    elif told:
        console.print("Nothing to retry: no row is refused, blocked or left for a reason that a retry could mend.")
    verdicts: list[Verdict] = []
    for phase in wanted or [phase.name for phase in plan.phases]:
        verdicts += read_run(settings, plan, phase)[1]
    say_what_is_wrong(console, failures, [] if failures else verdicts)
    code = judge(run.status, failures, [] if failures else verdicts)
    console.print(WORDS.get(code, ""), soft_wrap=True)
    _say_open(console, settings, plan, wanted)
    return code


def settle(
    console: Console,
    template: str,
    phases: Sequence[str],
    objects: Sequence[str],
    rows: Sequence[str],
    said: str,
    decisions: Path | None,
    export: Path | None,
    look: bool,
    yes: bool,
) -> Exit:
    """Look for rows of unknown outcome in the target, take a person's word on the rest, and print what is left."""
    from isync_dagster.migration.settle import as_csv, describe, read_decisions, unknown_rows
    from isync_dagster.migration.settle import settle as settle_rows

    if rows and not said:
        raise ConfigError("--row says of which row, --as says what: give both.")
    if said and decisions is not None:
        raise ConfigError("Decisions come from --as or from --decisions, not from both.")
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    bench = Workbench(settings, {template: plan})
    frames = []
    with dagster_instance():
        pass  # what dead processes left is reaped
    for phase in _with_runs(settings, plan, phases):
        job = bench.job(template, phase, opened_by=BY.format("settle"))
        named = [name for name in objects if job.in_phase(plan.object(name).object)]
        if objects and not named:
            continue
        words = read_decisions(decisions) if decisions is not None else None
        if said:
            found = unknown_rows(job, named)
            listed = [*rows] or found["source_id"].to_list()
            words = pl.DataFrame(
                {"source_id": listed, "decision": [said] * len(listed)},
                schema=dict.fromkeys(("source_id", "decision"), pl.String),
            )
            if not rows and listed and not yes:
                typer.confirm(f"Decide of all {len(listed)} rows of phase {phase}: {said}", abort=True)
        done = settle_rows(job, named, words, look=look and not said)
        if done.found or done.not_sent:
            console.print(
                f"[green]✓[/] phase {escape(phase)}, run {done.run}: {done.found:,} rows are in the target, {done.not_sent:,} "
                "are sent when the run goes on"
            )
        if done.left.height:
            frames.append(done.left)
            _show(console, phase, done.run, done.left, describe)
    if not frames:
        console.print(f"[green]✓[/] No row of unknown outcome is left: `isync migrate {escape(template)}` goes on.")
        return Exit.OK
    left = pl.concat(frames)
    if export is not None:
        as_csv(left, export)
        console.print(f"Fill in the column decision of {escape(str(export))}, then give it as --decisions.")
    console.print(
        "Say what became of each: `--row SOURCE_ID --as sent:TARGET_ID` where a candidate is it, `--as not-sent` where "
        "none is (it is sent again then).",
        soft_wrap=True,
    )
    return Exit.FAILED


def abort(console: Console, template: str, phases: Sequence[str], jobs: str, why: str) -> Exit:
    """Stop the open runs of the template (or of some phases), wherever their workers are."""
    from isync_dagster.migration.abort import abort as abort_run
    from isync_dagster.migration.abort import run_at_work

    if jobs not in ("wait", "abort"):
        raise ConfigError(f"--jobs takes wait or abort, not {jobs!r}.")
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    bench = Workbench(settings, {template: plan})
    code, stopped = Exit.OK, False
    with dagster_instance() as instance:
        wanted = [plan.phase(name).name for name in phases]
        for phase in wanted or [phase.name for phase in plan.phases]:
            if not wanted and run_at_work(runs_of(settings, plan, phase)) is None:
                continue
            _cancel_queued(console, instance, template, phase)
            job = bench.job(template, phase, opened_by=BY.format("abort"))
            said: set[str] = set()

            def waiting(who: Mapping[str, Any], said: set[str] = said) -> None:
                if who["holder"] not in said:
                    said.add(who["holder"])
                    text = f"waiting for {who['holder']} on {who['host']} to stop (Ctrl-C leaves it to it)"
                    console.print(escape(text), soft_wrap=True)

            done = abort_run(job, jobs, why, waiting)
            what = {"migrate": "Run", "retry": "The retry of run", "rollback": "The rollback of run"}[done.verb]
            console.print(f"[green]✓[/] {what} {done.run} of {escape(template)}, phase {escape(phase)}, is stopped.")
            table = Table("object", "records", header_style="dim")
            for name, states in done.states.items():
                table.add_row(
                    name, ", ".join(f"{count:,} {state}" for state, count in states.items()) or "not extracted"
                )
            console.print(table)
            for text in done.unsettled:
                code = Exit.FAILED
                console.print(f"[bold red]✗[/] {escape(text)}", soft_wrap=True)
            again = f"isync {done.verb} {template} --phase {phase}"
            undo = "" if done.verb == "rollback" else f"; undo with `isync rollback {template} --phase {phase}`"
            console.print(escape(f"Go on with `{again}`{undo}."), soft_wrap=True)
            stopped = True
    if not stopped:
        raise ConfigError(f"No phase of {template!r} has an open run: there is nothing to stop.")
    return code


def _with_runs(settings: Settings, plan: Plan, phases: Sequence[str]) -> list[str]:
    if phases:
        return [plan.phase(name).name for name in phases]
    return [phase.name for phase in plan.phases if runs_of(settings, plan, phase.name).latest() is not None]


def _show(console: Console, phase: str, run: int, left: pl.DataFrame, describe: Any) -> None:
    console.print(
        f"[bold red]{left.height:,} rows[/] of phase {escape(phase)}, run {run}, were sent and may have arrived:"
    )
    table = Table("object", "record", "sent at", "Bulk job", "what was sent", "may be", header_style="dim")
    for row in left.head(50).iter_rows(named=True):
        table.add_row(
            row["object"],
            row["source_id"],
            row["sent_at"][:19],
            row["sf_job_id"] or "",
            escape(describe(row)[:200]),
            row["candidates"] or "no record",
        )
    console.print(table)
    if left.height > 50:
        console.print(f"[dim]… and {left.height - 50:,} more: --export FILE writes all[/]")


def _cancel_queued(console: Console, instance: dg.DagsterInstance, template: str, phase: str) -> None:
    """Runs of the phase that have not started yet must not start after it was stopped."""
    waiting = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
    wanted = {keys.TEMPLATE_TAG: template, "dagster/partition": phase}
    for run in instance.get_runs(dg.RunsFilter(statuses=waiting, tags=wanted)):
        instance.report_run_canceled(run, "isync abort: the run of its phase was stopped before this one started.")
        console.print(f"[green]✓[/] The Dagster run {run.run_id}, which had not started, is cancelled.")


def _say_open(console: Console, settings: Settings, plan: Plan, phases: Sequence[str]) -> None:
    for phase in _with_runs(settings, plan, phases):
        run = runs_of(settings, plan, phase).current()
        if run is not None:
            text = f"Run {run.number} of phase {phase} is open: `isync migrate {plan.template} --phase {phase}` goes on with it."
            console.print(escape(text), soft_wrap=True)


def _failure(event: dg.DagsterEvent) -> Failure:
    data = event.step_failure_data
    said = data.user_failure_data
    kind = str(said.metadata["error"].value) if said is not None and said.metadata and "error" in said.metadata else ""
    text = (said.description if said else None) or (data.error.message if data.error else "") or "no message"
    return Failure(event.step_key or "", event.step_key or "", text.strip(), kind)
