"""`isync migrate … --canary N`: the job `canary_…` on the instance of the UI, and what it showed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg
from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape

from isync_dagster.assets import keys
from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.launch import run_config, run_job
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.console import Exit, quiet_console, say_json
from isync_dagster.cli.home import dagster_instance

TOLD = ("run", "refused", "taken out", "rows", "errors", "findings", "checks")
"""What the job's metadata says of a canary; tables are Markdown."""


def canary(
    console: Console, template: str, phases: Sequence[str], rows: int, confirm_production: str, as_json: bool = False
) -> Exit:
    """Try some rows of each object in the target, say what was refused, and that all are out again."""
    screen, console = console, quiet_console() if as_json else console
    plan = load_plans(Settings.from_env(), [template])[template]
    wanted = [plan.phase(name).name for name in phases]
    name = keys.job_name("canary", template)
    options = {"confirm_production": confirm_production} if confirm_production else {}
    asked = {"rows": rows, "phases": wanted, "confirm": template}
    config = {**run_config(options, log_level="CRITICAL"), "ops": {f"{name}_rows": {"config": asked}}}
    told: dict[str, Any] = {}
    failures: list[str] = []

    def on_event(event: dg.DagsterEvent) -> None:
        if event.event_type is dg.DagsterEventType.STEP_OUTPUT:
            told.update(event.step_output_data.metadata or {})
        elif event.event_type is dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            said = data.user_failure_data.description if data.user_failure_data else None
            failures.append(said or (data.error.message if data.error else "no message"))

    with dagster_instance() as instance:
        run = run_job(instance, name, config=config, tags={keys.TEMPLATE_TAG: template}, on_event=on_event)
    for text in failures:
        console.print(f"[bold red]✗ canary[/] {escape(text.strip())}", soft_wrap=True)
    if as_json:
        told_values = {name: item.value for name, item in told.items() if name in TOLD}
        say_json(screen, {"failures": failures, **told_values})
    if run.status is not dg.DagsterRunStatus.SUCCESS:
        return Exit.FAILED
    for part in ("rows", "errors", "findings", "checks"):
        console.print(f"[bold]{part}[/]")
        console.print(Markdown(str(told[part].value)))
    refused = int(told["refused"].value)
    console.print(
        f"[green]✓[/] All that the canary wrote to {escape(plan.target_alias)} is out again (run {told['run'].value})."
    )
    if refused:
        console.print(f"[bold yellow]{refused:,} rows were refused or blocked:[/] see the errors above.")
    return Exit.REJECTED if refused else Exit.OK
