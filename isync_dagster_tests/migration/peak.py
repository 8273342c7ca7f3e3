"""What a child process holds at most while it works on big files: `python -m … <what> <slices> <folder>` prints bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
from upath import UPath

from isync_dagster.migration.slicing import cut_rows, write_parts
from isync_dagster.records.pairing import pair_distinct

COLUMNS = [f"F{number}" for number in range(24)]


def make(folder: Path, rows: int) -> None:
    """`rows.parquet` (`_row`, `Id`, text columns), and the same as a job's results in another order."""
    number = pl.int_range(rows, dtype=pl.UInt32, eager=True).alias("_row")
    texts = {name: pl.format("a text of column {} and row {}", pl.lit(name), pl.col("_row")) for name in COLUMNS}
    frame = pl.DataFrame(number).with_columns(Id=pl.col("_row").hash().cast(pl.String), **texts)
    frame.write_parquet(folder / "rows.parquet", row_group_size=10_000)
    results = frame.select(pl.format("003{}", "_row").alias("sf__Id"), *COLUMNS)
    results.reverse().write_csv(folder / "results.csv")


def work(what: str, slices: int, folder: Path) -> None:
    """Pair the rows, or sort them, in so many slices."""
    rows = pl.scan_parquet(folder / "rows.parquet")
    if what == "pair":
        results = pl.scan_csv(folder / "results.csv", infer_schema=False)
        found = pair_distinct(rows.select("_row", *COLUMNS), results, slices=slices)
        assert found is not None
        assert found.height == rows.select(pl.len()).collect().item()
    else:
        parts = [
            part.drop("_row").sort("Id").with_row_index("_row") for part in cut_rows(rows, slices, None, folder / "cut")
        ]
        write_parts(UPath(folder / f"out-{slices}"), parts)


def peak() -> int:
    """The most that this process held, bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    before = peak()
    work(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    print(peak() - before)
