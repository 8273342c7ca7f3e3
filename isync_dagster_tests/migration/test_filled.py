"""Columns that are empty in all rows are not sent, whatever is left."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from upath import UPath

from isync_dagster.migration.chunks import _Laid

ROWS = pl.DataFrame(
    {
        "_row": [0, 1],
        "_target_id": [None, None],
        "_collections": [False, False],
        "Id": [None, None],
        "Name": ["a", None],
        "City": ['a"b', None],
        "Zip": [None, None],
        "Key": [None, None],
    },
    schema_overrides=dict.fromkeys(("_target_id", "Id", "Zip", "Key"), pl.String),
).lazy()


@pytest.mark.parametrize(
    ("columns", "key", "sent"),
    [
        (["Name", "City", "Zip"], None, ["Name", "City"]),
        (["Zip", "Name", "Key"], "Key", ["Name", "Key"]),
        (["Zip", "Key"], None, ["Zip", "Key"]),
        (["Zip", "Key"], "Key", ["Key"]),
        ([], None, []),
    ],
)
def test_what_is_sent(columns: list[str], key: str | None, sent: list[str], tmp_path: Path) -> None:
    """A column with a value in any row, the key; all, where nothing else would be left: a row needs a cell."""
    rows = ROWS.select("_row", "_target_id", "_collections", *columns)
    laid = _Laid.out(rows, UPath(tmp_path / "payload.parquet"), key)
    assert laid is not None
    assert laid.payload.collect().equals(rows.select("_row", "_target_id", "_collections", *sent).collect())
    # Each value in quotes, and what parts it from the next; a quote inside is doubled.
    lengths = {"Name": [1, 0], "City": [4, 0]}
    expected = [sum(3 + lengths.get(name, [0, 0])[row] for name in sent) for row in (0, 1)]
    assert laid.narrow([], None)["bytes"].to_list() == expected


def test_no_rows(tmp_path: Path) -> None:
    assert _Laid.out(ROWS.filter(False), UPath(tmp_path / "payload.parquet"), None) is None
