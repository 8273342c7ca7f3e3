"""What heals have filled of the lookups of a run: where its checks and reports find it."""

from __future__ import annotations

import polars as pl
from upath import UPath

from isync_dagster.store import files
from isync_dagster.store.runs import Run

HEALED = {
    "source_id": pl.String(),
    "field": pl.String(),
    "how": pl.String(),
    "target_parent_id": pl.String(),
}
"""`how` is linked (the lookup holds `target_parent_id`), kept (somebody else's value stays), or pending: a rollback took
`target_parent_id` away, and the lookup waits again."""


def steps_of(run: Run, object: str) -> list[str]:
    """`heal-1`, `heal-2`, … as they were begun."""
    steps = (name for name in files.names(run.folder / "heal" / object) if name.startswith("heal-"))
    return sorted(steps, key=lambda name: int(name.removeprefix("heal-")))


def healed_path(run: Run, object: str, step: str) -> UPath:
    """The links that a step closed; there once the step is over."""
    return run.folder / "heal" / object / step / "healed.parquet"


def healed_links(run: Run, object: str) -> pl.LazyFrame | None:
    """The newest of `HEALED` of each record and field; None where nothing was healed."""
    paths = [healed_path(run, object, step) for step in steps_of(run, object)]
    frames = [files.scan(path, HEALED).with_columns(_n=pl.lit(n)) for n, path in enumerate(paths) if files.exists(path)]
    if not frames:
        return None
    newest = pl.concat(frames).group_by("source_id", "field")
    return newest.agg(pl.col("how").max_by("_n"), pl.col("target_parent_id").max_by("_n"))
