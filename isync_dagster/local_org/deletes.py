"""Deleting rows: what goes along, what forbids it, what is emptied."""

from __future__ import annotations

import polars as pl

from isync_dagster.local_org.automation import engine
from isync_dagster.local_org.dml import OUTCOME, Writer
from isync_dagster.local_org.ids import to18_expr
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.special import after_delete, before_delete
from isync_dagster.local_org.storage import registered, select
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import ChildRelationship, SObject

DEEP = 12  # levels of cascade after which a loop in the data is assumed


def delete_rows(writer: Writer, sobject: SObject, frame: pl.DataFrame, *, hard: bool = False) -> pl.DataFrame:
    """Delete rows named by `Id` (`_row`, `Id`): to the recycle bin, or for good if `hard`. Gives an outcome frame."""
    given = frame.select("_row", pl.col("Id").alias("given"))
    rows = Rows(frame.select("_row", to18_expr(pl.col("Id")).alias("Id")))
    writer.refuse_unknown_ids(rows, sobject)
    message = pl.concat_str([pl.lit("Duplicate id specified: "), pl.col("Id")])
    rows.refuse([(pl.int_range(pl.len()).over("Id") > 0, error("DUPLICATE_VALUE", message, "Id"))])
    engine.before_delete(writer, sobject, rows)
    before_delete(writer, sobject, rows)
    _refuse_restricted(writer, sobject, rows)
    if rows.good.height:
        _take_along(writer, sobject, rows.good.select("Id"), hard, 0)
    done = rows.good.select(
        "_row", pl.col("Id").alias("id"), pl.lit(False).alias("created"), pl.lit(None, dtype=pl.String).alias("error")
    )
    refused = (
        rows.refused()
        .join(given, on="_row")
        .select("_row", pl.col("given").alias("id"), pl.lit(False).alias("created"), "error")
    )
    return pl.concat([done, refused]).select(list(OUTCOME))


def children_of(writer: Writer, sobject: SObject) -> list[tuple[SObject, ChildRelationship]]:
    """The relationships whose rows this org holds; a child that is stored twice in a describe counts once."""
    found: dict[tuple[str, str], tuple[SObject, ChildRelationship]] = {}
    for child in sobject.child_relationships:
        other = writer.schema.get(child.child_s_object)
        field = other.field(child.field) if other is not None else None
        if other is not None and field is not None and field.is_reference and not field.calculated:
            found.setdefault((other.name, field.name), (other, child))
    return list(found.values())


def _refuse_restricted(writer: Writer, sobject: SObject, rows: Rows) -> None:
    for other, child in children_of(writer, sobject):
        if not child.restricted_delete or not rows.good.height:
            continue
        name = other.name_field
        label = quote(name.name) if name is not None else '"Id"'
        with registered(writer.cursor, _gone=rows.good.select("Id")):
            held = select(
                writer.cursor,
                f"SELECT g.\"Id\" AS value, string_agg(c.{label}, ', ') AS names FROM _gone g "
                f'JOIN {quote(other.name)} c ON c.{quote(child.field)} = g."Id" '
                'WHERE NOT c."IsDeleted" GROUP BY g."Id"',
            )
        if not held.height:
            continue
        own = sobject.name_field
        with registered(writer.cursor, _held=held):
            named = select(
                writer.cursor,
                f"SELECT h.value, h.names, p.{quote(own.name if own else 'Id')} AS own FROM _held h "
                f'JOIN {quote(sobject.name)} p ON p."Id" = h.value',
            )
        text = pl.concat_str(
            [
                pl.lit("Your attempt to delete "),
                pl.col("own").fill_null(""),
                pl.lit(" could not be completed because it is associated with the following "),
                pl.lit(f"{other.label_plural.lower()}.: "),
                pl.col("names").fill_null(""),
                pl.lit("\n"),
            ]
        )
        rows.refuse_values("Id", named.select("value", error("DELETE_FAILED", text).alias("error")))


def _take_along(writer: Writer, sobject: SObject, ids: pl.DataFrame, hard: bool, depth: int) -> None:
    """Delete rows, their cascading children first, and empty the other lookups that point at them."""
    cursor = writer.cursor
    for other, child in children_of(writer, sobject):
        column, table = quote(child.field), quote(other.name)
        field = other.field(child.field)
        assert field is not None
        with registered(cursor, _gone=ids):
            below = select(
                cursor,
                f'SELECT "Id" FROM {table} WHERE {column} IN (SELECT "Id" FROM _gone) '
                f'AND NOT "IsDeleted" AND "Id" NOT IN (SELECT "Id" FROM _gone)',
            )
        if not below.height:
            continue
        if child.cascade_delete or field.master_detail:
            if depth < DEEP:
                _take_along(writer, other, below, hard, depth + 1)
        elif field.nillable and field.name not in ("OwnerId", "CreatedById", "LastModifiedById"):
            with registered(cursor, _emptied=below):
                if not hard:
                    cursor.execute(
                        f'INSERT INTO _org.emptied SELECT ?, ?, "Id", {column} FROM {table} '
                        'WHERE "Id" IN (SELECT "Id" FROM _emptied)',
                        [other.name, field.name],
                    )
                cursor.execute(
                    f'UPDATE {table} SET {column} = NULL, "SystemModstamp" = ? '
                    'WHERE "Id" IN (SELECT "Id" FROM _emptied)',
                    [writer.actor.now],
                )
    with registered(cursor, _gone=ids):
        if hard:
            cursor.execute(f'DELETE FROM {quote(sobject.name)} WHERE "Id" IN (SELECT "Id" FROM _gone)')
        else:
            cursor.execute(
                f'UPDATE {quote(sobject.name)} SET "IsDeleted" = true, "SystemModstamp" = $now, '
                '"LastModifiedDate" = $now, "LastModifiedById" = $user WHERE "Id" IN (SELECT "Id" FROM _gone)',
                {"now": writer.actor.now, "user": writer.actor.user_id},
            )
            after_delete(writer, sobject, ids)
