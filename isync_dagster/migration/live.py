"""What both orgs say of their objects now, asked together: describes for all of a phase, and about how many rows there are.

Asked once a session (one Dagster run, one command) and side, and anew when it has become old: one call for several
objects, where each stage by itself would make one an object.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from isync_dagster.errors import OrgError
from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.model import SObject

FRESH = 600.0
"""Seconds after which a describe is asked for again."""
COUNTS = 200
"""Objects in one call for their approximate counts."""


@dataclass
class _Side:
    """What one org was asked for in a session."""

    session: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    described: dict[str, tuple[float, SObject]] = field(default_factory=dict)
    counts: dict[str, int] | None = None


_guard = threading.Lock()
_sides: WeakKeyDictionary[Org, _Side] = WeakKeyDictionary()
_users: WeakKeyDictionary[Org, str] = WeakKeyDictionary()


def live(job: SyncJob, org: Org, name: str) -> SObject:
    """The describe of an object of the job's source or target; the first one asked for brings those of the phase along.

    RequestError (NOT_FOUND) where the user does not see such an object.
    """
    side = _side(job, org)
    with side.lock:
        kept = side.described.get(name)
        if kept is not None and time.monotonic() - kept[0] < FRESH:
            return kept[1]
        now = time.monotonic()
        old = [other for other, (at, _) in side.described.items() if now - at >= FRESH]
        wanted = [name, *(_needed(job, org) if not side.described else old)]
        side.described |= {other: (now, found) for other, found in org.describe_all(wanted).items()}
        if side.described.get(name, (0.0, None))[0] != now:
            side.described[name] = (now, org.describe(name))
        return side.described[name][1]


def about(job: SyncJob, org: Org, name: str) -> int | None:
    """About how many rows an object has, by the org's own count that it renews now and then; None where it keeps none."""
    side = _side(job, org)
    with side.lock:
        if side.counts is None:
            try:
                side.counts = record_counts(org, _objects(job, org, job.plan.objects))
            except OrgError:
                # A hint only: rows are counted one by one then.
                side.counts = {}
        return side.counts.get(name)


def user_of(org: Org) -> str:
    """The id of the user that the tool is logged in as, asked once a connection."""
    with _guard:
        known = _users.get(org)
    if known is None:
        known = str(org.request("GET", "/services/oauth2/userinfo").json()["user_id"])
        with _guard:
            _users[org] = known
    return known


def record_counts(org: Org, objects: Iterable[str]) -> dict[str, int]:
    """The org's own approximate counts of these objects; those it keeps no count of are absent."""
    names = list(objects)
    found: dict[str, int] = {}
    for start in range(0, len(names), COUNTS):
        asked = ",".join(names[start : start + COUNTS])
        answer = org.request("GET", "limits/recordCount", params={"sObjects": asked}).json()
        found |= {str(entry["name"]): int(entry["count"]) for entry in answer["sObjects"]}
    return found


def _side(job: SyncJob, org: Org) -> _Side:
    with _guard:
        side = _sides.get(org)
        if side is None or side.session != job.session:
            side = _sides[org] = _Side(job.session)
        return side


def _objects(job: SyncJob, org: Org, plans: Iterable[ObjectPlan]) -> list[str]:
    return list(dict.fromkeys(plan.object if org is job.source else plan.target_object for plan in plans))


def _needed(job: SyncJob, org: Org) -> list[str]:
    """The objects of the phase and those that its references are resolved in."""
    references = [rule.object for rule in job.plan.references.values()]
    return [*_objects(job, org, job.plan.objects_in(job.phase)), *references]
