from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store import disk, files
from isync_dagster_tests.store import racing

FRAME = pl.DataFrame(
    {"Id": ["1", "2"], "Amount": [Decimal("1.50"), None]}, schema_overrides={"Amount": pl.Decimal(38, 18)}
)


class TestJson:
    def test_what_is_written_is_read(self, root: UPath) -> None:
        at = datetime(2024, 1, 31, tzinfo=UTC)
        files.write_json(root / "a" / "b.json", {"text": "ünï", "at": at, "ids": {"b", "a"}, "n": Decimal("1.5")})
        assert files.read_json(root / "a" / "b.json") == {
            "text": "ünï",
            "at": at.isoformat(),
            "ids": ["a", "b"],
            "n": "1.5",
        }

    def test_a_missing_file_is_none(self, root: UPath) -> None:
        assert files.read_json(root / "none.json") is None
        assert files.read_bytes(root / "none") is None

    def test_a_damaged_file_is_named(self, root: UPath) -> None:
        files.write_bytes(root / "a.json", b'{"x":')
        with pytest.raises(StoreError, match=r"a\.json is damaged"):
            files.read_json(root / "a.json")
        files.write_bytes(root / "a.json", b"[]")
        with pytest.raises(StoreError, match=r"a\.json is damaged"):
            files.read_json(root / "a.json")

    def test_what_has_no_place_in_json_is_refused(self, root: UPath) -> None:
        with pytest.raises(TypeError, match="object has no place"):
            files.write_json(root / "a.json", {"x": object()})
        assert not files.exists(root / "a.json")


