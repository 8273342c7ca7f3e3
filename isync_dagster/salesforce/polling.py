"""Waiting for a Bulk job: short steps at first, longer ones later, and an ear for the wish to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from isync_dagster.errors import OrgError
from isync_dagster.salesforce.tuning import Tuning

T = TypeVar("T")

EARLY = 1.0
"""The share of its expected time after which a job is first looked at."""
LATE = 0.4
"""The share of the time waited so far that passes before the second look."""
GUESS = 2e-5
"""Seconds a row of a job where nothing is known yet."""
FIRST = 1.0
"""The longest time that is guessed."""


class Pace:
    """How long the jobs of an org took, by kind: what the next one of that kind will probably take.

    A guess that only says when to look, never whether a job is done. Threads share it.

    >>> pace = Pace()
    >>> pace.learn("insert", 1_000, 2.0)
    >>> pace.expected("insert", 500, 0.1, 15.0), pace.expected("insert", 10**6, 0.1, 15.0)
    (1.0, 15.0)
    """

    def __init__(self) -> None:
        self._seconds_a_row: dict[str, float] = {}

    def learn(self, kind: str, rows: int, seconds: float) -> None:
        """Take note of a job that has ended."""
        if rows > 0:
            self._seconds_a_row[kind] = self._seconds_a_row[""] = max(seconds, 0.0) / rows

    def expected(self, kind: str, rows: int, least: float, most: float) -> float:
        """Seconds that a job of so many rows will take, between `least` (where nothing is known) and `most`.

        Of a kind that was not seen yet the latest job of any kind tells; of the first job a guess, `FIRST` seconds at most.
        """
        known = self._seconds_a_row.get(kind, self._seconds_a_row.get(""))
        wanted = min(rows * GUESS, FIRST) if known is None else known * rows
        return min(max(wanted, least), most)


class WaitCancelled(OrgError):
    """The caller asked to stop waiting; the job goes on in the org (`job_id`), and a resume finds it."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


def poll(
    get: Callable[[], T],
    finished: Callable[[T], bool],
    *,
    tuning: Tuning,
    cancelled: Callable[[], bool],
    what: str,
    job_id: str,
    progress: Callable[[T], None] | None = None,
    expected: float = 0.0,
) -> T:
    """The first answer of `get` that is finished, `progress` told of each; WaitCancelled soon after `cancelled`.

    `expected` is how many seconds the job will probably take still (`Pace`): it is not asked for before most of them
    are over, since each look is an API call.
    """
    left = expected * EARLY
    wait = max(tuning.first_poll, left * LATE)
    while True:
        while left > 0:
            if cancelled():
                raise WaitCancelled(f"stopped waiting for {what}; it goes on in the org", job_id=job_id)
            step = min(left, tuning.glance)
            tuning.sleep(step)
            left -= step
        state = get()
        if progress is not None:
            progress(state)
        if finished(state):
            return state
        left = wait
        wait = min(wait * tuning.poll_growth, tuning.longest_poll)
