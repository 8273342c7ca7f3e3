"""Fields, objects and rules as metadata: the dictionaries of the Tooling API and the XML of a retrieve."""

from __future__ import annotations

from typing import Any, Final
from xml.sax.saxutils import escape

from isync_dagster.local_org.automation.model import DuplicateRule, LookupFilter, ValidationRule, on
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.schema.model import Field, RecordTypeInfo, SObject

HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
SPACE: Final = "http://soap.sforce.com/2006/04/metadata"
_TYPES: Final = {
    "boolean": "Checkbox", "currency": "Currency", "date": "Date", "datetime": "DateTime", "double": "Number",
    "email": "Email", "encryptedstring": "EncryptedText", "int": "Number", "location": "Location",
    "multipicklist": "MultiselectPicklist", "percent": "Percent", "phone": "Phone", "picklist": "Picklist",
    "reference": "Lookup", "string": "Text", "textarea": "TextArea", "time": "Time", "url": "Url",
}  # fmt: skip


def field_type(schema: OrgSchema, sobject: SObject, field: Field) -> str:
    """The metadata type of a field."""
    if schema.roll_up(sobject, field.name) is not None:
        return "Summary"
    if field.auto_number:
        return "AutoNumber"
    if field.is_reference and field.master_detail:
        return "MasterDetail"
    if field.type == "textarea" and field.length > 255:
        return "Html" if field.html_formatted else "LongTextArea"
    return _TYPES.get(field.type, "Text")


def field_metadata(schema: OrgSchema, sobject: SObject, field: Field) -> dict[str, Any]:
    """A custom field as `<CustomField>` has it, without its name; what does not apply is left out."""
    kind = field_type(schema, sobject, field)
    made: dict[str, Any] = {"label": field.label}
    if field.inline_help_text:
        made["inlineHelpText"] = field.inline_help_text
    if field.calculated and kind != "Summary":
        made["formula"] = field.calculated_formula
        made["formulaTreatBlanksAs"] = "BlankAsZero" if field.formula_treat_null_number_as_zero else "BlankAsBlank"
    if kind in ("Text", "LongTextArea", "Html", "EncryptedText") and "formula" not in made:
        made["length"] = field.length or 255
    if kind in ("LongTextArea", "Html"):
        made["visibleLines"] = 3
    if kind in ("Number", "Currency", "Percent"):
        made |= {"precision": field.precision or 18, "scale": field.scale}
    if kind in ("Lookup", "MasterDetail"):
        made["referenceTo"] = next(iter(field.reference_to), None)
        child = _relationship(schema, sobject, field)
        if child is not None:
            made["relationshipName"] = child.removesuffix("__r")
        if found := [one for one in on(schema.automation.lookup_filters, sobject.name) if one.name == field.name]:
            made["lookupFilter"] = lookup_filter_metadata(found[0])
        if kind == "Lookup":
            made["deleteConstraint"] = "Restrict" if field.restricted_delete else "SetNull"
        else:
            made |= {
                "relationshipOrder": field.relationship_order or 0,
                "reparentableMasterDetail": field.updateable,
                "writeRequiresMasterRead": field.write_requires_master_read,
            }
    if kind in ("Picklist", "MultiselectPicklist"):
        made["valueSet"] = {
            "restricted": field.restricted_picklist,
            "valueSetDefinition": {
                "sorted": False,
                "value": [
                    {
                        "fullName": entry.value,
                        "default": entry.default_value,
                        "isActive": entry.active,
                        "label": entry.label or entry.value,
                    }
                    for entry in field.picklist_values
                ],
            },
        }
        if kind == "MultiselectPicklist":
            made["visibleLines"] = field.precision or 4
    if kind == "Checkbox" and "formula" not in made:
        made["defaultValue"] = str(field.default_value).lower() if field.default_value is not None else "false"
    elif field.default_value_formula:
        made["defaultValue"] = field.default_value_formula
    if roll_up := schema.roll_up(sobject, field.name):
        made |= {
            "summaryForeignKey": f"{roll_up.child}.{roll_up.lookup}",
            "summaryOperation": roll_up.operation,
            "summaryFilterItems": [
                {"field": item.field, "operation": item.operation, "value": item.value} for item in roll_up.filters
            ],
        }
        if roll_up.summarized:
            made["summarizedField"] = f"{roll_up.child}.{roll_up.summarized}"
    if number := schema.number_format(sobject, field.name):
        made["displayFormat"] = number.format
    if kind not in ("Summary", "Checkbox", "MasterDetail") and "formula" not in made:
        made["required"] = not field.nillable
        made["unique"] = field.unique
        if field.unique and kind == "Text":
            made["caseSensitive"] = field.case_sensitive
    made["externalId"] = field.external_id
    return made | {"type": kind}


