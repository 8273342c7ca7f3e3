"""Bulk API 2.0 ingest: create, upload, close, wait, results, each as one call that can be recorded before it is made.

Creating a job and uploading to it are never repeated on a lost answer (UnknownOutcome): the ledger decides. Closing
and aborting are: asking for a state that the job has already reached does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from isync_dagster.errors import RequestError
from isync_dagster.salesforce.download import download_csv
from isync_dagster.salesforce.meter import active_meters
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.polling import never, paced

Operation = Literal["insert", "update", "upsert", "delete", "hardDelete"]
ResultKind = Literal["successful", "failed", "unprocessed"]

# 150 MB after base64 is the platform's limit: 100 MB of CSV stay below it.
MAX_UPLOAD_BYTES = 100_000_000

_FINISHED = frozenset({"JobComplete", "Failed", "Aborted"})
_RESULTS: Mapping[str, str] = {
    "successful": "successfulResults",
    "failed": "failedResults",
    "unprocessed": "unprocessedrecords",
}


@dataclass(frozen=True)
class IngestJob:
    """An ingest job as the org describes it. `processed` includes `failed`; both are None before a GET tells them."""

    id: str
    state: str
    object: str = ""
    operation: str = ""
    processed: int | None = None
    failed: int | None = None
    retries: int = 0
    error_message: str | None = None
    api_version: str = ""
    created_by_id: str | None = None
    created_date: str | None = None
    total_processing_ms: int | None = None
    apex_processing_ms: int | None = None

    @property
    def finished(self) -> bool:
        """True in a state that does not change any more; rows may have failed all the same."""
        return self.state in _FINISHED

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> IngestJob:
        """Read a job info."""
        version = answer.get("apiVersion")
        return cls(
            id=str(answer["id"]),
            state=str(answer.get("state") or ""),
            object=str(answer.get("object") or ""),
            operation=str(answer.get("operation") or ""),
            processed=_number(answer.get("numberRecordsProcessed")),
            failed=_number(answer.get("numberRecordsFailed")),
            retries=_number(answer.get("retries")) or 0,
            error_message=answer.get("errorMessage") or None,
            api_version=f"{float(version):.1f}" if version else "",
            created_by_id=answer.get("createdById"),
            created_date=answer.get("createdDate"),
            total_processing_ms=_number(answer.get("totalProcessingTime")),
            apex_processing_ms=_number(answer.get("apexProcessingTime")),
        )


class BulkIngest:
    """The ingest jobs of an org; CSV with COMMA and LF, UTF-8 without BOM."""

    def __init__(self, org: Org) -> None:
        self._org = org
        self._versions: dict[str, str] = {}

    def create(
        self,
        sobject: str,
        operation: Operation,
        external_id: str | None = None,
        *,
        assignment_rule_id: str | None = None,
    ) -> IngestJob:
        """A new open job. UnknownOutcome where the answer was lost: the empty job stays open and expires by itself."""
        body = {
            "object": sobject,
            "operation": operation,
            "contentType": "CSV",
            "columnDelimiter": "COMMA",
            "lineEnding": "LF",
        }
        if external_id is not None:
            body["externalIdFieldName"] = external_id
        if assignment_rule_id is not None:
            body["assignmentRuleId"] = assignment_rule_id
        return self._job(self._org.request("POST", "jobs/ingest", json=body, repeatable=False).json())

    def upload(self, job_id: str, source: Path | bytes) -> int:
        """Send the job's one CSV file and give its size in bytes; a Path is streamed.

        UnknownOutcome where the answer was lost: abort the job and make it anew. RequestError before anything is
        sent where the file is above MAX_UPLOAD_BYTES.
        """
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > MAX_UPLOAD_BYTES:
            raise RequestError(
                f"{size:,} bytes are more than one upload takes ({MAX_UPLOAD_BYTES:,}); plan smaller chunks",
                code="EXCEEDED_MAX_SIZE_REQUEST",
                status=413,
            )
        self._org.request(
            "PUT",
            self._at(job_id, "batches"),
            body=source,
            headers={"Content-Type": "text/csv; charset=UTF-8"},
            repeatable=False,
            timeout=self._org.tuning.upload_timeout,
        )
        for meter in active_meters():
            meter.add_bytes(sent=size)
        return size

    def close(self, job_id: str) -> IngestJob:
        """Hand the upload over for processing (UploadComplete); a job that is past that is given as it is."""
        return self._to_state(job_id, "UploadComplete", lambda job: job.state not in ("Open", "Aborted"))

    def abort(self, job_id: str) -> IngestJob:
        """Stop the job; one that had ended before is given as it is. Rows already processed stay."""
        return self._to_state(job_id, "Aborted", lambda job: job.finished)

    def get(self, job_id: str) -> IngestJob:
        """The job as it is now; RequestError with status 404 where the org has it no more (7 days)."""
        return self._job(self._org.request("GET", self._at(job_id)).json())

    def wait(
        self,
        job_id: str,
        cancelled: Callable[[], bool] = never,
        progress: Callable[[IngestJob], None] | None = None,
        *,
        cells: int | None = None,
        kind: str = "",
    ) -> IngestJob:
        """The job once it ended, in whatever state: rows processed before a failure stay, so all results are read.

        `cells` are those of a job that was just closed, `kind` tells jobs apart that go on differently fast: when it is
        first looked at is chosen by them.
        """
        return paced(
            lambda: self.get(job_id),
            lambda job: job.finished,
            lambda job: job.total_processing_ms,
            pace=self._org.pace,
            kind=kind,
            cells=cells,
            tuning=self._org.tuning,
            cancelled=cancelled,
            what=f"ingest job {job_id}",
            job_id=job_id,
            progress=progress,
        )

    def results(self, job_id: str, kind: ResultKind, to: Path, *, expected: int | None = None) -> int:
        """One result list as the CSV file `to`; gives the number of its rows.

        Columns: `successful` sf__Id, sf__Created; `failed` sf__Id, sf__Error; then the uploaded columns, in any
        order; `unprocessed` the uploaded columns alone. `expected` rows are waited for like anything transient.
        """
        return download_csv(self._org, self._at(job_id, _RESULTS[kind]), to, expected=expected).rows

    def list(self) -> Iterator[IngestJob]:
        """Every Bulk 2.0 ingest job that the org still has, other people's included."""
        path, params = "jobs/ingest", {"jobType": "V2Ingest"}
        while True:
            answer = self._org.request("GET", path, params=params).json()
            for record in answer.get("records") or ():
                yield self._job(record)
            following = answer.get("nextRecordsUrl")
            if answer.get("done", True) or not following:
                return
            path, params = str(following), {}

    def delete(self, job_id: str) -> None:
        """Remove a finished job and its results from the org; one that is gone is no error."""
        try:
            self._org.request("DELETE", self._at(job_id), repeatable=True)
        except RequestError as error:
            if error.details.get("status") != 404:
                raise

    def _to_state(self, job_id: str, state: str, reached: Callable[[IngestJob], bool]) -> IngestJob:
        """Ask for a state; a refusal is no error where the job is there already (a repeat of a lost answer)."""
        try:
            answer = self._org.request("PATCH", self._at(job_id), json={"state": state}, repeatable=True)
        except RequestError:
            job = self.get(job_id)
            if reached(job):
                return job
            raise
        return self._job(answer.json())

    def _job(self, answer: Mapping[str, Any]) -> IngestJob:
        job = IngestJob.from_json(answer)
        if job.api_version:
            self._versions[job.id] = job.api_version
        return job

    def _at(self, job_id: str, below: str = "") -> str:
        path = f"jobs/ingest/{job_id}" + (f"/{below}" if below else "")
        return self._org.path(path, self._versions.get(job_id))


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
