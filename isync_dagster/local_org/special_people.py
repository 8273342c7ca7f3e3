"""Rules of campaigns and their members, leads, activities, users, and of hierarchies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.storage import insert_frame, registered, select
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer

HIERARCHIES: Final = ("ParentId", "ReportsToId", "ManagerId")
LEVELS: Final = 500  # how far up a hierarchy is followed


def refuse_members(writer: Writer, rows: Rows) -> None:
    """A campaign member: one person, once a campaign, no converted lead."""
    good = rows.good
    people = [name for name in ("LeadId", "ContactId", "AccountId") if name in good.columns]
    person = pl.coalesce(people) if people else pl.lit(None, dtype=pl.String)
    message = "Required fields are missing: [LeadId, ContactId]"
    rows.refuse([(person.is_null(), error("REQUIRED_FIELD_MISSING", message, "LeadId, ContactId"))])
    if not rows.good.height or "CampaignId" not in rows.good.columns:
        return
    mine = rows.good.select("_row", "CampaignId", person.alias("person"))
    stored = ", ".join(f"t.{quote(name)}" for name in people)
    with registered(writer.cursor, _mine=mine):
        taken = select(
            writer.cursor,
            f'SELECT DISTINCT m._row FROM _mine m JOIN "CampaignMember" t ON t."CampaignId" = m."CampaignId" '
            f'AND coalesce({stored}) = m.person WHERE NOT t."IsDeleted"',
        )
    again = mine.filter(pl.int_range(pl.len()).over("CampaignId", "person") > 0).select("_row")
    double = pl.concat([taken.select(pl.col("_row").cast(pl.UInt32)), again])
    rows.refuse_rows(double.select("_row", error("DUPLICATE_VALUE", "Already a campaign member.").alias("error")))
    if "LeadId" in rows.good.columns:
        _refuse_converted(writer, rows, "LeadId")


def _refuse_converted(writer: Writer, rows: Rows, column: str) -> None:
    lead = writer.schema.get("Lead")
    if lead is None or lead.field("IsConverted") is None or not rows.good.height:
        return
    with registered(writer.cursor, _mine=rows.good.select("_row", column)):
        bad = select(
            writer.cursor,
            f'SELECT m._row FROM _mine m JOIN "Lead" l ON l."Id" = m.{quote(column)} WHERE l."IsConverted"',
        )
    message = error("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")
    rows.refuse_rows(bad.select(pl.col("_row").cast(pl.UInt32), message.alias("error")))


def refuse_converted_leads(writer: Writer, rows: Rows) -> None:
    """A converted lead is not changed any more."""
    _refuse_converted(writer, rows, "Id")


def fill_members(writer: Writer, rows: Rows) -> None:
    """A member without status takes the campaign's default; its status says whether it has responded."""
    if writer.schema.get("CampaignMemberStatus") is None:
        return
    good = rows.good
    status = pl.col("Status") if "Status" in good.columns else pl.lit(None, dtype=pl.String).alias("Status")
    with registered(writer.cursor, _mine=good.select("CampaignId").unique()):
        known = select(
            writer.cursor,
            'SELECT s."CampaignId", s."Label", s."HasResponded", s."IsDefault" FROM "CampaignMemberStatus" s '
            'WHERE NOT s."IsDeleted" AND s."CampaignId" IN (SELECT "CampaignId" FROM _mine)',
        )
    usual = known.filter("IsDefault").unique("CampaignId").select("CampaignId", pl.col("Label").alias("_usual"))
    good = good.with_columns(status).join(usual, on="CampaignId", how="left", maintain_order="left")
    good = good.with_columns(pl.coalesce("Status", "_usual").alias("Status")).drop("_usual")
    responses = known.unique(["CampaignId", "Label"]).select(
        "CampaignId", pl.col("Label").alias("Status"), pl.col("HasResponded").alias("_responded")
    )
    good = good.join(responses, on=["CampaignId", "Status"], how="left", maintain_order="left")
    rows.good = good.with_columns(pl.col("_responded").fill_null(False).alias("HasResponded")).drop("_responded")


