"""`isync demo`: two local orgs, the demo template between them, and what became of every record."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from rich.console import Console
from rich.markup import escape

from isync_dagster.assets.settings import Settings
from isync_dagster.cli.console import Exit
from isync_dagster.errors import ConfigError

TEMPLATE = "demo"
ORGS = ("demo_source", "demo_target")
START_SECONDS = 60.0


def demo(console: Console, rows: int, folder: Path) -> Exit:
    """Make the orgs where they are not there yet, serve them, migrate every phase; the orgs end with the command."""
    from isync_dagster.cli.migrate import migrate

    started = time.monotonic()
    _has_template()
    make_orgs(console, rows, folder)
    with serving(folder):
        code = migrate(console, TEMPLATE, [], "")
    console.print(
        f"[dim]{time.monotonic() - started:.0f} s; `make ui` (`isync ui --demo`) shows the same in the Dagster UI.[/]"
    )
    return code


def serve(console: Console, rows: int, folder: Path) -> Exit:
    """Make the orgs where they are not there yet and serve them until Ctrl-C; a file tells shells how to reach them."""
    _has_template()
    make_orgs(console, rows, folder)
    file = folder / "env"
    with serving(folder):
        values = {name: value for name, value in os.environ.items() if name.startswith("ISYNC_DEMO_")}
        text = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(values.items()))
        with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
        console.print(f"[green]✓[/] both orgs answer until Ctrl-C. In another shell: `. {escape(str(file))}`")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            console.print("both orgs have ended")
        finally:
            file.unlink(missing_ok=True)
    return Exit.OK


def _has_template() -> None:
    templates = Settings.from_env().templates
    if not (templates / f"{TEMPLATE}.yaml").is_file():
        raise ConfigError(
            f"There is no {templates / TEMPLATE}.yaml. Run the demo in a clone of the repository, or set "
            "ISYNC_TEMPLATES to its templates folder."
        )


def make_orgs(console: Console, rows: int, folder: Path) -> None:
    """Make both orgs unless both are there; an interrupted attempt is begun anew."""
    if all((folder / name).is_dir() for name in ORGS):
        return
    with console.status(f"Making two local orgs with about {rows:,} records in {folder} …"):
        from isync_dagster.local_org.demo.make import make_demo

        folder.mkdir(parents=True, exist_ok=True)
        # Made beside and moved when whole, so that a half-made org is never taken for one.
        with TemporaryDirectory(prefix=".making-", dir=folder) as beside:
            for made in make_demo(Path(beside), rows=rows):
                shutil.rmtree(folder / made.name, ignore_errors=True)
                made.rename(folder / made.name)
    console.print(f"[green]✓[/] two local orgs with about {rows:,} records in {escape(str(folder))}")


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """Both orgs answer on loopback while the block runs, and the environment says how to log in to them."""
    with ExitStack() as stack:
        ready = Path(stack.enter_context(TemporaryDirectory(prefix="isync-demo-")))
        servers = [(name, stack.enter_context(_server(folder / name, ready / f"{name}.json"))) for name in ORGS]
        for name, server in servers:
            credentials = _wait(name, server, ready / f"{name}.json")
            stem = f"ISYNC_{name.upper()}"
            os.environ[f"{stem}_URL"] = credentials["url"]
            os.environ[f"{stem}_USERNAME"] = credentials["username"]
            os.environ[f"{stem}_PASSWORD"] = credentials["password"]
            os.environ[f"{stem}_TOKEN"] = credentials["security_token"]
        yield


@contextmanager
def _server(folder: Path, ready: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "isync_dagster.local_org", "serve", str(folder)]
    # The org ends with us even where we are killed: the pipe to it closes then.
    command += ["--ready-file", str(ready), "--with-parent"]
    with child(command, output=subprocess.DEVNULL, input=subprocess.PIPE) as process:
        yield process


def _wait(name: str, server: subprocess.Popen[bytes], ready: Path) -> dict[str, Any]:
    until = time.monotonic() + START_SECONDS
    while not ready.exists():
        if server.poll() is not None:
            raise ConfigError(f"The local org {name} ended with status {server.returncode} before it answered.")
        if time.monotonic() > until:
            raise ConfigError(f"The local org {name} does not answer after {START_SECONDS:.0f} s.")
        time.sleep(0.05)
    found: dict[str, Any] = json.loads(ready.read_text())
    return found


@contextmanager
def child(
    command: list[str], *, output: IO[bytes] | int | None = None, input: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends when the block ends: asked first, killed where it does not listen.

    It is a session of its own, so that a Ctrl-C in the terminal reaches us alone and we stop our children in order;
    and it hears SIGINT although a shell may have started us with that signal ignored. `output` takes what it prints.
    """
    errors = None if output == subprocess.DEVNULL else output
    process = subprocess.Popen(
        command, stdin=input, stdout=output, stderr=errors, start_new_session=True, preexec_fn=_hear_interrupts
    )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _hear_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
