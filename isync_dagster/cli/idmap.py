"""`isync idmap export` and `isync idmap import`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.errors import ConfigError
from isync_dagster.migration.idmap_files import export_idmap, import_idmap
from isync_dagster.schema.snapshot import load_snapshot
from isync_dagster.store.store import Store


def export(console: Console, template: str, source: str, target: str, objects: Sequence[str], to: Path) -> None:
    """Write the id map of a template's orgs, or of two orgs by name, to a file."""
    settings = Settings.from_env()
    if template and not (source or target):
        plan = load_plans(settings, [template])[template]
        pair = plan.source_org_id, plan.target_org_id
    elif source and target and not template:
        pair = tuple(load_snapshot(settings.snapshots, alias).identity.org_id for alias in (source, target))  # type: ignore[assignment]
    else:
        raise ConfigError("Name a template, or both --source and --target: `isync idmap export TEMPLATE --to FILE`.")
    rows = export_idmap(Store.open(settings.store), *pair, objects, to)
    console.print(f"[green]✓[/] {rows:,} pairs written to {escape(str(to))}.", soft_wrap=True)


def import_(console: Console, template: str, object: str, file: Path) -> None:
    """Check the pairs of a file and take them into the id map."""
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    name = plan.object(object).object
    job = Workbench(settings, {template: plan}).job(template, plan.phases[0].name, opened_by="isync idmap import")
    new, known = import_idmap(job, name, file)
    console.print(f"[green]✓[/] {new:,} pairs of {escape(name)} are in the id map now; {known:,} were there before.")
