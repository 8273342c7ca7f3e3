"""Small Parquet files of a local disk, read once a process: to open one costs more than to work on its few rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from isync_dagster.store.remembered import Remembered

LARGEST = 64 * 1024
"""Bytes of a file that counts as small."""

TOGETHER = 64
"""Files of one scan: more of them are left to it, which reads no more than the columns and rows that are wanted."""

MOST = 32_000_000
"""Bytes that the kept rows take in memory."""
PART = 16
"""A file of few bytes may hold many empty cells: one whose rows take more than one in so many parts of that is not small."""
NOTE = 100
"""Bytes that it takes to remember that."""


class SmallFiles:
    """The frames of small files, each as long as the file is the same one, whatever it is called. Threads share it.

    What is written is read once to count it, and is found here under the name that it gets then.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        # Of a file that is big in memory it is remembered that it is.
        self._kept = Remembered[tuple[pl.DataFrame | None]](most)

    def get(self, path: str) -> pl.DataFrame | None:
        """The rows of a file; None where it is big (on the disk or in memory), gone or damaged, which whoever scans it finds out."""
        try:
            found = Path(path).stat()
        except OSError:
            return None
        if found.st_size > LARGEST:
            return None
        name, stamp = f"{found.st_dev} {found.st_ino}", (found.st_mtime_ns, found.st_size)
        kept = self._kept.get(name, stamp)
        if kept is not None:
            return kept[0]
        try:
            frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
        except (pl.exceptions.PolarsError, OSError):
            return None
        # A cell of text takes 16 bytes besides its letters, which is not reckoned for empty ones.
        size = int(frame.estimated_size()) + 16 * frame.height * frame.width
        if size > self._most // PART:
            self._kept.put(name, stamp, (None,), NOTE)
            return None
        self._kept.put(name, stamp, (frame,), size)
        return frame


_kept = SmallFiles()


def frame_of(path: str) -> pl.DataFrame | None:
    """The rows of a small file, else None (`SmallFiles.get`)."""
    return _kept.get(path)


def rows_of(paths: Sequence[str], schema: Mapping[str, Any] | None) -> pl.LazyFrame | None:
    """The rows of files that are all small, in their order; None where one is not, or has a column of another dtype.

    With `schema` (column -> dtype) exactly these columns: nulls where a file has none.
    """
    if len(paths) > TOGETHER:
        return None
    frames: list[pl.LazyFrame] = []
    for path in paths:
        frame = frame_of(path)
        if frame is None:
            return None
        rows = frame.lazy()
        if schema is not None:
            has = frame.schema
            if any(name in has and has[name] != dtype for name, dtype in schema.items()):
                return None
            missing = {name: pl.lit(None, dtype) for name, dtype in schema.items() if name not in has}
            rows = rows.with_columns(**missing) if missing else rows
            rows = rows.select(list(schema)) if list(has) != list(schema) else rows
        frames.append(rows)
    return frames[0] if len(frames) == 1 else pl.concat(frames)
