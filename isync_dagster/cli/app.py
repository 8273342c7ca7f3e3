"""The command line: `isync` and its verbs; what each does is in a module of its own."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from isync_dagster.cli import automation, compare, operate, planning, report
from isync_dagster.cli.console import EXIT_CODES, Exit, errors_end_the_command, exit_code_of, make_console, stop
from isync_dagster.cli.examples import teach
from isync_dagster.errors import IsyncError
from isync_dagster.local_org import command as local_org

HELP = {"help_option_names": ["-h", "--help"]}


class ListFirst(TyperGroup):
    """A group whose first command is meant where none is named: `isync runs demo` is `isync runs list demo`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["list", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="isync",
    help="Migrate and sync records between Salesforce orgs, as Dagster assets.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    context_settings=HELP,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
)
orgs = typer.Typer(help="The orgs of orgs.yaml.", no_args_is_help=True)
template_app = typer.Typer(help="The templates.", no_args_is_help=True)
runs_app = typer.Typer(
    help="The numbered runs of a template: `isync runs TEMPLATE`.", cls=ListFirst, no_args_is_help=True
)
app.add_typer(orgs, name="orgs")
app.add_typer(template_app, name="template")
app.add_typer(runs_app, name="runs")
app.add_typer(local_org.app, name="local-org")

Template = Annotated[str, typer.Argument(help="Name of a template: the file's name without .yaml.")]
Phases = Annotated[
    list[str] | None, typer.Option("--phase", "-p", help="A phase of the template; may be given more than once.")
]
Objects = Annotated[
    list[str] | None, typer.Option("--object", "-o", help="An object of the template; may be given more than once.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON, and nothing else.")]
Production = Annotated[
    str, typer.Option(help="To write to a production org: its 18-character org id, typed by you.", metavar="ORG_ID")
]


