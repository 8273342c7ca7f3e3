from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import RequestError, TransientError, UnknownOutcome
from isync_dagster.salesforce import bulk_ingest
from isync_dagster.salesforce.bulk_ingest import BulkIngest, IngestJob
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.polling import WaitCancelled
from isync_dagster_tests.salesforce.conftest import Naps
from isync_dagster_tests.salesforce.scripted_org import DROP, Reply, Request, ScriptedOrg, refused

JOB = "7500000000000IGAAA"
Connect = Callable[..., Org]


def info(state: str = "Open", **more: Any) -> dict[str, Any]:
    return {"id": JOB, "operation": "insert", "object": "Account", "state": state, "apiVersion": 62.0, **more}


def test_create(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "jobs/ingest", Reply(200, info()))
    job = BulkIngest(org).create("Account", "upsert", "Key__c", assignment_rule_id="01Q000000000001")
    assert job == IngestJob(JOB, "Open", "Account", "insert", api_version="62.0")
    assert server.requests[0].json() == {
        "object": "Account",
        "operation": "upsert",
        "externalIdFieldName": "Key__c",
        "assignmentRuleId": "01Q000000000001",
        "contentType": "CSV",
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    }


@pytest.mark.parametrize("lost", [DROP, Reply(502, b""), Reply(503, "<html>"), refused(500, "UNKNOWN_EXCEPTION")])
def test_a_create_whose_answer_was_lost_is_never_repeated(server: ScriptedOrg, org: Org, lost: Reply) -> None:
    server.on("POST", "jobs/ingest", lost)
    with pytest.raises(UnknownOutcome):
        BulkIngest(org).create("Account", "insert")
    assert len(server.requests) == 1


def test_a_create_that_was_turned_away_is_repeated(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "jobs/ingest", [refused(503, "SERVER_UNAVAILABLE"), Reply(200, info())])
    assert BulkIngest(org).create("Account", "insert").id == JOB


def test_a_refused_operation(server: ScriptedOrg, org: Org) -> None:
    server.on("POST", "jobs/ingest", refused(400, "FEATURENOTENABLED", "hardDelete needs special permission"))
    with pytest.raises(RequestError, match="hardDelete needs") as caught:
        BulkIngest(org).create("Account", "hardDelete")
    assert caught.value.code == "FEATURENOTENABLED"


