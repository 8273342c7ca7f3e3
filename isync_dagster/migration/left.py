"""Objects that stand in the target as the run before left them: told by stamps, without reading a value.

The end of a run keeps the stamps of all records of an object that it wrote to (`closing`). Where none but the run itself
saved any of them while it ran, its checks found there what was sent, and the stamps are still the same, the target
holds what the run put there: nothing of it is read to be compared, and what was inserted is identical now.

    left/<Object>/part-*.parquet   Id and stamps, beside them what a later run may rest on (`changes`)
    left/<Object>/why.json         why the object is not as it was left
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.migration import reading
from isync_dagster.migration.changes import SECOND, STAMP, Base, base_in, lay, same_as
from isync_dagster.migration.closing import AROUND, closed, sending_windows, stamps_folder
from isync_dagster.migration.memory import CELL, memory
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.slicing import beside_name, read_parts
from isync_dagster.migration.target import ID, left_folder, stamp_fields, target_folder
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.standing import standing, standing_late
from isync_dagster.records.undo import STAMPS, Window, within
from isync_dagster.store import files
from isync_dagster.store.runs import Run

SENT = frozenset({State.INSERTED, State.UPDATED})
"""States of records that a run wrote, and that are identical for the next."""
ID_BYTES = 150
"""What a pair of ids takes while rows are given theirs."""


def inputs_of(run: Run) -> dict[str, Any]:
    """What a run noted before it decided (`carried.note_inputs`); empty before."""
    return files.read_json(run.folder / "carried" / "inputs.json") or {}


def states_before(run: Run, object: str) -> dict[str, int]:
    """Records of an object by state in the run that this one rests on; empty where there is none."""
    return dict(inputs_of(run).get("states", {}).get(object, {}))


def was_sent(run: Run, object: str) -> bool:
    """True where the run that this one rests on wrote records of the object."""
    return any(states_before(run, object).get(state) for state in SENT)


def verdicts_of(plan: ObjectPlan) -> tuple[str, ...]:
    """The checks that look at the object in the target."""
    return ("record_count", "relationships", *(("relinked",) if plan.has_relink else ()), "fields", "totals")


def look(job: SyncJob, run: Run, base: Run, plans: Iterable[ObjectPlan]) -> None:
    """Ask of all `plans` together whether they stand as `base` left them; once a run.

    Nothing is asked about an object whose rows `base` read to match and did not write: these tell more (`changes`).
    """
    asked = []
    windows = cache(lambda: sending_windows(base))
    for plan in plans:
        folder = left_folder(run, plan)
        if reading.recorded(folder) is not None or files.exists(folder / "why.json"):
            continue
        found = _noted(job, run, base, plan, windows)
        if isinstance(found, str):
            files.write_json(folder / "why.json", {"why": found})
        elif found is not None:
            asked.append((found, plan, folder))
    told = lay(job, asked)
    for _, _, folder in asked:
        why = told.get(folder)
        if why is None and same_as(folder) != base.folder.name:
            files.remove_tree(folder)
            why = f"records of it were saved or removed since run {base.number}"
        if why is not None:
            files.write_json(folder / "why.json", {"why": why})


def is_left(run: Run, plan: ObjectPlan) -> bool:
    """True where the object stands as the run before left it."""
    return same_as(left_folder(run, plan)) is not None


def why_not_left(run: Run, plan: ObjectPlan) -> str:
    """Why the object does not stand as it was left, in words; empty where that was not asked."""
    return str((files.read_json(left_folder(run, plan) / "why.json") or {}).get("why", ""))


def lay_rows(base: Run, run: Run, plan: ObjectPlan) -> bool:
    """Give the decided rows of `base`, which sent some, a place in this run, with what is other by now beside them; False where
    an inserted one has no target id."""
    folder, place = base.remap_folder(plan.object), run.remap_folder(plan.object)
    for name in files.names(folder):
        if name != "manifest.json":
            files.copy(folder / name, place / name)
    late = base.folder / "relink" / plan.object / "part-00000.parquet"
    wrote = pl.col("state").is_in([State.INSERTED, State.UPDATED]) & (pl.col("stage") == "load")
    updated = State.UPDATED in states_before(run, plan.object)
    log = base.audit(plan.object).read().filter(wrote & pl.col("target_id").is_not_null())
    ids = log.select("source_id", "target_id")
    parts = [name for name in files.names(folder) if name.startswith("part-")]
    counts = {name: int(files.scan(folder / name).select(pl.len()).collect().item()) for name in parts}
    again = files.scan(late) if files.exists(late) else None

    def other(rows: pl.LazyFrame, near: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.LazyFrame:
        return standing(rows, plan, near(ids), None if again is None else near(again), updated=updated)

    # The target's values are written as nulls beside rows of which some were updated.
    cells = sum(name.startswith("_now.") for name in read_parts(folder).collect_schema().names()) if updated else 0
    row_bytes = ID_BYTES + CELL * cells
    if memory().slices(sum(counts.values()) * row_bytes) == 1:
        with memory().share(sum(counts.values()) * row_bytes):
            # The log is read, and looked up in, once for all parts.
            whole = other(files.scan([place / name for name in parts]), lambda rows: rows).collect(engine="streaming")
            at = 0
            for name in parts:
                _write_beside(place, name, counts[name], whole.slice(at, counts[name]))
                at += counts[name]
        return at == whole.height and _all_there(place)
    for name in parts:
        # Of the log, and of the second pass, only what the part names is held.
        rows = files.scan(place / name)
        mine = rows.select("_source_id")

        def near(known: pl.LazyFrame, mine: pl.LazyFrame = mine) -> pl.LazyFrame:
            column = "source_id" if known is ids else "_source_id"
            return known.join(mine, left_on=column, right_on="_source_id", how="semi")

        with memory().share(counts[name] * row_bytes):
            if not _write_beside(place, name, counts[name], other(rows, near)):
                return False
    return _all_there(place)


def _write_beside(place: UPath, name: str, count: int, rows: files.Frame) -> bool:
    """Write beside a part, of `count` rows, what is other of it by now; False where it has not come out row by row."""
    return files.write_parquet(place / beside_name(name), rows) == count


def _all_there(place: UPath) -> bool:
    """True where each record that is in the target by now has its target id."""
    rows = read_parts(place).select("_decision", "_target_id")
    arrived = pl.col("_decision").cast(pl.String).is_in(["identical", "existing"])
    return rows.filter(arrived & pl.col("_target_id").is_null()).head(1).collect().is_empty()


def lay_second_pass(base: Run, run: Run, plan: ObjectPlan, rows: str) -> None:
    """Write the rows of the second pass of `base` (a file `rows` of its folder), which was sent, as this run's."""
    late = files.scan(base.folder / "relink" / plan.object / rows)
    files.write_parquet(run.folder / "relink" / plan.object / rows, standing_late(late, plan))


