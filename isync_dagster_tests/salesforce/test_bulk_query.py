from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import JobError, RequestError, TransientError
from isync_dagster.salesforce.bulk_query import BulkQuery, PageFile, PageRef
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.polling import LATE, SLACK, UNSEEN, WaitCancelled, Waited
from isync_dagster_tests.salesforce.conftest import Naps
from isync_dagster_tests.salesforce.scripted_org import (
    DROP,
    Reply,
    Request,
    ScriptedOrg,
    csv_page,
    refused,
)

JOB = "750000000000001AAA"
BASE = f"/services/data/v62.0/jobs/query/{JOB}"


def job_info(state: str = "JobComplete", **more: Any) -> dict[str, Any]:
    return {"id": JOB, "operation": "query", "object": "Account", "state": state, "apiVersion": 62.0, **more}


def complete(server: ScriptedOrg, rows: int) -> None:
    server.on("GET", f"jobs/query/{JOB}", Reply(200, job_info(numberRecordsProcessed=rows)))


def pages_of(server: ScriptedOrg, pages: dict[str, Reply | list[Reply]]) -> None:
    """Results by locator; '' is the page without one."""

    def results(request: Request) -> Reply:
        page = pages[request.query.get("locator", "")]
        if isinstance(page, list):
            with server.lock:
                return page.pop(0) if len(page) > 1 else page[0]
        return page

    server.on("GET", f"jobs/query/{JOB}/results", results)


def quoted(*values: str) -> list[str]:
    return [f'"{value}"' for value in values]


def read(folder: Path) -> list[str]:
    files = sorted(folder.glob("*.csv"))
    return [value for file in files for value in pl.read_csv(file, infer_schema=False)["Id"].to_list()]


def test_create_sends_the_query_and_reads_the_job(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "jobs/query", Reply(200, job_info("UploadComplete")))
    job = BulkQuery(org).create("SELECT Id FROM Account", "queryAll")
    assert (job.id, job.state, job.api_version, job.finished) == (JOB, "UploadComplete", "62.0", False)
    sent = server.asked("POST", "jobs/query")[0].json()
    assert (sent["operation"], sent["query"], sent["lineEnding"]) == ("queryAll", "SELECT Id FROM Account", "LF")


def test_create_is_asked_again_when_the_answer_is_lost(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "jobs/query", [DROP, Reply(200, job_info("UploadComplete"))])
    assert BulkQuery(org).create("SELECT Id FROM Account").id == JOB


def test_an_object_without_bulk_is_told_by_its_code(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "jobs/query", refused(400, "INVALIDENTITY", "Entity 'X' is not supported by the Bulk API."))
    with pytest.raises(RequestError) as caught:
        BulkQuery(org).create("SELECT Id FROM X")
    assert caught.value.code == "INVALIDENTITY"


def test_wait_polls_with_growing_pauses_until_the_job_is_complete(server: ScriptedOrg, org: Org, naps: Naps) -> None:
    states = [Reply(200, job_info(state)) for state in ("UploadComplete", "InProgress", "InProgress")]
    server.on("GET", f"jobs/query/{JOB}", [*states, Reply(200, job_info(numberRecordsProcessed=3))])
    assert BulkQuery(org).wait(JOB).processed == 3
    assert naps.taken == pytest.approx([0.1, 0.15, 0.225])


def test_a_job_is_first_looked_at_when_it_is_likely_to_be_done(server: ScriptedOrg, org: Org, naps: Naps) -> None:
    """By the pace of the job before: its time passes without a call, then the looks come closer."""
    org.pace.learn("query", 1_000, Waited(1.0, 3.0, 2.0))
    states = [Reply(200, job_info("InProgress")), Reply(200, job_info(numberRecordsProcessed=3))]
    server.on("GET", f"jobs/query/{JOB}", states)
    calls = org.calls
    BulkQuery(org).wait(JOB, cells=1_000)
    first = 2.0 * (1 + SLACK[0])
    assert sum(naps.taken[:5]) == pytest.approx(first)
    assert sum(naps.taken) == pytest.approx(first * (1 + LATE))
    assert org.calls - calls <= 3  # two looks, and the login where it was the first call


