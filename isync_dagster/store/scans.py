"""The numbered scans of a template: what each found, and the folder it works in while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store import files
from isync_dagster.store.clock import Clock, utc_now

TRIES = 100
KEPT = 20
"""Scans of a template that are kept; a new one removes older ones."""
DEAD = timedelta(days=1)
"""Age at which a scan that still has its rows is taken for killed."""


@dataclass(frozen=True)
class Scan:
    """One scan."""

    number: int
    folder: UPath

    @property
    def work(self) -> UPath:
        """The rows that were read, while the scan goes on."""
        return self.folder / "work"

    def missing(self, object: str) -> UPath:
        """The records of an object whose parents will be missing."""
        return self.folder / "missing" / f"{object}.parquet"

    @property
    def found(self) -> dict[str, Any] | None:
        """What it found, or None where it did not end."""
        return files.read_json(self.folder / "scan.json")

    def finish(self, found: Mapping[str, Any]) -> None:
        """Keep what it found."""
        files.write_json(self.folder / "scan.json", found)

    def sweep(self) -> None:
        """Remove the rows that were read."""
        files.remove_tree(self.work)


@dataclass(frozen=True)
class Scans:
    """The scans of one template between one org pair."""

    folder: UPath
    clock: Clock = utc_now

    def open(self, by: str) -> Scan:
        """The next scan; the oldest ones beyond `KEPT` are removed."""
        for _ in range(TRIES):
            scan = self._scan(max(self._numbers(), default=0) + 1)
            if files.create_if_absent(scan.folder / "opened.json", {"at": self.clock(), "by": by}):
                for number in self._numbers()[:-KEPT]:
                    files.remove_tree(self._scan(number).folder)
                self._sweep_dead()
                return scan
        raise StoreError(f"Scans in {self.folder} begin too fast. Run again.")

    def _sweep_dead(self) -> None:
        """Remove the rows that killed scans have left."""
        for scan in self.all():
            opened = files.read_json(scan.folder / "opened.json")
            if opened and self.clock() - datetime.fromisoformat(opened["at"]) > DEAD:
                scan.sweep()

    def newest(self) -> Scan | None:
        """The newest scan that came to its end, or None."""
        return next((scan for scan in reversed(self.all()) if scan.found is not None), None)

    def all(self) -> list[Scan]:
        """All scans, oldest first."""
        return [self._scan(number) for number in self._numbers()]

    def _scan(self, number: int) -> Scan:
        return Scan(number, self.folder / f"{number:05d}")

    def _numbers(self) -> list[int]:
        return sorted(int(name) for name in files.names(self.folder) if name.isdigit())