def lookup_filter_metadata(item: LookupFilter) -> dict[str, Any]:
    """A lookup filter as `<lookupFilter>` of a field has it."""
    return {
        "active": item.active,
        "booleanFilter": item.boolean_filter,
        "errorMessage": item.message,
        "filterItems": [
            {"field": one.field, "operation": one.operation, "value": one.value or None, "valueField": one.value_field}
            for one in item.filters
        ],
        "isOptional": item.optional,
    }


def _relationship(schema: OrgSchema, sobject: SObject, field: Field) -> str | None:
    for parent in schema.parents(field):
        for child in parent.child_relationships:
            if child.child_s_object == sobject.name and child.field == field.name:
                return child.relationship_name
    return None


def elements(name: str, value: Any) -> str:
    """A value as XML elements: lists repeat, dictionaries nest, nothing stands for None.

    >>> elements("a", {"b": [1, True], "c": None})
    '<a><b>1</b><b>true</b></a>'
    """
    if value is None:
        return ""
    if isinstance(value, list):
        return "".join(elements(name, item) for item in value)
    if isinstance(value, dict):
        return f"<{name}>{''.join(elements(key, item) for key, item in value.items())}</{name}>"
    text = str(value).lower() if isinstance(value, bool) else escape(str(value))
    return f"<{name}>{text}</{name}>"


def document(kind: str, content: str) -> str:
    """A whole metadata file."""
    return f'{HEAD}<{kind} xmlns="{SPACE}">{content}</{kind}>\n'


def object_xml(schema: OrgSchema, sobject: SObject) -> str:
    """`objects/X.object`: the custom fields, record types and validation rules of an object."""
    return document("CustomObject", object_content(schema, sobject))


def object_content(schema: OrgSchema, sobject: SObject) -> str:
    """What stands in an object's file."""
    parts: list[str] = []
    if sobject.custom:
        naming = sobject.name_field
        number = schema.number_format(sobject, "Name")
        parts += [
            elements("label", sobject.label),
            elements("pluralLabel", sobject.label_plural),
            elements(
                "nameField",
                {
                    "displayFormat": number.format if number is not None else None,
                    "label": naming.label if naming is not None else "Name",
                    "type": "AutoNumber" if naming is not None and naming.auto_number else "Text",
                },
            ),
            elements("deploymentStatus", "Deployed"),
            elements(
                "sharingModel",
                "ControlledByParent" if any(field.master_detail for field in sobject.fields) else "ReadWrite",
            ),
        ]
    parts += [
        elements("fields", {"fullName": field.name, **field_metadata(schema, sobject, field)})
        for field in sobject.fields
        if field.custom and field.name.endswith("__c")
    ]
    parts += [
        elements("recordTypes", {"fullName": info.developer_name, **record_type_metadata(schema, sobject, info)})
        for info in sobject.record_type_infos
        if not info.master
    ]
    parts += [
        elements("validationRules", {"fullName": rule.name, **rule_metadata(rule)})
        for rule in on(schema.automation.validation_rules, sobject.name)
    ]
    return "".join(parts)


def record_type_metadata(schema: OrgSchema, sobject: SObject, info: RecordTypeInfo) -> dict[str, Any]:
    """A record type as `<RecordType>` has it, without its name; the picklists that it narrows with their values."""
    narrowed = [
        {
            "picklist": item.name,
            "values": [{"fullName": value, "default": value == item.default} for value in item.values],
        }
        for item in on(schema.automation.record_type_values, sobject.name)
        if item.record_type.lower() == info.developer_name.lower()
    ]
    return {"active": info.active, "label": info.name, "picklistValues": narrowed}


def rule_metadata(rule: ValidationRule) -> dict[str, Any]:
    """A validation rule as `<ValidationRule>` has it, without its name."""
    return {
        "active": rule.active,
        "description": rule.description or None,
        "errorConditionFormula": rule.formula,
        "errorDisplayField": rule.field,
        "errorMessage": rule.message,
    }


def duplicate_rule_xml(rule: DuplicateRule) -> str:
    """`duplicateRules/X.Y.duplicateRule`."""
    made = {
        "actionOnInsert": rule.action_on_insert,
        "actionOnUpdate": rule.action_on_update,
        "alertText": rule.message,
        "duplicateRuleMatchRules": {"matchRuleSObjectType": rule.sobject, "matchingRule": rule.matching_rule or None},
        "isActive": rule.active,
        "masterLabel": rule.label or rule.name,
        "operationsOnInsert": "Alert" if rule.alert_on_insert else "Report",
        "operationsOnUpdate": "Alert" if rule.alert_on_update else "Report",
    }
    if not rule.matching_rule:
        made.pop("duplicateRuleMatchRules")
    return document("DuplicateRule", "".join(elements(key, value) for key, value in made.items()))
