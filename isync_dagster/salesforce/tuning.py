"""How long to wait, how often to try again, and when to stop: one place, so that tests need no patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from isync_dagster.errors import TransientError

T = TypeVar("T")


@dataclass(frozen=True)
class Tuning:
    """Patience of the client; seconds throughout.

    `attempts` bounds how often one call is made. `read_timeout` lies above Salesforce's own 120 s for a query.
    A job is first looked at after `first_poll`, then after twice that, growing by `poll_growth` up to `longest_poll`; a
    wish to stop is looked at at least every `glance`. A call whose answer was lost may still be at work in the org: what it wrote is looked for
    not before `in_doubt` after it was sent.
    """

    attempts: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30.0
    connect_timeout: float = 15.0
    read_timeout: float = 150.0
    upload_timeout: float = 600.0
    first_poll: float = 0.05
    poll_growth: float = 1.5
    longest_poll: float = 15.0
    glance: float = 0.5
    idle_connection: float = 5.0
    in_doubt: float = 150.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def repeat(self, call: Callable[[], T]) -> T:
        """What `call` gives, made again while it raises TransientError: exponential backoff, jitter, bounded.

        The last error is raised with what to do next, marked as exhausted, so that a repeat around this one does not
        multiply it.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=self._wait,
            retry=retry_if_exception(_may_help),
            sleep=self.sleep,
            reraise=True,
        )
        try:
            return retrying(call)
        except TransientError as error:
            if error.details.get("exhausted"):
                raise
            raise TransientError(
                f"{str(error).rstrip('. ')}. Tried {self.attempts} times; run the same again later, it goes on where it "
                "stopped.",
                **{**error.details, "exhausted": True},
            ) from error

    def _wait(self, state: RetryCallState) -> float:
        backoff = wait_exponential_jitter(multiplier=self.first_wait, max=self.longest_wait, jitter=self.first_wait)(
            state
        )
        error = state.outcome.exception() if state.outcome else None
        asked = error.details.get("retry_after") if isinstance(error, TransientError) else None
        return max(backoff, min(float(asked), 120.0)) if asked else backoff


def _may_help(error: BaseException) -> bool:
    return isinstance(error, TransientError) and not error.details.get("exhausted")
