"""Scenario files: those that are shipped, and those of a user, checked with the line of what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.faults import Fault, explain, nearest
from isync_dagster.local_org.scenarios.model import Limits, Locks, Scenario, Timeouts

FOLDER: Final = Path(__file__).parent
_BLOCKS: Final[Mapping[str, type[BaseModel]]] = {
    "": Scenario, "calls": Fault, "locks": Locks, "timeouts": Timeouts, "limits": Limits,
}  # fmt: skip


def names() -> tuple[str, ...]:
    """The names of the shipped scenarios, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def shipped() -> tuple[Scenario, ...]:
    """All shipped scenarios."""
    return tuple(load(name) for name in names())


def load(source: str | Path) -> Scenario:
    """A shipped scenario by name, or one of a file; ConfigError names file and line of what is wrong."""
    path = Path(source)
    if path.suffix not in (".yaml", ".yml"):
        if str(source) not in names():
            raise ConfigError(f"There is no scenario {source}{nearest(str(source), names())} (or name a .yaml file).")
        path = FOLDER / f"{source}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The scenario file {path} cannot be read: {error}.") from error
    scenario = parse(text, str(path))
    if scenario.name != path.stem:
        raise ConfigError(f"{path}:1: the name is {scenario.name!r} and the file is {path.name}: make them the same.")
    return scenario


def parse(text: str, file: str) -> Scenario:
    """A scenario from YAML text."""
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
        values = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{file}:{mark.line + 1 if mark else 1}: this is no YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}:1: this is no YAML: {error}.") from error
    lines: dict[tuple[Any, ...], int] = {}
    _read_lines(node, (), lines, file)
    if not isinstance(values, dict):
        raise ConfigError(f"{file}:1: a scenario is a block of keys, with a name and a description.")
    return validate(values, file, lines)


def validate(values: Mapping[str, Any], file: str, lines: Mapping[tuple[Any, ...], int] | None = None) -> Scenario:
    """A scenario from its values; all findings in one ConfigError, by line where lines are known."""
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        findings = sorted((_line(item["loc"], lines), _message(item)) for item in error.errors())
        shown = [f"{file}:{line}: {text}." if lines else f"{file}: {text}." for line, text in findings]
        raise ConfigError("\n".join(shown)) from error


def _message(item: Any) -> str:
    block = next((str(step) for step in item["loc"][:-1] if isinstance(step, str)), "")
    return explain(_BLOCKS.get(block, Scenario), item)


def _line(loc: tuple[Any, ...], lines: Mapping[tuple[Any, ...], int] | None) -> int:
    while loc and loc not in (lines or {}):
        loc = loc[:-1]
    return (lines or {}).get(loc, 1)


def _read_lines(node: yaml.Node | None, path: tuple[Any, ...], lines: dict[tuple[Any, ...], int], file: str) -> None:
    """The line of every place; a key that stands twice in a block is refused."""
    if node is None:
        return
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _read_lines(item, (*path, number), lines, file)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place, line = (*path, key.value), key.start_mark.line + 1
            if place in lines:
                raise ConfigError(f"{file}:{line}: the key {key.value!r} stands here a second time.")
            lines[place] = line
            _read_lines(value, place, lines, file)
