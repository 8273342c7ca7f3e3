"""The pictures of a report as inline SVG: bars of what became of records, and of where the time went.

Colours are classes that the page's style sheet fills, so that they follow the reader's light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, LABEL, BAR, GAP, COUNT = 1000, 210, 22, 10, 110
"""Pixels of the drawing's own space: it scales with the page."""
NARROWEST = 3.0
"""A part is at least that wide, so that one refused row among a million is seen."""


@dataclass(frozen=True)
class Row:
    """One bar: its label, its parts by kind in their order, what stands at its end."""

    label: str
    parts: Mapping[str, float]
    end: str
    strong: bool = False


def bars(rows: Sequence[Row], title: str, *, relative: bool = False) -> Markup:
    """Stacked bars, one below the other. With `relative` their lengths compare, else each fills the width by itself."""
    if not rows:
        return Markup("")
    room = WIDTH - LABEL - COUNT
    most = max((sum(row.parts.values()) for row in rows), default=0.0)
    height = len(rows) * (BAR + GAP)
    drawn = [_row(row, index * (BAR + GAP), room, most if relative else 0.0) for index, row in enumerate(rows)]
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        WIDTH, height, title, title, Markup("").join(drawn)
    )


def _row(row: Row, top: int, room: int, most: float) -> Markup:
    whole = sum(row.parts.values())
    length = room * (whole / most) if most else float(room)
    label = Markup('<text x="{}" y="{}" class="label{}" text-anchor="end">{}</text>').format(
        LABEL - 12, top + BAR - 6, " strong" if row.strong else "", row.label
    )
    pieces = [label]
    left = float(LABEL)
    for (kind, value), width in zip(
        _filled(row.parts), widths([v for _, v in _filled(row.parts)], length), strict=True
    ):
        share = f"{value / whole:.1%}" if whole else ""
        pieces.append(
            Markup(
                '<rect x="{}" y="{}" width="{}" height="{}" class="part {}"><title>{}: {} {} ({})</title></rect>'
            ).format(f"{left:.1f}", top, f"{width:.1f}", BAR, kind, row.label, f"{value:,.10g}", kind, share)
        )
        left += width
    if not whole:
        pieces.append(Markup('<line x1="{0}" x2="{0}" y1="{1}" y2="{2}" class="none"/>').format(LABEL, top, top + BAR))
    pieces.append(
        Markup('<text x="{}" y="{}" class="count">{}</text>').format(f"{left + 8:.1f}", top + BAR - 6, row.end)
    )
    return Markup("").join(pieces)


def _filled(parts: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(kind, value) for kind, value in parts.items() if value > 0]


def widths(values: Iterable[float], length: float) -> list[float]:
    """The widths of parts of a bar: in proportion, but none narrower than can be seen; together `length`.

    >>> [round(width) for width in widths([1, 999_999], 600)]
    [3, 597]
    """
    listed = list(values)
    whole = sum(listed)
    if not whole:
        return []
    least = min(NARROWEST, length / len(listed))
    raw = [max(least, length * value / whole) for value in listed]
    extra = sum(raw) - length
    wide = sum(width - least for width in raw)
    return [width - (extra * (width - least) / wide if wide else 0.0) for width in raw]


def trend(values: Sequence[float], title: str) -> Markup:
    """A small line of how a number went from run to run; nothing where there are fewer than two."""
    if len(values) < 2:
        return Markup("")
    width, height, edge = 220.0, 44.0, 5.0
    top, low = max(values), min(values)
    step = (width - 2 * edge) / max(1, len(values) - 1)
    points = [
        (edge + index * step, height - edge - (height - 2 * edge) * ((value - low) / (top - low) if top > low else 0.5))
        for index, value in enumerate(values)
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = Markup("").join(
        Markup('<circle cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
            f"{x:.1f}", f"{y:.1f}", f"{value:,.10g}"
        )
        for (x, y), value in zip(points, values, strict=True)
    )
    return Markup(
        '<svg class="trend" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title><polyline points="{}"/>{}</svg>'
    ).format(int(width), int(height), escape(title), escape(title), line, dots)
