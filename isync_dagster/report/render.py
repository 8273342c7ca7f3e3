"""A summary as HTML and Markdown: what happened first, then every detail that a signature needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from upath import UPath

from isync_dagster.migration.model import LinkState, ObjectSummary, State, Summary, Verdict

ALWAYS = (State.INSERTED, State.UPDATED, State.IDENTICAL, State.EXISTING, State.SKIPPED, State.FAILED, State.BLOCKED)
"""States that every report shows; the others only where a record is in them."""

TROUBLE = frozenset({State.FAILED, State.BLOCKED, State.PENDING, State.UNKNOWN})
"""States that a good run has none of (or no more than its threshold)."""

LINK_TROUBLE = frozenset({LinkState.PENDING, LinkState.FAILED})

CHECKS: Mapping[str, str] = {
    "conservation": "Every record in exactly one state",
    "rejected_rows": "Refused rows within the threshold",
    "record_count": "Records found again in the target",
    "relationships": "Lookups point at the right records",
    "relinked": "Lookups of the second pass",
}


@dataclass(frozen=True)
class Page:
    """What the templates show, worked out from a summary."""

    summary: Summary

    @cached_property
    def states(self) -> list[State]:
        """The columns of the table of objects."""
        return [
            state for state in State if state in ALWAYS or any(row.states.get(state) for row in self.summary.objects)
        ]

    @cached_property
    def links(self) -> list[LinkState]:
        """The columns of the table of lookups."""
        return [state for state in LinkState if any(row.links.get(state) for row in self.summary.objects)]

    @property
    def extracted(self) -> int:
        """Records in scope, all objects together."""
        return sum(row.extracted for row in self.summary.objects)

    def total(self, state: str) -> int:
        """Records in a state, all objects together."""
        return sum(row.states.get(state, 0) for row in self.summary.objects)

    def total_links(self, state: str) -> int:
        """Lookups in a state, all objects together."""
        return sum(row.links.get(state, 0) for row in self.summary.objects)

    @property
    def in_target(self) -> int:
        """Records that have a counterpart in the target."""
        return sum(self.total(state) for state in (State.INSERTED, State.UPDATED, State.IDENTICAL, State.EXISTING))

    @property
    def refused(self) -> int:
        """Records that Salesforce refused or that lack a required parent."""
        return self.total(State.FAILED) + self.total(State.BLOCKED)

    @property
    def verified(self) -> int:
        """Lookups read again from the target and found right."""
        return sum(row.lookups_verified for row in self.summary.objects)

    @property
    def wrong(self) -> int:
        """Lookups read again from the target and found wrong."""
        return sum(row.lookups_wrong for row in self.summary.objects)

    @property
    def failed(self) -> list[Verdict]:
        """The checks that did not hold."""
        return [verdict for row in self.summary.objects for verdict in row.verdicts if not verdict.passed]

    @property
    def checks(self) -> int:
        """How many checks were made."""
        return sum(len(row.verdicts) for row in self.summary.objects)

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        if self.summary.kept:
            return "The promise is kept: every record is accounted for, every migrated lookup verified."
        if not self.checks:
            return "Nothing was checked, so nothing is promised."
        errors = sum(verdict.severity == "error" for verdict in self.failed)
        return f"The promise is not kept: {errors} of {self.checks} checks did not hold."

    @property
    def with_errors(self) -> list[ObjectSummary]:
        """The objects that have refused rows."""
        return [row for row in self.summary.objects if row.errors]

    @property
    def with_dropped(self) -> list[ObjectSummary]:
        """The objects that have fields which were not migrated."""
        return [row for row in self.summary.objects if row.dropped_fields]

    def check_name(self, name: str) -> str:
        """A check as people would call it."""
        return CHECKS.get(name, name)


def render_html(summary: Summary) -> str:
    """One file with everything in it: no script, no font, nothing loaded from elsewhere."""
    return _environment(html=True).get_template("report.html.jinja").render(**_names(summary))


def render_markdown(summary: Summary) -> str:
    """The same for a ticket, a wiki or a terminal."""
    return _environment(html=False).get_template("report.md.jinja").render(**_names(summary))


def write_report(summary: Summary, folder: UPath) -> UPath:
    """Write `report.html` and `report.md` into the folder (in the store); gives the HTML file."""
    from isync_dagster.store import files

    page = folder / "report.html"
    files.write_bytes(page, render_html(summary).encode())
    files.write_bytes(folder / "report.md", render_markdown(summary).encode())
    return page


def _names(summary: Summary) -> dict[str, Any]:
    return {"page": Page(summary), "summary": summary, "trouble": TROUBLE, "link_trouble": LINK_TROUBLE}


def _environment(*, html: bool) -> Environment:
    made = Environment(
        loader=PackageLoader("isync_dagster.report", ""),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "cell": cell, "columns": columns}
    return made


def number(value: float) -> str:
    """A number with separators, and a dot where there is none.

    >>> number(12345), number(0), number(2.5)
    ('12,345', '·', '2.5')
    """
    return f"{value:,}" if value else "·"


def cell(value: object) -> str:
    """A value as a cell of a Markdown table.

    >>> cell("a|b\\n<c>")
    'a\\\\|b &lt;c>'
    """
    text = "" if value is None else " ".join(str(value).split())
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows in order of appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))
