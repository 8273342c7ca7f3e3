"""Requests to stop a run, which reach its workers wherever they are: files in the run's folder.

    stops/<n>.json                    the n-th request: why, by whom, what becomes of the jobs in flight
    stops/sessions/<session>.json     how many requests there were when a session began to work on the run

A session is all the work that was started at once (one Dagster run, one command). It obeys the requests that were
made after it began, and no older one: to go on after a stop is simply to begin a new session. Numbers decide, made
with create-if-absent, so that no clock is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store import files
from isync_dagster.store.clock import Clock, utc_now
from isync_dagster.store.layout import encode

TRIES = 100


class StopKind(StrEnum):
    """Who or what asked."""

    ABORT = "abort"
    """A person, by `isync abort`."""
    CANCEL = "cancel"
    """A person, who cancelled the Dagster run; never written, it is known to the run alone."""
    BUDGET = "budget"
    """The API calls of an org are used up to the share that the run may use."""
    REFUSED = "refused"
    """More rows were refused than allowed, and continue on error is off."""


class Jobs(StrEnum):
    """What becomes of the Bulk jobs in flight."""

    WAIT = "wait"
    ABORT = "abort"


@dataclass(frozen=True)
class Stop:
    """One request; `number` 0 is one that was never written."""

    kind: StopKind
    why: str
    jobs: Jobs = Jobs.WAIT
    by: str = ""
    number: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stops:
    """The requests to stop one run."""

    folder: UPath
    clock: Clock = utc_now

    def ask(
        self,
        kind: StopKind,
        why: str,
        *,
        jobs: Jobs = Jobs.WAIT,
        by: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> Stop:
        """Ask every session that is at work now to stop."""
        entry = {
            "kind": str(kind),
            "why": why,
            "jobs": str(jobs),
            "by": by,
            "details": dict(details or {}),
            "at": self.clock(),
        }
        for _ in range(TRIES):
            number = max(self._numbers(), default=0) + 1
            if files.create_if_absent(self._path(number), entry):
                return Stop(kind, why, jobs, by, number, dict(details or {}))
        raise StoreError("Requests to stop the run come too fast. Try again.", path=str(self.folder))

    def enter(self, session: str) -> int:
        """The number of the newest request when the session began: recorded once, given back ever after."""
        path = self.folder / "sessions" / f"{encode(session)}.json"
        files.create_if_absent(path, {"after": max(self._numbers(), default=0), "at": self.clock()})
        found = files.read_json(path)
        if found is None:
            raise StoreError(f"{path} is gone: somebody removed it while the run was at work.", path=str(path))
        return int(found["after"])

    def after(self, number: int) -> list[Stop]:
        """The requests made after that one, oldest first."""
        return [stop for item in self._numbers() if item > number and (stop := self._read(item)) is not None]

    def newest(self) -> Stop | None:
        """The newest request, obeyed or not."""
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else None

    def is_obeyed(self, number: int) -> bool:
        """True while no session has begun since that request."""
        folder = self.folder / "sessions"
        marks = (files.read_json(folder / name) for name in files.names(folder))
        return not any(mark is not None and int(mark["after"]) >= number for mark in marks)

    def _read(self, number: int) -> Stop | None:
        data = files.read_json(self._path(number))
        if data is None:
            return None
        return Stop(StopKind(data["kind"]), data["why"], Jobs(data["jobs"]), data["by"], number, data["details"])

    def _path(self, number: int) -> UPath:
        return self.folder / f"{number:05d}.json"

    def _numbers(self) -> list[int]:
        found = (name.removesuffix(".json") for name in files.names(self.folder) if name.endswith(".json"))
        return sorted(int(name) for name in found if name.isdigit())
