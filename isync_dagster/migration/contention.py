"""The load order of an object in a run: by which parents its rows are sorted, measured once and kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.records.locks import Contention, by_rule, contention, kind_of, locking
from isync_dagster.records.order import sent_lookups
from isync_dagster.records.payload import CLEARED
from isync_dagster.store import files
from isync_dagster.store.runs import Run

ID_BYTES = 18
"""Bytes of an id as text."""
SORTED_BY = 2
"""Lookups that rows are sorted by: siblings of the second share a batch where they are children of one parent too."""


def measure_order(job: SyncJob, run: Run, plan: ObjectPlan, rows: pl.LazyFrame) -> tuple[Contention, ...]:
    """What the extracted `rows` contend for, most first, kept for the load. Not measured where all fit into a batch."""
    if rows.select(pl.len()).collect().item() <= job.options.batch_rows:
        return ()
    lookups = locking(sent_lookups(plan))
    found = contention(
        rows,
        {lookup.target.name: kind_of(lookup) for lookup in lookups},
        {lookup.target.name: lookup.source.name for lookup in lookups},
    )
    files.write_json(_path(run, plan), {"by": [item.to_json() for item in found]})
    return tuple(found)


def measured_order(run: Run, plan: ObjectPlan) -> tuple[Contention, ...]:
    """What was measured before the rows were sorted; empty where nothing was."""
    kept = files.read_json(_path(run, plan)) or {"by": []}
    return tuple(Contention(**item) for item in kept["by"])


def sorted_by(found: tuple[Contention, ...], plan: ObjectPlan) -> tuple[str, ...]:
    """The target fields that the rows are sorted by."""
    return tuple(item.field for item in found[:SORTED_BY]) or by_rule(sent_lookups(plan))


def locked_parents(run: Run, plan: ObjectPlan) -> tuple[str, ...]:
    """The target fields whose parents a load locks, the one that its rows are sorted by first."""
    first = sorted_by(measured_order(run, plan), plan)
    return tuple(dict.fromkeys([*first, *(lookup.target.name for lookup in locking(sent_lookups(plan)))]))


def siblings_together(
    job: SyncJob, payload: pl.LazyFrame, lookups: Iterable[Lookup]
) -> tuple[pl.LazyFrame, tuple[str, ...], int]:
    """An update's `payload` sorted by the parents that it contends for, the columns that lock parents, worst first, and the
    bytes that it takes to sort it.

    As it is where it fits into a batch. Sorts in memory: for the narrow payloads of second passes.
    """
    names = set(payload.collect_schema().names())
    locked = {item.target.name: kind_of(item) for item in locking(lookups) if item.target.name in names}
    rows = int(payload.select(pl.len()).collect().item()) if locked else 0
    if rows <= job.options.batch_rows:
        return payload, tuple(locked), 0
    cells = payload.select(pl.when(pl.col(name) != CLEARED).then(pl.col(name)).alias(name) for name in locked)
    by = [item.field for item in contention(cells, locked, {})]
    ordered = payload.sort(*by[:SORTED_BY], "_row", nulls_last=True) if by else payload
    # Next to all cells are ids.
    held = rows * len(names) * ID_BYTES
    return ordered, tuple(dict.fromkeys([*by, *locked])), held


def told(found: tuple[Contention, ...]) -> tuple[str, ...]:
    """The order in words, for the metadata of a run."""
    if not found:
        return ()
    others = "; not sorted by " + ", ".join(map(str, found[SORTED_BY:])) if len(found) > SORTED_BY else ""
    return ("load order: siblings side by side by " + ", then ".join(map(str, found[:SORTED_BY])) + others,)


def _path(run: Run, plan: ObjectPlan) -> Any:
    return run.remap_folder(plan.object) / "order.json"
