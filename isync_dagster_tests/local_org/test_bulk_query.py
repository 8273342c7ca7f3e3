from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from isync_dagster_tests.local_org.orgs import Client, make_org, read_csv

ROWS = 25


@pytest.fixture(scope="module")
def paged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder: Path = tmp_path_factory.mktemp("paged") / "org"
    with make_org(folder) as org:
        org.settings = replace(org.settings, query_page_rows=2)
        org.load("Account", pl.DataFrame({"Name": [f"A{number:02}" for number in range(ROWS)], "Phone": [None] * ROWS}))
        with org.serve() as served:
            client = Client(served)
            yield client
            client.http.close()


def test_pages_by_locator(paged: Client) -> None:
    job = paged.call(
        "POST", "/jobs/query", json={"operation": "query", "query": "SELECT Name, Phone FROM Account"}
    ).json()
    assert (job["state"], job["object"], job["operation"]) == ("UploadComplete", "Account", "query")
    info = paged.wait("query", job["id"])
    assert (info["state"], info["numberRecordsProcessed"], info["jobType"]) == ("JobComplete", ROWS, "V2Query")
    path = f"/jobs/query/{job['id']}/results"
    names: list[str] = []
    locator = ""
    while locator != "null":
        answer = paged.call("GET", path, params={"maxRecords": 10, **({"locator": locator} if locator else {})})
        page = read_csv(answer.content)
        assert page.columns == ["Name", "Phone"]
        assert int(answer.headers["Sforce-NumberOfRecords"]) == page.height
        assert answer.headers["Content-Type"].startswith("text/csv")
        names += page["Name"].to_list()
        locator = answer.headers["Sforce-Locator"]
    assert sorted(names) == [f"A{number:02}" for number in range(ROWS)]
    assert paged.call("GET", path, params={"locator": "???"}).status_code == 400
    other = paged.call("GET", f"/services/data/v61.0/jobs/query/{job['id']}/results")
    assert other.status_code == 409


def test_result_pages_lead_to_every_row(paged: Client) -> None:
    job = paged.call("POST", "/jobs/query", json={"operation": "query", "query": "SELECT Name FROM Account"}).json()[
        "id"
    ]
    paged.wait("query", job)
    url, names, done = f"{paged.base}/jobs/query/{job}/resultPages", [], False
    while not done:
        answer = paged.http.get(url).json()
        assert 1 <= len(answer["resultPages"]) <= 5
        for page in answer["resultPages"]:
            names += read_csv(paged.http.get(paged.served.url + page["resultUrl"]).content)["Name"].to_list()
        done = answer["done"]
        url = paged.served.url + answer.get("nextRecordsUrl", "")
    assert sorted(names) == [f"A{number:02}" for number in range(ROWS)]


def test_empty_results_have_a_header(paged: Client) -> None:
    query = "SELECT Id, Owner.Name FROM Account WHERE Name = 'nobody'"
    job = paged.call("POST", "/jobs/query", json={"operation": "query", "query": query}).json()["id"]
    paged.wait("query", job)
    answer = paged.call("GET", f"/jobs/query/{job}/results")
    assert (answer.text, answer.headers["Sforce-NumberOfRecords"]) == ('"Id","Owner.Name"\n', "0")
    assert answer.headers["Sforce-Locator"] == "null"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT Foo FROM Account", "INVALID_FIELD"),
        ("SELECT Id FRO Account", "MALFORMED_QUERY"),
        ("SELECT COUNT() FROM Account", "API_ERROR"),
        ("SELECT BillingAddress FROM Account", "API_ERROR"),
    ],
)
def test_refused_queries(paged: Client, query: str, code: str) -> None:
    answer = paged.call("POST", "/jobs/query", json={"operation": "query", "query": query})
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (400, code)


def test_jobs_are_listed_and_deleted(paged: Client) -> None:
    job = paged.call("POST", "/jobs/query", json={"operation": "queryAll", "query": "SELECT Id FROM Account"}).json()[
        "id"
    ]
    paged.wait("query", job)
    listed = paged.call("GET", "/jobs/query").json()
    assert (listed["done"], listed["records"][0]["id"]) == (True, job)
    assert paged.call("DELETE", f"/jobs/query/{job}").status_code == 204
    assert paged.call("GET", f"/jobs/query/{job}").status_code == 404


def test_rest_queries_page(paged: Client) -> None:
    paged.http.headers["Sforce-Query-Options"] = "batchSize=200"
    paged.served.org.load("Contact", pl.DataFrame({"LastName": [f"L{number:03}" for number in range(450)]}))
    answer = paged.call("GET", "/query/", params={"q": "SELECT LastName FROM Contact ORDER BY LastName"}).json()
    assert (answer["totalSize"], answer["done"], len(answer["records"])) == (450, False, 200)
    names = [row["LastName"] for row in answer["records"]]
    while not answer["done"]:
        answer = paged.http.get(paged.served.url + answer["nextRecordsUrl"]).json()
        names += [row["LastName"] for row in answer["records"]]
    assert names == [f"L{number:03}" for number in range(450)]
    lost = paged.call("GET", "/query/01g000000000001AAA-2000")
    assert lost.json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"
