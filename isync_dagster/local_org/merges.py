"""Merging records: one stays, its losers go to the recycle bin and their children move to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl

from isync_dagster.local_org.deletes import children_of, delete_rows
from isync_dagster.local_org.dml import Writer
from isync_dagster.local_org.ids import is_id, to18
from isync_dagster.local_org.json_rows import read_records
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.relations import resolve
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.storage import registered, select
from isync_dagster.local_org.writes import Undo, results
from isync_dagster.schema.model import SObject

MERGEABLE: Final = ("Account", "Contact", "Lead", "Case")
MOST_LOSERS: Final = 2


def merge(org: LocalOrg, user_id: str, master: Mapping[str, Any], losers: Sequence[str]) -> dict[str, Any]:
    """Merge losers into the master record, which takes the values it comes with; one all-or-nothing result."""
    kind = str(master.get("attributes", {}).get("type") or "")
    sobject = org.schema.get(kind)
    winner = str(master.get("Id") or "")
    if sobject is None or sobject.name not in MERGEABLE:
        return _refused(winner, "INVALID_TYPE", f"sObject type '{kind}' is not supported in merge.")
    if not 1 <= len(losers) <= MOST_LOSERS:
        return _refused(winner, "INVALID_NUMBER_FOR_MERGE" if losers else "REQUIRED_FIELD_MISSING",
                        "Two or three records are merged in one request.")  # fmt: skip
    for record_id in (winner, *losers):
        if not is_id(record_id) or record_id[:3] != sobject.key_prefix:
            return _refused(winner, "MALFORMED_ID", f"malformed id {record_id}")
    winner, lost = to18(winner), [to18(item) for item in losers]
    if winner in lost or len(set(lost)) < len(lost):
        return _refused(winner, "MERGE_FAILED", "A record cannot be merged with itself.")
    try:
        with org.storage.transaction() as cursor:
            writer = Writer(org.schema, org.storage, cursor, org.actor(user_id))
            moved = _merge(writer, sobject, dict(master), winner, lost)
    except Undo as undo:
        found = undo.results[0]
        return {
            "id": winner,
            "success": False,
            "errors": found["errors"],
            "mergedRecordIds": [],
            "updatedRelatedIds": [],
        }
    return {"id": winner, "success": True, "errors": [], "mergedRecordIds": lost, "updatedRelatedIds": moved}


def _refused(winner: str, code: str, message: str) -> dict[str, Any]:
    problem = {"statusCode": code, "message": message, "fields": []}
    return {"id": winner or None, "success": False, "errors": [problem], "mergedRecordIds": [], "updatedRelatedIds": []}


def _merge(writer: Writer, sobject: SObject, master: dict[str, Any], winner: str, lost: list[str]) -> list[str]:
    """Does the work within a transaction; gives the ids of the children that moved."""
    read = read_records(writer.schema, sobject, [master], id_allowed=True)
    rows = Rows(read.frame)
    for relation in read.relations:
        resolve(rows, writer.cursor, sobject, relation)
    if rows.good.height:
        _insist(writer.update(sobject, rows.good))
    moved: list[str] = []
    gone = pl.DataFrame({"Id": lost})
    for other, child in children_of(writer, sobject):
        column, table = quote(child.field), quote(other.name)
        with registered(writer.cursor, _gone=gone):
            below = select(
                writer.cursor,
                f'SELECT "Id" FROM {table} WHERE {column} IN (SELECT "Id" FROM _gone) AND NOT "IsDeleted" '
                'AND "Id" NOT IN (SELECT "Id" FROM _gone) AND "Id" <> $winner',
                {"winner": winner},
            )
            if below.height and child.field != "MasterRecordId":
                with registered(writer.cursor, _moved=below):
                    writer.cursor.execute(
                        f'UPDATE {table} SET {column} = $winner, "SystemModstamp" = $now '
                        'WHERE "Id" IN (SELECT "Id" FROM _moved)',
                        {"winner": winner, "now": writer.actor.now},
                    )
                moved += below["Id"].to_list()
    frame = pl.DataFrame({"_row": range(len(lost)), "Id": lost}, schema={"_row": pl.UInt32, "Id": pl.String})
    _insist(delete_rows(writer, sobject, frame))
    if sobject.field("MasterRecordId") is not None:
        with registered(writer.cursor, _gone=gone):
            writer.cursor.execute(
                f'UPDATE {quote(sobject.name)} SET "MasterRecordId" = $winner WHERE "Id" IN (SELECT "Id" FROM _gone)',
                {"winner": winner},
            )
    return moved


def _insist(outcome: pl.DataFrame) -> None:
    """End the transaction where a row was refused."""
    refused = [item for item in results(outcome) if not item["success"]]
    if refused:
        raise Undo(refused)
