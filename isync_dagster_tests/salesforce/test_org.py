from __future__ import annotations

import pickle
import re
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import (
    ApiLimitError,
    AuthenticationError,
    IsyncError,
    OrgsError,
    RequestError,
    TransientError,
    UnknownOutcome,
)
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.transport import usage_of
from isync_dagster_tests.salesforce.conftest import Naps
from isync_dagster_tests.salesforce.scripted_org import DROP, Reply, Request, ScriptedOrg, refused

Connect = Callable[..., Org]


def rows(*records: dict[str, Any], total: int | None = None, following: str | None = None) -> Reply:
    answer: dict[str, Any] = {
        "totalSize": len(records) if total is None else total,
        "done": following is None,
        "records": [{"attributes": {"type": "X", "url": "/x"}, **record} for record in records],
    }
    if following is not None:
        answer["nextRecordsUrl"] = f"/services/data/v62.0/query/{following}"
    return Reply(200, answer)


def organization(**more: Any) -> Reply:
    return rows(
        {
            "Id": "00D000000000001EAA",
            "Name": "Acme",
            "InstanceName": "EU1",
            "OrganizationType": "Enterprise Edition",
            "IsSandbox": False,
            "TrialExpirationDate": None,
            **more,
        }
    )


# identity and guards


@pytest.mark.parametrize(
    ("answer", "production"),
    [
        ({}, True),
        ({"OrganizationType": "Unlimited Edition"}, True),
        ({"IsSandbox": True}, False),
        ({"OrganizationType": "Developer Edition"}, False),
        ({"OrganizationType": "Partner Developer Edition"}, False),
        ({"TrialExpirationDate": "2026-01-01T00:00:00.000+0000"}, False),
    ],
)
def test_identity_tells_production_from_practice(
    server: ScriptedOrg, org: Org, answer: dict[str, Any], production: bool
) -> None:
    server.on("GET", "query", organization(**answer))
    identity = org.identity()
    assert (identity.alias, identity.org_id, identity.name) == ("acme", "00D000000000001EAA", "Acme")
    assert (identity.api_version, identity.instance_url) == ("62.0", server.url)
    assert identity.is_production is production
    org.identity()
    assert org.calls == 1


def test_identity_where_the_org_knows_no_trial_date(server: ScriptedOrg, org: Org) -> None:
    def query(request: Request) -> Reply:
        return refused(400, "INVALID_FIELD") if "Trial" in request.query["q"] else organization()

    server.on("GET", "query", query)
    assert org.identity().is_production


def test_production_is_written_to_with_permission_only(server: ScriptedOrg, connect: Connect) -> None:
    server.on("GET", "query", organization())
    with pytest.raises(
        OrgsError, match=r"'acme' \(Acme, 00D000000000001EAA\) is a production org.*allow_production: true"
    ):
        connect().require_writable()
    assert connect(allow_production=True).require_writable().is_production


def test_a_sandbox_is_writable(server: ScriptedOrg, org: Org) -> None:
    server.on("GET", "query", organization(IsSandbox=True))
    assert not org.require_writable().is_production


@pytest.mark.parametrize(
    ("offered", "expected"), [(["31.0", "58.0", "62.0"], "62.0"), (["60.0", "99.0"], "60.0"), (["9.0", "61.0"], "61.0")]
)
def test_the_newest_version_that_both_sides_know(
    server: ScriptedOrg, connect: Connect, offered: list[str], expected: str
) -> None:
    server.on("GET", "/services/data", Reply(200, [{"label": "x", "url": "/x", "version": item} for item in offered]))
    assert connect(api_version=None).api_version == expected


def test_an_org_without_a_common_version(server: ScriptedOrg, connect: Connect) -> None:
    server.on("GET", "/services/data", Reply(200, [{"version": "31.0"}]))
    with pytest.raises(OrgsError, match=r"31\.0.*needs one of"):
        _ = connect(api_version=None).api_version


def test_the_clock_is_the_orgs_own(server: ScriptedOrg, org: Org) -> None:
    server.on("GET", "query", Reply(200, rows().body, {"Date": "Wed, 31 Jan 2024 23:59:58 GMT"}))
    assert org.server_time() == datetime(2024, 1, 31, 23, 59, 58, tzinfo=UTC)


