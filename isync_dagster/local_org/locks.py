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


def contended_rows(upload: pl.DataFrame, sobject: SObject, locks: Locks) -> pl.DataFrame:
    """The rows of an upload that do not get a lock: `_row` UInt32, `error` String.

    `upload` has `_row` and the sent columns. `parallel` batches run side by side, in step: chunk k of each at one
    moment. The first `degree` batches that ask for a parent in that moment get it.
    """
    refused = [pl.DataFrame(schema={"_row": pl.UInt32, "error": pl.String})]
    batch = pl.col("_row") // locks.batch_rows
    moment = [
        (batch // locks.parallel).alias("group"),
        (pl.col("_row") % locks.batch_rows // locks.chunk_rows).alias("step"),
    ]
    for column in locking_columns(upload.columns, sobject):
        asked = upload.select("_row", pl.col(column).alias("parent"), batch.alias("batch"), *moment).drop_nulls(
            "parent"
        )
        place = pl.col("batch").rank("dense").over("parent", "group", "step")
        beyond = asked.filter(place > locks.degree)
        refused.append(beyond.select("_row", _unable("parent").alias("error")))
    return pl.concat(refused).unique("_row", keep="first", maintain_order=True)


def held_rows(rows: pl.DataFrame, sobject: SObject, share: float, seed: int) -> pl.DataFrame:
    """The rows that are held, or whose parents are, by somebody else: the same ids for the same seed."""
    columns = locking_columns(rows.columns, sobject)
    columns += ["Id"] if "Id" in rows.columns else []
    refused = [pl.DataFrame(schema={"_row": pl.UInt32, "error": pl.String})]
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
