"""Points of a run at which a process can be killed, found by watching an undisturbed run: no list is kept.

A point is one file that the store writes, or one answer that an org gives, named by what it is; a moment says
when the process dies:

    torn      half of the file's bytes lie under the temporary name
    written   the file has its name, nothing after it has happened
    answered  the org has acted and answered, nothing of it is noted
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from isync_dagster.salesforce.calls import OrgCalls
from isync_dagster.store import disk, objects

FILE_MOMENTS = ("torn", "written")
CALL_MOMENT = "answered"
_HASH = re.compile(r"-[0-9a-f]{16}(?=\.parquet)")
_ID = re.compile(r"/(?=[A-Za-z]*[0-9])(?:[0-9A-Za-z]{18}|[0-9A-Za-z]{15})(?=/|$)")
_RANDOM = (
    (re.compile(r"alive/[0-9a-f]+"), "alive/member"),
    (re.compile(r"sessions/[0-9a-f]+"), "sessions/session"),
    (re.compile(r"^probe-[0-9a-f]+"), "probe"),
    # What a step lays out on this machine, outside the store.
    (re.compile(r"isync-scratch-[^/]+"), "isync-scratch"),
)


def kind_of(point: str) -> str:
    """What a point is one of: without object, chunk, attempt and part.

    >>> kind_of("ledger/load/Account/000003/001/2-created.json")
    'ledger load: created'
    >>> kind_of("audit/Account/load-00001-001.parquet")
    'audit'
    """
    if " " in point:
        return point.split("?")[0]
    parts = point.split("/")
    if parts[0] == "ledger":
        state = re.sub(r"^\d+-|\.[a-z]+$", "", parts[-1])
        return f"ledger {parts[1]}: {re.sub(r'[-0-9]+$', '', state)}"
    return parts[0]


def shown(path: str, root: str) -> str:
    """A file of the store by what it is: relative to its run, without hashes and names that are drawn by lot."""
    name = path.removeprefix(root).lstrip("/")
    name = re.sub(r"^runs/[^/]+/[^/]+/[^/]+/\d+/", "", name)
    name = re.sub(r"^(idmap|pending)/[^/]+/", r"\1/", name)
    name = re.sub(r"^leases/[^/]+?(?=/|\.json)", "leases/org", name)
    # Chunks that run side by side take their numbers in any order.
    name = re.sub(r"\.\d{8}(?=\.parquet$)", "", name)
    for drawn, instead in _RANDOM:
        name = drawn.sub(instead, name)
    return _HASH.sub("", name)


def shown_call(method: str, path: str, alias: str) -> str:
    """A call by what it is: without version, ids and query."""
    return f"{alias} {method} {_ID.sub('/ID', re.sub(r'^/services/data/v[0-9.]+', '', path))}"


class Watch:
    """Notes every point that the process passes, and ends it at one."""

    def __init__(self, root: str, log: Path | None, fatal: dict[str, str] | None) -> None:
        self._root = root
        self._log = log
        self._fatal = fatal
        self._lock = threading.Lock()
        self._met: Counter[str] = Counter()
        self._here = threading.local()

    def put_on(self, patch: pytest.MonkeyPatch) -> None:
        """Watch the store's writes and the orgs' answers of this process."""
        temporary, publish, link, send = disk.temporary, disk.publish, disk._link, OrgCalls._send

        @contextmanager
        def watched(path: UPath) -> Iterator[Path]:
            point = shown(str(path), self._root)
            self._here.point = point
            with temporary(path) as place:
                yield place
            self.pass_by(point, "written")

        def published(place: Path, path: UPath) -> None:
            self.pass_by(self._here.point, "torn", place)
            publish(place, path)

        def linked(place: Path, final: Path, data: bytes) -> bool:
            self.pass_by(self._here.point, "torn", place)
            return link(place, final, data)

        def sent(org: OrgCalls, session: Any, call: Any, grant: Any, data: Any) -> Any:
            answer = send(org, session, call, grant, data)
            self.pass_by(shown_call(call.method, call.path, org.alias), CALL_MOMENT)
            return answer

        def put(verb: str) -> Callable[..., Any]:
            """A write to an object store: it is whole or not there, so that nothing is torn."""
            real = getattr(objects, verb)

            def watched_put(*arguments: Any) -> Any:
                answer = real(*arguments)
                path = next(item for item in arguments if isinstance(item, UPath))
                self.pass_by(shown(str(path), self._root), "written")
                return answer

            return watched_put

        for verb in ("publish", "write_whole", "write_new"):
            patch.setattr(objects, verb, put(verb))
        patch.setattr(disk, "temporary", watched)
        patch.setattr(disk, "publish", published)
        patch.setattr(disk, "_link", linked)
        patch.setattr(OrgCalls, "_send", sent)

    def pass_by(self, point: str, moment: str, place: Path | None = None) -> None:
        """Note the point; die where it is the fatal one."""
        with self._lock:
            self._met[f"{moment} {point}"] += 1
            if self._log is not None:
                with self._log.open("a") as log:
                    log.write(json.dumps({"point": point, "moment": moment}) + "\n")
            fatal = self._fatal
            if fatal is None or (point, moment) != (fatal["point"], fatal["moment"]):
                return
            if place is not None:
                os.truncate(place, place.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)


def read_log(path: Path) -> list[dict[str, str]]:
    """Every different (point, moment) that a run passed, in the order of the first time."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return list({(item["point"], item["moment"]): item for item in found}.values())
