"""`isync report`: the pages of a template's runs, made anew from the store; asks no org."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from upath import UPath

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.console import Exit, errors_end_the_command, make_console
from isync_dagster.cli.outcome import runs_of
from isync_dagster.errors import ConfigError
from isync_dagster.plan.model import Plan
from isync_dagster.report.summary import summary_from_json
from isync_dagster.store.runs import Run
from isync_dagster.store.store import Store

NAME = "history.html"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(report)


def report(
    template: Annotated[str, typer.Argument(help="Name of a template: the file's name without .yaml.")],
    phase: Annotated[
        list[str] | None, typer.Option("--phase", "-p", help="A phase of the template; may be given more than once.")
    ] = None,
    run: Annotated[int | None, typer.Option(help="Number of a run; without it, the newest closed one.")] = None,
    history: Annotated[bool, typer.Option("--history", help="One page over all runs of the template.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Make the report of a phase's newest run anew, with what was validated, retried or rolled back since.

    [bold]isync report demo --open[/]     [bold]isync report demo --history --open[/]
    """
    console = make_console()
    with errors_end_the_command(console):
        code = make(console, template, phase or [], run, history=history, show=open_)
    raise typer.Exit(int(code))


def make(
    console: Console, template: str, phases: Sequence[str], number: int | None, *, history: bool, show: bool
) -> Exit:
    """Write the pages and print where they are."""
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    wanted = [plan.phase(name).name for name in phases] or [phase.name for phase in plan.phases]
    pages = [_history(settings, plan, wanted)] if history else _reports(settings, plan, wanted, number)
    for page in pages:
        console.print(escape(page), soft_wrap=True)
        if show:
            webbrowser.open(Path(page).absolute().as_uri() if "://" not in page else page)
    return Exit.OK


def _reports(settings: Settings, plan: Plan, phases: Sequence[str], number: int | None) -> list[str]:
    from isync_dagster.migration.publishing import publish_again

    pages = []
    for phase in phases:
        for run in reversed(runs_of(settings, plan, phase).list()):
            closed = run.summary()
            if closed and (number is None or run.number == number):
                pages.append(publish_again(run, summary_from_json(closed)).report_path)
                break
    if not pages:
        which = "closed run" if number is None else f"closed run {number}"
        raise ConfigError(
            f"{plan.template!r} has no {which} in {', '.join(phases)}: `isync runs {plan.template}` lists what there is."
        )
    return pages


def _history(settings: Settings, plan: Plan, phases: Sequence[str]) -> str:
    from isync_dagster.report.history import History, HistoryRun, render_history
    from isync_dagster.store import files

    folder = Store.open(settings.store).layout.history(plan.source_org_id, plan.target_org_id, plan.template)
    found: list[tuple[Run, HistoryRun]] = []
    for phase in phases:
        for run in runs_of(settings, plan, phase).list():
            closed = run.summary()
            page = run.report_folder / "report.html"
            found.append(
                (
                    run,
                    HistoryRun(
                        phase,
                        run.number,
                        str(run.state),
                        run.opened_at.isoformat(),
                        run.opened_by,
                        summary_from_json(closed) if closed else None,
                        _seen_from(page, folder) if files.exists(page) else "",
                    ),
                )
            )
    if not found:
        raise ConfigError(f"No run of {plan.template!r} yet: `isync migrate {plan.template}`.")
    found.sort(key=lambda pair: (pair[0].opened_at, pair[0].number), reverse=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    history = History(plan.template, plan.source_alias, plan.target_alias, phases, [line for _, line in found], now)
    files.write_bytes(folder / NAME, render_history(history).encode())
    return str(folder / NAME)


def _seen_from(page: UPath, folder: UPath) -> str:
    """The page's address as a link in a page of the folder: relative, so that the store can be copied."""
    return os.path.relpath(page.path, folder.path).replace(os.sep, "/")