def test_the_time_that_has_passed_costs_no_call_once_the_org_has_answered(server: ScriptedOrg, org: Org) -> None:
    server.on("GET", "query", Reply(200, rows().body, {"Date": "Wed, 31 Jan 2024 23:59:58 GMT"}))
    first = org.time_passed()
    calls = org.calls
    assert first == datetime(2024, 1, 31, 23, 59, 58, tzinfo=UTC)
    assert first <= org.time_passed() <= org.time_passed()
    assert org.calls == calls


def test_threads_that_begin_together_ask_for_the_version_once(server: ScriptedOrg, connect: Connect) -> None:
    server.on("GET", "/services/data", Reply(200, [{"version": "62.0"}]))
    org = connect(api_version=None)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: org.api_version, range(8))) == {"62.0"}
    assert org.calls == 1


def test_an_org_is_not_pickled(org: Org) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(org)


def test_connecting_sends_nothing(server: ScriptedOrg, connect: Connect) -> None:
    connect()
    assert server.requests == []


# reads


def test_describe_goes_through_simple_salesforce_and_our_way(server: ScriptedOrg, org: Org) -> None:
    describe = {"name": "Account", "keyPrefix": "001", "fields": [{"name": "Id", "type": "id", "nillable": False}]}
    server.on("GET", "sobjects/Account/describe", [refused(503, "SERVER_UNAVAILABLE"), Reply(200, describe)])
    found = org.describe("Account")
    assert (found.name, found.key_prefix, found.fields[0].type) == ("Account", "001", "id")
    sent = server.requests[-1]
    assert "X-PrettyPrint" not in sent.headers
    assert "isync_dagster" in sent.headers["Sforce-Call-Options"]


def test_describe_survives_the_expiry_of_the_session(server: ScriptedOrg, connect: Connect) -> None:
    server.on("POST", "/services/oauth2/token", Reply(200, {"access_token": "t2", "instance_url": server.url}))
    server.on("GET", "sobjects", Reply(200, {"sobjects": [{"name": "Account"}, {"name": "Contact"}]}))
    org = connect({"R": "r"}, auth="refresh_token", refresh_token="${R}", consumer_key="k", login_url=server.url)
    server.tokens = set()

    def login(_: Request) -> Reply:
        server.tokens = {f"t{len(server.requests)}"}
        return Reply(200, {"access_token": f"t{len(server.requests)}", "instance_url": server.url})

    server.on("POST", "/services/oauth2/token", login)
    assert [item["name"] for item in org.describe_global()] == ["Account", "Contact"]
    server.tokens = set()
    assert len(org.describe_global()) == 2


def test_an_unknown_object(server: ScriptedOrg, org: Org) -> None:
    with pytest.raises(RequestError) as caught:
        org.describe("Nope__c")
    assert (caught.value.code, caught.value.status) == ("NOT_FOUND", 404)
    with pytest.raises(RequestError):
        org.describe("../limits")


def test_query_gives_strings_by_path_over_all_pages(server: ScriptedOrg, org: Org) -> None:
    first = {
        "Id": "1",
        "Name": 'Ä, "b"\nc',
        "AnnualRevenue": 3.5e8,
        "Employees": 12,
        "IsActive": True,
        "CreatedDate": "2024-01-31T10:00:00.000+0000",
        "Owner": {"attributes": {"type": "User"}, "Name": "Jo", "Profile": {"attributes": {}, "Name": "Admin"}},
    }
    second = {**first, "Id": "2", "Owner": None, "IsActive": False, "AnnualRevenue": None}
    server.on("GET", "query", rows(first, total=3, following="01g-2"))
    server.on("GET", "query/01g-2", rows(second, {**second, "Id": "3"}, total=3))
    soql = (
        "SELECT Id, Name, annualrevenue, Employees, IsActive, CreatedDate, Owner.Name, Owner.Profile.Name "
        "FROM Account WHERE Name != ','"
    )
    frame = org.query(soql)
    assert set(frame.dtypes) == {pl.String}
    assert frame.columns == [item.strip() for item in soql[7 : soql.index(" FROM")].split(",")]
    assert frame.row(0) == (
        "1", "Ä, \"b\"\nc", "350000000.0", "12", "true", "2024-01-31T10:00:00.000+0000", "Jo", "Admin",
    )  # fmt: skip
    assert frame["Owner.Name"].to_list() == ["Jo", None, None]
    assert frame["IsActive"].to_list() == ["true", "false", "false"]
    assert server.requests[0].headers["Sforce-Query-Options"] == "batchSize=2000"


