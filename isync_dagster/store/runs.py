"""The numbered runs of a sync job, and their states.

A run is opened, and each change of its state is recorded, by one create-if-absent file `state/<n>.json`: of
workers that act at once exactly one wins, the others see what it did. The first of these files holds the plan,
t0 and who opened the run, so that a run is opened whole or not at all; `plan.json` and `state.json` are copies
for people.

    open ─► closed ─► accepted        a closed, accepted or abandoned run can be rolled back
      └───► abandoned
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Any

from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store import files
from isync_dagster.store.audit import AuditLog
from isync_dagster.store.before import BeforeImages
from isync_dagster.store.clock import Clock, utc_now
from isync_dagster.store.layout import JobKey, Layout, RunLayout, decode
from isync_dagster.store.lease import Lease, LeaseDesk
from isync_dagster.store.ledger import Ledger
from isync_dagster.store.stops import Stops

__all__ = ["JobKey", "Run", "RunState", "Runs"]

TRIES = 100


class RunState(StrEnum):
    """Where a run stands."""

    OPEN = "open"
    CLOSED = "closed"
    ACCEPTED = "accepted"
    ROLLED_BACK = "rolled_back"
    ABANDONED = "abandoned"


NEXT: Mapping[RunState, tuple[RunState, ...]] = {
    RunState.OPEN: (RunState.CLOSED, RunState.ABANDONED),
    RunState.CLOSED: (RunState.ACCEPTED, RunState.ROLLED_BACK),
    RunState.ACCEPTED: (RunState.ROLLED_BACK,),
    RunState.ABANDONED: (RunState.ROLLED_BACK,),
    RunState.ROLLED_BACK: (),
}
"""State -> states it may become."""


@dataclass(frozen=True)
class Run:
    """One run of a sync job: the unit that is resumed, validated, accepted and rolled back."""

    job: JobKey
    number: int
    layout: RunLayout
    clock: Clock = utc_now

    # ── what it was opened with ──────────────────────────────────────────────────────────────────────

    @cached_property
    def opened(self) -> dict[str, Any]:
        """plan, plan_hash, t0, by and at of the opening."""
        path = self.layout.transition(1)
        raw = files.read_bytes(path)
        if raw is None:
            raise StoreError(
                f"Run {self.number} in {self.layout.folder} was never opened.", path=str(self.layout.folder)
            )
        return _opening(raw, str(path))

    @property
    def t0(self) -> datetime:
        """The source's time when the run opened, which fixes its scope."""
        return datetime.fromisoformat(self.opened["t0"])

    @property
    def plan_hash(self) -> str:
        """The hash of the plan it was opened with."""
        return str(self.opened["plan_hash"])

    @property
    def opened_by(self) -> str:
        """Who opened it."""
        return str(self.opened["by"])

    @property
    def opened_at(self) -> datetime:
        """When it was opened, by the worker's clock."""
        return datetime.fromisoformat(self.opened["at"])

    @property
    def label(self) -> str:
        """The run as the lease and people name it; two runs of a store that write to one target differ in it."""
        return f"{self.job.template}/{self.job.phase}/{self.number} from {self.job.source_org_id}"

    def plan(self) -> dict[str, Any]:
        """The plan it was opened with, as JSON."""
        return dict(self.opened["plan"])

    # ── state ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state(self) -> RunState:
        """Where it stands now, read anew each time."""
        return RunState(self._newest()[1]["state"])

    @property
    def is_open(self) -> bool:
        """True while materializing resumes it."""
        return self.state is RunState.OPEN

    def transitions(self) -> list[dict[str, Any]]:
        """Every change of state, oldest first: state, at, by and details; without the plan."""
        found = [files.read_json(self.layout.transition(number)) for number in self._numbers()]
        return [{key: value for key, value in data.items() if key != "plan"} for data in found if data is not None]

    def summary(self) -> dict[str, Any] | None:
        """What `close`, or the newest `amend`, was given; None while it is open or where it was abandoned."""
        closed = [data for data in self.transitions() if data["state"] == RunState.CLOSED]
        return closed[-1]["details"] if closed else None

    def close(self, summary: Mapping[str, Any], by: str = "") -> bool:
        """Close the run; False where it is closed already. Raises `StoreError` where it was abandoned."""
        return self._become(RunState.CLOSED, summary, by)

    def amend(self, summary: Mapping[str, Any], by: str = "") -> None:
        """Give the closed run a new summary: a retry has changed what came of it. It stays closed.

        Raises `StoreError` where it is not closed.
        """
        for _ in range(TRIES):
            number, newest = self._newest()
            if RunState(newest["state"]) is not RunState.CLOSED:
                raise StoreError(
                    f"Run {self.number} of {self.job.template!r}, phase {self.job.phase!r}, is {newest['state']}: only "
                    "a closed run gets a new summary.",
                    run=self.number,
                )
            entry = {"state": RunState.CLOSED, "at": self.clock(), "by": by, "details": dict(summary)}
            if files.create_if_absent(self.layout.transition(number + 1), entry):
                files.write_json(self.layout.state, {"run": self.number, **entry})
                return
        raise StoreError(f"The state of run {self.number} changes too fast. Run again.", run=self.number)

    def abandon(self, why: str, by: str = "") -> bool:
        """Give the open run up: what it did stays, the next one starts anew. False where it was done before."""
        return self._become(RunState.ABANDONED, {"why": why}, by)

    def accept(self, by: str = "", details: Mapping[str, Any] | None = None) -> bool:
        """Say that the result is good; cleanup may act on it then. False where it was done before."""
        return self._become(RunState.ACCEPTED, details or {}, by)

    def mark_rolled_back(self, summary: Mapping[str, Any], by: str = "") -> bool:
        """Say that the run was undone. False where it was done before."""
        return self._become(RunState.ROLLED_BACK, summary, by)

    def _become(self, state: RunState, details: Mapping[str, Any], by: str) -> bool:
        for _ in range(TRIES):
            number, newest = self._newest()
            now = RunState(newest["state"])
            if now is state:
                return False
            if state not in NEXT[now]:
                raise StoreError(
                    f"Run {self.number} of {self.job.template!r}, phase {self.job.phase!r}, is {now}: it cannot "
                    f"become {state}.",
                    run=self.number,
                    state=str(now),
                )
            entry = {"state": state, "at": self.clock(), "by": by, "details": dict(details)}
            if files.create_if_absent(self.layout.transition(number + 1), entry):
                files.write_json(self.layout.state, {"run": self.number, **entry})
                return True
        raise StoreError(f"The state of run {self.number} changes too fast. Run again.", run=self.number)

    def _numbers(self) -> list[int]:
        return _numbers(name.removesuffix(".json") for name in files.names(self.layout.states))

    def _newest(self) -> tuple[int, dict[str, Any]]:
        numbers = self._numbers()
        if len(numbers) <= 1:
            return 1, self.opened
        data = files.read_json(self.layout.transition(numbers[-1]))
        if data is None:
            raise StoreError(f"The state of run {self.number} in {self.layout.folder} is gone.", run=self.number)
        return numbers[-1], data

    # ── a hold protects it from cleanup ──────────────────────────────────────────────────────────────

    @property
    def hold(self) -> dict[str, Any] | None:
        """Why cleanup must leave the run alone, or None."""
        return files.read_json(self.layout.hold)

    def set_hold(self, why: str, by: str = "") -> None:
        """Protect the run from cleanup."""
        files.write_json(self.layout.hold, {"why": why, "by": by, "at": self.clock()})

    def release_hold(self) -> None:
        """End the protection."""
        files.remove(self.layout.hold)

    # ── what it holds ────────────────────────────────────────────────────────────────────────────────

    @property
    def folder(self) -> UPath:
        """The folder of the run."""
        return self.layout.folder

    @property
    def report_folder(self) -> UPath:
        """The folder of the run's reports."""
        return self.layout.report

    def extract_folder(self, object: str) -> UPath:
        """The folder of an object's extract."""
        return self.layout.extract(object)

    def remap_folder(self, object: str) -> UPath:
        """The folder of an object's rows ready to send."""
        return self.layout.remap(object)

    def audit(self, object: str) -> AuditLog:
        """The audit log of an object."""
        return AuditLog(self.layout.audit(object))

    def before(self, object: str) -> BeforeImages:
        """The before-images of an object."""
        return BeforeImages(self.layout.before(object))

    def ledger(self, step: str, object: str) -> Ledger:
        """The ledger of one step (load, relink, retry-n, rollback-n) of an object."""
        return Ledger(self.layout.ledger(step, object), self.clock)

    @property
    def stops(self) -> Stops:
        """The requests to stop this run."""
        return Stops(self.layout.stops, self.clock)

    @property
    def retries_folder(self) -> UPath:
        """The folder of the run's retries."""
        return self.layout.retries

    @property
    def open_retry(self) -> int | None:
        """The number of the run's retry that was begun and is not through, or None."""
        begun = self.retries()
        done = not begun or files.exists(self.retries_folder / f"{begun[-1]:03d}" / "done.json")
        return None if done else begun[-1]

    def retries(self) -> list[int]:
        """Numbers of the retries that were begun."""
        numbers = _numbers(files.names(self.retries_folder))
        return [number for number in numbers if files.exists(self.retries_folder / f"{number:03d}" / "begun.json")]

    def ledgers(self) -> list[tuple[str, str]]:
        """(step, object) of every ledger the run has."""
        steps = files.names(self.layout.ledgers)
        return [(decode(step), name) for step in steps for name in files.names(self.layout.ledgers / step)]

    def claim(self, step: str, object: str, holder: str) -> Lease:
        """The right of one worker to act on one step of an object: a lease that is never shared.

        Raises `LeaseHeldError` while another worker that is alive has it; one on another machine that may be dead is
        waited for until that is clear, at most the lease's time to live.
        """
        desk = LeaseDesk(self.layout.claim(step, object), f"{step} of {object} in run {self.label}", clock=self.clock)
        return desk.acquire_alone(holder, patient=True)

    def write_verdict(self, object: str, name: str, verdict: Mapping[str, Any]) -> None:
        """Keep the result of a check; a newer one takes its place."""
        files.write_json(self.layout.verdict(object, name), verdict)

    def verdicts(self) -> list[dict[str, Any]]:
        """The newest result of every check, as they were written, in order of object and name."""
        found = (files.read_json(self.layout.verdicts / path) for path in files.find(self.layout.verdicts))
        return [data for data in found if data is not None]


