"""What a store can lie on: a local disk or an object store, behind the same few verbs.

Both hold what the ledger and the lease rest on: a file appears whole or not at all, and of several that create the
same name exactly one is told that it did. `isync_dagster_tests/store` holds both to the same tests.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from upath import UPath

from isync_dagster.store import disk, objects

LOCAL_PROTOCOLS = frozenset({"", "file", "local"})


class Medium(Protocol):
    """The verbs, on files (`path`) and folders, which appear with their first file."""

    def failing(self, verb: str, path: UPath) -> AbstractContextManager[None]:
        """Turn what the medium raises into a `StoreError` that names the path and what to do."""

    def prove(self, root: UPath) -> None:
        """Prove that the medium keeps its word below this root. Raises `StoreError` where it cannot be written to."""

    def temporary(self, path: UPath) -> AbstractContextManager[Path]:
        """A local name to write to before `publish`; what is left under it at the end is removed."""

    def publish(self, place: Path, path: UPath) -> None:
        """Give a temporary its final name at once, replacing what was there."""

    def write_whole(self, path: UPath, data: bytes) -> None:
        """Write a file whole or not at all, replacing what was there."""

    def write_new(self, path: UPath, data: bytes) -> bool:
        """Write a file whole if there is none of that name; False where there is. One of many writers wins."""

    def copy(self, source: UPath, to: UPath) -> None:
        """The same bytes under another name, replacing what was there."""

    def read_bytes(self, path: UPath) -> bytes | None:
        """The bytes of a file, or None where there is none."""

    def exists(self, path: UPath) -> bool:
        """True where a file of that name is there."""

    def size(self, path: UPath) -> int:
        """Bytes of a file; 0 where it is gone."""

    def names(self, folder: UPath) -> list[str]:
        """Names of files and folders directly in a folder, sorted; none where there is no folder."""

    def stamps(self, folder: UPath) -> tuple[tuple[object, ...], ...]:
        """A name and what changes when the file is written anew, of all files directly in a folder, sorted by name."""

    def find(self, folder: UPath) -> list[str]:
        """Relative paths ('a/b.json') of all files below a folder, sorted: one listing."""

    def sweep(self, folder: UPath, older_than: timedelta) -> int:
        """Remove what killed processes left half-written below a folder; how many there were."""

    def remove(self, path: UPath) -> None:
        """Remove a file if it is there."""

    def remove_tree(self, folder: UPath) -> None:
        """Remove a folder with all that is in it, if it is there."""


def is_local(path: UPath) -> bool:
    """True where the path is on a disk of this machine."""
    return path.protocol in LOCAL_PROTOCOLS


def medium_of(path: UPath) -> Medium:
    """What the path lies on."""
    return disk if is_local(path) else objects
