"""Small files are read once, and are never older than the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from upath import UPath

from isync_dagster.store import files, small_files
from isync_dagster.store.small_files import LARGEST, SmallFiles

ROWS = pl.DataFrame({"id": ["a", "b", None], "number": [1, 2, 3]})
OTHERS = pl.DataFrame({"number": [4], "more": [True]})
WANTED = {"id": pl.String(), "number": pl.Int64(), "late": pl.Datetime("ms", "UTC")}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files that were opened since the fixture was made, nothing being known before."""
    opened: list[str] = []
    real = pl.read_parquet

    def read(path: str, **options: object) -> pl.DataFrame:
        opened.append(Path(path).name)
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(pl, "read_parquet", read)
    monkeypatch.setattr(small_files, "_kept", SmallFiles())
    yield opened


def _scanned(paths: list[UPath], schema: dict[str, object] | None) -> pl.DataFrame:
    """What Polars' own scan gives."""
    sources = [str(path) for path in paths]
    if schema is None:
        return pl.scan_parquet(sources).collect()
    options = {"missing_columns": "insert", "extra_columns": "ignore"}
    return pl.scan_parquet(sources, schema=schema, **options).collect()  # type: ignore[arg-type]


@pytest.mark.parametrize("schema", [None, WANTED, {"number": pl.Int64(), "id": pl.String()}, {"late": pl.Boolean()}])
def test_the_rows_are_those_of_a_scan(tmp_path: Path, reads: list[str], schema: dict[str, object] | None) -> None:
    paths = [UPath(tmp_path / name) for name in ("one.parquet", "two.parquet")]
    files.write_parquet(paths[0], ROWS)
    files.write_parquet(paths[1], ROWS if schema is None else OTHERS.select("number", "more"))
    for _ in range(2):
        assert_frame_equal(files.scan_files(paths, schema).collect(), _scanned(paths, schema))
        assert_frame_equal(files.scan(paths[0], schema).collect(), _scanned(paths[:1], schema))
    # Once each: to count what was written.
    assert len(reads) == 2


def test_another_dtype_is_what_a_scan_makes_of_it(tmp_path: Path, reads: list[str]) -> None:
    path = UPath(tmp_path / "rows.parquet")
    files.write_parquet(path, ROWS)
    with pytest.raises(pl.exceptions.PolarsError):
        files.scan(path, {"number": pl.String()}).collect()


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path, reads: list[str]) -> None:
    path = UPath(tmp_path / "rows.parquet")
    for number in range(3):
        rows = ROWS.with_columns(number=pl.lit(number))
        assert files.write_parquet(path, rows) == 3
        assert_frame_equal(files.scan(path).collect(), rows)
    files.remove(path)
    assert files.scan(path, {"id": pl.String()}).collect().is_empty()
    # In place, as no part of the store is written, and with the size that it had.
    files.write_parquet(path, ROWS)
    before = Path(path).stat()
    raw = bytearray(Path(path).read_bytes())
    raw[-4:] = b"none"
    Path(path).write_bytes(bytes(raw))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(pl.exceptions.PolarsError):
        files.scan(path).collect()


def test_a_column_that_is_required_is_looked_at(tmp_path: Path, reads: list[str]) -> None:
    path = UPath(tmp_path / "rows.parquet")
    with pytest.raises(files.StoreError, match="1 of 3 rows have no id"):
        files.write_parquet(path, ROWS, required=["id"])
    assert not files.exists(path)


def test_big_files_are_scanned(tmp_path: Path, reads: list[str]) -> None:
    path = UPath(tmp_path / "rows.parquet")
    big = pl.DataFrame({"id": [os.urandom(500).hex() for _ in range(LARGEST // 400)]})
    files.write_parquet(path, big)
    assert Path(path).stat().st_size > LARGEST
    assert_frame_equal(files.scan(path).collect(), big)
    assert not reads


def test_no_more_than_so_many_bytes_are_kept(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(tmp_path / f"{number}.parquet") for number in range(4)]
    for path in paths:
        ROWS.write_parquet(path)
    monkeypatch.setattr(small_files, "PART", 2)
    taken = int(ROWS.estimated_size()) + 16 * ROWS.height * ROWS.width
    kept = SmallFiles(most=2 * taken)
    for path in (*paths[:2], paths[0], paths[2]):
        assert kept.get(path) is not None
    assert reads == ["0.parquet", "1.parquet", "2.parquet"]
    # The one that was not asked for in the longest time is gone.
    kept.get(paths[0])
    kept.get(paths[1])
    assert reads[3:] == ["1.parquet"]
    assert kept.get(str(tmp_path / "none.parquet")) is None
    # What takes too big a part by itself is left to a scan.
    monkeypatch.setattr(small_files, "PART", 4)
    alone = SmallFiles(most=2 * taken)
    assert alone.get(paths[3]) is None and alone.get(paths[3]) is None
    assert reads[4:] == ["3.parquet"]
