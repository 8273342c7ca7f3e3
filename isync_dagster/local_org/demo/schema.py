"""The schemas of the two demo orgs: one CRM, and what the other one does differently.

The target differs as real orgs do: other field names (`Customer_Number__c` is `Client_Number__c`), another
object name (`Time_Entry__c` is `Work_Log__c`), other picklist values (Gold is A), fewer fields, a field that is
required here and not there, shorter texts, and other ids for record types, users and custom objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from isync_dagster.local_org.seeds.notation import MASTER, Note, fields_of, linked, sobject
from isync_dagster.local_org.seeds.standard import SETUP_OBJECTS, standard_pairs
from isync_dagster.schema.model import RecordTypeInfo, SObject

SOURCE_SEED: Final = 101
TARGET_SEED: Final = 202

Pair = tuple[SObject, tuple[Note, ...]]

STANDARD: Final = (
    *SETUP_OBJECTS,
    "Account",
    "Contact",
    "Lead",
    "Asset",
    "AccountContactRelation",
    "Note",
    "Attachment",
    "Campaign",
    "CampaignMemberStatus",
    "CampaignMember",
    "Product2",
    "Pricebook2",
    "PricebookEntry",
    "Opportunity",
    "OpportunityContactRole",
    "OpportunityLineItem",
    "Quote",
    "QuoteLineItem",
    "Contract",
    "Order",
    "OrderItem",
    "Case",
    "CaseComment",
    "Task",
    "Event",
    "BusinessHours",
)

# Object -> developer name and label of its record types, the default first.
RECORD_TYPES: Final = {
    "Account": (("Business", "Business"), ("Partner", "Partner")),
    "Opportunity": (("New_Business", "New Business"), ("Renewal", "Renewal")),
    "Case": (("Support", "Support"), ("Complaint", "Complaint")),
}

_ACCOUNT: Final = """
    {number} string(10) cunex; Credit_Limit__c currency(16,2) cun
    Tier__c picklist(255) cunR {tiers}; Regions__c multipicklist(4099) cun {{EMEA|APAC|AMER|DACH}}
    Payment_Terms__c picklist(255) cun {{Net 14|Net 30*|Net 60}}; Insured__c boolean cud
"""
_CONTACT: Final = """
    Preferred_Language__c picklist(255) cun {English|German|French|Portuguese|Japanese}
    Newsletter__c boolean cud; Last_Survey__c datetime cun
"""
_PROJECT: Final = """
    Name string(80) cundIN
    Code__c string(12) cunex; Account__c reference cun > Account as Account__r < Projects__r
    Opportunity__c reference cun > Opportunity as Opportunity__r < Projects__r
    Manager__c reference cun > User as Manager__r
    Parent_Project__c reference cun > Project__c as Parent_Project__r < Sub_Projects__r
    Current_Milestone__c reference cun > Milestone__c as Current_Milestone__r < Current_Of__r
    Stage__c picklist(255) cunR {{Planned*|Running|On Hold|Done}}
    Skills__c multipicklist(4099) cunR {{Survey|Electrical|Mechanical|Software|Training}}
    Start_Date__c date {start}; Budget__c currency(16,2) cun; Progress__c percent(5,2) cun
    Hours_Per_Day__c double(4,2) cun; Crew__c double(3,0) cun; Brief__c textarea(32768) cunh
    Journal__c textarea(131072) cun; Shift_Starts__c time cun; Portal__c url(255) cun
    Site_Mail__c email(80) cun; Site_Phone__c phone(40) cun; Billable__c boolean cud
    @point Site__c
    Logged_Hours__c double(18,2) nk
"""
_MILESTONE: Final = """
    Name string(80) dAIN
    Title__c string({title}) cu; Project__c reference cun > Project__c as Project__r < Milestones__r
    Approver__c reference cun > Contact as Approver__r < Approved_Milestones__r
    Due__c datetime cun; Reached__c boolean cud; Weight__c double(6,3) cun; Position__c double(4,0) cun
"""
_TIME: Final = """
    Name string(80) dAIN
    Project__c reference M > Project__c as Project__r < {children} cascade
    Milestone__c reference cun > Milestone__c as Milestone__r < {children}
    Worker__c reference cun > User as Worker__r; Day__c date cu; Hours__c double(5,2) cu; Comment__c textarea(255) cun
