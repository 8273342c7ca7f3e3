"""Short ways to plans and frames for the tests of this room."""

from __future__ import annotations

from typing import Any

import polars as pl

from isync_dagster.plan.model import FieldMapping, KeyPart, Lookup, ObjectPlan
from isync_dagster.schema.model import Field


def mapping(source: Field, target: Field | None = None, **picklist: str) -> FieldMapping:
    return FieldMapping(source, target or source, picklist)


def text(name: str, **attributes: Any) -> FieldMapping:
    return mapping(Field(name, type=attributes.pop("type", "string"), **attributes))


def lookup(name: str, *parents: str, source: str | None = None, **attributes: Any) -> Lookup:
    """A lookup; attributes of `Lookup` are set on it, all others on the target field."""
    own = {key: attributes.pop(key) for key in list(attributes) if key in Lookup.__dataclass_fields__}
    field = Field(name, type="reference", reference_to=parents, **attributes)
    return Lookup(Field(source or name, type="reference", reference_to=parents), field, parents=parents, **own)


def key(*names: str, **attributes: Any) -> tuple[KeyPart, ...]:
    return tuple(KeyPart(name, name, **attributes) for name in names)


def object_plan(**attributes: Any) -> ObjectPlan:
    values: dict[str, Any] = {"object": "Contact", "target_object": "Contact", "sequence": 10, "level": 0, "order": 0}
    return ObjectPlan(**{**values, **attributes})


def record_id(prefix: str, number: int) -> str:
    """A well-formed 18-character id."""
    return f"{prefix}{number:012d}AAA"


def id_map(*pairs: tuple[str, str]) -> pl.LazyFrame:
    return pl.LazyFrame(list(pairs), schema={"source_id": pl.String, "target_id": pl.String}, orient="row")
