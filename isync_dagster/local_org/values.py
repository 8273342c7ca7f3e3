"""Text as clients send it, turned into stored values: one parser for Bulk CSV and JSON.

Cells arrive as String columns: null where the client said nothing, `CLEAR` where it asked for null, else the
text. `parse` gives the typed expression of a column and the rows whose text is no value of the type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from isync_dagster.local_org.ids import ID_PATTERN, to18_expr
from isync_dagster.schema.model import NUMBER_TYPES, Field

# A cell that asks for null. NUL is not a character that Salesforce stores, so it never stands for itself.
CLEAR: Final = "\x00"

# Between the parts of an error while rows are worked on: code, message, field names.
PART: Final = "\x1f"

XSD: Final = {
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "time": "xsd:time",
    "base64": "xsd:base64Binary",
}

_DATETIME: Final = "%Y-%m-%dT%H:%M:%S%.f%#z"
_WIDE: Final = pl.Decimal(38, 18)


@dataclass(frozen=True)
class Parsed:
    """A column's typed values, and where its text was malformed or out of range (None: cannot be)."""

    value: pl.Expr
    malformed: pl.Expr | None = None
    out_of_range: pl.Expr | None = None


def parse(field: Field, column: pl.Expr) -> Parsed:
    """The parser of a field for a String column that holds no `CLEAR` (nulls stay null)."""
    if field.type == "boolean":
        lower = column.str.to_lowercase()
        truth = pl.when(lower.is_in(["true", "1"])).then(True).when(lower.is_in(["false", "0"])).then(False)
        return Parsed(truth, column.is_not_null() & ~lower.is_in(["true", "false", "1", "0"]))
    if field.type == "int":
        value = column.cast(pl.Int64, strict=False)
        malformed = column.is_not_null() & ~column.str.contains(r"^[+-]?\d+$")
        limit = 10**field.digits if field.digits else 2**31
        return Parsed(value, malformed, value.is_null() | (value.abs() >= limit))
    if field.type in NUMBER_TYPES:
        return _number(field, column)
    if field.type == "date":
        value = column.str.to_date("%Y-%m-%d", strict=False)
        return Parsed(value, column.is_not_null() & (value.is_null() | (column.str.len_bytes() != 10)),
                      ~value.dt.year().is_between(1700, 4000))  # fmt: skip
    if field.type == "datetime":
        zoned = column.str.to_datetime(_DATETIME, strict=False, time_unit="us", time_zone="UTC")
        value = zoned.dt.replace_time_zone(None).dt.truncate("1s")
        return Parsed(value, column.is_not_null() & value.is_null(), ~value.dt.year().is_between(1700, 4000))
    if field.type == "time":
        value = column.str.strip_suffix("Z").str.to_time("%H:%M:%S%.f", strict=False)
        return Parsed(value, column.is_not_null() & value.is_null())
    if field.type == "base64":
        value = column.str.decode("base64", strict=False)
        return Parsed(value, column.is_not_null() & value.is_null())
    if field.type in ("id", "reference"):
        return Parsed(to18_expr(column))
    if field.type == "email":
        return Parsed(column.str.to_lowercase())
    return Parsed(column)


def _number(field: Field, column: pl.Expr) -> Parsed:
    as_float = column.str.strip_chars().cast(pl.Float64, strict=False)
    malformed = column.is_not_null() & (as_float.is_null() | ~as_float.is_finite())
    if field.precision <= 0:
        return Parsed(as_float, malformed)
    scale = max(field.scale, 0)
    exact = column.str.strip_chars().cast(_WIDE, strict=False).round(scale, mode="half_away_from_zero")
    value = exact.cast(pl.Decimal(38, scale), strict=False)
    limit = 10.0 ** (field.precision - scale)
    return Parsed(value, malformed, value.is_null() | (as_float.abs() >= limit))


def malformed_id(column: pl.Expr) -> pl.Expr:
    """Rows whose text has not the shape of an id."""
    return column.is_not_null() & ~column.str.contains(ID_PATTERN)


def error(code: str, message: pl.Expr | str, fields: str = "") -> pl.Expr:
    """An error of a row as one String: code, message, comma-separated field names."""
    text = pl.lit(message) if isinstance(message, str) else message
    return pl.concat_str([pl.lit(code + PART), text, pl.lit(PART + fields)])


def wire_error(column: pl.Expr) -> pl.Expr:
    """`sf__Error` of a Bulk result file: `CODE:message:Field1 Field2 --`."""
    parts = column.str.splitn(PART, 4)
    return pl.concat_str(
        [
            parts.struct.field("field_0"),
            pl.lit(":"),
            parts.struct.field("field_1"),
            pl.lit(":"),
            pl.when(parts.struct.field("field_2") == "")
            .then(pl.lit("--"))
            .otherwise(pl.concat_str([parts.struct.field("field_2"), pl.lit(" --")])),
        ]
    )


def error_json(text: str) -> dict[str, object]:
    """An error as JSON answers carry it.

    >>> error_json("REQUIRED_FIELD_MISSING\\x1fRequired fields are missing: [Name]\\x1fName")["fields"]
    ['Name']
    """
    code, message, fields = text.split(PART)[:3]
    return {"statusCode": code, "message": message, "fields": [name for name in fields.split(", ") if name]}


def error_detail(text: str) -> str | None:
    """What an error carries beyond code, message and fields, as JSON: the matches of a duplicate rule."""
    parts = text.split(PART, 3)
    return parts[3] if len(parts) > 3 else None
