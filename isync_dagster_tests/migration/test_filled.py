"""Columns that are empty in all rows are not sent, whatever is left."""

from __future__ import annotations

import polars as pl
import pytest

from isync_dagster.migration.chunks import _filled

ROWS = pl.DataFrame(
    {
        "_row": [0, 1],
        "_target_id": [None, None],
        "Id": [None, None],
        "Name": ["a", None],
        "City": ["", None],
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
def test_what_is_sent(columns: list[str], key: str | None, sent: list[str]) -> None:
    """A column with a value in any row, the key; all, where nothing else would be left: a row needs a cell."""
    rows = ROWS.select("_row", "_target_id", *columns)
    assert _filled(rows, key).collect().equals(rows.select("_row", "_target_id", *sent).collect())


def test_no_rows() -> None:
    rows = ROWS.filter(False)
    assert _filled(rows, None).collect_schema() == rows.collect_schema()
