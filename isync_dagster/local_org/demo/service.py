"""Demo rows: cases and comments, tasks and events, projects with milestones and hours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import polars as pl

from isync_dagster.local_org.demo import words
from isync_dagster.local_org.demo.customers import contact_of
from isync_dagster.local_org.demo.dice import Dice, gather, ref, where
from isync_dagster.local_org.demo.table import (
    FIRST_DAY,
    LAST_DAY,
    SALES,
    SERVICE,
    created,
    phone,
    prose,
    row,
    several,
    table,
)

LONG = 9_000  # characters of the longest journals


def cases(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Cases of contacts, owned by people or queues; some are follow-ups of an earlier one."""
    dice = Dice(seed, "Case")
    account = dice.few("account", sizes["Account"])
    status = dice.below("status", 5)
    opened = dice.moment("CreatedDate", FIRST_DAY, LAST_DAY)
    closed = status >= 3
    owner = (
        pl.when(dice.chance("queued", 0.25))
        .then(dice.pick("queue", ["Group-0", "Group-1"]))
        .otherwise(dice.pick("owner", SERVICE))
    )
    return table(
        "Case",
        count,
        {
            "AccountId": ref("Account", account),
            "ContactId": where(
                dice.chance("has contact", 0.9), ref("Contact", contact_of(account, dice.bits("contact"), sizes))
            ),
            "ParentId": where(
                (row() > 10) & dice.chance("has parent", 0.1), ref("Case", dice.bits("parent") % row().clip(1))
            ),
            "RecordTypeId": dice.pick("type", ["RecordType/Case.Support"] * 3 + ["RecordType/Case.Complaint"]),
            "Subject": dice.pick("subject", words.CASE_SUBJECTS),
            "Status": gather(["New", "Working", "Escalated", "Closed", "Closed"], status),
            "IsClosed": closed,
            "ClosedDate": where(closed, opened.dt.offset_by("9d4h30m")),
            "Priority": dice.pick("priority", ["High", "Medium", "Medium", "Low"]),
            "Origin": dice.pick("origin", ["Email", "Phone", "Web", "Portal"]),
            "Reason": where(
                dice.chance("has reason", 0.6), dice.pick("reason", ["Performance", "Breakdown", "Feedback", "Other"])
            ),
            "Type": where(dice.chance("has kind", 0.4), dice.pick("kind", ["Mechanical", "Electrical", "Other"])),
            "SuppliedEmail": where(dice.chance("has mail", 0.1), pl.lit("front.desk@example.com")),
            "SuppliedName": where(dice.chance("has name", 0.1), dice.pick("name", ["O'Hara, Tim", 'K. "Kit" Marlow'])),
            "IsEscalated": status == 2,
            "Description": prose(dice, "description", empty=0.2, hostile=0.1),
            "OwnerId": owner,
            "CreatedDate": opened,
        },
    )


