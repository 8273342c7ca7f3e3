"""Objects and fields that the data shows and no metadata defines, guessed from the values.

Data sets of packages hold fields that other packages define. A guess is as wide as the values need: text
with room, numbers with all decimals, lookups where the data set says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import polars as pl

from isync_dagster.local_org.seeds.dataset import REF, DataSet
from isync_dagster.local_org.seeds.fields import dressed, label_of, owner_field, plural_of, system_fields
from isync_dagster.local_org.seeds.notation import MASTER
from isync_dagster.local_org.seeds.sfdx_fields import name_field
from isync_dagster.schema.model import Field, RecordTypeInfo, SObject

DATE: Final = r"^\d{4}-\d{2}-\d{2}$"
DATETIME: Final = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?"
NUMBER: Final = r"^-?\d{1,17}(\.\d+)?$"
# A number with zeros before it, or as long as an identifier, is text.
TEXTUAL: Final = r"^-?0\d|^\d{11,}$"


def complete(objects: Iterable[SObject], data: DataSet) -> list[SObject]:
    """The objects with every object, field and record type that the data set needs beside them."""
    known = {item.name: item for item in objects}
    for name, frame in data.frames.items():
        base = known.get(name) or _object(name)
        known[name] = _fit(base, frame, data)
    for parents in data.links.values():
        for parent in parents:
            known.setdefault(parent, _object(parent))
    return list(known.values())


def guess(name: str, values: pl.Series, parents: tuple[str, ...] = ()) -> Field:
    """The field that holds these values (String): its type from all that are not null.

    >>> guess("Age__c", pl.Series(["1.25", "30"])).type, guess("Zip__c", pl.Series(["01234"])).type
    ('double', 'string')
    """
    custom = name.endswith(("__c", "__s"))
    field = Field(name, "string", label_of(name), length=255, custom=custom)
    if parents:
        path = name[:-1] + "r" if custom else name.removesuffix("Id")
        return dressed(replace(field, type="reference", length=18, reference_to=parents, relationship_name=path))
    text = values.cast(pl.String).drop_nulls()
    if text.is_empty():
        return dressed(field)
    if text.str.to_lowercase().is_in(["true", "false"]).all():
        return dressed(
            replace(field, type="boolean", length=0, nillable=False, defaulted_on_create=True, default_value=False)
        )
    for pattern, kind in ((DATE, "date"), (DATETIME, "datetime")):
        if text.str.contains(pattern).all():
            return dressed(replace(field, type=kind, length=0))
    if text.str.contains(NUMBER).all() and not text.str.contains(TEXTUAL).any():
        scale = text.str.extract(r"\.(\d+)$").str.len_chars().max() or 0
        assert isinstance(scale, int)
        # Averages come with more decimals than any field shows; what is before the point needs its own room.
        scale = min(scale, 17)
        return dressed(replace(field, type="double", length=0, precision=18 + scale, scale=scale))
    longest = text.str.len_chars().max() or 0
    assert isinstance(longest, int)
    if longest > 255 or text.str.contains("\n", literal=True).any():
        return dressed(replace(field, type="textarea", length=max(32768, longest), extra_type_info="plaintextarea"))
    return dressed(field)


def _object(name: str) -> SObject:
    system = system_fields()
    label = label_of(name)
    return SObject(
        name,
        label=label,
        label_plural=plural_of(label),
        custom=name.endswith("__c"),
        fields=(*system[:2], name_field(None, name), owner_field(queues=name.endswith("__c")), *system[2:]),
        record_type_infos=(MASTER,),
    )


def _fit(item: SObject, frame: pl.DataFrame, data: DataSet) -> SObject:
    fields = {field.name: field for field in item.fields}
    for column in frame.columns:
        if column == REF:
            continue
        parents = data.links.get((item.name, column), ())
        field = item.field(column)
        if field is None:
            fields[column] = guess(column, frame[column], parents)
        elif field.is_reference and not set(parents) <= set(field.reference_to):
            fields[field.name] = replace(field, reference_to=tuple(dict.fromkeys((*field.reference_to, *parents))))
    infos = item.record_type_infos
    if "RecordTypeId" in frame.columns:
        prefix = f"RecordType/{item.name}."
        used = frame["RecordTypeId"].drop_nulls().unique().sort()
        names = [value.removeprefix(prefix) for value in used if str(value).startswith(prefix)]
        known = {name for info in infos for name in (info.developer_name, info.name)}
        infos = (*(RecordTypeInfo("", name, name) for name in names if name not in known), *infos)
        if "RecordTypeId" not in fields or not fields["RecordTypeId"].is_reference:
            fields["RecordTypeId"] = guess("RecordTypeId", frame["RecordTypeId"], ("RecordType",))
    return replace(item, fields=tuple(fields.values()), record_type_infos=infos)
