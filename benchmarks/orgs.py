"""Both orgs as processes of their own, what they used, and a plain HTTP client that logs in to one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import requests

START_SECONDS = 120.0
LOGIN = """<?xml version="1.0" encoding="utf-8"?>
<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/" xmlns:urn="urn:partner.soap.sforce.com">
<env:Body><urn:login><urn:username>{username}</urn:username><urn:password>{password}{security_token}</urn:password>
</urn:login></env:Body></env:Envelope>"""


@dataclass(frozen=True)
class Served:
    """A local org that answers in a process of its own."""

    alias: str
    credentials: Mapping[str, Any]
    process: psutil.Process
    session: requests.Session

    @property
    def url(self) -> str:
        """Where it answers."""
        return str(self.credentials["url"])

    def environment(self) -> dict[str, str]:
        """What the tool's orgs.yaml reads of this org."""
        stem = self.alias.upper()
        keys = {"URL": "url", "USERNAME": "username", "PASSWORD": "password", "TOKEN": "security_token"}
        return {f"{stem}_{name}": str(self.credentials[key]) for name, key in keys.items()}

    def calls(self) -> int:
        """API calls that the org has counted so far."""
        return int(self.session.get(f"{self.url}/__local_org").json()["calls"])

    def cpu_seconds(self) -> float:
        """Processor time that the org has used so far."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def rss(self) -> int:
        """Resident memory of the org in bytes."""
        return int(self.process.memory_info().rss)


@contextmanager
def serving(alias: str, folder: Path) -> Iterator[Served]:
    """The org in `folder`, answering while the block runs."""
    with TemporaryDirectory(prefix="isync-bench-") as place:
        ready = Path(place) / "ready.json"
        command = [sys.executable, "-m", "isync_dagster.local_org", "serve", str(folder)]
        process = subprocess.Popen(
            [*command, "--ready-file", str(ready), "--with-parent"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        try:
            credentials = _wait(process, ready)
            session = _login(credentials)
            yield Served(alias, credentials, psutil.Process(process.pid), session)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(60)


def _wait(process: subprocess.Popen[bytes], ready: Path) -> dict[str, Any]:
    until = time.monotonic() + START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"The local org did not start (status {process.poll()}).")
        time.sleep(0.02)
    found: dict[str, Any] = json.loads(ready.read_text())
    return found


def _login(credentials: Mapping[str, Any]) -> requests.Session:
    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=16)
    session.mount("http://", adapter)
    answer = session.post(
        f"{credentials['url']}/services/Soap/u/59.0",
        data=LOGIN.format(**credentials),
        headers={"Content-Type": "text/xml", "SOAPAction": "login"},
    )
    answer.raise_for_status()
    token = answer.text.split("<sessionId>")[1].split("</sessionId>")[0]
    session.headers["Authorization"] = f"Bearer {token}"
    return session
