"""`isync compare` and `isync orgs drift`: how two orgs differ, what that does to the rows, and how to resolve it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isync_dagster.cli.console import errors_end_the_command, make_console

EXIT_STATUS = (
    "Exit status: 0 no difference; 10 only cosmetic ones; 11 some lose data; 12 some block; 2 the configuration must "
    "change; 5 an org cannot be reached or refuses the login; 1 a deploy failed. With --deploy or --apply: 0 when it is "
    "done."
)

TemplateName = Annotated[
    str,
    typer.Argument(help="Name of a template; without it, --source and --target say which orgs.", metavar="[TEMPLATE]"),
]
Severities = Annotated[
    list[str] | None, typer.Option("--severity", help="Only: blocks, 'loses data' or cosmetic; may be repeated.")
]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", help="Only this kind, such as 'picklist value'; may be repeated.")
]
OnlyObjects = Annotated[list[str] | None, typer.Option("--object", "-o", help="Only this object; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Csv = Annotated[Path | None, typer.Option("--csv", help="Write a line a difference to this file.", metavar="FILE")]
Html = Annotated[Path | None, typer.Option("--html", help="Write one page with everything in it.", metavar="FILE")]


def register(app: typer.Typer, orgs: typer.Typer) -> None:
    """Add the commands to the application and to its group `orgs`."""
    app.command(epilog=EXIT_STATUS)(compare)
    orgs.command("drift", epilog=EXIT_STATUS)(drift)


def compare(
    template: TemplateName = "",
    source: Annotated[str, typer.Option(help="Instead of a template: the source's name in orgs.yaml.")] = "",
    target: Annotated[str, typer.Option(help="Instead of a template: the target's name in orgs.yaml.")] = "",
    objects: Annotated[str, typer.Option(help="With --source: API names with commas between them.")] = "",
    all_objects: Annotated[bool, typer.Option("--all", help="With --source: every object that holds records.")] = False,
    snapshots: Annotated[
        bool, typer.Option("--snapshots", help="The describe snapshots instead of the live orgs; asks no org anything.")
    ] = False,
    with_data: Annotated[
        bool,
        typer.Option("--with-data", help="Read the columns that no query can count: lengths, decimals, long text."),
    ] = False,
    severity: Severities = None,
    kind: Kinds = None,
    object: OnlyObjects = None,
    json: Json = False,
    csv: Csv = None,
    html: Html = None,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Show the changes of the template that resolve what is found.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="With --resolve: make the changes in the template.")] = False,
    package: Annotated[
        Path | None, typer.Option("--package", help="Write what the target lacks as an SFDX project.", metavar="FOLDER")
    ] = None,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="Show what the target lacks, ask, and deploy it there.")
    ] = False,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="With --deploy: let the target only check it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    confirm_production: Annotated[
        str,
        typer.Option(help="To deploy to a production org: its 18-character org id, typed by you.", metavar="ORG_ID"),
    ] = "",
) -> None:
    """How the target's schema differs from the source's, judged by the rows at hand; reads only, unless you deploy.

    isync compare demo --severity blocks
    isync compare --source prod --target uat --objects Account,Contact --html compare.html
    isync compare demo --resolve --apply
    isync compare demo --deploy
    """
    from isync_dagster.cli import comparing as commands

    console = make_console()
    with errors_end_the_command(console):
        asked = commands.Asked(
            template=template, source=source, target=target, objects=objects, all_objects=all_objects,
            snapshots=snapshots, with_data=with_data,
        )  # fmt: skip
        shown = commands.Shown(tuple(severity or ()), tuple(kind or ()), tuple(object or ()), json, csv, html)
        wanted = commands.Resolve(resolve or apply, apply, package, deploy, check_only, yes, confirm_production)
        code = commands.compare(console, asked, shown, wanted)
    raise typer.Exit(code)


def drift(
    alias: Annotated[str, typer.Argument(help="The org, as orgs.yaml calls it.")],
    template: Annotated[str, typer.Option(help="Only what this template needs of the org.")] = "",
    severity: Severities = None,
    kind: Kinds = None,
    object: OnlyObjects = None,
    json: Json = False,
    csv: Csv = None,
    html: Html = None,
) -> None:
    """How an org differs now from its describe snapshot beside the templates; reads only."""
    from isync_dagster.cli import comparing as commands

    console = make_console()
    with errors_end_the_command(console):
        shown = commands.Shown(tuple(severity or ()), tuple(kind or ()), tuple(object or ()), json, csv, html)
        code = commands.drift(console, alias, template, shown)
    raise typer.Exit(code)
