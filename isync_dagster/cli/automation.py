"""`isync automation`: what is on the target's objects, switched off by hand, and always put back."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.resources import Workbench, connect
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.console import Exit, errors_end_the_command, make_console
from isync_dagster.errors import ConfigError
from isync_dagster.migration.model import RunOptions, SyncJob
from isync_dagster.store.store import Store

BY = "isync automation on the command line"
ACTIONS = ("list", "off", "on", "status")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(automation)


def automation(
    template: Annotated[str, typer.Argument(help="Name of a template: the file's name without .yaml.")],
    action: Annotated[str, typer.Argument(help="list, off, on or status.")] = "list",
    kinds: Annotated[
        str,
        typer.Option(help="triggers,validation_rules,flows,workflow_rules,duplicate_rules; default: all, for off the "
                          "template's."),
    ] = "",
    object: Annotated[list[str] | None, typer.Option("--object", "-o", help="Only on this object of the target.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this one, by Name or Object.Name.")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="Leave this one on, by Name or Object.Name.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before switching off.")] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    confirm_production: Annotated[
        str, typer.Option(help="To write to a production org: its 18-character org id, typed by you.", metavar="ORG_ID")
    ] = "",
) -> None:  # fmt: skip
    """List the target's automation on the objects in scope, switch a selection off, put it back on.

    A run of the template does this by itself where `settings: automation:` says so. What is switched off here stays
    off until `on`, or until the end of the template's next run.

    Examples: `isync automation core` · `isync automation core off --kinds triggers,flows -o Account` ·
    `isync automation core on`
    """  # fmt: skip
    console = make_console()
    with errors_end_the_command(console):
        if action not in ACTIONS:
            raise ConfigError(f"{action!r} is no action: `isync automation {template}` takes {', '.join(ACTIONS)}.")
        chosen = [part.strip() for part in kinds.split(",") if part.strip()]
        code = _act(
            console, template, action, chosen, object or [], only or [], keep or [], yes, json, confirm_production
        )
    raise typer.Exit(int(code))


def put_back_what_is_left(settings: Settings) -> bool:
    """Restore what dead processes left switched off, and say so on stderr; False where something is still off."""
    from isync_dagster.migration.automation import restore_left

    store = Store.open(settings.store)
    done, failed = restore_left(store, lambda alias: connect(settings.orgs, alias))
    for record in done:
        print(f"Automation that {record.where} left off is on again ({len(record.items)} items).", file=sys.stderr)
    for text in failed:
        print(f"AUTOMATION OF THE TARGET IS STILL OFF: {text}", file=sys.stderr)
    return not failed


def _act(
    console: Console,
    template: str,
    action: str,
    kinds: Sequence[str],
    objects: Sequence[str],
    only: Sequence[str],
    keep: Sequence[str],
    yes: bool,
    json: bool,
    confirm_production: str,
) -> Exit:
    from isync_dagster.migration.automation import automation_of, records_off, select, switch_off, switch_on
    from isync_dagster.migration.runs import guard_orgs
    from isync_dagster.salesforce.automation import KINDS

    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ConfigError(f"--kinds: {', '.join(unknown)} is none of {', '.join(KINDS)}.")
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    job = Workbench(settings, {template: plan}).job(
        template, plan.phases[0].name, RunOptions(confirm_production=confirm_production.strip()), opened_by=BY
    )
    if action in ("off", "on"):
        all_back = put_back_what_is_left(settings)
    if action == "on":
        for record in switch_on(job):
            console.print(f"[green]✓[/] {escape(record.text)}", soft_wrap=True)
        left = records_off(job.store, plan.target_org_id)
        if not left:
            console.print("Nothing of the target is switched off by this tool.")
        return Exit.OK if all_back and not left else Exit.FAILED
    if action == "status":
        return _status(console, job, json)
    if action == "list":
        items = automation_of(job, kinds, objects)
        _show(console, items, json)
        return Exit.OK
    own = plan.settings.automation
    wanted = type(own).model_validate(
        {
            **own.model_dump(mode="json"),
            **({"off": list(kinds)} if kinds else {} if own.off else {"off": list(KINDS)}),
            **({"objects": list(objects)} if objects else {}),
            **({"only": list(only)} if only else {}),
            **({"keep": list(keep)} if keep else {}),
        }
    )
    guard_orgs(job)
    chosen = [item for item in select(automation_of(job), wanted) if item.active and not item.fixed]
    if not chosen and not wanted.bypass.permission_set and not wanted.bypass.setting:
        console.print("Nothing that is on fits: nothing was switched.")
        return Exit.OK
    _show(console, chosen, False)
    if not yes:
        typer.confirm(f"Switch these {len(chosen)} off in {plan.target_alias}", abort=True)
    record = switch_off(job, wanted)
    console.print(f"[yellow]{escape(record.text)}.[/]", soft_wrap=True)
    for text in record.data["fixed"]:
        console.print(f"[dim]left on: {escape(text)}[/]", soft_wrap=True)
    console.print(f"On again with `isync automation {escape(template)} on`, or by the end of the template's next run.")
    return Exit.OK


def _status(console: Console, job: SyncJob, json: bool) -> Exit:
    from isync_dagster.migration.automation import record_of, records_off

    records = records_off(job.store, job.plan.target_org_id)
    past = []
    for phase in job.plan.phases:
        run = job.store.runs(job.for_phase(phase.name).key).latest()
        found = record_of(run) if run is not None else None
        past += [found] if found is not None and not found.is_off else []
    if json:
        print(json_module.dumps({"off": [dict(item.data) for item in records], "past": [dict(item.data) for item in past]},
                                indent=2))  # fmt: skip
        return Exit.FAILED if records else Exit.OK
    for record in past:
        console.print(f"[dim]{escape(record.where)}: {escape(record.text)}.[/]", soft_wrap=True)
    for record in records:
        console.print(
            f"[bold yellow]{escape(record.where)}[/]: {escape(record.text)}, by {escape(record.who)}.", soft_wrap=True
        )
        for name, why in record.data["failed"].items():
            console.print(f"  [red]could not be put back:[/] {escape(name)}: {escape(why)}", soft_wrap=True)
    if not records:
        console.print("[green]✓[/] Nothing of the target is switched off by this tool.")
    return Exit.FAILED if records else Exit.OK


def _show(console: Console, items: Sequence[object], json: bool) -> None:
    from isync_dagster.salesforce.automation import Item

    listed = [item for item in items if isinstance(item, Item)]
    if json:
        print(json_module.dumps([item.to_json() for item in listed], indent=2))
        return
    table = Table("kind", "object", "name", "state", "", header_style="dim")
    for item in listed:
        state = "[green]on[/]" if item.active else "[dim]off[/]"
        version = f"version {item.version}" if item.version else ""
        table.add_row(item.kind.replace("_", " "), item.object, escape(item.name), state, escape(item.fixed or version))
    console.print(table if listed else "The objects in scope have no automation of these kinds.")
