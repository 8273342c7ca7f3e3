"""Whether the rows of an object name records whose counterparts have changed since an earlier run looked at the id maps.

A run notes how far each id map is written before it looks. What was written since says which records have another
counterpart; what was written once more as it stood is no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from isync_dagster.migration.decisions import waits_for_level
from isync_dagster.migration.extract import extract_folders
from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.records.ids import to18
from isync_dagster.store import files
from isync_dagster.store.runs import Run


def how_far(job: SyncJob, lookups: Iterable[Lookup]) -> dict[str, int]:
    """How far the id map of each object is written that the lookups may point at: what is noted as `id_maps`."""
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    names = {name for lookup in lookups for name in (*lookup.parents, *lookup.others)}
    return {name: id_map.sequence(name) for name in sorted(names)}


def own_changed(job: SyncJob, run: Run, base: Run, plan: ObjectPlan, noted: Mapping[str, Any]) -> bool:
    """True where rows of the object have another counterpart than `base` left them, which `noted` how far its id map was
    written before it brought its own."""
    added = _added(job, plan.object, noted, base)
    return added is not None and _names_any(_ids(run, plan), added)


def parents_changed(
    job: SyncJob, run: Run, base: Run, plan: ObjectPlan, lookups: Iterable[Lookup], noted: Mapping[str, Any]
) -> bool:
    """True where a row points, by one of the lookups, at a record whose counterpart was written down since `base` `noted` how far
    the id maps were written that they are resolved by."""
    for lookup in lookups:
        if lookup.kept:
            continue
        # A level's parents are written down after its rows were decided, by the run itself.
        but = base if waits_for_level(plan, lookup) else None
        for name in dict.fromkeys((*lookup.parents, *lookup.others)):
            added = _added(job, name, noted, but)
            if added is not None and _names_any(_ids(run, plan, lookup.source.name), added):
                return True
    return False


def _added(job: SyncJob, object: str, noted: Mapping[str, Any], but: Run | None) -> pl.LazyFrame | None:
    """`source_id` of what was written into an id map since that was `noted`, not by the run `but`; None where nothing was."""
    known = noted.get("id_maps", {}).get(object)
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    own = None if but is None else (but.job.template, but.job.phase, but.number)
    return id_map.since(object, -1 if known is None else known, own)


def _ids(run: Run, plan: ObjectPlan, column: str = "Id") -> pl.LazyFrame:
    parts = [
        path / name for path in extract_folders(run, plan) for name in files.names(path) if name.startswith("part-")
    ]
    frame = files.scan(parts, {column: pl.String()})
    return frame.select(source_id=to18(pl.col(column))).drop_nulls()


def _names_any(ids: pl.LazyFrame, added: pl.LazyFrame) -> bool:
    return not ids.join(added, on="source_id", how="semi").head(1).collect().is_empty()
