"""Changes of a template's text that keep its comments, its order and its style.

A change names a place by its keys and gives a value to set there, or a name to add to the list there. It is made in
the text itself: what is not changed keeps every character, so that the difference shown to people is what is meant.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import yaml

from isync_dagster.errors import TemplateError

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*( [\w./-]+)*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n", "~"})


@dataclass(frozen=True)
class Change:
    """Set `value` at a place, or with `add` put it into the list there; `why` stands in the patch for people."""

    path: tuple[str, ...]
    value: str
    why: str
    add: bool = False


def patched(text: str, changes: Iterable[Change], *, file: str = "<template>") -> str:
    """The text with every change made, keys found in any case.

    Raises `TemplateError` where a change would touch a block that the file repeats by an alias, or a place that holds
    something else than the change expects.
    """
    for change in changes:
        text = _Editor(text, file).made(change)
    return text


def difference(before: str, after: str, name: str) -> str:
    """The unified difference of two texts of one file, empty where they are the same."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(lines)


def as_patch(changes: Sequence[Change], head: Iterable[str] = ()) -> str:
    """The changes as a document of their own: the keys to merge into the template, each with its reason."""
    text = "".join(f"# {line}\n" for line in head) + "objects:\n"
    lines: list[str] = text.splitlines()
    here: tuple[str, ...] = ("objects",)
    for change in sorted(changes, key=lambda item: item.path):
        block = change.path if change.add else change.path[:-1]
        common = 0
        while common < min(len(block), len(here)) and block[common] == here[common]:
            common += 1
        lines += [f"{'  ' * depth}{_scalar(block[depth])}:" for depth in range(common, len(block))]
        here = block
        entry = f"- {_scalar(change.value)}" if change.add else f"{_scalar(change.path[-1])}: {_scalar(change.value)}"
        lines.append(f"{'  ' * len(block)}{entry}  # {change.why}")
    return "\n".join(lines) + "\n"


class _Editor:
    def __init__(self, text: str, file: str) -> None:
        self._text = text if text.endswith("\n") else text + "\n"
        self._file = file
        try:
            root = yaml.compose(self._text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise TemplateError(f"{file}: this is no YAML: {error}.", file=file, line=1) from error
        if root is None:
            raise TemplateError(f"{file}: the file is empty.", file=file, line=1)
        self._root: yaml.Node = root

    def made(self, change: Change) -> str:
        node, depth = self._root, 0
        while depth < len(change.path) and isinstance(node, yaml.MappingNode):
            found = self._value(node, change.path[depth])
            if found is None:
                break
            node, depth = found, depth + 1
        rest = change.path[depth:]
        if not rest:
            return self._added(node, change) if change.add else self._replaced(node, _scalar(change.value))
        if isinstance(node, yaml.MappingNode):
            return self._new_key(node, rest, change)
        if _is_null(node):
            indent = self._column_of_key(node) + 2
            return self._below(_last_line(node), _block(rest, change, indent))
        raise self._error(node, f"{'.'.join(change.path[:depth])} holds no block of keys")

    def _value(self, node: yaml.MappingNode, key: str) -> yaml.Node | None:
        for key_node, value in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value.lower() == key.lower():
                if value.start_mark.index < key_node.start_mark.index:
                    raise self._error(key_node, f"{key} repeats another block by an alias (*)")
                found: yaml.Node = value
                return found
        return None

    def _new_key(self, node: yaml.MappingNode, rest: tuple[str, ...], change: Change) -> str:
        if node.flow_style:
            entry = _flow(rest, change)
            return self._into_flow(node, entry)
        indent = node.start_mark.column
        return self._below(_last_line(node), _block(rest, change, indent))

    def _added(self, node: yaml.Node, change: Change) -> str:
        value = _scalar(change.value)
        if isinstance(node, yaml.SequenceNode):
            if any(isinstance(item, yaml.ScalarNode) and item.value == change.value for item in node.value):
                return self._text
            if node.flow_style:
                return self._into_flow(node, value)
            indent = " " * node.start_mark.column
            return self._below(_last_line(node), [f"{indent}- {value}"])
        if _is_null(node):
            return self._replaced(node, f" [{value}]")
        if isinstance(node, yaml.ScalarNode):
            names = [part.strip() for part in node.value.split(",") if part.strip()]
            if change.value in names:
                return self._text
            return self._replaced(node, f"[{', '.join(_scalar(name) for name in [*names, change.value])}]")
        raise self._error(node, f"{'.'.join(change.path)} holds no list")

    def _into_flow(self, node: yaml.CollectionNode, entry: str) -> str:
        end = node.end_mark.index - 1
        head = self._text[:end].rstrip()
        comma = "" if not node.value or head.endswith(",") else ","
        space = "" if not node.value else " "
        return f"{head}{comma}{space}{entry}{self._text[end:]}"

    def _replaced(self, node: yaml.Node, value: str) -> str:
        return self._text[: node.start_mark.index] + value + self._text[node.end_mark.index :]

    def _below(self, line: int, lines: Sequence[str]) -> str:
        kept = self._text.splitlines(keepends=True)
        return "".join([*kept[: line + 1], *(f"{new}\n" for new in lines), *kept[line + 1 :]])

    def _column_of_key(self, node: yaml.Node) -> int:
        line = self._text.splitlines()[node.start_mark.line]
        return len(line) - len(line.lstrip())

    def _error(self, node: yaml.Node, what: str) -> TemplateError:
        line = node.start_mark.line + 1
        return TemplateError(
            f"{self._file}:{line}: {what}: make the change by hand, the patch says which.", file=self._file, line=line
        )


def _last_line(node: yaml.Node) -> int:
    """The line on which the last character of a node stands; block collections end with their last entry."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return max(int(node.end_mark.line) - 1, int(node.start_mark.line))
    return int(node.end_mark.line)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in ("", "~", "null")


def _block(path: Sequence[str], change: Change, indent: int) -> list[str]:
    lines = []
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        value = (f" [{_scalar(change.value)}]" if change.add else f" {_scalar(change.value)}") if last else ""
        lines.append(f"{' ' * (indent + 2 * depth)}{_scalar(key)}:{value}")
    return lines


def _flow(path: Sequence[str], change: Change) -> str:
    value = f"[{_scalar(change.value)}]" if change.add else _scalar(change.value)
    for key in reversed(path[1:]):
        value = f"{{{_scalar(key)}: {value}}}"
    return f"{_scalar(path[0])}: {value}"


def _scalar(value: str) -> str:
    """A text as YAML that reads back as itself.

    >>> _scalar("Gold"), _scalar("null"), _scalar("a: b")
    ('Gold', '"null"', '"a: b"')
    """
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)
