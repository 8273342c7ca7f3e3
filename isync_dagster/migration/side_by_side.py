"""Calls for several objects at the same time, each with the meters and the shares of whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 4
"""Objects that are asked for at the same time, within what the org's limiter lets through."""


def side_by_side(calls: Iterable[Callable[[], T]], name: str) -> list[T]:
    """What the calls give, in their order; the first that fails raises, and those that have not begun never do.

    >>> side_by_side([lambda: 1, lambda: 2], "example")
    [1, 2]
    """
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix=name) as pool:
        begun = [pool.submit(copy_context().run, call) for call in calls]
        try:
            return [one.result() for one in begun]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
