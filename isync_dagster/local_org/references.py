"""Checks of lookups against the rows they point at: object, existence, owner, record type."""

from __future__ import annotations

import duckdb
import polars as pl

from isync_dagster.local_org.org_schema import OrgSchema, quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.rules import fields_of
from isync_dagster.local_org.storage import registered, select
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import MASTER_RECORD_TYPE_ID, Field, SObject

_VALUE = pl.col("value")


def refuse_bad_references(rows: Rows, cursor: duckdb.DuckDBPyConnection, schema: OrgSchema, sobject: SObject) -> None:
    """Take out rows whose lookups point at a wrong object, at nothing, or at a row that may not be used."""
    for field in fields_of(sobject, rows.good.columns):
        if field.type != "reference" or not rows.good.height:
            continue
        values = rows.good.select(pl.col(field.name).alias("value")).drop_nulls().unique()
        if not values.height:
            continue
        if field.name == "RecordTypeId":
            rows.refuse_values(field.name, _bad_record_types(values, sobject))
            continue
        rows.refuse_values(field.name, _bad_values(values, cursor, schema, sobject, field))


def _bad_record_types(values: pl.DataFrame, sobject: SObject) -> pl.DataFrame:
    usable = [info.record_type_id for info in sobject.record_type_infos if info.active and info.available]
    message = pl.concat_str([pl.lit("Record Type ID: this ID value isn't valid for the user: "), _VALUE])
    return values.filter(~_VALUE.is_in([*usable, MASTER_RECORD_TYPE_ID])).select(
        "value", error("INVALID_CROSS_REFERENCE_KEY", message, "RecordTypeId").alias("error")
    )


def _bad_values(
    values: pl.DataFrame, cursor: duckdb.DuckDBPyConnection, schema: OrgSchema, sobject: SObject, field: Field
) -> pl.DataFrame:
    """The distinct values of a lookup that are refused, each with its error."""
    bad: list[pl.DataFrame] = []
    prefix = _VALUE.str.slice(0, 3)
    allowed = {parent.key_prefix: parent for parent in schema.parents(field)}
    known = set(schema.prefixes)
    # A prefix that this org does not know cannot be told from a row that does not exist.
    wrong = values.filter(~prefix.is_in(list(allowed)) & prefix.is_in(list(known)))
    message = pl.concat_str([pl.lit(f"{field.label}: id value of incorrect type: "), _VALUE])
    bad.append(wrong.select("value", error("FIELD_INTEGRITY_EXCEPTION", message, field.name).alias("error")))
    bad.append(values.filter(~prefix.is_in(list(known))).select("value", _missing(field)))
    for key_prefix, parent in allowed.items():
        mine = values.filter(prefix == key_prefix)
        if mine.height:
            bad.append(_bad_rows(mine, cursor, parent, field))
            if field.name == "OwnerId":
                bad.append(_bad_owners(mine, cursor, parent, sobject))
    return pl.concat(bad)


def _missing(field: Field) -> pl.Expr:
    return error("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", "").alias("error")


def _bad_rows(values: pl.DataFrame, cursor: duckdb.DuckDBPyConnection, parent: SObject, field: Field) -> pl.DataFrame:
    with registered(cursor, _wanted=values):
        found = select(
            cursor,
            f'SELECT w.value, bool_and(t."IsDeleted") AS gone, count(t."Id") AS n FROM _wanted w '
            f'LEFT JOIN {quote(parent.name)} t ON t."Id" = w.value GROUP BY w.value '
            f'HAVING count(t."Id") = 0 OR bool_and(t."IsDeleted")',
        )
    return found.select(
        "value",
        pl.when(pl.col("n") == 0)
        .then(_missing(field))
        .otherwise(error("ENTITY_IS_DELETED", "entity is deleted"))
        .alias("error"),
    )


def _bad_owners(
    values: pl.DataFrame, cursor: duckdb.DuckDBPyConnection, parent: SObject, sobject: SObject
) -> pl.DataFrame:
    empty = pl.DataFrame(schema={"value": pl.String, "error": pl.String})
    if parent.name == "User" and parent.field("IsActive") is not None:
        with registered(cursor, _wanted=values):
            idle = select(
                cursor, 'SELECT w.value FROM _wanted w JOIN "User" u ON u."Id" = w.value WHERE NOT u."IsActive"'
            )
        message = pl.concat_str(
            [
                pl.lit("operation performed with inactive user ["),
                _VALUE.str.slice(0, 15),
                pl.lit(f"] as owner of {sobject.name.lower()}"),
            ]
        )
        return idle.select("value", error("INACTIVE_OWNER_OR_USER", message, "OwnerId").alias("error"))
    if parent.name == "Group":
        with registered(cursor, _wanted=values):
            serving = select(
                cursor,
                'SELECT w.value FROM _wanted w JOIN "Group" g ON g."Id" = w.value JOIN "QueueSobject" q '
                'ON q."QueueId" = g."Id" WHERE NOT q."IsDeleted" AND lower(q."SobjectType") = lower(?)',
                [sobject.name],
            )
        wrong = values.join(serving, on="value", how="anti")
        unserved = error("INVALID_OPERATION", "Queue not associated with this SObject type", "OwnerId")
        return wrong.select("value", unserved.alias("error"))
    return empty
