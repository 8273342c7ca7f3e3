from __future__ import annotations

import uuid

from isync_dagster_tests.local_org.orgs import Client


def standard_book(client: Client) -> str:
    return str(client.query("SELECT Id FROM Pricebook2 WHERE IsStandard = true")[0]["Id"])


def priced_product(client: Client, book: str | None = None, price: float = 10) -> str:
    product = client.create("Product2", Name="Thing", ProductCode="T1", IsActive=True)
    entry = client.create(
        "PricebookEntry", Pricebook2Id=standard_book(client), Product2Id=product, UnitPrice=price, IsActive=True
    )
    if book is not None:
        entry = client.create("PricebookEntry", Pricebook2Id=book, Product2Id=product, UnitPrice=price, IsActive=True)
    return entry


def test_a_custom_price_needs_a_standard_one(client: Client) -> None:
    book = client.create("Pricebook2", Name="Custom", IsActive=True)
    product = client.create("Product2", Name="Thing", ProductCode="T1")
    values = {"Product2Id": product, "UnitPrice": 5, "IsActive": True}
    refused = client.refusal("PricebookEntry", Pricebook2Id=book, **values)
    assert refused == ("STANDARD_PRICE_NOT_DEFINED", "Before creating a custom price, create a standard price.", [])
    client.create("PricebookEntry", Pricebook2Id=standard_book(client), **values)
    entry = client.create("PricebookEntry", Pricebook2Id=book, **values)
    row = client.call("GET", f"/sobjects/PricebookEntry/{entry}").json()
    assert (row["Name"], row["ProductCode"], row["UnitPrice"]) == ("Thing", "T1", 5.0)
    refused = client.refusal("PricebookEntry", Pricebook2Id=book, **values)
    assert refused[:2] == ("DUPLICATE_VALUE", "This price definition already exists in this price book")


def test_bulk_prices_standard_first(client: Client) -> None:
    book = client.create("Pricebook2", Name="Custom", IsActive=True)
    products = [client.create("Product2", Name=f"P{number}") for number in range(2)]
    standard = standard_book(client)
    lines = [f"{standard},{products[0]},1,true"] * 1 + [f"{book},{products[0]},1,true", f"{book},{products[1]},1,true"]
    info = client.ingest(
        "PricebookEntry", "insert", "Pricebook2Id,Product2Id,UnitPrice,IsActive\n" + "\n".join(lines) + "\n"
    )
    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (3, 2)
    failed = client.results(info["id"], "failedResults")
    assert set(failed["sf__Error"]) == {
        "STANDARD_PRICE_NOT_DEFINED:Before creating a custom price, create a standard price.:--"
    }


def test_line_items_follow_the_price_book_and_sum_up(client: Client) -> None:
    book, other = (client.create("Pricebook2", Name=name, IsActive=True) for name in ("A", "B"))
    deal = client.create(
        "Opportunity", Name="D", StageName="Prospecting", CloseDate="2026-05-05", Pricebook2Id=book, Amount=1
    )
    entry, foreign = priced_product(client, book), priced_product(client, other)
    values = {"OpportunityId": deal, "Quantity": 3}
    refused = client.refusal("OpportunityLineItem", PricebookEntryId=foreign, UnitPrice=2, **values)
    assert (refused[0], refused[2]) == ("FIELD_INTEGRITY_EXCEPTION", ["PricebookEntryId"])
    assert "different pricebook than the one assigned to the opportunity" in refused[1]
    refused = client.refusal("OpportunityLineItem", PricebookEntryId=entry, UnitPrice=2, TotalPrice=6, **values)
    assert refused[0] == "FIELD_INTEGRITY_EXCEPTION"
    line = client.create("OpportunityLineItem", PricebookEntryId=entry, UnitPrice=2, **values)
    row = client.call("GET", f"/sobjects/OpportunityLineItem/{line}").json()
    assert (row["TotalPrice"], row["ListPrice"], row["ProductCode"]) == (6.0, 10.0, "T1")
    row = client.call("GET", f"/sobjects/Opportunity/{deal}").json()
    assert (row["Amount"], row["HasOpportunityLineItem"]) == (6.0, True)
    client.call("PATCH", f"/sobjects/Opportunity/{deal}", json={"Amount": 99, "NextStep": "call"})
    row = client.call("GET", f"/sobjects/Opportunity/{deal}").json()
    assert (row["Amount"], row["NextStep"]) == (6.0, "call")
    client.call("PATCH", f"/sobjects/OpportunityLineItem/{line}", json={"Quantity": 5})
    assert client.call("GET", f"/sobjects/Opportunity/{deal}").json()["Amount"] == 10.0
    client.call("DELETE", f"/sobjects/OpportunityLineItem/{line}")
    assert client.call("GET", f"/sobjects/Opportunity/{deal}").json()["HasOpportunityLineItem"] is False


