"""`isync migrate` and `isync validate`: the jobs of a template in this process, on the instance the UI shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets import keys
from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.launch import phases_in_order, run_config, run_job, run_phase
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.board import Board, Failure
from isync_dagster.cli.console import Exit
from isync_dagster.cli.home import dagster_instance
from isync_dagster.migration.model import State, Summary, Verdict
from isync_dagster.plan.model import Plan
from isync_dagster.report.summary import summary_from_json

REJECTED = ("rejected_rows",)

COLUMNS = (
    State.INSERTED,
    State.UPDATED,
    State.IDENTICAL,
    State.EXISTING,
    State.SKIPPED,
    State.FAILED,
    State.BLOCKED,
    State.DROPPED,
)
"""The states every table shows; the others only where a record is in them."""


def migrate(console: Console, template: str, phases: Sequence[str], confirm_production: str) -> Exit:
    """Run the phases one after the other; stops after the first that does not end well."""
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    wanted = phases_in_order(plan, phases)
    config = run_config({"confirm_production": confirm_production} if confirm_production else {}, log_level="CRITICAL")
    code = Exit.OK
    with dagster_instance() as instance:
        for number, phase in enumerate(wanted):
            console.print(f"[bold]{escape(template)}[/] phase [bold]{escape(phase)}[/]")
            code = _run(console, instance, settings, plan, phase, config)
            if code is not Exit.OK:
                left = wanted[number + 1 :]
                if left:
                    console.print(f"[yellow]Not started:[/] {', '.join(left)}")
                break
    return code


def _run(
    console: Console,
    instance: dg.DagsterInstance,
    settings: Settings,
    plan: Plan,
    phase: str,
    config: Mapping[str, Any],
) -> Exit:
    with Board(console, plan, phase) as board:
        run = run_phase(instance, plan.template, phase, config=config, on_event=board.on_event)
    summary, verdicts = read_run(settings, plan, phase)
    if summary is not None and run.status is dg.DagsterRunStatus.SUCCESS:
        console.print(closing_table(summary))
        if summary.report_path:
            console.print(f"report: {escape(summary.report_path)}", soft_wrap=True)
    code = judge(run.status, board.failures, verdicts)
    _say(console, board.failures, verdicts, code)
    return code


def judge(status: dg.DagsterRunStatus, failures: Iterable[Failure], verdicts: Iterable[Verdict]) -> Exit:
    """The exit status of a run: a failed step before a failed check, a check of the target before refused rows."""
    failed = [verdict for verdict in verdicts if not verdict.passed and verdict.severity == "error"]
    steps = [failure for failure in failures if not failure.is_check]
    if any(failure.kind != "RejectedRowsError" for failure in steps):
        return Exit.FAILED
    if any(verdict.name not in REJECTED for verdict in failed):
        return Exit.VERIFICATION
    if steps or failed:
        return Exit.REJECTED
    return Exit.OK if status is dg.DagsterRunStatus.SUCCESS else Exit.FAILED


def _say(console: Console, failures: Iterable[Failure], verdicts: Iterable[Verdict], code: Exit) -> None:
    for failure in failures:
        if not failure.is_check:
            console.print(f"[bold red]✗ {escape(failure.title)}[/] {escape(failure.text)}", soft_wrap=True)
    for verdict in verdicts:
        if not verdict.passed:
            color = "red" if verdict.severity == "error" else "yellow"
            where = f"{verdict.object} {verdict.name}"
            console.print(f"[bold {color}]✗ {escape(where)}[/] {escape(verdict.text)}", soft_wrap=True)
    words = {
        Exit.OK: "[bold green]Every record is accounted for, every migrated lookup verified.[/]",
        Exit.FAILED: "[bold red]The run did not finish.[/] Run it again once the cause is fixed: it resumes.",
        Exit.REJECTED: "[bold yellow]More rows were refused or blocked than the template allows:[/] `isync errors`.",
        Exit.VERIFICATION: "[bold red]A check did not hold.[/] See the report and the checks in the UI.",
    }
    console.print(words.get(code, ""), soft_wrap=True)


def read_run(settings: Settings, plan: Plan, phase: str) -> tuple[Summary | None, list[Verdict]]:
    """The summary (None while the run is open) and the verdicts of the newest run of a phase."""
    run = runs_of(settings, plan, phase).latest()
    if run is None:
        return None, []
    found = run.summary()
    verdicts = [Verdict.from_json(verdict) for verdict in run.verdicts()]
    return (summary_from_json(found) if found else None), verdicts


def runs_of(settings: Settings, plan: Plan, phase: str) -> Any:
    """The runs of one phase in the store."""
    from isync_dagster.store.runs import JobKey
    from isync_dagster.store.store import Store

    key = JobKey(plan.source_org_id, plan.target_org_id, plan.template, phase)
    return Store.open(settings.store).runs(key)


def closing_table(summary: Summary) -> Table:
    """What became of every record: one line an object and the sum."""
    others = [
        state for state in State if state not in COLUMNS and any(row.states.get(state) for row in summary.objects)
    ]
    states = [*COLUMNS, *others]
    table = Table(header_style="dim", title_justify="left", show_footer=True, pad_edge=False)
    table.add_column("object", "sum")
    table.add_column("extracted", f"{sum(row.extracted for row in summary.objects):,}", justify="right")
    for state in states:
        total = sum(row.states.get(state, 0) for row in summary.objects)
        table.add_column(state.value, f"{total:,}" if total else "·", justify="right")
    verified = sum(row.lookups_verified for row in summary.objects)
    table.add_column("lookups verified", f"{verified:,}", justify="right")
    for row in summary.objects:
        counts = [row.states.get(state, 0) for state in states]
        lookups = f"{row.lookups_verified:,}" + (f" [red]{row.lookups_wrong:,} wrong[/]" if row.lookups_wrong else "")
        table.add_row(
            row.object,
            f"{row.extracted:,}",
            *(_count(count, state) for count, state in zip(counts, states, strict=True)),
            lookups,
        )
    return table


def _count(count: int, state: State) -> str:
    if not count:
        return "[dim]·[/]"
    bad = state in (State.FAILED, State.BLOCKED, State.UNKNOWN, State.PENDING)
    return f"[red]{count:,}[/]" if bad else f"{count:,}"


def validate(console: Console, template: str, phases: Sequence[str]) -> Exit:
    """Run the checks alone, over all phases or the ones named, and print what each found."""
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    wanted = [plan.phase(name).name for name in phases]
    config = run_config({}, log_level="CRITICAL")
    results: list[dg.AssetCheckEvaluation] = []
    with dagster_instance() as instance, Board(console, plan, "validate") as board:

        def on_event(event: dg.DagsterEvent) -> None:
            board.on_event(event)
            if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                results.append(event.asset_check_evaluation_data)

        tags = {keys.PHASES_TAG: ",".join(wanted)} if wanted else {}
        run = run_job(
            instance,
            keys.job_name("validate", template),
            config=config,
            tags={keys.TEMPLATE_TAG: template, **tags},
            on_event=on_event,
        )
    table = Table("object", "check", "result", "found", header_style="dim")
    for result in sorted(results, key=lambda item: (item.asset_key.path, item.check_name)):
        sign = "[green]passed[/]" if result.passed else "[red]failed[/]" if _is_error(result) else "[yellow]warning[/]"
        table.add_row(result.asset_key.path[1], result.check_name, sign, escape(result.description or ""))
    console.print(table)
    failed = [result for result in results if not result.passed and _is_error(result)]
    steps = [failure for failure in board.failures if not failure.is_check]
    for failure in steps:
        console.print(f"[bold red]✗ {escape(failure.title)}[/] {escape(failure.text)}", soft_wrap=True)
    if steps or (run.status is not dg.DagsterRunStatus.SUCCESS and not failed):
        return Exit.FAILED
    if any(result.check_name not in REJECTED for result in failed):
        return Exit.VERIFICATION
    return Exit.REJECTED if failed else Exit.OK


def _is_error(result: dg.AssetCheckEvaluation) -> bool:
    return result.severity is dg.AssetCheckSeverity.ERROR
