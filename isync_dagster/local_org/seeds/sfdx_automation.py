"""Automation from source metadata: validation and duplicate rules, roll-ups, filters, value sets of record types,
triggers, records of custom metadata.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.automation.model import (
    Automation,
    CustomMetadataRow,
    DuplicateRule,
    LookupFilter,
    NumberFormat,
    RecordTypeValues,
    RollUp,
    Trigger,
    ValidationRule,
)
from isync_dagster.local_org.seeds.sfdx_criteria import filter_item
from isync_dagster.local_org.seeds.sfdx_fields import NAMESPACE, Names, Xml, plain_value
from isync_dagster.local_org.seeds.sfdx_files import files_of, parse_xml
from isync_dagster.local_org.seeds.sfdx_flows import flows, workflows
from isync_dagster.schema.model import SObject

# What the matching rules that come with every org compare, as exact fields.
STANDARD_MATCHES: Final = {
    "Account": ("Name", "BillingCity"),
    "Contact": ("FirstName", "LastName", "Email"),
    "Lead": ("FirstName", "LastName", "Email"),
}
_EVENTS: Final = ("before insert", "before update", "before delete", "after insert", "after update", "after delete",
                  "after undelete")  # fmt: skip


@dataclass(frozen=True)
class FieldParts:
    """What a field's own file says beside its describe."""

    roll_up: RollUp | None = None
    lookup_filter: LookupFilter | None = None
    number_format: NumberFormat | None = None


def field_parts(item: Xml, sobject: str, name: str, names: Names) -> FieldParts:
    """The roll-up, lookup filter and number format of a field."""
    roll_up = lookup = number = None
    if item.text("type") == "Summary":
        child, _, foreign = (item.text("summaryForeignKey") or "").partition(".")
        summed = (item.text("summarizedField") or "").partition(".")[2]
        operation: Any = item.text("summaryOperation") or "count"
        roll_up = RollUp(
            sobject=sobject,
            name=name,
            operation=operation,
            child=names.full(child),
            lookup=names.full(foreign),
            summarized=names.full(summed) if summed else None,
            filters=tuple(filter_item(part, names) for part in item.all("summaryFilterItems")),
        )
    if filters := item.all("lookupFilter"):
        part = filters[0]
        lookup = LookupFilter(
            sobject=sobject,
            name=name,
            active=part.flag("active", True),
            filters=tuple(filter_item(one, names) for one in part.all("filterItems")),
            boolean_filter=part.text("booleanFilter"),
            message=part.text("errorMessage"),
            optional=part.flag("isOptional"),
        )
    if item.text("displayFormat"):
        number = NumberFormat(
            sobject=sobject,
            name=name,
            format=item.need("displayFormat"),
            start=item.number("startingNumber", 1),
        )
    return FieldParts(roll_up, lookup, number)


def validation_rule(sobject: str, item: Xml, names: Names) -> ValidationRule:
    """A `<ValidationRule>`."""
    shown = item.text("errorDisplayField")
    return ValidationRule(
        sobject=sobject,
        name=item.need("fullName"),
        formula=names.formula(item.need("errorConditionFormula")),
        message=item.text("errorMessage") or "",
        field=names.full(shown) if shown else None,
        active=item.flag("active", True),
        description=item.text("description") or "",
    )


def record_type_values(sobject: str, item: Xml, names: Names) -> Iterator[RecordTypeValues]:
    """The picklist values that a `<RecordType>` offers."""
    for part in item.all("picklistValues"):
        values = part.all("values")
        usual = next((plain_value(value.need("fullName")) for value in values if value.flag("default")), None)
        yield RecordTypeValues(
            sobject=sobject,
            name=names.full(part.need("picklist")),
            record_type=item.need("fullName"),
            values=tuple(plain_value(value.need("fullName")) for value in values),
            default=usual,
        )


