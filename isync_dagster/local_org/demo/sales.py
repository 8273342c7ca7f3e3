"""Demo rows: products, price books, opportunities with lines and roles, contracts and orders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

from isync_dagster.local_org.demo import words
from isync_dagster.local_org.demo.customers import contact_of
from isync_dagster.local_org.demo.dice import Dice, decimal, gather, ref, where
from isync_dagster.local_org.demo.sizes import BOOKS
from isync_dagster.local_org.demo.table import SALES, address, created, prose, row, table

STAGES = (
    # stage, probability, forecast category, its name, closed, won
    ("Prospecting", 10, "Pipeline", "Pipeline", False, False),
    ("Qualification", 10, "Pipeline", "Pipeline", False, False),
    ("Proposal/Price Quote", 75, "Pipeline", "Pipeline", False, False),
    ("Negotiation/Review", 90, "Pipeline", "Pipeline", False, False),
    ("Closed Won", 100, "Closed", "Closed", True, True),
    ("Closed Won", 100, "Closed", "Closed", True, True),
    ("Closed Lost", 0, "Omitted", "Omitted", True, False),
)
SOLD = 16  # of 17 products, this many are sold; the last one is inactive


def products(seed: int, count: int) -> pl.DataFrame:
    """The catalogue; codes begin with zeros, and one product in seventeen is not sold any more."""
    dice = Dice(seed, "Product2")
    kind = row() % len(words.PRODUCT_KIND)
    families = [words.PRODUCT_FAMILY.get(name, "Hardware") for name in words.PRODUCT_KIND]
    name = pl.concat_str(
        [dice.pick("line", words.PRODUCT_LINE), gather(words.PRODUCT_KIND, kind), (row() + 10).cast(pl.String)],
        separator=" ",
    )
    return table(
        "Product2",
        count,
        {
            "Name": name,
            "ProductCode": pl.concat_str([pl.lit("00"), (row() * 37 + 1000).cast(pl.String)]),
            "Description": prose(dice, "description", empty=0.5),
            "Family": gather(families, kind),
            "QuantityUnitOfMeasure": dice.pick("unit", ["Each", "Each", "Hour", "Day"]),
            "IsActive": row() % (SOLD + 1) != SOLD,
            "StockKeepingUnit": where(
                dice.chance("has sku", 0.6), pl.concat_str([pl.lit("SKU,"), row().cast(pl.String)])
            ),
            "DisplayUrl": where(dice.chance("has url", 0.3), pl.lit("https://example.com/p?id=1")),
        },
    )


def price_books() -> pl.DataFrame:
    """The two books beside the standard one, which every org has."""
    return pl.DataFrame(
        {
            "_ref": ["Pricebook2-1", "Pricebook2-2"],
            "Name": ["Partners", "Public sector, 2025"],
            "IsActive": [True, True],
            "Description": ["Ten per cent below the list", 'Called "frame" in the old system'],
        }
    )


def book(index: pl.Expr) -> pl.Expr:
    """The local key of a price book: 0 is the standard one."""
    return pl.when(index == 0).then(pl.lit("Pricebook2/Standard")).otherwise(ref("Pricebook2", index))


def list_price(product: pl.Expr) -> pl.Expr:
    """The price of a product in the standard book, in cents (Int64)."""
    return (product * 7919 % 90_000 + 995).cast(pl.Int64)


def prices(product_count: int) -> pl.DataFrame:
    """Every product in every book; the books take ten and twenty per cent off."""
    product, number = row() % product_count, row() // product_count
    cents = list_price(product) * (10 - number.cast(pl.Int64)) // 10
    return table(
        "PricebookEntry",
        product_count * BOOKS,
        {
            "Pricebook2Id": book(number),
            "Product2Id": ref("Product2", product),
            "UnitPrice": decimal(cents, 2),
            "IsActive": product % (SOLD + 1) != SOLD,
            "UseStandardPrice": pl.lit(False),
        },
    )


def lines(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Lines of every other opportunity, from its own price book."""
    dice = Dice(seed, "OpportunityLineItem")
    sellers = max(sizes["Opportunity"] // 2, 1)
    opportunity = (row() % sellers) * 2
    product = _sold(dice.bits("first product", opportunity) + row() // sellers, sizes["Product2"])
    number = opportunity_book(seed, opportunity)
    cents = list_price(product) * (10 - number.cast(pl.Int64)) // 10
    quantity = dice.whole("quantity", 1, 40)
    return table(
        "OpportunityLineItem",
        count,
        {
            "OpportunityId": ref("Opportunity", opportunity),
            "PricebookEntryId": ref("PricebookEntry", number * sizes["Product2"] + product),
            "Product2Id": ref("Product2", product),
            "Quantity": decimal(quantity * 100, 2),
            "UnitPrice": decimal(cents, 2),
            "ListPrice": decimal(cents, 2),
            "TotalPrice": decimal(cents * quantity, 2),
            "ServiceDate": where(dice.chance("has date", 0.3), dice.day("date", date(2024, 1, 1), date(2026, 1, 31))),
            "Description": where(dice.chance("has text", 0.2), dice.pick("text", words.HOSTILE)),
        },
    )


def opportunity_book(seed: int, opportunity: pl.Expr) -> pl.Expr:
    """Which price book an opportunity sells from: 0, 1 or 2 (UInt64)."""
    return Dice(seed, "Opportunity").bits("book", opportunity) % BOOKS


def _sold(number: pl.Expr, product_count: int) -> pl.Expr:
    """A product that is sold: every number lands on one that is not the last of its seventeen."""
    sold = product_count - product_count // (SOLD + 1)
    place = number % sold
    return place + place // SOLD


def opportunities(seed: int, count: int, sizes: Mapping[str, int], line_rows: pl.DataFrame) -> pl.DataFrame:
    """Deals; where a deal has lines, its amount is their sum."""
    dice = Dice(seed, "Opportunity")
    stage = dice.below("stage", len(STAGES))
    account = dice.few("account", sizes["Account"])
    sums = line_rows.group_by(pl.col("OpportunityId").alias("_ref")).agg(pl.col("TotalPrice").sum().alias("_sum"))
    frame = table(
        "Opportunity",
        count,
        {
            "Name": pl.concat_str(
                [
                    dice.pick("kind", words.DEAL_KIND),
                    dice.pick("line", words.PRODUCT_LINE),
                    (row() + 1).cast(pl.String),
                ],
                separator=" ",
            ),
            "AccountId": where(dice.chance("has account", 0.98), ref("Account", account)),
            "RecordTypeId": dice.pick(
                "record type", ["RecordType/Opportunity.New_Business"] * 2 + ["RecordType/Opportunity.Renewal"]
            ),
            "StageName": gather([item[0] for item in STAGES], stage),
            "Probability": stage.replace_strict(list(range(len(STAGES))), [item[1] for item in STAGES]).cast(
                pl.Decimal(38, 0)
            ),
            "ForecastCategory": gather([item[2] for item in STAGES], stage),
            "ForecastCategoryName": gather([item[3] for item in STAGES], stage),
            "IsClosed": stage.is_in([n for n, item in enumerate(STAGES) if item[4]]),
            "IsWon": stage.is_in([n for n, item in enumerate(STAGES) if item[5]]),
            "CloseDate": dice.day("close", date(2022, 1, 3), date(2026, 3, 31)),
            "Type": where(
                dice.chance("has type", 0.8),
                dice.pick("type", ["New Customer", "Existing Customer - Upgrade", "Existing Customer - Renewal"]),
            ),
            "LeadSource": where(
                dice.chance("has source", 0.4), dice.pick("source", ["Web", "Partner Referral", "Other"])
            ),
            "NextStep": where(dice.chance("has step", 0.5), dice.pick("step", words.NEXT_STEPS)),
            "CampaignId": where(
                dice.chance("has campaign", 0.25), ref("Campaign", dice.below("campaign", sizes["Campaign"]))
            ),
            "Pricebook2Id": book(opportunity_book(seed, row())),
            "OwnerId": dice.pick("owner", SALES),
            "IsPrivate": dice.chance("private", 0.02),
            "Description": prose(dice, "description", empty=0.6),
            "Amount": where(dice.chance("has amount", 0.85), dice.money("amount", 400, 480_000)),
            "TotalOpportunityQuantity": pl.lit(None, dtype=pl.Decimal(38, 2)),
        },
        created(dice),
    )
    return (
        frame.join(sums, on="_ref", how="left", maintain_order="left")
        .with_columns(
            pl.coalesce("_sum", "Amount").alias("Amount"), pl.col("_sum").is_not_null().alias("HasOpportunityLineItem")
        )
        .drop("_sum")
    )


def roles(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Who decides: a contact of the deal's account."""
    dice = Dice(seed, "OpportunityContactRole")
    opportunity = row() % sizes["Opportunity"]
    # The column of the deal itself, worked out again from its row number.
    account = Dice(seed, "Opportunity").few("account", sizes["Account"], opportunity)
    first = row() < sizes["Opportunity"]
    return table(
        "OpportunityContactRole",
        count,
        {
            "OpportunityId": ref("Opportunity", opportunity),
            "ContactId": ref("Contact", contact_of(account, row() // sizes["Opportunity"], sizes)),
            "Role": where(
                dice.chance("has role", 0.9),
                dice.pick("role", ["Decision Maker", "Evaluator", "Influencer", "Business User"]),
            ),
            "IsPrimary": first & dice.chance("primary", 0.6),
        },
        created(dice),
    )


def contracts(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Contracts with the larger accounts; most are active."""
    dice = Dice(seed, "Contract")
    account = contract_account(row(), sizes)
    active = dice.chance("active", 0.7)
    return table(
        "Contract",
        count,
        {
            "AccountId": ref("Account", account),
            "Status": pl.when(active).then(pl.lit("Activated")).otherwise(pl.lit("Draft")),
            "StatusCode": pl.when(active).then(pl.lit("Activated")).otherwise(pl.lit("Draft")),
            "StartDate": dice.day("start", date(2022, 1, 1), date(2023, 12, 31)),
            "ContractTerm": dice.pick("term", ["24", "36", "48"]).cast(pl.Int64),
            "OwnerExpirationNotice": where(dice.chance("has notice", 0.4), dice.pick("notice", ["30", "60", "90"])),
            "Pricebook2Id": where(dice.chance("has book", 0.5), book(row() % BOOKS)),
            "CustomerSignedId": where(
                dice.chance("signed", 0.6), ref("Contact", contact_of(account, dice.bits("signer"), sizes))
            ),
            "CustomerSignedDate": where(
                dice.chance("signed", 0.6), dice.day("signed on", date(2021, 12, 1), date(2023, 12, 1))
            ),
            "SpecialTerms": prose(dice, "terms", empty=0.7),
            "OwnerId": dice.pick("owner", SALES[:5]),
        },
        address(dice, "Billing", share=0.3),
        created(dice),
    )


def contract_account(contract: pl.Expr, sizes: Mapping[str, int]) -> pl.Expr:
    """The account of a contract: every third one, in turn."""
    return contract * 3 % sizes["Account"]


def orders(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Orders under a contract; most are active, which an order becomes only once it has items."""
    dice = Dice(seed, "Order")
    contract = row() % sizes["Contract"]
    account = contract_account(contract, sizes)
    active = dice.chance("active", 0.75)
    status = pl.when(active).then(pl.lit("Activated")).otherwise(pl.lit("Draft"))
    return table(
        "Order",
        count,
        {
            "AccountId": ref("Account", account),
            "ContractId": where(dice.chance("has contract", 0.8), ref("Contract", contract)),
            "EffectiveDate": dice.day("effective", date(2024, 1, 1), date(2024, 12, 31)),
            "Status": status,
            "StatusCode": status,
            "Pricebook2Id": book(order_book(row())),
            "BillToContactId": where(
                dice.chance("billed", 0.5), ref("Contact", contact_of(account, dice.bits("bill"), sizes))
            ),
            "PoNumber": where(dice.chance("has po", 0.6), dice.whole("po", 1, 99_999).cast(pl.String).str.zfill(9)),
            "Description": prose(dice, "description", empty=0.8),
            "OwnerId": dice.pick("owner", SALES[:5]),
        },
        address(dice, "Shipping", share=0.5),
    )


def order_book(order: pl.Expr) -> pl.Expr:
    """Which price book an order sells from (UInt64)."""
    return order // 2 % BOOKS


def order_items(seed: int, count: int, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Items of every order, from its own price book."""
    dice = Dice(seed, "OrderItem")
    order = row() % sizes["Order"]
    number = order_book(order)
    product = _sold(dice.bits("first product", order) + row() // sizes["Order"], sizes["Product2"])
    cents = list_price(product) * (10 - number.cast(pl.Int64)) // 10
    quantity = dice.whole("quantity", 1, 12)
    return table(
        "OrderItem",
        count,
        {
            "OrderId": ref("Order", order),
            "PricebookEntryId": ref("PricebookEntry", number * sizes["Product2"] + product),
            "Product2Id": ref("Product2", product),
            "Quantity": decimal(quantity * 100, 2),
            "UnitPrice": decimal(cents, 2),
            "ListPrice": decimal(cents, 2),
            "TotalPrice": decimal(cents * quantity, 2),
            "ServiceDate": where(dice.chance("has date", 0.4), dice.day("date", date(2024, 2, 1), date(2025, 5, 31))),
            "Description": where(dice.chance("has text", 0.2), dice.pick("text", words.SENTENCES)),
        },
    )
