"""Rules of the links between contacts, accounts and opportunities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.storage import insert_frame, registered, select
from isync_dagster.local_org.values import error

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer

RELATION = "AccountContactRelation"


def one_primary_role(writer: Writer, ids: pl.DataFrame) -> None:
    """The role made primary last is the opportunity's only primary one; `ids` holds `Id` of rows just written."""
    with registered(writer.cursor, _mine=ids.select("Id")):
        writer.cursor.execute(
            'UPDATE "OpportunityContactRole" AS t SET "IsPrimary" = false, "SystemModstamp" = ? FROM '
            '(SELECT "OpportunityId", max("Id") AS keep FROM "OpportunityContactRole" WHERE "IsPrimary" '
            'AND NOT "IsDeleted" AND "Id" IN (SELECT "Id" FROM _mine) GROUP BY "OpportunityId") s '
            'WHERE t."OpportunityId" = s."OpportunityId" AND t."Id" <> s.keep AND t."IsPrimary"',
            [writer.actor.now],
        )


def relate(writer: Writer, frame: pl.DataFrame) -> None:
    """A new contact of an account comes with its direct relation; `frame` are the contacts just stored."""
    sobject = writer.schema.get(RELATION)
    if sobject is None or "AccountId" not in frame.columns:
        return
    mine = frame.filter(pl.col("AccountId").is_not_null())
    if "IsPersonAccount" in frame.columns:
        mine = mine.filter(~pl.col("IsPersonAccount").fill_null(False))
    if mine.height:
        _relate(writer, mine.select(pl.col("Id").alias("ContactId"), "AccountId"))


def follow_accounts(writer: Writer, frame: pl.DataFrame) -> None:
    """The direct relation of a contact goes with its account; `frame` are changes just stored (`Id`, columns)."""
    sobject = writer.schema.get(RELATION)
    if sobject is None or "AccountId" not in frame.columns:
        return
    with registered(writer.cursor, _mine=frame.select("Id")):
        writer.cursor.execute(
            'DELETE FROM "AccountContactRelation" r USING "Contact" c WHERE r."ContactId" = c."Id" '
            'AND c."Id" IN (SELECT "Id" FROM _mine) AND r."IsDirect" AND r."AccountId" IS DISTINCT FROM c."AccountId"'
        )
        # The relation that the contact had to its new account becomes the direct one.
        writer.cursor.execute(
            'UPDATE "AccountContactRelation" AS r SET "IsDirect" = true, "SystemModstamp" = ? FROM "Contact" c '
            'WHERE r."ContactId" = c."Id" AND r."AccountId" = c."AccountId" AND NOT r."IsDeleted" '
            'AND NOT r."IsDirect" AND c."Id" IN (SELECT "Id" FROM _mine)',
            [writer.actor.now],
        )
        missing = select(
            writer.cursor,
            'SELECT c."Id" AS "ContactId", c."AccountId" FROM "Contact" c WHERE c."Id" IN (SELECT "Id" FROM _mine) '
            'AND c."AccountId" IS NOT NULL AND NOT EXISTS (SELECT 1 FROM "AccountContactRelation" r '
            'WHERE r."ContactId" = c."Id" AND r."AccountId" = c."AccountId" AND NOT r."IsDeleted")',
        )
    if missing.height:
        _relate(writer, missing)


def _relate(writer: Writer, frame: pl.DataFrame) -> None:
    sobject = writer.schema[RELATION]
    made = frame.with_columns(pl.lit(True).alias("IsDirect"), pl.lit(True).alias("IsActive"))
    insert_frame(writer.cursor, sobject, writer.fill(sobject, made))


def refuse_relations(writer: Writer, rows: Rows) -> None:
    """An account and a contact are related once."""
    if {"AccountId", "ContactId"} - set(rows.good.columns):
        return
    mine = rows.good.select("_row", "AccountId", "ContactId")
    with registered(writer.cursor, _mine=mine):
        taken = select(
            writer.cursor,
            f"SELECT DISTINCT m._row FROM _mine m JOIN {quote(RELATION)} t "
            'ON t."AccountId" = m."AccountId" AND t."ContactId" = m."ContactId" WHERE NOT t."IsDeleted"',
        )
    again = mine.filter(pl.int_range(pl.len()).over("AccountId", "ContactId") > 0).select("_row")
    double = pl.concat([taken.select(pl.col("_row").cast(pl.UInt32)), again]).unique()
    message = "There's already a relationship between this account and contact."
    rows.refuse_rows(double.select("_row", error("DUPLICATE_VALUE", message, "AccountId, ContactId").alias("error")))


def refuse_direct_relations(writer: Writer, rows: Rows) -> None:
    """The direct relation stays as long as its contact belongs to the account."""
    with registered(writer.cursor, _mine=rows.good.select("_row", "Id")):
        direct = select(
            writer.cursor,
            f'SELECT m._row FROM _mine m JOIN {quote(RELATION)} t ON t."Id" = m."Id" WHERE t."IsDirect"',
        )
    message = "You can't delete a direct account contact relationship."
    refusal = error("DELETE_FAILED", message).alias("error")
    rows.refuse_rows(direct.select(pl.col("_row").cast(pl.UInt32), refusal))