def test_stage_decides_an_opportunity(client: Client) -> None:
    deal = client.create("Opportunity", Name="D", StageName="Closed Won", CloseDate="2026-05-05", Amount=50)
    row = client.call("GET", f"/sobjects/Opportunity/{deal}").json()
    assert (row["IsWon"], row["IsClosed"], row["Probability"], row["FiscalYear"]) == (True, True, 100.0, 2026)
    client.call("PATCH", f"/sobjects/Opportunity/{deal}", json={"StageName": "Prospecting"})
    row = client.call("GET", f"/sobjects/Opportunity/{deal}").json()
    assert (row["IsWon"], row["IsClosed"]) == (False, False)


def test_orders_and_contracts_start_as_drafts(client: Client) -> None:
    account = client.create("Account", Name="A")
    book = client.create("Pricebook2", Name="Book", IsActive=True)
    refused = client.refusal("Contract", AccountId=account, Status="Activated", StartDate="2026-01-01", ContractTerm=6)
    assert (refused[0], refused[2]) == ("INVALID_STATUS", ["Status"])
    values = {"AccountId": account, "EffectiveDate": "2026-01-01", "Pricebook2Id": book}
    assert client.refusal("Order", Status="Activated", **values)[0] == "INVALID_STATUS"
    order = client.create("Order", Status="Draft", **values)
    answer = client.call("PATCH", f"/sobjects/Order/{order}", json={"Status": "Activated"})
    assert answer.json()[0]["errorCode"] == "FAILED_ACTIVATION"
    entry = priced_product(client, book)
    client.create("OrderItem", OrderId=order, PricebookEntryId=entry, Quantity=2, UnitPrice=4)
    assert client.call("PATCH", f"/sobjects/Order/{order}", json={"Status": "Activated"}).status_code == 204
    row = client.call("GET", f"/sobjects/Order/{order}").json()
    assert (row["StatusCode"], row["TotalAmount"]) == ("Activated", 8.0)
    assert row["OrderNumber"]
    refused = client.refusal("OrderItem", OrderId=order, PricebookEntryId=entry, Quantity=2, UnitPrice=4)
    assert refused[0] == "FIELD_INTEGRITY_EXCEPTION"


def test_campaigns_bring_their_member_statuses(client: Client) -> None:
    campaign = client.create("Campaign", Name="Fair")
    rows = client.query(
        "SELECT Label, IsDefault, HasResponded FROM CampaignMemberStatus "
        f"WHERE CampaignId = '{campaign}' ORDER BY SortOrder"
    )
    assert [(row["Label"], row["IsDefault"], row["HasResponded"]) for row in rows] == [
        ("Sent", True, False),
        ("Responded", False, True),
    ]
    lead = client.create("Lead", LastName="L", Company="C")
    assert client.refusal("CampaignMember", CampaignId=campaign)[0] == "REQUIRED_FIELD_MISSING"
    member = client.create("CampaignMember", CampaignId=campaign, LeadId=lead)
    row = client.call("GET", f"/sobjects/CampaignMember/{member}").json()
    assert (row["Status"], row["HasResponded"]) == ("Sent", False)
    refused = client.refusal("CampaignMember", CampaignId=campaign, LeadId=lead)
    assert refused[:2] == ("DUPLICATE_VALUE", "Already a campaign member.")
    assert client.refusal("CampaignMemberStatus", CampaignId=campaign, Label="sent")[0] == "DUPLICATE_VALUE"


def test_activities(client: Client) -> None:
    account = client.create("Account", Name="A")
    contact = client.create("Contact", LastName="C", AccountId=account)
    lead = client.create("Lead", LastName="L", Company="C")
    assert client.refusal("Task", Subject="s", WhoId=lead, WhatId=account)[0] == "FIELD_INTEGRITY_EXCEPTION"
    task = client.create("Task", Subject="s", WhoId=contact)
    row = client.call("GET", f"/sobjects/Task/{task}").json()
    assert (row["AccountId"], row["Status"], row["IsClosed"]) == (account, "Not Started", False)
    assert client.refusal("Event", Subject="s")[0] == "REQUIRED_FIELD_MISSING"
    event = client.create("Event", Subject="s", StartDateTime="2026-01-01T10:00:00Z", DurationInMinutes=90)
    row = client.call("GET", f"/sobjects/Event/{event}").json()
    assert row["EndDateTime"] == "2026-01-01T11:30:00.000+0000"
    assert (row["ActivityDate"], row["ActivityDateTime"]) == ("2026-01-01", "2026-01-01T10:00:00.000+0000")


