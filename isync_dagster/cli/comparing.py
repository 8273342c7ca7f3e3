"""What `isync compare` and `isync orgs drift` do: gather both schemas, compare, show, resolve."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.comparing import compare_one
from isync_dagster.assets.resources import connect
from isync_dagster.assets.settings import Settings
from isync_dagster.assets.snapshots import objects_needed
from isync_dagster.cli.resolving import Resolve, resolve
from isync_dagster.errors import ConfigError
from isync_dagster.migration.comparing import (
    Compared,
    OrgComparison,
    compare_orgs,
    drift_of,
    live_snapshot,
    movable_objects,
)
from isync_dagster.report.compare import lines, render_csv, render_html
from isync_dagster.schema.compare import Kind, Severity
from isync_dagster.schema.snapshot import did_you_mean, load_snapshot
from isync_dagster.template import load_templates
from isync_dagster.template.models import Template

__all__ = ["Asked", "Resolve", "Shown", "compare", "drift"]

STATUS = {None: 0, Severity.COSMETIC: 10, Severity.LOSES_DATA: 11, Severity.BLOCKS: 12}
"""Exit status by the highest severity found."""
COLORS = {Severity.BLOCKS: "bold red", Severity.LOSES_DATA: "yellow", Severity.COSMETIC: "dim"}
Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True)
class Asked:
    """Which orgs and objects are compared, and how."""

    template: str = ""
    source: str = ""
    target: str = ""
    objects: str = ""
    all_objects: bool = False
    snapshots: bool = False
    with_data: bool = False


@dataclass(frozen=True)
class Shown:
    """Which differences are shown, and where to."""

    severities: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    as_json: bool = False
    csv: Path | None = None
    html: Path | None = None


def compare(console: Console, asked: Asked, shown: Shown, wanted: Resolve) -> int:
    """Compare, show, and resolve where asked to; gives the exit status."""
    _check(asked, wanted)
    settings = Settings.from_env()
    template = _template(settings, asked.template) if asked.template else None
    words = _words(shown)
    with console.status("comparing the orgs …"):
        found = (
            compare_one(settings, template, snapshots=asked.snapshots, with_data=asked.with_data)
            if template is not None
            else _standalone(settings, asked)
        )
    result = found.result.only(*words, shown.objects)
    _show(console, result, shown)
    if wanted:
        return resolve(console, settings, template, found, result, wanted)
    return STATUS[result.worst]


def drift(console: Console, alias: str, template: str, shown: Shown) -> int:
    """Compare an org's snapshot with the org itself; gives the exit status."""
    settings = Settings.from_env()
    snapshot = load_snapshot(settings.snapshots, alias)
    words = _words(shown)
    names = list(snapshot.objects)
    if template:
        recipe = _template(settings, template)
        if alias not in (recipe.source, recipe.target):
            raise ConfigError(
                f"Template {template!r} goes from {recipe.source!r} to {recipe.target!r}: {alias!r} is neither."
            )
        needed, wished = objects_needed([recipe], alias)
        names = [name for name in (*needed, *wished) if name in snapshot]
    with connect(settings.orgs, alias) as org, console.status(f"describing {len(names)} objects of {alias} …"):
        result = drift_of(snapshot, live_snapshot(org, names, required=False), names)
    result = result.only(*words, shown.objects)
    _show(console, result, shown)
    if result.differences and not shown.as_json:
        console.print(f"Take the snapshot anew with `isync orgs snapshot {alias}`, and review the difference.")
    return STATUS[result.worst]


