"""Describe answers: every attribute that real ones carry, made from the model."""

from __future__ import annotations

from typing import Any, Final

from isync_dagster.local_org.org_schema import SYSTEM_FIELDS
from isync_dagster.schema.model import (
    MASTER_RECORD_TYPE_ID,
    NUMBER_TYPES,
    TEXT_TYPES,
    ChildRelationship,
    Field,
    SObject,
)

_SOAP: Final = {
    "id": "tns:ID",
    "reference": "tns:ID",
    "boolean": "xsd:boolean",
    "int": "xsd:int",
    "double": "xsd:double",
    "currency": "xsd:double",
    "percent": "xsd:double",
    "date": "xsd:date",
    "datetime": "xsd:dateTime",
    "time": "xsd:time",
    "base64": "xsd:base64Binary",
    "anyType": "xsd:anyType",
    "address": "urn:address",
    "location": "urn:location",
}
# Companion objects whose rows have ids but whose describe shows no key prefix.
_PREFIXLESS: Final = ("Share", "History", "Feed", "ChangeEvent")


def global_entry(item: SObject, base: str) -> dict[str, Any]:
    """One object as the global describe lists it."""
    url = f"{base}/sobjects/{item.name}"
    urls = {"rowTemplate": f"{url}/{{ID}}", "describe": f"{url}/describe", "sobject": url}
    if item.layoutable:
        urls |= {
            "compactLayouts": f"{url}/describe/compactLayouts",
            "layouts": f"{url}/describe/layouts",
            "quickActions": f"{url}/quickActions",
        }
    if item.layoutable and item.searchable:
        urls |= {"approvalLayouts": f"{url}/describe/approvalLayouts", "listviews": f"{url}/listviews"}
    prefixless = item.name.endswith(_PREFIXLESS)
    return {
        "activateable": False,
        "associateEntityType": None,
        "associateParentEntity": None,
        "createable": item.createable,
        "custom": item.custom,
        "customSetting": item.custom_setting,
        "deepCloneable": False,
        "deletable": item.deletable,
        "deprecatedAndHidden": item.deprecated_and_hidden,
        "feedEnabled": False,
        "hasSubtypes": False,
        "isInterface": False,
        "isSubtype": False,
        "keyPrefix": None if prefixless else item.key_prefix,
        "label": item.label,
        "labelPlural": item.label_plural,
        "layoutable": item.layoutable,
        "mergeable": item.mergeable,
        "mruEnabled": item.layoutable,
        "name": item.name,
        "queryable": item.queryable,
        "replicateable": item.replicateable,
        "retrieveable": item.retrieveable,
        "searchable": item.searchable,
        "triggerable": item.triggerable,
        "undeletable": item.undeletable,
        "updateable": item.updateable,
        "urls": urls,
    }


def full(item: SObject, base: str) -> dict[str, Any]:
    """The whole describe of an object."""
    answer = global_entry(item, base)
    url = f"{base}/sobjects/{item.name}"
    answer["urls"] |= {
        "uiDetailTemplate": "/{ID}",
        "uiEditTemplate": "/{ID}/e",
        "uiNewRecord": f"/{item.key_prefix}/e",
        "defaultValues": f"{url}/defaultValues?recordTypeId&fields",
    }
    answer |= {
        "actionOverrides": [],
        "childRelationships": [_child(child) for child in item.child_relationships],
        "compactLayoutable": item.layoutable,
        "defaultImplementation": None,
        "extendedBy": None,
        "extendsInterfaces": None,
        "fields": [_field(field) for field in item.fields],
        "implementedBy": None,
        "implementsInterfaces": None,
        "listviewable": None,
        "lookupLayoutable": None,
        "namedLayoutInfos": [],
        "networkScopeFieldName": None,
        "recordTypeInfos": _record_types(item, url),
        "searchLayoutable": item.searchable,
        "sobjectDescribeOption": "FULL",
        "supportedScopes": [{"label": f"All {item.label_plural.lower()}", "name": "everything"}],
    }
    return dict(sorted(answer.items()))


def _child(child: ChildRelationship) -> dict[str, Any]:
    return {
        "cascadeDelete": child.cascade_delete,
        "childSObject": child.child_s_object,
        "deprecatedAndHidden": child.deprecated_and_hidden,
        "field": child.field,
        "junctionIdListNames": list(child.junction_id_list_names),
        "junctionReferenceTo": list(child.junction_reference_to),
        "relationshipName": child.relationship_name,
        "restrictedDelete": child.restricted_delete,
    }


