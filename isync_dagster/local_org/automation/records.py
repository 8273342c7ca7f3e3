"""The setup records that the data API shows of an org's automation: duplicate rules, flows, custom permissions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from isync_dagster.local_org.values import parse

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer

# Object -> the fields that tell one record from another.
_KEYS: Final[dict[str, tuple[str, ...]]] = {
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
        keys = _KEYS.get(name, ("DeveloperName",))
        have = writer.storage.frame(f'SELECT "Id", {", ".join(_q(key) for key in keys)} FROM {_q(name)}')
        ids = {tuple(row[1:]): row[0] for row in have.iter_rows()}
        wanted = {tuple(row[key] for key in keys): row for row in rows}
        for gone in ids.keys() - wanted.keys():
            writer.cursor.execute(f'DELETE FROM {_q(name)} WHERE "Id" = ?', [ids[gone]])
        for key, row in wanted.items():
            known = {field: value for field, value in row.items() if sobject.field(field) is not None}
            if name.endswith("__mdt"):
                typed = pl.DataFrame([known]).select(
                    [parse(found, pl.col(key).cast(pl.String)).value.alias(key)
                     for key in known if (found := sobject.field(key)) is not None]
                )  # fmt: skip
                known = typed.row(0, named=True)
            if key not in ids:
                writer.store_new(sobject, pl.DataFrame([known]))
            else:
                sets = ", ".join(f"{_q(field)} = ?" for field in known)
                writer.cursor.execute(f'UPDATE {_q(name)} SET {sets} WHERE "Id" = ?', [*known.values(), ids[key]])


def _declared(writer: Writer) -> dict[str, list[dict[str, Any]]]:
    automation = writer.schema.automation
    metadata: dict[str, list[dict[str, Any]]] = {item.name: [] for item in writer.schema if item.name.endswith("__mdt")}
    for row in automation.custom_metadata:
        sobject = writer.schema.get(row.type)
        if sobject is not None:
            metadata.setdefault(sobject.name, []).append(
                {
                    "DeveloperName": row.name,
                    "MasterLabel": row.label,
                    "Label": row.label,
                    "Language": "en_US",
                    "QualifiedApiName": row.name,
                    **row.values,
                }
            )
    return metadata | {
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
