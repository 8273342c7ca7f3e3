"""Pair the results of a Bulk job with the rows that were sent, without guessing.

Results come in any order and echo the columns that were sent, so a result belongs to a row that is equal in *all* of
them. Rows that are equal in every sent column are interchangeable: any one-to-one assignment among them is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from isync_dagster.records.canonical import one_line_end
from isync_dagster.records.ids import to18

_ERROR = r"(?s)^(?P<code>[A-Z][A-Z0-9_]*):(?P<message>.*?):(?P<fields>[^:]*?)\s*--\s*$"
_OWN = ("sf__Id", "sf__Created", "sf__Error")
_BLANK = pl.lit("", dtype=pl.String)


@dataclass(frozen=True)
class Paired:
    """Who got which result; the three frames share their work, so collect them together (`pl.collect_all`)."""

    rows: pl.LazyFrame
    """`_row` UInt32, `target_id` String, `created` Boolean, `code`, `message`, `fields` String, `state` String."""
    unpaired: pl.LazyFrame
    """Results that no sent row accounts for: `sf__Id`, `sf__Created`, `sf__Error`, and the echoed columns."""
    unanswered: pl.LazyFrame
    """`_row` UInt32 of the sent rows without a result."""


def pair(sent: pl.LazyFrame, results: pl.LazyFrame, operation: str = "insert") -> Paired:
    """Pair `sent` (`_row` UInt32 and the sent columns as text) with `results`, one to one.

    `results` holds the successful, failed and unprocessed results of one job together (`pl.concat(how="diagonal")`),
    all text: `sf__Id`, `sf__Created`, `sf__Error` and the echoed columns, in any order; a column that is missing is
    blank. Blank and null are the same, and so are `\\r\\n` and `\\n`. Other columns that start with `_` are ignored.

    `state` is failed, inserted, updated or deleted by what the result says (`operation` where it says neither), and
    pending for a row that Salesforce hands back unprocessed.
    """
    columns = [name for name in sent.collect_schema().names() if not name.startswith("_")]
    echoed = results.collect_schema()
    keys = {name: _plain(pl.col(name)) for name in columns}
    echoes = _cells(echoed, columns)
    own = [(_plain(pl.col(name)) if name in echoed else _BLANK).alias(name) for name in _OWN]
    asked = sent.select("_row", **keys).group_by(columns).agg(pl.col("_row").sort().alias("_rows"))
    answered = results.select(*own, **echoes).group_by(columns).agg(pl.struct(_OWN).sort().alias("_results"))
    # Blanks are "" here, so that no key is null and equal rows always meet.
    groups = asked.join(answered, on=columns, how="full", coalesce=True)
    both = pl.min_horizontal(_length("_rows"), _length("_results"))
    rows = (
        groups.select(pl.col("_rows").list.head(both), pl.col("_results").list.head(both))
        .filter(pl.col("_rows").list.len() > 0)
        .explode("_rows", "_results")
        .rename({"_rows": "_row"})
        .unnest("_results")
    )
    return Paired(
        _outcome(rows, operation),
        _beyond(groups, "_results", both, keep=columns).unnest("_results").select(*_OWN, *columns),
        _beyond(groups, "_rows", both).select(pl.col("_rows").alias("_row")),
    )


def pair_hashed(sent: pl.LazyFrame, results: pl.LazyFrame, operation: str = "insert") -> pl.DataFrame | None:
    """`Paired.rows` at a fraction of the cost where every row has its result, and every result its row; else None.

    Takes what `pair` takes. Rows are told apart by a hash of 64 bits of all columns, and where it has one for several by a
    second one besides: what is held is some 100 bytes a row, whatever the columns. It answers only where the hashes of both
    sides are the same, one for one. Rows that differ could get each other's results only if both hashes of both were the same,
    or if the org echoed both of them changed and each hash met the other's (2^-128); whatever else does not fit is left to
    `pair`, which compares the columns themselves.
    """
    columns = [name for name in sent.collect_schema().names() if not name.startswith("_")]
    echoed = results.collect_schema()
    own = [(_plain(pl.col(name)) if name in echoed else _BLANK).alias(name) for name in _OWN]
    asked = sent.select("_row", **_cells(sent.collect_schema(), columns))
    answered = results.select(*own, **_cells(echoed, columns))
    first = _row_hash(columns, 0).alias("_hash")
    left, right = pl.collect_all([asked.select("_row", first), answered.select(*_OWN, first)], engine="streaming")
    if left.height != right.height:
        return None
    keys = ["_hash"]
    if left["_hash"].n_unique() < left.height:
        second = _row_hash(columns, len(columns)).alias("_second")
        more = pl.collect_all([asked.select(second), answered.select(second)], engine="streaming")
        # Equal rows are interchangeable: the first takes the first result of them, and so on.
        keys += ["_second", "_nth"]
        nth = pl.int_range(pl.len()).over("_hash", "_second").alias("_nth")
        left, right = (side.hstack(other).with_columns(nth) for side, other in zip((left, right), more, strict=True))
    found = right.select(keys).with_row_index("_at")
    at = left.select(keys).join(found, on=keys, how="left", maintain_order="left")["_at"]
    if at.len() != left.height or at.null_count() or at.n_unique() != left.height:
        return None
    return _outcome(right.select(_OWN)[at].with_columns(left["_row"]).lazy(), operation).collect()


def _cells(known: pl.Schema, columns: list[str]) -> dict[str, pl.Expr]:
    return {name: _plain(pl.col(name)) if name in known else _BLANK for name in columns}


def _row_hash(columns: list[str], seed: int) -> pl.Expr:
    """One number of several columns without nulls; equal where they are, whichever frame they stand in.

    Each column has a seed of its own, so that a sum tells their order; it makes a flat plan, in milliseconds for hundreds of
    columns, where one column's number mixed into the next one's took a quarter of a second.
    """
    return pl.sum_horizontal(pl.lit(0, dtype=pl.UInt64), *(pl.col(n).hash(seed + i) for i, n in enumerate(columns)))


def split_error(expr: pl.Expr) -> pl.Expr:
    """The parts of `sf__Error` as a struct of `code`, `message`, `fields` (comma-separated); null where it is blank.

    >>> errors = pl.DataFrame({"e": ["REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --", "odd", ""]})
    >>> errors.select(split_error(pl.col("e"))).to_series().to_list()
    [{'code': 'REQUIRED_FIELD_MISSING', 'message': 'Required fields are missing: [Name]', 'fields': 'Name'},
     {'code': 'UNKNOWN', 'message': 'odd', 'fields': None},
     {'code': None, 'message': None, 'fields': None}]
    """
    text = pl.when(expr.str.strip_chars() != "").then(expr)
    whole = text.str.extract_groups(_ERROR)
    # A text that is not of the usual shape is cut at the first colon, if what stands before it looks like a code.
    loose = text.str.extract_groups(r"(?s)^(?P<code>[A-Z][A-Z0-9_]*):(?P<message>.*)$")
    fields = whole.struct.field("fields").str.strip_chars()
    return pl.struct(
        pl.coalesce(
            whole.struct.field("code"), loose.struct.field("code"), pl.when(text.is_not_null()).then(pl.lit("UNKNOWN"))
        ).alias("code"),
        pl.coalesce(whole.struct.field("message"), loose.struct.field("message"), text).alias("message"),
        pl.when(fields != "").then(fields).alias("fields"),
    )


def _plain(expr: pl.Expr) -> pl.Expr:
    return one_line_end(expr.cast(pl.String)).fill_null("")


def _length(name: str) -> pl.Expr:
    return pl.col(name).list.len().fill_null(0)


def _beyond(groups: pl.LazyFrame, name: str, both: pl.Expr, keep: list[str] | None = None) -> pl.LazyFrame:
    """The members of a side that the other side of their group does not reach."""
    rest = groups.filter(_length(name) > both).select(*(keep or []), pl.col(name).list.slice(both))
    return rest.explode(name)


def _outcome(rows: pl.LazyFrame, operation: str) -> pl.LazyFrame:
    done = {"update": "updated", "delete": "deleted", "hardDelete": "deleted"}.get(operation, "inserted")
    word = pl.col("sf__Created").str.to_lowercase()
    created = pl.when(word == "true").then(True).when(word == "false").then(False)
    succeeded = pl.lit(done)
    if operation in ("insert", "upsert"):
        succeeded = pl.when(created.eq_missing(False)).then(pl.lit("updated")).otherwise(pl.lit("inserted"))
    error = split_error(pl.col("sf__Error"))
    return rows.select(
        "_row",
        to18(pl.col("sf__Id")).alias("target_id"),
        created.alias("created"),
        error.struct.field("code"),
        error.struct.field("message"),
        error.struct.field("fields"),
        pl.when(pl.col("sf__Error").str.strip_chars() != "")
        .then(pl.lit("failed"))
        .when(pl.col("sf__Id") != "")
        .then(succeeded)
        .otherwise(pl.lit("pending"))
        .alias("state"),
    )
