"""Converting leads: an account, a contact and, unless declined, an opportunity come of each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from isync_dagster.local_org.ids import is_id, to18
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.writes import Undo, write

FILLED = {
    "Account": {"Name": "Company", "Phone": "Phone", "Website": "Website", "Industry": "Industry"},
    "Contact": {
        "FirstName": "FirstName", "LastName": "LastName", "Salutation": "Salutation", "Title": "Title",
        "Email": "Email", "Phone": "Phone", "MobilePhone": "MobilePhone", "LeadSource": "LeadSource",
    },
    "Opportunity": {"LeadSource": "LeadSource"},
}  # fmt: skip


def convert(org: LocalOrg, user_id: str, asked: Mapping[str, str]) -> dict[str, Any]:
    """Convert one lead (`leadId`, `convertedStatus`, and the optional keys of SOAP's LeadConvert)."""
    lead_id = asked.get("leadId", "")
    try:
        with org.storage.transaction():
            made = _convert(org, user_id, to18(lead_id) if is_id(lead_id) else lead_id, asked)
    except Undo as undo:
        return {"accountId": None, "contactId": None, "errors": undo.results[0]["errors"], "leadId": lead_id,
                "opportunityId": None, "success": False}  # fmt: skip
    return made


def _refuse(code: str, message: str) -> Undo:
    return Undo([{"errors": [{"statusCode": code, "message": message, "fields": []}]}])


def _convert(org: LocalOrg, user_id: str, lead_id: str, asked: Mapping[str, str]) -> dict[str, Any]:
    frame = org.storage.frame('SELECT * FROM "Lead" WHERE "Id" = ? AND NOT "IsDeleted"', [lead_id])
    if not frame.height:
        raise _refuse("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    lead = frame.to_dicts()[0]
    if lead["IsConverted"]:
        raise _refuse("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    status = asked.get("convertedStatus", "")
    field = org.schema["Lead"].field("Status")
    known = {entry.value for entry in field.picklist_values} if field is not None else set()
    if status not in known or "convert" not in status.lower() or "not" in status.lower():
        raise _refuse("INVALID_STATUS", f"invalid convertedStatus: {status}")
    owner = asked.get("ownerId") or lead["OwnerId"]
    account_id = asked.get("accountId") or _made(org, user_id, "Account", lead, {"OwnerId": owner})
    parent = {"AccountId": account_id, "OwnerId": owner}
    contact_id = asked.get("contactId") or _made(org, user_id, "Contact", lead, parent)
    opportunity_id = None
    if asked.get("doNotCreateOpportunity", "").lower() != "true" and org.schema.get("Opportunity") is not None:
        name = asked.get("opportunityName") or f"{lead['Company']}-"
        stages = org.schema["Opportunity"].field("StageName")
        stage = stages.picklist_values[0].value if stages is not None and stages.picklist_values else "Prospecting"
        more = {**parent, "Name": name, "StageName": stage, "CloseDate": _quarter_end(org.now().date()).isoformat()}
        opportunity_id = asked.get("opportunityId") or _made(org, user_id, "Opportunity", lead, more)
    with org.storage.transaction() as cursor:
        now = org.actor(user_id).now
        cursor.execute(
            'UPDATE "Lead" SET "IsConverted" = true, "Status" = $status, "ConvertedDate" = $day, '
            '"ConvertedAccountId" = $account, "ConvertedContactId" = $contact, '
            '"ConvertedOpportunityId" = $opportunity, "SystemModstamp" = $now, "LastModifiedDate" = $now, '
            '"LastModifiedById" = $user WHERE "Id" = $lead',
            {"status": status, "day": org.now().date(), "account": account_id, "contact": contact_id,
             "opportunity": opportunity_id, "now": now, "user": user_id, "lead": lead_id},
        )  # fmt: skip
    return {"accountId": account_id, "contactId": contact_id, "errors": [], "leadId": lead_id,
            "opportunityId": opportunity_id, "success": True}  # fmt: skip


def _made(org: LocalOrg, user_id: str, name: str, lead: Mapping[str, Any], more: Mapping[str, Any]) -> str:
    sobject = org.schema[name]
    values = {own: lead.get(theirs) for own, theirs in FILLED[name].items() if sobject.field(own) is not None}
    record = {key: value for key, value in {**values, **more}.items() if value is not None}
    found = write(org, user_id, "insert", sobject, [record])[0]
    if not found["success"]:
        raise Undo([found])
    return str(found["id"])


def _quarter_end(day: date) -> date:
    """The last day of the quarter, as the platform closes the opportunity of a converted lead."""
    month = (day.month - 1) // 3 * 3 + 4
    first = date(day.year + month // 13, (month - 1) % 12 + 1, 1)
    return first - timedelta(days=1)