def _check(asked: Asked, wanted: Resolve) -> None:
    both = bool(asked.source and asked.target)
    if asked.template and (asked.source or asked.target or asked.objects or asked.all_objects):
        raise ConfigError("Either a template, or --source and --target with --objects or --all: not both.")
    if not asked.template and not (both and (asked.objects or asked.all_objects)):
        raise ConfigError(
            "Say what to compare: a template (`isync compare demo`), or any objects of two orgs (`isync compare --source "
            "A --target B --objects Account,Contact`, or --all)."
        )
    if asked.snapshots and asked.with_data:
        raise ConfigError("--with-data reads the source org, --snapshots asks no org anything: take one of them.")
    if wanted.template and not asked.template:
        raise ConfigError("--resolve changes a template: name it (`isync compare TEMPLATE --resolve`).")


def _template(settings: Settings, name: str) -> Template:
    templates = load_templates(settings.templates)
    if name not in templates:
        known = ", ".join(sorted(templates)) or "none"
        raise ConfigError(f"There is no template {name!r} in {settings.templates}/ (found: {known}).")
    return templates[name]


def _words(shown: Shown) -> tuple[list[Severity], list[Kind]]:
    return _all_of(Severity, shown.severities, "--severity"), _all_of(Kind, shown.kinds, "--kind")


def _all_of(words: type[Word], given: Iterable[str], option: str) -> list[Word]:
    found = []
    for text in given:
        plain = text.strip().lower().replace("_", " ").replace("-", " ")
        known = [str(word) for word in words]
        if plain not in known:
            raise ConfigError(f"{option} is {text!r}{did_you_mean(plain, known)} It takes {', '.join(known)}.")
        found.append(words(plain))
    return found


def _standalone(settings: Settings, asked: Asked) -> Compared:
    names = [name.strip() for name in asked.objects.split(",") if name.strip()]
    if asked.snapshots:
        source, target = (load_snapshot(settings.snapshots, alias) for alias in (asked.source, asked.target))
        wanted = [source.object(name).name for name in names] or list(source.objects)
        return compare_orgs(source, target, org=None, live=False, names=wanted)
    with connect(settings.orgs, asked.source) as one, connect(settings.orgs, asked.target) as two:
        wanted = names or movable_objects(one)
        return compare_orgs(
            live_snapshot(one, wanted, required=True),
            live_snapshot(two, wanted, required=False),
            org=one,
            with_data=asked.with_data,
        )


def _show(console: Console, result: OrgComparison, shown: Shown) -> None:
    if shown.csv is not None:
        shown.csv.write_text(render_csv(result), encoding="utf-8")
    if shown.html is not None:
        shown.html.write_text(render_html(result), encoding="utf-8")
    if shown.as_json:
        console.print_json(json.dumps(result.to_json()))
        return
    if result.differences:
        console.print(_table(result))
    for note in result.notes:
        console.print(f"[dim]{escape(note)}[/]", soft_wrap=True)
    for file in (shown.csv, shown.html):
        if file is not None:
            console.print(f"[green]✓[/] {escape(str(file))}")
    color = "bold green" if result.worst is None else COLORS[result.worst].replace("dim", "bold")
    console.print(f"[{color}]{escape(result.headline)}[/]", soft_wrap=True)


def _table(result: OrgComparison) -> Table:
    table = Table(header_style="dim", pad_edge=False, box=None)
    for name in ("severity", "what", "field", "source", "target"):
        table.add_column(name, overflow="fold")
    table.add_column("rows", justify="right")
    table.add_column("what to do", overflow="fold", ratio=1)
    for object, found in lines(result.differences):
        goes_to = found[0].first.target_object
        title = object if goes_to == object else f"{object} → {goes_to}"
        by = result.counted_by.get(object)
        table.add_row(f"[bold]{escape(title)}[/]", "", "", f"[dim]{escape(f'counted by {by}')}[/]" if by else "")
        for line in found:
            item = line.first
            table.add_row(
                f"  [{COLORS[item.severity]}]{item.severity}[/]",
                str(item.kind),
                escape(item.field or item.target_field),
                escape(line.values or item.source),
                escape(item.target),
                "?" if line.rows is None else f"{line.rows:,}",
                escape(line.advice),
            )
    return table
