"""Bulk 2.0 query: one execution of the query kept as Parquet, served as CSV pages by locator."""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from isync_dagster.local_org.asking import compile_as
from isync_dagster.local_org.soql import SoqlError

if TYPE_CHECKING:
    from isync_dagster.local_org.bulk_jobs import BulkJobs, Job

RESULT = "result.parquet"
READ_ROWS = 50_000
SELECT_ORDER_FROM = 50.0  # results of older versions have their columns by name


def run_query(jobs: BulkJobs, job: Job) -> str | None:
    """Run the query and keep its rows as text; gives the job's error message, or None."""
    org = jobs.org
    assert job.query is not None
    try:
        compiled = compile_as(
            org,
            job.query,
            user_id=job.created_by,
            version=job.api_version,
            include_deleted=job.operation == "queryAll",
            bulk=True,
        )
    except SoqlError as error:
        return f"{error.code}: {error}"
    target = jobs.path(job) / RESULT
    temporary = target.with_suffix(".tmp")
    with org.storage.cursor() as cursor:
        reader = cursor.sql(compiled.bulk_sql(), params=compiled.params or None).to_arrow_reader(READ_ROWS)
        schema = pa.schema([(name, pa.string()) for name in compiled.header])
        options = {"compression": "snappy", "use_dictionary": False, "write_statistics": False}
        with pq.ParquetWriter(temporary, schema, **options) as out:
            for batch in reader:
                if jobs.stopped(job):
                    return None
                out.write_batch(batch.rename_columns(list(compiled.header)).cast(schema))
                job.processed += batch.num_rows
    temporary.replace(target)
    return None


def page(result: Path, job: Job, offset: int, rows: int) -> bytes:
    """Rows of a finished query as CSV with its own header line, every value quoted."""
    frame = pl.scan_parquet(result).slice(offset, rows).collect()
    if float(job.api_version) < SELECT_ORDER_FROM:
        frame = frame.select(sorted(frame.columns))
    return write_csv(frame, job)


def write_csv(frame: pl.DataFrame, job: Job) -> bytes:
    """A frame of String columns as the CSV that Bulk writes: all quoted, the job's delimiter and line end."""
    content = io.BytesIO()  # bytes from the start: a text of this size would be decoded and encoded for nothing
    frame.write_csv(content, separator=job.separator, line_terminator=job.line_end, quote_style="always", null_value="")
    return content.getvalue()


def locator(offset: int) -> str:
    """An opaque text that names a place in a result.

    >>> locator(10000), offset_of("MTAwMDA")
    ('MTAwMDA', 10000)
    """
    return base64.urlsafe_b64encode(str(offset).encode()).decode().rstrip("=")


def offset_of(text: str) -> int | None:
    """The place that a locator names; None where it is none of ours."""
    try:
        return int(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    except (binascii.Error, ValueError):
        return None
