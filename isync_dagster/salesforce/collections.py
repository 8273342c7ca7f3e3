"""The sObject collections API: up to 200 rows a call, answers in the order of the rows.

It is the way for values that Bulk CSV cannot carry and for few rows. A lost answer of an insert is UnknownOutcome;
updates and upserts by external id give the same record when repeated, so they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from isync_dagster.errors import RequestError, UnknownOutcome
from isync_dagster.salesforce.meter import active_meters
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.model import NUMBER_TYPES, Field

Operation = Literal["insert", "update", "upsert", "delete"]

ROWS_A_CALL = 200
CLEARED = "#N/A"
RESULT_SCHEMA: Mapping[str, pl.DataType] = {
    "_row": pl.UInt32(),
    "target_id": pl.String(),
    "created": pl.Boolean(),
    "code": pl.String(),
    "message": pl.String(),
    "fields": pl.String(),
}

_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
# One value that is no JSON for its field makes Salesforce refuse the whole call before it looks at any row.
_SINKS_THE_CALL = frozenset(
    {"JSON_PARSER_ERROR", "INVALID_TYPE_ON_FIELD_IN_RECORD", "MALFORMED_ID", "INVALID_ID_FIELD"}
)


@dataclass(frozen=True)
class Headers:
    """What automation may do with the rows: by default no assignment rule runs, and duplicate rules refuse rows.

    `allow_duplicates` passes duplicate rules of the alert kind; those that block refuse the row all the same.
    """

    assignment_rules: bool = False
    allow_duplicates: bool = False

    def as_dict(self) -> dict[str, str]:
        """The HTTP headers."""
        headers = {"Sforce-Auto-Assign": "TRUE" if self.assignment_rules else "FALSE", "Sforce-Mru": "updateMru=false"}
        if self.allow_duplicates:
            headers["Sforce-Duplicate-Rule-Header"] = (
                "allowSave=true; includeRecordDetails=false; runAsCurrentUser=true"
            )
        return headers


class Collections:
    """Rows by the collections API of an org.

    Frames hold wire strings, one column a field; null is absent, `#N/A` clears the field. Where a frame has a column
    `_clear` (list of field names), those are cleared instead and `#N/A` is plain text. `_row` (any integer) numbers
    the rows, else their position does; other columns that start with `_` are not sent. `fields` tells which columns
    are JSON numbers and booleans.
    """

    def __init__(self, org: Org, headers: Headers | None = None) -> None:
        self._org = org
        self._headers = (headers or Headers()).as_dict()

    def insert(self, sobject: str, frame: pl.DataFrame, fields: Iterable[Field]) -> pl.DataFrame:
        """Insert; UnknownOutcome where an answer was lost. Columns as in RESULT_SCHEMA, in the order of the rows."""
        return _joined(self.send("insert", sobject, frame, fields))

    def update(self, sobject: str, frame: pl.DataFrame, fields: Iterable[Field]) -> pl.DataFrame:
        """Update by the column `Id`."""
        return _joined(self.send("update", sobject, frame, fields))

    def upsert(self, sobject: str, frame: pl.DataFrame, fields: Iterable[Field], external_id: str) -> pl.DataFrame:
        """Insert or update by the external id field, which is a column of the frame."""
        return _joined(self.send("upsert", sobject, frame, fields, external_id=external_id))

    def delete(self, sobject: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Delete by the column `Id`; UnknownOutcome where an answer was lost."""
        return _joined(self.send("delete", sobject, frame, ()))

    def send(
        self,
        operation: Operation,
        sobject: str,
        frame: pl.DataFrame,
        fields: Iterable[Field],
        *,
        external_id: str | None = None,
    ) -> Iterator[pl.DataFrame]:
        """The results call by call (200 rows each), so that each can be recorded before the next one goes out."""
        rows = frame if "_row" in frame.columns else frame.with_row_index("_row")
        rows = rows.select(
            pl.col("_row").cast(pl.UInt32),
            (pl.col("Id") if operation == "delete" else _json_records(sobject, frame, fields)).alias("_json"),
        )
        for batch in rows.iter_slices(ROWS_A_CALL):
            yield self._batch(operation, sobject, batch, external_id)

    def _batch(self, operation: Operation, sobject: str, batch: pl.DataFrame, external_id: str | None) -> pl.DataFrame:
        """One call; a batch that one bad value sank is halved until the value stands alone (nothing was done)."""
        try:
            answers = self._call(operation, sobject, batch["_json"], external_id)
        except RequestError as error:
            details = error.details
            if details.get("status") != 400 or details.get("code") not in _SINKS_THE_CALL:
                raise
            if batch.height == 1:
                return _refused(batch, str(details["code"]), str(error), details.get("fields", ()))
            half = batch.height // 2
            return pl.concat(
                [
                    self._batch(operation, sobject, batch[:half], external_id),
                    self._batch(operation, sobject, batch[half:], external_id),
                ]
            )
        if len(answers) != batch.height:
            raise UnknownOutcome(
                f"org '{self._org.alias}': {operation} of {batch.height} {sobject} rows got {len(answers)} answers"
            )
        return _results(batch["_row"], answers, default_created=operation == "insert")

    def _call(
        self, operation: Operation, sobject: str, rows: pl.Series, external_id: str | None
    ) -> list[dict[str, Any]]:
        if operation == "delete":
            params = {"ids": ",".join(rows.to_list()), "allOrNone": "false"}
            answer = self._org.request(
                "DELETE", "composite/sobjects", params=params, headers=self._headers, repeatable=False
            )
        else:
            body = b'{"allOrNone":false,"records":[' + ",".join(rows.to_list()).encode() + b"]}"
            upsert = operation == "upsert"
            path = f"composite/sobjects/{sobject}/{external_id}" if upsert else "composite/sobjects"
            answer = self._org.request(
                "POST" if operation == "insert" else "PATCH",
                path,
                body=body,
                headers={**self._headers, "Content-Type": "application/json; charset=UTF-8"},
                # an upsert on Id inserts where the Id is empty, so it is no safer than an insert
                repeatable=operation == "update" or (upsert and (external_id or "").lower() != "id"),
            )
            for meter in active_meters():
                meter.add_bytes(sent=len(body))
        found: list[dict[str, Any]] = answer.json()
        return found


