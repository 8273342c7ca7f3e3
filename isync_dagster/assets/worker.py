"""Which process works on a run, and is it alive? Runs whose process is gone are ended, their pool slots freed.

A killed process leaves its run as started and its slots as taken, and every later run would wait for them. The
executor signs the run with host, process id and the process's start time, since ids are used again.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dagster as dg

WORKER_TAG = "isync/worker"

UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def signature(pid: int | None = None) -> str:
    """`host:pid:start` of a process (this one); `start` is empty where the system does not tell."""
    number = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{number}:{_started(number)}"


def is_dead(signed: str) -> bool:
    """True where the signed process was on this host and is no more; never a guess about another host."""
    host, pid, started = signed.rsplit(":", 2)
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return bool(started) and _started(int(pid)) != started


def reap(instance: dg.DagsterInstance) -> list[str]:
    """End the runs whose process is gone and free the slots of all that have ended; gives the ended runs' ids."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        signed = run.tags.get(WORKER_TAG)
        if signed and is_dead(signed):
            instance.report_run_failed(run, "Its process is gone (killed, or the machine went down). Run it again.")
            ended.append(run.run_id)
    events = instance.event_log_storage
    if events.supports_global_concurrency_limits:
        for run_id in events.get_concurrency_run_ids():
            holder = instance.get_run_by_id(run_id)
            if holder is None or holder.is_finished:
                events.free_concurrency_slots_for_run(run_id)
    return ended


def _started(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The name in brackets may hold blanks: fields are counted after it; start time is field 22.
    fields = text.rpartition(")")[2].split()
    # One that has ended and was not waited for yet is no process any more.
    return "" if fields[0] in ("Z", "X") else fields[19]
