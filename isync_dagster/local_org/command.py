"""`isync local-org …`: a Salesforce org on this machine, from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from isync_dagster.local_org.server import Served

HOME: Final = Path(".isync/local-org")

app = typer.Typer(
    name="local-org",
    help="A Salesforce org on this machine: made from your describes or SFDX source, filled with your data, served "
    "on loopback, and put into trouble on request.",
    no_args_is_help=True,
)
fault = typer.Typer(help="Trouble on request: scenarios for an org that is served.", no_args_is_help=True)
app.add_typer(fault, name="fault")

_DATA = "An SFDX plan or tree (.json), a CumulusCI dump (.sql), an SFDMU project, or a folder of CSV or Parquet."
Folder = Annotated[Path, typer.Argument(help="The org's folder.")]
NewFolder = Annotated[Path, typer.Argument(help="The org's folder; a new one to make an org.")]
Schema = Annotated[
    list[Path] | None,
    typer.Option(help="Describe JSON (a file or a folder) or an SFDX source folder; may be given more than once, later "
                 "ones win. Without it the org has the standard objects."),
]  # fmt: skip
Namespace = Annotated[str | None, typer.Option(help="Of a package whose source has none in its names.")]
Data = Annotated[list[Path] | None, typer.Option(help=_DATA + " May be given more than once.")]
Mapping = Annotated[
    Path | None, typer.Option(help="The mapping.yml of a dump; found where it is the only one beside it.")
]
Name = Annotated[str | None, typer.Option(help="Of the organization; by default the folder's.")]
Seed = Annotated[
    int | None,
    typer.Option(help="Decides org id, record ids and key prefixes; by default the folder does, so that two differ."),
]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="The org says that it is a sandbox.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]
Host = Annotated[str, typer.Option(help="A loopback address; any other is refused.")]
Https = Annotated[bool, typer.Option("--https", help="Answer https too, with a certificate made at start.")]
ScenarioName = Annotated[
    str | None, typer.Option("--scenario", help="Start in this trouble: a shipped scenario by name, or a YAML file.")
]


@app.command()
def start(
    folder: NewFolder = HOME,
    schema: Schema = None,
    namespace: Namespace = None,
    data: Data = None,
    mapping: Mapping = None,
    name: Name = None,
    seed: Seed = None,
    sandbox: Sandbox = False,
    port: Port = 0,
    host: Host = "127.0.0.1",
    https: Annotated[
        bool, typer.Option("--https/--no-https", help="Answer https too, with a certificate made at start.")
    ] = True,
    scenario: ScenarioName = None,
) -> None:
    """Bring an org up in one go: make it where the folder is new, serve it, say how to log in; until Ctrl-C."""
    from isync_dagster.local_org.making import Recipe, is_new, make

    recipe = Recipe(schema or (), namespace, data or (), mapping, name, seed, sandbox)
    if is_new(folder):
        make(folder, recipe, typer.echo)
    elif recipe != Recipe():
        typer.echo(f"{folder} holds an org, which is served as it is: what to make it from is not used again.")
    _serve(folder, port, host, https, scenario, lambda served: typer.echo(_greeting(folder, served)))


@app.command("make")
def make_command(
    folder: NewFolder,
    schema: Schema = None,
    namespace: Namespace = None,
    data: Data = None,
    mapping: Mapping = None,
    name: Name = None,
    seed: Seed = None,
    sandbox: Sandbox = False,
) -> None:
    """Make an org from describes or source metadata, and load data into it."""
    from isync_dagster.local_org.making import Recipe, make

    make(folder, Recipe(schema or (), namespace, data or (), mapping, name, seed, sandbox), typer.echo)


@app.command("fill")
def fill_command(
    folder: Folder,
    data: Annotated[list[Path], typer.Option(help=_DATA + " May be given more than once.")],
    mapping: Mapping = None,
) -> None:
    """Load more data into an org; its rows get Ids of the org's own."""
    from isync_dagster.local_org.local_org import LocalOrg
    from isync_dagster.local_org.making import fill

    with LocalOrg.open(folder) as org:
        fill(org, data, mapping, typer.echo)


