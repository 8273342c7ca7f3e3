"""The extract of an object as rows of the target: everything that needs no id map.

A transformed frame has `_source_id`, one column per mapped target field in the target's dtype, the migration key
where the plan names one, and the lookups under their target name, still holding source ids. `_unfit` lists the values
that the target's type cannot hold; their cells are null, and `findings.find` reports each.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from isync_dagster.plan.model import FieldMapping, ObjectPlan
from isync_dagster.records.ids import to18
from isync_dagster.records.typing import lost, read, write
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype, schema

UNFIT = pl.List(pl.Struct({"field": pl.String, "value": pl.String}))


def transform(extract: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """The rows of `extract` (typed by the source's describe) in the shape of the target, in the same order.

    Columns: `_source_id` String (18), the target fields of `plan.fields`, `plan.migration_key` String where there is
    one, the target names of `plan.lookups` String (source ids, 18), `_unfit` list of (field, value).
    """
    values = {mapping.target.name: _converted(mapping) for mapping in plan.fields}
    columns = [value.alias(name) for name, value in values.items()]
    if plan.migration_key is not None:
        columns.append(to18(pl.col("Id")).alias(plan.migration_key))
    columns += [to18(pl.col(lookup.source.name)).alias(lookup.target.name) for lookup in plan.lookups]
    return extract.select(to18(pl.col("Id")).alias("_source_id"), *columns, _unfit(plan).alias("_unfit"))


def target_schema(plan: ObjectPlan) -> pl.Schema:
    """The columns of a transformed frame without its first and last: what `plan` writes or matches by."""
    columns = schema(mapping.target for mapping in plan.fields)
    if plan.migration_key is not None:
        columns[plan.migration_key] = pl.String()
    for lookup in plan.lookups:
        columns[lookup.target.name] = pl.String()
    return columns


def _converted(mapping: FieldMapping) -> pl.Expr:
    """The value of a mapping in the dtype of its target field; a null boolean is false, for Salesforce has no other."""
    value = _fitted(mapping)
    return value.fill_null(False) if dtype(mapping.target) == pl.Boolean else value


def _meant(mapping: FieldMapping) -> tuple[pl.Expr, pl.DataType]:
    """The source value with its picklist values exchanged, and its dtype."""
    source, kind = pl.col(mapping.source.name), dtype(mapping.source)
    if not mapping.picklist:
        return source, kind
    text = source if kind == pl.String else write(source, kind)
    return _exchanged(text, mapping.source, mapping.picklist), pl.String()


def _fitted(mapping: FieldMapping) -> pl.Expr:
    """The value in the dtype of the target field; null where that type cannot hold it."""
    source, kind = _meant(mapping)
    wanted = dtype(mapping.target)
    if kind == wanted:
        return source
    if kind == pl.Int64 and wanted == pl.Decimal:
        return source.cast(wanted)
    if kind == pl.Decimal and wanted == pl.Int64:
        return pl.when(source.round(0) == source).then(source.cast(pl.Int64, strict=False))
    if kind == pl.Date and wanted == pl.Datetime:
        return source.cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
    if kind == pl.Datetime and wanted == pl.Date:
        # Only midnight is a date; any other instant would lose its time.
        return pl.when(source.dt.truncate("1d") == source).then(source.dt.date())
    # The text that would travel decides: what the target's type reads from it, if anything.
    text = write(source, kind).str.strip_chars()
    return pl.when(~lost(text, mapping.target)).then(read(text, mapping.target))


def _exchanged(text: pl.Expr, source: Field, picklist: Mapping[str, str]) -> pl.Expr:
    """Picklist values exchanged, member by member of a multi-select; a value without entry stays as it is."""
    old = pl.Series(list(picklist), dtype=pl.String)
    new = pl.Series([value or None for value in picklist.values()], dtype=pl.String)
    if source.type != "multipicklist":
        # Inside a list the exchange streams; `replace` on a column would hold all of it in memory (Polars 2.1).
        return pl.concat_list(text).list.eval(pl.element().replace(old, new)).list.first()
    members = text.str.split(";").list.eval(pl.element().str.strip_chars().replace(old, new).drop_nulls())
    joined = members.list.unique(maintain_order=True).list.join(";")
    return pl.when(joined != "").then(joined)


def _unfit(plan: ObjectPlan) -> pl.Expr:
    """The source values of which nothing is left in the target's type; null where there are none."""
    entries = []
    for mapping in plan.fields:
        meant, kind = _meant(mapping)
        if kind == dtype(mapping.target):
            continue
        text = write(meant, kind)
        filled = (text.str.strip_chars() != "").fill_null(False)
        entry = pl.struct(pl.lit(mapping.target.name).alias("field"), text.alias("value"))
        entries.append(pl.when(filled & _fitted(mapping).is_null()).then(entry))
    if not entries:
        return pl.lit(None, dtype=UNFIT)
    found = pl.concat_list(entries).list.drop_nulls()
    return pl.when(found.list.len() > 0).then(found)
