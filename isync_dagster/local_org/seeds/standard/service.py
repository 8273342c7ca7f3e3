"""Standard objects: cases and activities."""

from __future__ import annotations

from isync_dagster.local_org.seeds.notation import sobject
from isync_dagster.local_org.seeds.standard.customers import PARENTS

WHAT = "Account/Asset/Campaign/Case/Contract/Opportunity/Order/Product2/Quote"
ZONES = (
    "{Pacific/Auckland|Asia/Tokyo|Asia/Kolkata|Europe/Berlin|Europe/London|GMT|America/New_York|America/Los_Angeles}"
)
RECURS = "{RecursDaily|RecursEveryWeekday|RecursMonthly|RecursMonthlyNth|RecursWeekly|RecursYearly|RecursYearlyNth}"
INSTANCES = "{First|Second|Third|Fourth|Last}"
MONTHS = "{January|February|March|April|May|June|July|August|September|October|November|December}"

CASE = sobject(
    "Case",
    """
    MasterRecordId reference n > Case as MasterRecord
    CaseNumber string(30) dAIN
    ContactId reference cun > Contact as Contact < Cases restricted
    AccountId reference cun > Account as Account < Cases restricted
    AssetId reference cun > Asset as Asset < Cases
    ParentId reference cun > Case as Parent < Cases
    RecordTypeId reference cun > RecordType as RecordType
    SuppliedName string(80) cun; SuppliedEmail email(80) cun; SuppliedPhone string(40) cun
    SuppliedCompany string(80) cun
    Type picklist(40) cun {Mechanical|Electrical|Electronic|Structural|Other}
    Status picklist(40) cund {New*|Working|Escalated|On Hold|Closed}
    Reason picklist(40) cun {Installation|Equipment Complexity|Performance|Breakdown|Equipment Design|Feedback|Other}
    Origin picklist(40) cun {Email|Phone|Web}; Subject string(255) cun
    Priority picklist(40) cund {High|Medium*|Low}
    Description textarea(32000) cun; IsClosed boolean d; ClosedDate datetime n; IsEscalated boolean cud
    ContactPhone phone(40) n; ContactMobile phone(40) n; ContactEmail email(80) n; ContactFax phone(40) n
    Comments textarea(4000) cun
    @viewed
    """,
    prefix="500",
    owner="queue",
)

COMMENT = sobject(
    "CaseComment",
    """
    ParentId reference c > Case as Parent < CaseComments cascade
    IsPublished boolean cud; CommentBody textarea(4000) cun
    """,
    prefix="00a",
    owner="none",
)

TASK = sobject(
    "Task",
    f"""
    WhoId reference cunP > Contact/Lead as Who < Tasks cascade
    WhatId reference cunP > {WHAT} as What < Tasks cascade
    Subject combobox(255) cunN {{Call|Send Letter|Send Quote|Other}}; ActivityDate date cun
    Status picklist(40) cud {{Not Started*|In Progress|Completed|Waiting on someone else|Deferred}}
    Priority picklist(40) cud {{High|Normal*|Low}}; IsHighPriority boolean d
    Description textarea(32000) cun; AccountId reference n > Account as Account
    IsClosed boolean d; IsArchived boolean d
    CallDurationInSeconds int cun; CallType picklist(40) cunR {{Internal|Inbound|Outbound}}
    CallDisposition string(255) cun; CallObject string(255) cun
    ReminderDateTime datetime cun; IsReminderSet boolean cud
    RecurrenceActivityId reference n > Task; IsRecurrence boolean cd
    RecurrenceStartDateOnly date cun; RecurrenceEndDateOnly date cun
    RecurrenceTimeZoneSidKey picklist(40) cunR {ZONES}; RecurrenceType picklist(40) cunR {RECURS}
    RecurrenceInterval int cun; RecurrenceDayOfWeekMask int cun; RecurrenceDayOfMonth int cun
    RecurrenceInstance picklist(40) cunR {INSTANCES}; RecurrenceMonthOfYear picklist(40) cunR {MONTHS}
    RecurrenceRegeneratedType picklist(40) cunR {{RecurrenceRegenerateAfterDueDate
        |RecurrenceRegenerateAfterToday|RecurrenceRegenerated}}
    TaskSubtype picklist(40) cnR {{Task|Email|ListEmail|Cadence|Call}}; CompletedDateTime datetime n
    """,
    prefix="00T",
    owner="queue",
)

EVENT = sobject(
    "Event",
    f"""
    WhoId reference cunP > Contact/Lead as Who < Events cascade
    WhatId reference cunP > {WHAT} as What < Events cascade
    Subject combobox(255) cunN {{Call|Email|Meeting|Send Letter/Quote|Other}}; Location string(255) cun
    IsAllDayEvent boolean cud; ActivityDateTime datetime cun; ActivityDate date cun; DurationInMinutes int cun
    StartDateTime datetime cun; EndDateTime datetime cun; EndDate date n; Description textarea(32000) cun
    AccountId reference n > Account as Account; IsPrivate boolean cud
    ShowAs picklist(40) cundR {{Busy*|OutOfOffice|Free}}
    IsChild boolean d; IsGroupEvent boolean d
    GroupEventType picklist(40) ndR {{0|1|2|3}}; IsArchived boolean d
    RecurrenceActivityId reference n > Event; IsRecurrence boolean cd
    RecurrenceStartDateTime datetime cun; RecurrenceEndDateOnly date cun
    RecurrenceTimeZoneSidKey picklist(40) cunR {ZONES}; RecurrenceType picklist(40) cunR {RECURS}
    RecurrenceInterval int cun; RecurrenceDayOfWeekMask int cun; RecurrenceDayOfMonth int cun
    RecurrenceInstance picklist(40) cunR {INSTANCES}; RecurrenceMonthOfYear picklist(40) cunR {MONTHS}
    ReminderDateTime datetime cun; IsReminderSet boolean cud; EventSubtype picklist(40) cnR {{Event*}}
    IsRecurrence2Exclusion boolean d; Recurrence2PatternText textarea(512) cn
    Recurrence2PatternVersion picklist(40) nR {{1}}; IsRecurrence2 boolean d; IsRecurrence2Exception boolean d
    Recurrence2PatternStartDate datetime n; Recurrence2PatternTimeZone string(255) n
    """,
    prefix="00U",
)

HOURS = sobject(
    "BusinessHours",
    "Name string(80) cuN; IsActive boolean cud; IsDefault boolean cud; TimeZoneSidKey picklist(40) cuR "
    + ZONES
    + "".join(
        f"; {day}StartTime time cun; {day}EndTime time cun"
        for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    ),
    prefix="01m",
    owner="none",
)

ATTACHMENT = sobject(
    "Attachment",
    f"""
    ParentId reference cP > {PARENTS}/Event/Task as Parent < Attachments cascade
    Name string(255) cuN; IsPrivate boolean cud; ContentType string(120) cun; BodyLength int n; Body base64 cu
    Description string(500) cun
    """,
    prefix="00P",
)

OBJECTS = (CASE, COMMENT, TASK, EVENT, HOURS, ATTACHMENT)
