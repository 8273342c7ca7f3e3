"""Waiting for a Bulk job: short steps at first, longer ones later, and an ear for the wish to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from isync_dagster.errors import OrgError
from isync_dagster.salesforce.tuning import Tuning

T = TypeVar("T")


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
) -> T:
    """The first answer of `get` that is finished, `progress` told of each; WaitCancelled soon after `cancelled`."""
    wait = tuning.first_poll
    while True:
        state = get()
        if progress is not None:
            progress(state)
        if finished(state):
            return state
        left = wait
        while left > 0:
            if cancelled():
                raise WaitCancelled(f"stopped waiting for {what}; it goes on in the org", job_id=job_id)
            step = min(left, tuning.glance)
            tuning.sleep(step)
            left -= step
        wait = min(wait * tuning.poll_growth, tuning.longest_poll)
