"""The lease: one writer a target org at a time, shared by the workers of one run.

The lease's history is a row of numbered files, each made with create-if-absent: `take`, `join` or `free`. The file
with the highest number says who holds it, so that of two takers, or of one who joins and one who leaves last,
exactly one wins. Each member also keeps a small file that says when it last renewed.

**When a lease may be taken over.** It is stale when no member of the holding run is alive:

- a member on this machine is alive as long as its process is (same process id and same start time), whatever any
  clock says: a killed worker's lease is free at once, a paused worker's is not;
- a member on another machine is alive as long as it renewed within the TTL (default 120 seconds; it renews every
  quarter of that). The clocks of the machines must agree to well within the TTL.

A worker that lost its lease all the same (its machine was cut off longer than the TTL) finds out at its next
`check` or `renew` and must not act any more.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from upath import UPath

from isync_dagster.errors import LeaseHeldError, StoreError
from isync_dagster.store import files
from isync_dagster.store.clock import Clock, utc_now
from isync_dagster.store.process import Process

TTL = timedelta(seconds=120)
TRIES = 200
LOOK = 2.0
"""Seconds between two looks of one who waits."""

_left: set[str] = set()
"""Members of this process that have left: their files may stay where the store refused to be written to."""


@dataclass(frozen=True)
class Slot:
    """One numbered file of the lease's history."""

    generation: int
    action: str
    label: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class LeaseDesk:
    """Hands out the lease kept in one folder; `subject` names what it guards, for messages."""

    folder: UPath
    subject: str
    ttl: timedelta = TTL
    clock: Clock = utc_now
    me: Process = field(default_factory=Process.current)
    pause: Callable[[float], None] = time.sleep
    copy: UPath | None = None
    """Where people look: the holder as one JSON file, there while the lease is held."""

    def acquire(self, label: str, holder: str, *, takeover: bool = False) -> Lease:
        """The lease for a run (`label`: the same for all its workers), held until `release`.

        `holder` is how people recognise the worker. Raises `LeaseHeldError` while another run holds it; with
        `takeover` it is taken even so, which is right only when the other is known to be dead.
        """
        lease = Lease(self, label, holder, secrets.token_hex(8), self.clock())
        try:
            self._take(lease, takeover)
        except BaseException:
            # A member file without a member would keep the lease from being given back.
            lease.forget()
            raise
        return lease

    def _take(self, lease: Lease, takeover: bool) -> None:
        for _ in range(TRIES):
            top = self.top()
            action = "take"
            if top is not None and top.action != "free":
                if top.label == lease.label:
                    action = "join"
                elif not takeover and self.live_members(top):
                    raise self._held(top)
            lease.announce()
            number = top.generation + 1 if top else 1
            slot = {"action": action, "label": lease.label, "member": lease.member, **lease.describe()}
            if not files.create_if_absent(self.slot_path(number), slot):
                continue
            # A slot that had been pruned can be made again: only the newest one counts.
            now = self.top()
            if now is not None and now.action != "free" and now.label == lease.label:
                self._tidy(number)
                self.show(slot)
                return
        raise StoreError(f"The lease of {self.subject} changes hands too fast. Run again.", path=str(self.folder))

    def acquire_alone(self, holder: str, *, patient: bool = False) -> Lease:
        """The lease for one worker only, under a label that no other has.

        A holder on another machine cannot be seen to be dead. With `patient` one waits until it renews, which raises
        `LeaseHeldError` as at once without it, or until it has not for the TTL: then the lease is taken over.
        """
        label = f"{holder} {secrets.token_hex(8)}"
        first: dict[str, str] | None = None
        while True:
            try:
                return self.acquire(label, holder)
            except LeaseHeldError:
                unseen = self._unseen() if patient else {}
                if not unseen or (first is not None and unseen != first):
                    raise
                first = unseen
            self.pause(min(LOOK, self.ttl.total_seconds() / 8))

    def _unseen(self) -> dict[str, str]:
        """Member -> when it renewed, of a holder whose living members are all on other machines; else empty."""
        top = self.top()
        members = self.members(top.label) if top is not None and top.action != "free" else {}
        live = {name: data for name, data in members.items() if name not in _left and self._alive(data)}
        if any(Process.from_json(data).is_alive_here(self.me) is not None for data in live.values()):
            return {}
        return {name: str(data["renewed_at"]) for name, data in live.items()}

    def holder(self) -> dict[str, Any] | None:
        """Who holds the lease (label, holder, host, pid, taken_at, renewed_at, live), or None."""
        top = self.top()
        if top is None or top.action == "free":
            return None
        members = self.members(top.label)
        renewed = max([str(top.data["renewed_at"]), *(str(member["renewed_at"]) for member in members.values())])
        return {**top.data, "renewed_at": renewed, "live": bool(self.live_members(top)), "members": len(members)}

    # ── the folder ───────────────────────────────────────────────────────────────────────────────────

    def slot_path(self, generation: int) -> UPath:
        """The file of one generation."""
        return self.folder / f"{generation:08d}.json"

    def alive_path(self, member: str) -> UPath:
        """The file that says when a member last renewed."""
        return self.folder / "alive" / f"{member}.json"

    def generations(self) -> list[int]:
        """Generations that have a file, oldest first."""
        found = (name.removesuffix(".json") for name in files.names(self.folder) if name.endswith(".json"))
        return sorted(int(name) for name in found if name.isdigit())

    def top(self) -> Slot | None:
        """The newest slot, or None where the lease was never taken."""
        for _ in range(TRIES):
            generations = self.generations()
            if not generations:
                return None
            data = files.read_json(self.slot_path(generations[-1]))
            if data is not None:  # else pruned since the listing
                return Slot(generations[-1], data["action"], data["label"], data)
        raise StoreError(f"The lease of {self.subject} changes hands too fast. Run again.", path=str(self.folder))

    def members(self, label: str) -> dict[str, dict[str, Any]]:
        """Members of a run by member id, dead ones among them."""
        found = {}
        for name in files.names(self.folder / "alive"):
            data = files.read_json(self.folder / "alive" / name)
            if data is not None and data["label"] == label:
                found[name.removesuffix(".json")] = data
        return found

    def live_members(self, slot: Slot, but: str = "") -> list[str]:
        """Members of the holding run that are alive by the rule above, `but` one."""
        members = self.members(slot.label)
        return [name for name, data in members.items() if name != but and name not in _left and self._alive(data)]

    def others(self, label: str) -> list[dict[str, Any]]:
        """The live members of that run in other processes than this one, as their files say."""
        found = self.members(label).values()
        return [data for data in found if Process.from_json(data) != self.me and self._alive(data)]

    def reap(self) -> dict[str, Any] | None:
        """Give the lease back for a holder that is dead by the rule above; who it was, or None."""
        top = self.top()
        if top is None or top.action == "free" or self.live_members(top):
            return None
        slot = {**top.data, "action": "free", "renewed_at": self.clock().isoformat()}
        # Whoever joins or takes it over at this moment makes the same file: one of us wins.
        if not files.create_if_absent(self.slot_path(top.generation + 1), slot):
            return None
        self._tidy(top.generation + 1)
        self.show(None)
        return dict(top.data)

    def _alive(self, data: Mapping[str, Any]) -> bool:
        process = Process.from_json(data)
        known = process.is_alive_here(self.me)
        if known is not None:
            return known
        return self.clock() - datetime.fromisoformat(data["renewed_at"]) < self.ttl

    def show(self, slot: Mapping[str, Any] | None) -> None:
        """Keep the copy for people."""
        if self.copy is None:
            return
        if slot is None:
            files.remove(self.copy)
        else:
            files.write_json(self.copy, slot)

    def _tidy(self, newest: int) -> None:
        """Remove older slots, and what members left behind that are no longer alive."""
        for generation in self.generations():
            if generation < newest:
                files.remove(self.slot_path(generation))
        for name in files.names(self.folder / "alive"):
            data = files.read_json(self.folder / "alive" / name)
            if data is not None and not self._alive(data):
                files.remove(self.folder / "alive" / name)

    def _held(self, slot: Slot) -> LeaseHeldError:
        data = self.holder() or dict(slot.data)
        seconds = int(self.ttl.total_seconds())
        return LeaseHeldError(
            f"{self.subject} is being written to by {data['holder']} ({data['label']}) on {data['host']}, process "
            f"{data['pid']}, since {data['taken_at']} (last renewed {data['renewed_at']}). Wait until it ends, or end "
            "it: the next run takes the lease over at once when that process is gone on this machine, or "
            f"{seconds} seconds after the last renewal when it ran on another one.",
            holder=data["holder"],
            label=data["label"],
            host=data["host"],
            pid=data["pid"],
        )


