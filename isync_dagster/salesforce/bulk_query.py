"""Bulk API 2.0 query: a job, its pages as files, every row counted.

Pages come by `resultPages` (API 58.0 and later), several at a time, or one after the other by locator. A page's
locator never changes while the job lives (7 days), so a download goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextvars import copy_context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from isync_dagster.errors import JobError, RequestError, TransientError
from isync_dagster.salesforce.download import Download, download_csv
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.polling import WaitCancelled, never, paced
from isync_dagster.salesforce.query_job import PageFile, PageRef, QueryJob

__all__ = ["BulkQuery", "PageFile", "PageRef", "QueryJob"]

_FIRST_WITH_PAGES = 58.0
IN_ONE = 50_000
"""Up to so many rows a result is fetched at once, without the list of its pages."""
CELLS_A_PAGE, MOST_ROWS = 1_500_000, 250_000
"""A result with few columns is fetched in pages of more rows than the org lists: of so many cells, so many rows at most."""
# What an org answers that has no resultPages, whatever its version says.
_NO_PAGES = frozenset({400, 404, 405, 501})


class BulkQuery:
    """The query jobs of an org.

    `max_records` bounds a page where the client may choose (locator paging); `columns` is how many a result has, where
    that is known: a narrow one comes in few large pages, since each is an API call.
    """

    def __init__(self, org: Org, *, parallel: int = 4, max_records: int = IN_ONE, columns: int | None = None) -> None:
        self._org = org
        self._parallel = parallel
        large = min(CELLS_A_PAGE // columns, MOST_ROWS) if columns else 0
        self._by_locator = large > max_records
        self._max_records = max(large, max_records)
        # create and results must use the same API version (else 409), across restarts and settings
        self._versions: dict[str, str] = {}

    def create(self, soql: str, operation: str = "query") -> QueryJob:
        """Start a job (`query`, or `queryAll` with deleted and archived rows).

        A lost answer is asked again: a second job costs nothing. RequestError with code INVALIDENTITY where the
        object has no Bulk API: `Org.query` reads it.
        """
        body = {
            "operation": operation,
            "query": soql,
            "contentType": "CSV",
            "columnDelimiter": "COMMA",
            "lineEnding": "LF",
        }
        return self._job(self._org.request("POST", "jobs/query", json=body, repeatable=True).json())

    def get(self, job_id: str) -> QueryJob:
        """The job as it is now."""
        return self._job(self._org.request("GET", self._at(job_id)).json())

    def wait(
        self,
        job_id: str,
        cancelled: Callable[[], bool] = never,
        progress: Callable[[QueryJob], None] | None = None,
        *,
        cells: int | None = None,
    ) -> QueryJob:
        """The job once it is complete; JobError where it failed or was aborted, WaitCancelled when asked to stop.

        `cells` are those expected of a job that was just made: when it is first looked at is chosen by them.
        """
        job = paced(
            lambda: self.get(job_id),
            lambda job: job.finished,
            lambda job: job.total_processing_ms,
            pace=self._org.pace,
            kind="query",
            cells=cells,
            tuning=self._org.tuning,
            cancelled=cancelled,
            what=f"query job {job_id}",
            job_id=job_id,
            progress=progress,
        )
        if job.state != "JobComplete":
            raise JobError(
                f"org '{self._org.alias}': query job {job_id} on {job.object} ended as {job.state}: "
                f"{job.error_message or 'no reason given (a filter that is too wide, or an abort)'}",
                job_id=job_id,
                state=job.state,
                code="",
            )
        return job

    def pages(self, job_id: str) -> Iterator[PageRef]:
        """The pages of a complete job, at least one.

        With `chained` set there is one reference only: the next locator is known from the page before.
        """
        try:
            if float(self._version(job_id)) < _FIRST_WITH_PAGES:
                raise LookupError
            first = self._org.request("GET", self._at(job_id, "resultPages")).json()
        except (LookupError, RequestError) as error:
            if isinstance(error, RequestError) and error.details.get("status") not in _NO_PAGES:
                raise
            yield PageRef(0, None, chained=True)
            return
        found = 0
        for item in self._listed(first):
            url = urlsplit(str(item.get("resultUrl") or item.get("resultLink") or item.get("url") or ""))
            locator = parse_qs(url.query).get("locator", [None])[0]
            # an absolute URL loses its host: the token goes to this org alone
            path = (url.path if url.path.startswith("/") else f"/{url.path}") + (f"?{url.query}" if url.query else "")
            yield PageRef(found, locator, path=path if url.path else None)
            found += 1
        if not found:
            yield PageRef(0, None, chained=True)

    def download(self, job_id: str, page: PageRef, to: Path) -> PageFile:
        """One page as the file `to`, whole or not at all."""
        if page.path is not None:
            done = download_csv(self._org, page.path, to)
        else:
            done = self._at_locator(job_id, page.locator, to)
        following = done.headers.get("Sforce-Locator") if page.chained else None
        return PageFile(
            index=page.index,
            locator=page.locator,
            rows=done.rows,
            path=to,
            next_locator=None if following in (None, "", "null") else following,
            bytes=done.bytes,
            chained=page.chained,
        )

    def download_all(
        self,
        job_id: str,
        folder: Path,
        parallel: int | None = None,
        skip: Collection[str | None] = frozenset(),
        *,
        done: Iterable[PageFile] = (),
        cancelled: Callable[[], bool] = never,
        processed: int | None = None,
    ) -> Iterator[PageFile]:
        """Every page that is not there yet, as it lands: files `page-00000.csv`, ... in `folder`.

        `done` are the pages of an earlier attempt (PageFile as it was given): they are not fetched again and count
        in the total. `skip` are locators to leave out where that is all that is known. At the end the rows of all
        pages must be the job's numberRecordsProcessed (`processed`, where the caller has the complete job; it is asked for
        else), or TransientError is raised (not checked where `skip` hides pages).
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {page.locator: page for page in done}
        left_out = set(skip) - set(kept)
        total = sum(page.rows for page in kept.values())
        # the two ways of paging cut the result at different rows, so a download ends the way it began
        began_chained = any(page.chained for page in kept.values())
        # The pages of a result that fits one are not asked for: it is fetched at once.
        in_one = not kept and (self._by_locator or (processed is not None and processed <= IN_ONE))
        references = iter([PageRef(0, None, chained=True)]) if began_chained or in_one else self.pages(job_id)
        first = next(references)
        if first.chained:
            pages = self._chain(job_id, first, folder, kept, left_out, cancelled)
        else:
            wanted = (page for page in _with_first(first, references) if page.locator not in kept.keys() | left_out)
            pages = self._together(job_id, wanted, folder, parallel or self._parallel, cancelled)
        for page in pages:
            total += page.rows
            yield page
        expected = self.get(job_id).processed if processed is None else processed
        if not left_out and expected is not None and expected != total:
            raise TransientError(
                f"org '{self._org.alias}': the pages of query job {job_id} hold {total:,} rows, the job says "
                f"{expected:,}; run the query again",
                job_id=job_id,
            )

    def abort(self, job_id: str) -> QueryJob:
        """Stop the job; one that had ended before stays as it is."""
        try:
            return self._job(
                self._org.request("PATCH", self._at(job_id), json={"state": "Aborted"}, repeatable=True).json()
            )
        except RequestError:
            job = self.get(job_id)
            if job.finished:
                return job
            raise

    def delete(self, job_id: str) -> None:
        """Remove a finished job and its results from the org; one that is gone is no error."""
        try:
            self._org.request("DELETE", self._at(job_id), repeatable=True)
        except RequestError as error:
            if error.details.get("status") != 404:
                raise

    def _chain(
        self,
        job_id: str,
        page: PageRef,
        folder: Path,
        kept: Mapping[str | None, PageFile],
        left_out: set[str | None],
        cancelled: Callable[[], bool],
    ) -> Iterator[PageFile]:
        """The pages one after the other, each naming the next, which is on its way while one is worked on."""

        def fetch(page: PageRef) -> PageFile:
            return kept.get(page.locator) or self.download(job_id, page, folder / _name(page.index))

        _stop_if(cancelled, job_id)
        seen: set[str | None] = set()
        pool = ThreadPoolExecutor(1, thread_name_prefix="bulk-pages")
        try:
            following: PageRef | None = page
            coming = pool.submit(copy_context().run, fetch, page)
            while following is not None:
                page = following
                if page.locator in seen:
                    raise TransientError(f"query job {job_id}: the locator {page.locator} came twice", job_id=job_id)
                seen.add(page.locator)
                while not wait_for([coming], self._org.tuning.glance).done:
                    _stop_if(cancelled, job_id)
                here, following = coming.result(), None
                _stop_if(cancelled, job_id)
                if here.next_locator is not None:
                    following = PageRef(page.index + 1, here.next_locator, chained=True)
                    coming = pool.submit(copy_context().run, fetch, following)
                if page.locator in left_out:
                    # fetched for its successor's name only
                    here.path.unlink()
                elif page.locator not in kept:
                    yield here
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _together(
        self, job_id: str, pages: Iterator[PageRef], folder: Path, parallel: int, cancelled: Callable[[], bool]
    ) -> Iterator[PageFile]:
        """The pages several at a time, as they land; the first failure stops the rest."""
        pool = ThreadPoolExecutor(parallel, thread_name_prefix="bulk-pages")
        running: set[Future[PageFile]] = set()
        try:
            more = True
            while more or running:
                _stop_if(cancelled, job_id)
                while more and len(running) < parallel:
                    page = next(pages, None)
                    if page is None:
                        more = False
                        break
                    run = copy_context().run
                    running.add(pool.submit(run, self.download, job_id, page, folder / _name(page.index)))
                if running:
                    ended, running = wait_for(running, self._org.tuning.glance, return_when=FIRST_COMPLETED)
                    for future in ended:
                        yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _at_locator(self, job_id: str, locator: str | None, to: Path) -> Download:
        """A page of the size of our choice; of the usual one where the org does not take more."""
        params = {"maxRecords": str(self._max_records), **({} if locator is None else {"locator": locator})}
        try:
            return self._results(job_id, params, to)
        except RequestError as error:
            if error.details.get("status") != 400 or not self._by_locator:
                raise
            self._by_locator, self._max_records = False, IN_ONE
            return self._at_locator(job_id, locator, to)

    def _results(self, job_id: str, params: Mapping[str, str], to: Path) -> Download:
        def attempt() -> Download:
            try:
                return download_csv(self._org, self._at(job_id, "results"), to, params=params)
            except RequestError as error:
                # docs name 204 for a result that is not ready, orgs answer 400 too: the job itself knows
                if error.details.get("status") in (400, 404, 409) and not self.get(job_id).finished:
                    raise TransientError(f"query job {job_id} is not finished: {error}", job_id=job_id) from None
                raise

        return self._org.tuning.repeat(attempt)

    def _listed(self, answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The entries of all resultPages answers; sources differ in how the keys are spelled."""
        seen: set[str] = set()
        while True:
            yield from answer.get("resultPages") or ()
            following = answer.get("nextRecordsUrl") or answer.get("nextRecordUrl")
            if answer.get("done", not following) or not following:
                return
            url = urlsplit(str(following))
            path = (url.path if url.path.startswith("/") else f"/{url.path}") + (f"?{url.query}" if url.query else "")
            if path in seen:
                raise TransientError(f"resultPages names {path} twice")
            seen.add(path)
            answer = self._org.request("GET", path).json()

    def _job(self, answer: Mapping[str, Any]) -> QueryJob:
        job = QueryJob.from_json(answer)
        if job.api_version:
            self._versions[job.id] = job.api_version
        return job

    def _version(self, job_id: str) -> str:
        if job_id not in self._versions:
            self.get(job_id)
        return self._versions.get(job_id, self._org.api_version)

    def _at(self, job_id: str, below: str = "") -> str:
        path = f"jobs/query/{job_id}" + (f"/{below}" if below else "")
        return self._org.path(path, self._version(job_id) if below else self._versions.get(job_id))


def _name(index: int) -> str:
    return f"page-{index:05d}.csv"


def _with_first(first: PageRef, others: Iterator[PageRef]) -> Iterator[PageRef]:
    yield first
    yield from others


def _stop_if(cancelled: Callable[[], bool], job_id: str) -> None:
    if cancelled():
        raise WaitCancelled(f"stopped the download of query job {job_id}; a resume goes on", job_id=job_id)
