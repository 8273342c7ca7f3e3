"""The rows of a big object in slices, so that what is done with them takes no more memory than one slice does.

Rows are cut as they lie where their order is free. Where the rows of one parent must stay side by side, they are dealt
out by a hash of the parent, so that each parent's children are in one slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from upath import UPath

from isync_dagster.migration import reading
from isync_dagster.migration.dealing import deal
from isync_dagster.migration.memory import frame_bytes, memory
from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store import files
from isync_dagster.store.runs import Run

NAMED_BYTES = 250
"""What a record that rows name takes while what is known of it is looked for."""


def work_bytes(run: Run, plan: ObjectPlan, extract: UPath, there: UPath) -> int:
    """About what it takes to decide on all rows of an object at once: the frame, and as much again while it is sorted.

    `extract` and `there` hold what was read of the object, and of the target to match.
    """
    read, matched = (reading.recorded(folder) for folder in (extract, there))
    columns, watched = len(plan.fields) + 4 * len(plan.lookups) + 10, len(plan.fields) + len(plan.lookups)
    held = 0
    if matched is not None and matched.rows:
        # What may match is held once, and each row has the target's values besides its own.
        held = frame_bytes(matched.bytes, matched.rows * watched)
        columns += watched
    return held + (0 if read is None else 2 * frame_bytes(read.bytes, read.rows * columns))


def bytes_behind(job: SyncJob, run: Run, object: str) -> int:
    """Bytes of extracted rows on the longest way from `object` to a child that nothing waits for: what it holds up."""
    ways: dict[str, int] = {}
    for plan in reversed(job.plan.objects_in(job.phase)):
        read = reading.recorded(run.extract_folder(plan.object))
        longest = ways.get(plan.object, 0) + (0 if read is None else read.bytes)
        ways[plan.object] = longest
        for parent in plan.parents:
            ways[parent] = max(ways.get(parent, 0), longest)
    return ways.get(object, 0)


def cut_rows(rows: pl.LazyFrame, count: int, parent: str | None, scratch: Path) -> list[pl.LazyFrame]:
    """`rows` (of files) in about `count` slices, each row in one of them; none is empty but the only one.

    With `parent` (a column) all rows that are equal in it are in one slice: they are written to `scratch` once more.
    """
    if count <= 1:
        return [rows]
    if parent is None:
        total = int(rows.select(pl.len()).collect().item())
        size = max(1, -(-total // count))
        return [rows.slice(start, size) for start in range(0, max(total, 1), size)]
    # A row without the parent is tied to no other.
    parts = deal(rows, pl.coalesce(parent, "Id"), count, scratch / "slices")
    filled = [part for part in parts if not part.head(1).collect().is_empty()]
    return filled or [rows]


def grouped(slices: Sequence[pl.LazyFrame]) -> list[list[pl.LazyFrame]]:
    """Neighbouring slices together, as many as name no more records than fit a slice's memory: an id map is read once for
    each group, not for each slice."""
    most = memory().slice_bytes // NAMED_BYTES
    groups: list[list[pl.LazyFrame]] = []
    held = 0
    for rows, count in zip(slices, pl.collect_all([rows.select(pl.len()) for rows in slices]), strict=True):
        held += count.item()
        if not groups or held > most:
            groups.append([])
            held = count.item()
        groups[-1].append(rows)
    return groups


def write_parts(folder: UPath, parts: list[pl.LazyFrame], share: int = 0) -> int:
    """Write each frame as one part of `folder`, one after the other, `_row` counting on; how many rows.

    Each takes so many bytes of the budget (`share`), so that others come between two. Parts that an earlier, longer
    attempt left behind are removed.
    """
    total = 0
    for number, part in enumerate(parts):
        rows = part if not total else part.with_columns(pl.col("_row") + pl.lit(total, dtype=pl.UInt32))
        with memory().share(share):
            total += files.write_parquet(folder / part_name(number), rows)
    for name in files.names(folder):
        if name.startswith("part-") and name >= part_name(len(parts)):
            files.remove(folder / name)
    return total


def part_name(number: int) -> str:
    """The name of a part: in the order of names is the order of rows."""
    return f"part-{number:05d}.parquet"


def read_parts(folder: UPath) -> pl.LazyFrame:
    """The rows of the parts of `folder`, in their order: where a part has columns beside it (`beside_name`), with those in place of
    its own. `StoreError` where there are none."""
    names = files.names(folder)
    parts = [name for name in names if name.startswith("part-")]
    if not any(beside_name(name) in names for name in parts):
        return files.scan([folder / name for name in parts])
    frames = []
    for name in parts:
        rows, other = files.scan(folder / name), files.scan(folder / beside_name(name))
        frames.append(pl.concat([rows.drop(other.collect_schema().names()), other], how="horizontal"))
    return pl.concat(frames)


def beside_name(part: str) -> str:
    """The file that holds columns of a part which is shared with another run and has others there, row by row."""
    return part.replace("part-", "beside-")
