"""Default values that are formulas, worked out for new rows that leave the field out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from isync_dagster.local_org.automation.saving import SET, Saving
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer


def fill_default_formulas(writer: Writer, sobject: SObject, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame (`_row`, typed columns) with default formulas in place of what the client left out.

    A null that the client asked for stays null.
    """
    rules = writer.schema.rules(sobject)
    if rules is None or not rules.defaults or not frame.height:
        return frame
    binary = [name for name, dtype in frame.schema.items() if dtype == pl.Binary or name.startswith(SET)]
    formulas = {field.name: field.default_value_formula or "" for field in rules.defaults}
    made = Saving(writer, sobject, frame.drop(binary), update=False).values(sobject, formulas, "TRUE")
    fresh = made.rename({name: f"_default.{name}" for name in formulas})
    joined = frame.join(fresh, on="_row", how="left", maintain_order="left")
    fills = []
    for name in formulas:
        default = pl.col(f"_default.{name}")
        if name not in frame.columns:
            fills.append(default.alias(name))
        elif SET + name in frame.columns:
            fills.append(pl.when(pl.col(SET + name)).then(pl.col(name)).otherwise(default).alias(name))
        else:
            fills.append(pl.coalesce(pl.col(name), default).alias(name))
    return joined.with_columns(fills).drop([f"_default.{name}" for name in formulas])
