"""Files of a store on an object store: S3 and what speaks its protocol, Google Cloud Storage, Azure; or in memory.

There is no rename, no append and no folder there, and none is needed: a put is whole or nothing by itself, and
create-if-absent is one conditional put (`If-None-Match: *`). A put carries a token of its writer, so that one whose
answer was lost and that was repeated by the client is known for what it is: ours. Big files go up in parts from a
temporary of this machine, and appear when the last part is there; parts that a killed process left are not seen by
any listing (let the bucket expire incomplete uploads).

Credentials, region and endpoint are read from the environment alone (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, …, or the role of the machine or pod), the same ones from which
Polars reads them.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store.scratch import scratch

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MEMORY = "memory"
PROTOCOLS = frozenset({"s3", "s3a", "gs", "gcs", "az", MEMORY})
POLARS_READS = PROTOCOLS - {MEMORY}
"""What Polars reads by itself, lazily; of any other the bytes are fetched."""
WRITER = "writer"
"""Metadata of an object: who put it."""
TRIES = 20
DELETED_AT_ONCE = 1000
_SAID = re.compile(r"<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>")
SKEW = timedelta(seconds=30)
"""How far the clocks of this machine and of the object store may be apart: a quarter of the lease's time to live."""


def require(protocol: str, url: str) -> None:
    """Raise `StoreError` where files of this protocol cannot be kept: unknown, or its package is not installed."""
    if protocol not in PROTOCOLS:
        raise StoreError(
            f"The store {url!r} cannot be reached: there is no kind of place {protocol!r} that has the conditional put which "
            "the ledger and the lease need. Set ISYNC_STORE to a folder or to s3://…, gs://… or az://….",
            url=url,
        )
    _obstore()


def _obstore() -> ModuleType:
    try:
        import obstore
    except ImportError as error:
        raise StoreError(
            "A store on an object store needs a package that is not installed: pip install 'isync_dagster[s3]'. Or set "
            "ISYNC_STORE to a folder."
        ) from error
    return obstore


@cache
def _store(protocol: str, bucket: str) -> ObjectStore:
    _obstore()
    from obstore import store

    # Plain http only where the endpoint itself says so: a server on this machine or in this cluster.
    http: Any = {"allow_http": True}
    match protocol:
        case "s3" | "s3a":
            plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
            return store.S3Store(bucket, client_options=http if plain else None)
        case "gs" | "gcs":
            return store.GCSStore(bucket)
        case "az":
            plain = os.environ.get("AZURE_STORAGE_ENDPOINT", "").startswith("http://")
            return store.AzureStore(bucket, client_options=http if plain else None)
    return store.MemoryStore()


def _at(path: UPath) -> tuple[ObjectStore, str]:
    """The store of a path, and the key in it."""
    bucket, _, key = path.path.strip("/").partition("/")
    return _store(path.protocol, bucket), key.strip("/")


