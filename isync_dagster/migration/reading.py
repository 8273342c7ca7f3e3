"""Rows of an org as typed Parquet parts: by REST where they are few, by Bulk 2.0 query where they are many.

A read leaves `cursor.json` (how it is being read: query job, pages done) while it goes on and
`manifest.json` (rows, bytes, query) once it is complete, both beside its parts. A read that was cut off
continues with the page it had not written. Of each part the manifest has the digest of the text it was made of: a later
read of the same fields takes a part over whose text came again (`earlier`), and knows by them that nothing has changed.
One of very many rows is made in ranges of ids (`ranges.json`), each with a query job and a `cursor-<n>.json` of its own,
and `range-<n>.json` once it is complete.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
from upath import UPath

from isync_dagster import __version__
from isync_dagster.errors import ConfigError, DataError, OrgError, RequestError, SnapshotError, TransientError
from isync_dagster.migration.live import about
from isync_dagster.migration.memory import frame_bytes, memory
from isync_dagster.migration.model import Progress, SyncJob
from isync_dagster.migration.ranges import has_ranges, in_ranges
from isync_dagster.records.typing import lossy_cells, typed, typed_and_proven
from isync_dagster.salesforce.bulk_query import BulkQuery, PageFile
from isync_dagster.salesforce.meter import metering
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype
from isync_dagster.store import files
from isync_dagster.store.scratch import scratch

REST_ROWS = 2_000
"""Up to here one REST query answers in one page; Salesforce recommends Bulk above (salesforce-api §10)."""
BESIDE = ("verify", "closing")
"""Stages that read the target once more while other objects are at work."""
REST_SOQL = 14_000
"""A longer SOQL text, URL-encoded, does not fit a GET request line (16,384 bytes with headers)."""


@dataclass(frozen=True)
class Reading:
    """A complete read: its rows, and what it took."""

    folder: UPath
    rows: int
    bytes: int
    seconds: float
    calls: int
    soql: str
    counted: int | None
    by: str
    digests: Mapping[str, str] = field(default_factory=dict)
    """Part -> SHA-256 of the text that came from the org, its fields and their types with it."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for the manifest."""
        names = ("rows", "bytes", "seconds", "calls", "soql", "counted", "by", "digests")
        return {key: getattr(self, key) for key in names}


def scan(folder: UPath, fields: Sequence[Field]) -> pl.LazyFrame:
    """The rows of a read, typed by `fields`; empty with the right columns where there are none."""
    return files.scan(folder / "part-*.parquet", {field.name: dtype(field) for field in fields})


def recorded(folder: UPath) -> Reading | None:
    """The read that is complete in `folder`, or None."""
    manifest = files.read_json(folder / "manifest.json")
    return Reading(folder=folder, **manifest) if manifest else None


def read(
    job: SyncJob,
    org: Org,
    *,
    object: str,
    fields: Sequence[Field],
    where: str = "",
    tail: str = "",
    folder: UPath,
    stage: str,
    deleted: bool = False,
    at_least: int = 0,
    whole: bool = False,
    earlier: UPath | None = None,
) -> Reading:
    """Read `fields` of the rows of `object` that `where` admits into `folder`, typed.

    `tail` is ORDER BY and LIMIT; with `deleted` the rows in the recycle bin and archived ones too. `at_least` is how many
    rows there will be, by what is known; `whole` says that `where` leaves nearly nothing out. Rows are counted before
    only where it is not known whether one REST answer holds them: of a whole object the org's own approximate count
    tells that, and of few rows the answer itself says how many there are. `earlier` is the folder of an earlier read: a
    page whose text came then too is taken from there. Returns at once what an earlier call completed. Raises
    `SnapshotError` where the org does not know the object or a field, `DataError` where rows are missing, doubled or would
    lose digits.
    """
    done = recorded(folder)
    if done is not None:
        return done
    started = time.monotonic()
    predicate = f" WHERE {where}" if where else ""
    soql = f"SELECT {', '.join(field.name for field in fields)} FROM {object}{predicate}{f' {tail}' if tail else ''}"
    with metering() as meter:
        try:
            wanted: int | pl.DataFrame = at_least
            resumed = files.exists(folder / "cursor.json") or has_ranges(folder)
            if at_least <= REST_ROWS and not resumed:
                wanted = _expected(job, org, object, where, whole=whole and not deleted)
                if wanted <= REST_ROWS and len(quote(soql)) <= REST_SOQL:
                    wanted = org.query_few(soql, REST_ROWS, include_deleted=deleted)
            if isinstance(wanted, pl.DataFrame):
                rows, size, by, digests = _by_rest(wanted, object, fields, folder)
            else:
                limits = None if tail or deleted else where
                parts = _Parts(object, tuple(fields), folder, _parts_of(earlier))
                rows, size, by = _by_jobs(job, org, soql, parts, stage, wanted, limits, deleted)
                digests = _noted(folder)
        except RequestError as error:
            raise _explained(error, object, org, soql) from error
    # What came is what the org says there is: a REST answer's totalSize, a job's numberRecordsProcessed.
    seconds = time.monotonic() - started
    reading = Reading(folder, rows, size, seconds, meter.calls, soql, rows, by, digests)
    files.write_json(folder / "manifest.json", reading.to_json())
    return reading


