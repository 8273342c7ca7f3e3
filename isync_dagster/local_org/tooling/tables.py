"""The records that the Tooling API shows, as frames made from what the org has declared; bounded by the metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from isync_dagster.local_org.automation.model import Assignment, Flow, Of
from isync_dagster.local_org.ids import id_range
from isync_dagster.local_org.org_schema import OrgSchema, columns
from isync_dagster.local_org.storage import polars_type
from isync_dagster.schema.model import Field, SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

Row = dict[str, Any]


def _object(name: str, prefix: str, *fields: Field) -> SObject:
    return SObject(
        name,
        label=name,
        key_prefix=prefix,
        fields=fields,
        createable=False,
        deletable=False,
        undeletable=False,
        layoutable=False,
    )


def _texts(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, "string", length=255, createable=False, updateable=False) for name in names)


def _flag(name: str) -> Field:
    return Field(name, "boolean", createable=False, updateable=False)


def _number(name: str) -> Field:
    return Field(name, "int", createable=False, updateable=False)


def _lookup(name: str, target: str) -> Field:
    return Field(name, "reference", reference_to=(target,), relationship_name=name.removesuffix("Id"),
                 createable=False, updateable=False)  # fmt: skip


_METADATA: Final = (
    *_texts("FullName", "NamespacePrefix", "ManageableState"),
    Field("Metadata", "complexvalue", filterable=False, sortable=False, createable=False),
)
_ENTITY: Final = _lookup("EntityDefinitionId", "EntityDefinition")

OBJECTS: Final = (
    _object("EntityDefinition", "4ie", *_texts("DurableId", "QualifiedApiName", "DeveloperName", "Label",
            "PluralLabel", "KeyPrefix", "NamespacePrefix"), _flag("IsCustomSetting"), _flag("IsQueryable")),
    _object("FieldDefinition", "4fe", *_texts("DurableId", "QualifiedApiName", "DeveloperName", "Label", "DataType",
            "NamespacePrefix", "FullName"), _number("Length"), _flag("IsCalculated"), _flag("IsNillable"), _ENTITY,
            _METADATA[-1]),
    _object("CustomObject", "01I", *_texts("DeveloperName", "NamespacePrefix", "ManageableState")),
    _object("CustomField", "00N", *_texts("DeveloperName", "TableEnumOrId"), _ENTITY, *_METADATA),
    _object("ValidationRule", "03d", *_texts("ValidationName", "Description", "ErrorDisplayField", "ErrorMessage"),
            _flag("Active"), _ENTITY, *_METADATA),
    _object("WorkflowRule", "01Q", *_texts("Name", "TableEnumOrId"), *_METADATA),
    _object("WorkflowFieldUpdate", "04Y", *_texts("Name", "SourceTableEnumOrId"), *_METADATA),
    _object("ApexClass", "01p", *_texts("Name", "Status", "Body", "NamespacePrefix"), _number("ApiVersion")),
    _object("ApexTrigger", "01q", *_texts("Name", "TableEnumOrId", "Status", "Body", "NamespacePrefix"),
            _number("ApiVersion"), _ENTITY, *(_flag(f"Usage{word}") for word in ("BeforeInsert", "BeforeUpdate",
            "BeforeDelete", "AfterInsert", "AfterUpdate", "AfterDelete", "AfterUndelete"))),
    _object("FlowDefinition", "300", *_texts("DeveloperName", "MasterLabel", "Description"),
            _lookup("ActiveVersionId", "Flow"), _lookup("LatestVersionId", "Flow"), *_METADATA),
    _object("Flow", "301", *_texts("MasterLabel", "Description", "Status", "ProcessType"), _number("VersionNumber"),
            _lookup("DefinitionId", "FlowDefinition"), *_METADATA),
    _object("RecordType", "012", *_texts("Name", "SobjectType", "NamespacePrefix"), _flag("IsActive"), *_METADATA[:1]),
)  # fmt: skip
SCHEMA: Final = OrgSchema(OBJECTS)


def metadata_id(org: LocalOrg, kind: str, name: str) -> str:
    """The id of a piece of metadata: it follows from its name, so that it stays the same for its life."""
    number = int.from_bytes(hashlib.sha256(f"{kind} {name.lower()}".encode()).digest()[:7], "big") % 62**7
    prefix = SCHEMA[kind].key_prefix or "000"
    return str(id_range(prefix, org.storage.pod, number, 1)[0])


def tables(org: LocalOrg, query: str = "") -> Mapping[str, pl.DataFrame]:
    """Object -> its rows with every column of the tooling schema; only of the objects that `query` (SQL) reads, if given."""
    makers = {
        "EntityDefinition": _entities,
        "FieldDefinition": _fields,
        "CustomObject": _custom_objects,
        "CustomField": _custom_fields,
        "ValidationRule": _validation_rules,
        "WorkflowRule": _workflow_rules,
        "WorkflowFieldUpdate": _field_updates,
        "ApexClass": lambda _: [],  # a local org runs no Apex, and keeps none
        "ApexTrigger": _triggers,
        "FlowDefinition": _flow_definitions,
        "Flow": _flow_versions,
        "RecordType": _record_types,
    }
    read = {name: make for name, make in makers.items() if not query or f'"{name}"' in query}
    return {name: _frame(org, SCHEMA[name], make(org)) for name, make in read.items()}


def _frame(org: LocalOrg, sobject: SObject, rows: list[Row]) -> pl.DataFrame:
    kinds = {name: polars_type(kind) for name, kind in columns(sobject).items()}
    actor = org.actor()
    common = {
        "IsDeleted": False, "CreatedDate": actor.now, "CreatedById": actor.user_id, "LastModifiedDate": actor.now,
        "LastModifiedById": actor.user_id, "SystemModstamp": actor.now,
    }  # fmt: skip
    full = [{name: row.get(name, common.get(name)) for name in kinds} for row in rows]
    return pl.DataFrame(full, schema=kinds)


def entity_id(org: LocalOrg, sobject: SObject | None, name: str) -> str:
    """How metadata names an object: its API name, or the id of a custom object."""
    if sobject is None or not sobject.custom:
        return sobject.name if sobject is not None else name
    return metadata_id(org, "CustomObject", sobject.name)


def _of(org: LocalOrg, item: Of) -> str:
    return entity_id(org, org.schema.get(item.sobject), item.sobject)


def _developer_name(name: str) -> str:
    return name.removesuffix("__c").removesuffix("__mdt").split("__")[-1]


def _namespace(name: str) -> str | None:
    parts = name.split("__")
    return parts[0] if len(parts) == 3 else None


def _entities(org: LocalOrg) -> list[Row]:
    return [
        {
            "Id": entity_id(org, item, item.name),
            "DurableId": entity_id(org, item, item.name),
            "QualifiedApiName": item.name,
            "DeveloperName": _developer_name(item.name),
            "Label": item.label,
            "PluralLabel": item.label_plural,
            "KeyPrefix": item.key_prefix,
            "NamespacePrefix": _namespace(item.name),
            "IsCustomSetting": item.custom_setting,
            "IsQueryable": item.queryable,
        }
        for item in org.schema
    ]


def _fields(org: LocalOrg) -> list[Row]:
    from isync_dagster.local_org.metadata_api.written import field_metadata

    return [
        {
            "Id": f"{entity_id(org, item, item.name)}.{field.name}",
            "DurableId": f"{entity_id(org, item, item.name)}.{field.name}",
            "QualifiedApiName": field.name,
            "DeveloperName": _developer_name(field.name),
            "Label": field.label,
            "DataType": field.type,
            "NamespacePrefix": _namespace(field.name),
            "Length": field.length,
            "IsCalculated": field.calculated,
            "IsNillable": field.nillable,
            "EntityDefinitionId": entity_id(org, item, item.name),
            "FullName": f"{item.name}.{field.name}",
            "Metadata": json.dumps(field_metadata(org.schema, item, field)),
        }
        for item in org.schema
        for field in item.fields
    ]


def _custom_objects(org: LocalOrg) -> list[Row]:
    return [
        {
            "Id": metadata_id(org, "CustomObject", item.name),
            "DeveloperName": _developer_name(item.name),
            "NamespacePrefix": _namespace(item.name),
            "ManageableState": "unmanaged",
        }
        for item in org.schema
        if item.custom
    ]


def _custom_fields(org: LocalOrg) -> list[Row]:
    from isync_dagster.local_org.metadata_api.written import field_metadata

    return [
        {
            "Id": metadata_id(org, "CustomField", f"{item.name}.{field.name}"),
            "DeveloperName": _developer_name(field.name),
            "TableEnumOrId": entity_id(org, item, item.name),
            "EntityDefinitionId": entity_id(org, item, item.name),
            "NamespacePrefix": _namespace(field.name),
            "ManageableState": "unmanaged",
            "FullName": f"{item.name}.{field.name}",
            "Metadata": json.dumps(field_metadata(org.schema, item, field)),
        }
        for item in org.schema
        for field in item.fields
        if field.custom and field.name.endswith("__c")
    ]


def _validation_rules(org: LocalOrg) -> list[Row]:
    return [
        {
            "Id": metadata_id(org, "ValidationRule", f"{rule.sobject}.{rule.name}"),
            "ValidationName": rule.name,
            "Active": rule.active,
            "Description": rule.description or None,
            "ErrorDisplayField": rule.field,
            "ErrorMessage": rule.message,
            "EntityDefinitionId": _of(org, rule),
            "ManageableState": "unmanaged",
            "FullName": f"{rule.sobject}.{rule.name}",
            "Metadata": json.dumps(
                {
                    "active": rule.active,
                    "description": rule.description or None,
                    "errorConditionFormula": rule.formula,
                    "errorDisplayField": rule.field,
                    "errorMessage": rule.message,
                    "shouldEvaluateOnClient": None,
                    "urls": None,
                }
            ),
        }
        for rule in org.schema.automation.validation_rules
    ]


def _workflow_rules(org: LocalOrg) -> list[Row]:
    return [
        {
            "Id": metadata_id(org, "WorkflowRule", f"{rule.sobject}.{rule.name}"),
            "Name": rule.name,
            "TableEnumOrId": _of(org, rule),
            "ManageableState": "unmanaged",
            "FullName": f"{rule.sobject}.{rule.name}",
            "Metadata": json.dumps(
                {
                    "actions": [{"name": _update_name(rule, item), "type": "FieldUpdate"} for item in rule.assign],
                    "active": rule.active,
                    "description": rule.description or None,
                    "formula": rule.condition,
                    "triggerType": "onCreateOnly" if rule.events == ("create",) else "onAllChanges",
                }
            ),
        }
        for rule in org.schema.automation.flows
        if rule.kind == "workflow"
    ]


def _update_name(rule: Flow, item: Assignment) -> str:
    return f"{rule.name}_{item.field.removesuffix('__c')}"


def _field_updates(org: LocalOrg) -> list[Row]:
    return [
        {
            "Id": metadata_id(org, "WorkflowFieldUpdate", f"{rule.sobject}.{_update_name(rule, item)}"),
            "Name": _update_name(rule, item).replace("_", " "),
            "SourceTableEnumOrId": _of(org, rule),
            "ManageableState": "unmanaged",
            "FullName": f"{rule.sobject}.{_update_name(rule, item)}",
            "Metadata": json.dumps(
                {
                    "field": item.field,
                    "formula": item.formula,
                    "name": _update_name(rule, item).replace("_", " "),
                    "operation": "Formula",
                    "targetObject": item.record,
                }
            ),
        }
        for rule in org.schema.automation.flows
        if rule.kind == "workflow"
        for item in rule.assign
    ]


def _triggers(org: LocalOrg) -> list[Row]:
    return [
        {
            "Id": metadata_id(org, "ApexTrigger", trigger.name),
            "Name": trigger.name,
            "TableEnumOrId": _of(org, trigger),
            "EntityDefinitionId": _of(org, trigger),
            "Status": "Active" if trigger.active else "Inactive",
            "Body": trigger.body or None,
            "ApiVersion": 62,
            **{
                f"Usage{''.join(part.capitalize() for part in event.split())}": event in trigger.events
                for event in ("before insert", "before update", "before delete", "after insert", "after update",
                              "after delete", "after undelete")
            },
        }
        for trigger in org.schema.automation.triggers
    ]  # fmt: skip


def flows(org: LocalOrg) -> list[Flow]:
    """The flows, without the workflow rules that are kept with them."""
    return [flow for flow in org.schema.automation.flows if flow.kind == "flow"]


def working_version(flow: Flow) -> int | None:
    """The number of the version that works, None while the flow is switched off."""
    return (flow.active_version or flow.version) if flow.active else None


def _flow_definitions(org: LocalOrg) -> list[Row]:
    return [
        {
            "Id": metadata_id(org, "FlowDefinition", flow.name),
            "DeveloperName": flow.name,
            "MasterLabel": flow.label or flow.name.replace("_", " "),
            "Description": flow.description or None,
            "ActiveVersionId": metadata_id(org, "Flow", f"{flow.name}-{working}") if working else None,
            "LatestVersionId": metadata_id(org, "Flow", f"{flow.name}-{flow.version}"),
            "ManageableState": "unmanaged",
            "FullName": flow.name,
            "Metadata": json.dumps(
                {
                    "activeVersionNumber": working,
                    "description": flow.description or None,
                    "masterLabel": flow.label or None,
                }
            ),
        }
        for flow in flows(org)
        for working in (working_version(flow),)
    ]


def _flow_versions(org: LocalOrg) -> list[Row]:
    return [
        {
            "Id": metadata_id(org, "Flow", f"{flow.name}-{number}"),
            "DefinitionId": metadata_id(org, "FlowDefinition", flow.name),
            "MasterLabel": flow.label or flow.name.replace("_", " "),
            "Description": flow.description or None,
            "VersionNumber": number,
            "Status": "Active" if number == working_version(flow) else "Obsolete",
            "ProcessType": "AutoLaunchedFlow",
            "ManageableState": "unmanaged",
            "FullName": f"{flow.name}-{number}",
            "Metadata": json.dumps(
                {
                    "label": flow.label or flow.name,
                    "processType": "AutoLaunchedFlow",
                    "start": {
                        "object": flow.sobject,
                        "recordTriggerType": "CreateAndUpdate" if len(flow.events) > 1 else flow.events[0].capitalize(),
                        "triggerType": "RecordBeforeSave" if flow.when == "before" else "RecordAfterSave",
                    },
                    **_elements(org, flow),
                }
            ),
        }
        for flow in flows(org)
        for number in range(1, flow.version + 1)
    ]


def _elements(org: LocalOrg, flow: Flow) -> dict[str, Any]:
    """What a flow does as its elements: formulas, assignments to the record before a save, updates and creations after."""
    formulas = [{"name": f"value_{number}", "dataType": "String", "expression": item.formula}
                for number, item in enumerate(flow.assign)]  # fmt: skip
    given = [{"elementReference": item["name"]} for item in formulas]
    own = [(item.field, value) for item, value in zip(flow.assign, given, strict=True) if not item.record]
    made: dict[str, Any] = {"formulas": formulas, "assignments": [], "recordUpdates": []}
    if own and flow.when == "before":
        items = [{"assignToReference": f"$Record.{name}", "operator": "Assign", "value": value} for name, value in own]
        made["assignments"].append({"name": "Set_fields", "assignmentItems": items})
    elif own:
        items = [{"field": name, "value": value} for name, value in own]
        made["recordUpdates"].append({"name": "Update_record", "inputReference": "$Record", "inputAssignments": items})
    for item, value in zip(flow.assign, given, strict=True):
        if item.record:
            made["recordUpdates"].append(
                {
                    "name": f"Update_{item.record}",
                    "object": _parent_of(org, flow, item.record),
                    "filters": [{"field": "Id", "operator": "EqualTo",
                                 "value": {"elementReference": f"$Record.{item.record}.Id"}}],
                    "inputAssignments": [{"field": item.field, "value": value}],
                }
            )  # fmt: skip
    made["recordCreates"] = [
        {"name": f"Create_{item.sobject}", "object": item.sobject,
         "inputAssignments": [{"field": name, "value": {"stringValue": text}} for name, text in item.values.items()]}
        for item in flow.create
    ]  # fmt: skip
    return made


def _parent_of(org: LocalOrg, flow: Flow, path: str) -> str:
    """The object that a relationship path of the flow's object leads to; the path itself where it leads nowhere."""
    found = org.schema.get(flow.sobject)
    for step in path.split("."):
        field = next((one for one in (found.fields if found else ()) if one.relationship_name == step), None)
        found = org.schema.get(field.reference_to[0]) if field is not None and field.reference_to else None
    return found.name if found is not None else path


def _record_types(org: LocalOrg) -> list[Row]:
    return [
        {
            "Id": info.record_type_id,
            "Name": info.name or info.developer_name,
            "SobjectType": item.name,
            "IsActive": info.active,
            "FullName": f"{item.name}.{info.developer_name}",
        }
        for item in org.schema
        for info in item.record_type_infos
        if not info.master
    ]
