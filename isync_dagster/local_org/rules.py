"""Checks of single fields, the same for every object: writable, well-formed, in range, required.

Each takes rows out of a `Rows` with Salesforce's status code and message. All work on whole columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.values import CLEAR, XSD, Parsed, error, malformed_id, parse
from isync_dagster.schema.model import TEXT_TYPES, Field, SObject

# Local part and domain of an address as Salesforce accepts it: no spaces, one @, dots not doubled or at an end.
_EMAIL = (
    r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,}$"
)

SET = "_set."  # prefix of the column that says whether the client gave the field at all (value or null)


def fields_of(sobject: SObject, columns: Sequence[str]) -> list[Field]:
    """The fields whose canonical names are among `columns`."""
    given = set(columns)
    return [field for field in sobject.fields if field.name in given]


def refuse_read_only(rows: Rows, sobject: SObject, operation: str) -> None:
    """Take out rows that write a field which cannot be written, and drop those columns."""
    if operation == "insert" and "Id" in rows.good.columns:
        rows.refuse(
            [
                (
                    pl.col("Id").is_not_null(),
                    error("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify Id in an insert call", "Id"),
                )
            ]
        )
        rows.good = rows.good.drop("Id")
    closed = [
        field
        for field in fields_of(sobject, rows.good.columns)
        if field.name != "Id" and not (field.createable if operation == "insert" else field.updateable)
    ]
    if not closed:
        return
    names = pl.concat_str(
        [pl.when(pl.col(field.name).is_not_null()).then(pl.lit(field.name)) for field in closed],
        separator=", ",
        ignore_nulls=True,
    )
    message = pl.concat_str(
        [
            pl.lit("INVALID_FIELD_FOR_INSERT_UPDATE\x1fUnable to create/update fields: "),
            names,
            pl.lit(
                ". Please check the security settings of this field and verify that it is read/write for your "
                "profile or permission set.\x1f"
            ),
            names,
        ]
    )
    rows.refuse([(pl.any_horizontal([pl.col(field.name).is_not_null() for field in closed]), message)])
    rows.good = rows.good.drop([field.name for field in closed])


def type_columns(rows: Rows, sobject: SObject, positions: Mapping[str, int]) -> None:
    """Turn the text columns into typed ones, with `_set.F` beside those where null was asked for.

    `positions` gives the place of each column in the upload, which the message of an unreadable value names.
    """
    fields = fields_of(sobject, rows.good.columns)
    cleared = rows.good.select([(pl.col(field.name) == CLEAR).any().alias(field.name) for field in fields])
    nulls = {field.name for field in fields if cleared.height and cleared[field.name][0]}
    if nulls:
        rows.good = rows.good.with_columns(
            [pl.col(name).is_not_null().alias(SET + name) for name in nulls]
            + [pl.when(pl.col(name) != CLEAR).then(pl.col(name)).alias(name) for name in nulls]
        )
    typed: list[pl.Expr] = []
    checks: list[tuple[pl.Expr, pl.Expr]] = []
    late: list[tuple[pl.Expr, pl.Expr]] = []
    raw: list[pl.Expr] = []
    for field in fields:
        text = pl.col("_raw." + field.name)
        parsed = parse(field, pl.col(field.name))
        if field.type in XSD:
            raw.append(pl.col(field.name).alias("_raw." + field.name))
        typed.append(parsed.value.alias(field.name))
        _typing_checks(field, parsed, text, positions.get(field.name, 0), checks, late, raw, typed)
    rows.good = rows.good.with_columns(raw + typed)
    rows.refuse(checks + late)
    helpers = [name for name in rows.good.columns if name.startswith(("_raw.", "_bad.", "_out."))]
    rows.good = rows.good.drop(helpers)
    _order_selections(rows, fields)


def _order_selections(rows: Rows, fields: Sequence[Field]) -> None:
    """Put the values of multi-select picklists in the order of their definition, each once."""
    for field in fields:
        if field.type != "multipicklist":
            continue
        several = rows.good.select(pl.col(field.name)).to_series().drop_nulls().unique()
        several = several.filter(several.str.contains(";", literal=True))
        if not several.len():
            continue
        order = {entry.value: number for number, entry in enumerate(field.picklist_values)}

        def place(value: str, order: Mapping[str, int] = order) -> int:
            return order.get(value, len(order))

        sorted_values = [
            ";".join(sorted(dict.fromkeys(part for part in text.split(";") if part), key=place)) for text in several
        ]
        rows.good = rows.good.with_columns(pl.col(field.name).replace(several.to_list(), sorted_values))


def _typing_checks(
    field: Field,
    parsed: Parsed,
    text: pl.Expr,
    position: int,
    checks: list[tuple[pl.Expr, pl.Expr]],
    late: list[tuple[pl.Expr, pl.Expr]],
    raw: list[pl.Expr],
    typed: list[pl.Expr],
) -> None:
    if parsed.malformed is not None:
        typed.append(parsed.malformed.alias("_bad." + field.name))
        message = pl.concat_str(
            [
                pl.lit(f"Failed to deserialize field at col {position}. Due to, '"),
                text,
                pl.lit(f"' is not a valid value for the type {XSD[field.type]}"),
            ]
        )
        checks.append((pl.col("_bad." + field.name), error("INVALID_FIELD", message, field.name)))
    if parsed.out_of_range is not None:
        typed.append((parsed.out_of_range & pl.col(field.name).is_not_null()).alias("_out." + field.name))
        if field.type in ("date", "datetime"):
            refusal = error(
                "FIELD_INTEGRITY_EXCEPTION", pl.concat_str([pl.lit(f"{field.label}: invalid date: "), text]), field.name
            )
        else:
            refusal = error(
                "NUMBER_OUTSIDE_VALID_RANGE",
                pl.concat_str([pl.lit(f"{field.label}: value outside of valid range on numeric field: "), text]),
                field.name,
            )
        late.append((pl.col("_out." + field.name), refusal))


def refuse_bad_values(rows: Rows, sobject: SObject) -> None:
    """Take out rows with malformed ids, text too long, wrong e-mail addresses, unknown restricted values."""
    checks: list[tuple[pl.Expr, pl.Expr]] = []
    for field in fields_of(sobject, rows.good.columns):
        value = pl.col(field.name)
        if field.type == "reference":
            message = pl.concat_str([pl.lit(f"{field.label}: id value of incorrect type: "), value])
            checks.append((malformed_id(value), error("MALFORMED_ID", message, field.name)))
        elif field.type in TEXT_TYPES and field.length > 0:
            message = pl.concat_str(
                [
                    pl.lit(f"{field.label}: data value too large: "),
                    value,
                    pl.lit(f" (max length={field.length})"),
                ]
            )
            checks.append((value.str.len_chars() > field.length, error("STRING_TOO_LONG", message, field.name)))
        if field.type == "email":
            message = pl.concat_str([pl.lit(f"{field.label}: invalid email address: "), value])
            checks.append((~value.str.contains(_EMAIL), error("INVALID_EMAIL_ADDRESS", message, field.name)))
        if field.restricted_picklist and field.type in ("picklist", "multipicklist") and field.picklist_values:
            message = pl.concat_str([pl.lit(f"{field.label}: bad value for restricted picklist field: "), value])
            checks.append(
                (
                    _outside(field, value),
                    error("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, field.name),
                )
            )
    rows.refuse(checks)


def _outside(field: Field, value: pl.Expr) -> pl.Expr:
    allowed = [entry.value for entry in field.picklist_values if entry.active]
    if field.type == "multipicklist":
        return value.str.split(";").list.set_difference(pl.lit(pl.Series([allowed]))).list.len() > 0
    return value.is_not_null() & ~value.is_in(allowed)


def refuse_missing(rows: Rows, required: Sequence[str]) -> None:
    """Take out rows that leave a required field empty; `required` are columns of the frame, or absent from it."""
    present = set(rows.good.columns)
    if not required:
        return
    gaps = [(pl.col(name).is_null() if name in present else pl.lit(True), name) for name in required]
    names = pl.concat_str([pl.when(gap).then(pl.lit(name)) for gap, name in gaps], separator=", ", ignore_nulls=True)
    _refuse_required(rows, pl.any_horizontal([gap for gap, _ in gaps]), names)


def refuse_nulled(rows: Rows, sobject: SObject) -> None:
    """Take out updates that would empty a field which may not be empty."""
    gaps = [
        (pl.col(SET + field.name) & pl.col(field.name).is_null(), field.name)
        for field in fields_of(sobject, rows.good.columns)
        if not field.nillable and field.type != "boolean" and SET + field.name in rows.good.columns
    ]
    if gaps:
        names = pl.concat_str(
            [pl.when(gap).then(pl.lit(name)) for gap, name in gaps], separator=", ", ignore_nulls=True
        )
        _refuse_required(rows, pl.any_horizontal([gap for gap, _ in gaps]), names)


def _refuse_required(rows: Rows, condition: pl.Expr, names: pl.Expr) -> None:
    message = pl.concat_str(
        [pl.lit("REQUIRED_FIELD_MISSING\x1fRequired fields are missing: ["), names, pl.lit("]\x1f"), names]
    )
    rows.refuse([(condition, message)])


def required_on_insert(sobject: SObject) -> list[str]:
    """Fields that an insert must fill: writable, not nillable, nothing else fills them."""
    return [field.name for field in sobject.fields if field.required and not field.has_default]