def test_a_guess_that_was_too_long_does_not_stay(server: ScriptedOrg, org: Org, naps: Naps) -> None:
    """The job's own time tells; where an org gives none, each wait that was long enough makes the next one shorter."""
    org.pace.learn("query", 1_000, Waited(9.0, 11.0, 10.0))
    waits = []
    for said in ({}, {}, {}, {"totalProcessingTime": 300}, {}):
        server.on("GET", f"jobs/query/{JOB}", Reply(200, job_info(numberRecordsProcessed=3, **said)))
        before = naps.now()
        BulkQuery(org).wait(JOB, cells=1_000)
        waits.append(naps.now() - before)
    guessed = [10.0]
    for _ in range(3):
        guessed.append(UNSEEN * (guessed[-1] + min(guessed[-1] * SLACK[0], SLACK[1])))
    assert waits == pytest.approx([seconds + min(seconds * SLACK[0], SLACK[1]) for seconds in (*guessed, 0.3)])
    assert waits[3] < 8.0
    assert org.pace.expected("query", 500, 0.0, 15.0) < 0.3
    assert org.pace.expected("query", 10**6, 0.0, 15.0) == 1.0  # nothing like it was seen: a guess


def test_wait_pauses_are_bounded(server: ScriptedOrg, org: Org, naps: Naps) -> None:
    server.on("GET", f"jobs/query/{JOB}", [*[Reply(200, job_info("InProgress"))] * 30, Reply(200, job_info())])
    BulkQuery(org).wait(JOB)
    assert max(naps.taken) <= 0.5
    assert 15 * 10 < sum(naps.taken) < 15 * 30


def test_wait_stops_soon_when_asked_to(server: ScriptedOrg, org: Org, naps: Naps) -> None:
    server.on("GET", f"jobs/query/{JOB}", Reply(200, job_info("InProgress")))
    with pytest.raises(WaitCancelled) as caught:
        BulkQuery(org).wait(JOB, lambda: len(naps.taken) >= 5)
    assert caught.value.job_id == JOB


@pytest.mark.parametrize("state", ["Failed", "Aborted"])
def test_a_failed_job_raises_with_its_reason(server: ScriptedOrg, org: Org, state: str) -> None:
    server.on("GET", f"jobs/query/{JOB}", Reply(200, job_info(state, errorMessage="retried more than 15 times")))
    with pytest.raises(JobError, match="retried more than 15 times") as caught:
        BulkQuery(org).wait(JOB)
    assert (caught.value.job_id, caught.value.state) == (JOB, state)


@pytest.mark.parametrize("link", ["resultUrl", "resultLink"])
@pytest.mark.parametrize("following", ["nextRecordsUrl", "nextRecordUrl"])
def test_result_pages_in_every_spelling(
    server: ScriptedOrg, org: Org, tmp_path: Path, link: str, following: str
) -> None:
    def listing(request: Request) -> Reply:
        if request.query.get("locator") == "more":
            return Reply(200, {"resultPages": [{link: f"{BASE}/results?locator=C"}], "done": True})
        both = [{link: f"{BASE}/results?locator={name}"} for name in "AB"]
        return Reply(200, {"resultPages": both, following: f"{BASE}/resultPages?locator=more", "done": False})

    server.on("GET", f"jobs/query/{JOB}/resultPages", listing)
    pages_of(server, {name: csv_page(quoted(name + "1", name + "2")) for name in "ABC"})
    complete(server, 6)
    pages = sorted(BulkQuery(org).download_all(JOB, tmp_path, parallel=3), key=lambda page: page.index)
    assert [(page.index, page.locator, page.rows) for page in pages] == [(0, "A", 2), (1, "B", 2), (2, "C", 2)]
    assert read(tmp_path) == ["A1", "A2", "B1", "B2", "C1", "C2"]


def test_locator_paging_before_version_58(server: ScriptedOrg, connect: Callable[..., Org], tmp_path: Path) -> None:
    org = connect(api_version="57.0")
    info = {**job_info(numberRecordsProcessed=3), "apiVersion": 57.0}
    server.on("GET", f"jobs/query/{JOB}", Reply(200, info))
    pages_of(server, {"": csv_page(quoted("1", "2"), locator="MTAw"), "MTAw": csv_page(quoted("3"))})
    pages = list(BulkQuery(org, max_records=2).download_all(JOB, tmp_path))
    assert [(page.locator, page.next_locator, page.rows) for page in pages] == [(None, "MTAw", 2), ("MTAw", None, 1)]
    assert {item.query["maxRecords"] for item in server.asked("GET", "results")} == {"2"}
    assert not server.asked("GET", "resultPages")