@dataclass(frozen=True)
class Runs:
    """The runs of one sync job."""

    layout: Layout
    job: JobKey
    clock: Clock = utc_now
    first: int = 1
    """Number of the first run: a rehearsal's comes after those of the store beneath it."""

    def current(self) -> Run | None:
        """The open run, or None."""
        run = self.latest()
        return run if run is not None and run.is_open else None

    def latest(self) -> Run | None:
        """The newest run, or None where there never was one."""
        for number in reversed(self._folders()):
            run = self.get(number)
            if run is not None:
                return run
        return None

    def get(self, number: int) -> Run | None:
        """The run of that number, or None where it was never opened."""
        layout = self.layout.run(self.job, number)
        return Run(self.job, number, layout, self.clock) if files.exists(layout.transition(1)) else None

    def open_or_resume(self, plan_json: Mapping[str, Any], plan_hash: str, t0: datetime, opened_by: str) -> Run:
        """The open run, or the next one, opened with this plan and t0. Workers that call it at once get the same run.

        The run that comes back may have been opened with another plan: compare `plan_hash`.
        """
        if t0.tzinfo is None:
            raise StoreError("t0 must say its time zone.")
        opening: dict[str, Any] = {
            "state": RunState.OPEN,
            "at": self.clock(),
            "by": opened_by,
            "t0": t0,
            "plan_hash": plan_hash,
            "plan": dict(plan_json),
        }
        for _ in range(TRIES):
            latest = self.latest()
            if latest is not None and latest.is_open:
                return latest
            number = latest.number + 1 if latest is not None else self.first
            layout = self.layout.run(self.job, number)
            if files.create_if_absent(layout.transition(1), opening):
                files.write_json(layout.plan, opening["plan"])
                shown = {key: value for key, value in opening.items() if key != "plan"}
                files.write_json(layout.state, {"run": number, **shown})
                return Run(self.job, number, layout, self.clock)
        raise StoreError(f"Runs of {self.job.template!r} open and close too fast. Run again.")

    # ── a hold protects the whole sync job from cleanup ──────────────────────────────────────────────

    @property
    def hold(self) -> dict[str, Any] | None:
        """Why cleanup must leave every run of the sync job alone, or None."""
        return files.read_json(self._hold)

    def set_hold(self, why: str, by: str = "") -> None:
        """Protect every run of the sync job, later ones too, until one is accepted or the hold is released."""
        files.write_json(self._hold, {"why": why, "by": by, "at": self.clock()})

    def release_hold(self) -> None:
        """End the protection."""
        files.remove(self._hold)

    @property
    def _hold(self) -> UPath:
        return self.layout.job(self.job) / "hold.json"

    def list(self) -> tuple[Run, ...]:
        """All runs, oldest first."""
        return tuple(run for number in self._folders() if (run := self.get(number)) is not None)

    def _folders(self) -> tuple[int, ...]:
        return tuple(_numbers(files.names(self.layout.job(self.job))))


@lru_cache(maxsize=8)
def _opening(raw: bytes, path: str) -> dict[str, Any]:
    """The first record of a run, which holds its whole plan: every step looks at it several times."""
    return files.parse_json(raw, path)


def _numbers(names: Any) -> list[int]:
    return sorted(int(name) for name in names if name.isdigit())
