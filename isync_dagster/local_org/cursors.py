"""Open queries: the rows of an answer that did not fit one page, kept for the calls that follow."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

import pyarrow as pa

from isync_dagster.local_org.ids import id_range
from isync_dagster.local_org.soql import CompiledQuery

MOST: Final = 50  # open queries; the oldest gives way, as on the platform


class Cursors:
    """The open queries of a running org."""

    def __init__(self, pod: str) -> None:
        self._pod = pod
        self._lock = threading.Lock()
        self._count = 0
        self._open: OrderedDict[str, tuple[CompiledQuery, pa.Table]] = OrderedDict()

    def keep(self, compiled: CompiledQuery, table: pa.Table) -> str:
        """Keep an answer; gives the id under which its next pages are asked for."""
        with self._lock:
            self._count += 1
            cursor_id = str(id_range("01g", self._pod, self._count, 1)[0])
            self._open[cursor_id] = (compiled, table)
            while len(self._open) > MOST:
                self._open.popitem(last=False)
            return cursor_id

    def find(self, cursor_id: str) -> tuple[CompiledQuery, pa.Table] | None:
        """The answer of that id, if it is still kept."""
        with self._lock:
            return self._open.get(cursor_id)
