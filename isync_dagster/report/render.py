"""A summary as HTML and Markdown: what happened first, then every detail that a signature needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from upath import UPath

from isync_dagster.migration.model import LinkState, ObjectSummary, State, Summary, Verdict
from isync_dagster.report.charts import Row, bars

ALWAYS = (State.INSERTED, State.UPDATED, State.IDENTICAL, State.EXISTING, State.SKIPPED, State.FAILED, State.BLOCKED)
"""States that every report shows; the others only where a record is in them."""

TROUBLE = frozenset({State.FAILED, State.BLOCKED, State.PENDING, State.UNKNOWN})
"""States that a good run has none of (or no more than its threshold)."""

LINK_TROUBLE = frozenset({LinkState.PENDING, LinkState.FAILED})

UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
STAGES = ("extract", "preflight", "remap", "load", "relink", "retry", "heal", "closing", "other")
"""The parts of a bar of time."""

CHECKS: Mapping[str, str] = {
    "conservation": "Every record in exactly one state",
    "rejected_rows": "Refused rows within the threshold",
    "record_count": "Records found again in the target",
    "relationships": "Lookups point at the right records",
    "relinked": "Lookups of the second pass",
    "fields": "Values as they were migrated",
    "totals": "Business totals the same in both orgs",
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

    @property
    def values_compared(self) -> int:
        """Values read again from the target and compared."""
        return int(self._numbers("compared values"))

    @property
    def values_different(self) -> int:
        """Those of them that are not what was migrated."""
        return int(self._numbers("different"))

    def _numbers(self, name: str) -> float:
        found = (verdict for row in self.summary.objects for verdict in row.verdicts if verdict.name == "fields")
        return sum(verdict.numbers.get(name, 0) for verdict in found)

    @property
    def metrics(self) -> list[tuple[str, Mapping[str, Any]]]:
        """(object, row) of every business total."""
        found = (verdict for row in self.summary.objects for verdict in row.verdicts if verdict.name == "totals")
        return [(verdict.object, row) for verdict in found for row in verdict.table if "metric" in row]

    @property
    def own_metrics(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Those of them that the template names, and every one that differs."""
        return [pair for pair in self.metrics if not _is_usual(pair[1]) or pair[1].get("difference") is not None]

    @property
    def usual_metrics(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The counts that every report has."""
        return [pair for pair in self.metrics if _is_usual(pair[1])]

    @property
    def usual_metrics_differ(self) -> bool:
        """True where one of those counts is not the same in both orgs."""
        return any(row.get("difference") is not None for _, row in self.usual_metrics)

    @property
    def check_names(self) -> list[str]:
        """The checks that were made, in the order of their names for people."""
        made = {verdict.name for row in self.summary.objects for verdict in row.verdicts}
        return [*(name for name in CHECKS if name in made), *sorted(made - set(CHECKS))]

    @property
    def flow(self) -> Markup:
        """A bar for each object: into which states its records went."""
        states = [str(state) for state in State]
        rows = [
            Row(
                row.object,
                {state: row.states.get(state, 0) for state in states},
                f"{sum(row.states.values()):,}",
            )
            for row in self.summary.objects
        ]
        whole = Row("all records", {state: self.total(state) for state in states}, f"{self.extracted:,}", strong=True)
        return bars([whole, *rows], "What became of the records of each object")

    @cached_property
    def used(self) -> list[tuple[str, float, int]]:
        """(stage, seconds, API calls), the longest first."""
        found: dict[str, tuple[float, int]] = {}
        for row in self.summary.used:
            seconds, calls = found.get(row["stage"], (0.0, 0))
            found[row["stage"]] = (seconds + row["seconds"], calls + row["calls"])
        return sorted(((stage, *sums) for stage, sums in found.items()), key=lambda item: -item[1])

    @property
    def stages(self) -> list[str]:
        """The kinds of stages that took time, in their order."""
        there = {_kind(stage) for stage, _, _ in self.used}
        return [stage for stage in STAGES if stage in there]

    @property
    def time(self) -> Markup:
        """A bar for each object: seconds by stage."""
        by_object: dict[str, dict[str, float]] = {}
        for row in self.summary.used:
            parts = by_object.setdefault(row["object"] or "whole run", dict.fromkeys(STAGES, 0.0))
            parts[_kind(row["stage"])] += row["seconds"]
        rows = [Row(name, parts, f"{sum(parts.values()):,.1f} s") for name, parts in by_object.items()]
        rows.sort(key=lambda row: -sum(row.parts.values()))
        return bars(rows, "Seconds of work by object and stage", relative=True)

    def check_name(self, name: str) -> str:
        """A check as people would call it."""
        return CHECKS.get(name, name)


def render_html(summary: Summary) -> str:
    """One file with everything in it: no script, no font, nothing loaded from elsewhere."""
    return environment(html=True).get_template("report.html.jinja").render(**_names(summary))


def render_markdown(summary: Summary) -> str:
    """The same for a ticket, a wiki or a terminal."""
    return environment(html=False).get_template("report.md.jinja").render(**_names(summary))


def write_report(summary: Summary, folder: UPath) -> UPath:
    """Write `report.html` and `report.md` into the folder (in the store); gives the HTML file."""
    from isync_dagster.store import files

    page = folder / "report.html"
    files.write_bytes(page, render_html(summary).encode())
    files.write_bytes(folder / "report.md", render_markdown(summary).encode())
    return page


def _is_usual(row: Mapping[str, Any]) -> bool:
    return str(row["metric"]).startswith("records by ")


def _kind(stage: str) -> str:
    kind = stage.partition("-")[0]
    return kind if kind in STAGES else "other"


def _names(summary: Summary) -> dict[str, Any]:
    return {"page": Page(summary), "summary": summary, "trouble": TROUBLE, "link_trouble": LINK_TROUBLE}


def environment(*, html: bool) -> Environment:
    """The templates of this folder with the filters that they use."""
    made = Environment(
        loader=PackageLoader("isync_dagster.report", ""),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "cell": cell, "columns": columns, "total": total, "moment": moment, "who": who}
    return made


def number(value: float) -> str:
    """A number with separators, and a dot where there is none.

    >>> number(12345), number(0), number(2.5)
    ('12,345', '·', '2.5')
    """
    return f"{value:,}" if value else "·"


def total(value: object) -> str:
    """A value of a table: numbers with separators, nothing for None.

    >>> total(1234567), total(0), total(None), total("New")
    ('1,234,567', '0', '', 'New')
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def moment(value: str) -> str:
    """A time in ISO as people read it; anything else as it is.

    >>> moment("2026-01-31T10:05:59.123456+00:00"), moment("")
    ('2026-01-31 10:05:59 UTC', '')
    """
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return value
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if found.tzinfo else f"{found:%Y-%m-%d %H:%M:%S}"


def who(value: str) -> str:
    """Who did something, the long id of a run cut to what the UI shows of it.

    >>> who("Dagster run 57225a01-0984-4748-8061-48700c1d25ea")
    'Dagster run 57225a01'
    """
    return UUID.sub(lambda found: found[0][:8], value)


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
