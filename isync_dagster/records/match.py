"""Find the target record of a source record: id map, then migration key, then match key. Nothing is guessed.

Keys compare as Salesforce compares them: text without case (unless the part is case-sensitive) and trimmed, numbers
by the target's scale, lookups by target id; a key with a blank part matches nothing. A key that several records of
the target share, or that would give several source rows the same record, matches none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from isync_dagster.plan.model import KeyPart, ObjectPlan
from isync_dagster.records.canonical import canonical
from isync_dagster.records.ids import to18
from isync_dagster.records.typing import write
from isync_dagster.records.words import MATCHED_BY
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype

SAMPLE = 5
"""How many ids a report of equal keys names."""


def match(frame: pl.LazyFrame, plan: ObjectPlan, id_map: pl.LazyFrame, target_rows: pl.LazyFrame) -> pl.LazyFrame:
    """`frame` (resolved) with the target record of each row, in order.

    `id_map` has `source_id`, `target_id`, one row a source id; a target id that `target_rows` does not hold is out of date and
    ignored. `target_rows` has `Id` and the key fields, typed by the target's describe.
    Added: `_target_id` String, `_matched_by` (`MATCHED_BY`), both null where there is none, and `_conflict` String:
    why a row whose key is in the target was not matched (`decide` blocks it: an insert might double a record).
    """
    return with_claims(frame, claims(frame, plan, id_map, target_rows))


def unmatched(frame: pl.LazyFrame) -> pl.LazyFrame:
    """`frame` as `match` gives it where the target has nothing to match."""
    nothing = pl.lit(None, dtype=pl.String)
    return frame.with_columns(_target_id=nothing, _matched_by=pl.lit(None, dtype=MATCHED_BY), _conflict=nothing)


def with_claims(frame: pl.LazyFrame, found: pl.LazyFrame) -> pl.LazyFrame:
    """`frame` as `match` gives it; `found` are the `claims` of its rows, and perhaps of others."""
    return frame.join(found, on="_source_id", how="left", maintain_order="left")


def duplicate_keys(frame: pl.LazyFrame, plan: ObjectPlan, id_column: str = "_source_id") -> pl.LazyFrame:
    """The match keys that more than one row has; blanks are no keys.

    `frame` is a transformed or resolved frame, or target rows with `id_column` "Id".
    Columns: `key` String (the parts joined by " | "), `rows` UInt32, `ids` List(String), some of them. Most rows first.
    """
    if not plan.match_key:
        return pl.LazyFrame(schema={"key": pl.String, "rows": pl.UInt32, "ids": pl.List(pl.String)})
    keys = _key_columns(plan)
    return (
        frame.select(pl.col(id_column).alias("_id"), **keys)
        .drop_nulls(list(keys))
        .group_by(list(keys))
        .agg(pl.len().cast(pl.UInt32).alias("rows"), pl.col("_id").sort().head(SAMPLE).alias("ids"))
        .filter(pl.col("rows") > 1)
        .select(pl.concat_str(list(keys), separator=" | ").alias("key"), "rows", "ids")
        .sort("rows", "key", descending=[True, False])
    )


def sharing_keys(frame: pl.LazyFrame, plan: ObjectPlan, id_column: str = "_source_id") -> pl.LazyFrame:
    """Every row whose match key another row of `frame` has too: `_id`, `key` as in `duplicate_keys`."""
    keys = _key_columns(plan)
    rows = frame.select(pl.col(id_column).alias("_id"), **keys).drop_nulls(list(keys))
    shared = rows.group_by(list(keys)).len().filter(pl.col("len") > 1)
    joined = rows.join(shared, on=list(keys), how="semi")
    return joined.select("_id", pl.concat_str(list(keys), separator=" | ").alias("key"))


def collisions(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The target records that several rows of a matched frame lead to, by id map or migration key.

    Columns: `_target_id` String, `rows` UInt32, `ids` List(String), some of the source ids.
    """
    return (
        frame.filter(pl.col("_target_id").is_not_null())
        .group_by("_target_id")
        .agg(pl.len().cast(pl.UInt32).alias("rows"), pl.col("_source_id").sort().head(SAMPLE).alias("ids"))
        .filter(pl.col("rows") > 1)
        .sort("_target_id")
    )


