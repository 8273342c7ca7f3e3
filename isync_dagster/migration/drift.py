"""Does a describe snapshot still fit its org? Asked of the org itself before data moves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from isync_dagster.errors import RequestError, SnapshotError
from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.model import Field, SObject

Side = Literal["source", "target"]


def check_drift(job: SyncJob, plan: ObjectPlan, side: Side) -> None:
    """Describe the object live and compare every field the plan uses with what the plan was made from.

    Raises `SnapshotError` that lists each difference and the command that refreshes the snapshot.
    """
    org, alias, name = (
        (job.source, job.plan.source_alias, plan.object)
        if side == "source"
        else (job.target, job.plan.target_alias, plan.target_object)
    )
    live = _live(org, name)
    differences = list(_differences(live, _used_fields(plan, side), writes=side == "target"))
    key = live.field(plan.migration_key or "")
    if side == "target" and plan.migration_key is not None and not (key and key.external_id and key.createable):
        differences.append(f"{plan.migration_key}: is no external id (any more) that this user may write")
    if differences:
        raise SnapshotError(
            f"The describe snapshot of {name} no longer fits the org {alias!r}:\n  "
            + "\n  ".join(differences)
            + f"\nRefresh it with `isync orgs snapshot {alias} --objects {name}`, review the difference, reload the "
            "code location and materialize again.",
            object=name,
            alias=alias,
        )


def _live(org: Org, name: str) -> SObject:
    try:
        return org.describe(name)
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
    for field in planned:
        now = live.field(field.name)
        if now is None:
            yield f"{field.name}: is not in the org (any more), or the user may not see it"
        elif now.type != field.type:
            yield f"{field.name}: was {field.type}, is {now.type}"
        elif writes:
            yield from _write_differences(field, now)


def _write_differences(planned: Field, now: Field) -> Iterable[str]:
    for flag, word in (("createable", "created"), ("updateable", "updated")):
        if getattr(planned, flag) and not getattr(now, flag):
            yield f"{planned.name}: can no longer be {word} by this user"
    if now.required and not planned.required:
        yield f"{planned.name}: is required now"
    if 0 < now.length < planned.length:
        yield f"{planned.name}: takes {now.length} characters, was {planned.length}"
    if now.precision - now.scale < planned.precision - planned.scale or now.scale < planned.scale:
        yield f"{planned.name}: is {now.type}({now.precision},{now.scale}), was ({planned.precision},{planned.scale})"
    if now.restricted_picklist:
        gone = planned.active_values() - now.active_values()
        if gone:
            yield f"{planned.name}: picklist values are gone: {', '.join(sorted(gone)[:5])}"
