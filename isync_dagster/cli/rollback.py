"""`isync rollback`: show what would be undone, ask, undo it, and say what became of every record."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.assets.verbs import verb
from isync_dagster.cli.automation import put_back_what_is_left
from isync_dagster.cli.console import Exit
from isync_dagster.errors import ConfigError
from isync_dagster.migration.model import Progress, RunOptions, State
from isync_dagster.migration.rollback_model import MEANING, Conflicts, RollbackPlan, RollbackResult


def rollback(
    console: Console,
    template: str,
    phase: str,
    *,
    run: int | None,
    conflicts: str,
    include_later: bool,
    hard_delete: bool,
    plan_only: bool,
    yes: bool,
    confirm_production: str,
) -> Exit:
    """Plan, show, ask, undo; with `plan_only` nothing is written to the org."""
    if conflicts not in list(Conflicts):
        raise ConfigError(f"--conflicts is {conflicts!r}: it takes {', '.join(Conflicts)}.")
    settings = Settings.from_env()
    put_back_what_is_left(settings)
    plan = load_plans(settings, [template])[template]
    bench = Workbench(settings, {template: plan})

    with console.status("reading the target") as status:

        def shown(progress: Progress) -> None:
            status.update(f"{escape(progress.object)}: {escape(progress.message)}")

        options = RunOptions(confirm_production=confirm_production.strip())
        job = bench.job(template, plan.phase(phase).name, options, progress=shown, opened_by="isync rollback")
        how = {"conflicts": conflicts, "include_later": include_later, "hard_delete": hard_delete}
        plans: Sequence[RollbackPlan] = verb("plan_rollback")(job, run, **how)
    for item in plans:
        show_plan(console, item)
    if plan_only:
        console.print("Nothing was written to the org. Without --plan this is what is done.")
        return Exit.OK
    stopped = [item for item in plans if item.conflicts is Conflicts.STOP and item.in_conflict and not item.begun]
    if not yes and not stopped:
        runs = ", ".join(f"run {item.run} of phase {item.phase}" for item in plans)
        typer.confirm(f"Roll back {runs} in {plan.target_alias}", abort=True)
    with console.status("rolling back") as status:
        results: Sequence[RollbackResult] = verb("rollback")(job, run, **how)
    for result in results:
        show_result(console, result)
    if any(result.stopped for result in results):
        return Exit.FAILED
    return Exit.OK if all(result.complete for result in results) else Exit.REJECTED


def show_plan(console: Console, plan: RollbackPlan) -> None:
    """Print what a rollback would do, object by object, with samples of each conflict."""
    begun = f" (rollback {plan.number} was begun and goes on)" if plan.begun else ""
    console.print(
        f"[bold]{escape(plan.template)}[/] phase [bold]{escape(plan.phase)}[/] run {plan.run}: what a rollback does{begun}"
    )
    table = Table(header_style="dim", pad_edge=False)
    heads = ("delete", "restore", "in conflict", "gone already", "unknown", "left as it is")
    table.add_column("object")
    for head in heads:
        table.add_column(head, justify="right")
    for item in plan.objects:
        counts = (item.delete, item.restore, item.in_conflict, item.gone, item.unknown, item.left)
        table.add_row(item.object, *(f"{count:,}" if count else "[dim]·[/]" for count in counts))
    console.print(table if plan.objects else "The run wrote nothing: only its state changes.")
    for item in plan.objects:
        for code, count in item.conflicts.items():
            samples = [sample for sample in item.samples if sample["code"] == code]
            console.print(f"[yellow]{escape(item.object)}[/]: {count:,} × {code}, {MEANING[code]}", soft_wrap=True)
            for sample in samples:
                text = f"{sample['target_id']} (from {sample['source_id']}) {sample['message'] or ''}"
                console.print(f"  [dim]{escape(text)}[/]", soft_wrap=True)
    if plan.in_conflict:
        does = {
            Conflicts.SKIP: "They are left as they are (--conflicts skip).",
            Conflicts.FORCE: "They are undone all the same (--conflicts force).",
            Conflicts.STOP: "Nothing is undone while there is one (--conflicts stop).",
        }
        console.print(does[plan.conflicts])
    for note in plan.notes:
        console.print(f"[dim]{escape(note)}[/]", soft_wrap=True)


def show_result(console: Console, result: RollbackResult) -> None:
    """Print what became of the records that the run wrote."""
    states = [state for state in State if result.count(state)]
    table = Table("object", *states, "left or refused for", header_style="dim", pad_edge=False)
    for name, counts in result.states.items():
        codes = ", ".join(f"{code} × {count:,}" for code, count in result.codes.get(name, {}).items())
        table.add_row(name, *(f"{counts.get(state, 0):,}" for state in states), escape(codes))
    console.print(f"[bold]{escape(result.template)}[/] phase [bold]{escape(result.phase)}[/] run {result.run}")
    console.print(table)
    if result.stopped:
        console.print(f"[bold red]Not through:[/] {escape(result.stopped)}.", soft_wrap=True)
    elif result.complete:
        console.print("[bold green]Every record that the run wrote is undone.[/]")
    else:
        left = result.count(State.SKIPPED, State.FAILED, State.PENDING, State.UNKNOWN)
        console.print(
            f"[bold yellow]{left:,} records are left as the run made them:[/] the same command with --run {result.run} "
            "tries just those again.",
            soft_wrap=True,
        )
