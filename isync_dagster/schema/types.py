"""Salesforce field types as Polars dtypes: which column type keeps every value that an org can hold.

    id, reference, all text, picklists, anyType     String
    boolean                                         Boolean
    int, long                                       Int64
    double, currency, percent                       Decimal(38, 18)
    date                                            Date
    datetime                                        Datetime("ms", "UTC")
    time                                            Time

Numbers are decimals and not floats because a migration must hand on what it read: `0.1` stays `0.1`, and an org
holds more decimals than the scale of a field says (the scale is what people see and what a save rounds to).
Salesforce gives milliseconds and UTC; ids are text, with or without the three checksum characters.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from isync_dagster.schema.model import NUMBER_TYPES, Field

DECIMALS = 18
"""Decimals that a number column keeps; 20 digits remain before the point."""

NUMBER = pl.Decimal(38, DECIMALS)
DATETIME = pl.Datetime("ms", "UTC")

_PLAIN: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "int": pl.Int64(),
    "long": pl.Int64(),
    "date": pl.Date(),
    "datetime": DATETIME,
    "time": pl.Time(),
}


def dtype(field: Field) -> pl.DataType:
    """The Polars dtype of a column that holds `field`.

    >>> dtype(Field("Amount", type="currency", precision=18, scale=2))
    Decimal(precision=38, scale=18)
    >>> dtype(Field("Industry", type="picklist"))
    String
    """
    if field.type in NUMBER_TYPES:
        return NUMBER
    return _PLAIN.get(field.type, pl.String())


def schema(fields: Iterable[Field]) -> pl.Schema:
    """The schema of a typed frame with these fields, in their order.

    >>> schema([Field("Id", type="id"), Field("Birthdate", type="date")])
    Schema([('Id', String), ('Birthdate', Date)])
    """
    return pl.Schema({field.name: dtype(field) for field in fields})
