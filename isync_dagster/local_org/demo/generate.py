"""The rows of the demo's source org, from a seed."""

from __future__ import annotations

from isync_dagster.local_org.demo import customers, sales, service
from isync_dagster.local_org.demo.people import source_people
from isync_dagster.local_org.demo.sizes import sizes
from isync_dagster.local_org.seeds.dataset import DataSet


def source_data(rows: int = 20_000, seed: int = 7) -> DataSet:
    """About `rows` believable records over all objects of the demo; the same for the same seed on every machine."""
    n = sizes(rows)
    lines = sales.lines(seed, n["OpportunityLineItem"], n)
    frames = {
        **source_people(),
        "Account": customers.accounts(seed, n["Account"]),
        "Contact": customers.contacts(seed, n["Contact"], n),
        "Lead": customers.leads(seed, n["Lead"]),
        "Campaign": customers.campaigns(seed, n["Campaign"]),
        "CampaignMemberStatus": customers.member_statuses(n["Campaign"]),
        "CampaignMember": customers.members(seed, n["CampaignMember"], n),
        "Product2": sales.products(seed, n["Product2"]),
        "Pricebook2": sales.price_books(),
        "PricebookEntry": sales.prices(n["Product2"]),
        "Opportunity": sales.opportunities(seed, n["Opportunity"], n, lines),
        "OpportunityContactRole": sales.roles(seed, n["OpportunityContactRole"], n),
        "OpportunityLineItem": lines,
        "Contract": sales.contracts(seed, n["Contract"], n),
        "Order": sales.orders(seed, n["Order"], n),
        "OrderItem": sales.order_items(seed, n["OrderItem"], n),
        "Case": service.cases(seed, n["Case"], n),
        "CaseComment": service.comments(seed, n["CaseComment"], n),
        "Project__c": service.projects(seed, n["Project__c"], n),
        "Milestone__c": service.milestones(seed, n["Milestone__c"], n),
        "Time_Entry__c": service.hours(seed, n["Time_Entry__c"], n),
        "Task": service.tasks(seed, n["Task"], n),
        "Event": service.events(seed, n["Event"], n),
    }
    return DataSet(frames, dict.fromkeys(frames, "demo"))