def _expected(job: SyncJob, org: Org, object: str, where: str, *, whole: bool) -> int:
    """About how many rows a read will bring, as far as the way depends on it; asked for where it is not known."""
    there = about(job, org, object)
    if there is not None and (whole or not where or there <= REST_ROWS):
        return there
    return org.count(object, where or None)


@dataclass(frozen=True)
class _Parts:
    """Where the pages of a read go: typed, each a part, those that an earlier read has taken from there."""

    object: str
    fields: tuple[Field, ...]
    folder: UPath
    earlier: Mapping[str, UPath]
    """Digest -> part of an earlier read."""

    def write(self, page: PageFile, name: str) -> tuple[int, str]:
        """Write a page as a part: how many rows it has, and the digest of its text."""
        digest = _digest(self.fields, page.path)
        known = self.earlier.get(digest)
        if known is not None and files.exists(known):
            files.copy(known, self.folder / name)
            return page.rows, digest
        raw = pl.scan_csv(page.path, infer_schema=False, null_values="")
        return _write_part(raw, self.object, self.fields, self.folder / name, page.bytes, page.rows), digest


def _parts_of(folder: UPath | None) -> dict[str, UPath]:
    done = None if folder is None else recorded(folder)
    return {} if done is None else {digest: done.folder / name for name, digest in done.digests.items()}


def _digest(fields: Sequence[Field], text: Path | bytes) -> str:
    """SHA-256 of what a part is made of: the text, the fields by which it is typed, the version that types it."""
    made = hashlib.sha256(repr([__version__, [(field.name, str(dtype(field))) for field in fields]]).encode())
    if isinstance(text, bytes):
        made.update(text)
        return made.hexdigest()
    with text.open("rb") as file:
        return hashlib.file_digest(file, lambda: made).hexdigest()


def _noted(folder: UPath) -> dict[str, str]:
    """Part -> digest of the pages of all jobs of a read."""
    cursors = (files.read_json(folder / name) for name in files.names(folder) if name.startswith("cursor"))
    return {name: digest for cursor in cursors if cursor for name, digest in cursor.get("digests", {}).items()}


def _by_rest(
    raw: pl.DataFrame, object: str, fields: Sequence[Field], folder: UPath
) -> tuple[int, int, str, dict[str, str]]:
    raw = raw.select([field.name for field in fields])
    name = "part-00000.parquet"
    rows = _write_part(raw.lazy(), object, fields, folder / name)
    return rows, int(raw.estimated_size()), "REST", {name: _digest(fields, raw.write_csv().encode())}


def _by_jobs(
    job: SyncJob,
    org: Org,
    soql: str,
    parts: _Parts,
    stage: str,
    counted: int,
    where: str | None,
    deleted: bool,
) -> tuple[int, int, str]:
    """By one query job, or by one for each range of ids where they are very many and `where` says which rows there are."""
    object, folder = parts.object, parts.folder
    begun = files.exists(folder / "cursor.json")
    if where is not None and not begun and (has_ranges(folder) or counted > job.options.split_rows):

        def one(condition: str, tag: str, rows: int) -> tuple[int, int]:
            text = f"SELECT {', '.join(field.name for field in parts.fields)} FROM {object} WHERE {condition}"
            return _by_bulk(job, org, text, parts, stage, rows, deleted, tag)[:2]

        found = in_ranges(job, org, object, where, folder, one)
        if found is not None:
            return found.rows, found.bytes, f"Bulk 2.0 in {found.ranges} ranges of ids"
    return _by_bulk(job, org, soql, parts, stage, counted, deleted)