def test_converted_leads_are_not_changed(client: Client) -> None:
    lead = client.create("Lead", LastName="L", Company="C", IsConverted=True)
    answer = client.call("PATCH", f"/sobjects/Lead/{lead}", json={"Company": "D"})
    assert answer.json()[0] == {
        "errorCode": "CANNOT_UPDATE_CONVERTED_LEAD",
        "message": "cannot reference converted lead",
        "fields": [],
    }


def test_hierarchies_have_no_circles(client: Client) -> None:
    top = client.create("Account", Name="Top")
    middle = client.create("Account", Name="Middle", ParentId=top)
    low = client.create("Account", Name="Low", ParentId=middle)
    for parent in (top, low):
        answer = client.call("PATCH", f"/sobjects/Account/{top}", json={"ParentId": parent})
        assert answer.json()[0]["errorCode"] == "CIRCULAR_DEPENDENCY"
    other = client.create("Account", Name="Other")
    assert client.call("PATCH", f"/sobjects/Account/{top}", json={"ParentId": other}).status_code == 204


def test_person_names_are_composed(client: Client) -> None:
    contact = client.create("Contact", FirstName="Ada", LastName="Lovelace")
    assert client.call("GET", f"/sobjects/Contact/{contact}").json()["Name"] == "Ada Lovelace"
    client.call("PATCH", f"/sobjects/Contact/{contact}", json={"LastName": "Byron"})
    assert client.call("GET", f"/sobjects/Contact/{contact}").json()["Name"] == "Ada Byron"


def test_numbers_count_up(client: Client) -> None:
    first, second = (client.create("Case", Subject=uuid.uuid4().hex) for _ in range(2))
    numbers = [client.call("GET", f"/sobjects/Case/{case}").json()["CaseNumber"] for case in (first, second)]
    assert len(numbers[0]) == 8
    assert int(numbers[1]) == int(numbers[0]) + 1


def test_a_contact_has_a_direct_relation_to_its_account(client: Client) -> None:
    first, second = (client.create("Account", Name=name) for name in ("A", "B"))
    contact = client.create("Contact", LastName="C", AccountId=first)
    alone = client.create("Contact", LastName="D")

    def relations() -> dict[str, bool]:
        soql = f"SELECT AccountId, IsDirect FROM AccountContactRelation WHERE ContactId = '{contact}'"
        return {row["AccountId"]: row["IsDirect"] for row in client.query(soql)}

    assert relations() == {first: True}
    assert client.query(f"SELECT Id FROM AccountContactRelation WHERE ContactId = '{alone}'") == []
    assert client.refusal("AccountContactRelation", AccountId=first, ContactId=contact)[0] == "DUPLICATE_VALUE"
    client.create("AccountContactRelation", AccountId=second, ContactId=contact, Roles="Influencer")
    assert relations() == {first: True, second: False}
    (direct,) = client.query(f"SELECT Id FROM AccountContactRelation WHERE ContactId = '{contact}' AND IsDirect = true")
    refused = client.call("DELETE", f"/sobjects/AccountContactRelation/{direct['Id']}")
    assert refused.json()[0]["errorCode"] == "DELETE_FAILED"
    client.call("PATCH", f"/sobjects/Contact/{contact}", json={"AccountId": second})
    assert relations() == {second: True}
    client.call("PATCH", f"/sobjects/Contact/{contact}", json={"AccountId": None})
    assert relations() == {}


def test_an_opportunity_has_one_primary_role(client: Client) -> None:
    deal = client.create("Opportunity", Name="D", StageName="Prospecting", CloseDate="2026-05-05")
    people = [client.create("Contact", LastName=name) for name in ("A", "B", "C")]
    roles = [
        client.create("OpportunityContactRole", OpportunityId=deal, ContactId=person, IsPrimary=number < 2)
        for number, person in enumerate(people)
    ]

    def primary() -> list[str]:
        soql = f"SELECT Id FROM OpportunityContactRole WHERE OpportunityId = '{deal}' AND IsPrimary = true"
        return [row["Id"] for row in client.query(soql)]

    assert primary() == [roles[1]]
    client.call("PATCH", f"/sobjects/OpportunityContactRole/{roles[2]}", json={"IsPrimary": True})
    assert primary() == [roles[2]]


def test_statuses_and_stages_say_what_they_mean(client: Client) -> None:
    stages = client.query("SELECT ApiName, IsWon, DefaultProbability FROM OpportunityStage WHERE IsClosed = true")
    assert [(row["ApiName"], row["IsWon"], row["DefaultProbability"]) for row in stages] == [
        ("Closed Won", True, 100.0),
        ("Closed Lost", False, 0.0),
    ]
    (converted,) = client.query("SELECT ApiName FROM LeadStatus WHERE IsConverted = true")
    assert converted["ApiName"] == "Closed - Converted"