def key_text(part: KeyPart, plan: ObjectPlan) -> pl.Expr:
    """One part of the match key as text that is equal where Salesforce calls the values equal; blank is null."""
    field = _key_field(part, plan)
    text = write(canonical(pl.col(part.target), field), dtype(field))
    if part.case_sensitive or part.is_lookup or field.type in ("id", "reference"):
        return text
    return text.str.to_lowercase()


def _key_field(part: KeyPart, plan: ObjectPlan) -> Field:
    if part.is_lookup:
        return plan.lookup(part.target).target
    if part.target == plan.migration_key:
        return Field(part.target)
    return plan.mapping(part.target).target


def _key_columns(plan: ObjectPlan) -> dict[str, pl.Expr]:
    return {f"_key{number}": key_text(part, plan) for number, part in enumerate(plan.match_key)}


def claims(
    frame: pl.LazyFrame, plan: ObjectPlan, id_map: pl.LazyFrame, target_rows: pl.LazyFrame, keep: Sequence[str] = ()
) -> pl.LazyFrame:
    """What `match` adds, alone: `_source_id`, `_target_id`, `_matched_by`, `_conflict`, and columns to `keep`. All rows of the
    object at once, for they may contend for a record; only ids and keys are held, never whole rows."""
    keys = _key_columns(plan)
    found = frame.select("_source_id", *keep, **keys)
    there = target_rows.select("Id")
    alive = id_map.select("source_id", pl.col("target_id").alias("_by_map")).join(
        there, left_on="_by_map", right_on="Id", how="semi"
    )
    found = found.join(alive, left_on="_source_id", right_on="source_id", how="left")
    nothing = pl.lit(None, dtype=pl.String)
    if plan.migration_key is None:
        found = found.with_columns(nothing.alias("_by_migration"))
    else:
        carried = target_rows.select(
            to18(pl.col(plan.migration_key)).alias("_carried"), pl.col("Id").alias("_by_migration")
        )
        found = found.join(
            carried.drop_nulls().unique("_carried", keep="none"), left_on="_source_id", right_on="_carried", how="left"
        )
    if not keys:
        found = found.with_columns(nothing.alias("_by_key"), pl.lit(None, dtype=pl.UInt32).alias("_sharing"))
    else:
        keyed = target_rows.select(pl.col("Id").alias("_by_key"), **keys).drop_nulls(list(keys))
        grouped = keyed.group_by(list(keys)).agg(pl.col("_by_key").first(), pl.len().cast(pl.UInt32).alias("_sharing"))
        found = found.join(grouped, on=list(keys), how="left")
    return _judged(found, plan, keep)


def _judged(claims: pl.LazyFrame, plan: ObjectPlan, keep: Sequence[str]) -> pl.LazyFrame:
    sure = pl.coalesce("_by_map", "_by_migration")
    by_key = pl.when(sure.is_null() & (pl.col("_sharing") == 1)).then(pl.col("_by_key"))
    claims = claims.with_columns(sure.alias("_sure"), by_key.alias("_maybe"))
    # Rows that nothing leads anywhere are one group of their own here, which no condition looks at.
    claims = claims.with_columns(pl.coalesce("_sure", "_maybe").alias("_claimed")).with_columns(
        pl.len().over("_claimed").alias("_claimants")
    )
    names = " + ".join(part.target for part in plan.match_key)
    shared = pl.col("_sure").is_null() & (pl.col("_sharing") > 1)
    contested = pl.col("_maybe").is_not_null() & (pl.col("_claimants") > 1)
    return claims.select(
        "_source_id",
        *keep,
        pl.when(~contested.fill_null(False)).then(pl.col("_claimed")).alias("_target_id"),
        pl.when(pl.col("_by_map").is_not_null())
        .then(pl.lit("id map", dtype=MATCHED_BY))
        .when(pl.col("_by_migration").is_not_null())
        .then(pl.lit("migration key", dtype=MATCHED_BY))
        .when(pl.col("_maybe").is_not_null() & ~contested)
        .then(pl.lit("match key", dtype=MATCHED_BY))
        .alias("_matched_by"),
        pl.when(shared)
        .then(pl.format("match key {}: {} records of the target share its value", pl.lit(names), "_sharing"))
        .when(contested)
        .then(
            pl.format(
                "match key {}: {} source rows lead to the target record {}", pl.lit(names), "_claimants", "_claimed"
            )
        )
        .alias("_conflict"),
    )
