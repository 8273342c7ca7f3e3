"""`isync accept`, `isync hold` and `isync release`."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.outcome import runs_of
from isync_dagster.errors import ConfigError
from isync_dagster.migration import acceptance
from isync_dagster.store.runs import Runs, RunState

BY = "isync on the command line"


def accept(console: Console, template: str, phase: str, number: int | None, anyway: str) -> None:
    """Accept a run and end the hold of its phase."""
    runs = _runs(template, phase)
    held = runs.hold is not None
    before = acceptance.chosen_run(runs, number).state
    run = acceptance.accept(runs, number, anyway=anyway, by=BY)
    if before is RunState.ACCEPTED:
        console.print(f"Run {run.number} of {escape(template)}, phase {escape(phase)}, was accepted before.")
        return
    console.print(f"[green]✓[/] Run {run.number} of {escape(template)}, phase {escape(phase)}, is accepted.")
    if held:
        console.print("[dim]The hold of the phase has ended: cleanup may remove what is older than its retention.[/]")


def hold(console: Console, template: str, phase: str, number: int | None, why: str) -> None:
    """Protect every run of a phase, or one run, from cleanup."""
    runs = _runs(template, phase)
    if number is None:
        runs.set_hold(why, BY)
        console.print(
            f"[green]✓[/] Every run of {escape(template)}, phase {escape(phase)}, is held until one is accepted, or "
            f"`isync release {escape(template)} --phase {escape(phase)}`."
        )
        return
    acceptance.chosen_run(runs, number).set_hold(why, BY)
    console.print(f"[green]✓[/] Run {number} of {escape(template)}, phase {escape(phase)}, is held.")


def release(console: Console, template: str, phase: str, number: int | None) -> None:
    """End the protection."""
    runs = _runs(template, phase)
    holder = runs if number is None else acceptance.chosen_run(runs, number)
    if holder.hold is None:
        also = [str(run.number) for run in runs.list() if run.hold is not None]
        rest = f" Runs with a hold of their own: {', '.join(also)} (--run)." if also else ""
        raise ConfigError(f"Phase {phase!r} of {template!r} has no such hold: there is nothing to release.{rest}")
    holder.release_hold()
    console.print("[green]✓[/] The hold has ended.")


def _runs(template: str, phase: str) -> Runs:
    settings = Settings.from_env()
    plan = load_plans(settings, [template])[template]
    return runs_of(settings, plan, plan.phase(phase).name)
