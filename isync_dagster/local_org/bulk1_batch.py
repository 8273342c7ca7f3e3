"""One Bulk 1.0 batch: rows of CSV, JSON or XML through the row rules, or a query into its result."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

import polars as pl

from isync_dagster.local_org.asking import compile_as
from isync_dagster.local_org.deletes import delete_rows
from isync_dagster.local_org.dml import OUTCOME, Writer
from isync_dagster.local_org.ids import id_range
from isync_dagster.local_org.json_rows import read_records
from isync_dagster.local_org.relations import BadRelation, Relation, read_relation, resolve
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.soql import SoqlError, records, run
from isync_dagster.local_org.unique import CHUNK
from isync_dagster.local_org.values import CLEAR
from isync_dagster.local_org.web import ApiError
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.bulk1_jobs import Batch, Bulk1Job, Bulk1Jobs
    from isync_dagster.local_org.local_org import LocalOrg

MOST_ROWS: Final = 10_000
NULL: Final = "#N/A"
NIL: Final = "{http://www.w3.org/2001/XMLSchema-instance}nil"
TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"


class BatchFailure(Exception):
    """The whole batch fails with this state message."""


def run_batch(jobs: Bulk1Jobs, job: Bulk1Job, batch: Batch) -> None:
    """Work a batch off; its outcome or result is on disk afterwards."""
    content = (jobs.path(job) / f"{batch.id}.request").read_bytes()
    if job.operation in ("query", "queryAll"):
        _query(jobs, job, batch, content.decode("utf-8", "replace").strip())
        return
    path = outcome_path(jobs, job, batch.id)
    done = jobs.org.storage.rows("SELECT 1 FROM _org.bulk1_batches WHERE batch = ?", [batch.id])
    outcome = pl.read_parquet(path) if done else _write(jobs, job, batch, content, path)
    batch.processed = outcome.height
    batch.failed = outcome["error"].drop_nulls().len()


def outcome_path(jobs: Bulk1Jobs, job: Bulk1Job, batch_id: str) -> Path:
    """Where the outcome of a batch of rows lies."""
    return jobs.path(job) / f"{batch_id}.outcome.parquet"


def _write(jobs: Bulk1Jobs, job: Bulk1Job, batch: Batch, content: bytes, path: Path) -> pl.DataFrame:
    org = jobs.org
    sobject = org.schema[job.object]
    try:
        frame, relations = _rows(jobs, job, sobject, content)
    except BadRelation as error:
        raise BatchFailure(f"InvalidBatch : {error}") from error
    except ApiError as error:
        raise BatchFailure(f"InvalidBatch : {error.message}") from error
    if frame.height > MOST_ROWS:
        raise BatchFailure(f"InvalidBatch : Number of records exceeds maximum allowed: {MOST_ROWS}")
    columns = {name.lower() for name in frame.columns} - {"_row"}
    _check_columns(job, columns)
    positions = {column: number for number, column in enumerate(frame.columns[1:])}
    own = any(relation.parent.name == sobject.name for relation in relations)
    temporary = path.with_suffix(".tmp")
    with org.storage.transaction() as cursor:
        writer = Writer(org.schema, org.storage, cursor, org.actor(job.created_by), positions)
        pieces = frame.iter_slices(CHUNK) if own else [frame]
        number = job.batches.index(batch)
        saved = [_save(org, writer, job, number, sobject, piece, relations) for piece in pieces]
        outcome = pl.concat(saved).sort("_row")
        outcome.write_parquet(temporary, compression="lz4")
        cursor.execute("INSERT INTO _org.bulk1_batches VALUES (?)", [batch.id])
        temporary.replace(path)
    return outcome


def _check_columns(job: Bulk1Job, columns: set[str]) -> None:
    if job.operation in ("delete", "hardDelete") and columns != {"id"}:
        raise BatchFailure("InvalidBatch : Delete batches must contain only Ids")
    if job.operation == "update" and "id" not in columns:
        raise BatchFailure("InvalidBatch : Field name not found : Id")
    if job.operation == "upsert" and (job.external_id or "").lower() not in columns:
        raise BatchFailure(f"InvalidBatch : Field name not found : {job.external_id}")


def _save(
    org: LocalOrg,
    writer: Writer,
    job: Bulk1Job,
    number: int,
    sobject: SObject,
    frame: pl.DataFrame,
    relations: list[Relation],
) -> pl.DataFrame:
    rows = Rows(frame)
    for relation in relations:
        resolve(rows, writer.cursor, sobject, relation)
    org.conditions.refuse_contended(rows, sobject, job.id, number, serial=job.concurrency_mode == "Serial")
    good = rows.good
    if not good.height:
        outcome = pl.DataFrame(schema=OUTCOME)
    elif job.operation == "insert":
        outcome = writer.insert(sobject, good)
    elif job.operation == "update":
        outcome = writer.update(sobject, good)
    elif job.operation == "upsert":
        outcome = writer.upsert(sobject, good, job.external_id or "Id")
    else:
        outcome = delete_rows(writer, sobject, good, hard=job.operation == "hardDelete")
    refused = rows.refused().select(
        "_row", pl.lit(None, dtype=pl.String).alias("id"), pl.lit(False).alias("created"), "error"
    )
    return pl.concat([outcome.select(list(OUTCOME)), refused])


def _rows(jobs: Bulk1Jobs, job: Bulk1Job, sobject: SObject, content: bytes) -> tuple[pl.DataFrame, list[Relation]]:
    schema = jobs.org.schema
    if job.kind == "JSON":
        read = read_records(schema, sobject, _json_records(content), id_allowed=job.operation != "insert")
        return read.frame, list(read.relations)
    texts = _csv_texts(content) if job.kind == "CSV" else _xml_texts(content)
    relations: list[Relation] = []
    exprs: list[pl.Expr] = []
    for column in texts.columns:
        value = pl.col(column).replace(NULL, CLEAR)
        if "." in column:
            relations.append(read_relation(schema, sobject, column))
            exprs.append(value)
            continue
        field = sobject.field(column)
        if field is None or field.type in ("address", "location"):
            raise BatchFailure(f"InvalidBatch : Field name not found : {column}")
        exprs.append(value.alias(field.name))
    return texts.select(pl.int_range(texts.height, dtype=pl.UInt32).alias("_row"), *exprs), relations


def _json_records(content: bytes) -> list[dict[str, Any]]:
    try:
        found = json.loads(content, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise BatchFailure(f"InvalidBatch : Failed to parse JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BatchFailure("InvalidBatch : Failed to parse JSON: expected an array of objects")
    return found


def _csv_texts(content: bytes) -> pl.DataFrame:
    if not content.strip():
        raise BatchFailure("InvalidBatch : Failed to parse CSV header: The input is empty")
    try:
        frame = pl.read_csv(content, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise BatchFailure(f"InvalidBatch : Failed to parse CSV: {str(error).splitlines()[0]}") from error
    # A carriage return that ends the line is no part of the last cell.
    last = frame.columns[-1]
    if last.endswith("\r"):
        frame = frame.rename({last: last[:-1]}).with_columns(pl.col(last[:-1]).str.strip_suffix("\r"))
    return frame.with_columns(pl.when(pl.all() != "").then(pl.all()))


def _xml_texts(content: bytes) -> pl.DataFrame:
    """`<sObjects><sObject><Name>..</Name></sObject></sObjects>`; a nested element names a parent by its key."""
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise BatchFailure(f"InvalidBatch : Failed to parse XML: {error}") from error
    rows: list[dict[str, str | None]] = []
    for element in root:
        row: dict[str, str | None] = {}
        for item in element:
            name = item.tag.rpartition("}")[2]
            if name == "type":
                continue
            parents = [key for parent in item for key in ([parent] if not len(parent) else parent)]
            if parents:
                keys = {key.tag.rpartition("}")[2]: key.text for key in parents}
                kind = keys.pop("type", None)
                for key, text in keys.items():
                    row[f"{kind}:{name}.{key}" if kind else f"{name}.{key}"] = text
            else:
                row[name] = CLEAR if item.get(NIL) == "true" else item.text or None
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pl.DataFrame(
        [{name: row.get(name) for name in names} for row in rows], schema=dict.fromkeys(names, pl.String)
    )


def _query(jobs: Bulk1Jobs, job: Bulk1Job, batch: Batch, text: str) -> None:
    org = jobs.org
    try:
        compiled = compile_as(
            org,
            text,
            user_id=job.created_by,
            version=job.api_version,
            include_deleted=job.operation == "queryAll",
            bulk=job.kind == "CSV",
        )
    except SoqlError as error:
        raise BatchFailure(f"InvalidBatch : Failed to process query: {error.code}: {error.message}") from error
    if compiled.sobject.name != job.object:
        raise BatchFailure(
            "InvalidBatch : Failed to process query: INVALID_TYPE_FOR_OPERATION: The root entity of the requested "
            f"query ({compiled.sobject.name}) does not match the entity of the requested Bulk API Job ({job.object})."
        )
    with org.storage.cursor() as cursor:
        if job.kind == "CSV":
            table = cursor.sql(compiled.bulk_sql(), params=compiled.params or None).to_arrow_table()
            frame = pl.from_arrow(table)
            assert isinstance(frame, pl.DataFrame)
            frame = frame.rename(dict(zip(frame.columns, compiled.header, strict=True)))
            result = frame.write_csv(quote_style="always", null_value="").encode()
            count = frame.height
        else:
            rows = records(run(cursor, compiled), compiled, version=job.api_version)
            result = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
            count = len(rows)
    with org.storage.transaction():
        number = org.storage.count_up("bulk results", 1)
    result_id = str(id_range("752", org.storage.pod, number, 1)[0])[:15]
    path = jobs.path(job) / f"{result_id}.result"
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(result)
    temporary.replace(path)
    batch.result, batch.processed = result_id, count