@orgs.command("check")
def orgs_check(
    alias: Annotated[str | None, typer.Argument(help="Only this org.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Try the right to hard delete: an empty job is created and aborted.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Log in to the orgs and say what was found: id, edition, kind, user, permissions, what is left, and more."""
    from isync_dagster.cli import orgs as commands

    console = make_console()
    with errors_end_the_command(console):
        code = commands.check(console, alias, deep, json)
    raise typer.Exit(int(code))


@orgs.command("snapshot")
def orgs_snapshot(
    alias: Annotated[str, typer.Argument(help="The org, as orgs.yaml calls it.")],
    objects: Annotated[str, typer.Option(help="API names with commas between them.")] = "",
    template: Annotated[str, typer.Option(help="All that this template needs of the org.")] = "",
) -> None:
    """Describe objects of an org and keep them beside the templates; without options, all that templates need."""
    from isync_dagster.cli import orgs as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.snapshot(console, alias, [name.strip() for name in objects.split(",") if name.strip()], template)


@template_app.command("schema")
def template_schema(
    to: Annotated[Path | None, typer.Option(help="Write it to this file instead of printing it.")] = None,
) -> None:
    """The JSON schema of a template, for editors."""
    from isync_dagster.cli import templates as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.schema(console, to)


@template_app.command("check")
def template_check(name: Annotated[str | None, typer.Argument(help="Only this template.")] = None) -> None:
    """Read and plan the templates with the describe snapshots; nothing is asked of an org."""
    from isync_dagster.cli import templates as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.check(console, name)


@app.command()
def plan(template: Template, json: Json = False) -> None:
    """Show how a template will run: order, levels, deferred lookups, fields left out and why, warnings."""
    from isync_dagster.cli import templates as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.plan(console, template, json)


@app.command()
def migrate(
    template: Template,
    phase: Phases = None,
    canary: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Only the first N rows of each object, with their parents, in and out again."
        ),
    ] = 0,
    json: Json = False,
    confirm_production: Production = "",
) -> None:
    """Migrate a template, phase after phase, as runs that the UI shows too."""
    from isync_dagster.cli import migrate as commands

    console = make_console()
    if canary:
        from isync_dagster.cli.canary import canary as try_rows

        with errors_end_the_command(console):
            code = try_rows(console, template, phase or [], canary, confirm_production, json)
        raise typer.Exit(int(code))
    with errors_end_the_command(console):
        code = commands.migrate(console, template, phase or [], confirm_production, json)
    raise typer.Exit(int(code))


@app.command()
def retry(
    template: Template,
    phase: Phases = None,
    object: Objects = None,
    code: Annotated[
        list[str] | None, typer.Option(help="Only rows refused with this status code, such as UNABLE_TO_LOCK_ROW.")
    ] = None,
    extract_again: Annotated[
        bool, typer.Option("--extract-again", help="Read the rows from the source anew: they were corrected there.")
    ] = False,
    confirm_production: Production = "",
) -> None:
    """Send just the refused, blocked and left rows of the newest runs again, and what waited for them."""
    from isync_dagster.cli import recovery as commands

    console = make_console()
    with errors_end_the_command(console):
        ended = commands.retry(
            console, template, phase or [], object or [], code or [], extract_again, confirm_production
        )
    raise typer.Exit(int(ended))


@app.command()
def settle(
    template: Template,
    phase: Phases = None,
    object: Objects = None,
    row: Annotated[list[str] | None, typer.Option(help="Source id of a row that --as is about; without, all.")] = None,
    said: Annotated[str, typer.Option("--as", help="What became of it: sent:TARGET_ID or not-sent.")] = "",
    decisions: Annotated[
        Path | None, typer.Option(help="CSV with the columns source_id and decision (sent:TARGET_ID, not-sent).")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="Write the rows to this CSV, to fill in decisions.")] = None,
    look: Annotated[bool, typer.Option(help="Look for the rows in the target once more first.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Show the rows whose outcome is unknown, and settle them: by a second look at the target, or by your word."""
    from isync_dagster.cli import recovery as commands

    console = make_console()
    with errors_end_the_command(console):
        ended = commands.settle(
            console, template, phase or [], object or [], row or [], said, decisions, export, look, yes
        )
    raise typer.Exit(int(ended))


@app.command()
def abort(
    template: Template,
    phase: Phases = None,
    jobs: Annotated[str, typer.Option(help="Bulk jobs in flight: wait for them, or abort them.")] = "wait",
    why: Annotated[str, typer.Option(help="Kept with the run.")] = "",
) -> None:
    """Stop open runs, retries and rollbacks cleanly, wherever they run: nothing new is sent, all is accounted; they can go
    on later."""
    from isync_dagster.cli import recovery as commands

    console = make_console()
    with errors_end_the_command(console):
        ended = commands.abort(console, template, phase or [], jobs, why)
    raise typer.Exit(int(ended))


@app.command()
def validate(template: Template, phase: Phases = None, json: Json = False) -> None:
    """Judge what was migrated, with the target read again; writes to no org."""
    from isync_dagster.cli import migrate as commands

    console = make_console()
    with errors_end_the_command(console):
        code = commands.validate(console, template, phase or [], json)
    raise typer.Exit(int(code))


@runs_app.command("list")
def runs_list(template: Template, phase: Phases = None, json: Json = False) -> None:
    """The runs of a template: number, state, when, how many rows."""
    from isync_dagster.cli import runs as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.show(console, template, phase or [], json)


@runs_app.command("abandon")
def runs_abandon(
    template: Template,
    phase: Annotated[str, typer.Option("--phase", "-p", help="The phase whose open run is given up.")],
    why: Annotated[str, typer.Option(help="Kept with the run.")] = "given up on the command line",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give up the open run of a phase: what it loaded stays in the target and in the id map."""
    from isync_dagster.cli import runs as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.abandon(console, template, phase, why, yes)


@app.command()
def rollback(
    template: Template,
    phase: Annotated[str, typer.Option("--phase", "-p", help="The phase whose run is undone.")],
    run: Annotated[int | None, typer.Option(help="Number of the run; else the newest that is not rolled back.")] = None,
    conflicts: Annotated[
        str, typer.Option(help="Records that somebody changed since, or that others hang on: skip, force or stop.")
    ] = "skip",
    include_later: Annotated[
        bool, typer.Option("--include-later", help="Newer runs and dependent phases first, where there are any.")
    ] = False,
    hard_delete: Annotated[bool, typer.Option("--hard-delete", help="Past the recycle bin.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done; writes to no org.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    confirm_production: Production = "",
) -> None:
    """Undo a run: delete what it inserted, restore what it changed, and account for every record."""
    from isync_dagster.cli import rollback as commands

    console = make_console()
    with errors_end_the_command(console):
        code = commands.rollback(
            console,
            template,
            phase,
            run=run,
            conflicts=conflicts,
            include_later=include_later,
            hard_delete=hard_delete,
            plan_only=plan,
            yes=yes,
            confirm_production=confirm_production,
        )
    raise typer.Exit(int(code))


@app.command()
def errors(
    template: Template,
    phase: Phases = None,
    top: Annotated[int, typer.Option(help="At most so many groups an object.")] = 20,
    run: Annotated[int | None, typer.Option(help="Number of a run; without it, the newest of each phase.")] = None,
    object: Annotated[list[str] | None, typer.Option("--object", "-o", help="Only this object.")] = None,
    code: Annotated[str, typer.Option(help="Only rows with this status code of Salesforce.")] = "",
    export: Annotated[
        Path | None, typer.Option(help="Write all rows to errors_<Object>_<time>.csv in this folder.", metavar="FOLDER")
    ] = None,
    json: Json = False,
) -> None:
    """The refused rows of the newest run, grouped, with what to do about each group."""
    from isync_dagster.cli import runs as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.errors(console, template, phase or [], top, run, object or [], code, export, json)


@app.command()
def demo(
    rows: Annotated[
        int, typer.Option(min=100, help="Rows of the source org, roughly; used when the orgs are made.")
    ] = 20_000,
    folder: Annotated[Path, typer.Option(help="Where the two local orgs live.")] = Path(".isync/demo"),
    serve: Annotated[
        bool, typer.Option("--serve", help="Migrate nothing: serve both orgs to other commands, until Ctrl-C.")
    ] = False,
) -> None:
    """Make two local orgs, migrate the demo template between them, and show what became of every record."""
    from isync_dagster.cli import demo as commands

    console = make_console()
    with errors_end_the_command(console):
        code = commands.serve(console, rows, folder) if serve else commands.demo(console, rows, folder)
    raise typer.Exit(int(code))


@app.command()
def ui(
    demo: Annotated[bool, typer.Option("--demo", help="With the two orgs of the demo running.")] = False,
    rows: Annotated[int, typer.Option(min=100, help="With --demo: rows of the source org where it is made.")] = 20_000,
    folder: Annotated[Path, typer.Option(help="With --demo: where the local orgs live.")] = Path(".isync/demo"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 3000,
) -> None:
    """The Dagster UI with its daemon (queue, backfills), until Ctrl-C."""
    from isync_dagster.cli import ui as commands

    console = make_console()
    with errors_end_the_command(console):
        code = commands.ui(console, host, port, folder if demo else None, rows)
    raise typer.Exit(int(code))


operate.register(app)
planning.register(app, orgs)
compare.register(app, orgs)
automation.register(app)
report.register(app)
teach(app)


def main() -> None:
    """The console script."""
    # Asked to end is asked to end, by whatever signal: what was started is stopped in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except IsyncError as error:  # raised before a command had its console
        try:
            stop(make_console(), str(error), exit_code_of(error))
        except typer.Exit as end:
            raise SystemExit(end.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(int(Exit.FAILED)) from None
    finally:
        # Python would look through all that is still held, once more and object by object, before it ends. The binding of
        # DuckDB, which a process has that serves local orgs, counts what is left and complains.
        if "duckdb" not in sys.modules:
            gc.freeze()


if __name__ == "__main__":
    main()
