"""Files of a store on a local disk: whole or not at all, created once, listed.

A temporary name in the same folder, fsync, rename (or link, which fails where the name exists), fsync of the folder;
folders are made private to the user (0700). Names that start with a dot are temporaries and no listing shows them.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from upath import UPath

from isync_dagster.errors import StoreError

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
PRIVATE = 0o700


@contextmanager
def failing(verb: str, path: UPath) -> Iterator[None]:
    """Turn an operating system error into a `StoreError` that names the path and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise StoreError(f"Cannot {verb} {path}: {reason}. {_advice(error)}", path=str(path)) from error


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "Free space there, then run again: what was written before is whole and is used."
    return "Check the folder and its rights, or set ISYNC_STORE to a folder that this user may write to."


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────


def make_folder(folder: UPath) -> None:
    """Make a folder and its parents, private to the user."""
    with failing("make the folder", folder):
        _make(Path(folder.path))


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make(folder.parent)
    try:
        # Not Path.mkdir(parents=True), which gives the parents another mode.
        folder.mkdir(PRIVATE)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        sync_folder(folder.parent)


@contextmanager
def temporary(path: UPath) -> Iterator[Path]:
    """A name in the same folder to write to before `publish`; whatever is left under it at the end is removed."""
    make_folder(path.parent)
    place = Path(path.parent.path) / f".{path.name[:160]}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        yield place
    finally:
        with suppress(OSError):
            place.unlink(missing_ok=True)


def publish(place: Path, path: UPath) -> None:
    """Give a temporary its final name at once, replacing what was there."""
    sync_file(place)
    place.replace(path.path)
    sync_folder(Path(path.parent.path))


def write_whole(path: UPath, data: bytes) -> None:
    """Write a file whole or not at all, replacing what was there."""
    with failing("write", path), temporary(path) as place:
        place.write_bytes(data)
        publish(place, path)


def copy(source: UPath, to: UPath) -> None:
    """Give a file another name too, replacing what was there: files are never changed in place."""
    with failing("copy", source), temporary(to) as place:
        try:
            os.link(source.path, place)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            shutil.copyfile(source.path, place)
        publish(place, to)


def write_new(path: UPath, data: bytes) -> bool:
    """Write a file whole if there is none of that name; False where there is one. One of many writers wins."""
    with failing("write", path):
        if Path(path.path).exists():
            return False
        with temporary(path) as place:
            place.write_bytes(data)
            sync_file(place)
            made = _link(place, Path(path.path), data)
            if made:
                sync_folder(place.parent)
            return made


def _link(place: Path, final: Path, data: bytes) -> bool:
    try:
        os.link(place, final)
    except FileExistsError:
        # A network file system may have made the link and lost the answer: then the file has two names.
        return place.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return _create_exclusively(final, data)
    return True


def _create_exclusively(final: Path, data: bytes) -> bool:
    """For file systems without links: exclusive, though a crash within it may leave a damaged file."""
    try:
        handle = os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return True


def sync_file(place: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the folder's names are on the disk; some file systems cannot, and do not need to."""
    try:
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────


def read_bytes(path: UPath) -> bytes | None:
    """The bytes of a file, or None where there is none."""
    with failing("read", path):
        try:
            return Path(path.path).read_bytes()
        except FileNotFoundError:
            return None


def exists(path: UPath) -> bool:
    """True where a file of that name is there."""
    with failing("look for", path):
        return Path(path.path).exists()


def size(path: UPath) -> int:
    """Bytes of a file; 0 where it is gone."""
    with failing("look at", path):
        try:
            return Path(path.path).stat().st_size
        except FileNotFoundError:
            return 0


def names(folder: UPath) -> list[str]:
    """Names of files and folders directly in a folder, sorted; none where there is no folder."""
    with failing("list", folder):
        try:
            with os.scandir(folder.path) as found:
                seen = [entry.name for entry in found]
        except FileNotFoundError:
            return []
    return sorted(name for name in seen if not name.startswith("."))


def stamps(folder: UPath) -> tuple[tuple[object, ...], ...]:
    """A name and what changes when the file is written anew, of all files directly in a folder, sorted by name."""
    with failing("look at", folder):
        try:
            with os.scandir(folder.path) as found:
                seen = [(entry.name, entry.stat()) for entry in found if not entry.name.startswith(".")]
        except FileNotFoundError:
            return ()
    # Each write makes a file of its own, so that the inode tells what size and time do not.
    return tuple(sorted((name, item.st_ino, item.st_size, item.st_mtime_ns) for name, item in seen))


def find(folder: UPath) -> list[str]:
    """Relative paths ('a/b.json') of all files below a folder, sorted: one listing."""
    with failing("list", folder):
        seen = list(_walk(folder.path, ""))
    return sorted(name for name in seen if name and not name.rsplit("/", 1)[-1].startswith("."))


def _walk(folder: str, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name


# ── removing ─────────────────────────────────────────────────────────────────────────────────────────────


def sweep(folder: UPath, older_than: timedelta) -> int:
    """Remove temporaries that killed processes left below a folder; how many there were.

    No write takes as long as `older_than`, by the disk's own clock.
    """
    removed = 0
    with failing("sweep", folder), temporary(folder / "sweep") as probe:
        probe.touch()
        latest = probe.stat().st_mtime - older_than.total_seconds()
        for name in _walk(folder.path, ""):
            place = Path(folder.path) / name
            if place != probe and place.name.startswith(".") and place.name.endswith(".tmp"):
                with suppress(FileNotFoundError):
                    if place.stat().st_mtime < latest:
                        place.unlink()
                        removed += 1
    return removed


def remove(path: UPath) -> None:
    """Remove a file if it is there."""
    with failing("remove", path), suppress(FileNotFoundError):
        Path(path.path).unlink()


def remove_tree(folder: UPath) -> None:
    """Remove a folder with all that is in it, if it is there."""
    with failing("remove", folder), suppress(FileNotFoundError):
        shutil.rmtree(folder.path)


def prove(root: UPath) -> None:
    """Prove that files can be made below this root. Raises `StoreError`."""
    probe = root / "writable.probe"
    write_whole(probe, b"")
    remove(probe)
