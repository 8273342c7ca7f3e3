"""Waiting for a Bulk job: short steps at first, longer ones later, and an ear for the wish to stop."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from isync_dagster.errors import OrgError
from isync_dagster.salesforce.tuning import Tuning

T = TypeVar("T")

SLACK = (0.2, 2.0)
"""How much later than expected a job is first looked at: a share of the time, at most so many seconds. A look that comes
too early costs a call, and then the time until the next one."""
LATE = 0.4
"""The share of the time waited so far that passes before the second look."""
GUESS = 1e-6
"""Seconds a cell of a job where nothing is known yet."""
FIRST = 1.0
"""The longest time that is guessed."""
UNSEEN = 0.7
"""A job that was done at the first look, and does not say how long it took: the share of the wait that it is reckoned to
have taken, so that a guess that was too long does not stay."""
FIXED = 0.05
"""Seconds that a job takes however small it is."""
KEPT = 16
"""Jobs of one kind that are remembered."""
LIKE = 20
"""A job tells of one that is at most so many times bigger."""


class Pace:
    """How long the jobs of an org took, by kind: what the next one of that kind will probably take.

    A guess that only says when to look, never whether a job is done. Jobs are compared by their cells (rows by columns).
    Threads share it.

    >>> pace = Pace()
    >>> pace.learn("insert", 10_000, Waited(1.0, 3.0, 2.1))
    >>> round(pace.expected("insert", 5_000, 0.1, 15.0), 3), pace.expected("insert", 10**5, 0.1, 15.0)
    (1.075, 15.0)
    """

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[int, float]]] = {}

    def learn(self, kind: str, cells: int, waited: Waited) -> None:
        """Take note of a job that has ended."""
        if cells > 0:
            for name in {kind, kind.split()[0] if kind else ""}:
                self._seen.setdefault(name, deque(maxlen=KEPT)).append((cells, waited.likely))

    def expected(self, kind: str, cells: int, least: float, most: float) -> float:
        """Seconds that a job of so many cells will take, between `least` (where nothing is known) and `most`.

        The job of that kind ("insert Account") that was nearest in size tells, else one of the same operation; else a
        guess, `FIRST` seconds at most.
        """
        for name in (kind, kind.split()[0] if kind else ""):
            found = [seen for seen in tuple(self._seen.get(name, ())) if seen[0] * LIKE >= cells]
            if found:
                size, seconds = min(reversed(found), key=lambda seen: abs(math.log(seen[0] / max(cells, 1))))
                wanted = FIXED + max(seconds - FIXED, 0.0) * cells / size
                return min(max(wanted, least), most)
        return min(max(min(cells * GUESS, FIRST), least), most)


@dataclass(frozen=True)
class Waited:
    """Between which two looks a job ended, in seconds since it began, and the time that it says itself (0: it does not).

    >>> Waited(1.0, 1.4, 1.2).likely, Waited(1.0, 1.4, 9.0).likely, Waited(0.0, 2.0).likely
    (1.2, 1.4, 1.4)
    """

    earliest: float
    latest: float
    own: float = 0.0

    @property
    def likely(self) -> float:
        """Seconds that it probably took."""
        if self.own > 0:
            return min(max(self.own, self.earliest), self.latest)
        return (self.earliest + self.latest) / 2 if self.earliest else self.latest * UNSEEN


class WaitCancelled(OrgError):
    """The caller asked to stop waiting; the job goes on in the org (`job_id`), and a resume finds it."""


def never() -> bool:
    """Nobody asks to stop."""
    return False


def paced(
    get: Callable[[], T],
    finished: Callable[[T], bool],
    own: Callable[[T], int | None],
    *,
    pace: Pace,
    kind: str,
    cells: int | None,
    tuning: Tuning,
    cancelled: Callable[[], bool],
    what: str,
    job_id: str,
    progress: Callable[[T], None] | None = None,
) -> T:
    """As `poll`, of a job of `cells` that has just begun: first looked at when jobs like it were done, and learnt from.

    `own` is how many milliseconds the job says that it took. Without `cells` (it began some time ago) as `poll`.
    """
    if cells is None:
        return poll(get, finished, tuning=tuning, cancelled=cancelled, what=what, job_id=job_id, progress=progress)
    began = tuning.clock()
    looks = [0.0]

    def look() -> T:
        looks.append(tuning.clock() - began)
        return get()

    expected = pace.expected(kind, cells, tuning.first_poll, tuning.longest_poll)
    expected = min(expected + min(expected * SLACK[0], SLACK[1]), tuning.longest_poll)
    state = poll(
        look,
        finished,
        tuning=tuning,
        cancelled=cancelled,
        what=what,
        job_id=job_id,
        progress=progress,
        expected=expected,
    )
    pace.learn(kind, cells, Waited(looks[-2], looks[-1], (own(state) or 0) / 1000))
    return state


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

    `expected` is how many seconds the job will probably take still (`Pace`): it is not asked for before they are over,
    since each look is an API call.
    """
    left = expected
    # What was not done at once takes longer than that, and each look is a call.
    wait = max(2 * tuning.first_poll, left * LATE)
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
