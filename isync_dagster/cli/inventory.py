"""`isync inventory`: the objects of an org as a table, JSON or CSV."""

from __future__ import annotations

import csv as csv_module
import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.resources import connect
from isync_dagster.assets.settings import Settings
from isync_dagster.migration.inventory import Entry
from isync_dagster.migration.inventory import inventory as take
from isync_dagster.template import load_templates

COLUMNS = (
    "object", "label", "records", "counted", "storage_mb", "last_change", "templates", "looks", "why"
)  # fmt: skip


def inventory(console: Console, alias: str, as_json: bool, csv: Path | None, months: int, all: bool) -> None:
    """Print the inventory of an org; the CSV file has every object, whatever is shown."""
    settings = Settings.from_env()
    templates = load_templates(settings.templates).values()
    with connect(settings.orgs, alias) as org:
        entries = take(org, templates, months)
        identity = org.identity()
    if csv is not None:
        _write(csv, entries)
    if as_json:
        told = {"org": alias, "org_id": identity.org_id, "objects": [entry.to_json() for entry in entries]}
        console.out(json.dumps(told, indent=1, ensure_ascii=False), highlight=False)
        return
    shown = [entry for entry in entries if all or entry.records != 0 or entry.templates]
    console.print(_table(shown))
    uncovered = [entry for entry in shown if entry.records and not entry.templates and not entry.looks]
    console.print(
        f"[bold]{escape(alias)}[/] {identity.org_id}: {len(entries)} objects that could be migrated, "
        f"{len(shown)} shown, about {sum(entry.storage_mb for entry in entries):,.1f} MB"
    )
    if uncovered:
        names = ", ".join(entry.object for entry in uncovered[:15]) + (" …" if len(uncovered) > 15 else "")
        console.print(f"[yellow]No template covers:[/] {names}", soft_wrap=True)
    if csv is not None:
        console.print(f"[green]✓[/] {escape(str(csv))}", soft_wrap=True)


def _table(entries: list[Entry]) -> Table:
    table = Table(header_style="dim", box=None, pad_edge=False)
    for name in ("object", "records", "MB", "last change", "templates", "looks"):
        table.add_column(name, justify="right" if name in ("records", "MB") else "left", overflow="fold")
    for entry in entries:
        about = "" if entry.counted == "exact" else "~"
        count = f"{about}{entry.records:,}" if entry.records is not None else f"[yellow]{escape(entry.counted)}[/]"
        looks = f"{', '.join(entry.looks)} ({entry.why})" if entry.looks else ""
        table.add_row(
            entry.object,
            count,
            f"{entry.storage_mb:,.1f}",
            (entry.last_change or "")[:10],
            ", ".join(entry.templates),
            escape(looks),
        )
    return table


def _write(path: Path, entries: list[Entry]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv_module.DictWriter(file, COLUMNS)
        writer.writeheader()
        for entry in entries:
            row = entry.to_json()
            writer.writerow(
                {name: "; ".join(row[name]) if isinstance(row[name], tuple) else row[name] for name in COLUMNS}
            )
