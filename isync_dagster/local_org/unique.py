"""Uniqueness and keys: clashes with stored rows and inside one upload, and the match of an upsert."""

from __future__ import annotations

import duckdb
import polars as pl

from isync_dagster.local_org.org_schema import column_type, quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.rules import fields_of
from isync_dagster.local_org.storage import registered, select
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import Field, SObject

CHUNK = 200  # rows that the platform saves together


def key(field: Field, column: pl.Expr) -> pl.Expr:
    """A value as the field's index compares it."""
    if column_type(field) == "VARCHAR" and field.type not in ("id", "reference") and not field.case_sensitive:
        return column.str.to_lowercase()
    return column


def sql_key(field: Field, column: str) -> str:
    """The SQL of the same comparison."""
    if column_type(field) == "VARCHAR" and field.type not in ("id", "reference") and not field.case_sensitive:
        return f"lower({column})"
    return column


def refuse_duplicates(rows: Rows, cursor: duckdb.DuckDBPyConnection, sobject: SObject) -> None:
    """Take out rows whose unique values are taken, by a stored row or by an earlier row of the upload."""
    for field in fields_of(sobject, rows.good.columns):
        if not field.unique or field.name == "Id" or not rows.good.height:
            continue
        mine = rows.good.select("_row", "Id", key(field, pl.col(field.name)).alias("key")).drop_nulls("key")
        if not mine.height:
            continue
        first = mine.group_by("key", maintain_order=True).agg(pl.col("Id").first().alias("holder"), pl.len().alias("n"))
        clashes = mine.join(first.filter(pl.col("n") > 1), on="key").filter(pl.col("Id") != pl.col("holder"))
        with registered(cursor, _wanted=first.select("key"), _mine=rows.good.select("Id")):
            stored = select(
                cursor,
                f'SELECT w.key, min(t."Id") AS holder FROM _wanted w JOIN {quote(sobject.name)} t '
                f"ON {sql_key(field, 't.' + quote(field.name))} = w.key "
                f'WHERE NOT t."IsDeleted" AND t."Id" NOT IN (SELECT "Id" FROM _mine) GROUP BY w.key',
            )
        taken = mine.join(stored, on="key")
        rows.refuse_rows(
            pl.concat([taken.select("_row", "holder"), clashes.select("_row", "holder")]).select(
                "_row",
                _username_taken()
                if sobject.name == "User" and field.name == "Username"
                else error(
                    "DUPLICATE_VALUE",
                    pl.concat_str(
                        [
                            pl.lit(f"duplicate value found: {field.name} duplicates value on record with id: "),
                            pl.col("holder").str.slice(0, 15),
                        ]
                    ),
                    field.name,
                ).alias("error"),
            )
        )


def _username_taken() -> pl.Expr:
    message = "Duplicate Username.<br>The username already exists in this or another Salesforce organization. "
    message += "Usernames must be unique across all Salesforce organizations."
    return error("DUPLICATE_USERNAME", message, "Username")


def match_key(rows: Rows, cursor: duckdb.DuckDBPyConnection, sobject: SObject, field: Field) -> None:
    """Put the `Id` of the stored row beside each row of an upsert (null: none); refuse unclear keys.

    The key column is typed already. Refused are rows without key, keys that several stored rows have, and keys
    that come twice within a chunk of 200.
    """
    rows.refuse([(pl.col(field.name).is_null(), error("MISSING_ARGUMENT", f"{field.name} not specified", field.name))])
    if not rows.good.height:
        rows.good = rows.good.with_columns(pl.lit(None, dtype=pl.String).alias("Id"))
        return
    keyed = rows.good.with_columns(key(field, pl.col(field.name)).alias("_key"))
    chunk = pl.col("_row") // CHUNK
    twice = keyed.filter(pl.len().over("_key", chunk) > 1)
    if twice.height:
        message = pl.concat_str([pl.lit("Duplicate external id specified: "), pl.col(field.name).cast(pl.String)])
        rows.refuse_rows(twice.select("_row", error("DUPLICATE_VALUE", message, field.name).alias("error")))
        keyed = keyed.join(twice.select("_row"), on="_row", how="anti", maintain_order="left")
    with registered(cursor, _wanted=keyed.select("_key").unique()):
        found = select(
            cursor,
            f'SELECT w._key, min(t."Id") AS "Id", count(*) AS n, string_agg(t."Id", \', \' ORDER BY t."Id") AS ids '
            f"FROM _wanted w JOIN {quote(sobject.name)} t ON {sql_key(field, 't.' + quote(field.name))} = w._key "
            f'WHERE NOT t."IsDeleted" GROUP BY w._key',
        )
    joined = keyed.join(found, on="_key", how="left", maintain_order="left")
    message = pl.concat_str([pl.lit("More than one record found for external id field: ["), pl.col("ids"), pl.lit("]")])
    rows.good = joined
    rows.refuse([(pl.col("n") > 1, error("DUPLICATE_EXTERNAL_ID", message, field.name))])
    rows.good = rows.good.drop("_key", "n", "ids")
