"""What Salesforce would refuse of the transformed rows, as far as it shows without an id map.

Each finding is a row of a lazy frame; nothing is loaded but rows with findings.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.canonical import canonical
from isync_dagster.records.typing import write
from isync_dagster.schema.model import NUMBER_TYPES, TEXT_TYPES, Field
from isync_dagster.schema.types import dtype

SHOWN = 255
"""Characters of a value that a finding shows."""

FINDING = pl.Struct(
    {"check": pl.String, "severity": pl.String, "field": pl.String, "value": pl.String, "message": pl.String}
)

_INT_MAX = 2**31 - 1
_FIRST, _LAST = date(1700, 1, 1), date(4000, 12, 31)
# Salesforce wants one @, something on both sides, and a domain with a dot; it takes more than the mail standards do.
_EMAIL = r"^[^\s@,;:<>()\[\]\\\"]+@[^\s@,;:<>()\[\]\\\"]+\.[^\s@.,;:<>()\[\]\\\"]+$"


@dataclass(frozen=True)
class _Check:
    """One thing that may be wrong with a field: where it is, what it is about, and how to say it."""

    name: str
    field: str
    bad: pl.Expr
    value: pl.Expr
    message: str


def find(frame: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """The findings of a transformed frame, one row each; rows of `frame` without any do not appear.

    Columns: `check` (required, type, length, range, picklist, email), `severity` (error: Salesforce would refuse the
    row), `field` (target name), `_source_id`, `value` (what the target would get, its first 255 characters) and
    `message`, all String. One pass over `frame`.
    """
    checks = _checks(plan)
    wrong = {f"_wrong{number}": check.bad.fill_null(False) for number, check in enumerate(checks)}
    unfit = pl.col("_unfit").is_not_null()
    rows = frame.with_columns(**wrong).filter(pl.any_horizontal(unfit, *wrong))
    entries = [
        pl.when(pl.col(column)).then(_entry(check.name, pl.lit(check.field), check.value, pl.lit(check.message)))
        for column, check in zip(wrong, checks, strict=True)
    ]
    of_type = pl.col("_unfit").list.eval(
        _entry(
            "type",
            pl.element().struct.field("field"),
            pl.element().struct.field("value"),
            pl.lit("the value does not fit the target's type"),
        )
    )
    listed = pl.concat_list([*entries]).list.drop_nulls() if entries else pl.lit([], dtype=pl.List(FINDING))
    return (
        rows.select("_source_id", pl.concat_list(listed, of_type.fill_null([])).alias("_findings"))
        .explode("_findings")
        .unnest("_findings")
        .select("check", "severity", "field", "_source_id", "value", "message")
    )


def _entry(check: str, field: pl.Expr, value: pl.Expr, message: pl.Expr) -> pl.Expr:
    return pl.struct(
        pl.lit(check).alias("check"),
        pl.lit("error").alias("severity"),
        field.alias("field"),
        value.str.slice(0, SHOWN).alias("value"),
        message.alias("message"),
    )


def _checks(plan: ObjectPlan) -> list[_Check]:
    """Every check of every field that may be sent."""
    checks = [
        check
        for mapping in plan.fields
        if mapping.insertable or mapping.updateable
        for check in _of_field(mapping.target, plan)
    ]
    return checks + [
        _required(lookup.target)
        for lookup in plan.lookups
        if plan.insert_new and lookup.target.required and not lookup.deferred
    ]


def _of_field(field: Field, plan: ObjectPlan) -> list[_Check]:
    checks = []
    if plan.insert_new and field.required:
        checks.append(_required(field))
    checks += [check for check in (_length(field), _range(field), _picklist(field), _email(field)) if check]
    return checks


def _required(field: Field) -> _Check:
    nothing = canonical(pl.col(field.name), field).is_null()
    empty = pl.lit(None, dtype=pl.String)
    return _Check("required", field.name, nothing, empty, "the target requires a value and has no default")


def _length(field: Field) -> _Check | None:
    if field.type not in TEXT_TYPES or field.length <= 0:
        return None
    text = pl.col(field.name)
    return _Check(
        "length", field.name, text.str.len_chars() > field.length, text, f"longer than {field.length} characters"
    )


def _range(field: Field) -> _Check | None:
    value = pl.col(field.name)
    if field.type in NUMBER_TYPES and field.precision:
        digits = field.precision - field.scale
        # Beyond 20 digits nothing is read at all, so no wider limit can be passed.
        if digits >= 20:
            return None
        bad = canonical(value, field).abs() >= 10**digits
        message = f"more than {digits} digits before the decimal point"
    elif field.type == "int":
        limit = 10**field.digits - 1 if 0 < field.digits < 10 else _INT_MAX
        bad, message = value.abs() > limit, f"outside ±{limit}"
    elif field.type == "date":
        bad, message = (value < _FIRST) | (value > _LAST), "before the year 1700 or after 4000"
    elif field.type == "datetime":
        first, last = datetime(1700, 1, 1, tzinfo=UTC), datetime(4001, 1, 1, tzinfo=UTC)
        bad, message = (value < first) | (value >= last), "before the year 1700 or after 4000"
    else:
        return None
    return _Check("range", field.name, bad, write(value, dtype(field)), message)


def _picklist(field: Field) -> _Check | None:
    if not (field.restricted_picklist and field.picklist_values) or field.type not in ("picklist", "multipicklist"):
        return None
    accepted = pl.Series(sorted(field.active_values()), dtype=pl.String)
    value = pl.col(field.name)
    if field.type == "picklist":
        trimmed = value.str.strip_chars()
        bad, shown = (trimmed != "") & ~trimmed.is_in(accepted.implode()), value
    else:
        members = value.str.split(";").list.eval(pl.element().str.strip_chars())
        refused = members.list.eval(pl.element().filter((pl.element() != "") & ~pl.element().is_in(accepted.implode())))
        bad, shown = refused.list.len() > 0, refused.list.join(";")
    return _Check(
        "picklist", field.name, bad, shown, "not an active value of the restricted picklist; map it (picklists)"
    )


def _email(field: Field) -> _Check | None:
    if field.type != "email":
        return None
    text = pl.col(field.name).str.strip_chars()
    bad = (text != "") & ~text.str.contains(_EMAIL)
    return _Check("email", field.name, bad, pl.col(field.name), "not an e-mail address")
