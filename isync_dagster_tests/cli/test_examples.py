"""Every command: its help has examples that the parser takes, tells the exit status, and options mean the same everywhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from isync_dagster.cli.app import app
from isync_dagster.cli.examples import EXAMPLES

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def commands() -> Mapping[str, Any]:
    def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield path, command
            return
        for name, one in command.commands.items():
            yield from walk(one, f"{path} {name}".strip())

    return dict(walk(typer.main.get_command(app), ""))


COMMANDS = commands()


def parse(line: str) -> None:
    """Let the command line's own parser take it, without running anything; raises what it would refuse."""
    words = shlex.split(line, comments=True)
    assert words[0] == "isync"
    group: Any = typer.main.get_command(app)
    context = click.Context(group, info_name="isync")
    rest = words[1:]
    while hasattr(group, "commands"):
        _, group, rest = group.resolve_command(context, rest)
        context = click.Context(group, parent=context)
    group.make_context(group.name, list(rest), parent=context.parent)


def test_every_command_has_examples_and_no_example_is_of_another() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    for path, lines in EXAMPLES.items():
        words = path.removesuffix(" list").split() if path == "runs list" else path.split()
        assert all(line.split()[1 : 1 + len(words)] == words for line in lines), path


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_examples_are_taken_by_the_parser(line: str) -> None:
    parse(line)


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_help_is_whole(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    done = CliRunner().invoke(app, [*path.split(), "--help"])
    assert done.exit_code == 0, done.output
    assert EXAMPLES[path][0] in done.output
    assert re.search(r"Exit status:? 0 ", done.output)
    for parameter in COMMANDS[path].params:
        assert getattr(parameter, "help", None), f"{path}: {parameter.name} says nothing of itself"


def test_an_option_is_spelled_and_meant_the_same_everywhere() -> None:
    short: dict[str, set[str]] = {}
    for path, command in COMMANDS.items():
        for parameter in command.params:
            names = [name for name in parameter.opts if name.startswith("-")]
            for name in names:
                if not name.startswith("--"):
                    short.setdefault(name, set()).update(other for other in names if other.startswith("--"))
        spelled = {name for parameter in command.params for name in parameter.opts}
        assert not spelled & {"--phases", "--force", "--output", "--format", "--confirm"}, path
        if "--yes" in spelled:
            assert "-y" in spelled, path
        if "--phase" in spelled:
            assert "-p" in spelled, path
    assert {name: long for name, long in short.items() if len(long) > 1} == {}


def test_what_a_script_asks_for_comes_as_json() -> None:
    asked = {"plan", "migrate", "validate", "errors", "explain", "inventory", "scan", "forecast", "compare", "automation",
             "orgs check", "orgs drift", "runs list"}  # fmt: skip
    assert {path for path, one in COMMANDS.items() if any("--json" in item.opts for item in one.params)} >= asked


PATTERN = re.compile(r"[<…|]|\bTEMPLATE\b|\bFOLDER\b")
"""What shows the form of a command and is none that can be typed."""


def told(page: Path) -> Iterator[str]:
    """The command lines of a page's shell blocks, and the prompts of its outputs."""
    for language, block in re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        joined = block.replace("\\\n", " ")
        for line in joined.splitlines():
            command = line.strip().removeprefix("$ ")
            typed = command.startswith("isync ") and (language == "sh" or line.strip().startswith("$ "))
            if typed and not PATTERN.search(command):
                yield command


@pytest.mark.parametrize(("page", "line"), [(page.name, line) for page in PAGES for line in told(page)])
def test_what_the_docs_tell_people_to_type_is_taken(page: str, line: str) -> None:
    """Pages cannot rot: an option that is renamed, or a command that goes, fails here."""
    parse(line)
