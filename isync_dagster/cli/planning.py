"""The commands of the person who plans a migration: inventory, scan, forecast, and connecting to orgs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from isync_dagster.cli.console import errors_end_the_command, make_console

Template = Annotated[str, typer.Argument(help="Name of a template: the file's name without .yaml.")]
Phases = Annotated[
    list[str] | None, typer.Option("--phase", "-p", help="A phase of the template; may be given more than once.")
]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Alias = Annotated[str, typer.Argument(help="The org, as orgs.yaml calls it.")]


def register(app: typer.Typer, orgs: typer.Typer) -> None:
    """Add the commands to the application and to `isync orgs`."""
    app.command()(inventory)
    app.command()(scan)
    app.command()(forecast)
    orgs.command("login")(login)
    orgs.command("logout")(logout)


def inventory(
    alias: Alias,
    json: Json = False,
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file.", metavar="FILE")] = None,
    months: Annotated[int, typer.Option(min=1, help="Unchanged for so many months counts as obsolete.")] = 18,
    all: Annotated[bool, typer.Option("--all", help="Objects without records and without a template too.")] = False,
) -> None:
    """Every object of an org that could be migrated: records, storage, last change, which templates cover it.

    Examples: `isync inventory production`, `isync inventory production --csv objects.csv`.
    """
    from isync_dagster.cli import inventory as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.inventory(console, alias, json, csv, months, all)


def scan(
    template: Template,
    phase: Phases = None,
    samples: Annotated[int, typer.Option(min=0, max=100, help="Sample records of each decision an object.")] = 5,
    json: Json = False,
) -> None:
    """Say what a migration would do and take: reads both orgs, writes to neither, opens no run.

    Phases that a named phase comes after and that are not done are scanned along with it. Ends with 4 where the gate
    would stop a run, 3 where more rows would be blocked than the template allows, 2 where an org has not enough left.
    """
    from isync_dagster.cli import scan as commands

    console = make_console()
    with errors_end_the_command(console):
        code = commands.scan(console, template, phase or [], samples, json)
    raise typer.Exit(int(code))


def forecast(template: Template, json: Json = False) -> None:
    """Calls, batches, storage and time by the newest scan and what runs have shown since, against what is left now."""
    from isync_dagster.cli import scan as commands

    console = make_console()
    with errors_end_the_command(console):
        code = commands.forecast(console, template, json)
    raise typer.Exit(int(code))


def login(
    alias: Alias,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Log in at test.salesforce.com.")] = False,
    url: Annotated[str, typer.Option(help="Log in here instead: the org's My Domain URL.")] = "",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the browser, or only print the URL.")
    ] = True,
    port: Annotated[
        int, typer.Option(help="Port of the callback on this machine; 0 takes a free one.", min=0, max=65_535)
    ] = 1717,
    paste: Annotated[
        bool, typer.Option("--paste", help="The browser is on another machine: paste the address it ends at.")
    ] = False,
) -> None:
    """Log in to an org in the browser (OAuth web-server flow with PKCE) and keep its tokens on this machine.

    The entry of orgs.yaml says `auth: web` and the app's `consumer_key`. The app must name the callback URL
    http://localhost:1717/OauthRedirect (or with the port you give).
    """
    from isync_dagster.cli import connect as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.login(console, alias, sandbox=sandbox, url=url, browser=browser, port=port, paste=paste)


def logout(alias: Alias) -> None:
    """Revoke the tokens of an org at Salesforce and forget them here."""
    from isync_dagster.cli import connect as commands

    console = make_console()
    with errors_end_the_command(console):
        commands.logout(console, alias)