def add_member_statuses(writer: Writer, campaigns: pl.DataFrame) -> None:
    """A new campaign comes with the statuses Sent and Responded; `campaigns` holds `Id`."""
    sobject = writer.schema.get("CampaignMemberStatus")
    if sobject is None or not campaigns.height:
        return
    usual = pl.DataFrame(
        {
            "Label": ["Sent", "Responded"],
            "SortOrder": [3, 4],
            "IsDefault": [True, False],
            "HasResponded": [False, True],
        }
    )
    frame = campaigns.select(pl.col("Id").alias("CampaignId")).join(usual, how="cross")
    insert_frame(writer.cursor, sobject, writer.fill(sobject, frame))


def refuse_member_statuses(writer: Writer, rows: Rows) -> None:
    """A status label comes once a campaign."""
    if {"CampaignId", "Label"} - set(rows.good.columns):
        return
    mine = rows.good.select("_row", "CampaignId", pl.col("Label").str.to_lowercase().alias("label"))
    with registered(writer.cursor, _mine=mine):
        taken = select(
            writer.cursor,
            'SELECT DISTINCT m._row FROM _mine m JOIN "CampaignMemberStatus" t ON t."CampaignId" = m."CampaignId" '
            'AND lower(t."Label") = m.label WHERE NOT t."IsDeleted"',
        )
    again = mine.filter(pl.int_range(pl.len()).over("CampaignId", "label") > 0).select("_row")
    double = pl.concat([taken.select(pl.col("_row").cast(pl.UInt32)), again])
    message = "Duplicate status label for this campaign"
    rows.refuse_rows(double.select("_row", error("DUPLICATE_VALUE", message, "Label").alias("error")))


def one_default_status(writer: Writer, ids: pl.DataFrame) -> None:
    """The status made default last is the campaign's only default; `ids` holds `Id` of rows just written."""
    with registered(writer.cursor, _mine=ids.select("Id")):
        writer.cursor.execute(
            'UPDATE "CampaignMemberStatus" AS t SET "IsDefault" = false FROM '
            '(SELECT "CampaignId", max("Id") AS keep FROM "CampaignMemberStatus" WHERE "IsDefault" '
            'AND "Id" IN (SELECT "Id" FROM _mine) GROUP BY "CampaignId") s '
            'WHERE t."CampaignId" = s."CampaignId" AND t."Id" <> s.keep AND t."IsDefault"'
        )


def refuse_activities(rows: Rows) -> None:
    """An activity with a lead has no related record."""
    if {"WhoId", "WhatId"} <= set(rows.good.columns):
        lead = pl.col("WhoId").str.starts_with("00Q") & pl.col("WhatId").is_not_null()
        message = "Related To ID: cannot be set when the name is a lead"
        rows.refuse([(lead, error("FIELD_INTEGRITY_EXCEPTION", message, "WhatId"))])


def refuse_events(rows: Rows) -> None:
    """An event has a time: a start with an end or length, or a day."""
    have = set(rows.good.columns)

    def given(*names: str) -> pl.Expr:
        known = [pl.col(name).is_not_null() for name in names if name in have]
        return pl.any_horizontal(known) if known else pl.lit(False)

    whole_day = pl.col("IsAllDayEvent").fill_null(False) if "IsAllDayEvent" in have else pl.lit(False)
    timeless = (
        pl.when(whole_day)
        .then(~given("ActivityDate", "ActivityDateTime", "StartDateTime"))
        .otherwise(~(given("StartDateTime", "ActivityDateTime") & given("EndDateTime", "DurationInMinutes")))
    )
    message = "Required fields are missing: [StartDateTime, EndDateTime]"
    rows.refuse([(timeless, error("REQUIRED_FIELD_MISSING", message, "StartDateTime, EndDateTime"))])


