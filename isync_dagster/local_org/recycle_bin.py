"""The recycle bin: what was deleted comes back with its children, or goes for good."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from isync_dagster.local_org.deletes import DEEP, children_of
from isync_dagster.local_org.dml import OUTCOME, Writer
from isync_dagster.local_org.ids import to18_expr
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.special import after_delete as retotal
from isync_dagster.local_org.storage import registered, select
from isync_dagster.local_org.unique import refuse_duplicates
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import SObject

NOT_IN_BIN = "Entity is not in the recycle bin"


def undelete_rows(writer: Writer, sobject: SObject, ids: Sequence[str]) -> pl.DataFrame:
    """Bring rows back with the children that went with them. Gives an outcome frame in the order of the ids."""
    rows, given = _named(ids)
    _refuse_live(writer, sobject, rows)
    _refuse_orphans(writer, sobject, rows)
    _refuse_taken(writer, sobject, rows)
    if rows.good.height:
        _bring_back(writer, sobject, rows.good.select("Id"), 0)
    return _outcome(rows, given)


def empty_rows(writer: Writer, sobject: SObject, ids: Sequence[str]) -> pl.DataFrame:
    """Take rows out of the recycle bin for good, with the children that went with them."""
    rows, given = _named(ids)
    _refuse_live(writer, sobject, rows)
    if rows.good.height:
        _purge(writer, sobject, rows.good.select("Id"), 0)
    return _outcome(rows, given)


def _named(ids: Sequence[str]) -> tuple[Rows, pl.DataFrame]:
    frame = pl.DataFrame({"_row": range(len(ids)), "Id": list(ids)}, schema={"_row": pl.UInt32, "Id": pl.String})
    given = frame.select("_row", pl.col("Id").alias("given"))
    return Rows(frame.with_columns(to18_expr(pl.col("Id")))), given


def _outcome(rows: Rows, given: pl.DataFrame) -> pl.DataFrame:
    good = rows.good.select("_row", pl.lit(None, dtype=pl.String).alias("error"))
    everything = pl.concat([good, rows.refused()]).join(given, on="_row")
    return everything.select("_row", pl.col("given").alias("id"), pl.lit(False).alias("created"), "error").select(
        list(OUTCOME)
    )


def _refuse_live(writer: Writer, sobject: SObject, rows: Rows) -> None:
    with registered(writer.cursor, _wanted=rows.good.select("Id").unique()):
        bad = select(
            writer.cursor,
            f'SELECT w."Id" AS value, t."Id" IS NULL AS missing FROM _wanted w LEFT JOIN {quote(sobject.name)} t '
            'ON t."Id" = w."Id" WHERE t."Id" IS NULL OR NOT t."IsDeleted"',
        )
    refusal = (
        pl.when(pl.col("missing"))
        .then(error("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"))
        .otherwise(error("UNDELETE_FAILED", NOT_IN_BIN))
    )
    rows.refuse_values("Id", bad.select("value", refusal.alias("error")))
    again = pl.int_range(pl.len()).over("Id") > 0
    rows.refuse([(again, error("UNDELETE_FAILED", NOT_IN_BIN))])


def _refuse_orphans(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """A detail cannot come back while its master is in the recycle bin, nor after it went for good."""
    for field in sobject.fields:
        parents = writer.schema.parents(field)
        if not field.master_detail or len(parents) != 1 or not rows.good.height:
            continue
        with registered(writer.cursor, _wanted=rows.good.select("Id")):
            orphans = select(
                writer.cursor,
                f'SELECT w."Id" AS value FROM _wanted w JOIN {quote(sobject.name)} t ON t."Id" = w."Id" LEFT JOIN '
                f'{quote(parents[0].name)} p ON p."Id" = t.{quote(field.name)} WHERE p."Id" IS NULL OR p."IsDeleted"',
            )
        message = f"Undelete failed: the parent in {field.label or field.name} is deleted"
        rows.refuse_values("Id", orphans.with_columns(error("UNDELETE_FAILED", message, field.name).alias("error")))


def _refuse_taken(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """A row whose unique value another row took meanwhile cannot come back."""
    if not rows.good.height:
        return
    unique = [field.name for field in sobject.fields if field.unique and not field.calculated]
    if not unique:
        return
    with registered(writer.cursor, _wanted=rows.good.select("_row", "Id")):
        stored = select(
            writer.cursor,
            f'SELECT w._row, t."Id", {", ".join("t." + quote(name) for name in unique)} '
            f'FROM _wanted w JOIN {quote(sobject.name)} t ON t."Id" = w."Id"',
        )
    probe = Rows(stored)
    refuse_duplicates(probe, writer.cursor, sobject)
    rows.refuse_rows(probe.refused())


def _bring_back(writer: Writer, sobject: SObject, ids: pl.DataFrame, depth: int) -> None:
    for other, below in _went_along(writer, sobject, ids):
        if depth < DEEP:
            _bring_back(writer, other, below, depth + 1)
    with registered(writer.cursor, _back=ids):
        writer.cursor.execute(
            f'UPDATE {quote(sobject.name)} SET "IsDeleted" = false, "SystemModstamp" = $now, '
            '"LastModifiedDate" = $now, "LastModifiedById" = $user WHERE "Id" IN (SELECT "Id" FROM _back)',
            {"now": writer.actor.now, "user": writer.actor.user_id},
        )
    _point_again(writer, ids)
    retotal(writer, sobject, ids)


def _point_again(writer: Writer, ids: pl.DataFrame) -> None:
    """Fill the lookups that the delete emptied, where nothing else was put into them meanwhile."""
    with registered(writer.cursor, _back=ids):
        touched = writer.cursor.execute(
            'SELECT DISTINCT object, field FROM _org.emptied WHERE parent IN (SELECT "Id" FROM _back)'
        ).fetchall()
        for name, field in touched:
            other = writer.schema.get(name)
            if other is None or other.field(field) is None:
                continue
            writer.cursor.execute(
                f'UPDATE {quote(other.name)} AS t SET {quote(field)} = e.parent, "SystemModstamp" = ? '
                'FROM _org.emptied e WHERE e.object = ? AND e.field = ? AND e.child = t."Id" '
                f'AND e.parent IN (SELECT "Id" FROM _back) AND t.{quote(field)} IS NULL AND NOT t."IsDeleted"',
                [writer.actor.now, name, field],
            )
        if touched:
            _forget_emptied(writer)


def _forget_emptied(writer: Writer) -> None:
    """Forget what pointed at the records of `_back`."""
    writer.cursor.execute('DELETE FROM _org.emptied WHERE parent IN (SELECT "Id" FROM _back)')


def _purge(writer: Writer, sobject: SObject, ids: pl.DataFrame, depth: int) -> None:
    for other, below in _went_along(writer, sobject, ids):
        if depth < DEEP:
            _purge(writer, other, below, depth + 1)
    with registered(writer.cursor, _back=ids):
        writer.cursor.execute(f'DELETE FROM {quote(sobject.name)} WHERE "Id" IN (SELECT "Id" FROM _back)')
        _forget_emptied(writer)


def _went_along(writer: Writer, sobject: SObject, ids: pl.DataFrame) -> list[tuple[SObject, pl.DataFrame]]:
    """The children that a delete took along: they bear the same time of deletion as their parent."""
    found: list[tuple[SObject, pl.DataFrame]] = []
    for other, child in children_of(writer, sobject):
        field = other.field(child.field)
        if field is None or not (child.cascade_delete or field.master_detail):
            continue
        with registered(writer.cursor, _back=ids):
            below = select(
                writer.cursor,
                f'SELECT c."Id" FROM {quote(other.name)} c JOIN {quote(sobject.name)} p ON p."Id" = '
                f'c.{quote(child.field)} WHERE c."IsDeleted" AND c."SystemModstamp" = p."SystemModstamp" '
                'AND p."Id" IN (SELECT "Id" FROM _back) AND c."Id" NOT IN (SELECT "Id" FROM _back)',
            )
        if below.height:
            found.append((other, below))
    return found
