"""What was worked out of files, remembered until one of them is written anew, by whichever process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 1_000
"""Answers that a process keeps: a worker of many runs forgets those that it has not asked for in the longest time."""


class Remembered(Generic[T]):
    """Answers by name, each with the stamp (`files.stamps`) of what it rests on. Threads share it.

    >>> known = Remembered[int](most=1)
    >>> known.put("a", stamp=1, answer=10)
    >>> known.get("a", stamp=1), known.get("a", stamp=2)
    (10, None)
    >>> known.put("b", stamp=1, answer=20)
    >>> known.get("a", stamp=1)
    """

    def __init__(self, most: int = MOST) -> None:
        """`most` is how many answers are kept, or what they may weigh together."""
        self._most = most
        self._weight = 0
        self._known: OrderedDict[str, tuple[object, T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, stamp: object) -> T | None:
        """The answer, where it rests on what has this stamp; else None."""
        with self._lock:
            found = self._known.get(name)
            if found is None or found[0] != stamp:
                return None
            self._known.move_to_end(name)
            return found[1]

    def put(self, name: str, stamp: object, answer: T, weight: int = 1) -> None:
        """Remember an answer in the place of an earlier one; those that were not asked for in the longest time make room."""
        with self._lock:
            before = self._known.pop(name, None)
            self._known[name] = (stamp, answer, weight)
            self._weight += weight - (0 if before is None else before[2])
            while self._weight > self._most:
                self._weight -= self._known.popitem(last=False)[1][2]
