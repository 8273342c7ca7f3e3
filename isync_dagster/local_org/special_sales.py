"""Rules of prices, opportunities, contracts and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.storage import registered, select
from isync_dagster.local_org.unique import CHUNK
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer

# Statuses of contracts and orders that a new row may not have; any other counts as a draft status.
NOT_DRAFT: Final = ("Activated", "In Approval Process", "Expired", "Terminated", "Superseded", "Canceled", "Cancelled")


def refuse_prices(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """A price book entry: the standard price first, one entry a product and book."""
    if {"Pricebook2Id", "Product2Id"} - set(rows.good.columns):
        return
    currency = "CurrencyIsoCode" if "CurrencyIsoCode" in rows.good.columns else None
    keys = ["Pricebook2Id", "Product2Id", *([currency] if currency else [])]
    mine = rows.good.select("_row", *keys)
    with registered(writer.cursor, _mine=mine):
        same = " AND ".join(f"t.{quote(name)} = m.{quote(name)}" for name in keys)
        taken = select(
            writer.cursor,
            f'SELECT DISTINCT m._row FROM _mine m JOIN "PricebookEntry" t ON {same} WHERE NOT t."IsDeleted"',
        )
        standard = select(writer.cursor, 'SELECT "Id" FROM "Pricebook2" WHERE "IsStandard"')["Id"].to_list()
        priced = select(
            writer.cursor,
            'SELECT DISTINCT t."Product2Id" FROM "PricebookEntry" t JOIN "Pricebook2" b ON b."Id" = t."Pricebook2Id" '
            'WHERE b."IsStandard" AND NOT t."IsDeleted" AND t."Product2Id" IN (SELECT "Product2Id" FROM _mine)',
        )
    again = mine.filter(pl.int_range(pl.len()).over(keys) > 0).select("_row")
    double = pl.concat([taken.select(pl.col("_row").cast(pl.UInt32)), again])
    message = "This price definition already exists in this price book"
    rows.refuse_rows(double.select("_row", error("DUPLICATE_VALUE", message).alias("error")))
    own = pl.col("Pricebook2Id").is_in(standard)
    # A standard price counts for the custom ones of later chunks of the same upload.
    first = rows.good.filter(own).group_by("Product2Id").agg((pl.col("_row").min() // CHUNK).alias("chunk"))
    custom = rows.good.filter(~own).join(priced, on="Product2Id", how="anti").join(first, on="Product2Id", how="left")
    early = custom.filter(pl.col("chunk").is_null() | (pl.col("_row") // CHUNK <= pl.col("chunk")))
    message = "Before creating a custom price, create a standard price."
    rows.refuse_rows(early.select("_row", error("STANDARD_PRICE_NOT_DEFINED", message).alias("error")))


def name_prices(writer: Writer, rows: Rows) -> None:
    """An entry shows its product's name and code; `UseStandardPrice` takes the standard book's price."""
    with registered(writer.cursor, _mine=rows.good.select("Product2Id").unique()):
        products = select(
            writer.cursor,
            'SELECT p."Id" AS "Product2Id", p."Name" AS _name, p."ProductCode" AS _code, '
            '(SELECT max(t."UnitPrice") FROM "PricebookEntry" t JOIN "Pricebook2" b ON b."Id" = t."Pricebook2Id" '
            'WHERE b."IsStandard" AND NOT t."IsDeleted" AND t."Product2Id" = p."Id") AS _price '
            'FROM "Product2" p WHERE p."Id" IN (SELECT "Product2Id" FROM _mine)',
        )
    joined = rows.good.join(products, on="Product2Id", how="left", maintain_order="left")
    shown = [pl.col("_name").alias("Name"), pl.col("_code").alias("ProductCode")]
    if {"UseStandardPrice", "UnitPrice"} <= set(joined.columns):
        takes = pl.col("UseStandardPrice") & pl.col("_price").is_not_null()
        price = pl.when(takes).then(pl.col("_price").cast(joined.schema["UnitPrice"])).otherwise("UnitPrice")
        shown.append(price.alias("UnitPrice"))
    rows.good = joined.with_columns(shown).drop("_name", "_code", "_price")


def refuse_lines(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """A line of an opportunity or order: an active entry of the parent's price book, one kind of price."""
    parent, lookup = ("Opportunity", "OpportunityId") if sobject.name == "OpportunityLineItem" else ("Order", "OrderId")
    if {lookup, "PricebookEntryId"} - set(rows.good.columns):
        return
    if {"UnitPrice", "TotalPrice"} <= set(rows.good.columns) and sobject.name == "OpportunityLineItem":
        both = pl.col("UnitPrice").is_not_null() & pl.col("TotalPrice").is_not_null()
        message = "field integrity exception: UnitPrice, TotalPrice (please specify one of them, not both)"
        rows.refuse([(both, error("FIELD_INTEGRITY_EXCEPTION", message, "UnitPrice, TotalPrice"))])
    if not rows.good.height:
        return
    books = _books(writer, rows.good, parent, lookup)
    where = f"({'opportunity' if parent == 'Opportunity' else 'order'})"
    other = (
        "field integrity exception: PricebookEntryId (pricebook entry is in a different pricebook than the one "
        f"assigned to the {where[1:-1]})"
    )
    idle = "field integrity exception: PricebookEntryId (pricebook entry is inactive)"
    checks = [
        ((pl.col("_book") != pl.col("_own")), error("FIELD_INTEGRITY_EXCEPTION", other, "PricebookEntryId")),
        (~pl.col("_active"), error("FIELD_INTEGRITY_EXCEPTION", idle, "PricebookEntryId")),
    ]
    if parent == "Order":
        done = "unable to create or update order products of an activated order"
        checks.insert(0, (pl.col("_status") == "Activated", error("FIELD_INTEGRITY_EXCEPTION", done, "OrderId")))
    rows.good = rows.good.join(books, on="_row", how="left", maintain_order="left")
    rows.refuse(checks)
    # The first line decides the price book of a parent that has none yet.
    fresh = rows.good.filter(pl.col("_own").is_null() & pl.col("_book").is_not_null())
    if fresh.height:
        chosen = fresh.group_by(lookup).agg(pl.col("_book").first())
        with registered(writer.cursor, _chosen=chosen):
            writer.cursor.execute(
                f'UPDATE {quote(parent)} AS t SET "Pricebook2Id" = c._book FROM _chosen c '
                f'WHERE t."Id" = c.{quote(lookup)}'
            )
    rows.good = rows.good.drop("_book", "_own", "_active", "_status")


