"""`isync runs` and `isync errors`: what the store remembers of a template's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.console import quiet_console, say_json
from isync_dagster.cli.outcome import runs_of
from isync_dagster.errors import ConfigError
from isync_dagster.migration.cleanup import cleaned_kinds, missing_of
from isync_dagster.migration.model import Summary
from isync_dagster.report.summary import summary_from_json
from isync_dagster.store.runs import Run


def show(console: Console, template: str, phases: Sequence[str], as_json: bool = False) -> None:
    """Print every run of the template, oldest first."""
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    table = Table(
        "phase", "run", "state", "opened", "by", "extracted", "in the target", "refused", "kept", header_style="dim"
    )
    told: list[dict[str, Any]] = []
    for phase in [plan.phase(name).name for name in phases] or [phase.name for phase in plan.phases]:
        runs = runs_of(settings, plan, phase)
        held = runs.hold
        for run in runs.list():
            closed = run.summary()
            summary = summary_from_json(closed) if closed else None
            counts = ("", "", "") if summary is None else _counts(summary)
            opened = f"{run.opened_at:%Y-%m-%d %H:%M}"
            told.append({"phase": phase, "run": run.number, "state": str(run.state), "opened": run.opened_at,
                         "by": run.opened_by, "kept": _kept(run, held), "summary": closed})  # fmt: skip
            table.add_row(
                phase, str(run.number), run.state, opened, escape(run.opened_by), *counts, escape(_kept(run, held))
            )
    if as_json:
        say_json(console, told)
        return
    if not table.row_count:
        console.print(f"No run of {escape(template)} yet: `isync migrate {escape(template)}`.")
        return
    console.print(table)


def _kept(run: Run, held: Mapping[str, Any] | None) -> str:
    """What cleanup has removed of the run, or why it must not."""
    hold = run.hold or held
    cleaned = ", ".join(cleaned_kinds(run))
    return f"held: {hold['why']}" if hold is not None else f"without {cleaned}" if cleaned else ""


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


def errors(
    console: Console,
    template: str,
    phases: Sequence[str],
    top: int,
    number: int | None = None,
    objects: Sequence[str] = (),
    code: str = "",
    export: Path | None = None,
    as_json: bool = False,
) -> None:
    """Print the rows that did not get through, grouped by what Salesforce said; with `export` write all of them."""
    from isync_dagster.migration.refusals import refusals

    screen, console = console, quiet_console() if as_json else console
    told: list[dict[str, Any]] = []
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    wanted = [plan.object(name).object for name in objects]
    shown = False
    seen = False
    for phase in [plan.phase(name).name for name in phases] or [phase.name for phase in plan.phases]:
        runs = runs_of(settings, plan, phase)
        run = runs.latest() if number is None else runs.get(number)
        if run is None:
            continue
        seen = True
        for text in missing_of(run):
            console.print(f"[yellow]missing:[/] {escape(text)}", soft_wrap=True)
        names = [item.object for item in plan.objects_in(phase) if not wanted or item.object in wanted]
        for found in refusals(run, names, code):
            groups = found.groups()
            if not groups:
                continue
            shown = True
            told += [{"phase": phase, "run": run.number, "object": found.object, **group} for group in groups]
            _print_groups(console, run, found.object, groups, top)
            written = found.export(export, datetime.now(UTC)) if export is not None else None
            if written is not None:
                console.print(f"{written[1]:,} rows written to {escape(str(written[0]))}", soft_wrap=True)
    if number is not None and not seen:
        raise ConfigError(
            f"{template!r} has no run {number} in {', '.join(phases) or 'any phase'}: `isync runs {template}`."
        )
    if as_json:
        say_json(screen, told)
    elif not shown:
        console.print("[green]✓[/] No refused rows.")


def _print_groups(console: Console, run: Run, object: str, groups: Sequence[Mapping[str, Any]], top: int) -> None:
    refused = sum(int(group.get("rows") or 0) for group in groups)
    console.print(
        f"[bold]{escape(object)}[/] phase {escape(run.job.phase)}, run {run.number} ({run.state}): {refused:,} rows"
    )
    table = Table("rows", "state", "code", "message", "fields", "example", "what to do", header_style="dim")
    for group in groups[:top]:
        texts = (
            escape(str(group.get(key) or "")) for key in ("state", "code", "message", "fields", "sample", "advice")
        )
        table.add_row(f"{int(group.get('rows') or 0):,}", *texts)
    console.print(table)
    if len(groups) > top:
        console.print(f"[dim]… and {len(groups) - top} more groups: --top {len(groups)}[/]")
