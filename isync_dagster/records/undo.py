"""What a rollback does with each record that a run wrote: delete it, restore it, or leave it, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from isync_dagster.records.payload import changes
from isync_dagster.records.typing import write
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype

STAMPS = {
    "SystemModstamp": Field("SystemModstamp", "datetime"),
    "LastModifiedDate": Field("LastModifiedDate", "datetime"),
    "LastModifiedById": Field("LastModifiedById", "reference"),
}
"""What tells whether a record was changed, and by whom."""

Window = tuple[datetime, datetime]
"""A time during which the tool itself was writing to the target."""


def written(audit: pl.LazyFrame) -> pl.LazyFrame:
    """The records that a run wrote, one row each, from its audit log (`store.audit.COLUMNS`).

    Columns: `source_id`, `target_id` String; `_inserted` (the run made the record), `_loaded` (its load changed a
    record that was there), `_relinked` (its second pass, a retry or a heal wrote to it), all Boolean. What may have been
    written counts as written; what a retry only matched, and a heal that was refused, does not.
    """
    state, stage = pl.col("state"), pl.col("stage")
    late = stage.str.starts_with("relink") | stage.str.starts_with("heal") | stage.str.ends_with("-relink")
    sent = pl.col("chunk").is_not_null()
    again = (late | stage.str.starts_with("retry")) & sent
    refused = state.is_in(["failed", "pending", "blocked"]) | (
        stage.str.starts_with("heal") & pl.col("code").is_not_null()
    )
    rows = audit.filter((stage != "remap") & ~stage.str.starts_with("rollback"))
    return (
        rows.group_by("source_id")
        .agg(
            pl.col("target_id").max(),
            (state == "inserted").any().alias("_inserted"),
            (state.is_in(["updated", "unknown"]) & ~late).any().alias("_loaded"),
            (again & ~refused).any().alias("_relinked"),
        )
        .filter(pl.col("target_id").is_not_null() & pl.any_horizontal("_inserted", "_loaded", "_relinked"))
    )


def images(parts: Sequence[pl.LazyFrame], fields: Mapping[str, Field]) -> pl.LazyFrame | None:
    """The values that records had before parts of a run changed them: `Id`, `_changed` List(String), a column a field.

    `parts` are before-images (`Id`, `_changed`, fields) in the order in which they were taken; the first that names a
    field counts. Fields that are not among `fields` cannot be written and are left out. None without parts.
    """
    if not parts:
        return None
    together = pl.concat(parts, how="diagonal_relaxed")
    known = [name for name in together.collect_schema().names() if name in fields]
    able = pl.col("_changed").list.set_intersection(pl.lit(known, dtype=pl.List(pl.String)))
    together = together.select("Id", able.alias("_changed"), *known)
    if len(parts) > 1:
        together = together.group_by("Id", maintain_order=True).agg(
            pl.col("_changed").list.explode().drop_nulls().unique(),
            *(pl.col(name).filter(pl.col("_changed").list.contains(name)).first() for name in known),
        )
    else:
        together = together.unique("Id", keep="any")
    return together.filter(pl.col("_changed").list.len() > 0)


def restore_payload(rows: pl.LazyFrame, fields: Mapping[str, Field]) -> pl.LazyFrame:
    """An update of the `_changed` fields of `rows` back to their values, as `payload.changes` gives it.

    Nothing is done to the text: what holds a carriage return goes by collections, since a Bulk job would lose it.
    """
    names = [name for name in rows.collect_schema().names() if name in fields]
    values: dict[str, pl.Expr] = {}
    for name in names:
        value = write(pl.col(name), dtype(fields[name]))
        values[name] = value.fill_null("false") if dtype(fields[name]) == pl.Boolean else value
    cells = [pl.col(name).str.contains("\r", literal=True).fill_null(False) for name in names]
    payload = changes(rows, values)
    return payload.with_columns(pl.any_horizontal(pl.col("_collections"), *cells)) if cells else payload


def delete_payload(rows: pl.LazyFrame) -> pl.LazyFrame:
    """A deletion of `rows` (`_row`, `_source_id`, `_target_id`) in the columns that chunks are cut from."""
    return rows.select(
        "_row",
        "_source_id",
        "_target_id",
        pl.lit(False).alias("_collections"),
        pl.col("_target_id").alias("Id"),
    )


def changed_since(
    columns: Sequence[str], then: str, *, later: Sequence[Window], all_of: Sequence[Window], user: str
) -> pl.Expr:
    """True where somebody else changed a record after the run was through with it.

    `columns` are those of `STAMPS` that the object has; `then` is the suffix of their values at the end of the run,
    null where there are none. A record is as the run left it where its stamp is; where the stamp has moved while the
    tool itself was writing (`later`: since the end of the run; `all_of`: this run too, for records without a stamp of
    its end), and it was last modified by `user` at such a time, or not at all.
    """
    if "SystemModstamp" not in columns and "LastModifiedDate" not in columns:
        return pl.lit(False)
    stamp = "SystemModstamp" if "SystemModstamp" in columns else "LastModifiedDate"
    by, date = "LastModifiedById" in columns, "LastModifiedDate" in columns
    known = pl.col(f"{stamp}{then}").is_not_null()
    same_author = pl.col("LastModifiedById").eq_missing(pl.col(f"LastModifiedById{then}")) if by else pl.lit(True)
    same = (pl.col(stamp) == pl.col(f"{stamp}{then}")) & same_author
    quiet = same_author & (
        pl.col("LastModifiedDate").eq_missing(pl.col(f"LastModifiedDate{then}")) if date else pl.lit(True)
    )
    mine = pl.col("LastModifiedById") == user if by else pl.lit(True)

    def ours(windows: Sequence[Window]) -> pl.Expr:
        moved = within(pl.col(stamp), windows)
        return moved & (quiet & known | mine & (within(pl.col("LastModifiedDate"), windows) if date else moved))

    unchanged = pl.when(known).then(same | ours(later)).otherwise(ours(all_of))
    return ~unchanged.fill_null(False)


def within(expr: pl.Expr, windows: Sequence[Window]) -> pl.Expr:
    """True where an instant lies in one of the windows."""
    return pl.any_horizontal(pl.lit(False), *(expr.is_between(pl.lit(start), pl.lit(end)) for start, end in windows))


def merged(windows: Sequence[Window]) -> list[Window]:
    """The same times with overlaps joined, in order.

    >>> day = [datetime(2026, 1, number) for number in range(1, 6)]
    >>> [(a.day, b.day) for a, b in merged([(day[3], day[4]), (day[0], day[2]), (day[1], day[2])])]
    [(1, 3), (4, 5)]
    """
    found: list[Window] = []
    for start, end in sorted(windows):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found