@app.command("serve")
def serve_command(
    folder: Folder,
    port: Port = 0,
    host: Host = "127.0.0.1",
    https: Https = False,
    scenario: ScenarioName = None,
    ready_file: Annotated[Path | None, typer.Option(help="Write the JSON line there as well.")] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop when standard input ends, as a parent's death does.")
    ] = False,
) -> None:
    """Answer HTTP on loopback until SIGTERM or Ctrl-C; prints one JSON line with URL and credentials."""
    import json

    from isync_dagster.local_org.running import write_private

    def ready(served: Served) -> None:
        line = json.dumps(served.credentials())
        if ready_file is not None:
            write_private(ready_file, line)
        print(line, flush=True)

    _serve(folder, port, host, https, scenario, ready, with_parent=with_parent)


def _serve(
    folder: Path,
    port: int,
    host: str,
    https: bool,
    scenario: str | None,
    ready: Any,
    *,
    with_parent: bool = False,
) -> None:
    import signal
    import threading

    from isync_dagster.local_org.local_org import LocalOrg
    from isync_dagster.local_org.running import noted
    from isync_dagster.local_org.scenarios import load
    from isync_dagster.local_org.soql.grammar import parser

    trouble = load(scenario) if scenario else None
    stop = threading.Event()
    if with_parent:
        threading.Thread(target=_until_input_ends, args=(stop,), name="parent", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with LocalOrg.open(folder) as org, org.serve(port, https=https, host=host, own_process=True) as served:
        if trouble is not None:
            served.service.apply(trouble)
        # Not while the first query waits for it.
        parser()
        with noted(folder, served.credentials()):
            ready(served)
            stop.wait()


def _until_input_ends(stop: Any) -> None:
    """A pipe from the parent closes whatever way the parent ends, a kill included."""
    import sys

    while sys.stdin.buffer.read(1):
        pass
    stop.set()


def _greeting(folder: Path, served: Served) -> str:
    known = served.credentials()
    token = f"$(isync local-org token {folder})"
    ca = Path(known["ca_file"]).absolute() if known["ca_file"] else None
    node = f"\n    export NODE_EXTRA_CA_CERTS={ca}" if ca else ""
    python = f"\n    export REQUESTS_CA_BUNDLE={ca}" if ca else ""
    return f"""
The org {served.org.settings.name} ({known["org_id"]}) answers at {known["url"]} {known["https_url"]}

  user            {known["username"]}
  password        {known["password"]}
  security token  {known["security_token"]}
  consumer key    {known["consumer_key"]}
  consumer secret {known["consumer_secret"]}

curl
    curl -H "Authorization: Bearer {token}" {known["url"]}/services/data/v62.0/limits
sf CLI{node}
    export SF_ACCESS_TOKEN={token}
    sf org login access-token --instance-url {known["https_url"] or known["url"]} --alias local --no-prompt
simple-salesforce{python if known["https_url"] else " (https only: start with --https)"}
    Salesforce(instance_url="{known["https_url"]}", session_id=...)   # isync local-org token {folder}

Trouble on request: isync local-org fault set {folder} row-locks     All data away: isync local-org reset {folder}
Ctrl-C stops it; the data stays in {folder}."""


@app.command()
def token(folder: Folder = HOME) -> None:
    """Print an access token of an org that is served."""
    from isync_dagster.local_org.running import Running

    typer.echo(Running.of(folder).token)


@app.command()
def status(folder: Folder = HOME) -> None:
    """Tell what an org holds, where it answers, and what trouble it is in."""
    from isync_dagster.local_org.running import Running
    from isync_dagster.local_org.settings import OrgSettings

    settings = OrgSettings.load(folder)
    typer.echo(f"{settings.name}: org {settings.org_id}, {settings.organization_type}, user {settings.username}")
    running = Running.find(folder)
    if running is None:
        from isync_dagster.local_org.local_org import LocalOrg

        typer.echo("not served")
        with LocalOrg.open(folder) as org:
            rows = dict(org.counts())
    else:
        state, rows = running.call("GET", ""), running.call("GET", "/rows")
        typer.echo(f"served at {running.credentials['url']} by process {state['process']}")
        typer.echo(f"calls {state['calls']:,} of {state['limit']:,}; scenario {state['scenario']}")
        _tell_faults(state["faults"])
    held = {name: count for name, count in sorted(rows.items()) if count}
    typer.echo("rows: " + (", ".join(f"{name} {count:,}" for name, count in held.items()) or "none"))


@app.command()
def reset(
    folder: Folder = HOME,
    data: Data = None,
    mapping: Mapping = None,
) -> None:
    """Take all data away, served or not: a new org with the same ids, users and credentials; with --data filled anew."""
    from isync_dagster.errors import ConfigError
    from isync_dagster.local_org.local_org import LocalOrg
    from isync_dagster.local_org.making import fill
    from isync_dagster.local_org.running import Running

    running = Running.find(folder)
    if running is not None:
        if data:
            raise ConfigError(f"The org in {folder} is served: stop it first, to fill it from files.")
        running.call("POST", "/reset")
    else:
        with LocalOrg.open(folder) as org:
            org.reset()
            fill(org, data or (), mapping, typer.echo)
    typer.echo(f"reset {folder}")


@app.command("import")
def import_command(
    folder: Folder, source: Annotated[Path, typer.Argument(help="A folder with one <Object>.parquet an object.")]
) -> None:
    """Take whole tables in from Parquet, with their Ids: what export wrote. (fill gives rows Ids of the org's own.)"""
    from isync_dagster.local_org.local_org import LocalOrg
    from isync_dagster.local_org.parquet import import_parquet

    with LocalOrg.open(folder) as org:
        for name, found in import_parquet(org, source).items():
            present = f", {found.present:,} that were there already left as they are" if found.present else ""
            typer.echo(f"{name}: {found.rows:,} rows{present}")


@app.command("export")
def export_command(folder: Folder, target: Annotated[Path, typer.Argument(help="A new folder.")]) -> None:
    """Write every object that has rows to <Object>.parquet, deleted rows included."""
    from isync_dagster.local_org.local_org import LocalOrg
    from isync_dagster.local_org.parquet import export_parquet

    with LocalOrg.open(folder) as org:
        for name, count in export_parquet(org, target).items():
            typer.echo(f"{name}: {count:,} rows")


@fault.command("list")
def fault_list() -> None:
    """The scenarios that are shipped."""
    from isync_dagster.local_org.scenarios import shipped

    width = max(len(item.name) for item in shipped())
    for item in shipped():
        typer.echo(f"{item.name.ljust(width)}  {item.description}")


@fault.command("set")
def fault_set(
    folder: Folder, scenario: Annotated[str, typer.Argument(help="A shipped scenario by name, or a YAML file.")]
) -> None:
    """Let a scenario begin in an org that is served; it takes the place of the one before."""
    from isync_dagster.local_org.running import Running
    from isync_dagster.local_org.scenarios import load

    found = load(scenario)
    Running.of(folder).call("POST", "/scenario", found.model_dump(mode="json"))
    typer.echo(f"{found.name}: {found.description}")


@fault.command("show")
def fault_show(folder: Folder = HOME) -> None:
    """The scenario in force, and how often its rules were met."""
    from isync_dagster.local_org.running import Running

    state = Running.of(folder).call("GET", "")
    typer.echo(f"scenario {state['scenario']}")
    _tell_faults(state["faults"])


@fault.command("lift")
def fault_lift(folder: Folder = HOME) -> None:
    """Put all right again: no fault, and the allowances of a new day."""
    from isync_dagster.local_org.running import Running

    Running.of(folder).call("DELETE", "/scenario")
    typer.echo("lifted")


def _tell_faults(rules: list[dict[str, Any]]) -> None:
    for rule in rules:
        left = "always" if rule["times"] is None else f"{rule['times']} more"
        typer.echo(f"  {rule['kind']} on {rule['path']}: met {rule['met']}, {left}")
