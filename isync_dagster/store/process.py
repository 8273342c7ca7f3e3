"""Which process this is, so that another one can tell whether it still lives."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Process:
    """A process: where it runs, its id, and when it started (ids are used again).

    `machine` is one boot of one machine and one space of process ids; it is empty where the system does not tell
    (then only time can say whether the process lives). `started` is in clock ticks since the boot.
    """

    host: str
    pid: int
    machine: str
    started: int

    @classmethod
    def current(cls) -> Process:
        """This process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process of this machine that has the id now."""
        return cls(socket.gethostname(), pid, _machine(), _start(pid) or 0)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Process:
        """Read what `to_json` gave, other keys beside it."""
        return cls(str(data["host"]), int(data["pid"]), str(data["machine"]), int(data["started"]))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"host": self.host, "pid": self.pid, "machine": self.machine, "started": self.started}

    def is_alive_here(self, me: Process) -> bool | None:
        """Whether the process lives, seen from the machine of `me`; None where that cannot be seen from there."""
        if not self.machine or self.machine != me.machine:
            return None
        return self == me or _start(self.pid) == self.started


@cache
def _machine() -> str:
    try:
        return f"{_BOOT.read_text().strip()} {_NAMESPACE.readlink()}"
    except OSError:
        return ""


def _start(pid: int) -> int | None:
    """When the process started, or None where there is none (a zombie is none)."""
    try:
        # The second field is the program's name in brackets, which may hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    state, started = fields[0], int(fields[19])
    return None if state in ("Z", "X") else started
