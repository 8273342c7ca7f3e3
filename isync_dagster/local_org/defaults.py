"""What the server fills in on insert: defaults, numbers, owner, composed names, system fields."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from isync_dagster.local_org.org_schema import column_type, columns
from isync_dagster.local_org.rules import SET
from isync_dagster.local_org.storage import Storage, polars_type
from isync_dagster.local_org.values import parse
from isync_dagster.schema.model import NUMBER_TYPES, Field, SObject

NAME_PARTS: Final = ("FirstName", "MiddleName", "LastName", "Suffix")


@dataclass(frozen=True)
class Actor:
    """Who writes, and when by the org's clock (UTC, whole seconds)."""

    user_id: str
    now: datetime


def fill_defaults(frame: pl.DataFrame, sobject: SObject) -> pl.DataFrame:
    """Give defaults to what the client left out; a null it asked for stays null."""
    fills: list[pl.Expr] = []
    for field in sobject.fields:
        kind = column_type(field)
        if kind is None or field.name == "Id":
            continue
        default = _default(field, sobject)
        if default is None:
            continue
        dtype = polars_type(kind)
        if field.name not in frame.columns:
            fills.append(default.cast(dtype).alias(field.name))
        elif SET + field.name in frame.columns and field.type != "boolean":
            given = pl.col(field.name)
            fills.append(pl.when(pl.col(SET + field.name)).then(given).otherwise(default.cast(dtype)).alias(field.name))
        else:
            fills.append(pl.col(field.name).fill_null(default.cast(dtype)).alias(field.name))
    return frame.with_columns(fills)


def _default(field: Field, sobject: SObject) -> pl.Expr | None:
    if field.calculated:
        return None
    if field.type == "boolean":
        return pl.lit(str(field.default_value).lower() == "true")
    if field.name == "RecordTypeId":
        usual = next(
            (info for info in sobject.record_type_infos if info.default_record_type_mapping and not info.master), None
        )
        return pl.lit(usual.record_type_id) if usual and usual.active else None
    for entry in field.picklist_values:
        if entry.default_value and entry.active:
            return pl.lit(entry.value)
    if field.default_value not in (None, ""):
        return parse(field, pl.lit(str(field.default_value))).value
    if field.default_value_formula:
        return _formula(field, field.default_value_formula.strip())
    return None


def _formula(field: Field, formula: str) -> pl.Expr | None:
    """The few default formulas that need no context: a literal, TODAY(), NOW()."""
    if quoted := re.fullmatch(r'"([^"]*)"|\'([^\']*)\'', formula):
        return pl.lit(quoted.group(1) or quoted.group(2) or "")
    if field.type in NUMBER_TYPES | {"int"} and re.fullmatch(r"-?\d+(\.\d+)?", formula):
        return parse(field, pl.lit(formula)).value
    return None


def compose_name(sobject: SObject) -> list[str]:
    """The parts of a person's composed Name, or nothing where Name is an ordinary field."""
    name = sobject.field("Name")
    if name is None or name.createable or sobject.field("LastName") is None or sobject.field("FirstName") is None:
        return []
    return [part for part in NAME_PARTS if sobject.field(part) is not None]


def fill_insert(frame: pl.DataFrame, sobject: SObject, storage: Storage, actor: Actor) -> pl.DataFrame:
    """Everything the server adds to good rows before they are stored: ids, numbers, owner, names, system fields."""
    kinds = columns(sobject)
    adds: list[pl.Expr | pl.Series] = []
    if "Id" not in frame.columns:
        adds.append(storage.new_ids(sobject, frame.height).alias("Id"))
    for field in sobject.fields:
        if field.auto_number and field.name not in frame.columns:
            written = storage.schema.number_format(sobject, field.name)
            start = written.start if written is not None else 1
            first = storage.count_up(f"auto {sobject.name}.{field.name}", frame.height, start=start)
            numbers = _auto_number(sobject, field, first, frame.height)
            if written is not None:
                numbers = _formatted(written.format, first, frame.height, actor.now)
            adds.append(numbers.alias(field.name))
    if "OwnerId" in kinds:
        owner = pl.col("OwnerId").fill_null(actor.user_id) if "OwnerId" in frame.columns else pl.lit(actor.user_id)
        adds.append(owner.alias("OwnerId"))
    now = pl.lit(actor.now, dtype=pl.Datetime("us"))
    for name, value in (
        ("CreatedDate", now),
        ("CreatedById", pl.lit(actor.user_id)),
        ("LastModifiedDate", now),
        ("LastModifiedById", pl.lit(actor.user_id)),
        ("SystemModstamp", now),
    ):
        adds.append((pl.col(name).fill_null(value) if name in frame.columns else value).alias(name))
    deleted = pl.col("IsDeleted").fill_null(False) if "IsDeleted" in frame.columns else pl.lit(False)
    adds.append(deleted.alias("IsDeleted"))
    return frame.with_columns(adds)


def _formatted(text: str, first: int, count: int, now: datetime) -> pl.Series:
    """Numbers in a display format: `{0000}` is the number, `{YYYY}`, `{YY}`, `{MM}`, `{DD}` the day of the insert."""
    dated = text
    for part, written in (("YYYY", "%Y"), ("YY", "%y"), ("MM", "%m"), ("DD", "%d")):
        dated = dated.replace(f"{{{part}}}", now.strftime(written))
    head, digits, tail = re.fullmatch(r"(.*?)\{(0+)\}(.*)", dated, re.DOTALL).groups()  # type: ignore[union-attr]
    numbers = pl.int_range(first, first + count, eager=True).cast(pl.String).str.zfill(len(digits))
    return head + numbers + tail


def _auto_number(sobject: SObject, field: Field, first: int, count: int) -> pl.Series:
    """`00001026` on standard objects; the object's initials and a number on custom ones."""
    numbers = pl.int_range(first, first + count, eager=True).cast(pl.String)
    if not sobject.custom:
        return numbers.str.zfill(8)
    initials = "".join(word[0] for word in re.findall(r"[A-Za-z]+", sobject.label))[:3].upper() or "A"
    return (initials + "-" + numbers.str.zfill(5)).alias(field.name)