def test_numbers_stay_as_they_are_spelled(server: ScriptedOrg, org: Org) -> None:
    body = b'{"totalSize":1,"done":true,"records":[{"attributes":{},"A":12345678901234567.25,"B":3.5E8,"C":1.10}]}'
    server.on("GET", "query", Reply(200, body))
    assert org.query("SELECT A, B, C FROM X").row(0) == ("12345678901234567.25", "3.5E8", "1.10")


def test_a_query_without_rows_has_its_columns(server: ScriptedOrg, org: Org) -> None:
    server.on("GET", "query", rows())
    frame = org.query("select Id, Owner.Name\nfrom Account")
    assert (frame.columns, frame.height) == (["Id", "Owner.Name"], 0)


def test_aggregates_and_subqueries(server: ScriptedOrg, org: Org) -> None:
    inner = {"totalSize": 1, "done": True, "records": [{"attributes": {}, "Name": "Deal"}]}
    server.on(
        "GET",
        "query",
        rows({"Name": "A", "n": 3, "Opportunities": inner}, {"Name": "B", "n": 1, "Opportunities": None}),
    )
    frame = org.query("SELECT Name, COUNT(Id) n, (SELECT Name FROM Opportunities) FROM Account GROUP BY Name")
    assert frame["n"].to_list() == ["3", "1"]
    assert '"Deal"' in frame["Opportunities"][0]


def test_deleted_rows_on_request(server: ScriptedOrg, org: Org) -> None:
    server.on("GET", "queryAll", rows({"Id": "1"}))
    assert org.query("SELECT Id FROM Account", include_deleted=True).height == 1


@pytest.mark.parametrize("status", [400, 404])
def test_a_dropped_cursor_starts_the_query_anew(server: ScriptedOrg, org: Org, status: int) -> None:
    server.on("GET", "query", rows({"Id": "1"}, total=2, following="c-1"))
    server.on("GET", "query/c-1", [refused(status, "INVALID_QUERY_LOCATOR"), rows({"Id": "2"}, total=2)])
    assert org.query("SELECT Id FROM X")["Id"].to_list() == ["1", "2"]


def test_pages_that_do_not_add_up_are_not_believed(server: ScriptedOrg, org: Org) -> None:
    server.on("GET", "query", [rows({"Id": "1"}, total=2), rows({"Id": "1"}, {"Id": "2"})])
    assert org.query("SELECT Id FROM X").height == 2


def test_a_query_too_long_for_a_url_is_refused_before_it_is_sent(server: ScriptedOrg, org: Org) -> None:
    with pytest.raises(RequestError, match="split its IN list"):
        org.query("SELECT Id FROM X WHERE Id IN ('" + "0" * 20_000 + "')")
    assert server.requests == []


def test_count(server: ScriptedOrg, org: Org) -> None:
    server.on("GET", "query", Reply(200, {"totalSize": 17, "done": True, "records": []}))
    assert org.count("Account", "Name LIKE 'A%'") == 17
    assert server.requests[0].query["q"] == "SELECT COUNT() FROM Account WHERE Name LIKE 'A%'"


# the way of a call

TROUBLE = [
    DROP,
    Reply(503, "<html>maintenance</html>"),
    Reply(502, b""),
    Reply(504, "<html>"),
    refused(500, "UNKNOWN_EXCEPTION"),
    refused(503, "SERVER_UNAVAILABLE"),
    refused(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
    refused(400, "QUERY_TIMEOUT"),
    Reply(200, b'{"a":1}', cut=3),
]


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_read_is_repeated(server: ScriptedOrg, org: Org, naps: Naps, trouble: Reply) -> None:
    server.on("GET", "limits", [trouble, trouble, Reply(200, {"a": 1})])
    assert org.limits() == {"a": 1}
    assert org.calls == 3
    assert len(naps.taken) == 2
    assert 0.5 <= naps.taken[0] <= 1.0 <= naps.taken[1] <= 1.5


@pytest.mark.parametrize("trouble", TROUBLE)
def test_repeats_are_bounded(server: ScriptedOrg, org: Org, trouble: Reply) -> None:
    server.on("GET", "limits", trouble)
    with pytest.raises(TransientError, match=r"org 'acme': GET /services/data/v62\.0/limits"):
        org.limits()
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "trouble",
    [DROP, Reply(503, "<html>"), Reply(502, b""), Reply(504, b""), refused(500, "UNKNOWN_EXCEPTION"),
     Reply(200, b'{"id":"1"}', cut=3)],
)  # fmt: skip
def test_a_write_without_answer_is_an_unknown_outcome(server: ScriptedOrg, org: Org, trouble: Reply) -> None:
    server.on("POST", "sobjects/Account", trouble)
    with pytest.raises(UnknownOutcome):
        org.request("POST", "sobjects/Account", json={"Name": "A"})
    assert len(server.requests) == 1


