"""The ledger: what was sent to Salesforce, written before it is sent.

`<chunk>/<attempt>/<n>-<state>.json`: one immutable file a transition, made with create-if-absent. Whoever loses that
race must not act. The states of an attempt have a fixed order (`ORDER`) and a fixed number, so that one listing
tells the state of every chunk:

    planned → created → uploaded → closed → finished → paired → done
                     ╲ failed (the attempt as a whole)   settled (rows whose answer was lost, decided)

The rows of an attempt lie beside it as Parquet. They are written before `planned`, which names the file and its
hash: a crash between the two leaves a file that nobody refers to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store import files
from isync_dagster.store.clock import Clock, utc_now
from isync_dagster.store.layout import encode


class ChunkState(StrEnum):
    """How far an attempt to send a chunk has come."""

    PLANNED = "planned"
    CREATED = "created"
    UPLOADED = "uploaded"
    CLOSED = "closed"
    FINISHED = "finished"
    FAILED = "failed"
    SETTLED = "settled"
    PAIRED = "paired"
    DONE = "done"


ORDER: dict[str, int] = {state.value: number for number, state in enumerate(ChunkState, start=1)}
_ENTRY = re.compile(r"(\d+)/(\d+)/(\d+)-([a-z]+)\.json")


@dataclass(frozen=True)
class Entry:
    """One transition of one attempt of one chunk."""

    chunk: int
    attempt: int
    n: int
    state: str
    at: datetime
    payload: Mapping[str, Any]


@dataclass(frozen=True, order=True)
class _Name:
    """What an entry's file name tells."""

    chunk: int
    attempt: int
    n: int
    state: str

    @property
    def path(self) -> str:
        return f"{self.chunk:06d}/{self.attempt:03d}/{self.n}-{self.state}.json"


@dataclass(frozen=True)
class Ledger:
    """The ledger of one step of one object in one run."""

    folder: UPath
    clock: Clock = utc_now

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────

    def record(self, chunk: int, attempt: int, state: str, payload: Mapping[str, Any]) -> bool:
        """Record a transition; False where it is recorded already, or the chunk has gone further: do not act then."""
        if state not in ORDER:
            raise StoreError(f"The ledger knows no state {state!r}; states are {', '.join(ORDER)}.", state=state)
        name = _Name(chunk, attempt, ORDER[state], state)
        found = self._names(chunk)
        if found and (found[-1].attempt, found[-1].n) >= (attempt, name.n):
            return False
        entry = {"state": state, "chunk": chunk, "attempt": attempt, "at": self.clock(), "payload": dict(payload)}
        return files.create_if_absent(self.folder / name.path, entry)

    def plan(self, chunk: int, attempt: int, rows: files.Frame, payload: Mapping[str, Any]) -> bool:
        """Write the rows of an attempt and record it as planned; False where somebody planned it already.

        The payload gets `rows_file`, `rows_hash` (SHA-256 of the file) and `rows_count`. Two workers that plan the
        same attempt write two files (or, with equal rows, one); the entry of the winner says which one counts.
        """
        path, digest, count = files.write_hashed(self._attempt(chunk, attempt), "rows", rows)
        named = {**payload, "rows_file": path.name, "rows_hash": digest, "rows_count": count}
        return self.record(chunk, attempt, ChunkState.PLANNED, named)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    def states(self) -> dict[int, tuple[int, str]]:
        """Chunk -> (attempt, state) it has come to, in order of chunks: one listing, no file is opened."""
        return {name.chunk: (name.attempt, name.state) for name in self._names()}

    def chunks(self) -> list[int]:
        """Numbers of the chunks that were planned."""
        return list(self.states())

    def pending(self) -> list[int]:
        """Chunks whose newest attempt is not done."""
        return [chunk for chunk, (_, state) in self.states().items() if state != ChunkState.DONE]

    def last(self, chunk: int) -> Entry | None:
        """The newest entry of a chunk, or None where it was not planned."""
        found = self._names(chunk)
        return self._read(found[-1]) if found else None

    def entries(self, chunk: int) -> list[Entry]:
        """All entries of a chunk, oldest first."""
        return [self._read(name) for name in self._names(chunk)]

    def entry(self, chunk: int, attempt: int, state: str) -> Entry | None:
        """One entry, or None where it was not recorded."""
        wanted = _Name(chunk, attempt, ORDER[state], state)
        return self._read(wanted) if files.exists(self.folder / wanted.path) else None

    def rows_path(self, chunk: int, attempt: int = 1) -> UPath:
        """The Parquet file of an attempt's rows: the one that `planned` names, else the place to write it to."""
        planned = self.entry(chunk, attempt, ChunkState.PLANNED)
        name = str(planned.payload.get("rows_file", "rows.parquet")) if planned else "rows.parquet"
        return self._attempt(chunk, attempt) / name

    def rows(self, chunk: int, attempt: int = 1) -> pl.LazyFrame:
        """The rows of an attempt. Raises `StoreError` where the file is gone."""
        return files.scan(self.rows_path(chunk, attempt))

    def results_path(self, chunk: int, attempt: int, kind: str) -> UPath:
        """The Parquet file of one kind of results of an attempt."""
        return self._attempt(chunk, attempt) / f"{encode(kind)}.parquet"

    def _attempt(self, chunk: int, attempt: int) -> UPath:
        return self.folder / f"{chunk:06d}" / f"{attempt:03d}"

    def _names(self, chunk: int | None = None) -> list[_Name]:
        """Entries by name, in order of chunk, attempt and state."""
        prefix = "" if chunk is None else f"{chunk:06d}/"
        found = (
            _ENTRY.fullmatch(prefix + path) for path in files.find(self.folder / prefix if prefix else self.folder)
        )
        return sorted(_Name(int(hit[1]), int(hit[2]), int(hit[3]), hit[4]) for hit in found if hit)

    def _read(self, name: _Name) -> Entry:
        data = files.read_json(self.folder / name.path)
        if data is None:
            raise StoreError(f"The ledger entry {self.folder / name.path} is gone.", path=str(self.folder / name.path))
        at = datetime.fromisoformat(data["at"])
        return Entry(name.chunk, name.attempt, name.n, name.state, at, data["payload"])
