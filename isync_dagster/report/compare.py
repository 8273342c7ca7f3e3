"""An org compare for people: one HTML page with everything in it, CSV, Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from isync_dagster.migration.comparing import COLUMNS, Difference, OrgComparison, Severity

MOST_VALUES = 12
"""Values that a line lists before it says how many more there are."""


@dataclass(frozen=True)
class Line:
    """Differences that are told as one: the values of one picklist that are of one severity."""

    differences: tuple[Difference, ...]

    @property
    def first(self) -> Difference:
        """The one that says what they have in common."""
        return self.differences[0]

    @property
    def values(self) -> str:
        """The values that they are about, the first of many."""
        named = [item.value for item in self.differences if item.value]
        more = f" and {len(named) - MOST_VALUES} more" if len(named) > MOST_VALUES else ""
        return ", ".join(named[:MOST_VALUES]) + more

    @property
    def rows(self) -> int | None:
        """The rows that they touch together, None where one was not counted."""
        counts = [item.rows for item in self.differences]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def advice(self) -> str:
        """What to do about the first; of several, without its count."""
        text = self.first.what_to_do
        return text if len(self.differences) == 1 else text.partition(". ")[2] or text


def lines(differences: Sequence[Difference]) -> list[tuple[str, list[Line]]]:
    """(object, its lines) in the order of the objects, the worst lines first."""
    order = {severity: place for place, severity in enumerate(Severity)}

    def alike(item: Difference) -> tuple[str, str, str, str, str]:
        single = "" if item.value and item.field else item.target_field
        return str(item.kind), item.field or item.target_field, str(item.severity), single, item.target

    found: list[tuple[str, list[Line]]] = []
    for name, group in groupby(differences, key=lambda item: item.object):
        ranked = sorted(group, key=lambda item: order[item.severity])
        kept: dict[tuple[str, str, str, str, str], list[Difference]] = {}
        for item in ranked:
            kept.setdefault(alike(item), []).append(item)
        found.append((name, [Line(tuple(items)) for items in kept.values()]))
    return found


def render_html(comparison: OrgComparison) -> str:
    """One file: no script, no font, nothing loaded from elsewhere; light and dark, printable."""
    environment = Environment(
        loader=PackageLoader("isync_dagster.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("compare.html.jinja").render(
        found=comparison, groups=lines(comparison.differences), severities=list(Severity)
    )


def render_csv(comparison: OrgComparison) -> str:
    """A line a difference, with a header; a cell that a spreadsheet would take for a formula gets a quote before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in comparison.rows():
        writer.writerow([_plain(row[name]) for name in COLUMNS])
    return text.getvalue()


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "@", "\t") else value
