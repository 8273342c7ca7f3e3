"""`isync plan` and `isync template`: what a template says and what will come of it, without asking an org."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.console import say_json
from isync_dagster.plan.model import ObjectPlan, Plan


def schema(console: Console, to: Path | None) -> None:
    """Print the JSON schema of a template, or write it to a file."""
    from isync_dagster.template import json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if to is None:
        console.file.write(text)
        console.file.flush()
    else:
        to.write_text(text, encoding="utf-8")
        console.print(f"[green]✓[/] {escape(str(to))}")


def check(console: Console, name: str | None) -> None:
    """Plan every template (or one) and say what was found; everything wrong is raised as one error."""
    settings = Settings.from_env()
    plans = load_plans(settings, [name] if name else None)
    if not plans:
        console.print(f"[yellow]–[/] There is no template in {escape(str(settings.templates))}/.")
    for item in plans.values():
        console.print(
            f"[green]✓[/] [bold]{escape(item.template)}[/] {len(item.objects)} objects, {len(item.phases)} phases, "
            f"{item.source_alias} → {item.target_alias}"
        )
        for warning in item.warnings:
            console.print(f"  [yellow]![/] {escape(warning)}", soft_wrap=True)


def plan(console: Console, template: str, as_json: bool = False) -> None:
    """Print the plan of a template: objects in load order, then what is deferred, left out and warned about."""
    found = load_plans(Settings.from_env(), [template])[template]
    if as_json:
        say_json(console, found.to_json())
        return
    console.print(
        f"[bold]{escape(found.template)}[/]: "
        f"{found.source_alias} ({found.source_org_id}, API {found.source_api_version})"
        f" → {found.target_alias} ({found.target_org_id}, API {found.target_api_version})"
    )
    console.print(_objects(found))
    for phase in found.phases:
        after = f", after {', '.join(phase.after)}" if phase.after else ""
        console.print(f"phase [bold]{escape(phase.name)}[/]: {', '.join(phase.objects)}{after}", soft_wrap=True)
    for item in found.objects:
        reasons: dict[str, list[str]] = {}
        for dropped in item.dropped:
            reasons.setdefault(dropped.reason, []).append(dropped.field)
        for reason, fields in reasons.items():
            console.print(f"[dim]not migrated[/] {item.object}: {', '.join(fields)} ({escape(reason)})", soft_wrap=True)
    for warning in found.warnings:
        console.print(f"[yellow]warning[/] {escape(warning)}", soft_wrap=True)


def _objects(plan: Plan) -> Table:
    table = Table(
        "#", "level", "object", "to", "match key", "waits for", "filled later", "fields", header_style="dim", box=None
    )
    for item in plan.objects:
        table.add_row(
            str(item.order + 1),
            str(item.level),
            item.object,
            "" if item.target_object == item.object else item.target_object,
            _key(item),
            ", ".join(item.parents),
            ", ".join(_later(item)),
            f"{len(item.fields) + len(item.lookups)}",
        )
    return table


def _key(item: ObjectPlan) -> str:
    parts = [p.source if p.source == p.target else f"{p.source}={p.target}" for p in item.match_key]
    return item.migration_key or " + ".join(parts)


def _later(item: ObjectPlan) -> list[str]:
    return [lookup.target.name for lookup in item.deferred] + [staged.target for staged in item.staged]