def test_upload_streams_the_file_with_its_length(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    server.on("PUT", f"jobs/ingest/{JOB}/batches", Reply(201, b""))
    file = tmp_path / "rows.csv"
    file.write_bytes('Name\n"Ä\nb"\n'.encode() * 50_000)
    with org.metering() as meter:
        assert BulkIngest(org).upload(JOB, file) == file.stat().st_size
    (sent,) = server.requests
    assert sent.body == file.read_bytes()
    assert sent.headers["Content-Type"].startswith("text/csv")
    assert sent.headers["Content-Length"] == str(len(sent.body))
    assert meter.bytes_sent == len(sent.body)


def test_an_upload_is_replayed_whole_after_a_new_login(server: ScriptedOrg, connect: Connect, tmp_path: Path) -> None:
    def login(_: Request) -> Reply:
        token = f"t{len(server.requests)}"
        server.tokens = {token}
        return Reply(200, {"access_token": token, "instance_url": server.url})

    server.on("POST", "/services/oauth2/token", login)
    server.on("PUT", f"jobs/ingest/{JOB}/batches", Reply(201, b""))
    org = connect({"R": "r"}, auth="refresh_token", refresh_token="${R}", consumer_key="k", login_url=server.url)
    assert org.instance_url == server.url
    server.tokens = set()
    file = tmp_path / "rows.csv"
    file.write_bytes(b"Name\nA\n" * 100_000)
    BulkIngest(org).upload(JOB, file)
    first, second = server.asked("PUT", "batches")
    assert first.body == second.body == file.read_bytes()


@pytest.mark.parametrize("lost", [DROP, Reply(504, b""), Reply(201, b"x" * 10, cut=2)])
def test_an_upload_whose_answer_was_lost_is_an_unknown_outcome(server: ScriptedOrg, org: Org, lost: Reply) -> None:
    server.on("PUT", f"jobs/ingest/{JOB}/batches", lost)
    with pytest.raises(UnknownOutcome):
        BulkIngest(org).upload(JOB, b"Name\nA\n")
    assert len(server.requests) == 1


def test_a_second_upload_is_refused_by_the_org(server: ScriptedOrg, org: Org) -> None:
    server.on("PUT", f"jobs/ingest/{JOB}/batches", refused(400, "INVALIDJOBSTATE", "Found multiple contents for job"))
    with pytest.raises(RequestError, match="multiple contents"):
        BulkIngest(org).upload(JOB, b"Name\nA\n")


def test_an_upload_above_the_limit_is_not_sent(
    server: ScriptedOrg, org: Org, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bulk_ingest.MAX_UPLOAD_BYTES == 100_000_000
    file = tmp_path / "big.csv"
    with file.open("wb") as out:
        out.truncate(100_000_001)
    with pytest.raises(RequestError, match="smaller chunks"):
        BulkIngest(org).upload(JOB, file)
    assert server.requests == []


def test_close(server: ScriptedOrg, org: Org) -> None:
    server.on("PATCH", f"jobs/ingest/{JOB}", [DROP, Reply(200, info("UploadComplete"))])
    assert BulkIngest(org).close(JOB).state == "UploadComplete"
    assert [item.json() for item in server.requests] == [{"state": "UploadComplete"}] * 2


@pytest.mark.parametrize("state", ["UploadComplete", "InProgress", "JobComplete", "Failed"])
def test_close_of_a_job_that_is_past_it(server: ScriptedOrg, org: Org, state: str) -> None:
    server.on("PATCH", f"jobs/ingest/{JOB}", [DROP, refused(400, "INVALIDJOBSTATE")])
    server.on("GET", f"jobs/ingest/{JOB}", Reply(200, info(state)))
    assert BulkIngest(org).close(JOB).state == state


@pytest.mark.parametrize("state", ["Open", "Aborted"])
def test_close_that_did_not_happen(server: ScriptedOrg, org: Org, state: str) -> None:
    server.on("PATCH", f"jobs/ingest/{JOB}", refused(400, "INVALIDJOBSTATE"))
    server.on("GET", f"jobs/ingest/{JOB}", Reply(200, info(state)))
    with pytest.raises(RequestError) as caught:
        BulkIngest(org).close(JOB)
    assert caught.value.code == "INVALIDJOBSTATE"


def test_abort_and_delete(server: ScriptedOrg, org: Org) -> None:
    server.on("PATCH", f"jobs/ingest/{JOB}", [Reply(200, info("Aborted")), refused(400, "INVALIDJOBSTATE")])
    server.on("GET", f"jobs/ingest/{JOB}", Reply(200, info("JobComplete")))
    server.on("DELETE", f"jobs/ingest/{JOB}", [Reply(204), refused(404, "NOT_FOUND")])
    ingest = BulkIngest(org)
    assert [ingest.abort(JOB).state, ingest.abort(JOB).state] == ["Aborted", "JobComplete"]
    ingest.delete(JOB)
    ingest.delete(JOB)


@pytest.mark.parametrize("state", ["JobComplete", "Failed", "Aborted"])
def test_wait_gives_the_job_in_whatever_state_it_ended(server: ScriptedOrg, org: Org, state: str) -> None:
    ended = info(
        state, numberRecordsProcessed=10, numberRecordsFailed=4, retries=1, errorMessage="InvalidBatch : x",
        totalProcessingTime=12, apexProcessingTime=3,
    )  # fmt: skip
    server.on(
        "GET", f"jobs/ingest/{JOB}", [Reply(200, info("InProgress", numberRecordsProcessed=5)), Reply(200, ended)]
    )
    seen: list[int | None] = []
    job = BulkIngest(org).wait(JOB, progress=lambda now: seen.append(now.processed))
    assert (job.state, job.processed, job.failed, job.retries) == (state, 10, 4, 1)
    assert (job.error_message, job.total_processing_ms, job.apex_processing_ms) == ("InvalidBatch : x", 12, 3)
    assert seen == [5, 10]


def test_wait_survives_trouble_on_the_way(server: ScriptedOrg, org: Org) -> None:
    busy = refused(503, "SERVER_UNAVAILABLE")
    server.on("GET", f"jobs/ingest/{JOB}", [DROP, busy, Reply(502, ""), Reply(200, info("JobComplete"))])
    assert BulkIngest(org).wait(JOB).finished


def test_wait_stops_when_asked_to(server: ScriptedOrg, org: Org, naps: Naps) -> None:
    server.on("GET", f"jobs/ingest/{JOB}", Reply(200, info("InProgress")))
    with pytest.raises(WaitCancelled):
        BulkIngest(org).wait(JOB, lambda: len(naps.taken) > 3)


@pytest.mark.parametrize(
    ("kind", "path"),
    [("successful", "successfulResults"), ("failed", "failedResults"), ("unprocessed", "unprocessedrecords")],
)
def test_results_are_saved_and_counted(
    server: ScriptedOrg, org: Org, tmp_path: Path, kind: bulk_ingest.ResultKind, path: str
) -> None:
    error = "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --"
    body = f'"sf__Id","sf__Error",Name\n"","{error}","two\nlines"\n'
    server.on("GET", f"jobs/ingest/{JOB}/{path}", Reply(200, body))
    to = tmp_path / "out.csv"
    assert BulkIngest(org).results(JOB, kind, to) == 1
    assert pl.read_csv(to, infer_schema=False)["Name"].to_list() == ["two\nlines"]


@pytest.mark.parametrize("body", ["", '"sf__Id","sf__Error",Name\n'])
def test_results_without_rows(server: ScriptedOrg, org: Org, tmp_path: Path, body: str) -> None:
    server.on("GET", f"jobs/ingest/{JOB}/failedResults", Reply(200, body))
    assert BulkIngest(org).results(JOB, "failed", tmp_path / "out.csv") == 0


def test_expected_rows_are_waited_for(server: ScriptedOrg, org: Org, tmp_path: Path) -> None:
    server.on("GET", f"jobs/ingest/{JOB}/successfulResults", [Reply(200, "a\n1\n"), Reply(200, "a\n1\n2\n")])
    assert BulkIngest(org).results(JOB, "successful", tmp_path / "out.csv", expected=2) == 2
    with pytest.raises(TransientError, match="2 rows came, the job says 3"):
        BulkIngest(org).results(JOB, "successful", tmp_path / "out.csv", expected=3)


def test_list_follows_its_pages(server: ScriptedOrg, org: Org) -> None:
    def jobs(request: Request) -> Reply:
        if request.query.get("queryLocator") == "next":
            return Reply(200, {"done": True, "records": [info("JobComplete")], "nextRecordsUrl": None})
        following = "/services/data/v62.0/jobs/ingest?queryLocator=next"
        return Reply(200, {"done": False, "records": [info(), info("Failed")], "nextRecordsUrl": following})

    server.on("GET", "jobs/ingest", jobs)
    assert [job.state for job in BulkIngest(org).list()] == ["Open", "Failed", "JobComplete"]
