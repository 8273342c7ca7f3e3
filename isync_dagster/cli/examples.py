"""What `--help` of each command ends with: examples to copy, and what its exit status means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import typer

from isync_dagster.cli.console import EXIT_CODES

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "plan": ("isync plan core", "isync plan core --json"),
    "migrate": ("isync migrate core", "isync migrate core -p base -p sales", "isync migrate core --canary 20"),
    "retry": ("isync retry core", "isync retry core -o Contact --code DUPLICATES_DETECTED --extract-again"),
    "settle": ("isync settle core", "isync settle core --export open.csv", "isync settle core --decisions open.csv"),
    "abort": ("isync abort core", "isync abort core -p sales --jobs abort --why 'wrong org'"),
    "validate": ("isync validate core", "isync validate core -p base --json"),
    "rollback": ("isync rollback core -p sales --plan", "isync rollback core -p sales --run 2 --conflicts stop"),
    "errors": ("isync errors core", "isync errors core -o Contact --export errors", "isync errors core --json"),
    "demo": ("isync demo", "isync demo --rows 200000", "isync demo --serve --rows 3000"),
    "ui": ("isync ui", "isync ui --demo --port 3001"),
    "explain": ("isync explain 0015500001QdQWa", "isync explain 0015500001QdQWa -t core --json"),
    "accept": ("isync accept core -p base", "isync accept core -p base --anyway 'two test contacts are refused'"),
    "hold": ("isync hold core -p base", "isync hold core -p base --run 2 --why 'under audit'"),
    "release": ("isync release core -p base", "isync release core -p base --run 2"),
    "relink": ("isync relink core", "isync relink core -o Contact"),
    "cleanup": ("isync cleanup core", "isync cleanup core --apply"),
    "inventory": ("isync inventory old_crm", "isync inventory old_crm --all --csv objects.csv"),
    "scan": ("isync scan core", "isync scan core -p base --samples 20 --json"),
    "forecast": ("isync forecast core", "isync forecast core --json"),
    "compare": (
        "isync compare core",
        "isync compare core --resolve --apply",
        "isync compare core --package fix --deploy",
        "isync compare --source old_crm --target new_crm --objects Account,Contact --html differences.html",
    ),
    "automation": ("isync automation core", "isync automation core off --kinds triggers,flows",
                   "isync automation core on"),
    "report": ("isync report core --open", "isync report core -p base --run 2", "isync report core --history"),
    "orgs check": ("isync orgs check", "isync orgs check new_crm --deep --json"),
    "orgs snapshot": ("isync orgs snapshot old_crm --template core", "isync orgs snapshot old_crm --objects Account"),
    "orgs login": ("isync orgs login old_crm", "isync orgs login old_crm --sandbox --paste"),
    "orgs logout": ("isync orgs logout old_crm",),
    "orgs drift": ("isync orgs drift new_crm", "isync orgs drift new_crm --template core --json"),
    "template schema": ("isync template schema --to template.schema.json",),
    "template check": ("isync template check", "isync template check core"),
    "runs list": ("isync runs core", "isync runs core -p base --json"),
    "runs abandon": ("isync runs abandon core -p base --why 'the filter was wrong'",),
    "idmap export": ("isync idmap export core --to map.csv", "isync idmap export core -o Account --to accounts.csv"),
    "idmap import": ("isync idmap import pairs.csv -t core -o Account",),
    "local-org start": ("isync local-org start --schema force-app --data data/plan.json",),
    "local-org make": ("isync local-org make dev --schema describes --data rows.parquet",),
    "local-org fill": ("isync local-org fill dev --data more.csv",),
    "local-org serve": ("isync local-org serve dev --port 8080", "isync local-org serve dev --scenario row-locks"),
    "local-org token": ("isync local-org token dev",),
    "local-org status": ("isync local-org status dev",),
    "local-org reset": ("isync local-org reset dev",),
    "local-org import": ("isync local-org import dev rows",),
    "local-org export": ("isync local-org export dev rows",),
    "local-org fault list": ("isync local-org fault list",),
    "local-org fault set": ("isync local-org fault set dev row-locks",),
    "local-org fault show": ("isync local-org fault show dev",),
    "local-org fault lift": ("isync local-org fault lift dev",),
}  # fmt: skip
"""Command -> command lines, each of which the parser takes."""


def teach(app: typer.Typer) -> None:
    """Give every command of `app` its examples and the meaning of its exit status, below its options."""
    for path, command in _commands(app, ""):
        lines = "".join(f"  [bold]{line}[/]\n\n" for line in EXAMPLES[path])
        command.epilog = f"Examples:\n\n{lines}{command.epilog or EXIT_CODES}"


def _commands(app: typer.Typer, under: str) -> Iterator[tuple[str, Any]]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield f"{under}{command.name or command.callback.__name__.replace('_', '-')}", command
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from _commands(group.typer_instance, f"{under}{group.name or group.typer_instance.info.name} ")
