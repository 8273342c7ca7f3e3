"""Which values of a restricted picklist a row may take: by its record type, and by its controlling field."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import polars as pl

from isync_dagster.local_org.automation.saving import SET, whole_rows
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import MASTER_RECORD_TYPE_ID, Field, SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer


def refuse_unavailable(writer: Writer, sobject: SObject, rows: Rows, *, update: bool) -> None:
    """Take out rows with values that their record type or their controlling value does not offer.

    The refusal is that of any restricted picklist (INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST). Only fields that the
    client writes are looked at; what decides on them may be stored already.
    """
    rules = writer.schema.rules(sobject)
    if rules is None or not (rules.values or rules.dependents) or not rows.good.height:
        return
    given = set(rows.good.columns)
    narrowed = [item for item in rules.values if _named(sobject, item.name).name in given]
    dependents = [field for field in rules.dependents if field.name in given]
    if not narrowed and not dependents:
        return
    seen = _seen(writer, sobject, rows, update)
    by_field: dict[str, list[pl.DataFrame]] = {}
    ids = {info.developer_name.lower(): info.record_type_id for info in sobject.record_type_infos}
    for item in narrowed:
        field = _named(sobject, item.name)
        record_type = ids.get(item.record_type.lower())
        if record_type is not None:
            mine = seen.filter(pl.col("RecordTypeId") == record_type)
            by_field.setdefault(field.name, []).append(_outside(mine, field, pl.Series(list(item.values))))
    for field in dependents:
        controller = _named(sobject, field.controller_name or "")
        by_field.setdefault(field.name, []).append(_unfitting(seen, field, controller))
    for name, parts in by_field.items():
        field = _named(sobject, name)
        bad = (
            pl.concat(parts)
            .unique("_row")
            .join(rows.good.filter(pl.col(name).is_not_null()).select("_row"), on="_row", how="semi")
        )
        message = pl.concat_str([pl.lit(f"{field.label}: bad value for restricted picklist field: "), pl.col("value")])
        refusal = error("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, name)
        rows.refuse_rows(bad.select("_row", refusal.alias("error")))


def fill_usual(writer: Writer, sobject: SObject, frame: pl.DataFrame) -> pl.DataFrame:
    """New rows (typed columns) with their record type's default values in picklists that the client left out.

    They come before a field's own default, which stands where the record type names none. A null that the client
    asked for stays null.
    """
    rules = writer.schema.rules(sobject)
    if rules is None or not rules.usual or not frame.height:
        return frame
    infos = {info.developer_name.lower(): info for info in sobject.record_type_infos}
    own = next((info for info in infos.values() if info.default_record_type_mapping and info.active), None)
    kind = pl.col("RecordTypeId") if "RecordTypeId" in frame.columns else pl.lit(None, dtype=pl.String)
    kind = kind.fill_null(own.record_type_id if own is not None else MASTER_RECORD_TYPE_ID)
    for item in rules.usual:
        info = infos.get(item.record_type.lower())
        if info is None:
            continue
        name = _named(sobject, item.name).name
        given = pl.col(name) if name in frame.columns else pl.lit(None, dtype=pl.String)
        left_out = given.is_null()
        if SET + name in frame.columns:
            left_out &= ~pl.col(SET + name)
        mine = left_out & (kind == info.record_type_id)
        frame = frame.with_columns(pl.when(mine).then(pl.lit(item.default)).otherwise(given).alias(name))
    return frame


def _named(sobject: SObject, name: str) -> Field:
    found = sobject.field(name)
    assert found is not None
    return found


def _seen(writer: Writer, sobject: SObject, rows: Rows, update: bool) -> pl.DataFrame:
    """The rows with their record type and every field as the save will leave it."""
    if update:
        seen = whole_rows(writer, sobject, rows.good)
    else:
        from isync_dagster.local_org.defaults import fill_defaults

        seen = fill_defaults(rows.good, sobject)
    if "RecordTypeId" not in seen.columns:
        return seen.with_columns(pl.lit(MASTER_RECORD_TYPE_ID).alias("RecordTypeId"))
    return seen.with_columns(pl.col("RecordTypeId").fill_null(MASTER_RECORD_TYPE_ID))


def _outside(rows: pl.DataFrame, field: Field, allowed: pl.Series) -> pl.DataFrame:
    """The rows (`_row`, `value`) whose values are not all among `allowed`."""
    value = pl.col(field.name)
    values = allowed.to_list()
    if field.type == "multipicklist":
        bad = (
            value.str.split(";").list.set_difference(pl.lit(pl.Series([values], dtype=pl.List(pl.String)))).list.len()
            > 0
        )
    else:
        bad = ~value.is_in(values)
    return rows.filter(value.is_not_null() & bad).select(pl.col("_row").cast(pl.UInt32), value.alias("value"))


def _unfitting(rows: pl.DataFrame, field: Field, controller: Field) -> pl.DataFrame:
    """The rows (`_row`, `value`) whose value does not go with that of the controlling field."""
    pairs = fitting_pairs(field, controller)
    if field.name not in rows.columns:
        return pl.DataFrame(schema={"_row": pl.UInt32, "value": pl.String})
    decides = pl.col(controller.name) if controller.name in rows.columns else pl.lit(None, dtype=pl.String)
    mine = rows.select(
        pl.col("_row").cast(pl.UInt32),
        pl.col(field.name).alias("value"),
        decides.cast(pl.String).fill_null("").alias("controls"),
    ).drop_nulls("value")
    split = mine.with_columns(pl.col("value").str.split(";").alias("one") if field.type == "multipicklist"
                              else pl.concat_list("value").alias("one")).explode("one")  # fmt: skip
    wrong = split.join(pairs, left_on=["controls", "one"], right_on=["controls", "value"], how="anti")
    return wrong.select("_row", "value").unique("_row")


def fitting_pairs(field: Field, controller: Field) -> pl.DataFrame:
    """The pairs `controls`, `value` that go together, read from the bitmaps of `validFor`."""
    known = ["false", "true"] if controller.type == "boolean" else [entry.value for entry in controller.picklist_values]
    pairs = []
    for entry in field.picklist_values:
        bits = base64.b64decode(entry.valid_for or "")
        pairs += [
            (name, entry.value)
            for number, name in enumerate(known)
            if number >> 3 < len(bits) and bits[number >> 3] & (0x80 >> (number % 8))
        ]
    return pl.DataFrame(pairs, schema={"controls": pl.String, "value": pl.String}, orient="row")


def valid_for(controller_values: list[str], fitting: list[str]) -> str:
    """The bitmap of `validFor`: the places of the fitting values among those of the controlling field.

    >>> valid_for(["A", "B"], ["B"])
    'QA=='
    """
    bits = bytearray(max((len(controller_values) + 7) // 8, 1))
    for number, value in enumerate(controller_values):
        if value in fitting:
            bits[number >> 3] |= 0x80 >> (number % 8)
    return base64.b64encode(bytes(bits)).decode()
