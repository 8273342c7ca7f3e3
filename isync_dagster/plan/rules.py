"""What the platform demands of particular standard objects, as data: the one place that knows their names.

Sources of the rules: the Object Reference of the Salesforce platform, entry by entry of the objects named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from isync_dagster.plan.model import ReferenceRule
from isync_dagster.schema.model import SObject

STANDARD_BOOK = "Pricebook2"

REFERENCE_RULES: Mapping[str, ReferenceRule] = {
    rule.object: rule
    for rule in (
        ReferenceRule("User", (("FederationIdentifier",), ("Username",), ("Email",))),
        ReferenceRule("Group", (("Type", "DeveloperName"),)),
        ReferenceRule("RecordType", (("SobjectType", "DeveloperName"),)),
        ReferenceRule("Profile", (("Name",),)),
        ReferenceRule("UserRole", (("DeveloperName",),)),
        ReferenceRule(STANDARD_BOOK, (("IsStandard",),), where="IsStandard = true"),
    )
}
"""Objects that every org has with ids of its own, and the keys that find their records in another org."""

LOADED_AFTER: Mapping[str, tuple[str, ...]] = {
    # A member may only have a status that its campaign knows; no lookup says so.
    "CampaignMember": ("CampaignMemberStatus",),
}
"""Objects that must be in the target first, although no lookup leads there."""

STAGED_STATUS: Mapping[str, tuple[str, ...]] = {
    # An activated order takes no more products, and both can only be created as a draft.
    "Order": ("OrderItem",),
    "Contract": (),
}
"""Objects whose Status starts as Draft, and what must be loaded before the real one is set."""

DRAFT = "Draft"

SET_BY_SALESFORCE = frozenset({"Id", "SystemModstamp"})
"""Fields that no permission makes writable."""

AUDIT_FIELDS = frozenset({"CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById"})

_PERSON_NAMES = frozenset({"FirstName", "LastName", "MiddleName", "Salutation", "Suffix"})


@dataclass(frozen=True)
class Advice:
    """A condition that a line on an object should have; nothing is said where its `where` names the field."""

    field: str
    condition: str
    why: str


SCOPE_ADVICE: Mapping[str, tuple[Advice, ...]] = {
    "Account": (
        Advice(
            "IsPersonAccount",
            "IsPersonAccount = false",
            "fields of persons are not carried over, so person accounts would arrive without them or be refused",
        ),
    ),
    "Contact": (
        Advice("IsPersonAccount", "IsPersonAccount = false", "the contact of a person account cannot be inserted"),
    ),
    "Task": (
        Advice("IsRecurrence", "IsRecurrence = false", "a series would arrive as one more task beside its occurrences"),
    ),
    "Event": (
        Advice(
            "IsRecurrence", "IsRecurrence = false", "a series would arrive as one more event beside its occurrences"
        ),
        Advice("IsChild", "IsChild = false", "copies of an event for its invitees cannot be inserted"),
    ),
    "AccountContactRelation": (
        Advice("IsDirect", "IsDirect = false", "direct relations come into being with the contact itself"),
    ),
}

KEY_ADVICE: Mapping[str, tuple[str, str]] = {
    "CampaignMemberStatus": (
        "[CampaignId, Label]",
        "every new campaign gets the statuses Sent and Responded by itself",
    ),
}
"""Objects of which Salesforce makes records by itself, and the match key that finds those."""


def dropped_by_rule(source: SObject, name: str, scope: frozenset[str]) -> str | None:
    """Why a field of a standard object is not carried although both orgs would allow it, or None.

    `scope` holds the objects of the template.
    """
    match source.name:
        case "Account" if source.field("IsPersonAccount") is not None and _of_persons(name):
            return "belongs to person accounts, which are not carried over"
        case "Opportunity" if name == "ContactId" and "OpportunityContactRole" in scope:
            return "makes a primary contact role on insert; the roles are migrated themselves"
        case "OpportunityLineItem" if name == "TotalPrice" and source.field("UnitPrice") is not None:
            return "Salesforce takes either UnitPrice or TotalPrice; UnitPrice is carried"
        case "Task" | "Event" if re.match(r"(Is)?Recurrence", name):
            return "would make Salesforce repeat the occurrences, which are carried as single records"
        case "Event" if name == "ActivityDateTime" and source.field("StartDateTime") is not None:
            return "repeats StartDateTime, which is carried"
    return None


def _of_persons(name: str) -> bool:
    return name in _PERSON_NAMES or name.endswith("__pc") or bool(re.match(r"(Is)?Person[A-Z]", name))


def names_field(where: str | None, field: str) -> bool:
    """True where a SOQL condition mentions a field."""
    return bool(where) and re.search(rf"\b{field}\b", where or "", re.IGNORECASE) is not None