def _by_bulk(
    job: SyncJob,
    org: Org,
    soql: str,
    parts: _Parts,
    stage: str,
    counted: int,
    deleted: bool,
    tag: str = "",
) -> tuple[int, int, str]:
    """By one query job; `tag` stands in the names of the files of one of several."""
    # Large pages come one after the other: that saves calls where others are at work meanwhile, and time where none are.
    bulk = BulkQuery(org, columns=len(parts.fields) if stage in BESIDE else None)
    object, folder = parts.object, parts.folder
    with org.job_slot():
        cursor = _cursor(bulk, soql, folder, "queryAll" if deleted else "query", tag)
        fresh = None if cursor["pages"] else counted * len(parts.fields)
        query_job = bulk.wait(cursor["job_id"], job.cancelled, cells=fresh)
    done = [PageFile.from_json(item) for item in cursor["pages"]]
    with scratch() as place:
        for page in bulk.download_all(
            query_job.id,
            place,
            parallel=job.options.parallel_downloads,
            done=done,
            cancelled=job.cancelled,
            processed=query_job.processed,
        ):
            name = f"part-{tag}{page.index:05d}.parquet"
            rows, digest = parts.write(page, name)
            if rows != page.rows:
                raise TransientError(
                    f"{object} of {org.alias}: page {page.index} says {page.rows} rows, its text holds {rows}. "
                    "Nothing of it was kept; the page is fetched anew."
                )
            done.append(page)
            cursor["pages"].append(page.to_json())
            cursor.setdefault("digests", {})[name] = digest
            files.write_json(_cursor_path(folder, tag), cursor)
            page.path.unlink()
            total = sum(item.rows for item in done)
            job.progress(Progress(object, stage, f"{total:,} rows", total, counted))
    return sum(item.rows for item in done), sum(item.bytes for item in done), "Bulk 2.0"


def _cursor_path(folder: UPath, tag: str) -> UPath:
    return folder / f"cursor{f'-{tag[:-1]}' if tag else ''}.json"


def _cursor(bulk: BulkQuery, soql: str, folder: UPath, operation: str, tag: str) -> dict[str, Any]:
    """How the read stands: its query job and the pages that are written; a new job where there is none to go on with."""
    path = _cursor_path(folder, tag)
    cursor = files.read_json(path) or {}
    if cursor.get("soql") != soql or _is_gone(bulk, cursor["job_id"]):
        for name in files.names(folder):
            if name.startswith(f"part-{tag}"):
                files.remove(folder / name)
        cursor = {"soql": soql, "job_id": bulk.create(soql, operation).id, "pages": []}
        files.write_json(path, cursor)
    return cursor


def _is_gone(bulk: BulkQuery, job_id: str) -> bool:
    """True where the org has the query job no more (7 days), or it will never complete."""
    try:
        return bulk.get(job_id).state in ("Failed", "Aborted")
    except RequestError as error:
        if error.details.get("status") != 404:
            raise
        return True


def _write_part(
    raw: pl.LazyFrame, object: str, fields: Sequence[Field], path: UPath, size: int = 0, rows: int = 0
) -> int:
    """Type a page, prove that no cell lost anything, and write it as one part.

    A page (`size` bytes of CSV) that would take more than its share of memory streams through twice.
    """
    needed = 2 * frame_bytes(size, rows * len(fields))
    small = memory().slices(needed) == 1
    with memory().share(min(needed, memory().slice_bytes)):
        return _typed_part(raw, object, fields, path, small)


def _typed_part(raw: pl.LazyFrame, object: str, fields: Sequence[Field], path: UPath, small: bool) -> int:
    if small:
        # In memory each cell is read once: as it is typed it is seen whether it lost anything.
        text = raw.collect()
        rows = typed_and_proven(text.lazy(), fields).collect()
        if not rows["_lossy"].any():
            return files.write_parquet(path, rows.drop("_lossy"))
        raw = text.lazy()
    lost = lossy_cells(raw, fields).collect()
    if lost.height:
        raise DataError(
            f"{object}: values do not survive their field's type: "
            + ", ".join(f"{row['field']} ({row['cells']} cells, such as {row['example']!r})" for row in lost.to_dicts())
            + ". Compare the field types of the snapshot with the org (`isync orgs snapshot`)."
        )
    return files.write_parquet(path, typed(raw, fields))


def _explained(error: RequestError, object: str, org: Org, soql: str) -> OrgError | ConfigError:
    code = error.details.get("code")
    if code in ("MALFORMED_QUERY", "INVALID_QUERY_FILTER_OPERATOR"):
        return ConfigError(
            f"The org {org.alias!r} does not understand the query of {object}: {error.args[0]}\n  {soql}\n"
            "Correct `where`, `order_by` or `limit` of its line, or the `where` of the phase.",
            object=object,
        )
    if code in ("INVALID_FIELD", "INVALID_TYPE"):
        return SnapshotError(
            f"The org {org.alias!r} does not know what the snapshot of {object} names, or the user may not see it: {error}\n"
            f"Refresh it with `isync orgs snapshot {org.alias} --objects {object}`; if the field is in the org, give the "
            "user access to it. A typing error in a line's `where` reads the same.",
            object=object,
        )
    return error