def time_events(rows: Rows) -> None:
    """Start, end, length and day of an event follow from each other."""
    good = rows.good
    absent = {
        "StartDateTime": pl.Datetime("us"),
        "ActivityDateTime": pl.Datetime("us"),
        "EndDateTime": pl.Datetime("us"),
        "ActivityDate": pl.Date(),
        "DurationInMinutes": pl.Int64(),
    }
    good = good.with_columns(
        [pl.lit(None, dtype=dtype).alias(name) for name, dtype in absent.items() if name not in good.columns]
    )
    start = pl.coalesce("StartDateTime", "ActivityDateTime", pl.col("ActivityDate").cast(pl.Datetime("us")))
    good = good.with_columns(start.alias("StartDateTime"), start.alias("ActivityDateTime"))
    length = (pl.col("EndDateTime") - pl.col("StartDateTime")).dt.total_minutes()
    end = pl.col("StartDateTime") + pl.duration(minutes=pl.col("DurationInMinutes"))
    rows.good = good.with_columns(
        pl.coalesce("DurationInMinutes", length).alias("DurationInMinutes"),
        pl.coalesce(pl.col("EndDateTime"), end).alias("EndDateTime"),
        pl.coalesce("ActivityDate", pl.col("StartDateTime").dt.date()).alias("ActivityDate"),
    )


def account_of_activity(writer: Writer, rows: Rows) -> None:
    """An activity belongs to the account of what or whom it is about."""
    sources = {"Account": "Id", "Contact": "AccountId", "Opportunity": "AccountId", "Case": "AccountId",
               "Contract": "AccountId", "Order": "AccountId"}  # fmt: skip
    known = [column for column in ("WhatId", "WhoId") if column in rows.good.columns]
    if not known:
        return
    parts = [
        f'SELECT "Id" AS id, {quote(column)} AS account FROM {quote(name)}'
        for name, column in sources.items()
        if (item := writer.schema.get(name)) is not None and item.field(column) is not None
    ]
    wanted = pl.concat([rows.good.select(pl.col(column).alias("id")) for column in known]).drop_nulls().unique()
    if not parts or not wanted.height:
        return
    with registered(writer.cursor, _ids=wanted):
        found = select(
            writer.cursor,
            f"SELECT * FROM ({' UNION ALL '.join(parts)}) WHERE id IN (SELECT id FROM _ids) AND account IS NOT NULL",
        )
    good = rows.good
    for column in known:
        good = good.join(
            found.select(pl.col("id").alias(column), pl.col("account").alias(f"_account.{column}")),
            on=column,
            how="left",
            maintain_order="left",
        )
    names = [f"_account.{column}" for column in known]
    rows.good = good.with_columns(pl.coalesce(names).alias("AccountId")).drop(names)


def refuse_circles(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """Take out updates that would make a record its own ancestor in a hierarchy."""
    for name in HIERARCHIES:
        field = sobject.field(name)
        if field is None or name not in rows.good.columns or field.reference_to != (sobject.name,):
            continue
        moved = rows.good.filter(pl.col(name).is_not_null()).select("_row", "Id", pl.col(name).alias("parent"))
        front = moved.select("_row", "Id", "parent")
        circles: list[pl.DataFrame] = []
        for _ in range(LEVELS):
            closed = front.filter(pl.col("parent") == pl.col("Id"))
            circles.append(closed.select("_row"))
            front = front.filter(pl.col("parent") != pl.col("Id"))
            if not front.height:
                break
            with registered(writer.cursor, _front=front, _moved=moved.select("Id", "parent").unique("Id")):
                front = select(
                    writer.cursor,
                    f'SELECT f._row, f."Id", coalesce(m.parent, t.{quote(name)}) AS parent FROM _front f '
                    f'LEFT JOIN _moved m ON m."Id" = f.parent LEFT JOIN {quote(sobject.name)} t ON t."Id" = f.parent '
                    f"WHERE coalesce(m.parent, t.{quote(name)}) IS NOT NULL",
                )
        hit = pl.concat([part.select(pl.col("_row").cast(pl.UInt32)) for part in circles])
        message = f"Circular dependency found: {field.label}"
        rows.refuse_rows(hit.select("_row", error("CIRCULAR_DEPENDENCY", message, name).alias("error")))
