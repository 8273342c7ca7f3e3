"""Changing metadata by the Tooling API: the active flags of rules, and which version of a flow works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isync_dagster.local_org.automation.model import Automation, Flow, ValidationRule
from isync_dagster.local_org.tooling.tables import flows, metadata_id
from isync_dagster.local_org.web import ApiError

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg


def switch(org: LocalOrg, kind: str, record_id: str, given: Mapping[str, Any]) -> None:
    """Apply the `Metadata` of a PATCH; ApiError as the Tooling API refuses it."""
    if kind == "ApexTrigger":
        # Triggers change by a deploy (or a sandbox's container), never by a plain write.
        raise ApiError(
            400, "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "insufficient access rights on cross-reference id", []
        )
    metadata = given.get("Metadata")
    if kind not in ("ValidationRule", "FlowDefinition", "Flow", "WorkflowRule"):
        raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"entity type {kind} does not support update")
    if not isinstance(metadata, Mapping):
        raise ApiError(400, "FIELD_INTEGRITY_EXCEPTION", "Required fields are missing: [Metadata]", ["Metadata"])
    changed = {
        "ValidationRule": _validation_rule,
        "FlowDefinition": _flow_definition,
        "Flow": _flow_version,
        "WorkflowRule": _workflow_rule,
    }[kind](org, record_id, metadata)
    org.declare(org.schema.automation.plus(changed))


def _validation_rule(org: LocalOrg, record_id: str, metadata: Mapping[str, Any]) -> Automation:
    rule = next(
        (
            item
            for item in org.schema.automation.validation_rules
            if metadata_id(org, "ValidationRule", f"{item.sobject}.{item.name}") == record_id
        ),
        None,
    )
    if rule is None:
        raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
    for key in ("active", "errorConditionFormula", "errorMessage"):
        if metadata.get(key) is None:
            raise ApiError(400, "FIELD_INTEGRITY_EXCEPTION", f"Required field is missing: {key}", [key])
    changed = ValidationRule(
        sobject=rule.sobject,
        name=rule.name,
        active=metadata["active"],
        formula=metadata["errorConditionFormula"],
        message=metadata["errorMessage"],
        field=metadata.get("errorDisplayField"),
        description=metadata.get("description") or "",
    )
    return Automation(validation_rules=(changed,))


def _flow_of(org: LocalOrg, kind: str, record_id: str) -> tuple[Flow, int]:
    for flow in flows(org):
        if kind == "FlowDefinition" and metadata_id(org, kind, flow.name) == record_id:
            return flow, flow.version
        for number in range(1, flow.version + 1):
            if kind == "Flow" and metadata_id(org, kind, f"{flow.name}-{number}") == record_id:
                return flow, number
    raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")


def _flow_definition(org: LocalOrg, record_id: str, metadata: Mapping[str, Any]) -> Automation:
    flow, _ = _flow_of(org, "FlowDefinition", record_id)
    if "activeVersionNumber" not in metadata:
        return Automation(flows=(flow,))
    number = metadata["activeVersionNumber"] or 0
    if not isinstance(number, int) or not 0 <= number <= flow.version:
        raise ApiError(
            400,
            "FIELD_INTEGRITY_EXCEPTION",
            f"The version of the flow you're trying to activate doesn't exist: {number}",
            ["Metadata"],
        )
    changed = flow.model_copy(update={"active": number > 0, "active_version": number or flow.active_version})
    return Automation(flows=(changed,))


def _flow_version(org: LocalOrg, record_id: str, metadata: Mapping[str, Any]) -> Automation:
    flow, number = _flow_of(org, "Flow", record_id)
    active = metadata.get("status") == "Active"
    if active:
        changed = flow.model_copy(update={"active": True, "active_version": number})
    else:
        own = (flow.active_version or flow.version) == number
        changed = flow.model_copy(update={"active": flow.active and not own})
    return Automation(flows=(changed,))


def _workflow_rule(org: LocalOrg, record_id: str, metadata: Mapping[str, Any]) -> Automation:
    for item in org.schema.automation.flows:
        name = f"{item.sobject}.{item.name}"
        if item.kind == "workflow" and metadata_id(org, "WorkflowRule", name) == record_id:
            active = metadata.get("active")
            if not isinstance(active, bool):
                raise ApiError(400, "FIELD_INTEGRITY_EXCEPTION", "Required field is missing: active", ["active"])
            return Automation(flows=(item.model_copy(update={"active": active}),))
    raise ApiError(404, "NOT_FOUND", "The requested resource does not exist")
