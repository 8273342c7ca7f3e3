"""Answers that real orgs gave (recorded by the projects that the folders name), put through the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest
import yaml

from isync_dagster.errors import RequestError
from isync_dagster.salesforce.collections import Collections
from isync_dagster.salesforce.faults import read_fault
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.outcome import Kind, classify
from isync_dagster_tests.salesforce.scripted_org import Reply, ScriptedOrg

RECORDINGS = Path(__file__).parents[3] / "shared" / "realdata" / "api"

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not at hand")


def interactions() -> Iterator[tuple[str, str, str, str]]:
    """(method, URI, request body, answer) of every recorded call that has an answer of its own."""
    for file in sorted(RECORDINGS.glob("*/*.yaml")):
        for item in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("interactions") or []:
            answer = ((item.get("response") or {}).get("body") or {}).get("string")
            if "request" in item and isinstance(answer, str):
                yield item["request"]["method"], item["request"]["uri"], item["request"].get("body") or "", answer


def queries() -> list[tuple[str, str]]:
    """(SOQL, answer) of the recorded REST queries that are answered in one page."""
    found = {}
    for method, uri, _, answer in interactions():
        url = urlsplit(uri)
        if method == "GET" and url.path.rstrip("/").endswith("/query") and '"records"' in answer:
            found[parse_qs(url.query)["q"][0]] = answer
    return sorted(found.items())


def inserts() -> list[tuple[str, str]]:
    return [
        (body, answer)
        for method, uri, body, answer in interactions()
        if method == "POST" and urlsplit(uri).path.endswith("/composite/sobjects") and answer.lstrip().startswith("[")
    ]


@pytest.mark.parametrize(("soql", "answer"), queries() if RECORDINGS.is_dir() else [])
def test_recorded_queries_become_frames(server: ScriptedOrg, org: Org, soql: str, answer: str) -> None:
    server.on("GET", "query", Reply(200, answer.encode()))
    records = json.loads(answer)["records"]
    frame = org.query(soql)
    assert set(frame.dtypes) <= {pl.String}
    if "count()" in soql.lower():
        assert frame.item() == str(json.loads(answer)["totalSize"])
        return
    assert frame.height == len(records)
    for name in ("Id", "Name", "FirstName"):
        if records and name in records[0] and name in frame.columns:
            assert frame[name].to_list() == [record[name] for record in records]


def test_the_recorded_nested_record(server: ScriptedOrg, org: Org) -> None:
    body = (RECORDINGS / "restforce/sobject/query_success_response.json").read_bytes()
    server.on("GET", "query", Reply(200, body))
    frame = org.query("SELECT Text_Label, Checkbox_Label, DateTime_Label, ParentWhizbang__r.Name FROM Whizbang")
    assert frame.row(0) == ("Hi there!", "false", "2011-07-07T00:37:00.000+0000", "Parent Whizbang")


def test_the_recorded_aggregate(server: ScriptedOrg, org: Org) -> None:
    body = (RECORDINGS / "restforce/sobject/query_aggregate_success_response.json").read_bytes()
    server.on("GET", "query", Reply(200, body))
    frame = org.query("SELECT CampaignId, SUM(Amount) FROM Opportunity GROUP BY CampaignId")
    assert frame["expr0"].to_list() == ["300.0", "100.0", "400"]


@pytest.mark.parametrize(("body", "answer"), inserts() if RECORDINGS.is_dir() else [])
def test_recorded_inserts(server: ScriptedOrg, org: Org, body: str, answer: str) -> None:
    server.on("POST", "composite/sobjects", Reply(200, answer.encode()))
    answers: list[dict[str, Any]] = json.loads(answer)
    frame = pl.DataFrame({"Name": [f"row {number}" for number in range(len(answers))]})
    result = Collections(org).insert("Account", frame, ())
    assert result["target_id"].to_list() == [item.get("id") for item in answers]
    assert result["code"].null_count() == sum(item["success"] for item in answers)


@pytest.mark.parametrize("file", sorted(RECORDINGS.rglob("*error*.json")), ids=lambda file: file.stem)
def test_recorded_errors_are_read(server: ScriptedOrg, org: Org, file: Path) -> None:
    if file.name == "errors.json":
        for item in json.loads(file.read_text(encoding="utf-8")):
            fault = read_fault(400, json.dumps([{**item, "errorCode": item["statusCode"]}]).encode())
            assert (fault.code, fault.message) == (item["statusCode"], item["message"])
            assert item["statusCode"] == "(bulk row)" or classify(fault.code).kind is not Kind.UNKNOWN
        return
    several = "multiple" in file.name
    server.on("GET", "limits", Reply(300 if several else 404, file.read_bytes()))
    with pytest.raises(RequestError) as caught:
        org.limits()
    assert (caught.value.code == "") is several
