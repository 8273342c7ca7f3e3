"""Does a describe snapshot still fit its org? Asked of the org itself before data moves.

What differs is found by the org compare (`schema.compare`): the plan's fields are the source, the live describe is the
target. What is told is what would hurt the load.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

from isync_dagster.errors import RequestError, SnapshotError
from isync_dagster.migration.live import live
from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.compare import Difference, Kind, Pair, Severity, compare
from isync_dagster.schema.model import Field, SObject

Side = Literal["source", "target"]

_HURT_A_READ = frozenset({Kind.FIELD_MISSING, Kind.FIELD_TYPE})
_HURT_A_WRITE = frozenset(
    {
        Kind.FIELD_ACCESS,
        Kind.FIELD_COMPUTED,
        Kind.FIELD_LENGTH,
        Kind.FIELD_PRECISION,
        Kind.FIELD_REQUIRED,
        Kind.PICKLIST_RESTRICTED,
        Kind.PICKLIST_VALUE,
    }
)
_ALWAYS = _HURT_A_READ | {Kind.FIELD_ACCESS}
_WORDS = {"create": "created", "update": "updated"}


def check_drift(job: SyncJob, plan: ObjectPlan, side: Side) -> None:
    """Describe the object live and compare every field the plan uses with what the plan was made from.

    Raises `SnapshotError` that lists each difference and the command that refreshes the snapshot.
    """
    org, alias, name = (
        (job.source, job.plan.source_alias, plan.object)
        if side == "source"
        else (job.target, job.plan.target_alias, plan.target_object)
    )
    now = _live(job, org, name)
    differences = list(_differences(now, _used_fields(plan, side), writes=side == "target"))
    key = now.field(plan.migration_key or "")
    if side == "target" and plan.migration_key is not None and not (key and key.external_id and key.createable):
        differences.append(f"{plan.migration_key}: is no external id (any more) that this user may write")
    if differences:
        raise SnapshotError(
            f"The describe snapshot of {name} no longer fits the org {alias!r}:\n  "
            + "\n  ".join(differences)
            + f"\nSee all of it with `isync orgs drift {alias}`. Refresh it with `isync orgs snapshot {alias} --objects "
            f"{name}`, review the difference, reload the code location and materialize again.",
            object=name,
            alias=alias,
        )


def _live(job: SyncJob, org: Org, name: str) -> SObject:
    try:
        return live(job, org, name)
    except RequestError as error:
        if error.details.get("code") != "NOT_FOUND" and error.details.get("status") != 404:
            raise
        raise SnapshotError(
            f"The org {org.alias!r} has no object {name} (any more), or the user may not see it. Give the user access to "
            f"it; or refresh the snapshot with `isync orgs snapshot {org.alias} --objects {name}` and take the object "
            "out of the template.",
            object=name,
            alias=org.alias,
        ) from error


def _used_fields(plan: ObjectPlan, side: Side) -> Iterable[Field]:
    for mapping in plan.fields:
        yield mapping.source if side == "source" else mapping.target
    for lookup in plan.lookups:
        yield lookup.source if side == "source" else lookup.target


def _differences(live: SObject, planned: Iterable[Field], *, writes: bool) -> Iterable[str]:
    """A line for each difference that would hurt, in the order of the plan's fields."""
    used = {field.name: field for field in planned}
    before = SObject(live.name, fields=tuple(used.values()))
    pair = Pair(live.name, live.name, inserts=False, updates=False)
    hurts = _HURT_A_READ | _HURT_A_WRITE if writes else _HURT_A_READ
    found: dict[str, list[Difference]] = defaultdict(list)
    for item in compare([pair], {live.name: before}, {live.name: live}).differences:
        # What loses nothing is told too where the plan was made for the other: a type, a right to write.
        if item.kind in hurts and (item.severity is not Severity.COSMETIC or item.kind in _ALWAYS):
            found[item.field].append(item)
    for name, items in found.items():
        gone = [item.value for item in items if item.kind is Kind.PICKLIST_VALUE]
        if gone:
            yield f"{name}: picklist values are gone: {', '.join(sorted(gone)[:5])}"
        for item in items:
            if item.kind is not Kind.PICKLIST_VALUE:
                yield f"{name}: {_told(item, used[name], live.field(name))}"


def _told(item: Difference, was: Field, now: Field | None) -> str:
    if now is None:
        return "is not in the org (any more), or the user may not see it"
    match item.kind:
        case Kind.FIELD_TYPE:
            return f"was {was.type}, is {now.type}"
        case Kind.FIELD_ACCESS:
            words = item.target.removeprefix("may not ").split(" or ")
            return f"can no longer be {' or '.join(_WORDS[word] for word in words)} by this user"
        case Kind.FIELD_REQUIRED:
            return "is required now"
        case Kind.FIELD_LENGTH:
            return f"takes {now.length} characters, was {was.length}"
        case Kind.FIELD_PRECISION:
            return f"is {now.type}({now.precision},{now.scale}), was ({was.precision},{was.scale})"
        case Kind.PICKLIST_RESTRICTED:
            return "takes no other values than those of its list now"
    return f"is {item.target} now"
