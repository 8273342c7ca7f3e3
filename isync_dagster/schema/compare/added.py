"""What only the target has: of interest where a schema is compared with its own past."""

from __future__ import annotations

from collections.abc import Iterable

from isync_dagster.schema.compare.model import Difference, Kind, Matched, Severity
from isync_dagster.schema.model import SObject


def added(item: Matched) -> Iterable[Difference]:
    """Fields, picklist values and record types of the target that the source does not have; all cosmetic."""
    source, target = item.source, item.target
    assert target is not None
    known = {(item.pair.fields.get(field.name) or field.name).lower() for field in source.fields}
    for field in target.fields:
        if field.name.lower() not in known:
            yield _added(Kind.FIELD_ADDED, source, target, field.name, "", field.type)
            continue
        before = source.field(field.name)
        if before is None:
            continue
        for value in sorted(field.active_values() - before.active_values()):
            yield _added(Kind.PICKLIST_VALUE_ADDED, source, target, field.name, value, value)
    names = {info.developer_name.lower() for info in source.record_type_infos}
    for info in target.record_type_infos:
        if not info.master and info.developer_name.lower() not in names:
            label = info.name or info.developer_name
            yield _added(Kind.RECORD_TYPE_ADDED, source, target, "RecordTypeId", info.developer_name, label)


def _added(kind: Kind, source: SObject, target: SObject, field: str, value: str, text: str) -> Difference:
    return Difference(
        kind, source.name, target.name, field, field, value, "–", text, Severity.COSMETIC, 0, "Nothing to do."
    )
