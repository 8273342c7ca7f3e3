"""Folders of this machine for rows on their way (pages, uploads, results), private to the user and gone at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

PREFIX = "isync-scratch-"


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder below the system's temporary folder (`TMPDIR`), removed at the end with all that is in it."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        yield Path(folder)


def sweep(older_than: timedelta) -> int:
    """Remove this user's folders that killed processes left behind; how many there were.

    Theirs is what holds no file that was written in `older_than`: they may be full of a customer's rows.
    """
    latest = datetime.now(UTC).timestamp() - older_than.total_seconds()
    removed = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # What belongs to a living process may vanish while it is looked at.
        with suppress(FileNotFoundError):
            if folder.stat().st_uid == os.getuid() and _written(folder) < latest:
                shutil.rmtree(folder)
                removed += 1
    return removed


def _written(folder: Path) -> float:
    """When anything in the folder was last written, in seconds since 1970."""
    return max(place.stat().st_mtime for place in (folder, *folder.rglob("*")))
