"""The pre-flight of references: after remap and before load, which lookups of an object point at nothing."""

from __future__ import annotations

from typing import Any

import polars as pl

from isync_dagster.errors import ConfigError
from isync_dagster.migration.model import SyncJob, Verdict
from isync_dagster.migration.remap import current_rows, has_rows
from isync_dagster.migration.runs import latest_run
from isync_dagster.migration.threshold import allowed_rejects
from isync_dagster.plan.model import Lookup
from isync_dagster.records.findings import SHOWN
from isync_dagster.store import files

SAMPLES = 20


def check_references(job: SyncJob, object: str) -> Verdict:
    """Whether every lookup that is not deferred found its parent; what did not is listed in `preflight/references`.

    An error where more rows are blocked by a missing parent than the template's threshold allows, else a warning: the
    policy of the lookup (null, a default) has decided. Raises `ConfigError` where the object has no run.
    """
    run, plan = latest_run(job), job.object(object)
    if run is None:
        raise ConfigError(f"Phase {job.phase!r} of {job.plan.template!r} has no run: nothing to judge.")
    if not has_rows(run, object):
        text = "The run does not hold the object's rows (yet, or any more)."
        return Verdict("references", object, job.phase, run.number, False, text, severity="warn")
    rows = current_rows(run, object)
    lookups = [lookup for lookup in plan.lookups if not lookup.deferred and not lookup.kept]
    path = run.folder / "preflight" / "references" / f"{object}.parquet"
    # One pass a lookup over rows that are on disk; only rows with a finding are kept.
    found = pl.concat([_missing(rows, lookup) for lookup in lookups]) if lookups else pl.LazyFrame(schema=_SCHEMA)
    count = files.write_parquet(path, found)
    listed = files.scan(path, _SCHEMA)
    blocked = listed.filter(pl.col("severity") == "error").select(pl.col("_source_id").n_unique()).collect().item()
    grouped = listed.group_by("field", "severity").agg(
        pl.len().alias("rows"), pl.col("message").first(), pl.col("_source_id").first().alias("sample")
    )
    table: list[dict[str, Any]] = (
        grouped.sort("rows", "field", descending=[True, False]).head(SAMPLES).collect().to_dicts()
    )
    worst = "error" if blocked > allowed_rejects(job, run, plan) else "warn"
    text = (
        f"Every one of {len(lookups)} lookups found its parents."
        if not count
        else f"{count:,} lookups point at no record of the target; {blocked:,} rows are blocked by it."
    )
    numbers = {"unresolved": count, "blocked": blocked}
    verdict = Verdict("references", object, job.phase, run.number, not count, text, worst, numbers, tuple(table))
    run.write_verdict(object, verdict.name, verdict.to_json())
    return verdict


_SCHEMA = {name: pl.String() for name in ("check", "severity", "field", "_source_id", "value", "message")}


def _missing(rows: pl.LazyFrame, lookup: Lookup) -> pl.LazyFrame:
    """The rows whose parent was named and not found, in the shape of the other findings."""
    name = lookup.target.name
    state = pl.col(f"_link.{name}").cast(pl.String)
    blocked = (pl.col("_decision").cast(pl.String) == "blocked").fill_null(False)
    return rows.filter(pl.col(f"_from.{name}").is_not_null() & (state != "linked")).select(
        check=pl.lit("references"),
        severity=pl.when(blocked & pl.col(name).is_null()).then(pl.lit("error")).otherwise(pl.lit("warn")),
        field=pl.lit(name),
        _source_id=pl.col("_source_id"),
        value=pl.col(f"_from.{name}").str.slice(0, SHOWN),
        message=pl.format("its parent is not in the target: {}", state),
    )
