"""What came of a run, read from the store: its exit status, its closing table, what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.board import Failure
from isync_dagster.cli.console import Exit
from isync_dagster.errors import IsyncError
from isync_dagster.migration.model import State, Summary, Verdict
from isync_dagster.plan.model import Plan
from isync_dagster.report.summary import summary_from_json
from isync_dagster.store.runs import JobKey, Runs
from isync_dagster.store.store import Store

REJECTED = ("rejected_rows",)

COLUMNS = (
    State.INSERTED,
    State.UPDATED,
    State.IDENTICAL,
    State.EXISTING,
    State.SKIPPED,
    State.FAILED,
    State.BLOCKED,
    State.DROPPED,
)
"""The states every table shows; the others only where a record is in them."""

WORDS = {
    Exit.OK: "[bold green]Every record is accounted for, every migrated lookup verified.[/]",
    Exit.FAILED: "[bold red]The run did not finish.[/] Run it again once the cause is fixed: it resumes.",
    Exit.REJECTED: "[bold yellow]More rows were refused or blocked than the template allows:[/] `isync errors`, then `isync retry`.",
    Exit.VERIFICATION: "[bold red]A check did not hold.[/] See the report and the checks in the UI.",
}
"""The last line of a command, by its exit status."""


def judge(status: dg.DagsterRunStatus, failures: Iterable[Failure], verdicts: Iterable[Verdict]) -> Exit:
    """The exit status of a run: a failed step before a failed check, a check of the target before refused rows."""
    failed = [verdict for verdict in verdicts if not verdict.passed and verdict.severity == "error"]
    steps = [failure for failure in failures if not failure.is_check]
    if any(failure.kind != "RejectedRowsError" for failure in steps):
        return Exit.FAILED
    if any(verdict.name not in REJECTED for verdict in failed):
        return Exit.VERIFICATION
    if steps or failed:
        return Exit.REJECTED
    return Exit.OK if status is dg.DagsterRunStatus.SUCCESS else Exit.FAILED


def say_what_is_wrong(console: Console, failures: Iterable[Failure], verdicts: Iterable[Verdict]) -> None:
    """Print every failed step and every check that did not hold."""
    same: dict[str, list[str]] = {}
    for failure in failures:
        if not failure.is_check:
            same.setdefault(failure.text, []).append(failure.title)
    for text, titles in same.items():
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        console.print(f"[bold red]✗ {escape(titles[0])}{more}[/] {escape(text)}", soft_wrap=True)
    for verdict in verdicts:
        if not verdict.passed:
            color = "red" if verdict.severity == "error" else "yellow"
            where = f"{verdict.object} {verdict.name}"
            console.print(f"[bold {color}]✗ {escape(where)}[/] {escape(verdict.text)}", soft_wrap=True)


def read_run(settings: Settings, plan: Plan, phase: str) -> tuple[Summary | None, list[Verdict]]:
    """The summary (None while the run is open) and the verdicts of the newest run of a phase."""
    run = runs_of(settings, plan, phase).latest()
    if run is None:
        return None, []
    found = run.summary()
    verdicts = [Verdict.from_json(verdict) for verdict in run.verdicts()]
    return (summary_from_json(found) if found else None), verdicts


def runs_of(settings: Settings, plan: Plan, phase: str) -> Runs:
    """The runs of one phase in the store."""
    key = JobKey(plan.source_org_id, plan.target_org_id, plan.template, phase)
    return Store.open(settings.store).runs(key)


def so_far(settings: Settings, plan: Plan, phase: str) -> Summary | None:
    """What an open run has done until now; None where there is none, or nothing of it can be told."""
    run = runs_of(settings, plan, phase).current()
    if run is None:
        return None
    from isync_dagster.migration.finish import summarize

    try:
        return summarize(Workbench(settings, {plan.template: plan}).job(plan.template, phase), run)
    except IsyncError:
        return None


def closing_table(summaries: Sequence[Summary]) -> Table:
    """What became of every record: a line for each object of each phase, and the sum."""
    rows = [row for summary in summaries for row in summary.objects]
    others = [state for state in State if state not in COLUMNS and any(row.states.get(state) for row in rows)]
    states = [*COLUMNS, *others]
    table = Table(header_style="dim", title_justify="left", show_footer=True, pad_edge=False)
    table.add_column("object", "sum")
    table.add_column("extracted", f"{sum(row.extracted for row in rows):,}", justify="right")
    for state in states:
        total = sum(row.states.get(state, 0) for row in rows)
        table.add_column(state.value, f"{total:,}" if total else "·", justify="right")
    verified = sum(row.lookups_verified for row in rows)
    table.add_column("lookups verified", f"{verified:,}", justify="right")
    for row in rows:
        counts = [row.states.get(state, 0) for state in states]
        lookups = f"{row.lookups_verified:,}" + (f" [red]{row.lookups_wrong:,} wrong[/]" if row.lookups_wrong else "")
        table.add_row(
            row.object,
            f"{row.extracted:,}",
            *(_count(count, state) for count, state in zip(counts, states, strict=True)),
            lookups,
        )
    return table


def _count(count: int, state: State) -> str:
    if not count:
        return "[dim]·[/]"
    bad = state in (State.FAILED, State.BLOCKED, State.UNKNOWN, State.PENDING)
    return f"[red]{count:,}[/]" if bad else f"{count:,}"
