"""The commands of the person who runs a migration: explain, accept, hold, relink, cleanup, id map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isync_dagster.cli.console import errors_end_the_command, make_console

idmap_app = typer.Typer(help="The id map: which target record a source record became.", no_args_is_help=True)

Template = Annotated[str, typer.Argument(help="Name of a template: the file's name without .yaml.")]
OnePhase = Annotated[str, typer.Option("--phase", "-p", help="The phase.")]
RunNumber = Annotated[int | None, typer.Option("--run", help="Number of the run; without it, the newest.")]
Objects = Annotated[list[str] | None, typer.Option("--object", "-o", help="Only this object; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(explain)
    app.command()(accept)
    app.command()(hold)
    app.command()(release)
    app.command()(relink)
    app.command()(cleanup)
    app.add_typer(idmap_app, name="idmap")


def explain(
    record_id: Annotated[str, typer.Argument(metavar="ID", help="A source or target id, 15 or 18 characters.")],
    template: Annotated[str, typer.Option("--template", "-t", help="Only runs of this template.")] = "",
    json: Json = False,
) -> None:
    """Where a record came from, which runs touched it, by which rule, what was sent and what Salesforce said."""
    from isync_dagster.cli import explain as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.show(console, record_id, template, json)


def accept(
    template: Template,
    phase: OnePhase,
    run: RunNumber = None,
    anyway: Annotated[
        str, typer.Option(help="Accept in spite of failed checks, for this reason.", metavar="REASON")
    ] = "",
) -> None:
    """Say that the result of a run is good; refused while a check of it has failed."""
    from isync_dagster.cli import acceptance as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.accept(console, template, phase, run, anyway)


def hold(
    template: Template,
    phase: OnePhase,
    run: Annotated[int | None, typer.Option(help="Only this run; without it, every run of the phase.")] = None,
    why: Annotated[str, typer.Option(help="Shown by `isync runs` and by cleanup.")] = "held on the command line",
) -> None:
    """Keep cleanup away from a phase until one of its runs is accepted, or from one run."""
    from isync_dagster.cli import acceptance as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.hold(console, template, phase, run, why)


def release(
    template: Template,
    phase: OnePhase,
    run: Annotated[int | None, typer.Option(help="The hold of this run; without it, that of the phase.")] = None,
) -> None:
    """End a hold."""
    from isync_dagster.cli import acceptance as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.release(console, template, phase, run)


def relink(
    template: Template,
    object: Objects = None,
    confirm_production: Annotated[
        str, typer.Option(help="To write to a production org: its 18-character org id, typed by you.", metavar="ORG_ID")
    ] = "",
) -> None:
    """Fill the pending links of a template whose parents are in the target now."""
    from isync_dagster.cli import relink as commands

    console = make_console()
    with errors_end_the_command(console):
        code = commands.relink(console, template, object or [], confirm_production)
    raise typer.Exit(int(code))


def cleanup(
    template: Annotated[str | None, typer.Argument(help="Only runs of this template.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Remove it; without it, only say what is due.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --apply: do not ask.")] = False,
) -> None:
    """Show what runs have kept longer than `retention` says, and with --apply remove it; the id map always stays."""
    from isync_dagster.cli import cleanup as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.cleanup(console, template, apply, yes)


@idmap_app.command("export")
def idmap_export(
    to: Annotated[Path, typer.Option(help="A .csv or .parquet file.", metavar="FILE")],
    template: Annotated[str, typer.Argument(help="The orgs of this template.")] = "",
    source: Annotated[str, typer.Option(help="Instead of a template: the source's name in orgs.yaml.")] = "",
    target: Annotated[str, typer.Option(help="Instead of a template: the target's name in orgs.yaml.")] = "",
    object: Objects = None,
) -> None:
    """Write the id map to a file for other systems: a row a source record that has a counterpart."""
    from isync_dagster.cli import idmap as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.export(console, template, source, target, object or [], to)


@idmap_app.command("import")
def idmap_import(
    file: Annotated[Path, typer.Argument(help="A .csv or .parquet file with the columns source_id and target_id.")],
    template: Annotated[str, typer.Option("--template", "-t", help="The template whose orgs these are.")],
    object: Annotated[str, typer.Option("--object", "-o", help="The source object of the records.")],
) -> None:
    """Take the pairs of another tool into the id map, after checking every one of them."""
    from isync_dagster.cli import idmap as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.import_(console, template, object, file)
