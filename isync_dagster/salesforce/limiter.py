"""How much of an org is used at the same time: no more than was configured, and less while the org says it is too much.

Additive increase, multiplicative decrease, as of TCP: a refusal halves the room, each piece of work that ends without
one gives back a share of a place, so that a whole round of them gives back one place. What was under way when the room
was halved does not halve it again: that it is refused too says nothing new. No clock is looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_HELD: ContextVar[tuple[Limiter, ...]] = ContextVar("isync_places", default=())
"""The limiters of which the present work has a place: a read that settles a job is part of that job's work."""


class Place:
    """The right to do one piece of work."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.refused = False

    def crowded(self) -> None:
        """The org has said that it is asked for too much at the same time."""
        self.refused = True


class Limiter:
    """Places for `most` pieces of work at the same time, at least one; threads share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._room = float(most)
        self._used = 0
        self._generation = 0
        self._free = threading.Condition()

    @property
    def room(self) -> int:
        """How many pieces of work may be under way now."""
        return int(self._room)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for the time of the block; waits for it, unless the work around it has one already.

        An exception of the block is no refusal by itself.
        """
        taken = 0 if self in _HELD.get() else 1
        with self._free:
            self._free.wait_for(lambda: not taken or self._used < int(self._room))
            self._used += taken
            place = Place(self._generation)
        held = _HELD.set((*_HELD.get(), self))
        failed = True
        try:
            yield place
            failed = False
        finally:
            _HELD.reset(held)
            with self._free:
                self._used -= taken
                if place.refused:
                    self._halve(place)
                elif not failed:
                    self._room = min(self._room + 1 / self._room, float(self._most))
                self._free.notify_all()

    def _halve(self, place: Place) -> None:
        if place.generation == self._generation:
            self._generation += 1
            self._room = max(self._room / 2, 1.0)
