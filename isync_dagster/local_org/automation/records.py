"""The setup records that the data API shows of an org's automation: duplicate rules, flows, custom permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer

# Object -> the fields that tell one record from another.
_KEYS: Final = {
    "DuplicateRule": ("SobjectType", "DeveloperName"),
    "FlowDefinitionView": ("ApiName",),
    "CustomPermission": ("DeveloperName",),
}


def write_records(writer: Writer) -> None:
    """Bring the records in step with what is declared: new ones made, changed ones changed, others deleted."""
    for name, rows in _declared(writer).items():
        sobject = writer.schema.get(name)
        if sobject is None:
            continue
        keys = _KEYS[name]
        have = writer.storage.frame(f'SELECT "Id", {", ".join(_q(key) for key in keys)} FROM {_q(name)}')
        ids = {tuple(row[1:]): row[0] for row in have.iter_rows()}
        wanted = {tuple(row[key] for key in keys): row for row in rows}
        for gone in ids.keys() - wanted.keys():
            writer.cursor.execute(f'DELETE FROM {_q(name)} WHERE "Id" = ?', [ids[gone]])
        for key, row in wanted.items():
            known = {field: value for field, value in row.items() if sobject.field(field) is not None}
            if key not in ids:
                writer.store_new(sobject, pl.DataFrame([known]))
            else:
                sets = ", ".join(f"{_q(field)} = ?" for field in known)
                writer.cursor.execute(
                    f'UPDATE {_q(name)} SET {sets} WHERE "Id" = ?', [*known.values(), ids[key]]
                )


def _declared(writer: Writer) -> dict[str, list[dict[str, Any]]]:
    automation = writer.schema.automation
    return {
        "DuplicateRule": [
            {
                "DeveloperName": rule.name,
                "MasterLabel": rule.label or rule.name.replace("_", " "),
                "SobjectType": rule.sobject,
                "IsActive": rule.active,
                "Language": "en_US",
            }
            for rule in automation.duplicate_rules
        ],
        "FlowDefinitionView": [
            {
                "ApiName": flow.name,
                "Label": flow.label or flow.name.replace("_", " "),
                "ProcessType": "AutoLaunchedFlow",
                "IsActive": flow.active,
                "VersionNumber": flow.version,
                "TriggerType": "RecordBeforeSave" if flow.when == "before" else "RecordAfterSave",
                "TriggerObjectOrEventLabel": label_of(writer, flow.sobject),
                "Description": flow.description or None,
            }
            for flow in automation.flows
            if flow.kind == "flow"
        ],
        "CustomPermission": [
            {"DeveloperName": name, "MasterLabel": name.replace("_", " "), "Language": "en_US"}
            for name in automation.custom_permissions
        ],
    }


def label_of(writer: Writer, sobject: str) -> str:
    """The label of an object, or its name where the org does not have it."""
    found = writer.schema.get(sobject)
    return found.label if found is not None else sobject


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
