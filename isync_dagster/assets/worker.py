"""Which process works on a run, and is it alive? Runs whose process is gone are ended, their pool slots freed.

A killed process leaves its run as started and its slots as taken, and every later run would wait for them. The
executor signs the run with its machine, process id and the process's start time, since ids are used again.
"""

from __future__ import annotations

import json

import dagster as dg

from isync_dagster.store.process import Process

WORKER_TAG = "isync/worker"

UNFINISHED = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def signature(process: Process | None = None) -> str:
    """A process (this one) as the tag of its run."""
    return json.dumps((process or Process.current()).to_json())


def is_dead(signed: str) -> bool:
    """True where the signed process was on this machine and is no more; never a guess about another machine."""
    try:
        process = Process.from_json(json.loads(signed))
    except (ValueError, KeyError, TypeError):
        # Signed by an earlier version: nothing is known of it.
        return False
    return process.is_alive_here(Process.current()) is False


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
