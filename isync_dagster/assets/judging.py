"""Judging what a run did: the verbs that check, once a run and object, and what they found in every phase."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isync_dagster.assets import keys
from isync_dagster.assets.verbs import verb
from isync_dagster.migration.model import SyncJob, Verdict

if TYPE_CHECKING:
    from isync_dagster.plan.model import ObjectPlan
    from isync_dagster.store.runs import Run


@dataclass(frozen=True)
class Judge:
    """A verb that checks an object, the stage it judges, and the names of the verdicts it gives."""

    verb: str
    stage: str
    names: tuple[str, ...]


CONSERVATION = Judge("check_conservation", keys.LOAD, ("conservation",))
REJECTED_ROWS = Judge("check_rejected_rows", keys.LOAD, ("rejected_rows",))
AT_LAST = ("fields", "totals")
"""Verdicts that wait for the last stage of an object: they come with the re-read that follows it."""
TARGET = Judge("check_target", keys.LOAD, ("record_count", "relationships"))
REFERENCES = Judge("check_references", keys.REMAP, ("references",))
LAST_TARGET = Judge("check_target", keys.LOAD, ("record_count", "relationships", *AT_LAST))
RELINKED = Judge("check_relinked", keys.RELINK, ("relinked", *AT_LAST))
READ_THE_TARGET = (TARGET, LAST_TARGET, RELINKED)


def judges_of(item: ObjectPlan) -> tuple[Judge, ...]:
    """The judges of an object: what is judged at last hangs on its load or, where it has one, on its second pass."""
    last = (TARGET, RELINKED) if item.has_relink else (LAST_TARGET,)
    return (REFERENCES, CONSERVATION, REJECTED_ROWS, *last)


_locks: defaultdict[tuple[str, ...], threading.Lock] = defaultdict(threading.Lock)
_made: dict[tuple[str, ...], tuple[Verdict, ...]] = {}
_guard = threading.Lock()


def judge(job: SyncJob, object: str, by: Judge, run_id: str | None = None) -> tuple[Verdict, ...]:
    """The verdicts of one judge on an object in the job's phase; the verb keeps them in the store.

    Within one Dagster run (`run_id`) an object is judged once, whoever asks first: its checks or the report.
    """
    key = (run_id or "", job.plan.template, job.phase, object, by.verb)
    with _guard:
        lock = _locks[key]
    with lock:
        found = _made.get(key) if run_id else None
        if found is None:
            answer = verb(by.verb)(job, object)
            found = _made[key] = answer if isinstance(answer, tuple) else (answer,)
    return found


def judge_the_rest(job: SyncJob, run_id: str) -> None:
    """Make the verdicts that the run lacks, so that its report holds all of them.

    A check that is at work on the object at this moment is waited for, not repeated.
    """
    for item in job.plan.objects_in(job.phase):
        for by in judges_of(item):
            judge(job, item.object, by, run_id)


def stored(job: SyncJob, object: str, names: Iterable[str]) -> Mapping[str, Verdict]:
    """The verdicts of these names on an object that the phase's newest run holds, by name."""
    run = job.store.runs(job.key).latest()
    if run is None:
        return {}
    found = ((name, read_verdict(run, object, name)) for name in names)
    return {name: Verdict.from_json(verdict) for name, verdict in found if verdict is not None}


def read_verdict(run: Run, object: str, name: str) -> Mapping[str, Any] | None:
    """One verdict of a run as it is stored: a read of one file, where `run.verdicts()` reads them all."""
    from isync_dagster.store.files import read_json

    return read_json(run.layout.verdict(object, name))


def has_run(job: SyncJob) -> bool:
    """True where the phase was run at least once."""
    return job.store.runs(job.key).latest() is not None
