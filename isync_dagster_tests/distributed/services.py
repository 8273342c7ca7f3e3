"""Real servers on loopback for one test: redis and PostgreSQL from the system's packages, each in its own folder."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

NEEDED = {"dagster_celery": "celery", "dagster_postgres": "postgres", "obstore": "s3"}
"""Module -> the extra of this package that brings it."""
POSTGRES_USER = "postgres"


def missing() -> str:
    """What this machine lacks for the test, and how to get it; empty where nothing is."""
    lacks = [f"pip install 'isync_dagster[{extra}]'" for module, extra in NEEDED.items() if find_spec(module) is None]
    if shutil.which("redis-server") is None:
        lacks.append("apt-get install redis-server")
    if _postgres_folder() is None:
        lacks.append("apt-get install postgresql")
    return f"make distributed does it: {', '.join(lacks)}" if lacks else ""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """The URL of an empty redis."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with process(command, folder / "redis.log") as server:
        wait_for_port(port, server)
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database."""
    binaries = _postgres_folder()
    assert binaries is not None
    port = free_port()
    # PostgreSQL refuses to be root, and root's temporary folders are closed to its user.
    user = POSTGRES_USER if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="isync-postgres-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        if user:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        data = folder / "data"
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "isync", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **_as(user))
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries / "postgres"), "-D", str(data), *options]
        with (
            tempfile.TemporaryDirectory() as logs,
            process(command, Path(logs) / "log", cwd=folder, **_as(user)) as server,
        ):
            wait_for_port(port, server)
            yield f"postgresql+psycopg2://isync@127.0.0.1:{port}/postgres"


def _as(user: str | None) -> dict[str, Any]:
    return {"user": user, "group": user, "extra_groups": []} if user else {}


def _postgres_folder() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))


@contextmanager
def process(
    command: list[str], log: Path, env: Mapping[str, str] | None = None, **more: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, of which nothing is left at the end."""
    with log.open("wb") as out:
        started = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **more,
        )
        try:
            yield started
        finally:
            kill_all(started)


def kill_all(started: subprocess.Popen[bytes]) -> None:
    """kill -9 a process and all its descendants, itself first: nobody is left to report what became of the others."""
    if started.poll() is None:
        tree = psutil.Process(started.pid)
        for one in [tree, *tree.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    started.wait()


def wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens there; an error where the server ended before."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            raise AssertionError(f"{server.args!r} ended with status {server.returncode}")
        time.sleep(0.05)
