"""Person accounts: an account and its contact in one, in an org whose Account has `IsPersonAccount`.

The record type decides the kind. A person has a last name and no Name of its own (it is composed); a business has a
Name and none of the parts of a person's name. Each person brings a contact that follows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.rules import SET
from isync_dagster.local_org.storage import insert_frame, registered, select
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer

PARTS: Final = ("Salutation", "FirstName", "MiddleName", "LastName", "Suffix")
NAMED: Final = ("FirstName", "MiddleName", "LastName", "Suffix")  # what the composed name is made of


def has_persons(writer: Writer) -> bool:
    """Whether the org knows person accounts."""
    account = writer.schema.get("Account")
    return (
        account is not None
        and account.field("IsPersonAccount") is not None
        and (writer.schema.get("Contact") is not None)
    )


def refuse_mixed_names(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """Refuse new accounts whose name does not fit their kind; the others are marked in `_person`."""
    if not has_persons(writer):
        return
    types = select(writer.cursor, 'SELECT "Id" FROM "RecordType" WHERE "IsPersonType"')["Id"].to_list()
    usual = next((info.record_type_id for info in sobject.record_type_infos if info.default_record_type_mapping), None)
    given = pl.col("RecordTypeId") if "RecordTypeId" in rows.good.columns else pl.lit(None, dtype=pl.String)
    person = given.fill_null(pl.lit(usual, dtype=pl.String)).is_in(types).fill_null(False)
    rows.good = rows.good.with_columns(person.alias("_person"))
    _refuse_mixed(rows)
    _refuse_missing(rows, "Name", ~pl.col("_person"))
    _refuse_missing(rows, "LastName", pl.col("_person"))


def refuse_mixed_changes(writer: Writer, rows: Rows) -> None:
    """Refuse changes of a name that does not fit the kind of the account."""
    if not has_persons(writer) or not {"Name", *PARTS} & set(rows.good.columns):
        return
    with registered(writer.cursor, _mine=rows.good.select("_row", "Id")):
        kinds = select(
            writer.cursor,
            'SELECT m._row, coalesce(a."IsPersonAccount", FALSE) AS _person FROM _mine m '
            'LEFT JOIN "Account" a ON a."Id" = m."Id"',
        ).with_columns(pl.col("_row").cast(pl.UInt32))
    rows.good = rows.good.join(kinds, on="_row", how="left", maintain_order="left")
    _refuse_mixed(rows)
    rows.good = rows.good.drop("_person")


def _refuse_mixed(rows: Rows) -> None:
    checks: list[tuple[pl.Expr, pl.Expr]] = []
    for name in ("Name", *PARTS):
        if name in rows.good.columns:
            kind = pl.col("_person") if name == "Name" else ~pl.col("_person")
            message = (
                f"Unable to create/update fields: {name}. Please check the security settings of this field and verify "
                "that it is read/write for your profile or permission set."
            )
            checks.append((kind & pl.col(name).is_not_null(), error("INVALID_FIELD_FOR_INSERT_UPDATE", message, name)))
    rows.refuse(checks)


def _refuse_missing(rows: Rows, name: str, kind: pl.Expr) -> None:
    empty = pl.col(name).is_null() if name in rows.good.columns else pl.lit(True)
    message = f"Required fields are missing: [{name}]"
    rows.refuse([(kind & empty, error("REQUIRED_FIELD_MISSING", message, name))])


def compose_persons(writer: Writer, rows: Rows) -> None:
    """Give new persons their name, their mark and the id of the contact that comes with them."""
    if "_person" not in rows.good.columns:
        return
    good = rows.good
    contact = writer.schema["Contact"]
    names = [name for name in NAMED if name in good.columns]
    whole = pl.concat_str(names, separator=" ", ignore_nulls=True) if names else pl.lit(None, dtype=pl.String)
    ids = writer.storage.new_ids(contact, int(good["_person"].sum()))
    place = (pl.col("_person").cum_sum() - 1).clip(0)
    own = pl.col("Name") if "Name" in good.columns else pl.lit(None, dtype=pl.String)
    contact_id = pl.when(pl.col("_person")).then(pl.lit(ids).gather(place)) if len(ids) else pl.lit(None, pl.String)
    rows.good = good.with_columns(
        pl.when(pl.col("_person")).then(whole).otherwise(own).alias("Name"),
        pl.col("_person").alias("IsPersonAccount"),
        contact_id.alias("PersonContactId"),
    ).drop("_person")


def add_contacts(writer: Writer, account: SObject, frame: pl.DataFrame) -> None:
    """Store the contacts of new persons."""
    if not has_persons(writer) or "PersonContactId" not in frame.columns:
        return
    persons = frame.filter(pl.col("PersonContactId").is_not_null())
    if persons.height:
        contact = writer.schema["Contact"]
        kept = {mine: theirs for mine, theirs in _pairs(account, contact).items() if mine in persons.columns}
        made = persons.select(
            pl.col("PersonContactId").alias("Id"),
            pl.col("Id").alias("AccountId"),
            "OwnerId",
            *[pl.col(mine).alias(theirs) for mine, theirs in kept.items()],
            *([pl.lit(True).alias("IsPersonAccount")] if contact.field("IsPersonAccount") is not None else []),
        )
        insert_frame(writer.cursor, contact, writer.fill(contact, made))


def follow_persons(writer: Writer, account: SObject, frame: pl.DataFrame) -> None:
    """Bring names and contacts of changed persons in step; `frame` holds `Id` of accounts just written."""
    if not has_persons(writer) or account.field("PersonContactId") is None:
        return
    contact = writer.schema["Contact"]
    names = [name for name in NAMED if account.field(name) is not None]
    whole = "concat_ws(' ', " + ", ".join(f"a.{quote(name)}" for name in names) + ")"
    sets = ", ".join(f"{quote(theirs)} = a.{quote(mine)}" for mine, theirs in _pairs(account, contact).items())
    with registered(writer.cursor, _mine=frame.select("Id")):
        if names:
            writer.cursor.execute(
                f'UPDATE "Account" AS a SET "Name" = {whole.replace("a.", "")} '
                'WHERE "IsPersonAccount" AND "Id" IN (SELECT "Id" FROM _mine)'
            )
        if sets:
            writer.cursor.execute(
                f'UPDATE "Contact" AS c SET {sets}, "SystemModstamp" = $now FROM "Account" a '
                'WHERE c."Id" = a."PersonContactId" AND a."Id" IN (SELECT "Id" FROM _mine)',
                {"now": writer.actor.now},
            )


def refuse_person_contacts(writer: Writer, rows: Rows, *, deleting: bool) -> None:
    """A person's contact is neither deleted nor moved to another account by itself."""
    contact = writer.schema["Contact"]
    if not has_persons(writer) or contact.field("IsPersonAccount") is None or not rows.good.height:
        return
    if not deleting and "AccountId" not in rows.good.columns and SET + "AccountId" not in rows.good.columns:
        return
    with registered(writer.cursor, _mine=rows.good.select("_row", "Id")):
        held = select(
            writer.cursor,
            'SELECT m._row FROM _mine m JOIN "Contact" c ON c."Id" = m."Id" WHERE c."IsPersonAccount"',
        )
    refusal = (
        error("INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
        if deleting
        else error(
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            "Unable to create/update fields: AccountId. Please check the security settings of this field and verify "
            "that it is read/write for your profile or permission set.",
            "AccountId",
        )
    )
    rows.refuse_rows(held.select(pl.col("_row").cast(pl.UInt32), refusal.alias("error")))


def _pairs(account: SObject, contact: SObject) -> dict[str, str]:
    """Account field -> the contact field that it shows: names, `PersonEmail` -> Email, `X__pc` -> `X__c`."""
    found: dict[str, str] = {}
    for field in account.fields:
        if field.name in PARTS:
            theirs = field.name
        elif field.name.endswith("__pc"):
            theirs = field.name.removesuffix("__pc") + "__c"
        elif field.name.startswith("Person") and field.name != "PersonContactId":
            theirs = field.name.removeprefix("Person")
        else:
            continue
        other = contact.field(theirs)
        if other is not None and other.type == field.type and other.type not in ("address", "location"):
            found[field.name] = other.name
    return found