@dataclass
class Lease:
    """The right of one worker to write; a context manager that releases at its end."""

    desk: LeaseDesk
    label: str
    holder: str
    member: str
    taken_at: datetime
    _released: bool = False
    _lost: LeaseHeldError | None = None

    def describe(self) -> dict[str, Any]:
        """Who this is, as its files say."""
        return {
            "holder": self.holder,
            **self.desk.me.to_json(),
            "taken_at": self.taken_at.isoformat(),
            "renewed_at": self.desk.clock().isoformat(),
        }

    def announce(self) -> None:
        """Write this member's file with the time now."""
        files.write_json(self.desk.alive_path(self.member), {"label": self.label, **self.describe()})

    def forget(self) -> None:
        """Remove this member's file."""
        files.remove(self.desk.alive_path(self.member))

    def check(self) -> None:
        """Raise `LeaseHeldError` where the lease is lost; call it before anything is sent."""
        if self._lost is not None:
            raise self._lost
        top = self.desk.top()
        if self._released or top is None or top.action == "free" or top.label != self.label:
            raise self._loss(top)

    def renew(self) -> None:
        """Say that this worker is alive. Raises `LeaseHeldError` where the lease is lost."""
        self.check()
        self.announce()

    def _loss(self, top: Slot | None) -> LeaseHeldError:
        taker = f"{top.data['holder']} ({top.label})" if top is not None and top.action != "free" else "nobody"
        return LeaseHeldError(
            f"{self.holder} ({self.label}) has lost the lease of {self.desk.subject}; it is held by {taker} now. "
            "Nothing more is sent. When the other run has ended, run again: the ledger says where to go on.",
            holder=taker,
        )

    @contextmanager
    def keep(self) -> Iterator[Lease]:
        """Renew in the background while the block runs; a loss shows at the next `check`."""
        stop = threading.Event()
        thread = threading.Thread(
            target=self._renew_until, args=(stop,), name=f"lease {self.desk.subject}", daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()

    def _renew_until(self, stop: threading.Event) -> None:
        pause = self.desk.ttl.total_seconds() / 4
        while not stop.wait(pause):
            try:
                self.renew()
            except LeaseHeldError as error:
                self._lost = error
                return
            except StoreError:
                # A store that is out of reach for a moment: the next renewal, or `check`, decides.
                continue

    def release(self) -> None:
        """Leave; the last member of the run gives the lease back. Harmless when repeated or when it is lost."""
        if self._released:
            return
        self._released = True
        _left.add(self.member)
        self.forget()
        for _ in range(TRIES):
            top = self.desk.top()
            if top is None or top.action == "free" or top.label != self.label:
                return
            if self.desk.live_members(top, but=self.member):
                return
            slot = {"action": "free", "label": self.label, "member": self.member, **self.describe()}
            if files.create_if_absent(self.desk.slot_path(top.generation + 1), slot):
                self.desk.show(None)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