class TestCreateIfAbsent:
    def test_the_first_wins_and_stays(self, root: UPath) -> None:
        assert files.create_if_absent(root / "a.json", {"by": 1})
        assert not files.create_if_absent(root / "a.json", {"by": 2})
        assert files.read_json(root / "a.json") == {"by": 1}

    def test_of_many_processes_one_wins_each_file(self, shared_url: str) -> None:
        root = UPath(shared_url)
        won = racing.race(racing.create_many, 4, shared_url, 60)
        assert sorted(number for numbers in won for number in numbers) == list(range(60))
        for worker, numbers in enumerate(won):
            assert all(files.read_json(root / f"{n}.json") == {"by": worker} for n in numbers)
        assert sorted(files.names(root)) == sorted(f"{number}.json" for number in range(60))

    def test_of_many_threads_one_wins_each_file(self, root: UPath) -> None:
        def create(worker: int) -> list[int]:
            return [number for number in range(20) if files.create_if_absent(root / f"{number}.json", {"by": worker})]

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(create, range(8)))
        assert sorted(number for numbers in won for number in numbers) == list(range(20))
        for worker, numbers in enumerate(won):
            assert all(files.read_json(root / f"{n}.json") == {"by": worker} for n in numbers)

    def test_without_links_it_is_exclusive_still(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_links(*_: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr("os.link", no_links)
        path = UPath(tmp_path) / "a.json"
        assert files.create_if_absent(path, {"by": 1})
        monkeypatch.setattr(Path, "exists", lambda self: False)
        assert not files.create_if_absent(path, {"by": 2})
        assert files.read_json(path) == {"by": 1}

    def test_a_link_whose_answer_was_lost_counts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        link = os.link

        def link_and_lose_the_answer(old: Path, new: Path) -> None:
            link(old, new)
            raise FileExistsError

        monkeypatch.setattr("os.link", link_and_lose_the_answer)
        assert files.create_if_absent(UPath(tmp_path) / "a.json", {"by": 1})


class TestParquet:
    def test_what_is_written_is_read(self, root: UPath) -> None:
        assert files.write_parquet(root / "x" / "a.parquet", FRAME.lazy()) == 2
        assert_frame_equal(files.scan(root / "x" / "a.parquet").collect(), FRAME)

    def test_a_pattern_reads_the_matching_files_only(self, root: UPath) -> None:
        files.write_parquet(root / "part-1.parquet", FRAME)
        files.write_parquet(root / "part-2.parquet", FRAME)
        files.write_parquet(root / "other.parquet", FRAME)
        assert files.scan(root / "part-*.parquet").select(pl.len()).collect().item() == 4

    def test_no_file_gives_the_schema_and_no_row(self, root: UPath) -> None:
        for source in (root / "part-*.parquet", root / "a.parquet", [], [root / "b.parquet"]):
            empty = files.scan(source, FRAME.schema).collect()
            assert empty.height == 0
            assert empty.schema == FRAME.schema

    def test_no_file_without_a_schema_is_an_error(self, root: UPath) -> None:
        with pytest.raises(StoreError, match="No rows at"):
            files.scan(root / "part-*.parquet")

    def test_a_schema_fills_and_leaves_out_columns(self, root: UPath) -> None:
        files.write_parquet(root / "a.parquet", FRAME)
        found = files.scan([root / "a.parquet"], {"Id": pl.String, "New": pl.Date}).collect()
        assert found.schema == {"Id": pl.String, "New": pl.Date}
        assert found["New"].null_count() == 2

    def test_a_frame_without_rows_keeps_its_columns(self, root: UPath) -> None:
        assert files.write_parquet(root / "a.parquet", FRAME.clear()) == 0
        assert files.scan(root / "a.parquet").collect().schema == FRAME.schema

    def test_a_null_where_none_may_be_leaves_no_file(self, root: UPath) -> None:
        with pytest.raises(StoreError, match="1 of 2 rows have no Amount"):
            files.write_parquet(root / "a.parquet", FRAME, required=("Id", "Amount"))
        assert files.find(root) == []

    def test_equal_content_has_an_equal_name(self, root: UPath) -> None:
        first, second = (files.write_hashed(root, "rows", FRAME) for _ in range(2))
        third = files.write_hashed(root, "rows", FRAME.head(1))
        assert first == second
        assert third[1] != first[1]
        assert (first[2], third[2]) == (2, 1)
        assert files.names(root) == sorted({first[0].name, third[0].name})

    def test_a_failing_frame_leaves_what_was_there(self, root: UPath) -> None:
        files.write_parquet(root / "a.parquet", FRAME)
        with pytest.raises(pl.exceptions.PolarsError):
            files.write_parquet(
                root / "a.parquet", FRAME.lazy().select(pl.col("Id").cast(pl.Int8) // 0, pl.lit("x").cast(pl.Int8))
            )
        assert files.scan(root / "a.parquet").collect().height == 2
        assert files.find(root) == ["a.parquet"]


class TestListing:
    def test_names_and_find_agree_on_every_filesystem(self, root: UPath) -> None:
        for path in ("b.json", "x/a.json", "x/y/c.json"):
            files.write_json(root / path, {})
        assert files.names(root) == ["b.json", "x"]
        assert files.find(root) == ["b.json", "x/a.json", "x/y/c.json"]
        assert files.find(root / "x") == ["a.json", "y/c.json"]

    def test_a_copy_stays_as_it_was(self, root: UPath) -> None:
        files.write_bytes(root / "a" / "x", b"first")
        files.write_bytes(root / "b" / "x", b"old")
        files.copy(root / "a" / "x", root / "b" / "x")
        files.write_bytes(root / "a" / "x", b"second")
        assert files.read_bytes(root / "b" / "x") == b"first"
        files.remove_tree(root / "a")
        assert (files.find(root), files.read_bytes(root / "b" / "x")) == (["b/x"], b"first")
        with pytest.raises(StoreError):
            files.copy(root / "a" / "x", root / "c" / "x")

    def test_a_missing_folder_is_empty(self, root: UPath) -> None:
        assert files.names(root / "none") == []
        assert files.find(root / "none") == []

    def test_removing_is_repeatable(self, root: UPath) -> None:
        files.write_json(root / "x/a.json", {})
        for _ in range(2):
            files.remove(root / "x/a.json")
            files.remove_tree(root / "x")
        assert not files.exists(root / "x/a.json")
        assert files.find(root) == []


class TestKilled:
    """A process that is killed in the middle of a write."""

    def test_in_a_json_write_the_old_file_stays(self, tmp_path: Path) -> None:
        path = UPath(tmp_path) / "a.json"
        files.write_json(path, {"old": True})
        with racing.paused(racing.stop_before_publish, str(path)):
            assert any(name.name.endswith(".tmp") for name in tmp_path.iterdir())
        assert files.read_json(path) == {"old": True}
        assert files.names(path.parent) == ["a.json"]

    def test_in_a_create_the_name_is_free(self, tmp_path: Path) -> None:
        path = UPath(tmp_path) / "a.json"
        with racing.paused(racing.stop_before_link, str(path)):
            pass
        assert files.names(path.parent) == []
        assert files.create_if_absent(path, {"by": "the next"})

    def test_in_a_parquet_write_no_part_is_seen(self, tmp_path: Path) -> None:
        path = UPath(tmp_path) / "part-1.parquet"
        with racing.paused(racing.stop_in_sink, str(path)):
            assert [name.name.endswith(".tmp") for name in tmp_path.iterdir()] == [True]
        assert files.scan(path.parent / "*.parquet", {"n": pl.Int64}).collect().height == 0
        assert files.write_parquet(path, pl.DataFrame({"n": [1]})) == 1
        assert files.scan(path.parent / "*.parquet").collect().height == 1

    def test_what_it_left_is_swept_when_old(self, tmp_path: Path) -> None:
        path = UPath(tmp_path) / "x" / "a.json"
        with racing.paused(racing.stop_before_publish, str(path)):
            pass
        files.write_json(path, {})
        assert disk.sweep(UPath(tmp_path), timedelta(days=1)) == 0
        assert disk.sweep(UPath(tmp_path), timedelta(seconds=-60)) == 1
        assert [name.name for name in (tmp_path / "x").iterdir()] == ["a.json"]


@pytest.fixture
def little_space() -> Iterator[None]:
    """No file may grow beyond 100 kB, which meets writers as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


class TestDisk:
    def test_folders_are_private(self, tmp_path: Path) -> None:
        files.write_parquet(UPath(tmp_path) / "runs" / "x" / "a.parquet", FRAME)
        assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("runs", "runs/x")] == [0o700, 0o700]

    @pytest.mark.usefixtures("little_space")
    def test_a_disk_without_space_is_named_and_leaves_nothing(self, tmp_path: Path) -> None:
        root = UPath(tmp_path)
        numbers = pl.LazyFrame({"n": pl.int_range(0, 200_000, eager=True)}).select(pl.col("n").hash())
        with pytest.raises(StoreError, match=r"Cannot write .*a\.parquet: File too large"):
            files.write_parquet(root / "a.parquet", numbers)
        with pytest.raises(StoreError, match=r"Cannot write .*a\.json: File too large"):
            files.write_json(root / "a.json", {"x": "y" * 200_000})
        with pytest.raises(StoreError, match=r"Cannot write .*b\.json: File too large"):
            files.create_if_absent(root / "b.json", {"x": "y" * 200_000})
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(disk, "sync_file", full)
        with pytest.raises(StoreError, match=r"No space left on device\. Free space there, then run again"):
            files.write_json(UPath(tmp_path) / "a.json", {})

    def test_a_place_that_cannot_be_a_folder_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"file/x.*ISYNC_STORE"):
            files.write_json(UPath(tmp_path) / "file" / "x" / "a.json", {})

    def test_a_system_folder_refuses(self) -> None:
        with pytest.raises(StoreError, match="Cannot make the folder /proc/isync"):
            files.write_json(UPath("/proc/isync/a.json"), {})
