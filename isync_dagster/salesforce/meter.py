"""Meters of calls and bytes: what one piece of work used of an org, while others work beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_METERS: ContextVar[tuple[Meter, ...]] = ContextVar("isync_meters", default=())


class Meter:
    """Calls made and bytes moved since the meter was opened; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls = 0
        self.bytes_sent = 0
        self.bytes_received = 0

    def add_call(self) -> None:
        """One more call."""
        with self._lock:
            self.calls += 1

    def add_bytes(self, *, sent: int = 0, received: int = 0) -> None:
        """So many bytes more, as the application sees them (after decompression)."""
        with self._lock:
            self.bytes_sent += sent
            self.bytes_received += received


def active_meters() -> tuple[Meter, ...]:
    """The meters that are open around the present code, in this thread or the one that handed the work over."""
    return _METERS.get()


@contextmanager
def metering() -> Iterator[Meter]:
    """A meter for the calls inside the block; blocks may be nested."""
    meter = Meter()
    token = _METERS.set((*_METERS.get(), meter))
    try:
        yield meter
    finally:
        _METERS.reset(token)
