"""Rows of the target: read once a run to match, and read again to verify."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import polars as pl
from upath import UPath

from isync_dagster.migration import reading
from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.decide import target_fields
from isync_dagster.records.undo import STAMPS
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.model import Field, SObject
from isync_dagster.store import files
from isync_dagster.store.runs import Run

ID = Field(name="Id", type="id")

_lock = threading.Lock()
_described: WeakKeyDictionary[Org, dict[str, SObject]] = WeakKeyDictionary()


def known_fields(plan: ObjectPlan) -> dict[str, Field]:
    """Target fields that the plan touches, by name, as the target describes them."""
    fields = {mapping.target.name: mapping.target for mapping in plan.fields}
    fields |= {lookup.target.name: lookup.target for lookup in plan.lookups}
    if plan.migration_key is not None:
        fields.setdefault(plan.migration_key, Field(name=plan.migration_key))
    return fields


def match_fields(plan: ObjectPlan) -> tuple[Field, ...]:
    """What a match and the comparison of a matched row need: Id, the key, every field that may be written."""
    return (ID, *target_fields(plan))


def needs_match(job: SyncJob, plan: ObjectPlan) -> bool:
    """True where a source record may have a counterpart already: by key, or by an earlier run's id map."""
    if plan.match_key or plan.migration_key or plan.object == "Pricebook2":
        return True
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).read(plan.object)
    return not id_map.select("source_id").head(1).collect().is_empty()


def target_rows(job: SyncJob, run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """The target's rows to match against (`match_fields`, typed), read once a run and kept in the store.

    No rows are read, and the frame is empty, where nothing can match.
    """
    fields = match_fields(plan)
    folder = run.folder / "target" / plan.object
    if needs_match(job, plan) or reading.recorded(folder):
        reading.read(job, job.target, object=plan.target_object, fields=fields, folder=folder, stage="match")
    return reading.scan(folder, fields)


def known_before(run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """`Id` of the target's rows as they were read to match, before the run sent any row of the object."""
    return reading.scan(run.folder / "target" / plan.object, match_fields(plan)).select("Id")


def reread(
    job: SyncJob, run: Run, plan: ObjectPlan, names: Iterable[str], stage: str, *, stamps: bool = False
) -> pl.LazyFrame:
    """Id and the named fields of the target's rows as they are now; an earlier re-read is thrown away.

    With `stamps` the fields that tell a later change come along (`stamp_fields`), for the end of the run to reuse.
    """
    folder = verify_folder(run, plan, stage)
    files.remove_tree(folder)
    known = known_fields(plan)
    fields = [ID, *(known[name] for name in names)]
    if stamps:
        files.write_json(started_path(run, plan, stage), {"at": job.store.clock()})
        fields += [field for field in stamp_fields(job, plan.target_object) if field.name not in known]
    reading.read(job, job.target, object=plan.target_object, fields=fields, folder=folder, stage=stage)
    return reading.scan(folder, fields)


def stamp_fields(job: SyncJob, target_object: str) -> tuple[Field, ...]:
    """Those of `records.undo.STAMPS` that the target's object has."""
    found = described(job, target_object)
    return tuple(field for name, field in STAMPS.items() if found.field(name) is not None)


def described(job: SyncJob, target_object: str) -> SObject:
    """The target's object as it describes itself, asked once a connection."""
    with _lock:
        known = _described.setdefault(job.target, {})
    if target_object not in known:
        known[target_object] = job.target.describe(target_object)
    return known[target_object]


def started_path(run: Run, plan: ObjectPlan, stage: str) -> UPath:
    """Says when a re-read with stamps was begun, by the worker's clock."""
    return verify_folder(run, plan, stage) / "started.json"


def verify_folder(run: Run, plan: ObjectPlan, stage: str) -> UPath:
    """Where a re-read lies while a check looks at it."""
    return run.folder / "verify" / stage / plan.object