def comments(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """What was said about a case."""
    dice = Dice(seed, "CaseComment")
    return table(
        "CaseComment",
        count,
        {
            "ParentId": ref("Case", dice.few("case", sizes["Case"])),
            # The first comments are every hostile text once, so that each is there however small the demo is.
            "CommentBody": pl.when(row() < len(words.HOSTILE))
            .then(gather(words.HOSTILE, row() % len(words.HOSTILE)))
            .otherwise(prose(dice, "body", empty=0.0, hostile=0.15)),
            "IsPublished": dice.chance("published", 0.5),
        },
        created(dice),
    )


def tasks(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Things to do: with a lead alone, or with a contact about an account, deal, case or project."""
    dice = Dice(seed, "Task")
    status = dice.below("status", 4)
    return table(
        "Task",
        count,
        _who_what(dice, sizes),
        {
            "Subject": dice.pick("subject", words.TASK_SUBJECTS),
            "ActivityDate": where(dice.chance("has day", 0.9), dice.day("day", date(2023, 1, 2), date(2026, 2, 27))),
            "Status": gather(["Not Started", "In Progress", "Completed", "Deferred"], status),
            "IsClosed": status == 2,
            "Priority": dice.pick("priority", ["Normal", "Normal", "High", "Low"]),
            "CallDurationInSeconds": where(dice.chance("called", 0.2), dice.whole("seconds", 15, 3600)),
            "CallType": where(dice.chance("called", 0.2), dice.pick("call", ["Inbound", "Outbound"])),
            "Description": prose(dice, "description", empty=0.5),
            "OwnerId": dice.pick("owner", [*SALES[:5], *SERVICE]),
        },
        created(dice),
    )


def events(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Meetings: start, end and length agree."""
    dice = Dice(seed, "Event")
    # On the quarter of an hour, from eight in the morning.
    quarter = dice.below("quarter", 36).cast(pl.Int64)
    day = dice.day("day", date(2023, 1, 2), date(2025, 6, 27)).cast(pl.Datetime("us"))
    start = day + pl.duration(hours=8) + pl.duration(minutes=quarter * 15)
    minutes = dice.pick("minutes", ["15", "30", "60", "90", "120"]).cast(pl.Int64)
    return table(
        "Event",
        count,
        _who_what(dice, sizes),
        {
            "Subject": dice.pick("subject", words.EVENT_SUBJECTS),
            "Location": where(dice.chance("has place", 0.5), dice.pick("place", words.CITIES)),
            "StartDateTime": start,
            "EndDateTime": start + pl.duration(minutes=minutes),
            "DurationInMinutes": minutes,
            "ActivityDateTime": start,
            "ActivityDate": start.dt.date(),
            "ShowAs": dice.pick("shown", ["Busy", "Busy", "Free", "OutOfOffice"]),
            "IsPrivate": dice.chance("private", 0.05),
            "Description": prose(dice, "description", empty=0.6),
            "OwnerId": dice.pick("owner", [*SALES[:5], *SERVICE]),
        },
        created(dice),
    )


def _who_what(dice: Dice, sizes: Mapping[str, int]) -> dict[str, pl.Expr]:
    """WhoId and WhatId; an activity with a lead is about nothing else, as the platform wants it."""
    lead = dice.chance("with lead", 0.2)
    kind = dice.below("about", 6)
    about = (
        pl.when(kind == 0)
        .then(ref("Account", dice.few("account", sizes["Account"])))
        .when(kind == 1)
        .then(ref("Opportunity", dice.below("opportunity", sizes["Opportunity"])))
        .when(kind == 2)
        .then(ref("Case", dice.below("case", sizes["Case"])))
        .when(kind == 3)
        .then(ref("Project__c", dice.below("project", sizes["Project__c"])))
        .when(kind == 4)
        .then(ref("Campaign", dice.below("campaign", sizes["Campaign"])))
    )
    return {
        "WhoId": pl.when(lead)
        .then(ref("Lead", dice.below("lead", sizes["Lead"])))
        .otherwise(where(dice.chance("with contact", 0.8), ref("Contact", dice.below("contact", sizes["Contact"])))),
        "WhatId": where(~lead, about),
    }


def projects(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Work at a client's site: one field of nearly every type, and a pointer to the current milestone."""
    dice = Dice(seed, "Project__c")
    name = pl.concat_str([dice.pick("name", words.COMPANY_FIRST), dice.pick("kind", words.DEAL_KIND)], separator=" ")
    phase = dice.below("current", max(sizes["Milestone__c"] // sizes["Project__c"], 1))
    current = row() + phase * sizes["Project__c"]
    located = dice.chance("located", 0.7)
    journal = pl.lit(("\n".join(words.SENTENCES) + "\n") * (LONG // 500)).str.head(LONG).str.strip_chars()
    return table(
        "Project__c",
        count,
        {
            "Name": name,
            "Code__c": pl.concat_str([pl.lit("0"), (row() * 11 + 100).cast(pl.String)]).str.zfill(7),
            "Account__c": ref("Account", dice.few("account", sizes["Account"])),
            "Opportunity__c": where(
                dice.chance("has deal", 0.6), ref("Opportunity", dice.below("deal", sizes["Opportunity"]))
            ),
            "Manager__c": where(dice.chance("has manager", 0.9), dice.pick("manager", [*SALES, *SERVICE])),
            "Parent_Project__c": where(
                (row() > 3) & dice.chance("has parent", 0.2), ref("Project__c", dice.bits("parent") % row().clip(1))
            ),
            "Current_Milestone__c": where(
                (current < sizes["Milestone__c"]) & dice.chance("has current", 0.8), ref("Milestone__c", current)
            ),
            "Stage__c": dice.pick("stage", ["Planned", "Running", "Running", "On Hold", "Done"]),
            "Skills__c": several(dice, "skills", ["Survey", "Electrical", "Mechanical", "Software", "Training"]),
            "Start_Date__c": dice.day("start", date(2022, 3, 1), date(2025, 9, 30)),
            "Budget__c": where(dice.chance("has budget", 0.8), dice.money("budget", 0, 2_000_000)),
            "Progress__c": dice.money("progress", 0, 100),
            "Hours_Per_Day__c": dice.money("hours", 1, 12),
            "Crew__c": where(dice.chance("has crew", 0.7), dice.money("crew", 1, 40, scale=0)),
            "Brief__c": where(dice.chance("has brief", 0.7), dice.pick("brief", words.HTML)),
            "Journal__c": pl.when(dice.chance("long", 0.1))
            .then(journal)
            .otherwise(prose(dice, "journal", hostile=0.2)),
            "Shift_Starts__c": where(
                dice.chance("has shift", 0.6),
                gather(["06:00:00", "07:30:00", "14:15:30"], dice.below("shift", 3)).str.to_time("%H:%M:%S"),
            ),
            "Portal__c": where(dice.chance("has portal", 0.3), pl.lit("https://example.com/portal?project=1&tab=two")),
            "Site_Mail__c": where(dice.chance("has mail", 0.3), pl.lit("site.office@example.net")),
            "Site_Phone__c": phone(dice, "phone", share=0.5),
            "Billable__c": dice.chance("billable", 0.8),
            "Site__Latitude__s": where(located, dice.money("latitude", -56, 69, scale=6).cast(pl.Decimal(38, 15))),
            "Site__Longitude__s": where(located, dice.money("longitude", -179, 179, scale=6).cast(pl.Decimal(38, 15))),
            "OwnerId": dice.pick("owner", SALES[:5]),
        },
        created(dice),
    )


def milestones(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Steps of the projects, in turn; nearly all name their project, which names one of them as current."""
    dice = Dice(seed, "Milestone__c")
    return table(
        "Milestone__c",
        count,
        {
            "Title__c": dice.pick("title", words.MILESTONES),
            "Project__c": ref("Project__c", row() % sizes["Project__c"]),
            "Approver__c": where(
                dice.chance("has approver", 0.5), ref("Contact", dice.below("approver", sizes["Contact"]))
            ),
            "Due__c": dice.moment("due", datetime(2022, 4, 1, 12), datetime(2026, 3, 31, 12)),
            "Reached__c": dice.chance("reached", 0.5),
            "Weight__c": dice.money("weight", 0, 100, scale=3),
            "Position__c": (row() // sizes["Project__c"] + 1).cast(pl.Decimal(38, 0)),
            "OwnerId": dice.pick("owner", SALES[:5]),
        },
        created(dice),
    )


def hours(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Hours worked: details of a project, often of one of its milestones."""
    dice = Dice(seed, "Time_Entry__c")
    milestone = dice.below("milestone", sizes["Milestone__c"])
    return table(
        "Time_Entry__c",
        count,
        {
            "Project__c": ref("Project__c", milestone % sizes["Project__c"]),
            "Milestone__c": where(dice.chance("has milestone", 0.8), ref("Milestone__c", milestone)),
            "Worker__c": dice.pick("worker", [*SALES, *SERVICE]),
            "Day__c": dice.day("day", date(2023, 1, 2), date(2025, 6, 27)),
            "Hours__c": dice.money("hours", 0, 12),
            "Comment__c": where(
                dice.chance("has comment", 0.6), dice.pick("comment", [*words.WORK_NOTES, *words.HOSTILE])
            ),
        },
        created(dice),
    )
