"""YAML read with the line of every key: what turns a finding about a template into file:line.

Scalars stay text (the models say which are numbers or switches), so that picklist values such as `Yes`, `010`
or `1.10` mean what is written; an unquoted `null` or `~` is the only one that is not. A key that stands twice in a
block is an error, which plain YAML loaders let pass.
"""

from __future__ import annotations

from typing import Any

import yaml

from isync_dagster.errors import TemplateError

Loc = tuple[str | int, ...]

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class YamlSource:
    """A YAML text as plain values, and the line of each place in it."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._lines: dict[Loc, int] = {}
        try:
            node = yaml.compose(text, Loader=yaml.CSafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self._error(mark.line + 1 if mark else 1, f"this is no YAML: {error.problem}") from error
        except yaml.YAMLError as error:
            raise self._error(1, f"this is no YAML: {error}") from error
        if node is None:
            raise self._error(1, "the file is empty")
        self.value: Any = self._build(node, (), ())

    def line(self, path: Loc) -> int:
        """The line of a place, or of the nearest place around it that the file has."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _build(self, node: yaml.Node, path: Loc, above: tuple[yaml.Node, ...]) -> Any:
        if any(node is other for other in above):
            raise self._error(node.start_mark.line + 1, "an alias (*) stands inside the block that it repeats")
        self._lines.setdefault(path, node.start_mark.line + 1)
        inside = (*above, node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, inside)
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*path, index), inside) for index, item in enumerate(node.value)]
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        return None if plain and node.value in _NULLS else node.value

    def _mapping(self, node: yaml.MappingNode, path: Loc, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        own: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(line, "a key must be a plain word")
            key = key_node.value
            if key_node.tag == "tag:yaml.org,2002:merge":
                values = {**self._merged(value_node, path, above), **values}
                continue
            if key in own:
                raise self._error(line, f"the key {key!r} stands here a second time (first in line {own[key]})")
            own[key] = line
            self._lines[*path, key] = line
            values[key] = self._build(value_node, (*path, key), above)
        return values

    def _merged(self, node: yaml.Node, path: Loc, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        """The keys that `<<` brings in; the first of several blocks wins, as YAML says."""
        parts = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                raise self._error(node.start_mark.line + 1, "<< takes a block, or a list of blocks")
            values = {**self._build(part, path, above), **values}
        return values

    def _error(self, line: int, what: str) -> TemplateError:
        return TemplateError(f"{self.file}:{line}: {what}.", file=self.file, line=line)
