"""The order in which rows are sent: the same in every run, parents' locks taken one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.records.locks import by_rule


def load_order(frame: pl.LazyFrame, plan: ObjectPlan, by: Sequence[str] | None = None) -> pl.LazyFrame:
    """`frame` sorted for the load, with `_row` UInt32 counting from 0 in that order.

    First `_wave` where the plan has a rule for it, then the parents in the fields `by` (those that rows contend for, the worst
    first; default: by kind alone), so that siblings stand side by side, then the source id.
    """
    # Without a rule all rows are of one wave: a key that is equal in all of them costs as much as any other.
    keys = [] if plan.wave_rule is None else ["_wave"]
    keys += by_rule(sent_lookups(plan)) if by is None else by
    return frame.sort(*keys, "_source_id", nulls_last=True).with_row_index("_row")


def sent_lookups(plan: ObjectPlan) -> tuple[Lookup, ...]:
    """The lookups that the load writes, by which its rows may contend for parents."""
    return tuple(lookup for lookup in plan.lookups if not lookup.deferred)


def waves(
    frame: pl.LazyFrame,
    plan: ObjectPlan,
    standard_books: pl.LazyFrame | None = None,
    levels: pl.LazyFrame | None = None,
) -> pl.LazyFrame:
    """`frame` (transformed or resolved) with `_wave` UInt32: a wave is sent when the one before is in the target.

    `standard_price_book_first`: 0 for entries of the standard price books (`standard_books` has their `source_id`),
    else 1. `self_levels`: how many records of the frame stand above a row by the self lookup; rows of a cycle, which
    no order can serve, come last. Else 0.

    `self_levels` collects two id columns and then joins once a level: bounded by rows × 36 bytes. `levels` (`levels_of`
    all rows of the object) are given where `frame` holds some of them only.
    """
    if plan.wave_rule is None:
        return frame.with_columns(pl.lit(0, dtype=pl.UInt32).alias("_wave"))
    known = frame.collect_schema()
    if plan.wave_rule == "standard_price_book_first":
        if standard_books is None:
            raise ValueError("the rule standard_price_book_first needs the standard price books of the source")
        book = "_from.Pricebook2Id" if "_from.Pricebook2Id" in known else "Pricebook2Id"
        standard = standard_books.select(pl.col("source_id").alias("_book"), pl.lit(0, dtype=pl.UInt32).alias("_wave"))
        return frame.join(
            standard.unique("_book", keep="any"), left_on=book, right_on="_book", how="left", maintain_order="left"
        ).with_columns(pl.col("_wave").fill_null(1))
    found = levels_of(frame, plan) if levels is None else levels
    return frame.join(found, on="_source_id", how="left", maintain_order="left")


def levels_of(frame: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """`_source_id`, `_wave` of every row of an object that is loaded level by level, which `frame` holds all of."""
    name = plan.self_level_field
    parent = f"_from.{name}" if f"_from.{name}" in frame.collect_schema() else str(name)
    return self_levels(frame.select("_source_id", pl.col(parent).alias("parent"))).lazy()


def self_levels(links: pl.LazyFrame) -> pl.DataFrame:
    """The level of each record in its own hierarchy: `_source_id`, `_wave` UInt32.

    `links` has `_source_id` (unique) and `parent`. A record whose parent is absent or not among the records is at 0.

    >>> links = pl.LazyFrame({"_source_id": ["c", "b", "a"], "parent": ["b", "a", None]})
    >>> self_levels(links).sort("_source_id")["_wave"].to_list()
    [0, 1, 2]
    """
    rest = links.select("_source_id", "parent").collect()
    inside = rest.select(pl.col("_source_id").alias("parent"))
    is_root = rest.join(inside, on="parent", how="anti")
    done, level = [is_root.select("_source_id", pl.lit(0, dtype=pl.UInt32).alias("_wave"))], 0
    rest = rest.join(is_root, on="_source_id", how="anti")
    while rest.height:
        level += 1
        above = done[-1].select(pl.col("_source_id").alias("parent"))
        reached = rest.join(above, on="parent", how="semi")
        if reached.is_empty():
            reached = rest
        done.append(reached.select("_source_id", pl.lit(level, dtype=pl.UInt32).alias("_wave")))
        rest = rest.join(reached, on="_source_id", how="anti")
    return pl.concat(done)
