"""The end of the server's own process at a chosen moment, as a power cut gives it."""

from __future__ import annotations

import os
import signal
import threading
from random import Random
from typing import Literal

CommitMoment = Literal["before_commit", "in_commit", "after_commit"]


def kill_now() -> None:
    """SIGKILL to this process: nothing is written, closed or answered any more."""
    os.kill(os.getpid(), signal.SIGKILL)


class CommitKill:
    """Kills the process at the n-th commit from now on."""

    def __init__(self, moment: CommitMoment, commits: int, seed: int) -> None:
        self.moment = moment
        self._left = commits
        self._delay = Random(f"{seed} kill").uniform(0, 0.004)

    def before(self) -> None:
        """Called when a transaction is about to be committed."""
        self._left -= 1
        if self._left:
            return
        if self.moment == "before_commit":
            kill_now()
        elif self.moment == "in_commit":
            threading.Timer(self._delay, kill_now).start()

    def after(self) -> None:
        """Called when a transaction is committed."""
        if self._left <= 0 and self.moment == "after_commit":
            kill_now()
