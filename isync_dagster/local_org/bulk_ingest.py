"""Bulk 2.0 ingest: an uploaded CSV through the row rules into the tables, window by window.

A window is a handful of 10,000-row batches committed together. Its outcome (row, id, created, error) is on disk
before its transaction ends, so what the result files say is what the tables hold, also after a kill.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from isync_dagster.local_org.conditions import TIMED_OUT, in_order
from isync_dagster.local_org.deletes import delete_rows
from isync_dagster.local_org.dml import OUTCOME, Writer
from isync_dagster.local_org.locks import contended_rows
from isync_dagster.local_org.relations import BadRelation, Relation, read_relation, resolve
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.scenarios.model import Timeouts
from isync_dagster.local_org.settings import OrgSettings
from isync_dagster.local_org.unique import CHUNK
from isync_dagster.local_org.values import CLEAR, wire_error
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.bulk_jobs import BulkJobs, Job

UPLOAD = "upload.csv"
NULL = "#N/A"


class _JobFailure(Exception):
    """The whole job fails with this message."""


@dataclass(frozen=True)
class Cut:
    """The next piece of an upload: rows saved together, whether a time-out follows, and whether it tells nothing."""

    rows: int
    timed_out: bool = False
    silent: bool = False


class Cuts:
    """Where an upload is cut into windows: many batches at once, or batch by batch where some time out."""

    def __init__(self, settings: OrgSettings, timeouts: Timeouts | None) -> None:
        self._window = settings.batch_rows * settings.batches_per_commit
        self._timeouts = timeouts

    def at(self, first: int) -> Cut:
        """The window that begins with row `first`."""
        found = self._timeouts
        if found is None:
            return Cut(self._window)
        batch, place = divmod(first, found.batch_rows)
        rest = found.batch_rows - place
        tries = place // found.committed_rows
        if batch not in found.batches or (tries >= found.retries and not found.fails):
            return Cut(rest)
        return Cut(min(found.committed_rows, rest), timed_out=True, silent=found.fails)


class IngestRun:
    """One pass over a job's upload."""

    def __init__(self, jobs: BulkJobs, job: Job) -> None:
        self.jobs = jobs
        self.job = job
        self.org = jobs.org
        self.folder = jobs.path(job)
        self.finished = False
        self._locked = pl.DataFrame(schema={"_row": pl.UInt32, "error": pl.String})

    def run(self) -> str | None:
        """Work the upload off; gives the job's error message, or None."""
        sobject = self.org.schema.get(self.job.object)
        assert sobject is not None
        try:
            frame = read_upload(self.folder / UPLOAD, self.job)
            relations = self._understand(sobject, frame.columns)
        except _JobFailure as failure:
            return str(failure)
        except BadRelation as failure:
            return f"InvalidBatch : {failure}"
        conditions = self.org.conditions
        if not committed(self.jobs, self.job):
            batches = -(-frame.height // self.org.settings.batch_rows)
            if not conditions.claim_batches(batches):
                return "ExceededQuota : ApiBatchItems Limit exceeded."
        if locks := conditions.locks(self.job):
            self._locked = contended_rows(_canonical(frame, sobject, relations, 0), sobject, locks)
        cuts = Cuts(self.org.settings, conditions.timeouts(self.job))
        return self._work_off(sobject, frame, relations, cuts)

    def _work_off(self, sobject: SObject, frame: pl.DataFrame, relations: list[Relation], cuts: Cuts) -> str | None:
        done = set(committed(self.jobs, self.job))
        self.job.processed = self.job.failed = 0
        first = 0
        while first < frame.height:
            if first in done and not outcome_file(self.jobs, self.job, first).exists():
                self.job.retries = 10
                return TIMED_OUT
            if first in done:
                outcome = pl.read_parquet(outcome_file(self.jobs, self.job, first))
            elif self.jobs.stopped(self.job):
                return None
            else:
                cut = cuts.at(first)
                started = time.monotonic()
                outcome = self._window(sobject, frame.slice(first, cut.rows), relations, first, silent=cut.silent)
                self.job.active_milliseconds += int((time.monotonic() - started) * 1000)
                self.job.retries += cut.timed_out
                if cut.silent:
                    self.job.retries = 10
                    return TIMED_OUT
            first += outcome.height
            self.job.processed += outcome.height
            self.job.failed += outcome["error"].drop_nulls().len()
        self.finished = True
        return None

    def _understand(self, sobject: SObject, columns: list[str]) -> list[Relation]:
        """Check the header; gives the relationship columns. The first bad name fails the job."""
        relations: list[Relation] = []
        operation = self.job.operation
        seen: set[str] = set()
        for column in columns:
            if column.lower() in seen:
                raise _JobFailure(f"InvalidBatch : Duplicate column name : {column}")
            seen.add(column.lower())
            if "." in column:
                relations.append(read_relation(self.org.schema, sobject, column))
            elif sobject.field(column) is None or not _writable_type(sobject, column):
                raise _JobFailure(f"InvalidBatch : Field name not found : {column}")
        if operation in ("delete", "hardDelete") and seen != {"id"}:
            raise _JobFailure("InvalidBatch : Delete operation requires only the 'Id' field")
        if operation == "update" and "id" not in seen:
            raise _JobFailure("InvalidBatch : Field name not found : Id")
        if operation == "upsert" and (self.job.external_id or "").lower() not in seen:
            raise _JobFailure(f"InvalidBatch : Field name not found : {self.job.external_id}")
        return relations

    def _window(
        self, sobject: SObject, part: pl.DataFrame, relations: list[Relation], first: int, *, silent: bool
    ) -> pl.DataFrame:
        positions = {column: number for number, column in enumerate(part.columns)}
        frame = _canonical(part, sobject, relations, first)
        path = outcome_file(self.jobs, self.job, first)
        temporary = path.with_suffix(".tmp")
        # A row may name a parent that an earlier chunk of the same upload made: save chunk by chunk then.
        own = any(relation.parent.name == sobject.name for relation in relations)
        with self.org.storage.transaction() as cursor:
            writer = Writer(self.org.schema, self.org.storage, cursor, self.org.actor(self.job.created_by), positions)
            pieces = frame.iter_slices(CHUNK) if own else [frame]
            outcome = pl.concat([self._save(writer, sobject, piece, relations) for piece in pieces]).sort("_row")
            outcome.write_parquet(temporary, compression="lz4")
            cursor.execute("INSERT INTO _org.job_windows VALUES (?, ?)", [self.job.id, first])
            if silent:
                temporary.unlink()
            else:
                temporary.replace(path)
        return outcome

    def _save(self, writer: Writer, sobject: SObject, frame: pl.DataFrame, relations: list[Relation]) -> pl.DataFrame:
        rows = Rows(frame)
        for relation in relations:
            resolve(rows, writer.cursor, sobject, relation)
        if self._locked.height:
            rows.refuse_rows(self._locked.join(frame.select("_row"), on="_row", how="semi"))
        self.org.conditions.refuse_held(rows, sobject)
        outcome = self._operate(writer, sobject, rows)
        refused = rows.refused().select(
            "_row", pl.lit(None, dtype=pl.String).alias("id"), pl.lit(False).alias("created"), "error"
        )
        return pl.concat([outcome.select(list(OUTCOME)), refused])

    def _operate(self, writer: Writer, sobject: SObject, rows: Rows) -> pl.DataFrame:
        if not rows.good.height:
            return pl.DataFrame(schema=OUTCOME)
        operation = self.job.operation
        if operation == "insert":
            return writer.insert(sobject, rows.good)
        if operation == "update":
            return writer.update(sobject, rows.good)
        if operation == "upsert":
            assert self.job.external_id is not None
            return writer.upsert(sobject, rows.good, self.job.external_id)
        return delete_rows(writer, sobject, rows.good, hard=operation == "hardDelete")


def _writable_type(sobject: SObject, column: str) -> bool:
    field = sobject.field(column)
    return field is not None and field.type not in ("address", "location", "base64")


def read_upload(path: Path, job: Job) -> pl.DataFrame:
    """The upload as String columns (null: empty); fails the job where it is no CSV of the job's kind."""
    with path.open("rb") as stream:
        head = stream.read(64_000)
    if not head.strip():
        raise _JobFailure("InvalidBatch : Failed to parse CSV header: The input is empty")
    first_line = head.split(b"\n", 1)[0]
    crlf = first_line.endswith(b"\r")
    if crlf != (job.line_ending == "CRLF") and b"\n" in head:
        raise _JobFailure(
            f"ClientInputError : LineEnding is invalid on user data. Current LineEnding setting is {job.line_ending}"
        )
    if head.startswith(b"\xef\xbb\xbf"):
        name = first_line.decode("utf-8", "replace").split(job.separator)[0].strip('"\r')
        raise _JobFailure(f"InvalidBatch : Field name not found : {name}")
    try:
        frame = pl.read_csv(path, infer_schema=False, separator=job.separator)
    except (pl.exceptions.ComputeError, pl.exceptions.NoDataError) as error:
        raise _JobFailure(f"ClientInputError : Error parsing CSV: {str(error).splitlines()[0]}") from error
    return frame.with_columns(pl.when(pl.all() != "").then(pl.all()))


def _canonical(part: pl.DataFrame, sobject: SObject, relations: list[Relation], first: int) -> pl.DataFrame:
    """Columns under the org's spelling with `_row`, and `CLEAR` for `#N/A`."""
    paths = {relation.column for relation in relations}
    exprs: list[pl.Expr] = []
    for column in part.columns:
        field = sobject.field(column)
        name = column if column in paths or field is None else field.name
        exprs.append(pl.col(column).replace(NULL, CLEAR).alias(name))
    return part.select(pl.int_range(first, first + part.height, dtype=pl.UInt32).alias("_row"), *exprs)


def outcome_file(jobs: BulkJobs, job: Job, first: int) -> Path:
    """Where the outcome of the window that begins with a row is kept; a window that timed out for good has none."""
    return jobs.path(job) / f"outcome-{first:012d}.parquet"


def committed(jobs: BulkJobs, job: Job) -> list[int]:
    """The first rows of the windows whose transaction ended well: only their outcome files count."""
    found = jobs.org.storage.rows("SELECT first FROM _org.job_windows WHERE job = ? ORDER BY first", [job.id])
    return [int(row[0]) for row in found]


def results(jobs: BulkJobs, job: Job, kind: str) -> pl.DataFrame:
    """The rows of a result file: `successful`, `failed` or `unprocessed`, as String columns in shuffled order."""
    folder = jobs.path(job)
    upload = folder / UPLOAD
    try:
        frame = read_upload(upload, job) if upload.exists() else pl.DataFrame()
    except _JobFailure:
        frame = pl.DataFrame()
    files = [outcome_file(jobs, job, first) for first in committed(jobs, job)]
    windows = [pl.read_parquet(file) for file in files if file.exists()]
    outcome = pl.concat(windows) if windows else pl.DataFrame(schema=OUTCOME)
    if kind == "unprocessed":
        if not frame.columns:
            return frame
        numbered = frame.with_columns(pl.int_range(frame.height, dtype=pl.UInt32).alias("_row"))
        return numbered.join(outcome, on="_row", how="anti").select(frame.columns)
    good = pl.col("error").is_null()
    wanted = outcome.filter(good if kind == "successful" else ~good)
    # A shuffle that depends on the job alone keeps clients honest and tests stable.
    conditions = jobs.org.conditions
    seed = (int.from_bytes(job.id[-6:].encode(), "big") + conditions.seed) % 2**32
    wanted = in_order(wanted, conditions.order, seed)
    extra = (
        [pl.col("id").alias("sf__Id"), pl.col("created").cast(pl.String).alias("sf__Created")]
        if kind == "successful"
        else [pl.col("id").fill_null("").alias("sf__Id"), wire_error(pl.col("error")).alias("sf__Error")]
    )
    told = wanted.select(extra)
    # `_row` is the place in the upload: its columns are gathered once, in the order of the answer.
    return pl.concat([told, frame[wanted["_row"]]], how="horizontal") if frame.columns else told
