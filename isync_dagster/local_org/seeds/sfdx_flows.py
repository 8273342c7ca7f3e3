"""Flows and workflow rules from source metadata.

What one does is taken over where it is a plain field update; a flow that does more is listed with `understood` false
and no effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from isync_dagster.local_org.automation.model import Assignment, FilterItem, Flow
from isync_dagster.local_org.seeds.sfdx_criteria import criterion, filter_item, literal, typed_literal
from isync_dagster.local_org.seeds.sfdx_fields import NAMESPACE, Names, Xml
from isync_dagster.local_org.seeds.sfdx_files import files_of, parse_xml
from isync_dagster.schema.model import SObject

# Elements of a flow that change nothing of what it does to records.
_QUIET: Final = frozenset(
    {"apiVersion", "label", "interviewLabel", "status", "start", "processType", "processMetadataValues", "description",
     "environments", "assignments", "recordUpdates", "runInMode", "triggerOrder", "isAdditionalPermissionRequiredToRun"}
)  # fmt: skip


def flows(folder: Path, objects: Mapping[str, SObject], names: Names) -> Iterator[Flow]:
    """The record-triggered flows of a source; one that does more than update fields is not `understood`."""
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
                return literal(text)
            if tag in ("numberValue", "booleanValue"):
                return text.upper()
            if tag == "dateValue":
                return f"DATEVALUE({literal(text)})"
            if tag == "elementReference" and text.startswith("$Record."):
                return names.path(text[8:])
            if tag == "elementReference" and text.startswith("$Flow.Current"):
                return "TODAY()" if text.endswith("Date") else "NOW()"
    return None


def workflows(folder: Path, objects: Mapping[str, SObject], names: Names) -> Iterator[Flow]:
    """The workflow rules of a source with their field updates."""
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
    parts = [criterion(item, filter_item(one, names)) for one in rule.all("criteriaItems")]
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
    return Assignment(field=field, formula=typed_literal(item, field, update.text("literalValue") or ""))
