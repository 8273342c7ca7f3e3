"""The rules that only some objects have, by the moment at which they apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from isync_dagster.local_org import special_contacts as contacts
from isync_dagster.local_org import special_files as files
from isync_dagster.local_org import special_people as people
from isync_dagster.local_org import special_persons as persons
from isync_dagster.local_org import special_sales as sales
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.storage import insert_frame, registered, select
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer


def before_insert(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """Checks of new rows, on what the client gave."""
    match sobject.name:
        case "Account":
            persons.refuse_mixed_names(writer, sobject, rows)
        case "PricebookEntry":
            sales.refuse_prices(writer, sobject, rows)
        case "OpportunityLineItem" | "OrderItem":
            sales.refuse_lines(writer, sobject, rows)
        case "Contract" | "Order":
            sales.refuse_not_draft(sobject, rows)
        case "AccountContactRelation":
            contacts.refuse_relations(writer, rows)
        case "CampaignMember":
            people.refuse_members(writer, rows)
        case "CampaignMemberStatus":
            people.refuse_member_statuses(writer, rows)
        case "Task":
            people.refuse_activities(rows)
        case "Event":
            people.refuse_activities(rows)
            people.refuse_events(rows)
        case "ContentVersion":
            files.refuse_versions(rows)
        case _:
            pass


def fill_special(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """Columns of new rows that follow from other rows."""
    if not rows.good.height:
        return
    match sobject.name:
        case "Account":
            persons.compose_persons(writer, rows)
        case "PricebookEntry":
            sales.name_prices(writer, rows)
        case "OpportunityLineItem" | "OrderItem":
            sales.name_lines(writer, sobject, rows)
        case "CampaignMember":
            people.fill_members(writer, rows)
        case "Task":
            people.account_of_activity(writer, rows)
        case "Event":
            people.time_events(rows)
            people.account_of_activity(writer, rows)
        case "ContentVersion":
            files.fill_versions(writer, rows)
        case _:
            pass


def after_insert(writer: Writer, sobject: SObject, frame: pl.DataFrame) -> None:
    """What else a new row brings about."""
    match sobject.name:
        case "Account":
            persons.add_contacts(writer, sobject, frame)
        case "Contact":
            contacts.relate(writer, frame)
        case "OpportunityContactRole":
            contacts.one_primary_role(writer, frame)
        case "Campaign":
            people.add_member_statuses(writer, frame.select("Id"))
        case "CampaignMemberStatus":
            people.one_default_status(writer, frame)
        case "OpportunityLineItem":
            sales.total_lines(writer, sobject, frame.select(pl.col("OpportunityId").alias("id")))
        case "OrderItem":
            sales.total_lines(writer, sobject, frame.select(pl.col("OrderId").alias("id")))
        case "Opportunity":
            _primary_contacts(writer, frame)
        case "ContentVersion":
            files.publish_versions(writer, frame)
        case _:
            pass


def _primary_contacts(writer: Writer, frame: pl.DataFrame) -> None:
    """An opportunity made with a contact gets that contact as its primary role."""
    role = writer.schema.get("OpportunityContactRole")
    if role is None or "ContactId" not in frame.columns:
        return
    made = frame.filter(pl.col("ContactId").is_not_null()).select(
        pl.col("Id").alias("OpportunityId"), "ContactId", pl.lit(True).alias("IsPrimary")
    )
    if made.height:
        insert_frame(writer.cursor, role, writer.fill(role, made))


def before_update(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """Checks of changes; rows carry `Id` and what the client gave."""
    if not rows.good.height:
        return
    people.refuse_circles(writer, sobject, rows)
    match sobject.name:
        case "Account":
            persons.refuse_mixed_changes(writer, rows)
        case "Contact":
            persons.refuse_person_contacts(writer, rows, deleting=False)
        case "Lead":
            people.refuse_converted_leads(writer, rows)
        case "Order":
            sales.refuse_activation(writer, rows)
        case "Opportunity":
            sales.keep_amounts(writer, rows)
        case "Task" | "Event":
            people.refuse_activities(rows)
        case _:
            pass


def after_update(writer: Writer, sobject: SObject, frame: pl.DataFrame) -> None:
    """What else a change brings about; `frame` holds `Id` and the columns that were given."""
    match sobject.name:
        case "Account":
            persons.follow_persons(writer, sobject, frame)
        case "Contact":
            contacts.follow_accounts(writer, frame)
        case "OpportunityContactRole":
            contacts.one_primary_role(writer, frame)
        case "CampaignMemberStatus":
            people.one_default_status(writer, frame)
        case "OpportunityLineItem" | "OrderItem":
            lookup = "OpportunityId" if sobject.name == "OpportunityLineItem" else "OrderId"
            sales.total_lines(writer, sobject, parents_of(writer, sobject, lookup, frame.select("Id")))
        case _:
            pass


def before_delete(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """Checks of deletes; rows carry `Id`."""
    if sobject.name == "Contact":
        persons.refuse_person_contacts(writer, rows, deleting=True)
    if sobject.name == contacts.RELATION and rows.good.height:
        contacts.refuse_direct_relations(writer, rows)


def after_delete(writer: Writer, sobject: SObject, ids: pl.DataFrame) -> None:
    """What else a delete brings about; the rows are still there, marked deleted."""
    if sobject.name in ("OpportunityLineItem", "OrderItem"):
        lookup = "OpportunityId" if sobject.name == "OpportunityLineItem" else "OrderId"
        sales.total_lines(writer, sobject, parents_of(writer, sobject, lookup, ids))


def parents_of(writer: Writer, sobject: SObject, lookup: str, ids: pl.DataFrame) -> pl.DataFrame:
    """The distinct values (`id`) of a lookup in stored rows."""
    with registered(writer.cursor, _ids=ids.select("Id")):
        return select(
            writer.cursor,
            f'SELECT DISTINCT {quote(lookup)} AS id FROM {quote(sobject.name)} WHERE "Id" IN (SELECT "Id" FROM _ids)',
        )