def test_a_narrow_result_comes_in_large_pages_the_next_one_on_its_way(
    server: ScriptedOrg, org: Org, tmp_path: Path
) -> None:
    on_its_way = threading.Event()

    def results(request: Request) -> Reply:
        if request.query.get("locator") == "n":
            on_its_way.set()
            return csv_page(quoted("3"))
        return csv_page(quoted("1", "2"), locator="n")

    server.on("GET", f"jobs/query/{JOB}/results", results)
    complete(server, 3)
    pages = BulkQuery(org, columns=6).download_all(JOB, tmp_path, processed=3)
    assert next(pages).rows == 2
    assert on_its_way.wait(60)
    assert [page.rows for page in pages] == [1]
    assert read(tmp_path) == ["1", "2", "3"]
    assert {item.query["maxRecords"] for item in server.asked("GET", "results")} == {"250000"}
    assert not server.asked("GET", "resultPages")


def test_pages_of_the_usual_size_where_the_org_refuses_large_ones(
    server: ScriptedOrg, org: Org, tmp_path: Path
) -> None:
    def results(request: Request) -> Reply:
        if int(request.query["maxRecords"]) > 50_000:
            return refused(400, "INVALIDJOB")
        return csv_page(quoted("2")) if "locator" in request.query else csv_page(quoted("1"), locator="n")

    server.on("GET", f"jobs/query/{JOB}/results", results)
    complete(server, 2)
    pages = list(BulkQuery(org, columns=6).download_all(JOB, tmp_path, processed=2))
    assert [page.rows for page in pages] == [1, 1]
    assert [item.query["maxRecords"] for item in server.asked("GET", "results")] == ["250000", "50000", "50000"]