def read_automation(folder: Path, objects: Mapping[str, SObject], names: Names) -> Automation:
    """What stands in files of its own: duplicate rules, triggers, flows, workflows, permissions, labels, records."""
    return Automation(
        duplicate_rules=tuple(_duplicate_rules(folder, names)),
        triggers=tuple(_triggers(folder, names)),
        flows=(*flows(folder, objects, names), *workflows(folder, objects, names)),
        custom_permissions=tuple(name for name, _ in files_of(folder, "customPermission")),
        custom_metadata=tuple(_custom_metadata(folder, names)),
        labels={
            label.need("fullName"): label.text("value") or ""
            for _, file in files_of(folder, "labels")
            for label in parse_xml(file).all("labels")
        },
    )


def _duplicate_rules(folder: Path, names: Names) -> Iterator[DuplicateRule]:
    matching: dict[tuple[str, str], tuple[str, ...]] = {}
    for sobject, file in files_of(folder, "matchingRule"):
        for item in parse_xml(file).all("matchingRules"):
            fields = tuple(names.full(part.need("fieldName")) for part in item.all("matchingRuleItems"))
            matching[names.full(sobject), item.need("fullName")] = fields
    for full, file in files_of(folder, "duplicateRule"):
        root = parse_xml(file)
        sobject, _, name = full.partition(".")
        sobject = names.full(sobject)
        rules = [item.need("matchingRule") for item in root.all("duplicateRuleMatchRules")]
        match = next((matching[sobject, rule] for rule in rules if (sobject, rule) in matching), None)
        on_insert: Any = root.text("actionOnInsert") or "Allow"
        on_update: Any = root.text("actionOnUpdate") or "Allow"
        yield DuplicateRule(
            sobject=sobject,
            name=name,
            label=root.text("masterLabel") or "",
            active=root.flag("isActive"),
            match=match or STANDARD_MATCHES.get(sobject, ("Name",)),
            action_on_insert=on_insert,
            action_on_update=on_update,
            alert_on_insert=_says(root, "operationsOnInsert", "Alert"),
            alert_on_update=_says(root, "operationsOnUpdate", "Alert"),
            message=root.text("alertText") or "Use one of these records?",
            matching_rule=rules[0] if rules else "",
        )


def _says(root: Xml, tag: str, word: str) -> bool:
    return any((item.element.text or "").strip() == word for item in root.all(tag))


def _triggers(folder: Path, names: Names) -> Iterator[Trigger]:
    for file in sorted(folder.rglob("*.trigger")):
        body = file.read_text(encoding="utf-8")
        plain = re.sub(r"/\*.*?\*/|//[^\n]*", " ", body, flags=re.DOTALL)
        found = re.search(r"\btrigger\s+(\w+)\s+on\s+(\w+)\s*\(([^)]*)\)", plain, re.IGNORECASE)
        if found is None:
            raise ConfigError(f"{file}: no `trigger Name on Object (events)` is in it")
        events = tuple(" ".join(part.lower().split()) for part in found[3].split(","))
        if wrong := [event for event in events if event not in _EVENTS]:
            raise ConfigError(f"{file}: the trigger event {wrong[0]} is not known")
        beside = file.with_name(file.name + "-meta.xml")
        status = parse_xml(beside).text("status") if beside.exists() else "Active"
        moments: Any = events
        yield Trigger(
            sobject=names.full(found[2]), name=found[1], active=status != "Inactive", events=moments, body=body
        )


def _custom_metadata(folder: Path, names: Names) -> Iterator[CustomMetadataRow]:
    for full, file in files_of(folder, "md"):
        kind, _, name = full.partition(".")
        root = parse_xml(file)
        values: dict[str, Any] = {}
        for item in root.all("values"):
            found = item.element.find(NAMESPACE + "value")
            values[names.full(item.need("field"))] = found.text if found is not None else None
        yield CustomMetadataRow(
            type=names.full(kind if kind.endswith("__mdt") else f"{kind}__mdt"),
            name=name,
            label=root.text("label") or name,
            values=values,
        )
