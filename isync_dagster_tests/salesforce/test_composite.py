"""Several reads in one call, against an org of which each answer is scripted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

import polars as pl
import pytest

from isync_dagster.errors import OrgsError, RequestError
from isync_dagster.salesforce.org import Deleted, Org
from isync_dagster_tests.salesforce.scripted_org import Reply, Request, ScriptedOrg, refused

Answered = Callable[[str], tuple[int, Any]]


def answering(server: ScriptedOrg, answer: Answered) -> None:
    """Answer each subrequest by its decoded URL; in another order than they were asked, as references allow."""

    def composite(request: Request) -> Reply:
        found = []
        for item in json.loads(request.body)["compositeRequest"]:
            assert item["method"] == "GET"
            status, body = answer(unquote_plus(item["url"]))
            found.append(
                {"body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": item["referenceId"]}
            )
        return Reply(200, {"compositeResponse": found[::-1]})

    server.on("POST", "composite", composite)


def page(*ids: str, total: int | None = None, following: str | None = None) -> dict[str, Any]:
    records = [{"attributes": {"type": "X", "url": "/x"}, "Id": value, "Amount": 1.50} for value in ids]
    more = {"nextRecordsUrl": following} if following else {}
    return {"totalSize": len(ids) if total is None else total, "done": not following, "records": records, **more}


def test_queries_go_five_a_call_and_keep_their_order(server: ScriptedOrg, org: Org) -> None:
    answering(server, lambda url: (200, page(url[-1] * 3)))
    found = org.queries([f"SELECT Id, Amount FROM X{number}" for number in range(7)])
    assert len(server.asked("POST", "composite")) == 2
    frames = [frame for frame in found if isinstance(frame, pl.DataFrame)]
    assert [frame["Id"][0] for frame in frames] == [str(number) * 3 for number in range(7)]
    # Numbers as the org spells them.
    assert frames[0]["Amount"].to_list() == ["1.5"]


def test_more_rows_than_wanted_are_only_counted_and_deleted_ones_asked_for(server: ScriptedOrg, org: Org) -> None:
    seen: list[str] = []

    def answer(url: str) -> tuple[int, Any]:
        seen.append(url.rsplit("/", 1)[-1])
        return 200, page("a", total=2_001, following="/services/data/v62.0/query/more") if "Big" in url else page("b")

    answering(server, answer)
    found = org.queries(["SELECT Id FROM Big", Deleted("SELECT Id FROM Small WHERE IsDeleted = true")], most=2_000)
    assert found[0] == 2_001
    assert isinstance(found[1], pl.DataFrame) and found[1]["Id"].to_list() == ["b"]
    assert [text.partition("?")[0] for text in seen] == ["query", "queryAll"]


def test_later_pages_are_fetched(server: ScriptedOrg, org: Org) -> None:
    answering(server, lambda _: (200, page("a", total=2, following="/services/data/v62.0/query/more")))
    server.on("GET", "query/more", Reply(200, page("b", total=2)))
    (rows,) = org.queries(["SELECT Id FROM X"])
    assert isinstance(rows, pl.DataFrame) and rows["Id"].to_list() == ["a", "b"]


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_refused_is_asked_by_itself_and_tells_why(server: ScriptedOrg, org: Org, whole: bool) -> None:
    if whole:
        server.on("POST", "composite", refused(404, "NOT_FOUND"))
    else:
        answering(server, lambda url: (400, [{"errorCode": "INVALID_FIELD"}]) if "Bad" in url else (200, page("a")))
    server.on("GET", "query", Reply(200, page("c")))
    found = org.queries(["SELECT Id FROM Good", "SELECT Id FROM Bad"])
    assert [frame["Id"].to_list() for frame in found if isinstance(frame, pl.DataFrame)] == [
        ["c" if whole else "a"],
        ["c"],
    ]
    assert [None if rows is None else rows.height for rows in org.queries_that_may_fail(["SELECT Id FROM Bad"])] == [
        None
    ]
    server.on("GET", "query", refused(400, "INVALID_FIELD"))
    with pytest.raises(RequestError) as raised:
        org.queries(["SELECT Id FROM Good", "SELECT Id FROM Bad"])
    assert raised.value.details["code"] == "INVALID_FIELD"


def test_describes_go_ten_a_call_and_are_kept(server: ScriptedOrg, org: Org) -> None:
    def answer(url: str) -> tuple[int, Any]:
        name = url.split("/")[-2]
        return (404, [{"errorCode": "NOT_FOUND"}]) if name == "Gone" else (200, {"name": name, "fields": []})

    answering(server, answer)
    names = [f"X{number}__c" for number in range(11)]
    found = org.describe_all([*names, "Gone", "not a name", names[0]])
    assert sorted(found) == sorted(names)
    assert len(server.asked("POST", "composite")) == 2
    assert org.described("X3__c").name == "X3__c"
    assert not org.is_described("Gone") and not server.asked("GET", "describe")


def test_a_connection_that_only_reads_sends_reads_together(server: ScriptedOrg, org: Org) -> None:
    answering(server, lambda _: (200, page("a")))
    reading = org.reading()
    assert len(reading.queries(["SELECT Id FROM X"])) == 1
    body = {"compositeRequest": [{"method": "PATCH", "url": "/services/data/v62.0/sobjects/X/1", "referenceId": "r0"}]}
    with pytest.raises(OrgsError, match="not sent"):
        reading.request("POST", "composite", json=body)
