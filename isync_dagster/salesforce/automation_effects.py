"""Which automation of an org sets which fields of an object, as far as its metadata says so.

Flows name the fields that they set, workflow rules their field updates; of a trigger the code is read, and what the
classes do that it calls is not. Only what works now is looked at; nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from isync_dagster.salesforce.automation import (
    FLOWS,
    TRIGGERS,
    WORKFLOW_RULES,
    entities,
    record,
    started_by,
    tooling,
)
from isync_dagster.salesforce.org import Org

CREATE, UPDATE = "create", "update"
BOTH = frozenset({CREATE, UPDATE})
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_ON = {"Create": frozenset({CREATE}), "Update": frozenset({UPDATE}), "CreateAndUpdate": BOTH}


@dataclass(frozen=True)
class Writer:
    """A piece of automation that sets fields of an object, or may."""

    kind: str
    """One of `salesforce.automation.KINDS`."""
    label: str
    """`Object.Name`, the object being the one whose save starts it."""
    events: frozenset[str]
    """`create` and `update`: the saves that start it; both where the save of another object does."""
    fields: frozenset[str]
    """Fields of the object that it names, in lower case."""
    how: str
    """What naming a field means here."""
    open: str = ""
    """Why it may set others too; empty where all it sets is named."""

    @property
    def key(self) -> str:
        """As `salesforce.automation.key_of` names it."""
        return f"{self.kind} {self.label}"

    def told(self, field: str) -> str:
        """The writer for people, as to one field: `flow Account.Stamp (sets the field)`."""
        word = {TRIGGERS: "trigger", FLOWS: "flow", WORKFLOW_RULES: "workflow rule"}[self.kind]
        return f"{word} {self.label} ({self.how if field.lower() in self.fields else self.open})"


def writers(org: Org, object: str) -> tuple[Writer, ...]:
    """Every active trigger, flow and workflow rule that sets, or may set, fields of the object.

    Bounded by the metadata; a call each for a flow, a rule and a field update, whose metadata comes one a call. Raises
    `RequestError` where the user may not read them.
    """
    names = entities(org)
    found = [*_triggers(org, object, names), *_flows(org, object), *_workflow_rules(org, object, names)]
    return tuple(sorted(found, key=lambda item: (item.kind, item.label)))


def _triggers(org: Org, object: str, names: Mapping[str, str]) -> Iterator[Writer]:
    columns = "Name, TableEnumOrId, Body, UsageBeforeInsert, UsageAfterInsert, UsageBeforeUpdate, UsageAfterUpdate"
    for row in tooling(org, f"SELECT {columns} FROM ApexTrigger WHERE Status = 'Active'"):
        if names.get(row["TableEnumOrId"], row["TableEnumOrId"]).lower() != object.lower():
            continue
        events = {CREATE: row["UsageBeforeInsert"] or row["UsageAfterInsert"],
                  UPDATE: row["UsageBeforeUpdate"] or row["UsageAfterUpdate"]}  # fmt: skip
        code = row.get("Body") or ""
        hidden = not code or code.strip() == "(hidden)"
        words = frozenset(re.findall(r"\w+", _COMMENT.sub(" ", code).lower())) if not hidden else frozenset()
        why = "its code is hidden" if hidden else "its code does not name the field; classes that it calls are not read"
        yield Writer(TRIGGERS, f"{object}.{row['Name']}", frozenset(name for name, on in events.items() if on), words,
                     "its code names the field", why)  # fmt: skip


def _flows(org: Org, object: str) -> Iterator[Writer]:
    rows = tooling(org, "SELECT Id, DeveloperName, ActiveVersionId FROM FlowDefinition WHERE ActiveVersionId != null")
    for row in rows:
        metadata = record(org, "Flow", row["ActiveVersionId"]).get("Metadata") or {}
        start = started_by(metadata)
        if start is None:
            continue
        own = start.lower() == object.lower()
        fields, open_ends = _set_by_flow(metadata, object, own)
        if fields or (own and open_ends):
            kind = (metadata.get("start") or {}).get("recordTriggerType")
            events = _ON.get(str(kind), BOTH) if own else BOTH
            yield Writer(FLOWS, f"{start}.{row['DeveloperName']}", events, fields, "sets the field", open_ends)


def _set_by_flow(metadata: Mapping[str, Any], object: str, own: bool) -> tuple[frozenset[str], str]:
    """The fields of `object` that a flow names as set (lower case), and why there may be more; `own`: its save starts it."""
    found: set[str] = set()
    why = ""
    for element in metadata.get("assignments") or ():
        for item in element.get("assignmentItems") or ():
            first, _, rest = str(item.get("assignToReference") or "").partition(".")
            if own and first == "$Record" and rest:
                found.add(rest.lower())
    for element in metadata.get("recordUpdates") or ():
        named = {str(item["field"]).lower() for item in element.get("inputAssignments") or ()}
        reference = element.get("inputReference")
        if reference == "$Record":
            found |= named if own else set()
        elif reference:
            why = "it updates records that it holds in a variable"
        elif str(element.get("object") or "").lower() == object.lower():
            found |= named
    if metadata.get("actionCalls") or metadata.get("apexPluginCalls") or metadata.get("subflows"):
        why = "it calls actions, Apex or other flows"
    return frozenset(found), why


def _workflow_rules(org: Org, object: str, names: Mapping[str, str]) -> Iterator[Writer]:
    rows = tooling(org, "SELECT Id, Name, TableEnumOrId FROM WorkflowRule")
    rows = [row for row in rows if names.get(row["TableEnumOrId"], row["TableEnumOrId"]).lower() == object.lower()]
    updates: dict[str, str] | None = None
    for row in rows:
        metadata = record(org, "WorkflowRule", row["Id"]).get("Metadata") or {}
        wanted = [action["name"] for action in metadata.get("actions") or () if action.get("type") == "FieldUpdate"]
        if not metadata.get("active") or not wanted:
            continue
        if updates is None:
            updates = _field_updates(org, object, names)
        fields = frozenset(updates[name].lower() for name in wanted if name in updates)
        events = frozenset({CREATE}) if metadata.get("triggerType") == "onCreateOnly" else BOTH
        missing = "" if len(fields) == len(set(wanted)) else "a field update of it cannot be read"
        if fields or missing:
            yield Writer(WORKFLOW_RULES, f"{object}.{row['Name']}", events, fields, "a field update of it sets the field",
                         missing)  # fmt: skip


def _field_updates(org: Org, object: str, names: Mapping[str, str]) -> dict[str, str]:
    """Developer name of a field update on the object's own records -> the field that it sets."""
    found: dict[str, str] = {}
    for row in tooling(org, "SELECT Id, SourceTableEnumOrId FROM WorkflowFieldUpdate"):
        if names.get(row["SourceTableEnumOrId"], row["SourceTableEnumOrId"]).lower() != object.lower():
            continue
        one = record(org, "WorkflowFieldUpdate", row["Id"])
        metadata = one.get("Metadata") or {}
        if metadata.get("field") and not metadata.get("targetObject"):
            found[str(one["FullName"]).rpartition(".")[2]] = str(metadata["field"])
    return found
