"""Calls of a run by phase, found by listening to an undisturbed one, and the trouble that each can meet.

Nothing is listed here that the local org knows: kinds of faults come from it, and so do scenario files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from isync_dagster.local_org import faults as org_faults
from isync_dagster.migration.extract import extract
from isync_dagster.migration.finish import finish
from isync_dagster.migration.load import load
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.relink import relink
from isync_dagster.migration.remap import remap
from isync_dagster_tests.faults.points import shown_call
from isync_dagster_tests.migration.world import World, check

PHASES = ("extract", "preflight", "remap", "load", "relink", "verify", "finish")

SHAPES: dict[str, tuple[dict[str, Any], ...]] = {
    "status": (
        {"status": 503},
        {"status": 500, "code": "UNKNOWN_EXCEPTION", "message": "An unexpected error occurred."},
    ),
    "truncate": ({"bytes": 5}, {"bytes": 60}),
    "delay": ({"seconds": 0.01},),
}
"""What a kind of fault needs said; a kind that is not named here needs nothing."""

OWN_PROCESS = frozenset({"kill"})
"""Kinds that end the org's process, which here is the test's own."""

HARMLESS = frozenset({"delay", "expire_session"})
"""Kinds that do not last: the one only takes time, the other is over with the next login."""

SCENARIOS = "isync_dagster.local_org.scenarios"


@dataclass(frozen=True)
class Trouble:
    """A fault at the first such call in a phase: once, or for as long as the run tries."""

    side: str
    phase: str
    call: str
    kind: str
    shape: tuple[tuple[str, Any], ...]
    lasting: bool

    @property
    def rule(self) -> dict[str, Any]:
        """The rule as the local org takes it."""
        method, path = self.call.removeprefix(f"{self.side} ").split(" ", 1)
        pattern = re.escape(path).replace("/ID", r"/(?:[0-9A-Za-z]{18}|[0-9A-Za-z]{15})")
        rule = {"kind": self.kind, "path": rf"^{method} (/services/data/v[0-9.]+)?{pattern}($|\?)", **dict(self.shape)}
        return {**rule, "times": None if self.lasting else 1}

    @property
    def fault(self) -> str:
        """As the table names it."""
        detail = " ".join(str(value) for key, value in self.shape if key in ("status", "bytes"))
        return " ".join(part for part in (self.kind, detail, "lasting" if self.lasting else "") if part)

    def __str__(self) -> str:
        return f"{self.fault} at {self.call} in {self.phase}"


def in_phases(job: SyncJob, enter: Callable[[str], None]) -> None:
    """One phase of a template from extract to finish; `enter` is told of each phase of the run as it begins."""
    items = job.plan.objects_in(job.phase)
    enter("extract")
    for item in reversed(items):
        extract(job, item.object)
    enter("preflight")
    preflight(job)
    for item in items:
        enter("remap")
        remap(job, item.object)
        enter("load")
        load(job, item.object)
    enter("relink")
    for item in items:
        if item.has_relink:
            relink(job, item.object)
    enter("verify")
    check(job)
    enter("finish")
    finish(job)


@contextmanager
def listening(world: World, met: dict[tuple[str, str, str], int], phase: list[str]) -> Iterator[None]:
    """Count the calls by (side, phase, call), the phase being the last of `phase`."""
    heard = {side: world.served[side].service.faults for side in ("source", "target")}
    originals = {side: faults.meet for side, faults in heard.items()}

    def spy(side: str) -> Callable[[str, str], Any]:
        def meet(method: str, path: str) -> Any:
            key = (side, phase[-1] if phase else "", shown_call(method, path.split("?")[0], side))
            met[key] = met.get(key, 0) + 1
            return originals[side](method, path)

        return meet

    for side, faults in heard.items():
        faults.meet = spy(side)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for side, faults in heard.items():
            faults.meet = originals[side]  # type: ignore[method-assign]


def troubles(calls: Iterable[tuple[str, str, str]]) -> list[Trouble]:
    """Every kind of fault at every call of every phase, once; and at each call one of them for as long as it is made.

    An outage is the same for the caller whatever its kind: the kinds take turns. A kind that lets a call pass is not
    planted there.
    """
    shapes = [
        (kind, tuple(shape.items()))
        for kind in org_faults.KINDS
        if kind not in OWN_PROCESS
        for shape in SHAPES.get(kind, ({},))
    ]
    outages = [(kind, shape) for kind, shape in shapes if kind not in HARMLESS]
    found = []
    for number, (side, phase, call) in enumerate(sorted(calls)):
        text = call.removeprefix(f"{side} ")
        found += [
            Trouble(side, phase, call, kind, shape, False) for kind, shape in shapes if org_faults.concerns(kind, text)
        ]
        possible = [(kind, shape) for kind, shape in outages if org_faults.concerns(kind, text)]
        found.append(Trouble(side, phase, call, *possible[number % len(possible)], True))
    return found


def scenario_names() -> list[str]:
    """The local org's scenario files, where it has any."""
    return list(import_module(SCENARIOS).names()) if find_spec(SCENARIOS) else []
