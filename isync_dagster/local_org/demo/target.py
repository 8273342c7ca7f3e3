"""What the demo's target org holds before the migration: a few records that the template's keys find.

Some are the same as their counterparts (identical), some differ (updated), and products are left as they are
(existing).
"""

from __future__ import annotations

from typing import Final

import polars as pl

from isync_dagster.local_org.demo.people import ONLY_SOURCE, target_people
from isync_dagster.local_org.seeds.dataset import DataSet

TIERS: Final = {"Gold": "A", "Silver": "B", "Bronze": "C"}
GONE: Final = [f"User-{number}" for number in ONLY_SOURCE]


def target_data(source: DataSet) -> DataSet:
    """The target's rows, made of the source's own; local keys mean the target's users and record types."""
    frames = source.frames
    accounts = _accounts(frames["Account"])
    contacts = _contacts(frames["Contact"], accounts)
    products = frames["Product2"].head(8).drop("DisplayUrl")
    changed = products.with_columns(pl.lit("Text of the target, kept").alias("Description"))
    standard = frames["PricebookEntry"].filter(
        (pl.col("Pricebook2Id") == "Pricebook2/Standard") & pl.col("Product2Id").is_in(products["_ref"].implode())
    )
    campaigns = frames["Campaign"].filter(pl.col("ParentId").is_null() & ~pl.col("OwnerId").is_in(GONE)).head(4)
    statuses = frames["CampaignMemberStatus"].filter(pl.col("CampaignId").is_in(campaigns["_ref"].implode()))
    found = {
        **target_people(),
        "Account": accounts,
        "Contact": contacts,
        "Product2": changed,
        "PricebookEntry": standard,
        "Campaign": campaigns,
        "CampaignMemberStatus": statuses,
    }
    return DataSet(found, dict.fromkeys(found, "demo"))


def _accounts(frame: pl.DataFrame) -> pl.DataFrame:
    known = frame.filter(pl.col("ParentId").is_null() & ~pl.col("OwnerId").is_in(GONE)).head(60)
    known = known.rename({"Customer_Number__c": "Client_Number__c"}).drop("Old_System_Notes__c", "ParentId")
    stale = pl.int_range(pl.len()) % 2 == 1
    return known.with_columns(
        pl.col("Tier__c").replace(TIERS),
        pl.when(stale).then(pl.lit("+00 000 0000")).otherwise("Phone").alias("Phone"),
        pl.when(stale).then(pl.lit("Prospect")).otherwise("Type").alias("Type"),
    )


def _contacts(frame: pl.DataFrame, accounts: pl.DataFrame) -> pl.DataFrame:
    known = frame.filter(
        pl.col("AccountId").is_in(accounts["_ref"].implode())
        & pl.col("Email").is_not_null()
        & pl.col("ReportsToId").is_null()
        & ~pl.col("OwnerId").is_in(GONE)
    ).head(30)
    stale = pl.int_range(pl.len()) % 3 == 1
    return known.drop("ReportsToId", "Fax_Consent__c", "AssistantName").with_columns(
        pl.when(stale).then(pl.lit("Trainee")).otherwise("Title").alias("Title"),
    )
