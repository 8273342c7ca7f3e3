"""The cancel token of a run: set when the run is interrupted, looked at by the verbs between two calls.

The executor and the asset bodies of one run live in one process and share the token by the run's id. With an
executor that starts processes nobody sets it there: Dagster interrupts the process itself. A step on another machine
looks at the status of its run.
"""

from __future__ import annotations

import threading
import time

import dagster as dg

_lock = threading.Lock()
_events: dict[str, threading.Event] = {}


class Token:
    """Says whether a run was asked to stop."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        with _lock:
            self._event = _events.setdefault(run_id, threading.Event())

    def set(self) -> None:
        """Ask the running verbs of the run to stop cleanly."""
        self._event.set()

    def is_set(self) -> bool:
        """True once the run was asked to stop."""
        return self._event.is_set()

    def release(self) -> None:
        """Forget the run; a verb that still runs keeps its event."""
        with _lock:
            _events.pop(self._run_id, None)


LOOK_EVERY = 2.0
"""Seconds between two looks at a run's status."""


class RunStatus:
    """Says whether a run that is driven by another machine was asked to stop, or has ended without its steps."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._next = 0.0
        self._stop = False

    def is_set(self) -> bool:
        """True once the run is to end: it is being cancelled, or over."""
        now = time.monotonic()
        if not self._stop and now >= self._next:
            self._next = now + LOOK_EVERY
            run = self._instance.get_run_by_id(self._run_id)
            self._stop = run is None or run.is_finished or run.status is dg.DagsterRunStatus.CANCELING
        return self._stop
