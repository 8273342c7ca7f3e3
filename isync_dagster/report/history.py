"""All runs of a template on one page: when, who, state, totals, and how the counts went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from isync_dagster.migration.model import State, Summary
from isync_dagster.report.charts import trend
from isync_dagster.report.render import environment

ARRIVED = (State.INSERTED, State.UPDATED, State.IDENTICAL, State.EXISTING)
REFUSED = (State.FAILED, State.BLOCKED)


@dataclass(frozen=True)
class HistoryRun:
    """One run; counts are 0 and `kept` None while it is open or where it was given up."""

    phase: str
    number: int
    state: str
    opened_at: str
    by: str
    summary: Summary | None = None
    report: str = ""
    """Where its report is, seen from the page; empty where there is none."""

    @property
    def closed_at(self) -> str:
        return self.summary.closed_at if self.summary else ""

    @property
    def kept(self) -> bool | None:
        return self.summary.kept if self.summary else None

    @property
    def extracted(self) -> int:
        return sum(row.extracted for row in self.summary.objects) if self.summary else 0

    @property
    def inserted(self) -> int:
        return self.of(State.INSERTED)

    @property
    def updated(self) -> int:
        return self.of(State.UPDATED)

    @property
    def existing(self) -> int:
        return self.of(State.IDENTICAL, State.EXISTING)

    @property
    def refused(self) -> int:
        return self.of(*REFUSED)

    def of(self, *states: State) -> int:
        """Records in these states."""
        objects = self.summary.objects if self.summary else ()
        return sum(row.states.get(state, 0) for row in objects for state in states)


@dataclass(frozen=True)
class HistoryPhase:
    """The runs of one phase, oldest first."""

    name: str
    runs: Sequence[HistoryRun]

    @cached_property
    def closed(self) -> list[HistoryRun]:
        return [run for run in self.runs if run.summary is not None]

    @property
    def newest(self) -> str:
        return self.runs[-1].state if self.runs else "not run yet"

    @property
    def in_target(self) -> int:
        return self.closed[-1].of(*ARRIVED) if self.closed else 0

    @property
    def refused(self) -> int:
        return self.closed[-1].refused if self.closed else 0

    @property
    def trend(self) -> Markup:
        return trend([run.of(*ARRIVED) for run in self.closed], f"{self.name}: records in the target, run by run")


@dataclass(frozen=True)
class History:
    """Every run of a template, newest first."""

    template: str
    source: str
    target: str
    phases: Sequence[str]
    runs: Sequence[HistoryRun]
    made_at: str


def render_history(history: History) -> str:
    """The page, with nothing loaded from elsewhere; it links to the reports of the runs."""
    phases = [
        HistoryPhase(name, [run for run in reversed(history.runs) if run.phase == name]) for name in history.phases
    ]
    return environment(html=True).get_template("history.html.jinja").render(history=history, phases=phases)
