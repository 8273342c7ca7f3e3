"""`isync relink`: fill pending links whose parents are there now."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.automation import put_back_what_is_left
from isync_dagster.cli.console import Exit
from isync_dagster.migration.healing import heal_links
from isync_dagster.migration.model import RunOptions


def relink(console: Console, template: str, objects: Sequence[str], confirm_production: str) -> Exit:
    """Fill what can be filled and print what came of it; REJECTED where Salesforce refused links."""
    settings = Settings.from_env()
    put_back_what_is_left(settings)
    plan = load_plans(settings, [template])[template]
    wanted = [plan.object(name).object for name in objects]
    bench = Workbench(settings, {template: plan})
    options = RunOptions(confirm_production=confirm_production.strip())
    job = bench.job(template, plan.phases[0].name, options, opened_by="isync relink")
    done = heal_links(job, wanted)
    if done:
        table = Table("object", "run", "linked", "kept", "gone", "refused", "", header_style="dim")
        for item in done:
            counts = [f"{int(item.numbers[name]):,}" for name in ("linked", "kept", "gone", "refused")]
            table.add_row(item.object, str(item.run), *counts, escape("; ".join(item.notes)))
        console.print(table)
        for item in done:
            for error in item.errors:
                console.print(
                    f"[red]✗[/] {escape(item.object)} {escape(str(error['code']))}: {escape(str(error['message']))} "
                    f"({error['rows']} rows, such as {error['sample']}) {escape(str(error['advice']))}",
                    soft_wrap=True,
                )
    pending = bench.store.pending(plan.source_org_id, plan.target_org_id)
    left = {name: int(pending.open(name).collect().height) for name in wanted or [item.object for item in plan.objects]}
    rest = ", ".join(f"{count:,} of {name}" for name, count in left.items() if count)
    console.print(f"Still waiting for their parents: {rest}." if rest else "[green]✓[/] No link waits for its parent.")
    return Exit.REJECTED if any(item.numbers["refused"] for item in done) else Exit.OK
