"""`isync scan` and `isync forecast`: what a migration would do and take, before it is started."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets import keys
from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.launch import run_job
from isync_dagster.assets.resources import connect
from isync_dagster.assets.scan import (
    SCAN,
    change_rows,
    duration,
    forecast_rows,
    missing_rows,
    object_rows,
    scan_config,
)
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.board import Board
from isync_dagster.cli.console import Exit, quiet_console
from isync_dagster.cli.home import dagster_instance
from isync_dagster.cli.outcome import say_what_is_wrong
from isync_dagster.errors import ConfigError
from isync_dagster.plan.model import Plan
from isync_dagster.store.scans import Scan
from isync_dagster.store.store import Store


def scan(console: Console, template: str, phases: Sequence[str], samples: int, as_json: bool) -> Exit:
    """Run the scan job and print what it found.

    Ends with VERIFICATION where a run would be stopped by its gate or a missing parent, REJECTED where rows would be
    blocked beyond what the template allows, CONFIGURATION where an org has not enough left.
    """
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    for alias in (plan.source_alias, plan.target_alias):
        connect(settings.orgs, alias)
    named = [plan.phase(name).name for name in phases]
    config = {**scan_config(plan, named, samples), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    before = _newest(settings, plan)
    shown = quiet_console() if as_json else console
    with dagster_instance() as instance, Board(shown, plan, SCAN) as board:
        run = run_job(
            instance,
            keys.job_name(SCAN, template),
            config=config,
            tags={keys.TEMPLATE_TAG: template},
            on_event=board.on_event,
        )
    made = _newest(settings, plan)
    if run.status is not dg.DagsterRunStatus.SUCCESS or made is None or (before and before.number == made.number):
        say_what_is_wrong(shown, board.failures, [])
        said = [failure.text for failure in board.failures]
        if not said:
            said = [
                f"Run {run.run_id} of the scan ended as {run.status.value} and left no scan in {settings.store}. Look at "
                "the run in Dagster's UI, and whether the store of the code location is this one (ISYNC_STORE)."
            ]
            shown.print(f"[bold red]✗[/] {escape(said[0])}", soft_wrap=True)
        if as_json:
            console.out(json.dumps({"error": said}, indent=1), highlight=False)
        return Exit.FAILED
    found = made.found or {}
    if as_json:
        console.out(json.dumps(found, indent=1, ensure_ascii=False), highlight=False)
    else:
        _show(console, found, made)
    return verdict(found, plan)


def forecast(console: Console, template: str, as_json: bool) -> Exit:
    """Forecast from the newest scan with what is known and left now, and how right earlier forecasts were."""
    from isync_dagster.migration import forecast as verbs

    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    made = _newest(settings, plan)
    found = made.found if made is not None else None
    if made is None or found is None:
        raise ConfigError(f"Template {template!r} was not scanned between these orgs: `isync scan {template}` first.")
    limits: dict[str, Any] = {}
    for side, alias in (("source", plan.source_alias), ("target", plan.target_alias)):
        with connect(settings.orgs, alias) as org:
            limits[side] = org.limits()
    store = Store.open(settings.store)
    told = {
        "scan": found["scan"],
        "at": found["at"],
        "same_plan": found["plan_hash"] == plan.hash,
        **verbs.forecast(store, plan, found["phases"], limits),
        "past": [{**row, "at": row["at"].isoformat()} for row in verbs.past_errors(store, plan)],
    }
    if as_json:
        console.out(json.dumps(told, indent=1), highlight=False)
    else:
        console.print(f"from scan {told['scan']} of {told['at']}")
        if not told["same_plan"]:
            console.print(f"[yellow]The template or a snapshot has changed since: `isync scan {escape(template)}`.[/]")
        _show_forecast(console, told)
        if told["past"]:
            console.print("[bold]earlier forecasts[/]")
            columns = {"forecast: API calls": "API calls", "forecast: error of API calls, %": "off by %"}
            columns |= {"forecast: seconds": "seconds", "forecast: error of seconds, %": "off by % "}
            console.print(
                _table(
                    {"phase": row["phase"], "run": row["run"], **{shown: row[key] for key, shown in columns.items()}}
                    for row in told["past"]
                )
            )
    return Exit.OK if all(row["enough"] for row in told["against"]) else Exit.CONFIGURATION


def verdict(found: Mapping[str, Any], plan: Plan) -> Exit:
    """What a run would end with, as far as a scan can tell."""
    if any(phase["stopped"] or not phase["gate"]["passed"] for phase in found["phases"]):
        return Exit.VERIFICATION
    for phase in found["phases"]:
        for row in phase["objects"]:
            if row["decisions"].get("blocked", 0) > plan.settings.rejected_rows_allowed(row["in_scope"]):
                return Exit.REJECTED
    return Exit.OK if all(row["enough"] for row in found["forecast"]["against"]) else Exit.CONFIGURATION


def _newest(settings: Settings, plan: Plan) -> Scan | None:
    scans = Store.open(settings.store).scans(plan.source_org_id, plan.target_org_id, plan.template)
    return scans.newest()


def _show(console: Console, found: Mapping[str, Any], made: Scan) -> None:
    source, target = found["source"], found["target"]
    console.print(
        f"[bold]{escape(found['template'])}[/] scan {found['scan']}: {source['alias']} ({source['org_id']}) → "
        f"{target['alias']} ({target['org_id']}), {found['calls']} calls, {duration(found['seconds'])}; nothing was written"
    )
    console.print("[bold]hierarchy[/]")
    console.print(escape(found["tree"]), soft_wrap=True)
    console.print("[bold]order[/]")
    for row in found["order"]:
        console.print(f"  {row['object']} after {row['after']}: {escape(row['reason'])}", soft_wrap=True)
    for row in found["deferred"]:
        console.print(f"  {row['object']}.{row['field']} is filled later: {escape(row['reason'])}", soft_wrap=True)
    for text in found["sequences"]:
        console.print(f"[yellow]sequence[/] {escape(text)}", soft_wrap=True)
    console.print("[bold]records[/]")
    console.print(_table(object_rows(found)))
    notes = {row["object"]: row["note"] for phase in found["phases"] for row in phase["objects"] if row["note"]}
    for object, note in notes.items():
        console.print(f"[dim]{object}: {escape(note)}, so that a run finds more of them than a scan[/]", soft_wrap=True)
    for title, rows in (("would change (samples)", change_rows(found)), ("missing parents", missing_rows(found))):
        if rows:
            console.print(f"[bold]{title}[/]")
            console.print(_table(rows))
    if found["missing"]:
        console.print(f"[dim]every record: {escape(str(made.folder / 'missing'))}/<Object>.parquet[/]", soft_wrap=True)
    for phase in found["phases"]:
        for text in (*phase["stopped"], phase["gate"]["message"]):
            if text:
                console.print(f"[bold red]✗ {escape(phase['phase'])}[/] {escape(text)}", soft_wrap=True)
        for row in phase["gate"]["findings"]:
            where = f"{row.get('object')}.{row.get('field')}"
            console.print(
                f"  [yellow]![/] {escape(where)}: {escape(str(row.get('check')))} ({row.get('rows')} rows): "
                f"{escape(str(row.get('message')))}",
                soft_wrap=True,
            )
    _show_forecast(console, found["forecast"])


def _show_forecast(console: Console, forecast: Mapping[str, Any]) -> None:
    console.print("[bold]forecast[/]")
    console.print(_table(forecast_rows(forecast)))
    seconds, total = forecast["total"]["seconds"], forecast["total"]
    console.print(
        f"in all: {round(total['calls']):,} calls, {round(total['batches']):,} Bulk batches, {total['storage_mb']:,.1f} MB, "
        f"about {duration(seconds['likely'])} ({duration(seconds['low'])} – {duration(seconds['high'])})"
    )
    color = "dim" if forecast["learned_from"] else "yellow"
    console.print(f"[{color}]{escape(forecast['basis'])}[/]", soft_wrap=True)
    for row in forecast["against"]:
        sign = "[green]✓[/]" if row["enough"] else "[red]✗[/]"
        console.print(f"{sign} {row['org']} {row['limit']}: {row['needed']:,} of {row['remaining']:,} left")


def _table(rows: Iterable[Mapping[str, Any]]) -> Table:
    listed = list(rows)
    table = Table(header_style="dim", box=None, pad_edge=False)
    for name in listed[0] if listed else ():
        table.add_column(name, justify="right" if isinstance(listed[0][name], int | float) else "left", overflow="fold")
    for row in listed:
        table.add_row(*(_cell(value) for value in row.values()))
    return table


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return escape("" if value is None else str(value))
    if not value:
        return "[dim]·[/]"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