"""


def source_schema() -> tuple[SObject, ...]:
    """The objects of the source org."""
    pairs = _base()
    _extend(pairs, "Account", _ACCOUNT.format(number="Customer_Number__c", tiers="{Gold|Silver|Bronze}"))
    _extend(pairs, "Account", "Old_System_Notes__c textarea(4000) cun")
    _extend(pairs, "Contact", _CONTACT + "; Fax_Consent__c boolean cud")
    _values(pairs, "Case", "Origin", ("Email", "Phone", "Web", "Portal"))
    _values(
        pairs, "Opportunity", "Type", ("New Customer", "Existing Customer - Upgrade", "Existing Customer - Renewal")
    )
    _add(pairs, "Project__c", _PROJECT.format(start="cun"), "a0K", owner="queue")
    _add(pairs, "Milestone__c", _MILESTONE.format(title=120), "a0L", owner="queue")
    _add(pairs, "Time_Entry__c", _TIME.format(children="Time_Entries__r"), "a0M", owner="none")
    return linked(_related(pairs))


def target_schema() -> tuple[SObject, ...]:
    """The objects of the target org."""
    pairs = _base()
    _extend(pairs, "Account", _ACCOUNT.format(number="Client_Number__c", tiers="{A|B|C}"))
    _extend(pairs, "Account", "Data_Steward__c picklist(255) cun {Unassigned*|North|South}")
    _extend(pairs, "Contact", _CONTACT)
    _extend(pairs, "Lead", "Legacy_Id__c string(18) cunexs")
    _values(pairs, "Case", "Origin", ("Email", "Phone", "Web"), restricted=True)
    _values(pairs, "Opportunity", "Type", ("New Business", "Upgrade", "Renewal"), restricted=True)
    _drop(pairs, "Account", ("Tradestyle", "Jigsaw"))
    _drop(pairs, "Contact", ("AssistantName", "AssistantPhone", "Jigsaw"))
    _drop(pairs, "Product2", ("DisplayUrl",))
    _change(pairs, "Case", "Subject", length=200, byte_length=600)
    _add(pairs, "Milestone__c", _MILESTONE.format(title=80), "a02", owner="queue")
    _add(pairs, "Work_Log__c", _TIME.format(children="Work_Logs__r"), "a03", owner="none")
    _add(pairs, "Project__c", _PROJECT.format(start="cu"), "a01", owner="queue")
    return linked(_related(pairs))


def _base() -> dict[str, Pair]:
    """The standard objects with record types; an org gives those ids of its own."""
    known = {item.name: (item, notes) for item, notes in standard_pairs()}
    pairs = {name: known[name] for name in STANDARD}
    for name, kinds in RECORD_TYPES.items():
        infos = [RecordTypeInfo("", developer_name, label) for developer_name, label in kinds]
        first = replace(infos[0], default_record_type_mapping=True)
        item, notes = pairs[name]
        master = replace(MASTER, default_record_type_mapping=False)
        pairs[name] = (replace(item, record_type_infos=(first, *infos[1:], master)), notes)
    return pairs


def _extend(pairs: dict[str, Pair], name: str, text: str) -> None:
    item, notes = pairs[name]
    pairs[name] = (
        replace(item, fields=(*item.fields, *fields_of(text))),
        (*notes, *(Note(field, None, False, False) for field in fields_of(text) if field.is_reference)),
    )


def _add(pairs: dict[str, Pair], name: str, text: str, prefix: str, *, owner: str) -> None:
    pairs[name] = sobject(name, text, prefix=prefix, owner=owner)


def _drop(pairs: dict[str, Pair], name: str, fields: Iterable[str]) -> None:
    item, notes = pairs[name]
    gone = set(fields)
    pairs[name] = (
        replace(item, fields=tuple(field for field in item.fields if field.name not in gone)),
        tuple(note for note in notes if note.field.name not in gone),
    )


def _change(pairs: dict[str, Pair], name: str, field_name: str, **changes: Any) -> None:
    item, notes = pairs[name]
    fields = tuple(replace(field, **changes) if field.name == field_name else field for field in item.fields)
    pairs[name] = (replace(item, fields=fields), notes)


def _values(
    pairs: dict[str, Pair], name: str, field_name: str, values: Iterable[str], *, restricted: bool = False
) -> None:
    (written,) = fields_of(f"{field_name} picklist {{{'|'.join(values)}}}")
    _change(pairs, name, field_name, picklist_values=written.picklist_values, restricted_picklist=restricted)


def _related(pairs: dict[str, Pair]) -> list[Pair]:
    """Let tasks and events be about projects, as in an org where the object allows activities."""
    for name in ("Task", "Event"):
        item, notes = pairs[name]
        what = next(field for field in item.fields if field.name == "WhatId")
        wider = replace(what, reference_to=(*what.reference_to, "Project__c"))
        pairs[name] = (
            replace(item, fields=tuple(wider if field is what else field for field in item.fields)),
            tuple(replace(note, field=wider) if note.field is what else note for note in notes),
        )
    return list(pairs.values())
