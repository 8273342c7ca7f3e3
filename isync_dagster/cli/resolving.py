"""Resolving what an org compare found: the template's patch, the package, the deploy; shown first, done when asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from isync_dagster.assets.resources import connect
from isync_dagster.assets.settings import Settings
from isync_dagster.assets.snapshots import known_objects, take_snapshot
from isync_dagster.errors import ConfigError
from isync_dagster.migration.comparing import Compared, OrgComparison
from isync_dagster.migration.deploying import deploy_package
from isync_dagster.plan.resolving import resolve as resolve_in_template
from isync_dagster.salesforce.deploy import DeployState
from isync_dagster.schema.compare import Severity
from isync_dagster.schema.compare.files import write_source
from isync_dagster.schema.compare.package import Package, build_package
from isync_dagster.store.store import Store
from isync_dagster.template import parse_template
from isync_dagster.template.models import Template
from isync_dagster.template.patch import as_patch, difference, patched

DONE, FAILED = 0, 1


@dataclass(frozen=True)
class Resolve:
    """What to do about the differences that are shown."""

    template: bool = False
    apply: bool = False
    package: Path | None = None
    deploy: bool = False
    check_only: bool = False
    yes: bool = False
    confirm_production: str = ""

    def __bool__(self) -> bool:
        return self.template or self.package is not None or self.deploy


def resolve(
    console: Console,
    settings: Settings,
    template: Template | None,
    found: Compared,
    shown: OrgComparison,
    wanted: Resolve,
) -> int:
    """Resolve the differences shown: those above cosmetic, and cosmetic ones where the filter names that severity."""
    if wanted.template and template is not None:
        _resolve_in_template(console, settings, template, found, shown, wanted)
    if wanted.package is None and not wanted.deploy:
        return DONE
    package = _package(console, found, shown)
    version = found.target.identity.api_version or "62.0"
    if wanted.package is not None and package:
        files = write_source(package, wanted.package, version)
        console.print(
            f"[green]✓[/] {len(files)} files in {escape(str(wanted.package))}: `sf project deploy start` there."
        )
    if not wanted.deploy:
        return DONE
    if not package:
        console.print("There is nothing to deploy.")
        return DONE
    return _deploy(console, settings, template, found, package, wanted)


def _to_resolve(shown: OrgComparison) -> OrgComparison:
    """All above cosmetic; where only cosmetic ones are shown, those."""
    above = shown.only([Severity.BLOCKS, Severity.LOSES_DATA])
    return above if above.differences else shown


def _resolve_in_template(
    console: Console, settings: Settings, template: Template, found: Compared, shown: OrgComparison, wanted: Resolve
) -> None:
    file = _file_of(settings, template.name)
    before = file.read_text(encoding="utf-8")
    resolution = resolve_in_template(_to_resolve(shown).differences, found.pairs, found.source, found.target)
    for item in resolution.left:
        console.print(
            f"[yellow]–[/] {escape(item.place)} {escape(item.value)}: {item.kind}: the template cannot resolve it."
        )
    if not resolution.changes:
        console.print("The template has nothing to change.")
        return
    after = patched(before, resolution.changes, file=str(file))
    parse_template(after, file=str(file), name=template.name)
    console.print(Syntax(difference(before, after, file.name), "diff", background_color="default", word_wrap=True))
    head = (f"Changes of {file.name} that resolve what `isync compare {template.name}` found.", "Merge these keys.")
    patch = file.with_name(f"{template.name}.patch.yaml")
    if wanted.apply:
        file.write_text(after, encoding="utf-8")
        console.print(f"[green]✓[/] {len(resolution.changes)} changes made in {escape(str(file))}")
        return
    folder = settings.templates / "patches"
    folder.mkdir(exist_ok=True)
    patch = folder / patch.name
    patch.write_text(as_patch(resolution.changes, head), encoding="utf-8")
    console.print(
        f"[green]✓[/] {escape(str(patch))} says the same with reasons. Nothing was changed: --apply makes the changes in "
        f"{escape(str(file))}.",
        soft_wrap=True,
    )


def _file_of(settings: Settings, name: str) -> Path:
    for suffix in ("yaml", "yml"):
        file = settings.templates / f"{name}.{suffix}"
        if file.is_file():
            return file
    raise ConfigError(f"There is no {name}.yaml in {settings.templates}/.")


def _package(console: Console, found: Compared, shown: OrgComparison) -> Package:
    package = build_package(_to_resolve(shown).differences, found.pairs, found.source, found.target)
    table = Table("component", "name", header_style="dim", pad_edge=False, box=None)
    for part in package.parts:
        table.add_row(part.kind, escape(part.full_name))
    if package:
        console.print(table)
    for item, reason in package.left:
        console.print(
            f"[yellow]–[/] {escape(item.place)} {escape(item.value)}: {item.kind}: {escape(reason)}.", soft_wrap=True
        )
    return package


def _deploy(
    console: Console,
    settings: Settings,
    template: Template | None,
    found: Compared,
    package: Package,
    wanted: Resolve,
) -> int:
    alias = found.target.identity.alias
    verb = "Check" if wanted.check_only else "Deploy"
    if not wanted.yes:
        typer.confirm(f"{verb} {len(package.parts)} components in {alias} ({found.target.identity.org_id})", abort=True)
    with connect(settings.orgs, alias) as org:
        with console.status(f"deploying to {alias} …") as status:

            def told(state: DeployState) -> None:
                status.update(f"deploying to {alias}: {state.status}, {state.deployed} of {state.total} components")

            done = deploy_package(
                org,
                package,
                Store.open(settings.store),
                confirm_production=wanted.confirm_production,
                check_only=wanted.check_only,
                progress=told,
            )
        state = done.state
        for failure in state.failures:
            console.print(f"[red]✗[/] {failure.kind} {escape(failure.name)}: {escape(failure.problem)}", soft_wrap=True)
        if not state.success:
            console.print(
                f"[bold red]The deploy {state.id} ended as {state.status}; nothing was changed.[/] {escape(state.message)}"
            )
            return FAILED
        if wanted.check_only:
            console.print(f"[green]✓[/] {alias} would take all {state.total} components. Nothing was changed.")
            return DONE
        console.print(f"[bold green]{state.total} components are in {alias}.[/]")
        if done.assigned:
            console.print("Its user has the permission set Isync Migration now, which makes new fields visible.")
        if template is not None or known_objects(settings.snapshots, alias):
            names = sorted({item.name for item in found.target.objects.values()} | _new_objects(package))
            take_snapshot(org, settings.snapshots, names)
            console.print(f"[green]✓[/] The snapshot of {alias} is taken anew ({len(names)} objects).")
    return DONE


def _new_objects(package: Package) -> set[str]:
    return {part.name for part in package.parts if part.kind == "CustomObject"}
