"""The demo orgs: the same for the same seed, whole in themselves, and as the shipped snapshots say."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from isync_dagster.local_org.demo.generate import source_data
from isync_dagster.local_org.demo.make import make_demo, save_demo_snapshots
from isync_dagster.local_org.demo.schema import source_schema, target_schema
from isync_dagster.local_org.demo.words import HOSTILE
from isync_dagster.local_org.local_org import LocalOrg

SHIPPED = Path(__file__).parents[3] / "templates" / "orgs"


@pytest.fixture(scope="module")
def orgs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_demo(tmp_path_factory.mktemp("demo"), rows=3_000)


@pytest.fixture(scope="module")
def tables(orgs: tuple[Path, Path]) -> dict[str, pl.DataFrame]:
    with LocalOrg.open(orgs[0]) as org:
        return {name: org.table(name) for name, count in org.counts().items() if count}


def test_same_seed_same_rows() -> None:
    one, two, other = source_data(500, 3), source_data(500, 3), source_data(500, 4)
    assert all(one.frames[name].equals(two.frames[name]) for name in one.frames)
    assert not one.frames["Account"].equals(other.frames["Account"])


def test_rows_are_about_as_many_as_asked_for() -> None:
    assert 19_500 < source_data(20_000).rows < 20_500
    assert 95_000 < source_data(100_000).rows < 105_000


def test_every_lookup_points_at_a_row_of_the_right_object(
    orgs: tuple[Path, Path], tables: dict[str, pl.DataFrame]
) -> None:
    with LocalOrg.open(orgs[0]) as org:
        ids = {name: frame["Id"].implode() for name, frame in tables.items()}
        for name, frame in tables.items():
            for field in org.describe(name).references:
                values = frame.select(pl.col(field.name).alias("value")).drop_nulls()
                parents = [ids[parent] for parent in field.reference_to if parent in ids]
                known = pl.any_horizontal([pl.col("value").is_in(parent) for parent in parents]) if parents else False
                lost = values.filter(~pl.lit(known) if isinstance(known, bool) else ~known)
                assert lost.is_empty(), (name, field.name, lost.head(3))


def test_required_fields_are_filled_for_the_target_too(orgs: tuple[Path, Path]) -> None:
    names = {"Time_Entry__c": "Work_Log__c"}
    fields = {"Customer_Number__c": "Client_Number__c"}
    target = {item.name: item for item in target_schema()}
    with LocalOrg.open(orgs[0]) as org:
        for item in source_schema():
            if org.counts()[item.name] == 0 or names.get(item.name, item.name) not in target:
                continue
            frame = org.table(item.name)
            for field in item.fields:
                other = target[names.get(item.name, item.name)].field(fields.get(field.name, field.name))
                if other is None or field.name not in frame.columns:
                    continue
                if other.required:
                    assert frame[field.name].null_count() == 0, (item.name, field.name)
                if other.length and frame[field.name].dtype == pl.String:
                    longest = frame[field.name].str.len_chars().max() or 0
                    assert isinstance(longest, int)
                    assert longest <= other.length, (item.name, field.name)


def test_prices_and_books_agree(tables: dict[str, pl.DataFrame]) -> None:
    entries = tables["PricebookEntry"].select(pl.col("Id").alias("PricebookEntryId"), "Pricebook2Id", "IsActive")
    for lines, parents, key in (
        ("OpportunityLineItem", "Opportunity", "OpportunityId"),
        ("OrderItem", "Order", "OrderId"),
    ):
        books = tables[parents].select(pl.col("Id").alias(key), pl.col("Pricebook2Id").alias("book"))
        joined = tables[lines].join(entries, on="PricebookEntryId").join(books, on=key)
        assert joined.height == tables[lines].height
        assert joined.filter((pl.col("Pricebook2Id") != pl.col("book")) | ~pl.col("IsActive")).is_empty()
    sums = tables["OpportunityLineItem"].group_by(pl.col("OpportunityId").alias("Id")).agg(pl.col("TotalPrice").sum())
    deals = tables["Opportunity"].join(sums, on="Id")
    assert deals.filter(pl.col("Amount") != pl.col("TotalPrice")).is_empty()
    pairs = tables["PricebookEntry"].select("Pricebook2Id", "Product2Id")
    assert pairs.is_unique().all()


def test_nobody_is_twice_in_a_campaign(tables: dict[str, pl.DataFrame]) -> None:
    members = tables["CampaignMember"]
    assert members.select("CampaignId", pl.coalesce("LeadId", "ContactId")).is_unique().all()
    assert members.filter(pl.col("LeadId").is_null() == pl.col("ContactId").is_null()).is_empty()


def test_an_activity_with_a_lead_is_about_nothing_else(tables: dict[str, pl.DataFrame]) -> None:
    for name in ("Task", "Event"):
        with_lead = tables[name].filter(pl.col("WhoId").str.starts_with("00Q"))
        assert with_lead.height > 0
        assert with_lead["WhatId"].null_count() == with_lead.height


def test_projects_and_milestones_are_a_cycle(tables: dict[str, pl.DataFrame]) -> None:
    current = tables["Project__c"].select(pl.col("Id").alias("project"), pl.col("Current_Milestone__c").alias("Id"))
    joined = current.drop_nulls().join(tables["Milestone__c"].select("Id", "Project__c"), on="Id")
    assert joined.height > 0
    assert joined.filter(pl.col("project") != pl.col("Project__c")).is_empty()


def test_hostile_values_arrive_as_they_are(tables: dict[str, pl.DataFrame]) -> None:
    found = set(tables["Case"]["Description"]) | set(tables["CaseComment"]["CommentBody"])
    assert set(HOSTILE) <= found
    assert tables["Account"]["Customer_Number__c"].str.starts_with("0").any()
    assert tables["Project__c"]["Journal__c"].str.len_chars().max() >= 5000  # type: ignore[operator]
    assert tables["Account"]["Payment_Terms__c"].null_count() > 0


def test_the_target_holds_same_and_stale_rows(orgs: tuple[Path, Path], tables: dict[str, pl.DataFrame]) -> None:
    with LocalOrg.open(orgs[1]) as org:
        mine = tables["Account"].select(pl.col("Customer_Number__c").alias("Client_Number__c"), "Phone")
        both = org.table("Account").join(mine, on="Client_Number__c", suffix="_source")
        assert both.height == org.counts()["Account"]
        stale = both.filter(pl.col("Phone").ne_missing(pl.col("Phone_source"))).height
        assert 0 < stale < both.height
        assert org.settings.org_id != "00D61r000uvRoMLEA0"
        inactive = org.table("User").filter(~pl.col("IsActive"))
        assert inactive["LastName"].to_list() == ["Interface"]


def test_shipped_snapshots_are_those_of_the_demo_orgs(tmp_path: Path) -> None:
    save_demo_snapshots(tmp_path)
    made = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.json")}
    shipped = {
        path.relative_to(SHIPPED): path.read_text()
        for alias in ("demo_source", "demo_target")
        for path in (SHIPPED / alias).glob("*.json")
    }
    assert made == shipped
