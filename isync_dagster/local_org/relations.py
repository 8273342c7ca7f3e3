"""Lookups named by a key of their parent: `Account.Ext__c`, `User:Owner.Username`, `{"Parent__r": {...}}`."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import polars as pl

from isync_dagster.local_org.org_schema import OrgSchema, quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.storage import registered, select
from isync_dagster.local_org.unique import key, sql_key
from isync_dagster.local_org.values import CLEAR, error, parse
from isync_dagster.schema.model import Field, SObject


@dataclass(frozen=True)
class Relation:
    """A column that names a parent by key: the lookup it fills, the parent object and the parent's key field."""

    column: str
    lookup: Field
    parent: SObject
    key: Field


class BadRelation(Exception):
    """A relationship column that cannot be read; the message is the platform's."""


def read_relation(schema: OrgSchema, sobject: SObject, column: str) -> Relation:
    """Understand a header such as `Account.Ext__c` or `Account:What.Ext__c`; BadRelation says what is wrong."""
    path, _, key_name = column.rpartition(".")
    if not path:
        raise BadRelation(f"Field name not found : {column}")
    type_name, _, relationship = path.rpartition(":")
    if type_name and ":" in type_name:
        raise BadRelation(f"Field name not found : {column}")
    lookup = schema.relationship(sobject, relationship)
    if lookup is None:
        lost = f"Unable to find relationship: {relationship}" if type_name else f"Field name not found : {column}"
        raise BadRelation(lost)
    if type_name and not lookup.polymorphic:
        raise BadRelation(f"type is not needed for non polymorphic foreign key references: {relationship}")
    if lookup.polymorphic and not type_name:
        raise BadRelation(f"type is required for polymorphic foreign key references: {relationship}")
    wanted = type_name or (lookup.reference_to[0] if lookup.reference_to else "")
    parent = schema.get(wanted)
    if parent is None or (type_name and wanted.lower() not in {name.lower() for name in lookup.reference_to}):
        raise BadRelation(f"Unable to find object: {wanted}")
    found = parent.field(key_name)
    if found is None or not (found.id_lookup or found.external_id or _by_name(parent, found)):
        raise BadRelation(f"Field name not found : {column}")
    return Relation(column, lookup, parent, found)


def _by_name(parent: SObject, field: Field) -> bool:
    """Record types may be named by Name (seen to work) and DeveloperName (widely used)."""
    return parent.name == "RecordType" and field.name in ("Name", "DeveloperName")


def resolve(rows: Rows, cursor: duckdb.DuckDBPyConnection, sobject: SObject, relation: Relation) -> None:
    """Replace a relationship column by the lookup's column holding the parent's Id; refuse keys without a row."""
    column = pl.col(relation.column)
    given = rows.good.select(column.alias("value")).drop_nulls().filter(pl.col("value") != CLEAR).unique()
    typed = given.with_columns(key(relation.key, parse(relation.key, pl.col("value")).value).alias("key"))
    of_type = ' AND t."SobjectType" = $object' if relation.parent.name == "RecordType" else ""
    with registered(cursor, _wanted=typed):
        found = select(
            cursor,
            f'SELECT w.value, min(t."Id") AS id, count(t."Id") AS n FROM _wanted w LEFT JOIN '
            f"{quote(relation.parent.name)} t ON {sql_key(relation.key, 't.' + quote(relation.key.name))} = w.key "
            f'AND NOT t."IsDeleted"{of_type} GROUP BY w.value',
            {"object": sobject.name} if of_type else None,
        )
    missing = pl.concat_str(
        [
            pl.lit("Foreign key external ID: "),
            pl.col("value"),
            pl.lit(f" not found for field {relation.key.name} in entity {relation.parent.name}"),
        ]
    )
    several = pl.concat_str([pl.lit("More than one record found for external id field: "), pl.col("value")])
    rows.refuse_values(
        relation.column,
        found.filter(pl.col("n") != 1).select(
            "value",
            pl.when(pl.col("n") == 0)
            .then(error("INVALID_FIELD", missing, relation.key.name))
            .otherwise(error("INVALID_FIELD", several, relation.key.name))
            .alias("error"),
        ),
    )
    ids = found.select(pl.col("value").alias(relation.column), pl.col("id").alias("_found"))
    joined = rows.good.join(ids, on=relation.column, how="left", maintain_order="left")
    value = pl.when(column == CLEAR).then(pl.lit(CLEAR)).otherwise(pl.col("_found"))
    if relation.lookup.name in joined.columns:
        value = pl.coalesce(value, pl.col(relation.lookup.name))
    rows.good = joined.with_columns(value.alias(relation.lookup.name)).drop("_found", relation.column)
