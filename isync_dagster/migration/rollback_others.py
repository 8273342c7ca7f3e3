"""Records that a rollback would delete and others have a stake in, found to the last one that hangs on another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from upath import UPath

from isync_dagster.migration.closing import sending_windows
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.rollback_model import ALREADY_GONE, NEVER, Conflicts
from isync_dagster.migration.rollback_references import Pointers, by_products, pointers, stakes
from isync_dagster.migration.target import described
from isync_dagster.migration.unhealing import filled_links
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store import files
from isync_dagster.store.rollbacks import Rollback
from isync_dagster.store.runs import Run

Frames = dict[str, list[pl.LazyFrame]]


@dataclass
class Undoing:
    """What rollbacks that come before leave: target object (and lookup of it) -> `Id` of its records."""

    deleted: Frames = field(default_factory=lambda: defaultdict(list))
    restored: dict[str, Frames] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))


def in_others_hands(
    job: SyncJob,
    rollback: Rollback,
    items: Sequence[ObjectPlan],
    conflicts: Conflicts,
    before: Undoing,
    user: str,
) -> tuple[pl.DataFrame, list[str]]:
    """The records whose deletion others have a stake in (`stakes`), and notes.

    With `skip`, a record that is left has a stake in its own parents, so it is looked at again until nothing is added.
    """
    deleted: Frames = defaultdict(list)
    restored: dict[str, Frames] = defaultdict(lambda: defaultdict(list))
    for plan in items:
        rows = files.scan(decided_path(rollback, plan.object))
        acted = rows.filter(_acts(pl.col("code"), conflicts))
        deleted[plan.target_object].append(ids_of(acted.filter(pl.col("action") == "delete")))
        add_restored(restored, rollback.run, plan, ids_of(acted.filter(pl.col("action") == "restore")))
    for name, lookups in before.restored.items():
        for lookup, frames in lookups.items():
            restored[name][lookup] += frames
    parents = {
        name: described(job, name)
        for name, frames in deleted.items()
        if not pl.concat(frames).head(1).collect().is_empty()
    }
    nothing = pl.DataFrame(schema=dict.fromkeys(("object", "Id", "code", "message"), pl.String))
    if not parents:
        return nothing, []
    listed, notes = pointers(job, rollback, parents)
    windows = sending_windows(rollback.run)
    migrated = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    # What this run matched among them was made with its own records (the statuses that every campaign begins with);
    # what it inserted is no by-product: where it is left, it keeps what it hangs on.
    own = (pl.col("template") == job.plan.template) & (pl.col("phase") == rollback.run.job.phase)
    own = own & (pl.col("run") == rollback.run.number)
    inserted = [files.scan(decided_path(rollback, plan.object)).filter(pl.col("action") == "delete") for plan in items]
    known = pl.concat([migrated.reverse().filter(~own).select(Id="target_id"), *(ids_of(rows) for rows in inserted)])
    products = {item.child: by_products(item, known, windows, user) for item in listed}
    healed = {plan.object: _held(plan, listed, filled_links(job, rollback, plan)) for plan in job.plan.objects}
    for plan in job.plan.objects:
        # Emptied before what they point at is deleted, so they are no stake in it.
        for lookup in (lookup.target.name for lookup in plan.lookups):
            restored[plan.target_object][lookup].append(
                healed[plan.object].filter(pl.col("field") == lookup).select(Id="child")
            )
    found = nothing
    while True:
        doomed = {
            name: pl.concat(frames).join(_of(found, name), on="Id", how="anti") for name, frames in deleted.items()
        }
        fresh = [nothing]
        for item in listed:
            ours = [products[item.child], *before.deleted.get(item.child, [])]
            ours += [doomed[item.child]] if item.child in doomed else []
            set_back = {name: pl.concat(frames) for name, frames in restored[item.child].items()}
            fresh.append(stakes(item, doomed, set_back, ours))
        new = pl.concat(fresh)
        new = new.group_by("object", "Id", maintain_order=True).agg(
            pl.col("code").first(), pl.col("message").str.join("; ")
        )
        found = pl.concat([found, new])
        if new.is_empty() or conflicts is not Conflicts.SKIP:
            break
    doomed = {name: pl.concat(frames).join(_of(found, name), on="Id", how="anti") for name, frames in deleted.items()}
    if conflicts is not Conflicts.SKIP:
        doomed = {name: pl.concat(frames) for name, frames in deleted.items()}
    notes += _to_empty(rollback, healed, pl.concat(doomed.values()))
    for item in listed:
        hanging = pl.concat(
            [
                item.rows.join(products[item.child], on="Id", how="semi")
                .join(doomed[name], left_on=lookup, right_on="Id", how="semi")
                .select("Id")
                for lookup, kinds in item.lookups.items()
                for name, _ in kinds
                if name in doomed
            ]
        ).unique()
        count = hanging.select(pl.len()).collect().item()
        if count:
            notes.append(f"{count} records of {item.child} that automation made while the run was sending go along.")
    return found, notes


def _held(plan: ObjectPlan, listed: Sequence[Pointers], links: pl.LazyFrame) -> pl.LazyFrame:
    """Those of the links (`unhealing.LINKS`) that still hold what the heal put there."""
    parts = [links.clear()]
    for item in listed:
        if item.child == plan.target_object:
            parts += [
                links.filter(pl.col("field") == lookup).join(
                    item.rows.select("Id", lookup),
                    left_on=["child", "target_parent_id"],
                    right_on=["Id", lookup],
                    how="semi",
                )
                for lookup in item.lookups
            ]
    return pl.concat(parts)


def _to_empty(rollback: Rollback, healed: Mapping[str, pl.LazyFrame], doomed: pl.LazyFrame) -> list[str]:
    """Write down the links that are emptied first, object by object; a note for each."""
    notes = []
    for name, links in healed.items():
        rows = links.join(doomed, left_on="target_parent_id", right_on="Id", how="semi")
        count = files.write_parquet(rollback.healed(name), rows)
        if count:
            notes.append(
                f"{count} lookups of {name} that were filled when their parent came are emptied first; they wait again."
            )
    return notes


def add_restored(restored: dict[str, Frames], run: Run, plan: ObjectPlan, ids: pl.LazyFrame) -> None:
    """Add the records whose lookups are set back, by lookup."""
    log = run.before(plan.object)
    for lookup in plan.lookups:
        name = lookup.target.name
        for part in log.parts():
            named = log.read(part).filter(pl.col("_changed").list.contains(name)).select("Id")
            restored[plan.target_object][name].append(named.join(ids, on="Id", how="semi"))


def _of(found: pl.DataFrame, name: str) -> pl.LazyFrame:
    return found.lazy().filter(pl.col("object") == name).select("Id")


def ids_of(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The target ids of rows as `Id`."""
    return rows.select(Id="target_id")


def _acts(code: pl.Expr, conflicts: Conflicts) -> pl.Expr:
    """True where a record is undone in spite of its code."""
    if conflicts is Conflicts.SKIP:
        return code.is_null()
    return code.is_null() | ~code.is_in([*(str(kind) for kind in NEVER), ALREADY_GONE])


def decided_path(rollback: Rollback, object: str) -> UPath:
    """Where the decision on each record lies until others are asked."""
    return rollback.folder / "decided" / f"{object}.parquet"
