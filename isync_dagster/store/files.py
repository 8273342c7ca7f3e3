"""JSON and Parquet files of the store: written whole or not at all, read lazily.

Every function takes `UPath`s and works on a local disk and on object stores alike.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store import objects, small_files
from isync_dagster.store.medium import is_local, medium_of

__all__ = [
    "Frame",
    "Schema",
    "copy",
    "create_if_absent",
    "exists",
    "find",
    "names",
    "parse_json",
    "read_bytes",
    "read_json",
    "remove",
    "remove_tree",
    "scan",
    "scan_files",
    "size",
    "stamps",
    "write_bytes",
    "write_hashed",
    "write_json",
    "write_parquet",
]

Frame = pl.DataFrame | pl.LazyFrame
Schema = Mapping[str, Any]
"""Column name -> Polars dtype."""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_PROBE = 1 << 16
CELLS_A_GROUP = 1_000_000
"""Cells of one row group, what is decoded and encoded as one piece: with bigger ones every pass over a file that streams
holds hundreds of megabytes, whatever the rows need (measured: 735 MB with groups of 100,000 rows, 250 MB with 20,000)."""
GROUP_ROWS = (2_000, 50_000)
"""The least and the most rows of a row group."""


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────


def write_json(path: UPath, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole, replacing what was there."""
    write_bytes(path, _json(data))


def create_if_absent(path: UPath, data: Mapping[str, Any]) -> bool:
    """Write a JSON file if there is none of that name; False where there is: somebody else was first."""
    return medium_of(path).write_new(path, _json(data))


def read_json(path: UPath) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no file. Raises `StoreError` where it is damaged."""
    raw = read_bytes(path)
    return None if raw is None else parse_json(raw, str(path))


def parse_json(raw: bytes, path: str) -> dict[str, Any]:
    """The object that a JSON file's bytes hold. Raises `StoreError` that names the path where they are damaged."""
    try:
        data = json.loads(raw)
    except ValueError as error:
        raise StoreError(
            f"{path} is damaged: not JSON ({error}). Restore it from a copy, or remove it and run again.",
            path=path,
        ) from error
    if not isinstance(data, dict):
        raise StoreError(f"{path} is damaged: holds no JSON object.", path=path)
    return data


def _json(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False, default=_plain) + "\n").encode()


def _plain(value: object) -> object:
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal() | UPath() | Path():
            return str(value)
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in a JSON file of the store")


# ── bytes, listings, removal ─────────────────────────────────────────────────────────────────────────────


def copy(source: UPath, to: UPath) -> None:
    """Give a file of the store a second place in it."""
    medium_of(source).copy(source, to)


def write_bytes(path: UPath, data: bytes) -> None:
    """Write a file whole, replacing what was there."""
    medium_of(path).write_whole(path, data)


def read_bytes(path: UPath) -> bytes | None:
    """The bytes of a file, or None where there is none."""
    return medium_of(path).read_bytes(path)


def exists(path: UPath) -> bool:
    """True where a file of that name is there."""
    return medium_of(path).exists(path)


def size(path: UPath) -> int:
    """Bytes of a file; 0 where it is gone."""
    return medium_of(path).size(path)


def stamps(folder: UPath) -> tuple[tuple[object, ...], ...]:
    """A name and what changes when the file is written anew, of all files directly in a folder, sorted by name."""
    return medium_of(folder).stamps(folder)


def names(folder: UPath) -> list[str]:
    """Names of files and folders directly in a folder, sorted; none where there is no folder."""
    return medium_of(folder).names(folder)


def find(folder: UPath) -> list[str]:
    """Relative paths ('a/b.json') of all files below a folder, sorted: one listing."""
    return medium_of(folder).find(folder)


def remove(path: UPath) -> None:
    """Remove a file if it is there."""
    medium_of(path).remove(path)


def remove_tree(folder: UPath) -> None:
    """Remove a folder with all that is in it, if it is there."""
    medium_of(folder).remove_tree(folder)


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────────────


