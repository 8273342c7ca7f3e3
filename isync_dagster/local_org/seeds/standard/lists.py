"""Standard objects: the lists of an org: statuses and stages, currencies, hours and holidays."""

from __future__ import annotations

from isync_dagster.local_org.seeds.notation import sobject

FORECASTS = "{Omitted|Pipeline|BestCase|MostLikely|Forecast|Closed}"

STAGE = sobject(
    "OpportunityStage",
    f"""
    MasterLabel string(255) nN; ApiName string(255); IsActive boolean d; SortOrder int n; IsClosed boolean d
    IsWon boolean d; ForecastCategory picklist(40) {FORECASTS}; ForecastCategoryName picklist(255)
    DefaultProbability percent(3,0) n; Description string(255) n
    """,
    prefix="01J",
    owner="none",
    read_only=True,
)

LEAD_STATUS = sobject(
    "LeadStatus",
    "MasterLabel string(255) nN; ApiName string(255); SortOrder int n; IsDefault boolean d; IsConverted boolean d",
    prefix="0Bl",
    owner="none",
    read_only=True,
)

CASE_STATUS = sobject(
    "CaseStatus",
    "MasterLabel string(255) nN; ApiName string(255); SortOrder int n; IsDefault boolean d; IsClosed boolean d",
    prefix="0Bk",
    owner="none",
    read_only=True,
)

PROCESS = sobject(
    "BusinessProcess",
    "Name string(80) N; NamespacePrefix string(15) n; Description string(255) n; TableEnumOrId picklist(40); "
    "IsActive boolean d",
    prefix="019",
    owner="none",
    read_only=True,
)

CURRENCY = sobject(
    "CurrencyType",
    """
    IsoCode picklist(3) c; ConversionRate double(18,6) cu; DecimalPlaces int cu; IsActive boolean cud
    IsCorporate boolean d
    """,
    prefix="01L",
    owner="none",
)

RATE = sobject(
    "DatedConversionRate",
    "IsoCode picklist(3) c; StartDate date c; NextStartDate date n; ConversionRate double(18,6) cu",
    prefix="04w",
    owner="none",
)

HOLIDAY = sobject(
    "Holiday",
    """
    Name string(80) cuN; Description string(255) cun; IsAllDay boolean cud; ActivityDate date cun
    StartTimeInMinutes int cun; EndTimeInMinutes int cun; IsRecurrence boolean cd; RecurrenceStartDate date cun
    RecurrenceEndDateOnly date cun; RecurrenceType picklist(40) cunR {RecursDaily|RecursEveryWeekday|RecursMonthly
        |RecursMonthlyNth|RecursWeekly|RecursYearly|RecursYearlyNth}
    RecurrenceInterval int cun; RecurrenceDayOfWeekMask int cun; RecurrenceDayOfMonth int cun
    """,
    prefix="0C0",
    owner="none",
)

OPERATING_HOURS = sobject(
    "OperatingHours",
    """
    Name string(255) cuN; Description textarea(255) cun; TimeZone picklist(40) cud {GMT*|Europe/Berlin|Europe/London
        |America/New_York|America/Los_Angeles|Asia/Tokyo}
    @viewed
    """,
    prefix="0OH",
    owner="none",
)

TIME_SLOT = sobject(
    "TimeSlot",
    """
    TimeSlotNumber string(255) dAN; OperatingHoursId reference c > OperatingHours as OperatingHours < TimeSlots cascade
    StartTime time cu; EndTime time cu; Type picklist(40) cud {Normal*|Extended}
    DayOfWeek picklist(40) cuR {Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday}
    """,
    prefix="0TS",
    owner="none",
)

EVENT_RELATION = sobject(
    "EventRelation",
    """
    RelationId reference cP > Contact/Lead/User as Relation; EventId reference c > Event as Event < EventRelations cascade
    Status picklist(40) cundR {New*|Declined|Accepted}; RespondedDate datetime cun; Response string(255) cun
    IsWhat boolean d; IsParent boolean d; IsInvitee boolean d
    """,
    prefix="0RE",
    owner="none",
)

TASK_RELATION = sobject(
    "TaskRelation",
    """
    RelationId reference cP > Contact/Lead as Relation; TaskId reference c > Task as Task < TaskRelations cascade
    IsWhat boolean d
    """,
    prefix="0RT",
    owner="none",
)

OBJECTS = (
    STAGE,
    LEAD_STATUS,
    CASE_STATUS,
    PROCESS,
    CURRENCY,
    RATE,
    HOLIDAY,
    OPERATING_HOURS,
    TIME_SLOT,
    EVENT_RELATION,
    TASK_RELATION,
)
