"""The id map as files: exported for satellite systems, imported from another tool."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from upath import UPath

from isync_dagster.errors import ConfigError, DataError
from isync_dagster.migration import reading
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.target import ID
from isync_dagster.records.ids import to18
from isync_dagster.store.scratch import scratch
from isync_dagster.store.store import Store

COLUMNS = ("object", "source_id", "target_object", "target_id", "how", "template", "phase", "run", "at")
"""What an export holds, a row a record; times are UTC."""

FORMATS = (".csv", ".parquet")

IMPORTED = "import"
"""How a record is mapped, and as which phase, that another tool brought."""

SHOWN = 5


def export_idmap(store: Store, source_org_id: str, target_org_id: str, objects: Sequence[str], to: Path) -> int:
    """Write the id map of an org pair (of some objects, or all) to a CSV or Parquet file; how many rows.

    One row a source record that has a counterpart now (`COLUMNS`), streamed. Raises `ConfigError` for another kind of
    file and for an object that the id map does not know.
    """
    _check_format(to)
    id_map = store.idmap(source_org_id, target_org_id)
    known = id_map.objects()
    if unknown := [name for name in objects if name not in known]:
        raise ConfigError(
            f"The id map {source_org_id} → {target_org_id} has no object {', '.join(unknown)} (it has: "
            f"{', '.join(known) or 'nothing yet'}).",
        )
    rows = id_map.read_many(objects or known).select(*COLUMNS)
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(to.name + ".part")
    if to.suffix == ".csv":
        rows.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")).sink_csv(partial, null_value="")
        counted = pl.scan_csv(partial, infer_schema=False).select(pl.len()).collect().item()
    else:
        rows.sink_parquet(partial, compression="zstd")
        counted = pl.scan_parquet(partial).select(pl.len()).collect().item()
    partial.rename(to)
    return int(counted)


def import_idmap(job: SyncJob, object: str, file: Path) -> tuple[int, int]:
    """Take the pairs of a CSV or Parquet file (source_id, target_id) into the id map; (new rows, rows known already).

    Everything is checked before anything is written, and all that is wrong is told at once: the columns, the form of
    both ids (15 or 18 characters), their key prefixes against the describes of both orgs, one target a source record
    and one source a target record within the file and against the id map, and that each target record exists. Raises
    `ConfigError` for the file, `DataError` for its rows. The same file again changes nothing.
    """
    plan = job.object(object)
    raw = _pairs(file)
    problems: list[str] = []
    pairs = raw.select(source_id=to18(pl.col("source_id")), target_id=to18(pl.col("target_id"))).collect()
    for column, described, side in (
        ("source_id", job.source.describe(object), job.plan.source_alias),
        ("target_id", job.target.describe(plan.target_object), job.plan.target_alias),
    ):
        problems += _bad_ids(pairs, column, described.name, described.key_prefix, side)
    pairs = pairs.unique()
    problems += _shared(pairs, "source_id", "target_id", "source records have several targets in the file")
    problems += _shared(pairs, "target_id", "source_id", "target records have several sources in the file")
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    mapped = id_map.read(object).select("source_id", "target_id").collect()
    problems += _conflicts(pairs, mapped)
    if not problems:
        problems += _absent(job, plan.target_object, pairs)
    if problems:
        raise DataError(
            f"{file} is not imported, nothing was written:\n  " + "\n  ".join(problems), file=str(file), object=object
        )
    new = pairs.join(mapped, on=["source_id", "target_id"], how="anti").sort("source_id")
    if new.height:
        digest = hashlib.sha256(new.write_csv().encode()).hexdigest()[:16]
        # A run that writes to this target must not find its id map changed under it.
        with job.store.lease(job.plan.target_org_id).acquire_alone("isync idmap import"):
            id_map.append(
                object,
                plan.target_object,
                new.with_columns(how=pl.lit(IMPORTED)),
                template=job.plan.template,
                phase=IMPORTED,
                run=0,
                part=digest,
            )
    return new.height, pairs.height - new.height


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────


def _check_format(file: Path) -> None:
    if file.suffix not in FORMATS:
        raise ConfigError(f"{file} is neither .csv nor .parquet: the ending of the name says which it is.")


def _pairs(file: Path) -> pl.LazyFrame:
    _check_format(file)
    if not file.is_file():
        raise ConfigError(f"There is no file {file}.")
    try:
        frame = pl.scan_csv(file, infer_schema=False) if file.suffix == ".csv" else pl.scan_parquet(file)
        columns = frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ConfigError(f"{file} cannot be read as {file.suffix[1:]}: {error}") from error
    missing = [name for name in ("source_id", "target_id") if name not in columns]
    if missing:
        raise ConfigError(
            f"{file} has no column {' and '.join(missing)}; it needs source_id and target_id (it has: "
            f"{', '.join(columns.names())})."
        )
    return frame.select(pl.col("source_id", "target_id").cast(pl.String))


# ── what can be wrong with its rows ──────────────────────────────────────────────────────────────────────


def _bad_ids(pairs: pl.DataFrame, column: str, object: str, prefix: str | None, side: str) -> list[str]:
    ids = pl.col(column)
    wrong = ~ids.str.contains(r"^[0-9A-Za-z]{18}$") | (to18(ids.str.slice(0, 15)) != ids)
    bad = pairs.filter(ids.is_null() | wrong)
    problems = [_said(bad, column, f"rows have no {column} of 15 or 18 characters with the right ending")]
    if prefix:
        strange = pairs.filter(ids.is_not_null() & ~wrong & ~ids.str.starts_with(prefix))
        problems.append(
            _said(strange, column, f"rows have a {column} that is no {object} of {side!r}, which begin with {prefix}")
        )
    return [text for text in problems if text]


def _shared(pairs: pl.DataFrame, one: str, other: str, what: str) -> list[str]:
    counted = pairs.drop_nulls().group_by(one).agg(pl.col(other).n_unique().alias("_n")).filter(pl.col("_n") > 1)
    text = _said(counted.sort(one), one, what)
    return [text] if text else []


def _conflicts(pairs: pl.DataFrame, mapped: pl.DataFrame) -> list[str]:
    """Pairs that contradict what runs have recorded."""
    by_source = pairs.join(mapped, on="source_id", how="inner", suffix="_now").filter(
        pl.col("target_id") != pl.col("target_id_now")
    )
    by_target = pairs.join(mapped, on="target_id", how="inner", suffix="_now").filter(
        pl.col("source_id") != pl.col("source_id_now")
    )
    texts = [
        _said(by_source, "source_id", "source records are mapped to another target record already"),
        _said(by_target, "target_id", "target records are the counterpart of another source record already"),
    ]
    return [text for text in texts if text]


def _absent(job: SyncJob, target_object: str, pairs: pl.DataFrame) -> list[str]:
    with scratch() as place:
        folder = UPath(place) / "there"
        reading.read(job, job.target, object=target_object, fields=(ID,), folder=folder, stage="match")
        there = reading.scan(folder, (ID,))
        absent = pairs.lazy().join(there, left_on="target_id", right_on="Id", how="anti").collect()
    text = _said(
        absent, "target_id", f"target records are not in {job.plan.target_alias!r} (deleted, or of another org)"
    )
    return [text] if text else []


def _said(rows: pl.DataFrame, column: str, what: str) -> str:
    if not rows.height:
        return ""
    shown = ", ".join(str(value or "(empty)") for value in rows[column].head(SHOWN))
    return f"{rows.height} {what}: {shown}{' …' if rows.height > SHOWN else ''}"