def _json_records(sobject: str, frame: pl.DataFrame, fields: Iterable[Field]) -> pl.Expr:
    """One JSON object a row, as text: built by column expressions, so that a row costs no Python."""
    types = {field.name.lower(): field.type for field in fields}
    explicit = "_clear" in frame.columns
    members = [
        _member(name, types.get(name.lower(), "string"), explicit) for name in frame.columns if not name.startswith("_")
    ]
    start = pl.lit(f'"attributes":{{"type":"{sobject}"}}')
    return pl.concat_str(pl.lit("{"), pl.concat_str([start, *members], separator=",", ignore_nulls=True), pl.lit("}"))


def _member(name: str, kind: str, explicit: bool) -> pl.Expr:
    """`"Name":value` of a column as text, null where the field is absent from the row."""
    value = pl.col(name)
    relationship, dot, last = name.rpartition(".")
    key = last if dot else ("id" if name.lower() == "id" else name)
    text = pl.struct(value.alias(key)).struct.json_encode()
    member = text if dot else text.str.slice(1).str.head(-1)
    plain = f'{{"{key}":' if dot else f'"{key}":'
    end = "}" if dot else ""
    if kind in NUMBER_TYPES or kind == "int":
        number = pl.concat_str(pl.lit(plain), value, pl.lit(end))
        member = pl.when(value.str.contains(_NUMBER)).then(number).otherwise(member)
    elif kind == "boolean":
        lower = value.str.to_lowercase()
        yes, no = pl.lit(f"{plain}true{end}"), pl.lit(f"{plain}false{end}")
        member = (
            pl.when(lower.is_in(["true", "1"])).then(yes).when(lower.is_in(["false", "0"])).then(no).otherwise(member)
        )
    cleared = pl.col("_clear").list.contains(pl.lit(name)).fill_null(False) if explicit else value == CLEARED
    member = pl.when(cleared).then(pl.lit(f"{plain}null{end}")).when(value.is_not_null()).then(member)
    return pl.concat_str(pl.lit(f'"{relationship}":'), member) if dot else member


def _results(rows: pl.Series, answers: list[dict[str, Any]], *, default_created: bool) -> pl.DataFrame:
    """The answers of one call as a frame; several errors of a row are joined, the first one's code counts."""
    errors = [answer.get("errors") or [] for answer in answers]
    good = [bool(answer.get("success")) for answer in answers]
    return pl.DataFrame(
        {
            "_row": rows,
            "target_id": [answer.get("id") or None for answer in answers],
            "created": [
                bool(answer.get("created", default_created)) if success else None
                for answer, success in zip(answers, good, strict=True)
            ],
            "code": [
                None if success else str((found[0] if found else {}).get("statusCode") or "UNKNOWN_EXCEPTION")
                for found, success in zip(errors, good, strict=True)
            ],
            "message": [
                None if success else "; ".join(str(error.get("message") or "") for error in found)
                for found, success in zip(errors, good, strict=True)
            ],
            "fields": [
                ", ".join(dict.fromkeys(name for error in found for name in error.get("fields") or ())) or None
                for found in errors
            ],
        },
        schema=dict(RESULT_SCHEMA),
    )


def _refused(batch: pl.DataFrame, code: str, message: str, fields: Iterable[str]) -> pl.DataFrame:
    """The one row that sank its call, as a refused row."""
    return batch.select(
        "_row",
        target_id=pl.lit(None, pl.String),
        created=pl.lit(None, pl.Boolean),
        code=pl.lit(code),
        message=pl.lit(message),
        fields=pl.lit(", ".join(fields) or None, pl.String),
    )


def _joined(frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=dict(RESULT_SCHEMA)), *frames])
