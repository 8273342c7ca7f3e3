"""What must not happen to an org: lost or doubled rows after a kill, a server error for a bad request."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.server import Served
from isync_dagster_tests.local_org.orgs import Client, make_org, read_csv

ROOT = Path(__file__).parents[2]
ROWS = 30_000


class Process:
    """A served org as a process, and a logged-in client of it."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "isync_dagster.local_org", "serve", str(folder)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        credentials = json.loads(self.process.stdout.readline())
        self.base = f"{credentials['url']}/services/data/v62.0"
        self.http = requests.Session()
        self.http.trust_env = False
        form = {
            "grant_type": "client_credentials",
            "client_id": credentials["consumer_key"],
            "client_secret": credentials["consumer_secret"],
        }
        answer = self.http.post(f"{credentials['url']}/services/oauth2/token", data=form).json()
        self.http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def end(self, number: signal.Signals) -> None:
        self.http.close()
        self.process.send_signal(number)
        self.process.wait(timeout=30)
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_a_job_goes_on_after_a_kill_and_repeats_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "org"
    make_org(folder, batch_rows=500, batches_per_commit=1).close()
    first = Process(folder)
    job = first.http.post(f"{first.base}/jobs/ingest", json={"object": "Account", "operation": "insert"}).json()["id"]
    csv = "Name\n" + "".join(f"Acme {number}\n" for number in range(ROWS))
    first.http.put(f"{first.base}/jobs/ingest/{job}/batches", data=csv.encode(), headers={"Content-Type": "text/csv"})
    first.http.patch(f"{first.base}/jobs/ingest/{job}", json={"state": "UploadComplete"})
    until = time.monotonic() + 60
    while first.http.get(f"{first.base}/jobs/ingest/{job}").json()["numberRecordsProcessed"] < 2000:
        assert time.monotonic() < until
        time.sleep(0.01)
    first.end(signal.SIGKILL)
    second = Process(folder)
    until = time.monotonic() + 120
    while (info := second.http.get(f"{second.base}/jobs/ingest/{job}").json())["state"] != "JobComplete":
        assert time.monotonic() < until, info
        time.sleep(0.05)
    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (ROWS, 0)
    done = read_csv(second.http.get(f"{second.base}/jobs/ingest/{job}/successfulResults").content)
    second.end(signal.SIGTERM)
    with LocalOrg.open(folder) as org:
        stored = org.table("Account").select("Id", "Name")
    assert stored.height == ROWS
    assert stored["Name"].n_unique() == ROWS
    assert stored.sort("Id").equals(done.select(Id="sf__Id", Name="Name").sort("Id"))


BODIES: list[bytes] = [
    b"", b"[]", b"null", b"{", b"\xff\xfe", b"1", b'"text"', b"[1, 2]", b'{"records": 1}', b'{"records": [1]}',
    b'{"Name": NaN}', b'{"Name": {"a": 1}}', b'{"Name": ["x"]}', b'{"Name": null, "Owner": {}}',
    b'{"compositeRequest": [1]}', b'{"batchRequests": [null]}', b'{"graphs": ["x"]}', b'{"operation": 5}',
    b'{"operation": "insert", "object": 5}', b'{"operation": "query", "query": ["x"]}', b'{"state": {}}',
    b'{"records": [{"attributes": 1}]}', b'{"records": [{"attributes": {"type": ["x"]}}]}', b'{"ids": 5, "fields": 7}',
    b'{"ids": [5], "fields": [7]}', b"[" * 5000,
]  # fmt: skip

PATHS = [
    "/sobjects/Account", "/sobjects/Account/Id/x", "/sobjects/Project__c/Key__c/x", "/sobjects/Account/001000000000001",
    "/composite", "/composite/batch", "/composite/graph", "/composite/tree/Account", "/composite/sobjects",
    "/composite/sobjects/Account", "/composite/sobjects/Account/Id", "/jobs/ingest", "/jobs/query",
    "/jobs/ingest/750000000000001", "/sobjects/Account/updated?start=x&end=y", "/query?q=%00", "/query/xyz-1",
    "/sobjects/%27%3B--", "/limits/recordCount?sObjects=%27",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_bad_requests_get_no_server_error(client: Client, served: Served, path: str) -> None:
    before = served.org.counts()
    for method in ("GET", "POST", "PATCH", "DELETE"):
        for body in BODIES if method in ("POST", "PATCH") else [b""]:
            answer = client.call(method, path, data=body, headers={"Content-Type": "application/json"})
            assert answer.status_code < 500, (method, path, body, answer.text)
    answer = client.call("POST", path, data=b"no gzip", headers={"Content-Encoding": "gzip"})
    assert 400 <= answer.status_code < 500
    answer = client.call("POST", path, data=os.urandom(64), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code < 500
    assert served.org.counts() == before
