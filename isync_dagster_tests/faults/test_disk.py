"""A full disk and a store that becomes read-only, at any file that a run writes: it stops, says so, and goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.migration.writing import release_all
from isync_dagster.store import disk
from isync_dagster_tests.faults.board import REFUSED, Board
from isync_dagster_tests.faults.picture import Picture
from isync_dagster_tests.faults.points import kind_of, shown
from isync_dagster_tests.faults.stage import Stage

SHARES = 4
TROUBLE = {"full disk": errno.ENOSPC, "read-only store": errno.EROFS}
ADVICE = {"full disk": "Free space there, then run again", "read-only store": "Check the folder and its rights"}
SHORT = (("full disk", "ledger load: created"),)


@pytest.fixture
def undisturbed(stage: Stage) -> tuple[Picture, list[str]]:
    """The picture, and every file that is written, in order."""
    picture, points = stage.undisturbed()
    return picture, [point["point"] for point in points if point["moment"] == "written"]


@contextmanager
def failing_from(root: str, point: str, number: int) -> Iterator[Callable[[], bool]]:
    """From that file on no write succeeds, as the operating system says it; tells whether it came to that."""
    temporary = disk.temporary
    lock = threading.Lock()
    broken = False

    @contextmanager
    def refusing(path: UPath) -> Iterator[Path]:
        nonlocal broken
        with lock:
            broken = broken or shown(str(path), root) == point
        if broken:
            raise OSError(number, os.strerror(number))
        with temporary(path) as place:
            yield place

    disk.temporary = refusing
    try:
        yield lambda: broken
    finally:
        disk.temporary = temporary


def _stops_and_goes_on(stage: Stage, trouble: str, point: str, expected: Picture, board: Board) -> None:
    stage.clear()
    root = str(stage.world.store_folder)
    with failing_from(root, point, TROUBLE[trouble]) as met:
        try:
            stage.deed.act(stage.job())
        except StoreError as error:
            assert os.strerror(TROUBLE[trouble]) in str(error)
            assert ADVICE[trouble] in str(error)
        else:
            pytest.fail(f"{trouble} at {point}: the run did not say so")
        assert met()
    stage.go_on()
    stage.arrived(expected)
    board.add(trouble, f"{stage.deed.name}: {kind_of(point)}", REFUSED)


def test_trouble_with_the_disk(stage: Stage, undisturbed: tuple[Picture, list[str]], board: Board) -> None:
    expected, points = undisturbed
    for trouble, kind in SHORT:
        point = next(point for point in points if kind_of(point) == kind)
        _stops_and_goes_on(stage, trouble, point, expected, board)


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_trouble_with_the_disk_at_every_file(
    stage: Stage, undisturbed: tuple[Picture, list[str]], board: Board, share: int
) -> None:
    expected, points = undisturbed
    # The two are told apart by nothing but the number of the error: they take turns.
    named = [(list(TROUBLE)[number % 2], point) for number, point in enumerate(points)]
    for trouble, point in named[share::SHARES]:
        _stops_and_goes_on(stage, trouble, point, expected, board)


# ── a real file system ───────────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[str], None]]:
    """A file system of its own in memory at `folder`; the function mounts it anew with other options."""

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "isync-test", str(folder)], check=True)

    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "isync-test", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"this user may not mount a file system: {done.stderr.decode().strip()}")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        release_all()
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _used(folder: Path) -> int:
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def _on_a_small_disk(stage: Stage, work: Callable[[Callable[[str], None]], Any]) -> None:
    stage.clear()
    with small_disk(stage.world.store_folder) as mount:
        work(mount)


@pytest.mark.slow
def test_a_disk_that_is_really_full(stage: Stage, undisturbed: tuple[Picture, list[str]], board: Board) -> None:
    """A store on a file system of 5, 10, … 95 % of the size that the run needs; then it gets the rest."""
    expected, _ = undisturbed
    needed = 0

    def measure(_: Callable[[str], None]) -> None:
        nonlocal needed
        stage.deed.act(stage.job())
        needed = _used(stage.world.store_folder)

    _on_a_small_disk(stage, measure)
    for percent in range(5, 100, 5):

        def run(mount: Callable[[str], None], size: int = needed * percent // 100) -> None:
            mount(f"size={size}")
            with pytest.raises(StoreError, match=r"No space left on device.*Free space there, then run again"):
                stage.deed.act(stage.job())
            mount("size=64m")
            stage.go_on()
            stage.arrived(expected)

        _on_a_small_disk(stage, run)
        board.add("full disk (a real one)", stage.deed.name, REFUSED)


@pytest.mark.slow
def test_a_store_that_really_becomes_read_only(
    stage: Stage, undisturbed: tuple[Picture, list[str]], board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, points = undisturbed
    temporary = disk.temporary
    for point in points[:: len(points) // 8]:

        def run(mount: Callable[[str], None], point: str = point) -> None:
            root = str(stage.world.store_folder)

            @contextmanager
            def watched(path: UPath) -> Iterator[Path]:
                with temporary(path) as place:
                    yield place
                if shown(str(path), root) == point:
                    mount("ro")

            with monkeypatch.context() as patch:
                patch.setattr(disk, "temporary", watched)
                with pytest.raises(StoreError, match="Read-only file system"):
                    stage.deed.act(stage.job())
            mount("rw")
            stage.go_on()
            stage.arrived(expected)

        _on_a_small_disk(stage, run)
        board.add("read-only store (a real one)", stage.deed.name, REFUSED)
