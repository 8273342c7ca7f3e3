"""Automation from source metadata: rules, roll-ups, filters, value sets of record types, triggers, flows, workflows.

Takes the source form (`*.flow-meta.xml`) and that of the Metadata API (`*.flow`). What a flow or trigger does is
taken over where it is a plain field update; a flow that does more is listed with `understood` false and no effect.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.automation.model import (
    Assignment,
    Automation,
    CustomMetadataRow,
    DuplicateRule,
    FilterItem,
    Flow,
    LookupFilter,
    NumberFormat,
    RecordTypeValues,
    RollUp,
    Trigger,
    ValidationRule,
)
from isync_dagster.local_org.seeds.sfdx_fields import NAMESPACE, Names, Xml, plain_value
from isync_dagster.schema.model import NUMBER_TYPES, SObject

# What the matching rules that come with every org compare, as exact fields.
STANDARD_MATCHES: Final = {
    "Account": ("Name", "BillingCity"),
    "Contact": ("FirstName", "LastName", "Email"),
    "Lead": ("FirstName", "LastName", "Email"),
}
# Elements of a flow that change nothing of what it does to records.
_QUIET: Final = frozenset(
    {"apiVersion", "label", "interviewLabel", "status", "start", "processType", "processMetadataValues", "description",
     "environments", "assignments", "recordUpdates", "runInMode", "triggerOrder", "isAdditionalPermissionRequiredToRun"}
)  # fmt: skip
_EVENTS: Final = ("before insert", "before update", "before delete", "after insert", "after update", "after delete",
                  "after undelete")  # fmt: skip


def parse_xml(file: Path) -> Xml:
    """A metadata file; ConfigError where it is no well-formed XML, or declares a document type."""
    text = file.read_text(encoding="utf-8")
    if "<!DOCTYPE" in text:
        raise ConfigError(f"{file} declares a document type, which source metadata never does")
    try:
        return Xml(ElementTree.fromstring(text), str(file))
    except ElementTree.ParseError as error:
        raise ConfigError(f"{file} is not well-formed XML: {error}") from error


def files_of(folder: Path, kind: str) -> Iterator[tuple[str, Path]]:
    """The files of a metadata kind under a folder, with their full names: `*.flow-meta.xml` and `*.flow`."""
    for file in sorted({*folder.rglob(f"*.{kind}-meta.xml"), *folder.rglob(f"*.{kind}")}):
        yield file.name.removesuffix("-meta.xml").removesuffix(f".{kind}"), file


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
            filters=tuple(_filter(part, names) for part in item.all("summaryFilterItems")),
        )
    if filters := item.all("lookupFilter"):
        part = filters[0]
        lookup = LookupFilter(
            sobject=sobject,
            name=name,
            active=part.flag("active", True),
            filters=tuple(_filter(one, names) for one in part.all("filterItems")),
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


def _filter(item: Xml, names: Names) -> FilterItem:
    field, other = names.path(item.need("field")), item.text("valueField")
    if field.startswith("$Source.") and other and not other.startswith("$"):
        # Written from the source's side: turned so that the parent's field stands on the left.
        field, other = names.path(other), field
    elif other:
        other = names.path(other)
    return FilterItem(field=field, operation=item.text("operation") or "equals", value=item.text("value") or "",
                      value_field=other)  # fmt: skip


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
        flows=(*_flows(folder, objects, names), *_workflows(folder, objects, names)),
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


# flows and workflow rules


def _flows(folder: Path, objects: Mapping[str, SObject], names: Names) -> Iterator[Flow]:
    for name, file in files_of(folder, "flow"):
        root = parse_xml(file)
        start = next(iter(root.all("start")), None)
        sobject = names.full(start.text("object") or "") if start is not None else ""
        if (
            start is None
            or not sobject
            or (
                not (start.text("triggerType") or "").startswith("RecordB")
                and (start.text("triggerType") != "RecordAfterSave")
            )
        ):
            continue
        item = objects.get(sobject)
        condition, plain = _start_condition(start, item, names)
        assign: list[Assignment] = []
        for part in root.all("assignments/assignmentItems"):
            target = part.text("assignToReference") or ""
            formula = _flow_value(part, names)
            if target.startswith("$Record.") and part.text("operator") == "Assign" and formula is not None:
                assign.append(Assignment(field=names.full(target[8:]), formula=formula))
            else:
                plain = False
        for update in root.all("recordUpdates"):
            plain = plain and update.text("inputReference") == "$Record" and not update.all("filters")
            for part in update.all("inputAssignments"):
                formula = _flow_value(part, names)
                if formula is None:
                    plain = False
                else:
                    assign.append(Assignment(field=names.full(part.need("field")), formula=formula))
        tags = {child.tag.removeprefix(NAMESPACE) for child in root.element}
        understood = plain and tags <= _QUIET
        events: Any = {"Create": ("create",), "Update": ("update",)}.get(
            start.text("recordTriggerType") or "", ("create", "update")
        )
        yield Flow(
            sobject=sobject,
            name=name,
            label=root.text("label") or "",
            active=root.text("status") == "Active",
            when="before" if start.text("triggerType") == "RecordBeforeSave" else "after",
            events=events,
            condition=condition if understood else "TRUE",
            assign=tuple(assign) if understood else (),
            understood=understood,
            description=root.text("description") or "",
        )


def _start_condition(start: Xml, item: SObject | None, names: Names) -> tuple[str, bool]:
    if start.text("filterFormula"):
        # Flows write the record's fields as {!$Record.Name}.
        return names.formula(re.sub(r"\{!\$Record\.([\w.]+)\}", r"\1", start.need("filterFormula"))), True
    signs = {"EqualTo": "equals", "NotEqualTo": "notEqual", "GreaterThan": "greaterThan", "LessThan": "lessThan",
             "GreaterThanOrEqualTo": "greaterOrEqual", "LessThanOrEqualTo": "lessOrEqual", "Contains": "contains",
             "StartsWith": "startsWith"}  # fmt: skip
    parts: list[str] = []
    plain = start.text("filterLogic") in (None, "and", "or")
    for one in start.all("filters"):
        found = one.all("value")
        text = next((child.text or "" for child in found[0].element), "") if found else ""
        operator = one.text("operator") or ""
        field = names.full(one.need("field"))
        if operator == "IsNull":
            blank = f"ISBLANK({field})"
            parts.append(blank if text == "true" else f"NOT({blank})")
        elif operator == "IsChanged":
            parts.append(f"ISCHANGED({field})")
        elif operator in signs:
            parts.append(criterion(item, FilterItem(field=field, operation=signs[operator], value=text), whole=True))
        else:
            plain = False
    word = "OR" if start.text("filterLogic") == "or" else "AND"
    return (f"{word}({', '.join(parts)})" if parts else "TRUE"), plain


def _flow_value(part: Xml, names: Names) -> str | None:
    """The value of an assignment as a formula; None for what a formula cannot say."""
    for value in part.all("value"):
        for child in value.element:
            tag, text = child.tag.removeprefix(NAMESPACE), (child.text or "").strip()
            if tag == "stringValue":
                return _literal(text)
            if tag in ("numberValue", "booleanValue"):
                return text.upper()
            if tag == "dateValue":
                return f"DATEVALUE({_literal(text)})"
            if tag == "elementReference" and text.startswith("$Record."):
                return names.path(text[8:])
            if tag == "elementReference" and text.startswith("$Flow.Current"):
                return "TODAY()" if text.endswith("Date") else "NOW()"
    return None


def _workflows(folder: Path, objects: Mapping[str, SObject], names: Names) -> Iterator[Flow]:
    for full, file in files_of(folder, "workflow"):
        sobject = names.full(full)
        root = parse_xml(file)
        item = objects.get(sobject)
        updates = {one.need("fullName"): one for one in root.all("fieldUpdates")}
        for rule in root.all("rules"):
            assign: list[Assignment] = []
            understood = True
            for action in rule.all("actions"):
                update = updates.get(action.text("name") or "")
                made = _field_update(update, item, names) if update is not None else None
                understood = understood and made is not None
                assign += [made] if made is not None else []
            condition, plain = _rule_condition(rule, item, names)
            events: Any = ("create",) if rule.text("triggerType") == "onCreateOnly" else ("create", "update")
            yield Flow(
                sobject=sobject,
                name=rule.need("fullName"),
                kind="workflow",
                active=rule.flag("active"),
                events=events,
                condition=condition,
                assign=tuple(assign) if plain else (),
                understood=understood and plain,
                description=rule.text("description") or "",
            )


def _rule_condition(rule: Xml, item: SObject | None, names: Names) -> tuple[str, bool]:
    if rule.text("formula"):
        return names.formula(rule.need("formula")), True
    parts = [criterion(item, _filter(one, names)) for one in rule.all("criteriaItems")]
    if logic := rule.text("booleanFilter"):
        written = re.sub(r"\d+", lambda found: parts[int(found[0]) - 1], logic)
        written = re.sub(r"\bAND\b", "&&", written, flags=re.IGNORECASE)
        return re.sub(r"\bOR\b", "||", written, flags=re.IGNORECASE), "NOT" not in logic.upper()
    return (f"AND({', '.join(parts)})" if parts else "TRUE"), True


def _field_update(update: Xml, item: SObject | None, names: Names) -> Assignment | None:
    field = names.full(update.need("field"))
    operation = update.text("operation")
    if update.text("targetObject") or operation not in ("Formula", "Literal", "Null"):
        return None
    if operation == "Formula":
        return Assignment(field=field, formula=names.formula(update.need("formula")))
    if operation == "Null":
        return Assignment(field=field, formula="NULL")
    return Assignment(field=field, formula=_typed_literal(item, field, update.text("literalValue") or ""))


def criterion(item: SObject | None, one: FilterItem, *, whole: bool = False) -> str:
    """A filter criterion as a formula; its value is a list of alternatives unless it is taken `whole`."""
    name = one.field
    if item is not None and name.lower().startswith(item.name.lower() + "."):
        name = name[len(item.name) + 1 :]
    found = item.field(name) if item is not None else None
    values = [one.value] if whole else [part.strip() for part in one.value.split(",")]
    kind = found.type if found is not None else "string"
    left = f"TEXT({name})" if kind in ("picklist", "multipicklist") else name
    if not one.value:
        tests = [f"ISBLANK({name})"]
    elif one.operation in ("contains", "notContain"):
        tests = [f"CONTAINS({left}, {_literal(value)})" for value in values]
    elif one.operation == "startsWith":
        tests = [f"BEGINS({left}, {_literal(value)})" for value in values]
    elif one.operation in ("includes", "excludes"):
        tests = [f"INCLUDES({name}, {_literal(value)})" for value in values]
    else:
        signs = {"lessThan": "<", "greaterThan": ">", "lessOrEqual": "<=", "greaterOrEqual": ">="}
        sign = signs.get(one.operation, "=")
        tests = [f"{left} {sign} {_typed_literal(item, name, value)}" for value in values]
    joined = f"OR({', '.join(tests)})"
    return f"NOT({joined})" if one.operation in ("notEqual", "notContain", "excludes") else joined


def _typed_literal(item: SObject | None, name: str, text: str) -> str:
    found = item.field(name) if item is not None else None
    kind = found.type if found is not None else "string"
    if kind == "boolean":
        return "TRUE" if text.lower() in ("1", "true") else "FALSE"
    if kind in NUMBER_TYPES | {"int"} and re.fullmatch(r"-?\d+(\.\d+)?", text):
        return text
    if kind == "date":
        return f"DATEVALUE({_literal(text)})"
    if kind == "datetime":
        return f"DATETIMEVALUE({_literal(text)})"
    return _literal(text)


def _literal(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def standard_value_sets(folder: Path) -> Iterable[tuple[str, list[Xml]]]:
    """The standard value sets of a source, each with its values."""
    for name, file in files_of(folder, "standardValueSet"):
        yield name, parse_xml(file).all("standardValue")
