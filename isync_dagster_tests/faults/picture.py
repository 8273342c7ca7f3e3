"""What a deed leaves behind, in a form that is equal for two runs that came to the same: ids and times canonical."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from isync_dagster.migration.model import SyncJob
from isync_dagster.store.rollbacks import rollbacks
from isync_dagster_tests.faults.deeds import OBJECTS
from isync_dagster_tests.migration.world import World

SETTLED = "settled against the target"


@dataclass(frozen=True)
class Picture:
    """Target org, audit log and id map, object by object."""

    target: dict[str, list[tuple[Any, ...]]]
    audit: dict[str, list[tuple[Any, ...]]]
    idmap: dict[str, list[tuple[Any, ...]]]
    undone: dict[str, list[tuple[Any, ...]]]
    """What rollbacks say of each record."""


def picture_of(world: World, job: SyncJob, run: int = 1) -> Picture:
    """The picture now. Target ids are shown as the record that they name, so that equal rows are interchangeable.

    Of the audit log the row that counts of each record: how often it was sent, by which job and when may differ.
    """
    found = job.store.runs(job.key).get(run)
    assert found is not None
    target, audit, idmap = {}, {}, {}
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    for name in OBJECTS:
        target[name] = world.picture("target", name)
        names = records_by_id(world, name)
        rows = found.audit(name).latest().collect()
        assert rows["source_id"].is_unique().all(), f"{name}: a record has two rows that count"
        audit[name] = sorted(
            (
                (
                    row["source_id"],
                    names.get(row["target_id"], row["target_id"]),
                    row["state"],
                    row["code"],
                    None if row["message"] == SETTLED else row["message"],
                    row["fields"],
                    row["stage"],
                )
                for row in rows.iter_rows(named=True)
            ),
            key=repr,
        )
        pairs = id_map.read(name).collect()
        # Two source records may never share a target record here.
        assert pairs["target_id"].is_unique().all(), f"{name}: two records share a target record"
        idmap[name] = sorted(
            (
                (row["source_id"], names.get(row["target_id"], row["target_id"]), row["target_object"])
                for row in pairs.iter_rows(named=True)
            ),
            key=repr,
        )
    undone = {
        f"{item.step} {name}": sorted(
            item.audit(name).latest().select("source_id", "state", "code", "stage").collect().rows(), key=repr
        )
        for item in rollbacks(found)
        for name in OBJECTS
    }
    return Picture(target, audit, idmap, undone)


def records_by_id(world: World, name: str) -> dict[str, str]:
    """Target id -> what the record says of itself."""
    table = world.target.table(name).filter(~pl.col("IsDeleted"))
    return {
        row["Id"]: f"{row.get('Key__c')}|{row.get('Name')}|{row.get('Zip__c')}" for row in table.iter_rows(named=True)
    }