# ── how ──────────────────────────────────────────────────────────────────────────────────────────────────


def _noted(
    job: SyncJob, run: Run, base: Run, plan: ObjectPlan, windows: Callable[[], Sequence[Window]]
) -> Base | str | None:
    """The stamps at the end of `base`, where all that was saved was saved by it; why they do not serve, in words; None where
    rows of the object were read to match and nothing was sent."""
    fields = (ID, *stamp_fields(job, plan.target_object))
    if not was_sent(run, plan.object):
        if reading.recorded(target_folder(base, plan)) is not None or not is_left(base, plan):
            return None
        return (
            base_in(left_folder(base, plan), plan.target_object, fields) or f"run {base.number} kept other stamps of it"
        )
    if not set(STAMPS) <= {field.name for field in fields}:
        return "the object does not tell when and by whom a record was saved"
    end = closed(base)
    found = base_in(stamps_folder(base, plan.object), plan.target_object, fields)
    if end is None or found is None:
        noted = files.read_json(stamps_folder(base, plan.object) / "why.json") or {}
        return str(noted.get("why", f"run {base.number} has not looked at all its records at its end"))
    for name in verdicts_of(plan):
        verdict = files.read_json(base.layout.verdict(plan.object, name))
        if verdict is None or not verdict["passed"]:
            return f"the check {name} did not pass in run {base.number}"
    if _by_others(base, plan, found, str(end["user"]), windows()):
        return f"somebody else saved records of it while run {base.number} was under way"
    return found


def _by_others(base: Run, plan: ObjectPlan, noted: Base, user: str, windows: Sequence[Window]) -> bool:
    """True where a record was saved since `base` read the object to match, by another user or while it sent nothing."""
    read = files.read_json(target_folder(base, plan) / "base.json")
    # Where nothing was read, nothing that was there matched: whatever was saved before is of no matter.
    began = min(base.t0, base.opened_at) - AROUND if read is None else datetime.fromisoformat(read["since"])
    old = pl.lit(began - SECOND)
    saved, by_hand = pl.col(STAMP), pl.col("LastModifiedDate")
    ours = within(saved, windows) & (
        (by_hand < old) | ((pl.col("LastModifiedById") == user) & within(by_hand, windows))
    )
    strange = noted.scan().filter(~((saved < old) | ours).fill_null(False))
    return not strange.head(1).collect().is_empty()
