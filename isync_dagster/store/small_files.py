"""Small Parquet files of a local disk, read once a process: to open one costs more than to work on its few rows."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

LARGEST = 64 * 1024
"""Bytes of a file that counts as small."""

TOGETHER = 64
"""Files of one scan: more of them are left to it, which reads no more than the columns and rows that are wanted."""

MOST = 16 * 1024 * 1024
"""Bytes of the files that are kept; in memory they take a few times as much."""


class SmallFiles:
    """The frames of small files, each as long as the file is the same one, whatever it is called. Threads share it.

    What is written is read once to count it, and is found here under the name that it gets then.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[int, ...], pl.DataFrame] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, path: str) -> pl.DataFrame | None:
        """The rows of a file; None where it is big, gone or damaged, which whoever scans it finds out."""
        try:
            found = Path(path).stat()
        except OSError:
            return None
        if found.st_size > LARGEST:
            return None
        stamp = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
        with self._lock:
            kept = self._kept.get(stamp)
            if kept is not None:
                self._kept.move_to_end(stamp)
                return kept
        try:
            frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
        except (pl.exceptions.PolarsError, OSError):
            return None
        with self._lock:
            if stamp not in self._kept:
                self._kept[stamp] = frame
                self._bytes += found.st_size
            while self._bytes > self._most:
                (*_, size), _ = self._kept.popitem(last=False)
                self._bytes -= size
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
