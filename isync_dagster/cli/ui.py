"""`isync ui`: the Dagster webserver and daemon together, with the orgs of the demo where asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from rich.console import Console

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.launch import LOCATION, MODULE
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.console import Exit
from isync_dagster.cli.demo import child, make_orgs, serving
from isync_dagster.cli.home import dagster_instance, prepare
from isync_dagster.errors import ConfigError

WORKSPACE = Path("workspace.yaml")
START_SECONDS = 120.0


class _Stop(Exception):
    """Somebody asked the UI to end."""


def ui(console: Console, host: str, port: int, demo: Path | None, rows: int) -> Exit:
    """Serve the UI until Ctrl-C or SIGTERM; both end webserver, daemon and demo orgs in order."""
    load_plans(Settings.from_env())  # what is wrong with a template is said here, not in a page
    _require_free(host, port)
    home = prepare()
    with dagster_instance():
        pass  # what dead processes left behind is reaped
    previous = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with ExitStack() as stack:
            if demo is not None:
                make_orgs(console, rows, demo)
                stack.enter_context(serving(demo))
            return _serve(console, stack, home, host, port)
    except _Stop:
        console.print("stopped")
        return Exit.OK
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _serve(console: Console, stack: ExitStack, home: Path, host: str, port: int) -> Exit:
    where = _workspace(home)
    web = [sys.executable, "-m", "dagster_webserver", "-h", host, "-p", str(port), *where]
    daemon = [sys.executable, "-m", "dagster._daemon", "run", *where]
    log = stack.enter_context((home / "ui.log").open("ab"))
    processes = {
        "dagster-daemon": stack.enter_context(child(daemon, output=log)),
        "dagster-webserver": stack.enter_context(child(web, output=log)),
    }
    url = f"http://{host}:{port}"
    with console.status("Starting the Dagster UI …"):
        until = time.monotonic() + START_SECONDS
        while not _answers(url):
            _alive(processes, home)
            if time.monotonic() > until:
                raise ConfigError(f"The UI does not answer at {url} after {START_SECONDS:.0f} s.")
            time.sleep(0.3)
    console.print(f"[green]✓[/] Dagster UI: [bold]{url}[/]  (Ctrl-C ends it; log: {home / 'ui.log'})", soft_wrap=True)
    while True:
        _alive(processes, home)
        time.sleep(0.5)


def _workspace(home: Path) -> list[str]:
    """The workspace.yaml of the working folder, else one of our own with the same name for the code location."""
    if WORKSPACE.is_file():
        return ["-w", str(WORKSPACE)]
    made = home / "workspace.yaml"
    target = {"module_name": MODULE, "attribute": "defs", "location_name": LOCATION}
    made.write_text(json.dumps({"load_from": [{"python_module": target}]}))
    return ["-w", str(made)]


def _alive(processes: dict[str, subprocess.Popen[bytes]], home: Path) -> None:
    for name, process in processes.items():
        code = process.poll()
        if code is not None:
            last = "".join((home / "ui.log").read_text(errors="replace").splitlines(keepends=True)[-20:])
            raise ConfigError(f"{name} ended with status {code}:\n{last}\nAll of it is in {home / 'ui.log'}.")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _require_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} on {host} is not free ({os.strerror(error.errno or 0)}): use --port."
            ) from error


def _stop(number: int, frame: FrameType | None) -> None:
    raise _Stop
