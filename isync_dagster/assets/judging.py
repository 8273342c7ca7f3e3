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
    """A verb that checks an object, and the names of the verdicts it gives, each with the stage that it judges."""

    verb: str
    stages: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its verdicts."""
        return tuple(self.stages)


STATES = Judge("check_states", {"conservation": keys.LOAD, "rejected_rows": keys.LOAD})
REFERENCES = Judge("check_references", {"references": keys.REMAP})
_LOADED = {"record_count": keys.LOAD, "relationships": keys.LOAD}
TARGET = Judge("check_target", {**_LOADED, "fields": keys.LOAD, "totals": keys.LOAD})
TARGET_AT_LAST = Judge(
    "check_target", {**_LOADED, "relinked": keys.RELINK, "fields": keys.RELINK, "totals": keys.RELINK}
)
"""Of an object with a second pass: its checks wait for that, so that one re-read of the target serves them all."""
READ_THE_TARGET = (TARGET, TARGET_AT_LAST)


def judges_of(item: ObjectPlan) -> tuple[Judge, ...]:
    """The judges of an object."""
    return (REFERENCES, STATES, TARGET_AT_LAST if item.has_relink else TARGET)


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
