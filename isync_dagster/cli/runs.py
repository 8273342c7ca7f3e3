"""`isync runs` and `isync errors`: what the store remembers of a template's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.outcome import runs_of
from isync_dagster.errors import ConfigError
from isync_dagster.migration.model import Summary
from isync_dagster.report.summary import summary_from_json
from isync_dagster.store.runs import Run


def show(console: Console, template: str, phases: Sequence[str]) -> None:
    """Print every run of the template, oldest first."""
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    table = Table("phase", "run", "state", "opened", "by", "extracted", "in the target", "refused", header_style="dim")
    for phase in [plan.phase(name).name for name in phases] or [phase.name for phase in plan.phases]:
        for run in runs_of(settings, plan, phase).list():
            closed = run.summary()
            summary = summary_from_json(closed) if closed else None
            counts = ("", "", "") if summary is None else _counts(summary)
            opened = f"{run.opened_at:%Y-%m-%d %H:%M}"
            table.add_row(phase, str(run.number), run.state, opened, escape(run.opened_by), *counts)
    if not table.row_count:
        console.print(f"No run of {escape(template)} yet: `isync migrate {escape(template)}`.")
        return
    console.print(table)


def _counts(summary: Summary) -> tuple[str, str, str]:
    def of(*states: str) -> str:
        return f"{sum(row.states.get(state, 0) for row in summary.objects for state in states):,}"

    extracted = f"{sum(row.extracted for row in summary.objects):,}"
    return extracted, of("inserted", "updated", "identical", "existing"), of("failed", "blocked")


def abandon(console: Console, template: str, phase: str, why: str, yes: bool) -> None:
    """Give up the open run of a phase, after asking."""
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    run = runs_of(settings, plan, plan.phase(phase).name).current()
    if run is None:
        raise ConfigError(f"Phase {phase!r} of {template!r} has no open run: there is nothing to give up.")
    if not yes:
        typer.confirm(
            f"Give up run {run.number} of {template}, phase {phase} (opened {run.opened_at:%Y-%m-%d %H:%M})? What it "
            "loaded stays in the target and in the id map",
            abort=True,
        )
    run.abandon(why, by="isync runs abandon")
    console.print(f"[green]✓[/] Run {run.number} is abandoned; the next materialization opens a new one.")


def errors(console: Console, template: str, phases: Sequence[str], top: int) -> None:
    """Print the refused rows of the newest runs, grouped by what Salesforce said."""
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    shown = False
    for phase in [plan.phase(name).name for name in phases] or [phase.name for phase in plan.phases]:
        run = runs_of(settings, plan, phase).latest()
        if run is None:
            continue
        for item in plan.objects_in(phase):
            groups = _groups(run, item.object)
            if not groups:
                continue
            shown = True
            refused = sum(int(group.get("rows") or 0) for group in groups)
            console.print(
                f"[bold]{escape(item.object)}[/] phase {escape(phase)}, run {run.number} ({run.state}): {refused:,} rows"
            )
            table = Table("rows", "code", "message", "fields", "example", "what to do", header_style="dim")
            for group in groups[:top]:
                texts = (escape(str(group.get(key) or "")) for key in ("code", "message", "fields", "sample", "advice"))
                table.add_row(f"{int(group.get('rows') or 0):,}", *texts)
            console.print(table)
            if len(groups) > top:
                console.print(f"[dim]… and {len(groups) - top} more groups: --top {len(groups)}[/]")
    if not shown:
        console.print("[green]✓[/] No refused rows.")


def _groups(run: Run, object: str) -> Sequence[Mapping[str, Any]]:
    """The refused rows of an object by code, message and fields, from the audit log: also while the run is open."""
    from isync_dagster.migration.load import errors_of

    return errors_of(run.audit(object).latest())