def _books(writer: Writer, frame: pl.DataFrame, parent: str, lookup: str) -> pl.DataFrame:
    status = 'p."Status"' if parent == "Order" else "NULL::VARCHAR"
    with registered(writer.cursor, _mine=frame.select("_row", lookup, "PricebookEntryId")):
        return select(
            writer.cursor,
            f'SELECT m._row, e."Pricebook2Id" AS _book, e."IsActive" AS _active, p."Pricebook2Id" AS _own, '
            f'{status} AS _status FROM _mine m LEFT JOIN "PricebookEntry" e ON e."Id" = m."PricebookEntryId" '
            f'LEFT JOIN {quote(parent)} p ON p."Id" = m.{quote(lookup)}',
        ).with_columns(pl.col("_row").cast(pl.UInt32))


def name_lines(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """A line shows its entry's product, name and list price."""
    with registered(writer.cursor, _mine=rows.good.select("PricebookEntryId").unique()):
        entries = select(
            writer.cursor,
            'SELECT e."Id" AS "PricebookEntryId", e."Product2Id" AS _product, e."ProductCode" AS _code, '
            'e."Name" AS _name, e."UnitPrice" AS _price FROM "PricebookEntry" e '
            'WHERE e."Id" IN (SELECT "PricebookEntryId" FROM _mine)',
        )
    joined = rows.good.join(entries, on="PricebookEntryId", how="left", maintain_order="left")
    shown = [pl.col("_product").alias("Product2Id"), pl.col("_price").alias("ListPrice")]
    if sobject.name == "OpportunityLineItem":
        shown += [pl.col("_code").alias("ProductCode"), pl.col("_name").alias("Name")]
    rows.good = joined.with_columns(shown).drop("_product", "_code", "_name", "_price")


def total_lines(writer: Writer, sobject: SObject, parents: pl.DataFrame) -> None:
    """Sum the lines up into their opportunities (Amount) or orders (TotalAmount); `parents` holds `id`."""
    deal = sobject.name == "OpportunityLineItem"
    parent, lookup = ("Opportunity", "OpportunityId") if deal else ("Order", "OrderId")
    item = writer.schema.get(parent)
    target = "Amount" if deal else "TotalAmount"
    if item is None or item.field(target) is None:
        return
    flag = ', "HasOpportunityLineItem" = s.n > 0' if deal and item.field("HasOpportunityLineItem") else ""
    amount = f"CASE WHEN s.n > 0 THEN s.total ELSE t.{quote(target)} END" if deal else "coalesce(s.total, 0)"
    with registered(writer.cursor, _parents=parents.unique()):
        writer.cursor.execute(
            f'UPDATE {quote(parent)} AS t SET {quote(target)} = {amount}{flag}, "SystemModstamp" = $now FROM '
            f'(SELECT p.id, sum(l."TotalPrice") AS total, count(l."Id") AS n FROM _parents p LEFT JOIN '
            f'{quote(sobject.name)} l ON l.{quote(lookup)} = p.id AND NOT l."IsDeleted" GROUP BY p.id) s '
            f'WHERE t."Id" = s.id',
            {"now": writer.actor.now},
        )


def refuse_not_draft(sobject: SObject, rows: Rows) -> None:
    """A new contract or order is a draft."""
    if "Status" not in rows.good.columns:
        return
    message = f"Choose a valid {sobject.label.lower()} status and save your changes. Ask your admin for details."
    rows.refuse([(pl.col("Status").is_in(list(NOT_DRAFT)), error("INVALID_STATUS", message, "Status"))])


def refuse_activation(writer: Writer, rows: Rows) -> None:
    """An order is activated once it has products."""
    if "Status" not in rows.good.columns or writer.schema.get("OrderItem") is None:
        return
    wanted = rows.good.filter(pl.col("Status") == "Activated").select("_row", "Id")
    if not wanted.height:
        return
    with registered(writer.cursor, _mine=wanted):
        bare = select(
            writer.cursor,
            'SELECT m._row FROM _mine m WHERE NOT EXISTS (SELECT 1 FROM "OrderItem" i WHERE i."OrderId" = m."Id" '
            'AND NOT i."IsDeleted")',
        )
    message = "An order must have at least one product."
    rows.refuse_rows(bare.select(pl.col("_row").cast(pl.UInt32), error("FAILED_ACTIVATION", message).alias("error")))


def keep_amounts(writer: Writer, rows: Rows) -> None:
    """The amount of an opportunity with products follows them: what a client writes is not stored."""
    if "Amount" not in rows.good.columns:
        return
    with registered(writer.cursor, _mine=rows.good.select("Id")):
        summed = select(
            writer.cursor,
            'SELECT o."Id" FROM "Opportunity" o JOIN _mine m ON m."Id" = o."Id" WHERE o."HasOpportunityLineItem"',
        )
    if summed.height:
        held = pl.col("Id").is_in(summed["Id"].to_list())
        empty = [pl.when(~held).then(pl.col("Amount")).alias("Amount")]
        if "_set.Amount" in rows.good.columns:
            empty.append((pl.col("_set.Amount") & ~held).alias("_set.Amount"))
        rows.good = rows.good.with_columns(empty)
