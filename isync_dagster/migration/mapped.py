"""Mapped records are proven to exist before anything rests on them.

The id map says where a record went; people delete and merge records meanwhile. Once a run and object, before the
object or a lookup to it is resolved, every counterpart that earlier runs recorded is looked for in the target. What
is gone becomes a tombstone in the id map, so that matches and lookups alike never use it:

- deleted (in the recycle bin, purged, or hidden from the user): matched anew by its key, else inserted anew;
- merged: with `mapped_gone: follow_merge` the record that survived, else as deleted;
- with `mapped_gone: fail` the run stops instead.

A record that only queryAll shows and that is not deleted (an archived activity) exists: it stays mapped and is left
as it is.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.errors import DataError
from isync_dagster.migration import reading
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.target import ID, known_now
from isync_dagster.migration.target import described as described_now
from isync_dagster.plan.model import Lookup, MappedGone, ObjectPlan
from isync_dagster.records.words import decision
from isync_dagster.schema.model import Field
from isync_dagster.store import files
from isync_dagster.store.idmap import IdMap
from isync_dagster.store.runs import Run

FOLLOWED = "merged"
"""How a record is mapped whose counterpart was merged: several source records share the one that survived."""

ASK_BY_ID = 400
"""Up to so many records that are missing are asked for by id; more by one read of the whole object."""

FINDINGS = {
    "source_id": pl.String(),
    "target_id": pl.String(),
    "target_object": pl.String(),
    "found": pl.String(),
    "survivor": pl.String(),
}
"""`found` is deleted, merged or out of sight; `survivor` the record that a merge left."""

LEFT = pl.Schema({"source_id": pl.String(), "_left": pl.String(), "_why": pl.String()})

CHAIN = 10
"""Merges of merged records that are followed."""

_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
_guard = threading.Lock()


def prove_lookups(job: SyncJob, run: Run, lookups: Iterable[Lookup], step: str = "") -> None:
    """As `prove` of everything that these lookups may point at through the id map."""
    for name in dict.fromkeys(name for lookup in lookups for name in (*lookup.parents, *lookup.others)):
        prove(job, run, name, step)


def prove(job: SyncJob, run: Run, object: str, step: str = "") -> dict[str, int]:
    """Look for every counterpart of `object` that the id map knew before this run; counts by what was found.

    Done once a run, and once more for each later `step` of it, which takes in what the run itself brought; a repeat
    gives what was counted. Raises `DataError` where something is gone and the template says `mapped_gone: fail`.
    """
    folder = _folder(run, object, step)
    with _guard:
        lock = _locks[str(folder)]
    with lock:
        counted = files.read_json(folder / "manifest.json")
        if counted is None:
            counted = _prove(job, run, object, folder, step)
            files.write_json(folder / "manifest.json", counted)
    return counted


def out_of_sight(run: Run, object: str) -> pl.LazyFrame:
    """The records of `FINDINGS` that exist and that a query does not show."""
    return files.scan(_folder(run, object) / "gone*.parquet", FINDINGS).filter(pl.col("found") == "out of sight")


def left_alone(job: SyncJob, run: Run, object: str) -> pl.LazyFrame:
    """The mapped records that are never written to (`LEFT`): survivors of a merge, records out of sight."""
    merged = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).found(object, FOLLOWED)
    merged = merged.select(
        "source_id",
        _left=pl.lit(FOLLOWED),
        _why=pl.format("its counterpart was merged into {} in the target, which is left as it is", "target_id"),
    )
    hidden = out_of_sight(run, object).select(
        "source_id",
        _left=pl.lit("out of sight"),
        _why=pl.format("its counterpart {} is archived in the target, where it is left as it is", "target_id"),
    )
    return pl.concat([merged, hidden.join(merged, on="source_id", how="anti")])


def leave_alone(frame: pl.LazyFrame, left: pl.LazyFrame) -> pl.LazyFrame:
    """A decided frame in which rows of `left` (`LEFT`) are existing instead of update or identical; adds `_left`."""
    written = pl.col("_left").is_not_null() & pl.col("_decision").cast(pl.String).is_in(["update", "identical"])
    joined = frame.join(left, left_on="_source_id", right_on="source_id", how="left", maintain_order="left")
    return joined.with_columns(
        pl.when(written).then(decision("existing")).otherwise(pl.col("_decision")).alias("_decision"),
        pl.when(written).then(pl.lit([], dtype=pl.List(pl.String))).otherwise(pl.col("_changed")).alias("_changed"),
        pl.when(written).then(pl.col("_why")).otherwise(pl.col("_reason")).alias("_reason"),
    ).drop("_why")


def gone_parents(job: SyncJob, objects: Iterable[str]) -> pl.LazyFrame | None:
    """`source_id`, `reason` of records whose counterpart is gone: what a blocked child names; None without any."""
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    frames = [
        id_map.tombstones(name).select(
            "source_id",
            reason=pl.format("its counterpart {} is {} in the target", pl.col("target_id").fill_null(""), "gone"),
        )
        for name in objects
        if id_map.has_tombstones(name)
    ]
    return pl.concat(frames) if frames else None


# ── how ──────────────────────────────────────────────────────────────────────────────────────────────────


def proof_folder(run: Run, step: str = "") -> UPath:
    """Where a run, or a later step of it, keeps what it has proven."""
    return run.folder / ("mapped" if not step else f"mapped-{step}")


def _folder(run: Run, object: str, step: str = "") -> UPath:
    return proof_folder(run, step) / object


def _plan_of(job: SyncJob, object: str) -> ObjectPlan | None:
    return next((plan for plan in job.plan.objects if plan.object == object), None)


def _prove(job: SyncJob, run: Run, object: str, folder: UPath, step: str) -> dict[str, int]:
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    # What this run itself brought was written after the target was read.
    earlier = bool(step) or id_map.has_others(object, run.job.template, run.job.phase, run.number)
    targets = id_map.target_objects(object) if earlier else []
    found = [_gone(job, run, object, target, id_map, folder / target, step) for target in targets]
    findings = pl.concat(found) if found else pl.DataFrame(schema=FINDINGS)
    policy = _policy(job, object)
    gone = findings.filter(pl.col("found") != "out of sight")
    if gone.height and policy is MappedGone.FAIL:
        # Read anew next time: by then the records may be back.
        files.remove_tree(folder)
        if not step and job.in_phase(object):
            files.remove_tree(run.folder / "target" / object)
            files.remove_tree(run.folder / "left" / object)
        raise _refusal(job, object, gone)
    files.write_parquet(folder / "gone.parquet", findings)
    return _bury(job, run, object, findings, policy, step)


def _policy(job: SyncJob, object: str) -> MappedGone:
    plan = _plan_of(job, object)
    return plan.mapped_gone if plan is not None else job.plan.settings.mapped_gone


def _gone(job: SyncJob, run: Run, object: str, target: str, id_map: IdMap, folder: UPath, step: str) -> pl.DataFrame:
    """The records mapped to `target` that a query of it does not show (`FINDINGS`); bounded by what was removed."""
    own = (pl.col("template") == run.job.template) & (pl.col("phase") == run.job.phase) & (pl.col("run") == run.number)
    plan = _plan_of(job, object)
    if not step and plan is not None and plan.target_object == target and job.in_phase(object):
        there = known_now(job, run, plan)
    else:
        reading.read(job, job.target, object=target, fields=(ID,), folder=folder / "there", stage="match")
        there = reading.scan(folder / "there", (ID,))
    lost = id_map.missing(object, there).filter(pl.col("target_object") == target)
    missing = (lost if step else lost.filter(~own)).select("source_id", "target_id", "target_object").collect()
    if missing.is_empty():
        return pl.DataFrame(schema=FINDINGS)
    return _followed(job, target, missing, there, folder)


def _followed(job: SyncJob, target: str, missing: pl.DataFrame, there: pl.LazyFrame, folder: UPath) -> pl.DataFrame:
    """What became of the missing ones, through merges of merged records."""
    current = missing.with_columns(
        _at=pl.col("target_id"), found=pl.lit(None, pl.String), survivor=pl.lit(None, pl.String)
    )
    for number in range(CHAIN):
        open_ids = current.filter(pl.col("found").is_null())["_at"].unique()
        if open_ids.is_empty():
            break
        states = _states(job, target, open_ids, folder / f"states-{number}")
        alive = there.filter(pl.col("Id").is_in(states["master"].drop_nulls().unique().implode())).collect()["Id"]
        joined = current.join(states, left_on="_at", right_on="Id", how="left", maintain_order="left")
        fresh, master = pl.col("found").is_null(), pl.col("master")
        merged = pl.col("deleted") & master.is_not_null()
        moved = pl.col("_at") != pl.col("target_id")
        lives = pl.col("deleted").eq_missing(False)
        current = joined.with_columns(
            found=pl.when(~fresh)
            .then(pl.col("found"))
            .when(merged & master.is_in(alive.implode()))
            .then(pl.lit("merged"))
            .when(merged)
            .then(None)
            .when(lives & ~moved)
            .then(pl.lit("out of sight"))
            .when(lives)
            .then(pl.lit("merged"))
            .otherwise(pl.lit("deleted")),
            survivor=pl.when(fresh & merged & master.is_in(alive.implode()))
            .then(master)
            .when(fresh & lives & moved)
            .then(pl.col("_at"))
            .otherwise(pl.col("survivor")),
            _at=pl.when(fresh & merged).then(master).otherwise(pl.col("_at")),
        ).drop("deleted", "master")
    return current.with_columns(pl.col("found").fill_null("deleted")).select(list(FINDINGS)).cast(pl.Schema(FINDINGS))


def _states(job: SyncJob, target: str, ids: pl.Series, folder: UPath) -> pl.DataFrame:
    """`Id`, `deleted`, `master` of those that queryAll shows."""
    described = described_now(job, target)
    names = [name for name in ("IsDeleted", "MasterRecordId") if described.field(name) is not None]
    kinds = {"IsDeleted": "boolean", "MasterRecordId": "id"}
    fields = (ID, *(Field(name=name, type=kinds[name]) for name in names))
    few = len(ids) <= ASK_BY_ID
    where = "Id IN ({})".format(", ".join(f"'{value}'" for value in ids.sort().to_list())) if few else ""
    reading.read(job, job.target, object=target, fields=fields, where=where, folder=folder, stage="match", deleted=True)
    rows = reading.scan(folder, fields).filter(pl.col("Id").is_in(ids.implode()))
    nothing = {"IsDeleted": pl.lit(False), "MasterRecordId": pl.lit(None, dtype=pl.String)}
    return rows.select(
        "Id",
        deleted=pl.col("IsDeleted") if "IsDeleted" in names else nothing["IsDeleted"],
        master=pl.col("MasterRecordId") if "MasterRecordId" in names else nothing["MasterRecordId"],
    ).collect()


def _bury(job: SyncJob, run: Run, object: str, findings: pl.DataFrame, policy: MappedGone, step: str) -> dict[str, int]:
    """Tombstones of what is gone, and new entries for what a merge left; counts by what was found."""
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    where: dict[str, Any] = {"template": run.job.template, "phase": run.job.phase, "run": run.number}
    name = f"{step}-" if step else ""
    counts = {}
    for found in ("deleted", "merged"):
        rows = findings.filter(pl.col("found") == found)
        counts[found] = rows.height
        if rows.height:
            id_map.tombstone(object, rows, found, part=f"{name}{found}", **where)
    followed = findings.filter((pl.col("found") == "merged") & pl.col("survivor").is_not_null())
    counts["followed"] = followed.height if policy is MappedGone.FOLLOW_MERGE else 0
    if counts["followed"]:
        for (target,), rows in followed.group_by("target_object"):
            pairs = rows.select("source_id", target_id="survivor", how=pl.lit(FOLLOWED))
            id_map.append(object, str(target), pairs, part=f"{name}followed-{target}", **where)
    counts["out of sight"] = findings.filter(pl.col("found") == "out of sight").height
    return counts


def _refusal(job: SyncJob, object: str, gone: pl.DataFrame) -> DataError:
    shown = ", ".join(f"{row['target_id']} ({row['found']}, of {row['source_id']})" for row in gone.head(5).to_dicts())
    return DataError(
        f"{object}: {gone.height} records that were migrated are in the target {job.plan.target_alias!r} no more: {shown}. "
        "Nothing of what rests on them was written. Bring them back (undelete) and materialize again, or say what is to "
        f"happen with `mapped_gone` of {object}: reinsert, or follow_merge.",
        object=object,
        gone=gone.height,
    )
