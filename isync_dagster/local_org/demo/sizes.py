"""How many rows each object of the demo has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Rows of each object in a demo of about 20,000; every other size is this one scaled.
USUAL: Final[Mapping[str, int]] = {
    "Account": 1400,
    "Contact": 2800,
    "Lead": 1400,
    "Campaign": 60,
    "CampaignMember": 2000,
    "Product2": 120,
    "Opportunity": 2000,
    "OpportunityContactRole": 1600,
    "OpportunityLineItem": 2200,
    "Contract": 260,
    "Order": 360,
    "OrderItem": 720,
    "Case": 1300,
    "CaseComment": 700,
    "Task": 1200,
    "Event": 400,
    "Project__c": 150,
    "Milestone__c": 450,
    "Time_Entry__c": 600,
}
LEAST: Final = 6  # rows of an object in the smallest demo
STATUSES: Final = 3  # member statuses of a campaign
BOOKS: Final = 3  # the standard price book and two more
DERIVED: Final = USUAL["Campaign"] * STATUSES + USUAL["Product2"] * BOOKS + BOOKS - 1


def sizes(rows: int) -> dict[str, int]:
    """Object -> rows, about `rows` in all.

    >>> sizes(20_000)["Account"], sum(sizes(20_000).values()) + DERIVED
    (1381, 19998)
    """
    factor = rows / (sum(USUAL.values()) + DERIVED)
    found = {name: max(LEAST, int(count * factor)) for name, count in USUAL.items()}
    # A line has a product of its own price book: a small catalogue must still offer one that is sold.
    found["Product2"] = max(found["Product2"], 20)
    return found
