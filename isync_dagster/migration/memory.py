"""The memory of a process: one budget, of which every step that holds rows takes its share for as long as it does.

Steps run side by side in one process, and what each of them holds would add up. So whoever is to hold many rows says
how many bytes that will be, and waits until they are free: first those that much has to wait for (`behind`), then first
come, first served, so that a big share is not passed over for ever by small ones. A share larger than the whole budget is
cut down to it, and then has the process to itself: nothing waits for what can never be free. What cannot work in less
than it was given works in slices (`slices`).

A share inside a share (of the same step, or of a thread that it started with a copy of its context) is part of it and
waits for nothing, so that two steps can never wait for each other.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

from isync_dagster.errors import ConfigError

MB = 1_000_000

DEFAULT = 1_000 * MB
"""What a process may hold in all where nothing else is said (`ISYNC_MEMORY`)."""
BASE = 600 * MB
"""What a process holds besides: Python, Dagster, Polars, connections, what allocators keep back, passes that stream."""
LEAST = 750 * MB
"""Below this nothing but the smallest of objects would move."""

CELL = 16
"""Bytes that a cell takes in a frame besides its text."""

PART = 3
"""A step works on at most one in so many parts of the budget at a time, so that steps run side by side."""

STREAMS = 60 * MB
"""What a pass holds besides the slice that it works on: row groups, what a join looks at on its way."""

PASS = 2 * STREAMS
"""What a pass over the whole rows of a chunk or a payload holds at most: it reads, converts and writes them as they stream by."""

_UNITS = {"": 1, "B": 1, "KB": 1_000, "MB": MB, "GB": 1_000 * MB, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


class Memory:
    """A number of bytes that the threads of a process share."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._waiting: list[tuple[float, int]] = []
        self._tickets = count()
        self._changed = threading.Condition()

    @property
    def used(self) -> int:
        """Bytes that are given out."""
        return self._used

    @property
    def waiting(self) -> int:
        """How many wait for a share."""
        return len(self._waiting)

    @property
    def slice_bytes(self) -> int:
        """Bytes of rows that one step works on at a time."""
        return max(self.limit // PART, 1)

    def slices(self, size: int) -> int:
        """Into how many slices something of `size` bytes is cut.

        >>> Memory(300 * MB).slices(90 * MB), Memory(300 * MB).slices(450 * MB)
        (1, 5)
        """
        return max(1, -(-size // self.slice_bytes))

    def sliced(self, size: int) -> tuple[int, int]:
        """Into how many slices something of `size` bytes is cut, and what to take while one is worked on.

        >>> Memory(300 * MB).sliced(90 * MB), Memory(300 * MB).sliced(450 * MB)
        ((1, 90000000), (5, 150000000))
        """
        slices = self.slices(size)
        return slices, size if slices == 1 else size // slices + STREAMS

    @contextmanager
    def share(self, wanted: int) -> Iterator[int]:
        """Wait for `wanted` bytes and keep them for the block; gives how many it got, at most the whole budget."""
        if _holding.get():
            yield min(wanted, self.limit)
            return
        bytes = min(max(wanted, 0), self.limit)
        self._take(bytes)
        token = _holding.set(True)
        try:
            yield bytes
        finally:
            _holding.reset(token)
            with self._changed:
                self._used -= bytes
                self._changed.notify_all()

    def _take(self, bytes: int) -> None:
        with self._changed:
            ticket = (-_behind.get(), next(self._tickets))
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(lambda: min(self._waiting) == ticket and self._used + bytes <= self.limit)
                self._used += bytes
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()


@contextmanager
def behind(weight: float) -> Iterator[None]:
    """Within the block shares are waited for by `weight`: what has to wait for this work, in bytes of rows, 0 for nothing.

    Where nothing is said it is more than any: what is small, and what keeps an org busy, goes first.
    """
    token = _behind.set(weight)
    try:
        yield
    finally:
        _behind.reset(token)


_behind: ContextVar[float] = ContextVar("isync_work_behind", default=math.inf)
_holding: ContextVar[bool] = ContextVar("isync_holds_memory", default=False)
_process = Memory(DEFAULT - BASE)


def memory() -> Memory:
    """The budget of this process."""
    return _process


def limit_process(total: int) -> None:
    """Let this process hold `total` bytes in all; what is given out already is not taken back."""
    _process.limit = max(total, LEAST) - BASE


def frame_bytes(text: int, cells: int) -> int:
    """About what a frame takes in memory: `text` bytes of values in so many cells."""
    return text + CELL * cells


def parse_size(text: str, name: str) -> int:
    """Bytes of a text such as `800MB` or `1.5 GB`; raises `ConfigError` that names the setting.

    >>> parse_size("1.5 GB", "ISYNC_MEMORY")
    1500000000
    >>> parse_size("lots", "ISYNC_MEMORY")
    Traceback (most recent call last):
    isync_dagster.errors.ConfigError: ISYNC_MEMORY is 'lots': it takes a size of at least 750 MB, such as 1.5 GB.
    """
    plain = text.strip().upper().replace(" ", "")
    number = plain.rstrip("BGIKM")
    unit = plain[len(number) :]
    try:
        size = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        size = -1
    if size < LEAST:
        raise ConfigError(f"{name} is {text!r}: it takes a size of at least {LEAST // MB} MB, such as 1.5 GB.")
    return size
