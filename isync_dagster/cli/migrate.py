"""`isync migrate` and `isync validate`: the jobs of a template in this process, on the instance the UI shows."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets import keys, resources
from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.launch import phases_in_order, run_config, run_job, run_phase
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.board import Board, Failure
from isync_dagster.cli.console import Exit, quiet_console, say_json
from isync_dagster.cli.home import dagster_instance
from isync_dagster.cli.outcome import REJECTED, WORDS, closing_table, judge, read_run, say_what_is_wrong, so_far
from isync_dagster.migration.model import Summary
from isync_dagster.plan.model import Plan
from isync_dagster.report.summary import summary_to_json


def migrate(
    console: Console, template: str, phases: Sequence[str], confirm_production: str, as_json: bool = False
) -> Exit:
    """Run the phases one after the other; stops after the first that does not end well."""
    screen, console = console, quiet_console() if as_json else console
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    _require_credentials(settings, plan)
    wanted = phases_in_order(plan, phases)
    config = run_config({"confirm_production": confirm_production} if confirm_production else {}, log_level="CRITICAL")
    code = Exit.OK
    summaries: list[Summary] = []
    failures: list[Failure] = []
    with dagster_instance() as instance:
        for number, phase in enumerate(wanted):
            console.print(f"[bold]{escape(template)}[/] phase [bold]{escape(phase)}[/]")
            with Board(console, plan, phase) as board:
                run = run_phase(instance, plan, phase, config=config, on_event=board.on_event)
            summary, verdicts = read_run(settings, plan, phase)
            if run.status is not dg.DagsterRunStatus.SUCCESS:
                summary = so_far(settings, plan, phase)
            if summary is not None:
                summaries.append(summary)
            failures += board.failures
            say_what_is_wrong(console, board.failures, verdicts)
            code = judge(run.status, board.failures, verdicts)
            if code is not Exit.OK:
                left = wanted[number + 1 :]
                if left:
                    console.print(f"[yellow]Not started:[/] {', '.join(left)}")
                break
    if as_json:
        wrong = [{"step": failure.title, "message": failure.text} for failure in failures]
        told = [summary_to_json(summary) for summary in summaries]
        say_json(screen, {"exit": int(code), "ended": code.name.lower(), "failures": wrong, "phases": told})
        return code
    if summaries:
        console.print(closing_table(summaries))
    for summary in summaries:
        if summary.report_path:
            console.print(f"report of {escape(summary.phase)}: {escape(summary.report_path)}", soft_wrap=True)
    console.print(WORDS.get(code, ""), soft_wrap=True)
    return code


def validate(console: Console, template: str, phases: Sequence[str], as_json: bool = False) -> Exit:
    """Run the checks alone, over all phases or the ones named, and print what each found."""
    screen, console = console, quiet_console() if as_json else console
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    _require_credentials(settings, plan)
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
        code = Exit.FAILED
    elif any(result.check_name not in REJECTED for result in failed):
        code = Exit.VERIFICATION
    else:
        code = Exit.REJECTED if failed else Exit.OK
    if as_json:
        checks = [
            {"object": item.asset_key.path[1], "check": item.check_name, "passed": item.passed,
             "severity": item.severity.value.lower(), "found": item.description}
            for item in sorted(results, key=lambda item: (item.asset_key.path, item.check_name))
        ]  # fmt: skip
        wrong = [{"step": failure.title, "message": failure.text} for failure in steps]
        say_json(screen, {"exit": int(code), "ended": code.name.lower(), "failures": wrong, "checks": checks})
    return code


def _require_credentials(settings: Settings, plan: Plan) -> None:
    """Raise `OrgsError` at once where orgs.yaml or the environment lacks what a login needs; nothing is sent."""
    for alias in (plan.source_alias, plan.target_alias):
        resources.connect(settings.orgs, alias)


def _is_error(result: dg.AssetCheckEvaluation) -> bool:
    return result.severity is dg.AssetCheckSeverity.ERROR
