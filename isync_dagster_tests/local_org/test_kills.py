"""A server that is killed at a chosen moment: each window of a job is there whole or not at all, and none twice."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster_tests.local_org.orgs import Client, make_org
from isync_dagster_tests.local_org.test_damage import Process

ROWS, WINDOW = 300, 100


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "org"
    make_org(folder, batch_rows=WINDOW, batches_per_commit=1).close()
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    target = tmp_path / "org"
    template.rename(target)  # an org that the test before left, reset
    with LocalOrg.open(target) as org:
        org.reset()
    return target


def killed(folder: Path, rule: dict[str, object], call: Callable[[Process], object]) -> int:
    """Serve, set the rule, make calls until the server dies; gives the rows that the tables hold then."""
    served = Process(folder)
    control = served.base.split("/services")[0] + "/__local_org/faults"
    assert served.http.post(control, json=[{"kind": "kill", **rule}]).status_code == 200
    with contextlib.suppress(requests.ConnectionError):
        call(served)
    assert served.process.wait(timeout=60) == -signal.SIGKILL
    served.end(signal.SIGKILL)
    with LocalOrg.open(folder) as org:
        return org.counts()["Account"]


def load(served: Process) -> None:
    job = served.http.post(f"{served.base}/jobs/ingest", json={"object": "Account", "operation": "insert"}).json()["id"]
    csv = "Name\n" + "".join(f"Acme {number}\n" for number in range(ROWS))
    url = f"{served.base}/jobs/ingest/{job}"
    served.http.put(f"{url}/batches", data=csv.encode(), headers={"Content-Type": "text/csv"})
    served.http.patch(url, json={"state": "UploadComplete"})


@pytest.mark.parametrize(
    ("moment", "held"),
    [("before_commit", {100}), ("in_commit", {100, 200, 300}), ("after_commit", {200})],
)
def test_a_window_is_whole_or_not_there(folder: Path, template: Path, moment: str, held: set[int]) -> None:
    rule = {"path": r"PATCH .*/jobs/ingest/\w+$", "moment": moment, "commits": 2}
    assert killed(folder, rule, load) in held
    with LocalOrg.open(folder) as org, org.serve() as served:
        client = Client(served)
        job = client.call("GET", "/jobs/ingest").json()["records"][0]["id"]
        info = client.wait("ingest", job)
        assert (info["state"], info["numberRecordsProcessed"]) == ("JobComplete", ROWS)
        client.http.close()
        rows = org.table("Account").select("Id", "Name").sort("Id")
        told = client.results(job).select(Id="sf__Id", Name="Name").sort("Id")
    folder.rename(template)
    assert rows["Name"].n_unique() == ROWS
    assert rows.equals(told)


def test_a_call_is_killed_after_its_effect(folder: Path, template: Path) -> None:
    records = [{"attributes": {"type": "Account"}, "Name": f"Acme {number}"} for number in range(200)]
    rule = {"path": "POST .*/sobjects", "moment": "after"}
    held = killed(folder, rule, lambda at: at.http.post(f"{at.base}/composite/sobjects", json={"records": records}))
    folder.rename(template)
    assert held == 200
