"""`python -m benchmarks.flame OUT.svg "before=a.raw" "after=b.raw"`: where the time of a command goes, one above the other.

Takes what `py-spy record --gil --rate 200 --format raw` wrote. All graphs have one scale, seconds to the right. Frames of
one library that follow each other are one; what a library's import took is named by the module that was imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

RATE = 200
"""Samples a second that py-spy was asked for."""
WIDTH, ROW, PAD = 1200, 15, 10
LEAST = 0.004
"""The share of all samples below which a frame is not drawn."""
DEEP = 16
COLOURS = {"isync_dagster": "#f4a261", "dagster": "#8ecae6", "polars": "#b7e4c7", "import": "#d9d9d9", "": "#eeeeee"}
_FRAME = re.compile(r"^(?P<name>.+?) \((?P<file>[^:)]+)(?::\d+)?\)$")
_NOT_SAID = ("threading", "runpy", "typer", "importlib", "concurrent", "contextlib", "<frozen")


@dataclass
class Node:
    """A frame: its samples with all that it called."""

    samples: int = 0
    below: dict[str, Node] = field(default_factory=dict)


def read(path: Path) -> Node:
    """The tree of a raw file: a line a stack, frames separated by semicolons, then how many samples had it."""
    root = Node()
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        node, number = root, int(count)
        node.samples += number
        for name in _said(stack.split(";")):
            node = node.below.setdefault(name, Node())
            node.samples += number
    return root


def _said(stack: list[str]) -> Iterator[str]:
    """`package: function` of the frames that tell something, the first of each run of one library's.

    >>> list(_said(["main (isync_dagster/cli/app.py:1)", "run (dagster/api.py:2)", "go (dagster/x.py:3)"]))
    ['isync_dagster: main (cli/app.py)', 'dagster: run']
    """
    last = ""
    for frame in stack:
        found = _FRAME.match(frame)
        if found is None or found["file"].startswith(_NOT_SAID):
            continue
        package = found["file"].partition("/")[0].removesuffix(".py")
        name = found["name"].rpartition("<locals>.")[2]
        if name == "<module>":
            if package != last:
                yield f"import: {package}"
            last = package
        elif package == "isync_dagster":
            yield f"{package}: {name} ({found['file'].removeprefix('isync_dagster/')})"
            last = package
        elif package != last:
            yield f"{package}: {name}"
            last = package


def draw(graphs: dict[str, Node]) -> str:
    """The graphs as one SVG."""
    most = max(node.samples for node in graphs.values())
    parts, top = [], PAD
    for title, root in graphs.items():
        parts.append(
            f'<text x="{PAD}" y="{top + 10}" font-weight="bold">{escape(title)}: {root.samples / RATE:.1f} s</text>'
        )
        depth = max((level for level, *_ in _boxes(root, most)), default=0)
        for level, start, width, name in _boxes(root, most):
            x, y = PAD + start, top + 18 + level * ROW
            colour = COLOURS.get(name.partition(":")[0], COLOURS[""])
            shown = escape(name.partition(": ")[2][: int(width / 6)]) if width > 30 else ""
            parts.append(
                f"<g><title>{escape(name)}: {width / (WIDTH - 2 * PAD) * most / RATE:.2f} s</title>"
                f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.5):.1f}" height="{ROW - 1}" fill="{colour}"/>'
                f'<text x="{x + 2:.1f}" y="{y + 11}">{shown}</text></g>'
            )
        top += 18 + (depth + 1) * ROW + PAD
    legend = ", ".join(f"{name or 'others'} {colour}" for name, colour in COLOURS.items())
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" font-family="sans-serif" font-size="10">'
    return (
        "\n".join(
            [head, f"<desc>{legend}</desc>", f'<rect width="{WIDTH}" height="{top}" fill="white"/>', *parts, "</svg>"]
        )
        + "\n"
    )


def _boxes(root: Node, most: int) -> Iterator[tuple[int, float, float, str]]:
    scale = (WIDTH - 2 * PAD) / most

    def below(node: Node, level: int, start: float) -> Iterator[tuple[int, float, float, str]]:
        for name, child in sorted(node.below.items(), key=lambda item: -item[1].samples):
            if child.samples >= LEAST * most and level < DEEP:
                yield level, start, child.samples * scale, name
                yield from below(child, level + 1, start)
                start += child.samples * scale

    yield from below(root, 0, 0.0)


def main() -> int:
    """Draw what the command line names."""
    out, *named = sys.argv[1:]
    graphs = {title: read(Path(path)) for title, _, path in (item.partition("=") for item in named)}
    Path(out).write_text(draw(graphs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
