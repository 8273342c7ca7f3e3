"""Writing rows for JSON calls: one object or a mixed list, one transaction, results in order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from isync_dagster.local_org.deletes import delete_rows
from isync_dagster.local_org.dml import OUTCOME, Writer
from isync_dagster.local_org.json_rows import read_records
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.relations import resolve
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.values import error_detail, error_json
from isync_dagster.local_org.web import ApiError
from isync_dagster.schema.model import SObject

Result = dict[str, Any]

ROLLED_BACK = {
    "statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK",
    "message": "Record rolled back because not all records were valid and the request was using AllOrNone header",
    "fields": [],
}


class Refusal(dict[str, Any]):
    """One error of a row as JSON answers show it; `detail` is what only single-record calls show beside it."""

    detail: str | None = None


class Undo(Exception):
    """Ends a transaction without its effects; `results` are what the caller answers."""

    def __init__(self, results: list[Result]) -> None:
        super().__init__()
        self.results = results


def write(
    org: LocalOrg,
    user_id: str,
    operation: str,
    sobject: SObject,
    records: Sequence[Mapping[str, Any]],
    *,
    key: str | None = None,
) -> list[Result]:
    """Insert, update or upsert JSON records of one object: `{id, success, errors, created}` each, in order."""
    refuse_closed(sobject, "update" if operation == "update" else "create")
    read = read_records(org.schema, sobject, records, id_allowed=operation != "insert")
    with org.storage.transaction() as cursor:
        writer = Writer(org.schema, org.storage, cursor, org.actor(user_id))
        rows = Rows(read.frame)
        for relation in read.relations:
            resolve(rows, cursor, sobject, relation)
        org.conditions.refuse_held(rows, sobject)
        frame = rows.good
        if not frame.height:
            outcome = pl.DataFrame(schema=OUTCOME)
        elif operation == "insert":
            outcome = writer.insert(sobject, frame)
        elif operation == "update":
            outcome = writer.update(sobject, _with(frame, "Id"))
        else:
            assert key is not None
            outcome = writer.upsert(sobject, _with(frame, key), key)
        refused = rows.refused().select(
            "_row", pl.lit(None, dtype=pl.String).alias("id"), pl.lit(False).alias("created"), "error"
        )
        return results(pl.concat([outcome.select(list(OUTCOME)), refused]))


def delete(org: LocalOrg, user_id: str, sobject: SObject, ids: Sequence[str]) -> list[Result]:
    """Delete rows of one object by id, results in order."""
    refuse_closed(sobject, "delete")
    frame = pl.DataFrame({"_row": range(len(ids)), "Id": ids}, schema={"_row": pl.UInt32, "Id": pl.String})
    with org.storage.transaction() as cursor:
        writer = Writer(org.schema, org.storage, cursor, org.actor(user_id))
        rows = Rows(frame)
        org.conditions.refuse_held(rows, sobject)
        held = rows.refused().select(
            "_row", pl.lit(None, dtype=pl.String).alias("id"), pl.lit(False).alias("created"), "error"
        )
        if not rows.good.height:
            return results(held)
        return results(pl.concat([delete_rows(writer, sobject, rows.good).select(list(OUTCOME)), held]))


def refuse_closed(sobject: SObject, verb: str) -> None:
    """Refuse a call for an object that does not know the verb (create, update, delete)."""
    if not {"create": sobject.createable, "update": sobject.updateable, "delete": sobject.deletable}[verb]:
        raise ApiError(400, "INVALID_TYPE_FOR_OPERATION", f"entity type {sobject.name} does not support {verb}")


def _with(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    return frame if column in frame.columns else frame.with_columns(pl.lit(None, dtype=pl.String).alias(column))


def results(outcome: pl.DataFrame) -> list[Result]:
    """An outcome frame as the results of JSON calls."""
    answer: list[Result] = []
    for row in outcome.sort("_row").to_dicts():
        entry: Result = {}
        if row["id"]:
            entry["id"] = row["id"]
        entry["success"] = row["error"] is None
        entry["errors"] = [] if row["error"] is None else [_refusal(row["error"])]
        entry["created"] = row["created"]
        answer.append(entry)
    return answer


def _refusal(text: str) -> Refusal:
    made = Refusal(error_json(text))
    made.detail = error_detail(text)
    return made


def roll_back_if_refused(found: list[Result], *, creating: bool) -> None:
    """End the transaction where any row was refused: its error stays, every other row says it was rolled back."""
    if all(item["success"] for item in found):
        return
    undone: list[Result] = []
    for item in found:
        if not item["success"]:
            undone.append(item)
            continue
        entry: Result = {"success": False, "errors": [dict(ROLLED_BACK)], "created": False}
        if not creating and "id" in item:
            entry = {"id": item["id"], **entry}
        undone.append(entry)
    raise Undo(undone)


def refuse_single(found: Result) -> None:
    """The HTTP refusal of a single-record call whose row was refused."""
    if found["success"]:
        return
    problem = found["errors"][0]
    status = 404 if problem["statusCode"] in ("ENTITY_IS_DELETED", "NOT_FOUND") else 400
    detail = problem.detail if isinstance(problem, Refusal) else None
    raise ApiError(
        status,
        problem["statusCode"],
        problem["message"],
        problem["fields"],
        duplicates=json.loads(detail) if detail else None,
    )
