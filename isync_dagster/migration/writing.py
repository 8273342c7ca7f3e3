"""The right to write to a target org, held from the first match of a run to its last relink.

The lease is taken by the first step that needs it and kept, with a renewing thread, until the run is
finished or its process ends; all steps of the run in this process share it.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from isync_dagster.errors import LeaseHeldError
from isync_dagster.migration.model import SyncJob
from isync_dagster.store.lease import Lease
from isync_dagster.store.runs import Run

_lock = threading.Lock()
_held: dict[tuple[str, str, str], tuple[Lease, ExitStack]] = {}
_after: dict[tuple[str, str, str], list[Callable[[], None]]] = {}


def hold_target(job: SyncJob, run: Run) -> Lease:
    """The lease of the job's target for this run; raises `LeaseHeldError` that names the holder."""
    key = _key(job, run)
    with _lock:
        if key not in _held:
            stack = ExitStack()
            holder = f"{job.opened_by} (process {os.getpid()})"
            lease = stack.enter_context(job.store.lease(job.plan.target_org_id).acquire(key[2], holder))
            stack.enter_context(lease.keep())
            _held[key] = (lease, stack)
        lease = _held[key][0]
    try:
        lease.check()
    except LeaseHeldError:
        # What is lost is not kept: when the other run has ended, the next call takes the lease anew.
        release_target(job, run)
        raise
    return lease


@contextmanager
def claimed(job: SyncJob, run: Run, step: str, object: str) -> Iterator[None]:
    """The right to be the only one at work on a step of an object, in this process or any other.

    The lease of the target is shared by the workers of a run, so it does not keep two of them off the same rows: what
    one has on its way would look lost to the other. Raises `LeaseHeldError` that names who is at work.
    """
    with run.claim(step, object, f"{job.opened_by} (process {os.getpid()})") as claim, claim.keep():
        yield


def release_target(job: SyncJob, run: Run) -> None:
    """Give the lease back; harmless where it is not held."""
    with _lock:
        held = _held.pop(_key(job, run), None)
        after = _after.pop(_key(job, run), [])
    if held is not None:
        held[1].close()
    for act in after:
        act()


def on_release(job: SyncJob, run: Run, act: Callable[[], None]) -> None:
    """Have `act` called once this process has given the lease back, whatever made it do so."""
    with _lock:
        _after.setdefault(_key(job, run), []).append(act)


def release_all() -> None:
    """Give back what this process holds: at the end of a Dagster run, whatever its outcome, and at exit."""
    with _lock:
        all_held, after = list(_held.values()), [act for acts in _after.values() for act in acts]
        _held.clear()
        _after.clear()
    for _, stack in all_held:
        stack.close()
    for act in after:
        act()


def hand_over(seconds: float = 10.0) -> None:
    """As `release_all`, once another process of each run holds its lease too, or after so many seconds.

    For processes that live on when their step ends: the run goes on elsewhere, and must not lose the lease.
    """
    with _lock:
        leases = [lease for lease, _ in _held.values()]
    until = time.monotonic() + seconds
    for lease in leases:
        while not lease.desk.others(lease.label) and time.monotonic() < until:
            time.sleep(0.2)
    release_all()


def _key(job: SyncJob, run: Run) -> tuple[str, str, str]:
    return (str(job.store.root), job.plan.target_org_id, run.label)


atexit.register(release_all)