@contextmanager
def failing(verb: str, path: UPath) -> Iterator[None]:
    """Turn what the object store answers into a `StoreError` that names the path and what to do."""
    library = _obstore()
    try:
        yield
    except (OSError, library.exceptions.BaseError) as error:
        raise StoreError(f"Cannot {verb} {path}: {_reason(error)}. {_advice(error)}", path=str(path)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # The first line is for people; what follows repeats it for programmers, or is XML.
    line = str(error).partition("\n")[0].partition("<?xml")[0].strip().rstrip(".:") or type(error).__name__
    said = _SAID.search(str(error))
    return f"{line} ({said[1]}: {said[2]})" if said else line


def _advice(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"Free space in {tempfile.gettempdir()} of this machine (TMPDIR), where files wait for their upload."
    return (
        "Check that the bucket is there, the credentials and the endpoint in the environment (AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL), and that they may read, write, list and delete; or set "
        "ISYNC_STORE to another place."
    )


def prove(root: UPath) -> None:
    """Prove that of two creates of one name the second is refused, and that the clocks agree. Raises `StoreError`.

    A server that does not know conditional puts overwrites in silence: two workers would each think to be the one.
    """
    probe = root / f"probe-{secrets.token_hex(8)}"
    store, key = _at(probe)
    with failing("write", probe):
        first, second = write_new(probe, b"1"), write_new(probe, b"2")
        made = store.head(key)["last_modified"]
        store.delete(key)
    if not first or second:
        raise StoreError(
            f"The object store of {root} does not keep a conditional put (If-None-Match: *): a name can be created twice, and "
            "rows could be sent twice. Set ISYNC_STORE to a bucket of a server that keeps it: AWS S3, MinIO, Ceph, …",
            path=str(root),
        )
    apart = datetime.now(UTC) - made
    if root.protocol != MEMORY and abs(apart) > SKEW:
        raise StoreError(
            f"The clock of this machine is {apart.total_seconds():+.0f} s from that of the object store of {root}; more than "
            f"{SKEW.total_seconds():.0f} s make the leases of other machines unreliable. Set it right (NTP), then run again.",
            path=str(root),
        )


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def temporary(path: UPath) -> Iterator[Path]:
    """A name in a scratch folder of this machine, which is removed at the end."""
    with scratch() as folder:
        yield folder / path.name[:160]


def publish(place: Path, path: UPath) -> None:
    """Upload a temporary, in parts where it is big; it replaces what was there when all of it has arrived."""
    store, key = _at(path)
    with failing("write", path):
        store.put(key, place)


def write_whole(path: UPath, data: bytes) -> None:
    """Write a file whole or not at all, replacing what was there."""
    store, key = _at(path)
    with failing("write", path):
        store.put(key, data)


def write_new(path: UPath, data: bytes) -> bool:
    """Write a file whole if there is none of that name; False where there is one. One of many writers wins."""
    store, key = _at(path)
    refused = _obstore().exceptions
    me = secrets.token_hex(16)
    with failing("write", path):
        for _ in range(TRIES):
            try:
                store.put(key, data, mode="create", attributes={WRITER: me})
            except (refused.AlreadyExistsError, refused.PreconditionError, refused.NotModifiedError):
                try:
                    return bool(store.get(key).attributes.get(WRITER) == me)
                except FileNotFoundError:
                    # Somebody deleted it at this moment, and the two met: the name is free again.
                    continue
            return True
    raise StoreError(f"{path} is created and deleted too fast. Run again.", path=str(path))


def copy(source: UPath, to: UPath) -> None:
    """The same bytes under another name of the bucket, replacing what was there; they do not pass this machine."""
    (store, key), (_, other) = _at(source), _at(to)
    with failing("copy", source):
        store.copy(key, other)


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────


def read_bytes(path: UPath) -> bytes | None:
    """The bytes of a file, or None where there is none."""
    store, key = _at(path)
    with failing("read", path):
        try:
            return bytes(store.get(key).bytes())
        except FileNotFoundError:
            return None


def exists(path: UPath) -> bool:
    """True where a file of that name is there."""
    return _head(path) is not None


def size(path: UPath) -> int:
    """Bytes of a file; 0 where it is gone."""
    return _head(path) or 0


def _head(path: UPath) -> int | None:
    store, key = _at(path)
    with failing("look for", path):
        try:
            return int(store.head(key)["size"])
        except FileNotFoundError:
            return None


def names(folder: UPath) -> list[str]:
    """Names of files and folders directly in a folder, sorted; none where there is no folder."""
    store, key = _at(folder)
    with failing("list", folder):
        found = store.list_with_delimiter(key or None)
    seen = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
    return sorted(name.rsplit("/", 1)[-1] for name in seen)


def stamps(folder: UPath) -> tuple[tuple[object, ...], ...]:
    """A name and what changes when the file is written anew, of all files directly in a folder, sorted by name."""
    store, key = _at(folder)
    with failing("list", folder):
        found = store.list_with_delimiter(key or None)["objects"]
    return tuple(sorted((item["path"], item["e_tag"], item["size"], item["last_modified"]) for item in found))


def find(folder: UPath) -> list[str]:
    """Relative paths ('a/b.json') of all files below a folder, sorted: one listing."""
    store, key = _at(folder)
    start = f"{key}/" if key else ""
    with failing("list", folder):
        return sorted(item["path"].removeprefix(start) for chunk in store.list(key or None) for item in chunk)


# ── removing ─────────────────────────────────────────────────────────────────────────────────────────────


def sweep(folder: UPath, older_than: timedelta) -> int:
    """Nothing: what was not put whole is not there, and what waited for its upload lay in a scratch folder."""
    return 0


def remove(path: UPath) -> None:
    """Remove a file if it is there."""
    _delete(path, [""])


def remove_tree(folder: UPath) -> None:
    """Remove a folder with all that is in it, if it is there."""
    below = find(folder)
    for start in range(0, len(below), DELETED_AT_ONCE):
        _delete(folder, [f"/{name}" for name in below[start : start + DELETED_AT_ONCE]])


def _delete(path: UPath, below: list[str]) -> None:
    store, key = _at(path)
    with failing("remove", path):
        try:
            store.delete([f"{key}{name}".lstrip("/") for name in below])
        except FileNotFoundError:
            # The memory store and Azure say so; S3 does not.
            if len(below) > 1:
                for name in below:
                    _delete(path, [name])
