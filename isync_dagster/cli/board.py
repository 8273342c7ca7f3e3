"""A run as it happens: bars on a terminal, a line a finished step elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from isync_dagster.assets import keys, work
from isync_dagster.assets.stages import stages_of
from isync_dagster.migration.model import Progress
from isync_dagster.plan.model import Plan

LINE_EVERY = 10.0
"""Seconds between two lines on one long step where there is no terminal."""


@dataclass
class Step:
    """A step that runs: what people call it, and how far it is."""

    title: str
    since: float
    spoken: float
    task: TaskID | None = None
    rows: int | None = None


@dataclass
class Failure:
    """A step that failed, with what it said."""

    step: str
    title: str
    text: str
    kind: str = ""
    is_check: bool = False


@dataclass
class Board:
    """Shows one run and remembers what failed; use it as a context manager around the run."""

    console: Console
    plan: Plan
    phase: str
    failures: list[Failure] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        self._titles = titles(self.plan)
        # Objects outside the phase end at once and would only fill the screen.
        inside = {phase.name: set(phase.objects) for phase in self.plan.phases}.get(self.phase, set())
        self._shown = {key for key, title in self._titles.items() if " " not in title or title.split()[0] in inside}
        self._steps: dict[str, Step] = {}
        self._by_title: dict[str, Step] = {}
        self._lock = threading.Lock()
        self._total = 0
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self.console,
            transient=True,
            refresh_per_second=5,
        )
        self._all: TaskID | None = None

    def __enter__(self) -> Board:
        work.listeners.append(self.on_progress)
        if self.console.is_terminal:
            self._bars.start()
            self._all = self._bars.add_task(f"[bold]{self.plan.template}[/] · {self.phase}", total=None, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        work.listeners.remove(self.on_progress)
        if self.console.is_terminal:
            self._bars.stop()

    def on_event(self, event: dg.DagsterEvent) -> None:
        """Take one event of the run."""
        handler: Callable[[dg.DagsterEvent, str], None] | None = {
            dg.DagsterEventType.STEP_START: self._start,
            dg.DagsterEventType.STEP_SUCCESS: self._success,
            dg.DagsterEventType.STEP_FAILURE: self._failure,
            dg.DagsterEventType.STEP_UP_FOR_RETRY: self._retry,
            dg.DagsterEventType.ASSET_MATERIALIZATION: self._materialized,
        }.get(event.event_type)
        if handler is not None and event.step_key is not None:
            handler(event, event.step_key)
        elif event.event_type is dg.DagsterEventType.RUN_START and self._all is not None:
            self._bars.update(self._all, total=len(self._titles))

    def on_progress(self, template: str, phase: str, progress: Progress) -> None:
        """Take the progress of a verb (called from the step's thread)."""
        if (template, phase) != (self.plan.template, self.phase):
            return
        step = self._by_title.get(f"{progress.object} {progress.stage}")
        if step is None:
            return
        if step.task is not None:
            self._bars.update(step.task, completed=progress.done, total=progress.total or None, note=progress.message)
            return
        now = time.monotonic()
        with self._lock:
            if now < step.spoken + LINE_EVERY:
                return
            step.spoken = now
        self.console.print(f"  … {step.title}: {escape(progress.message)}")

    def _start(self, event: dg.DagsterEvent, key: str) -> None:
        now = time.monotonic()
        title = self._titles.get(key, key)
        step = Step(title, now, now)
        if self.console.is_terminal and key in self._shown:
            step.task = self._bars.add_task(f"  {title}", total=None, note="")
        self._steps[key] = self._by_title[title] = step

    def _materialized(self, event: dg.DagsterEvent, key: str) -> None:
        found = event.step_materialization_data.materialization.metadata.get("dagster/partition_row_count")
        if key in self._steps and found is not None:
            self._steps[key].rows = int(str(found.value))

    def _success(self, event: dg.DagsterEvent, key: str) -> None:
        self._end(key, "[green]✓[/]")

    def _failure(self, event: dg.DagsterEvent, key: str) -> None:
        self._end(key, "[red]✗[/]")
        data = event.step_failure_data
        said = data.user_failure_data
        kind = ""
        if said is not None and said.metadata and "error" in said.metadata:
            kind = str(said.metadata["error"].value)
        text = (said.description if said else None) or (data.error.message if data.error else "") or "no message"
        is_check = data.error is not None and data.error.cls_name == "DagsterAssetCheckFailedError"
        self.failures.append(Failure(key, self._titles.get(key, key), text.strip(), kind, is_check))

    def _retry(self, event: dg.DagsterEvent, key: str) -> None:
        step = self._end(key, "")
        title = step.title if step else key
        self.console.print(f"  [yellow]↻[/] {escape(title)}: tried again in a moment")

    def _end(self, key: str, sign: str) -> Step | None:
        step = self._steps.pop(key, None)
        if step is None:
            return None
        if step.task is not None:
            self._bars.remove_task(step.task)
        if self._all is not None and key in self._titles:
            self._bars.advance(self._all)
        bad = "✗" in sign
        if sign and key in self._shown and (bad or not self.console.is_terminal):
            rows = f" {step.rows:,} rows" if step.rows is not None and not bad else ""
            self.console.print(f"  {sign} {escape(step.title)}{rows} [dim]{time.monotonic() - step.since:.1f} s[/]")
        return step


def titles(plan: Plan) -> dict[str, str]:
    """Step key of every asset -> what people call it: `Account load`."""
    found = {
        keys.asset_key(plan.template, item.object, stage).to_python_identifier(): f"{item.object} {stage}"
        for item in plan.objects
        for stage in stages_of(item)
    }
    for name in (keys.PREFLIGHT, keys.REPORT):
        found[keys.gate_key(plan.template, name).to_python_identifier()] = name
    return found
