"""Demo rows: accounts with their hierarchy, contacts, leads, campaigns and members."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from isync_dagster.local_org.demo import words
from isync_dagster.local_org.demo.dice import Dice, gather, ref, where
from isync_dagster.local_org.demo.sizes import STATUSES
from isync_dagster.local_org.demo.table import (
    SALES,
    SERVICE,
    address,
    company,
    created,
    mail,
    person,
    phone,
    prose,
    row,
    several,
    table,
)


def accounts(seed: int, count: int) -> pl.DataFrame:
    """Companies; one in six belongs to another one that came before it."""
    dice = Dice(seed, "Account")
    site = pl.concat_str([pl.lit("https://www.example.com/"), row().cast(pl.String)])
    return table(
        "Account",
        count,
        {
            "Name": company(dice),
            "RecordTypeId": dice.pick("type", ["RecordType/Account.Business"] * 4 + ["RecordType/Account.Partner"]),
            "ParentId": where(
                (row() > 20) & dice.chance("has parent", 0.16), ref("Account", dice.bits("parent") % row().clip(1))
            ),
            # Numbers that are text: most begin with a zero, and none comes twice.
            "Customer_Number__c": (row() * 7_919 % 9_999_991).cast(pl.String).str.zfill(8),
            "Tier__c": where(dice.chance("has tier", 0.85), dice.pick("tier", ["Gold", "Silver", "Silver", "Bronze"])),
            "Type": dice.pick("kind", ["Prospect", "Customer - Direct", "Customer - Channel", "Other"]),
            "Industry": where(dice.chance("has industry", 0.9), dice.pick("industry", words.INDUSTRIES)),
            "Rating": where(dice.chance("has rating", 0.5), dice.pick("rating", ["Hot", "Warm", "Cold"])),
            "OwnerId": dice.pick("owner", SALES),
            "Phone": phone(dice, "Phone"),
            "Fax": phone(dice, "Fax", share=0.2),
            "Website": where(dice.chance("has site", 0.6), site),
            "AnnualRevenue": where(dice.chance("has revenue", 0.7), dice.money("revenue", 1, 900_000, scale=0) * 1000),
            "NumberOfEmployees": where(dice.chance("has staff", 0.7), dice.few("staff", 20_000).cast(pl.Int64)),
            "Credit_Limit__c": where(dice.chance("has limit", 0.6), dice.money("limit", 0, 250_000)),
            "Payment_Terms__c": where(
                dice.chance("has terms", 0.8), dice.pick("terms", ["Net 14", "Net 30", "Net 60"])
            ),
            "Regions__c": several(dice, "regions", ["EMEA", "APAC", "AMER", "DACH"]),
            "Insured__c": dice.chance("insured", 0.3),
            "Description": prose(dice, "description"),
            "Old_System_Notes__c": prose(dice, "old notes", empty=0.8),
            "AccountSource": where(
                dice.chance("has source", 0.4), dice.pick("source", ["Web", "Partner Referral", "Other"])
            ),
            "YearStarted": where(dice.chance("has year", 0.3), dice.whole("year", 1880, 2022).cast(pl.String)),
        },
        address(dice, "Billing"),
        address(dice, "Shipping", share=0.4),
        created(dice),
    )


def account_of(contact: pl.Expr, sizes: Mapping[str, int]) -> pl.Expr:
    """The account that a contact works for: contacts stand together, account by account."""
    return contact * sizes["Account"] // sizes["Contact"]


def contact_of(account: pl.Expr, pick: pl.Expr, sizes: Mapping[str, int]) -> pl.Expr:
    """A contact of an account: the first one of it or, by `pick`, one of the next few."""
    first = (account * sizes["Contact"] + sizes["Account"] - 1) // sizes["Account"]
    each = max(sizes["Contact"] // sizes["Account"], 1)
    return (first + pick % each).clip(0, sizes["Contact"] - 1)


def contacts(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """People at the accounts; some report to one who came before them at the same account."""
    dice = Dice(seed, "Contact")
    placed = dice.chance("has account", 0.96)
    before = contact_of(account_of(row(), sizes), pl.lit(0, dtype=pl.UInt64), sizes)
    return table(
        "Contact",
        count,
        person(dice),
        {
            "AccountId": where(placed, ref("Account", account_of(row(), sizes))),
            "ReportsToId": where(placed & (before < row()) & dice.chance("reports", 0.7), ref("Contact", before)),
            "Email": where(dice.chance("has mail", 0.93), mail(dice)),
            "Title": where(dice.chance("has title", 0.8), dice.pick("title", words.TITLES)),
            "Department": where(dice.chance("has department", 0.6), dice.pick("department", words.DEPARTMENTS)),
            "Phone": phone(dice, "Phone"),
            "MobilePhone": phone(dice, "MobilePhone", share=0.5),
            "Birthdate": where(
                dice.chance("has birthday", 0.2), dice.day("birthday", date(1948, 2, 29), date(2003, 12, 31))
            ),
            "LeadSource": where(dice.chance("has source", 0.5), dice.pick("source", ["Web", "Phone Inquiry", "Other"])),
            "Preferred_Language__c": where(dice.chance("has language", 0.7), dice.pick("language", words.LANGUAGES)),
            "Newsletter__c": dice.chance("newsletter", 0.4),
            "Fax_Consent__c": dice.chance("fax consent", 0.1),
            "Last_Survey__c": where(
                dice.chance("has survey", 0.3), created(dice)["CreatedDate"].dt.offset_by("40d3h7m11s")
            ),
            "AssistantName": where(dice.chance("has assistant", 0.05), pl.lit("Front desk")),
            "Description": prose(dice, "description", empty=0.7),
            "OwnerId": dice.pick("owner", SALES),
        },
        address(dice, "Mailing", share=0.6),
        created(dice),
    )


def leads(seed: int, count: int) -> pl.DataFrame:
    """People who are not customers yet; new ones belong to a queue."""
    dice = Dice(seed, "Lead")
    return table(
        "Lead",
        count,
        person(dice),
        {
            "Company": company(dice),
            "Email": where(dice.chance("has mail", 0.9), mail(dice)),
            "Title": where(dice.chance("has title", 0.6), dice.pick("title", words.TITLES)),
            "Phone": phone(dice, "Phone"),
            "Website": where(dice.chance("has site", 0.2), pl.lit("https://example.org/?from=lead&n=1,2")),
            "Status": dice.pick("status", ["Open - Not Contacted", "Working - Contacted", "Closed - Not Converted"]),
            "LeadSource": where(
                dice.chance("has source", 0.8), dice.pick("source", ["Web", "Purchased List", "Other"])
            ),
            "Industry": where(dice.chance("has industry", 0.5), dice.pick("industry", words.INDUSTRIES)),
            "Rating": where(dice.chance("has rating", 0.3), dice.pick("rating", ["Hot", "Warm", "Cold"])),
            "AnnualRevenue": where(dice.chance("has revenue", 0.3), dice.money("revenue", 1, 90_000, scale=0) * 1000),
            "NumberOfEmployees": where(dice.chance("has staff", 0.3), dice.few("staff", 5_000).cast(pl.Int64)),
            "Description": prose(dice, "description", empty=0.6),
            "OwnerId": pl.when(dice.chance("queued", 0.2)).then(pl.lit("Group-2")).otherwise(dice.pick("owner", SALES)),
            **{name.removeprefix("X"): value for name, value in address(dice, "X", share=0.5).items()},
        },
        created(dice),
    )


def campaigns(seed: int, count: int) -> pl.DataFrame:
    """Campaigns, some of them parts of an earlier one; no name comes twice."""
    dice = Dice(seed, "Campaign")
    start = dice.day("start", date(2021, 1, 4), date(2025, 4, 30))
    name = pl.concat_str([dice.pick("name", words.CAMPAIGN_KIND), (row() + 101).cast(pl.String)], separator=" ")
    return table(
        "Campaign",
        count,
        {
            "Name": name,
            "ParentId": where(
                (row() > 5) & dice.chance("has parent", 0.4), ref("Campaign", dice.bits("parent") % row().clip(1))
            ),
            "Type": dice.pick("type", ["Conference", "Webinar", "Trade Show", "Email", "Other"]),
            "Status": dice.pick("status", ["Planned", "In Progress", "Completed", "Aborted"]),
            "StartDate": start,
            "EndDate": where(dice.chance("has end", 0.8), start.dt.offset_by("21d")),
            "BudgetedCost": where(dice.chance("has budget", 0.7), dice.money("budget", 500, 90_000, scale=0)),
            "ExpectedResponse": where(dice.chance("has response", 0.5), dice.money("response", 0, 60)),
            "NumberSent": where(dice.chance("has sent", 0.6), dice.money("sent", 0, 9_000, scale=0)),
            "IsActive": dice.chance("active", 0.5),
            "Description": prose(dice, "description", empty=0.5),
            "OwnerId": dice.pick("owner", [*SALES[:5], *SERVICE[:1]]),
        },
        created(dice),
    )


def member_statuses(campaign_count: int) -> pl.DataFrame:
    """Sent and Responded, which every campaign has from the start, and one of its own."""
    which = row() % STATUSES
    return table(
        "CampaignMemberStatus",
        campaign_count * STATUSES,
        {
            "CampaignId": ref("Campaign", row() // STATUSES),
            "Label": gather(["Sent", "Responded", "Visited the booth"], which),
            "SortOrder": which.cast(pl.Int64) + 1,
            "IsDefault": which == 0,
            "HasResponded": which > 0,
        },
    )


def members(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Contacts and leads in campaigns, nobody twice in one."""
    dice = Dice(seed, "CampaignMember")
    campaign = row() % sizes["Campaign"]
    turn = row() // sizes["Campaign"]
    lead = turn % 2 == 0
    status = dice.below("status", 3)
    # One step further each turn, from a start of the campaign's own, meets nobody twice.
    lead_of = (dice.bits("first lead", campaign) % sizes["Lead"] + turn // 2) % sizes["Lead"]
    contact = (dice.bits("first contact", campaign) % sizes["Contact"] + turn // 2) % sizes["Contact"]
    return table(
        "CampaignMember",
        count,
        {
            "CampaignId": ref("Campaign", campaign),
            "LeadId": where(lead, ref("Lead", lead_of)),
            "ContactId": where(~lead, ref("Contact", contact)),
            "Status": gather(["Sent", "Responded", "Visited the booth"], status),
            "HasResponded": status > 0,
        },
        created(dice),
    )