def test_a_write_that_gets_no_answer_in_time_is_an_unknown_outcome(server: ScriptedOrg, org: Org) -> None:
    def late(_: Request) -> Reply:
        time.sleep(1.5)
        return Reply(200, b"")

    server.on("POST", "sobjects/Account", late)
    with pytest.raises(UnknownOutcome):
        org.request("POST", "sobjects/Account", json={}, timeout=0.3)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        refused(503, "SERVER_UNAVAILABLE"),
        refused(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
        Reply(429, b""),
        Reply(420, b""),
    ],
)
def test_a_write_that_was_turned_away_is_sent_again(server: ScriptedOrg, org: Org, trouble: Reply) -> None:
    server.on("POST", "sobjects/Account", [trouble, Reply(201, {"id": "1"})])
    assert org.request("POST", "sobjects/Account", json={}).json() == {"id": "1"}


def test_a_write_that_never_left_is_sent_again(connect: Connect) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    org = connect(
        {"T": "t"},
        auth="access_token",
        access_token="${T}",
        instance_url=f"http://127.0.0.1:{port}",
        api_version="62.0",
    )
    with pytest.raises(TransientError, match="refused"):
        org.request("POST", "sobjects/Account", json={})
    assert org.calls == 4


def test_the_wait_that_the_org_asks_for_is_kept(server: ScriptedOrg, org: Org, naps: Naps) -> None:
    busy = refused(503, "SERVER_UNAVAILABLE")
    busy.headers["Retry-After"] = "7"
    server.on("GET", "limits", [busy, Reply(200, {})])
    org.limits()
    assert naps.taken == [7.0]


