"""`isync orgs`: who the orgs are, and their describe snapshots."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.resources import connect
from isync_dagster.assets.settings import Settings
from isync_dagster.assets.snapshots import known_objects, objects_needed, take_snapshot
from isync_dagster.cli.console import Exit
from isync_dagster.errors import ConfigError, IsyncError, OrgsError


def check(console: Console, alias: str | None) -> Exit:
    """Log in to every org (or one) and print what it is; an org that fails does not stop the others."""
    from isync_dagster.salesforce.orgs import load_orgs

    settings = Settings.from_env()
    configs = load_orgs(settings.orgs)
    if alias is not None and alias not in configs:
        known = ", ".join(sorted(configs)) or "none"
        raise OrgsError(f"{settings.orgs} has no org {alias!r} (found: {known}).")
    code = Exit.OK
    for name in [alias] if alias else sorted(configs):
        missing = configs[name].missing()
        if missing and alias is None:
            console.print(f"[yellow]–[/] [bold]{escape(name)}[/] skipped: set {', '.join(missing)}")
            continue
        try:
            console.print(
                f"[green]✓[/] [bold]{escape(name)}[/] {_found(settings, name, configs[name].allow_production)}"
            )
        except IsyncError as error:
            console.print(f"[red]✗[/] [bold]{escape(name)}[/] {escape(str(error))}", soft_wrap=True)
            code = Exit.CONFIGURATION if isinstance(error, ConfigError) else Exit.ORG
    return code


def _found(settings: Settings, alias: str, allow_production: bool) -> str:
    with connect(settings.orgs, alias) as org:
        identity, usage = org.identity(), org.usage
    kind = "PRODUCTION" if identity.is_production else "sandbox" if identity.is_sandbox else identity.organization_type
    writable = "yes" if not identity.is_production or allow_production else "no (allow_production is off)"
    calls = f", {usage[0]:,} of {usage[1]:,} daily API calls used" if usage else ""
    return escape(
        f"{identity.org_id} {identity.name} ({kind}) at {identity.instance_url}, API {identity.api_version}, "
        f"may be written to: {writable}{calls}"
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
