"""The cancel token of a run: set when the run is interrupted, looked at by the verbs between two calls.

The executor and the asset bodies of one run live in one process and share the token by the run's id. With an
executor that starts processes nobody sets it there: Dagster interrupts the process itself.
"""

from __future__ import annotations

import threading

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
