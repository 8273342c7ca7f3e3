"""What only object stores do: lost answers, servers without conditional puts, big files, what is missing."""

from __future__ import annotations

import builtins
import tempfile
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from obstore.exceptions import AlreadyExistsError, GenericError
from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store import files, objects
from isync_dagster.store.store import Store


class Client:
    """The real client of a bucket, one verb of which a test puts its own in the place of."""

    def __init__(self, real: Any, **verbs: Callable[..., Any]) -> None:
        self.real = real
        self._verbs = verbs

    def __getattr__(self, name: str) -> Any:
        return self._verbs.get(name) or getattr(self.real, name)


@pytest.fixture
def path() -> UPath:
    return UPath(f"memory://{uuid.uuid4().hex}/a.json")


@pytest.fixture
def swap(path: UPath, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Put verbs in the place of the client's; gives the real client."""
    real, key = objects._at(path)

    def put(**verbs: Callable[..., Any]) -> Any:
        monkeypatch.setattr(objects, "_at", lambda path: (Client(real, **verbs), key))
        return real

    return put


def test_a_create_whose_answer_was_lost_and_that_was_repeated_counts(path: UPath, swap: Callable[..., Any]) -> None:
    """The client sends again what got no answer, and is told that the name is taken: by itself."""

    def put(key: str, data: bytes, **more: Any) -> Any:
        real.put(key, data, **more)
        raise AlreadyExistsError("the first one had arrived")

    real = swap(put=put)
    assert files.create_if_absent(path, {"by": 1})
    assert files.read_json(path) == {"by": 1}


def test_a_create_that_meets_a_delete_is_tried_again(path: UPath, swap: Callable[..., Any]) -> None:
    """S3 answers 409 where both meet, though the name is free after it."""
    tries = 0

    def put(key: str, data: bytes, **more: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise AlreadyExistsError("ConditionalRequestConflict")
        return real.put(key, data, **more)

    real = swap(put=put)
    assert files.create_if_absent(path, {"by": 1})
    assert tries == 2


def test_a_store_out_of_reach_is_an_error_that_says_what_to_check(path: UPath, swap: Callable[..., Any]) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise GenericError("Generic S3 error: error sending request\n\nDebug source:\n…")

    swap(put=gone, get=gone, list=gone, head=gone)
    for act in (
        lambda: files.create_if_absent(path, {}),
        lambda: files.write_json(path, {}),
        lambda: files.read_json(path),
        lambda: files.find(path),
        lambda: files.exists(path),
    ):
        with pytest.raises(
            StoreError, match=r"memory://.*a\.json: Generic S3 error: error sending request\. Check"
        ) as it:
            act()
        assert "AWS_ENDPOINT_URL" in str(it.value) and "Debug" not in str(it.value)


def test_a_bucket_that_is_not_there_is_named(s3: str) -> None:
    with pytest.raises(StoreError, match=r"s3://nosuchbucket/x.*\(NoSuchBucket: .*\)\. Check that the bucket"):
        Store.open("s3://nosuchbucket/x")


def test_a_server_that_ignores_conditions_is_refused(path: UPath, swap: Callable[..., Any]) -> None:
    def put(key: str, data: bytes, mode: str = "", **more: Any) -> Any:
        return real.put(key, data, **more)

    real = swap(put=put)
    with pytest.raises(StoreError, match="does not keep a conditional put"):
        Store.open(str(path.parent))


def test_a_clock_that_is_wrong_is_refused(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC) + timedelta(seconds=45)

    monkeypatch.setattr(objects, "datetime", Late)
    with pytest.raises(StoreError, match=r"clock of this machine is \+4\d s from"):
        Store.open(f"{s3}/{uuid.uuid4().hex}")


def test_a_proof_leaves_nothing_behind(s3: str) -> None:
    store = Store.open(f"{s3}/{uuid.uuid4().hex}")
    store.check_writable()
    assert files.find(store.root) == ["format.json"]


def test_a_file_of_many_parts_arrives_whole(s3: str) -> None:
    path = UPath(f"{s3}/{uuid.uuid4().hex}/part.parquet")
    rows = pl.LazyFrame({"n": pl.int_range(0, 2_500_000, eager=True)}).select("n", h=pl.col("n").hash())
    assert files.write_parquet(path, rows) == 2_500_000
    assert files.size(path) > 15_000_000, "bigger than one part of an upload"
    found = files.scan(path).select(pl.len(), pl.col("n").sum(), pl.col("h").n_unique().alias("u")).collect().row(0)
    assert found == (2_500_000, 2_500_000 * 2_499_999 // 2, 2_500_000)


def test_names_keep_their_escapes(s3: str) -> None:
    """`~` and blanks are as they are, for us and for Polars alike."""
    root = UPath(f"{s3}/{uuid.uuid4().hex}")
    files.write_parquet(root / "Wave~201~2f2" / "a b.parquet", pl.DataFrame({"x": [1]}))
    assert files.find(root) == ["Wave~201~2f2/a b.parquet"]
    assert files.scan(root / "Wave~201~2f2" / "*.parquet").collect().height == 1


def test_more_files_than_one_request_deletes(monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    monkeypatch.setattr(objects, "DELETED_AT_ONCE", 3)
    root = UPath(f"{s3}/{uuid.uuid4().hex}")
    for number in range(7):
        files.write_bytes(root / "x" / f"{number}", b"")
    files.write_bytes(root / "xy", b"")
    files.remove_tree(root / "x")
    assert files.find(root) == ["xy"]


def test_without_its_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *more: Any, **others: Any) -> Any:
        if name == "obstore":
            raise ImportError(name)
        return real(name, *more, **others)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(StoreError, match=r"pip install 'isync_dagster\[s3\]'"):
        Store.open("s3://bucket/store")


def test_what_a_killed_process_left_waiting_is_swept_when_old(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = Store.open(f"{s3}/{uuid.uuid4().hex}")
    with objects.temporary(store.root / "a.parquet") as place:
        place.write_bytes(b"rows")
        assert place.parent.stat().st_mode & 0o777 == 0o700
        assert store.sweep() == 0
        assert store.sweep(timedelta(seconds=-60)) == 1
        assert list(tmp_path.iterdir()) == []
