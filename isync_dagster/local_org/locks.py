"""Row locks as the platform takes them: a row that is saved locks its parents, and waits ten seconds for them.

Rule: "UNABLE_TO_LOCK_ROW" of parallel Bulk batches; rows sorted by parent, or sent serially, do not meet.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from isync_dagster.local_org.scenarios.model import Locks
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import SObject

# Rows of setup objects are not locked by the records that point at them.
UNLOCKED: Final = frozenset(
    {"User", "Group", "RecordType", "Profile", "UserRole", "Organization", "BusinessHours", "Pricebook2", "Queue"}
)


def locking_columns(columns: list[str], sobject: SObject) -> list[str]:
    """The columns of an upload (fields, or paths such as `Account.Key__c`) whose parents are locked on save."""
    found: list[str] = []
    for column in columns:
        relation = column.split(".")[0].lower() if "." in column else None
        for field in sobject.fields:
            mine = (field.relationship_name or "").lower() == relation if relation else field.name == column
            if mine and field.type == "reference" and not UNLOCKED.issuperset(field.reference_to):
                found.append(column)
    return found


REFUSED: Final = {"_row": pl.UInt32, "error": pl.String}
ASKED: Final = {"_row": pl.UInt32, "parent": pl.String, "column": pl.String, "batch": pl.UInt32, "step": pl.UInt32}


def contended_rows(upload: pl.DataFrame, sobject: SObject, locks: Locks) -> pl.DataFrame:
    """The rows of an upload that do not get a lock: `_row` UInt32, `error` String.

    `upload` has `_row` and the sent columns. `parallel` batches run side by side, in step: chunk k of each at one
    moment. The first `degree` batches that ask for a parent in that moment get it.
    """
    batch = pl.col("_row") // locks.batch_rows
    asked = asked_locks(upload, sobject, batch, (pl.col("_row") % locks.batch_rows) // locks.chunk_rows)
    moment = [pl.col("batch") // locks.parallel, "step", "parent", "column"]
    return _refused(asked.filter(pl.col("batch").rank("dense").over(moment) > locks.degree))


def contended_later(asked: pl.DataFrame, before: pl.DataFrame, locks: Locks) -> pl.DataFrame:
    """The same for one batch that comes by itself: `before` are the locks that the batches beside it asked for."""
    moment = ["step", "parent", "column"]
    holders = before.group_by(moment).agg(pl.col("batch").n_unique().alias("holders"))
    return _refused(asked.join(holders, on=moment).filter(pl.col("holders") >= locks.degree))


def asked_locks(rows: pl.DataFrame, sobject: SObject, batch: pl.Expr, step: pl.Expr) -> pl.DataFrame:
    """The locks that rows ask for: `_row`, `parent`, `column`, `batch`, `step` (its chunk within the batch)."""
    place = [batch.cast(pl.UInt32).alias("batch"), step.cast(pl.UInt32).alias("step")]
    asked = [
        rows.select(pl.col("_row").cast(pl.UInt32), pl.col(column).alias("parent"), pl.lit(column).alias("column"), *place)
        for column in locking_columns(rows.columns, sobject)
    ]  # fmt: skip
    return pl.concat([pl.DataFrame(schema=ASKED), *asked]).drop_nulls("parent")


def _refused(asked: pl.DataFrame) -> pl.DataFrame:
    beyond = asked.unique("_row", keep="first", maintain_order=True)
    return beyond.select("_row", _unable("parent").alias("error"))


def held_rows(rows: pl.DataFrame, sobject: SObject, share: float, seed: int) -> pl.DataFrame:
    """The rows that are held, or whose parents are, by somebody else: the same ids for the same seed."""
    columns = locking_columns(rows.columns, sobject)
    columns += ["Id"] if "Id" in rows.columns else []
    refused = [pl.DataFrame(schema=REFUSED)]
    for column in columns:
        key = pl.col(column).str.slice(0, 15)
        held = (key.hash(seed) % 1_000_000 < int(share * 1_000_000)) & key.is_not_null()
        refused.append(rows.filter(held).select(pl.col("_row").cast(pl.UInt32), _unable(column).alias("error")))
    return pl.concat(refused).unique("_row", keep="first", maintain_order=True)


def _unable(column: str) -> pl.Expr:
    message = pl.concat_str(
        [pl.lit("unable to obtain exclusive access to this record or 1 records: "), pl.col(column).str.slice(0, 15)]
    )
    return error("UNABLE_TO_LOCK_ROW", message)
