from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from isync_dagster.store.scratch import scratch
from isync_dagster.store.store import Store

LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder of this test."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def _left_behind(name: str) -> Path:
    """A scratch folder with a file, as a killed process leaves it."""
    with scratch() as place:
        left = place.with_name(f"{place.name}-{name}")
    left.mkdir()
    (left / "rows.csv").write_text("Id,Name\n")
    return left


def _age(place: Path) -> None:
    os.utime(place, (LONG_AGO, LONG_AGO))


def test_a_scratch_folder_is_private_and_gone_at_the_end(temporary_folder: Path) -> None:
    with scratch() as place:
        (place / "rows.csv").write_text("Id\n")
        assert place.parent == temporary_folder
        assert place.stat().st_mode & 0o077 == 0
    assert list(temporary_folder.iterdir()) == []


def test_what_killed_processes_left_is_swept_with_the_store(tmp_path: Path, temporary_folder: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    dead, working, fresh = _left_behind("dead"), _left_behind("working"), _left_behind("fresh")
    for place in (dead / "rows.csv", dead, working):
        _age(place)  # the file in `working` was written just now
    foreign = temporary_folder / "somebody-else"
    foreign.mkdir()
    _age(foreign)
    assert store.sweep(timedelta(days=1)) == 1
    assert sorted(temporary_folder.iterdir()) == sorted([working, fresh, foreign])