def write_parquet(path: UPath, frame: Frame, *, required: Sequence[str] = ()) -> int:
    """Stream a frame into a Parquet file (zstd), whole or not at all; the number of rows.

    Raises `StoreError` where a column of `required` holds a null, and leaves no file then.
    """
    medium = medium_of(path)
    with medium.failing("write", path), medium.temporary(path) as place:
        rows = _sink(frame, place, required, path)
        medium.publish(place, path)
    return rows


def write_hashed(folder: UPath, stem: str, frame: Frame) -> tuple[UPath, str, int]:
    """Write `<stem>-<hash>.parquet`, named by its own content: (path, SHA-256, rows). Equal bytes, equal name."""
    unnamed = folder / f"{stem}.parquet"
    medium = medium_of(unnamed)
    with medium.failing("write", unnamed), medium.temporary(unnamed) as place:
        rows = _sink(frame, place, (), unnamed)
        with place.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        path = folder / f"{stem}-{digest[:16]}.parquet"
        medium.publish(place, path)
    return path, digest, rows


def _sink(frame: Frame, place: Path, required: Sequence[str], path: UPath) -> int:
    rows = frame.lazy()
    columns = max(1, len(rows.collect_schema()))
    group = min(max(CELLS_A_GROUP // columns, GROUP_ROWS[0]), GROUP_ROWS[1])
    try:
        # Level 1: a tenth less work than the usual one, for files of the same size.
        rows.sink_parquet(place, compression="zstd", compression_level=1, row_group_size=group, statistics=False)
    except pl.exceptions.ComputeError as error:
        # Polars reports a full disk as a computation that failed; at best a number tells.
        if number := _OS_ERROR.search(str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        _prove_room(place)
        raise
    small = small_files.frame_of(str(place))
    written = pl.scan_parquet(place, glob=False, hive_partitioning=False) if small is None else small.lazy()
    counts = written.select(pl.len().alias("_rows"), *(pl.col(name).null_count() for name in required)).collect()
    for name in required:
        if counts.item(0, name):
            raise StoreError(
                f"{counts.item(0, name)} of {counts.item(0, '_rows')} rows have no {name}; nothing was written "
                f"to {path}.",
                path=str(path),
                column=name,
            )
    return int(counts.item(0, "_rows"))


def _prove_room(place: Path) -> None:
    """Raise the `OSError` of a disk that takes no more: where the footer finds no room, Polars tells of bad Parquet."""
    with place.open("ab", buffering=0) as file:
        if file.write(b"\0" * _PROBE) < _PROBE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())


def scan(source: UPath | Sequence[UPath], schema: Schema | None = None) -> pl.LazyFrame:
    """The rows of Parquet files, lazily: of one file, of a pattern in the last part of the path, or of several.

    With `schema` (column -> dtype) exactly these columns: a file without one gives nulls, other columns are left
    out, and where there is no file at all the frame is empty. Without it, no file is a `StoreError`.
    """
    places = [source] if isinstance(source, UPath) else list(source)
    paths = [path for place in places for path in _expanded(place)]
    if not paths and schema is None:
        raise StoreError(f"No rows at {', '.join(map(str, places))}.")
    return scan_files(paths, schema)


def _expanded(source: UPath) -> list[UPath]:
    if any(sign in source.name for sign in "*?["):
        return [source.parent / name for name in names(source.parent) if fnmatchcase(name, source.name)]
    return [source] if exists(source) else []


def scan_files(paths: Sequence[UPath], schema: Schema | None = None) -> pl.LazyFrame:
    """As `scan`, of files that are known to be there (it does not look)."""
    if not paths:
        return pl.LazyFrame(schema=schema)
    source: Any
    if is_local(paths[0]):
        source = [path.path for path in paths]
        if (small := small_files.rows_of(source, schema)) is not None:
            return small
    elif paths[0].protocol in objects.POLARS_READS:
        source = [str(path) for path in paths]
    else:
        source = [io.BytesIO(read_bytes(path) or b"") for path in paths]
    if schema is None:
        return pl.scan_parquet(source, glob=False, hive_partitioning=False)
    return pl.scan_parquet(
        source,
        glob=False,
        hive_partitioning=False,
        schema=dict(schema),
        missing_columns="insert",
        extra_columns="ignore",
    )
