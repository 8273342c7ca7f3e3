"""`isync cleanup`: what is due, then its removal."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.migration.cleanup import CleanupPlan, apply_cleanup, plan_cleanup
from isync_dagster.store.store import Store


def cleanup(console: Console, template: str | None, apply: bool, yes: bool) -> None:
    """Say what is due, and with `apply` remove it after asking."""
    settings = Settings.from_env()
    plans = load_plans(settings, [template] if template else None)
    store = Store.open(settings.store)
    retention = {name: plan.settings.retention for name, plan in plans.items()}
    due = plan_cleanup(store, retention, [template] if template else ())
    _show(console, due)
    if not due.removals:
        console.print("[green]✓[/] Nothing is due.")
        return
    if not apply:
        console.print(f"{due.files:,} files, {_size(due.bytes)} are due. `isync cleanup --apply` removes them.")
        return
    if not yes:
        typer.confirm(f"Remove {due.files:,} files ({_size(due.bytes)})? The id map and pending links stay", abort=True)
    done = apply_cleanup(due, by="isync cleanup")
    for item in done.protected:
        console.print(f"[yellow]left[/] run {item.run.number} of {escape(item.run.job.template)}: {escape(item.why)}")
    console.print(f"[green]✓[/] {done.files:,} files, {_size(done.bytes)} removed; each run says what it lacks now.")


def _show(console: Console, due: CleanupPlan) -> None:
    if due.removals:
        table = Table("template", "phase", "run", "ended", "kind", "kept for", "files", "size", header_style="dim")
        for item in due.removals:
            table.add_row(
                item.job.template,
                item.job.phase,
                str(item.run.number),
                f"{item.ended:%Y-%m-%d}",
                str(item.kind),
                f"{item.days} days",
                f"{item.files:,}",
                _size(item.bytes),
            )
        console.print(table)
    for kept in due.protected:
        where = f"{kept.run.job.template}, phase {kept.run.job.phase}, run {kept.run.number}"
        console.print(f"[dim]due, but kept: {escape(where)}: {escape(kept.why)}[/]", soft_wrap=True)


def _size(count: int) -> str:
    """Bytes as people read them.

    >>> _size(512), _size(2_500_000)
    ('512 B', '2.5 MB')
    """
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError(count)
