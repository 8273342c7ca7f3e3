"""`isync orgs`: who the orgs are, and their describe snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.resources import connect
from isync_dagster.assets.settings import Settings
from isync_dagster.assets.snapshots import known_objects, objects_needed, take_snapshot
from isync_dagster.cli.console import Exit, quiet_console
from isync_dagster.errors import ConfigError, IsyncError, OrgsError


def check(console: Console, alias: str | None, deep: bool = False, as_json: bool = False) -> Exit:
    """Log in to every org (or one) and print what it is; an org that fails does not stop the others."""
    from isync_dagster.migration.standing import standing
    from isync_dagster.salesforce.orgs import load_orgs

    settings = Settings.from_env()
    configs = load_orgs(settings.orgs)
    if alias is not None and alias not in configs:
        known = ", ".join(sorted(configs)) or "none"
        raise OrgsError(f"{settings.orgs} has no org {alias!r} (found: {known}).")
    code = Exit.OK
    told: list[dict[str, Any]] = []
    screen = quiet_console() if as_json else console
    for name in [alias] if alias else sorted(configs):
        missing = configs[name].missing()
        if missing and alias is None:
            screen.print(f"[yellow]–[/] [bold]{escape(name)}[/] skipped: set {', '.join(missing)}")
            told.append({"alias": name, "skipped": missing})
            continue
        try:
            with connect(settings.orgs, name) as org:
                found = standing(org, deep=deep)
        except IsyncError as error:
            screen.print(f"[red]✗[/] [bold]{escape(name)}[/] {escape(str(error))}", soft_wrap=True)
            told.append({"alias": name, "error": str(error)})
            code = Exit.CONFIGURATION if isinstance(error, ConfigError) else Exit.ORG
            continue
        told.append(found)
        for line in _lines(found):
            screen.print(line, soft_wrap=True)
    if as_json:
        console.out(json.dumps(told, indent=1, ensure_ascii=False), highlight=False)
    return code


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    kind = {"production": "PRODUCTION", "practice": found["edition"]}.get(found["kind"], found["kind"])
    writable = "yes" if found["may_be_written_to"] else "no (allow_production is off)"
    calls = found["left"].get("DailyApiRequests")
    used = f", {calls['Max'] - calls['Remaining']:,} of {calls['Max']:,} daily API calls used" if calls else ""
    yield f"[green]✓[/] [bold]{escape(found['alias'])}[/] " + escape(
        f"{found['org_id']} {found['name']} ({kind}) at {found['url']}, API {found['api_version']}, "
        f"may be written to: {writable}{used}"
    )
    yield escape(f"  user {found['user'].get('username', found['user']['id'])}, edition {found['edition']}")
    said = {True: "yes", False: "no", None: "not visible"}
    yield "  may: " + ", ".join(f"{name.replace('_', ' ')} {said[value]}" for name, value in found["may"].items())
    if found["bypass"]:
        yield "  bypass of automation: " + ", ".join(
            f"{name} {'on' if value else 'off'}" for name, value in found["bypass"].items()
        )
    yield "  left: " + ", ".join(
        f"{name} {left['Remaining']:,} of {left['Max']:,}" for name, left in found["left"].items()
    )


def snapshot(console: Console, alias: str, objects: list[str], template: str) -> None:
    """Describe the named objects, those of a template, or all that is needed; keep them beside the templates."""
    from isync_dagster.template import load_templates

    settings = Settings.from_env()
    wished: list[str] = []
    if objects:
        needed = objects
    else:
        templates = load_templates(settings.templates)
        if template and template not in templates:
            known = ", ".join(sorted(templates)) or "none"
            raise ConfigError(f"There is no template {template!r} in {settings.templates}/ (found: {known}).")
        chosen = [templates[template]] if template else list(templates.values())
        using = [item for item in chosen if alias in (item.source, item.target)]
        if not using and not known_objects(settings.snapshots, alias):
            raise ConfigError(
                f"No template names {alias!r} as source or target: say what to describe with --objects Account,Contact."
            )
        needed, wished = objects_needed(using, alias)
        if not template:
            wished += [name for name in known_objects(settings.snapshots, alias) if name not in {*needed, *wished}]
    with (
        connect(settings.orgs, alias) as org,
        console.status(f"Describing {len(needed) + len(wished)} objects of {alias} …"),
    ):
        taken = take_snapshot(org, settings.snapshots, needed, wished)
    table = Table("object", "label", "fields", "lookups", title=None, box=None, header_style="dim")
    for name, item in sorted(taken.objects.items()):
        table.add_row(name, item.label, str(len(item.fields)), str(len(item.references)))
    console.print(table)
    console.print(
        f"[green]✓[/] {len(taken.objects)} objects of {taken.identity.org_id} in {settings.snapshots / alias}"
    )