def test_a_wide_result_is_listed(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    listed = {"resultPages": [{"resultUrl": f"{BASE}/results?locator=A"}], "done": True}
    server.on("GET", f"jobs/query/{JOB}/resultPages", Reply(200, listed))
    pages_of(server, {"A": csv_page(quoted("1"))})
    complete(server, 1)
    (page,) = BulkQuery(org, columns=200).download_all(JOB, tmp_path)
    assert page.locator == "A"


@pytest.mark.parametrize("status", [400, 404, 405])
def test_locator_paging_where_the_org_has_no_result_pages(
    server: ScriptedOrg, org: Org, tmp_path: Path, status: int
) -> None:
    server.on("GET", f"jobs/query/{JOB}/resultPages", refused(status, "NOT_FOUND"))
    pages_of(server, {"": csv_page(quoted("1"), locator="n"), "n": csv_page(quoted("2"))})
    complete(server, 2)
    assert sum(page.rows for page in BulkQuery(org).download_all(JOB, tmp_path)) == 2


def test_results_are_asked_with_the_version_the_job_was_made_with(
    server: ScriptedOrg, org: Org, tmp_path: Path
) -> None:
    info = {**job_info(numberRecordsProcessed=1), "apiVersion": 60.0}
    server.on("GET", f"jobs/query/{JOB}", Reply(200, info))
    pages_of(server, {"": csv_page(quoted("1"))})
    list(BulkQuery(org).download_all(JOB, tmp_path))
    assert {item.path.split("/")[3] for item in server.asked("GET", "results")} == {"v60.0"}


def test_an_empty_result_is_a_page_with_a_header(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    server.on("GET", f"jobs/query/{JOB}/resultPages", Reply(200, {"resultPages": [], "done": True}))
    pages_of(server, {"": csv_page([], header='"Id","Name"')})
    complete(server, 0)
    (page,) = BulkQuery(org).download_all(JOB, tmp_path)
    assert page.rows == 0
    assert page.path.read_text() == '"Id","Name"\n'


HARD = ['"1","plain"', '"2","two\nlines"', '"3","a ""quoted"" word, and\r\nmore"', '"4",""', '"5","é – 漢字"']


def test_rows_are_counted_as_records_not_lines(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    pages_of(server, {"": csv_page(HARD, header='"Id","Name"')})
    complete(server, 5)
    page = BulkQuery(org).download(JOB, PageRef(0, None, chained=True), tmp_path / "p.csv")
    assert page.rows == 5
    assert pl.read_csv(page.path, infer_schema=False)["Name"][1] == "two\nlines"


def test_a_compressed_page_is_written_plain(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    plain = csv_page(quoted("1", "2"))
    body = gzip.compress(plain.body)
    reply = Reply(200, body, {**plain.headers, "Content-Encoding": "gzip"})
    pages_of(server, {"": reply})
    complete(server, 2)
    page = BulkQuery(org).download(JOB, PageRef(0, None), tmp_path / "p.csv")
    assert page.path.read_bytes() == plain.body
    assert server.asked("GET", "results")[0].headers["Accept-Encoding"] == "gzip"


WHOLE = csv_page(HARD, header='"Id","Name"')


@pytest.mark.parametrize(
    "broken",
    [
        Reply(200, WHOLE.body, WHOLE.headers, cut=20),
        Reply(200, WHOLE.body, WHOLE.headers, cut=len(WHOLE.body) - 1),
        Reply(200, WHOLE.body[:30], WHOLE.headers, framed=False),
        Reply(200, WHOLE.body[:-1], WHOLE.headers, framed=False),
        Reply(200, WHOLE.body[: WHOLE.body.index(b'"3"')], WHOLE.headers),
        Reply(200, gzip.compress(WHOLE.body), {**WHOLE.headers, "Content-Encoding": "gzip"}, cut=30),
        Reply(200, gzip.compress(WHOLE.body)[:-20], {**WHOLE.headers, "Content-Encoding": "gzip"}),
        Reply(200, WHOLE.body, WHOLE.headers, chunked=True, cut=40),
        Reply(204),
        DROP,
        Reply(503, "<html>maintenance</html>"),
        refused(503, "SERVER_UNAVAILABLE"),
        refused(500, "UNKNOWN_EXCEPTION"),
        refused(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
    ],
    ids=[
        "cut early", "cut before the last byte", "unframed, inside a value", "unframed, no line end", "rows missing",
        "gzip cut", "gzip short", "chunked cut", "not ready", "dropped", "html 503", "json 503", "500", "concurrent",
    ],
)  # fmt: skip
def test_a_broken_page_is_fetched_again(server: ScriptedOrg, org: Org, tmp_path: Path, broken: Reply) -> None:
    pages_of(server, {"": [broken, broken, WHOLE]})
    complete(server, 5)
    page = BulkQuery(org).download(JOB, PageRef(0, None), tmp_path / "p.csv")
    assert page.rows == 5
    assert page.path.read_bytes() == WHOLE.body
    assert [file.name for file in tmp_path.iterdir()] == ["p.csv"]


def test_a_page_that_stays_broken_is_transient_and_leaves_no_file(
    server: ScriptedOrg, org: Org, tmp_path: Path
) -> None:
    pages_of(server, {"": Reply(200, WHOLE.body, {"Sforce-NumberOfRecords": "6"})})
    complete(server, 6)
    with pytest.raises(TransientError, match="5 rows came, Sforce-NumberOfRecords says 6"):
        BulkQuery(org).download(JOB, PageRef(0, None), tmp_path / "p.csv")
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked("GET", "results")) == 4


@pytest.mark.parametrize("status", [400, 404, 409])
def test_results_of_a_job_that_is_not_finished_are_asked_again(
    server: ScriptedOrg, org: Org, tmp_path: Path, status: int
) -> None:
    running, ended = Reply(200, job_info("InProgress")), Reply(200, job_info(numberRecordsProcessed=5))
    server.on("GET", f"jobs/query/{JOB}", [running, running, ended])
    pages_of(server, {"": [refused(status, "INVALIDJOBSTATE"), WHOLE]})
    assert BulkQuery(org).download(JOB, PageRef(0, None), tmp_path / "p.csv").rows == 5


def test_results_that_a_finished_job_does_not_give_are_final(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    complete(server, 5)
    pages_of(server, {"": refused(400, "INVALIDJOB")})
    with pytest.raises(RequestError) as caught:
        BulkQuery(org).download(JOB, PageRef(0, None), tmp_path / "p.csv")
    assert caught.value.code == "INVALIDJOB"


def test_a_framed_page_without_last_line_end_is_whole(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    pages_of(server, {"": Reply(200, WHOLE.body[:-1], WHOLE.headers)})
    complete(server, 5)
    assert BulkQuery(org).download(JOB, PageRef(0, None), tmp_path / "p.csv").rows == 5


def test_nul_bytes_are_left_out(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    pages_of(server, {"": csv_page(['"a\0b"'])})
    complete(server, 1)
    assert BulkQuery(org).download(JOB, PageRef(0, None), tmp_path / "p.csv").path.read_bytes() == b'"Id"\n"ab"\n'


def test_the_total_must_be_the_jobs_count(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    server.on("GET", f"jobs/query/{JOB}/resultPages", refused(404, "NOT_FOUND"))
    pages_of(server, {"": csv_page(quoted("1", "2"))})
    complete(server, 3)
    with pytest.raises(TransientError, match="hold 2 rows, the job says 3"):
        list(BulkQuery(org).download_all(JOB, tmp_path))


def test_a_resumed_chain_fetches_only_what_is_missing(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    server.on("GET", f"jobs/query/{JOB}/resultPages", refused(404, "NOT_FOUND"))
    pages_of(
        server,
        {
            "": csv_page(quoted("1"), locator="b"),
            "b": csv_page(quoted("2"), locator="c"),
            "c": csv_page(quoted("3")),
        },
    )
    complete(server, 3)
    query = BulkQuery(org)
    begun = query.download_all(JOB, tmp_path)
    done = [PageFile.from_json(page.to_json()) for page in (next(begun), next(begun))]
    del begun
    server.requests.clear()
    # the org offers resultPages by now: the chain is kept all the same, for the pages would overlap
    listing = {"resultPages": [{"resultUrl": f"{BASE}/results?locator=zzz"}], "done": True}
    server.on("GET", f"jobs/query/{JOB}/resultPages", Reply(200, listing))
    rest = list(query.download_all(JOB, tmp_path, done=done))
    assert [page.locator for page in rest] == ["c"]
    assert [item.query.get("locator") for item in server.asked("GET", "results")] == ["c"]
    assert read(tmp_path) == ["1", "2", "3"]


def test_skipped_locators_are_not_fetched_where_pages_are_listed(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    links = [{"resultUrl": f"{BASE}/results?locator={name}"} for name in "ABC"]
    server.on("GET", f"jobs/query/{JOB}/resultPages", Reply(200, {"resultPages": links, "done": True}))
    pages_of(server, {name: csv_page(quoted(name)) for name in "ABC"})
    complete(server, 3)
    rest = list(BulkQuery(org).download_all(JOB, tmp_path, skip={"A", "C"}))
    assert [(page.locator, page.path.name) for page in rest] == [("B", "page-00001.csv")]
    assert len(server.asked("GET", "results")) == 1


def test_the_token_never_follows_a_link_to_another_host(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    with ScriptedOrg() as stranger:
        links = [{"resultUrl": f"{stranger.url}{BASE}/results?locator=A"}]
        server.on("GET", f"jobs/query/{JOB}/resultPages", Reply(200, {"resultPages": links, "done": True}))
        pages_of(server, {"A": csv_page(quoted("1"))})
        complete(server, 1)
        assert [page.rows for page in BulkQuery(org).download_all(JOB, tmp_path)] == [1]
        assert stranger.requests == []


def test_pages_are_fetched_side_by_side_within_the_bound(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    together = threading.Barrier(3)
    names = "ABCDEF"

    def results(request: Request) -> Reply:
        together.wait(5)  # breaks unless three requests are open at the same time
        return csv_page(quoted(request.query["locator"]))

    links = [{"resultUrl": f"{BASE}/results?locator={name}"} for name in names]
    server.on("GET", f"jobs/query/{JOB}/resultPages", Reply(200, {"resultPages": links, "done": True}))
    server.on("GET", f"jobs/query/{JOB}/results", results)
    complete(server, 6)
    with org.metering() as meter:
        assert len(list(BulkQuery(org).download_all(JOB, tmp_path, parallel=3))) == 6
    assert meter.calls == 6 + 1 + 1 + 1
    assert meter.bytes_received > 0


def test_abort_and_delete(server: ScriptedOrg, org: Org) -> None:
    server.on("PATCH", f"jobs/query/{JOB}", refused(400, "INVALIDJOBSTATE"))
    complete(server, 1)
    server.on("DELETE", f"jobs/query/{JOB}", [Reply(204), refused(404, "NOT_FOUND")])
    query = BulkQuery(org)
    assert query.abort(JOB).state == "JobComplete"
    query.delete(JOB)
    query.delete(JOB)
