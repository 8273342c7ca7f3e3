"""Before-images: the values that target records had just before a run changed them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
from upath import UPath

from isync_dagster.store import files
from isync_dagster.store.layout import decode, encode


@dataclass(frozen=True)
class BeforeImages:
    """The before-images of one object in one run; parts may hold different columns."""

    folder: UPath

    def write(self, part: str, frame: files.Frame) -> int:
        """Write one part: `Id` of the target record and the fields about to change. Returns the rows."""
        return files.write_parquet(self._path(part), frame, required=("Id",))

    def has(self, part: str) -> bool:
        """True where the part is there: then it must not be taken again, the record has changed since."""
        return files.exists(self._path(part))

    def parts(self) -> list[str]:
        """Names of the parts written."""
        return [decode(name.removesuffix(".parquet")) for name in files.names(self.folder)]

    def read(self, part: str) -> pl.LazyFrame:
        """The rows of one part. Raises `StoreError` where there is none."""
        return files.scan(self._path(part))

    def read_all(self) -> pl.LazyFrame:
        """All rows: the columns of all parts (null where a part lacks one) and `_part`; empty without parts.

        A record that was changed twice has a row for each time.
        """
        frames = [self.read(part).with_columns(pl.lit(part).alias("_part")) for part in self.parts()]
        if not frames:
            return pl.LazyFrame(schema={"Id": pl.String, "_part": pl.String})
        return pl.concat(frames, how="diagonal")

    def _path(self, part: str) -> UPath:
        return self.folder / f"{encode(part)}.parquet"
