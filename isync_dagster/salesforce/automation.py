"""What an org does by itself when rows are saved, listed and switched: the calls of the Tooling and the Metadata API.

Validation rules, workflow rules and flows are switched by a Tooling PATCH, one each; Apex triggers and duplicate
rules only by a deploy, all together. Every call states what is to be, so that repeating one does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from isync_dagster.errors import OrgError, RequestError
from isync_dagster.salesforce.metadata import Deployed, deploy_files, retrieve, unzipped
from isync_dagster.salesforce.org import Org

TRIGGERS, VALIDATION_RULES, FLOWS = "triggers", "validation_rules", "flows"
WORKFLOW_RULES, DUPLICATE_RULES = "workflow_rules", "duplicate_rules"
KINDS = (TRIGGERS, VALIDATION_RULES, FLOWS, WORKFLOW_RULES, DUPLICATE_RULES)

_NAMESPACE = "http://soap.sforce.com/2006/04/metadata"
_MANAGED = ("installed", "released", "beta", "deprecated")
_TABLES = {VALIDATION_RULES: "ValidationRule", WORKFLOW_RULES: "WorkflowRule", FLOWS: "FlowDefinition"}


@dataclass(frozen=True)
class Item:
    """One piece of automation of the org."""

    kind: str
    """One of KINDS."""
    object: str
    """API name of the object that it works on."""
    name: str
    id: str
    active: bool
    version: int | None = None
    """The version of a flow that works."""
    fixed: str = ""
    """Why it cannot be switched (a managed package's); empty where it can."""

    @property
    def label(self) -> str:
        """`Object.Name`: unique within a kind."""
        return f"{self.object}.{self.name}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Item:
        """Read what `to_json` gave."""
        return cls(**data)


def list_automation(org: Org, objects: Iterable[str], kinds: Sequence[str] = KINDS) -> tuple[Item, ...]:
    """What is on these objects, by kind, object and name; `objects` are API names. Bounded by the metadata."""
    wanted = {name.lower(): name for name in objects}
    makers = {
        TRIGGERS: _triggers,
        VALIDATION_RULES: _validation_rules,
        FLOWS: _flows,
        WORKFLOW_RULES: _workflow_rules,
        DUPLICATE_RULES: _duplicate_rules,
    }
    found = [
        replace(item, object=wanted[item.object.lower()])
        for kind in KINDS
        if kind in kinds
        for item in makers[kind](org)
        if item.object.lower() in wanted
    ]
    return tuple(sorted(found, key=lambda item: (KINDS.index(item.kind), item.object, item.name)))


def switch(org: Org, items: Sequence[Item], active: bool, *, tests: Sequence[str] = ()) -> dict[str, str]:
    """Switch the items on (`active`) or off; what could not be switched, as `kind Object.Name` -> why.

    A flow that is switched on gets back its `version`, unless another one works by now. `tests` are the Apex classes
    that a production org runs with a deploy of triggers; without any it runs all local tests.
    """
    failed: dict[str, str] = {}
    for item in items:
        if item.kind in _TABLES:
            try:
                _patch(org, item, active)
            except OrgError as error:
                failed[key_of(item)] = str(error)
    deployed = [item for item in items if item.kind in (TRIGGERS, DUPLICATE_RULES)]
    if deployed:
        try:
            failed |= _deployed(org, deployed, active, tests)
        except OrgError as error:
            failed |= {key_of(item): str(error) for item in deployed}
    return failed


def key_of(item: Item) -> str:
    """`kind Object.Name`: how an item is named in records and messages."""
    return f"{item.kind} {item.label}"


# ── listing ──────────────────────────────────────────────────────────────────────────────────────────────


def tooling(org: Org, soql: str) -> list[dict[str, Any]]:
    """The records of a Tooling query, all pages of it. Bounded by the metadata."""
    rows: list[dict[str, Any]] = []
    answer = org.request("GET", "tooling/query", params={"q": soql}).json()
    while True:
        rows += answer["records"]
        following = answer.get("nextRecordsUrl")
        if answer.get("done", True) or not following:
            return rows
        answer = org.request("GET", str(following)).json()


def entities(org: Org) -> dict[str, str]:
    """How metadata names an object (its API name, or the id of a custom one) -> API name."""
    found = tooling(org, "SELECT DurableId, QualifiedApiName FROM EntityDefinition")
    return {row["DurableId"]: row["QualifiedApiName"] for row in found}


def _fixed(row: Mapping[str, Any]) -> str:
    state = row.get("ManageableState")
    if state in _MANAGED or (state is None and row.get("NamespacePrefix")):
        return f"managed by the package {row.get('NamespacePrefix') or '(unnamed)'}: it cannot be edited"
    return ""


def _validation_rules(org: Org) -> list[Item]:
    columns = "Id, ValidationName, Active, ManageableState, NamespacePrefix, EntityDefinition.QualifiedApiName"
    return [
        Item(VALIDATION_RULES, row["EntityDefinition"]["QualifiedApiName"], row["ValidationName"], row["Id"],
             bool(row["Active"]), fixed=_fixed(row))
        for row in tooling(org, f"SELECT {columns} FROM ValidationRule")
        if row.get("EntityDefinition")
    ]  # fmt: skip


def _triggers(org: Org) -> list[Item]:
    rows = tooling(org, "SELECT Id, Name, TableEnumOrId, Status, NamespacePrefix FROM ApexTrigger")
    names = entities(org) if rows else {}
    return [
        Item(TRIGGERS, names.get(row["TableEnumOrId"], row["TableEnumOrId"]), row["Name"], row["Id"],
             row["Status"] == "Active", fixed=_fixed(row))
        for row in rows
    ]  # fmt: skip


def _workflow_rules(org: Org) -> list[Item]:
    rows = tooling(org, "SELECT Id, Name, TableEnumOrId, ManageableState, NamespacePrefix FROM WorkflowRule")
    names = entities(org) if rows else {}
    return [
        Item(WORKFLOW_RULES, names.get(row["TableEnumOrId"], row["TableEnumOrId"]), row["Name"], row["Id"],
             bool(record(org, "WorkflowRule", row["Id"])["Metadata"].get("active")), fixed=_fixed(row))
        for row in rows
    ]  # fmt: skip


def _flows(org: Org) -> list[Item]:
    """Flows that a save starts. A flow names its object in its metadata only, of which one answer holds one."""
    columns = "Id, DeveloperName, ActiveVersionId, LatestVersionId, ManageableState, NamespacePrefix"
    found = []
    for row in tooling(org, f"SELECT {columns} FROM FlowDefinition"):
        version_id = row.get("ActiveVersionId") or row.get("LatestVersionId")
        if not version_id:
            continue
        version = record(org, "Flow", version_id)
        object = started_by(version.get("Metadata") or {})
        if object is None:
            continue
        active = bool(row.get("ActiveVersionId"))
        number = int(version["VersionNumber"]) if active else None
        found.append(Item(FLOWS, object, row["DeveloperName"], row["Id"], active, number, _fixed(row)))
    return found


def started_by(metadata: Mapping[str, Any]) -> str | None:
    """The object whose saves start a flow: a record-triggered one, or a process of the Process Builder."""
    start = metadata.get("start") or {}
    if start.get("object") and str(start.get("triggerType") or "").startswith("Record"):
        return str(start["object"])
    for entry in metadata.get("processMetadataValues") or ():
        if entry.get("name") == "ObjectType":
            return (entry.get("value") or {}).get("stringValue")
    return None


def _duplicate_rules(org: Org) -> list[Item]:
    try:
        rows = org.query("SELECT Id, DeveloperName, SobjectType, IsActive, NamespacePrefix FROM DuplicateRule")
    except RequestError as error:
        if error.details.get("code") not in ("INVALID_TYPE", "NOT_FOUND"):
            raise
        return []  # an org without the feature
    return [
        Item(DUPLICATE_RULES, row["SobjectType"], row["DeveloperName"], row["Id"], row["IsActive"] == "true",
             fixed=_fixed({"NamespacePrefix": row["NamespacePrefix"]}))
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip


def record(org: Org, table: str, record_id: str) -> dict[str, Any]:
    """One Tooling record with its `Metadata`."""
    answer: dict[str, Any] = org.request("GET", f"tooling/sobjects/{table}/{record_id}").json()
    return answer


# ── switching ────────────────────────────────────────────────────────────────────────────────────────────


def _patch(org: Org, item: Item, active: bool) -> None:
    """Send the whole present Metadata back with the one switch changed, as the Tooling API wants it."""
    table = _TABLES[item.kind]
    row = record(org, table, item.id)
    metadata: dict[str, Any] = dict(row["Metadata"] or {})
    if item.kind == FLOWS:
        if active and row.get("ActiveVersionId"):
            return  # somebody has made a version work meanwhile: theirs stays
        metadata["activeVersionNumber"] = item.version if active else 0
    else:
        metadata["active"] = active
    org.request("PATCH", f"tooling/sobjects/{table}/{item.id}", json={"Metadata": metadata}, repeatable=True)


def _deployed(org: Org, items: Sequence[Item], active: bool, tests: Sequence[str]) -> dict[str, str]:
    files: dict[str, bytes] = {}
    members: dict[str, list[str]] = {}
    for item in items:
        if item.kind == TRIGGERS:
            row = record(org, "ApexTrigger", item.id)
            if (row["Status"] == "Active") is active:
                continue
            files[f"triggers/{item.name}.trigger"] = (row.get("Body") or "").encode()
            files[f"triggers/{item.name}.trigger-meta.xml"] = (
                f'<?xml version="1.0" encoding="UTF-8"?>\n<ApexTrigger xmlns="{_NAMESPACE}"><apiVersion>'
                f"{float(row.get('ApiVersion') or org.api_version):.1f}</apiVersion>"
                f"<status>{'Active' if active else 'Inactive'}</status></ApexTrigger>\n"
            ).encode()
            members.setdefault("ApexTrigger", []).append(item.name)
    rules = [item.label for item in items if item.kind == DUPLICATE_RULES]
    if rules:
        for name, content in unzipped(retrieve(org, {"DuplicateRule": rules})).items():
            if name.endswith(".duplicateRule"):
                files[name] = _with_active(content, active)
                members.setdefault("DuplicateRule", []).append(name.rpartition("/")[2].removesuffix(".duplicateRule"))
    missing = {
        key_of(item): "the Metadata API does not give this rule to the user"
        for item in items
        if item.kind == DUPLICATE_RULES and item.label not in members.get("DuplicateRule", ())
    }
    if not files:
        return missing
    level = "NoTestRun"
    if "ApexTrigger" in members and org.identity().is_production:
        level = "RunSpecifiedTests" if tests else "RunLocalTests"
    done: Deployed = deploy_files(org, files, members, test_level=level, tests=tests)
    if done.success:
        return missing
    return missing | {
        key_of(item): done.why(item.name, item.label)
        for item in items
        if item.name in members.get("ApexTrigger", ()) or item.label in members.get("DuplicateRule", ())
    }


def _with_active(content: bytes, active: bool) -> bytes:
    word = b"true" if active else b"false"
    return re.sub(rb"<isActive>\s*(?:true|false)\s*</isActive>", b"<isActive>" + word + b"</isActive>", content)
