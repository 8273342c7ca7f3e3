"""Open queries: the rows of an answer that did not fit one page, on disk for the calls that follow."""

from __future__ import annotations

import shutil
import tempfile
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from isync_dagster.local_org.ids import id_range
from isync_dagster.local_org.soql import CompiledQuery, Record

MOST: Final = 50  # open queries; the oldest gives way, as on the platform
FOLDER: Final = "cursors"
STEP: Final = 2000  # rows that are fetched and kept at a time


@dataclass(frozen=True)
class Answer:
    """The rows of a query in their order: `rows` of them, all in `head` unless a file holds them.

    `starts` are the first rows of the file's record batches.
    """

    compiled: CompiledQuery
    rows: int
    head: pa.Table
    id: str | None = None
    path: Path | None = None
    starts: tuple[int, ...] = ()

    def page(self, start: int, size: int) -> pa.Table:
        """Rows from `start` on, at most `size`; only their part of the file is read."""
        if self.path is None or start + size <= self.head.num_rows:
            return self.head.slice(start, size)
        with pa.memory_map(str(self.path)) as source, pa.ipc.open_file(source) as reader:
            first = max(bisect_right(self.starts, start) - 1, 0)
            last = bisect_right(self.starts, start + size - 1)
            batches = [reader.get_batch(number) for number in range(first, last)]
            table = pa.Table.from_batches(batches, schema=reader.schema)
        return table.slice(start - self.starts[first], size) if batches else table


class Cursors:
    """The open queries of one server of the org in `folder`; they end with it."""

    def __init__(self, pod: str, folder: Path) -> None:
        self._pod = pod
        self._root = folder / FOLDER
        self._folder: Path | None = None
        self._lock = threading.Lock()
        self._count = 0
        self._open: OrderedDict[str, Answer] = OrderedDict()

    def keep(self, compiled: CompiledQuery, reader: pa.RecordBatchReader, size: int) -> Answer:
        """Read an answer to its end; what is more than one page of `size` rows goes to disk, never into memory."""
        batches = iter(reader)
        head: list[pa.RecordBatch] = []
        held = 0
        while held <= size and (batch := next(batches, None)) is not None:
            head.append(batch)
            held += batch.num_rows
        table = pa.Table.from_batches(head, schema=reader.schema)
        if held <= size:
            return Answer(compiled, held, table)
        cursor_id, path = self._next()
        starts, rows = _write(path, reader.schema, head, batches)
        answer = Answer(compiled, rows, table, cursor_id, path, starts)
        with self._lock:
            self._open[cursor_id] = answer
            while len(self._open) > MOST:
                _, oldest = self._open.popitem(last=False)
                if oldest.path is not None:
                    oldest.path.unlink(missing_ok=True)
        return answer

    def keep_children(self, compiled: CompiledQuery, record: Record, rows: pa.Table) -> str:
        """Keep the rows of a long child list as an answer of their own; gives its id."""
        own = replace(compiled, record=record, is_count=False, is_aggregate=False)
        kept = self.keep(own, rows.to_reader(STEP), STEP)
        assert kept.id is not None
        return kept.id

    def _next(self) -> tuple[str, Path]:
        with self._lock:
            if self._folder is None:
                self._root.mkdir(mode=0o700, exist_ok=True)
                self._folder = Path(tempfile.mkdtemp(dir=self._root))
            self._count += 1
            cursor_id = str(id_range("01g", self._pod, self._count, 1)[0])
            return cursor_id, self._folder / f"{cursor_id}.arrow"

    def find(self, cursor_id: str) -> Answer | None:
        """The answer of that id, if it is still kept."""
        with self._lock:
            return self._open.get(cursor_id)

    def close(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._open.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)


def forget(folder: Path) -> None:
    """Remove what a killed server of the org in that folder left behind."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _write(
    path: Path, schema: pa.Schema, head: list[pa.RecordBatch], rest: Iterator[pa.RecordBatch]
) -> tuple[tuple[int, ...], int]:
    """All batches as an Arrow file; gives where each begins and the number of rows."""
    starts: list[int] = []
    rows = 0
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(str(path), schema, options=options) as out:
        for batches in (head, rest):
            for batch in batches:
                starts.append(rows)
                out.write_batch(batch)
                rows += batch.num_rows
    return tuple(starts), rows
