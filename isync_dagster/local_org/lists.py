"""The records that say what statuses and stages mean; they follow from the picklists of their objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from isync_dagster.local_org.derive import STAGES
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.schema.model import PicklistValue

Row = dict[str, Any]


def list_rows(schema: OrgSchema) -> Mapping[str, Sequence[Row]]:
    """`LeadStatus`, `CaseStatus` and `OpportunityStage` -> their records, by the rules that saves go by."""
    return {
        "LeadStatus": [
            {**row, "IsDefault": entry.default_value, "IsConverted": _converts(entry)}
            for row, entry in _entries(schema, "Lead", "Status")
        ],
        "CaseStatus": [
            {**row, "IsDefault": entry.default_value, "IsClosed": "closed" in _plain(entry)}
            for row, entry in _entries(schema, "Case", "Status")
        ],
        "OpportunityStage": [{**row, **_stage(entry)} for row, entry in _entries(schema, "Opportunity", "StageName")],
    }


def _entries(schema: OrgSchema, name: str, field_name: str) -> list[tuple[Row, PicklistValue]]:
    sobject = schema.get(name)
    field = sobject.field(field_name) if sobject is not None else None
    entries = [entry for entry in field.picklist_values if entry.active] if field is not None else []
    return [
        ({"MasterLabel": entry.label or entry.value, "ApiName": entry.value, "SortOrder": number}, entry)
        for number, entry in enumerate(entries, 1)
    ]


def _plain(entry: PicklistValue) -> str:
    return entry.value.lower()


def _converts(entry: PicklistValue) -> bool:
    return "converted" in _plain(entry) and "not converted" not in _plain(entry)


def _stage(entry: PicklistValue) -> Row:
    closed = "closed" in _plain(entry)
    won = closed and "won" in _plain(entry)
    likely = STAGES.get(entry.value, 100 if won else 0)
    forecast = "Closed" if won else "Omitted" if closed else "Best Case" if likely >= 70 else "Pipeline"
    return {
        "IsActive": True, "IsClosed": closed, "IsWon": won, "DefaultProbability": likely,
        "ForecastCategory": forecast.replace(" ", ""), "ForecastCategoryName": forecast,
    }  # fmt: skip
