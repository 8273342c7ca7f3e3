"""The server of an org, seen from another process: where it answers, and its control side.

A server notes in `served.json` of its folder (readable by its owner only) where it answers; the note goes when it
stops. A note that a killed server left behind is told by the lock of the folder, which ends with its process.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from isync_dagster.errors import ConfigError, OrgError
from isync_dagster.local_org.settings import SETTINGS
from isync_dagster.local_org.storage import LOCK

NOTE: Final = "served.json"


@contextmanager
def noted(folder: Path, credentials: Mapping[str, str]) -> Iterator[None]:
    """Keep the note of a server while the block runs."""
    path = folder / NOTE
    write_private(path, json.dumps(credentials))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file whole or not at all, readable by its owner only."""
    temporary = path.with_name(path.name + ".tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")
    temporary.replace(path)


class Running:
    """The control side of a served org, logged in."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        import requests

        self._http = requests.Session()
        self._http.trust_env = False  # a proxy of the environment does not reach this machine's loopback
        self.credentials = credentials
        answer = self._send("POST", "/services/oauth2/token", data={
            "grant_type": "client_credentials", "client_id": credentials["consumer_key"],
            "client_secret": credentials["consumer_secret"],
        })  # fmt: skip
        self.token = str(answer["access_token"])
        self._http.headers["Authorization"] = f"Bearer {self.token}"

    @classmethod
    def find(cls, folder: Path) -> Running | None:
        """The server of the org in a folder, or None where it is not served; ConfigError where it holds no org."""
        if not (folder / SETTINGS).is_file():
            raise ConfigError(f"{folder} holds no local org: make one by `isync local-org start {folder}`.")
        if not _is_open(folder) or not (folder / NOTE).is_file():
            return None
        return cls(json.loads((folder / NOTE).read_text()))

    @classmethod
    def of(cls, folder: Path) -> Running:
        """The server of the org in a folder; ConfigError where it is not served."""
        found = cls.find(folder)
        if found is None:
            raise ConfigError(f"The org in {folder} is not served: start it by `isync local-org start {folder}`.")
        return found

    def call(self, method: str, path: str, body: object = None) -> Any:
        """A call of the control side: its JSON; ConfigError with the reason where it is refused."""
        return self._send(method, f"/__local_org{path}", json=body)

    def _send(self, method: str, path: str, **options: Any) -> Any:
        import requests

        try:
            answer = self._http.request(method, self.credentials["url"] + path, timeout=60, **options)
        except requests.RequestException as error:
            raise OrgError(f"The local org at {self.credentials['url']} does not answer: {error}.") from error
        content = answer.json()
        if answer.status_code >= 400:
            problem = content[0] if isinstance(content, list) else content
            raise ConfigError(str(problem.get("message") or problem.get("error_description") or problem))
        return content

    def close(self) -> None:
        """Let go of the connection."""
        self._http.close()


def _is_open(folder: Path) -> bool:
    """Whether a process has the org open: its lock is held."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