def _record_types(item: SObject, url: str) -> list[dict[str, Any]]:
    if not item.layoutable and not item.record_type_infos:
        return []
    entries = [
        {
            "active": info.active,
            "available": info.available,
            "defaultRecordTypeMapping": info.default_record_type_mapping,
            "developerName": info.developer_name,
            "master": info.master,
            "name": info.name or info.developer_name,
            "recordTypeId": info.record_type_id,
            "urls": {"layout": f"{url}/describe/layouts/{info.record_type_id}"},
        }
        for info in item.record_type_infos
    ]
    if not any(entry["master"] for entry in entries):
        entries.append(
            {
                "active": True,
                "available": True,
                "defaultRecordTypeMapping": not any(entry["defaultRecordTypeMapping"] for entry in entries),
                "developerName": "Master",
                "master": True,
                "name": "Master",
                "recordTypeId": MASTER_RECORD_TYPE_ID,
                "urls": {"layout": f"{url}/describe/layouts/{MASTER_RECORD_TYPE_ID}"},
            }
        )
    return entries


def _field(field: Field) -> dict[str, Any]:
    """All 57 attributes of a field."""
    text = field.type in TEXT_TYPES
    known = _plain(field)
    known["byteLength"] = field.byte_length or (field.length if not text else field.length * 3)
    known["soapType"] = field.soap_type or _SOAP.get(field.type, "xsd:string")
    known["mask"] = field.mask
    if field.type in NUMBER_TYPES | {"int"}:
        known["length"] = 0
    if field.name.lower() in SYSTEM_FIELDS:
        known["permissionable"] = False
    return dict(sorted(known.items()))


def _plain(field: Field) -> dict[str, Any]:
    return {
        "aggregatable": field.aggregatable,
        "aiPredictionField": field.ai_prediction_field,
        "autoNumber": field.auto_number,
        "calculated": field.calculated,
        "calculatedFormula": field.calculated_formula,
        "cascadeDelete": field.cascade_delete,
        "caseSensitive": field.case_sensitive,
        "compoundFieldName": field.compound_field_name,
        "controllerName": field.controller_name,
        "createable": field.createable,
        "custom": field.custom,
        "defaultValue": field.default_value,
        "defaultValueFormula": field.default_value_formula,
        "defaultedOnCreate": field.defaulted_on_create,
        "dependentPicklist": field.dependent_picklist,
        "deprecatedAndHidden": field.deprecated_and_hidden,
        "digits": field.digits,
        "displayLocationInDecimal": field.display_location_in_decimal,
        "encrypted": field.encrypted,
        "externalId": field.external_id,
        "extraTypeInfo": field.extra_type_info,
        "filterable": field.filterable,
        "filteredLookupInfo": field.filtered_lookup_info,
        "formulaTreatNullNumberAsZero": field.formula_treat_null_number_as_zero,
        "groupable": field.groupable,
        "highScaleNumber": field.high_scale_number,
        "htmlFormatted": field.html_formatted,
        "idLookup": field.id_lookup,
        "inlineHelpText": field.inline_help_text,
        "label": field.label,
        "length": field.length,
        "maskType": field.mask_type,
        "name": field.name,
        "nameField": field.name_field,
        "namePointing": field.name_pointing,
        "nillable": field.nillable,
        "permissionable": field.permissionable,
        "picklistValues": [
            {
                "active": entry.active,
                "defaultValue": entry.default_value,
                "label": entry.label or entry.value,
                "validFor": entry.valid_for,
                "value": entry.value,
            }
            for entry in field.picklist_values
        ],
        "polymorphicForeignKey": field.polymorphic_foreign_key,
        "precision": field.precision,
        "queryByDistance": field.query_by_distance,
        "referenceTargetField": field.reference_target_field,
        "referenceTo": list(field.reference_to),
        "relationshipName": field.relationship_name,
        "relationshipOrder": field.relationship_order,
        "restrictedDelete": field.restricted_delete,
        "restrictedPicklist": field.restricted_picklist,
        "scale": field.scale,
        "searchPrefilterable": field.search_prefilterable,
        "sortable": field.sortable,
        "type": field.type,
        "unique": field.unique,
        "updateable": field.updateable,
        "writeRequiresMasterRead": field.write_requires_master_read,
    }
