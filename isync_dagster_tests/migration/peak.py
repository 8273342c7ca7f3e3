"""What a child process holds at most while it works on big files: `python -m … <what> <folder>` prints bytes."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
from upath import UPath

from isync_dagster.migration.slicing import cut_rows, write_parts
from isync_dagster.records.pairing import pair, pair_hashed

COLUMNS = [f"F{number}" for number in range(24)]


def make(folder: Path, rows: int) -> None:
    """`rows.parquet` (`_row`, `Id`, text columns), and the same as a job's results in another order."""
    number = pl.int_range(rows, dtype=pl.UInt32, eager=True).alias("_row")
    texts = {name: pl.format("a text of column {} and row {}", pl.lit(name), pl.col("_row")) for name in COLUMNS}
    frame = pl.DataFrame(number).with_columns(Id=pl.col("_row").hash().cast(pl.String), **texts)
    frame.write_parquet(folder / "rows.parquet", row_group_size=10_000)
    results = frame.select(pl.format("003{}", "_row").alias("sf__Id"), *COLUMNS)
    results.reverse().write_csv(folder / "results.csv")


def work(what: str, folder: Path) -> None:
    """Pair the rows by all columns or by hash, or sort them at once or in slices."""
    rows = pl.scan_parquet(folder / "rows.parquet")
    results = pl.scan_csv(folder / "results.csv", infer_schema=False)
    total = rows.select(pl.len()).collect().item()
    match what:
        case "pair":
            assert pair(rows.select("_row", *COLUMNS), results).rows.collect().height == total
        case "pair by hash":
            found = pair_hashed(rows.select("_row", *COLUMNS), results)
            assert found is not None
            assert found.height == total
        case _:
            slices = 1 if what == "sort" else 8
            cut = cut_rows(rows, slices, None, folder / "cut")
            write_parts(UPath(folder / what), [part.drop("_row").sort("Id").with_row_index("_row") for part in cut])


def peak() -> int:
    """The most that this process held, bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    before = peak()
    work(sys.argv[1], Path(sys.argv[2]))
    print(peak() - before)
