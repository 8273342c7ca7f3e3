"""What the commands share: the console, exit codes, and how an error ends a command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from isync_dagster.errors import ConfigError, IsyncError, OrgError


class Exit(IntEnum):
    """Exit status of every command."""

    OK = 0
    FAILED = 1
    """A step of the run failed, or the run was stopped."""
    CONFIGURATION = 2
    """The template, orgs.yaml, a snapshot, a setting or the command line must change first."""
    REJECTED = 3
    """Everything ran; more rows were refused or blocked than the template allows."""
    VERIFICATION = 4
    """Everything ran; a law or a check of the target did not hold."""
    ORG = 5
    """An org cannot be reached or does not accept the credentials."""


PIPE_WIDTH = 200
"""Width of tables that go to a file or a pipe."""

EXIT_CODES = (
    "Exit status: 0 all good; 1 a step failed or the run was stopped; 2 the configuration must change; 3 more rows "
    "were refused or blocked than the template allows; 4 a check of the target did not hold; 5 an org cannot be "
    "reached or refuses the login."
)


def make_console() -> Console:
    """A console that goes on writing to the terminal while Dagster captures what the process prints."""
    try:
        real = sys.stdout.fileno() == 1
    except (OSError, ValueError):
        real = False
    # The copy of the descriptor stays open until the process ends.
    console = Console(file=os.fdopen(os.dup(1), "w") if real else sys.stdout, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def say_json(console: Console, value: Any) -> None:
    """Print a value as the one thing that a command says; what JSON has no word for (times, paths) as text."""
    console.out(json.dumps(value, indent=1, ensure_ascii=False, default=str), highlight=False)


def quiet_console() -> Console:
    """A console that shows nothing, for commands whose output is JSON."""
    return Console(quiet=True)


@contextmanager
def errors_end_the_command(console: Console) -> Iterator[None]:
    """Show an error of ours as its message, and end with the exit status of its kind."""
    try:
        yield
    except IsyncError as error:
        stop(console, str(error), exit_code_of(error))


def exit_code_of(error: BaseException) -> Exit:
    """Configuration, org, or anything else.

    >>> exit_code_of(ConfigError("no such template")).name
    'CONFIGURATION'
    """
    if isinstance(error, ConfigError):
        return Exit.CONFIGURATION
    return Exit.ORG if isinstance(error, OrgError) else Exit.FAILED


def stop(console: Console, message: str, code: Exit) -> NoReturn:
    """Print what is wrong and end the command."""
    console.print(f"[bold red]error[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(int(code))