def test_a_used_up_allowance_stops_at_once(server: ScriptedOrg, org: Org) -> None:
    server.on("GET", "limits", refused(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."))
    with pytest.raises(ApiLimitError):
        org.limits()
    assert org.calls == 1


@pytest.mark.parametrize(("used", "kind"), [("15000/15000", ApiLimitError), ("20/15000", TransientError)])
def test_a_limit_told_in_another_language_is_judged_by_the_usage(
    server: ScriptedOrg, org: Org, used: str, kind: type[IsyncError]
) -> None:
    reply = refused(403, "REQUEST_LIMIT_EXCEEDED", "Limite dépassée")
    reply.headers["Sforce-Limit-Info"] = f"api-usage={used}"
    server.on("GET", "limits", reply)
    with pytest.raises(kind):
        org.limits()


@pytest.mark.parametrize(
    ("reply", "code", "text"),
    [
        (refused(400, "MALFORMED_QUERY", "unexpected token: FROM"), "MALFORMED_QUERY", "unexpected token: FROM"),
        (Reply(400, {"errorCode": "API_ERROR", "message": "m"}), "API_ERROR", "m"),
        (Reply(400, {"exceptionCode": "InvalidBatch", "exceptionMessage": "m"}), "InvalidBatch", "m"),
        (Reply(403, [{"errorCode": "A", "message": "m1"}, {"errorCode": "B", "message": "m2"}]), "A", "m1; m2"),
        (Reply(410, "<html>gone</html>"), "", "API version"),
        (Reply(302, b"", {"Location": "https://elsewhere.example/"}), "", "HTTP 302"),
        (Reply(300, ["/services/data/v62.0/sobjects/Account/001"]), "", "HTTP 300"),
        (Reply(404, b""), "", "no text"),
        (Reply(400, b"\xff\xfe{"), "", "no JSON"),
    ],
)
def test_every_shape_of_a_refusal(server: ScriptedOrg, org: Org, reply: Reply, code: str, text: str) -> None:
    server.on("GET", "limits", reply)
    with pytest.raises(RequestError, match=re.escape(text)) as caught:
        org.limits()
    assert (caught.value.code, caught.value.status) == (code, reply.status)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.code) == (str(caught.value), code)


# the session


def refreshing(server: ScriptedOrg, connect: Connect) -> Org:
    """An org whose logins give the tokens t1, t2, ...; the server knows the newest one only."""

    def login(_: Request) -> Reply:
        number = len(server.asked("POST", "/services/oauth2/token"))
        server.tokens = {f"t{number}"}
        return Reply(200, {"access_token": f"t{number}", "instance_url": server.url})

    server.on("POST", "/services/oauth2/token", login)
    return connect({"R": "r"}, auth="refresh_token", refresh_token="${R}", consumer_key="k", login_url=server.url)


def test_an_expired_session_is_renewed_and_the_call_replayed_with_its_headers(
    server: ScriptedOrg, connect: Connect
) -> None:
    org = refreshing(server, connect)
    server.on("POST", "composite/sobjects", Reply(200, []))
    org.request("POST", "composite/sobjects", json={"a": 1}, headers={"Sforce-Auto-Assign": "FALSE"})
    server.tokens = set()
    org.request("POST", "composite/sobjects", json={"a": 2}, headers={"Sforce-Auto-Assign": "FALSE"})
    sent = server.asked("POST", "composite/sobjects")
    assert [(item.headers["Authorization"], item.json()) for item in sent] == [
        ("Bearer t1", {"a": 1}), ("Bearer t1", {"a": 2}), ("Bearer t2", {"a": 2}),
    ]  # fmt: skip
    assert {item.headers["Sforce-Auto-Assign"] for item in sent} == {"FALSE"}


def test_a_session_that_is_never_accepted_ends(server: ScriptedOrg, connect: Connect) -> None:
    org = refreshing(server, connect)
    server.on("GET", "limits", refused(401, "INVALID_SESSION_ID"))
    with pytest.raises(AuthenticationError, match="refuses a fresh session"):
        org.limits()
    assert len(server.asked("POST", "/services/oauth2/token")) == 3


def test_a_401_that_no_login_helps_does_not_loop(server: ScriptedOrg, connect: Connect) -> None:
    org = refreshing(server, connect)
    server.on("GET", "limits", refused(401, "X", "This session is not valid for use with the REST API"))
    with pytest.raises(AuthenticationError, match="not valid for use"):
        org.limits()
    assert len(server.asked("POST", "/services/oauth2/token")) == 1


def test_a_401_that_is_no_list(server: ScriptedOrg, connect: Connect) -> None:
    org = refreshing(server, connect)
    server.on("GET", "limits", [Reply(401, "<html>"), Reply(200, {"a": 1})])
    assert org.limits() == {"a": 1}


def test_an_access_token_cannot_be_renewed(server: ScriptedOrg, org: Org) -> None:
    server.tokens = set()
    with pytest.raises(AuthenticationError, match="cannot be renewed; put a new one"):
        org.limits()


def test_calls_in_flight_are_bounded(server: ScriptedOrg, connect: Connect) -> None:
    org = connect(concurrency={"calls": 2, "jobs": 1})
    now = most = 0
    lock = threading.Lock()

    def slow(_: Request) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return Reply(200, {})

    server.on("GET", "limits", slow)
    threads = [threading.Thread(target=org.limits) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2


def test_job_slots_are_bounded(connect: Connect) -> None:
    org = connect(concurrency={"calls": 2, "jobs": 1})
    entered = threading.Event()

    def other() -> None:
        with org.job_slot():
            entered.set()

    thread = threading.Thread(target=other)
    with org.job_slot():
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(2)
    thread.join()


def test_calls_and_usage_are_counted(server: ScriptedOrg, org: Org) -> None:
    server.on(
        "GET", "limits", Reply(200, {}, {"Sforce-Limit-Info": "api-usage=18/5000; per-app-api-usage=1/2(appName=x)"})
    )
    assert (org.calls, org.usage) == (0, None)
    org.limits()
    assert (org.calls, org.usage) == (1, (18, 5000))


def test_a_meter_counts_its_own_work_only(server: ScriptedOrg, org: Org) -> None:
    server.on("GET", "limits", Reply(200, {"a": 1}))
    with org.metering() as meter:
        thread = threading.Thread(target=org.limits)
        thread.start()
        thread.join()
        org.limits()
    org.limits()
    assert (org.calls, meter.calls) == (3, 1)
    assert meter.bytes_received == len('{"a": 1}')


@pytest.mark.parametrize("header", ["", "api-usage=x/y", "per-app-api-usage=17/250(appName=x)", "api-usage=18"])
def test_a_usage_header_that_says_nothing(header: str) -> None:
    assert usage_of({"Sforce-Limit-Info": header}) is None


def test_a_netrc_entry_does_not_replace_the_token(
    server: ScriptedOrg, org: Org, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login a password b\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.on("GET", "limits", Reply(200, {"a": 1}))
    assert org.limits() == {"a": 1}
