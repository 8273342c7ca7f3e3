"""Malformed requests of every kind: no server error, no lost or new row but by a call that says it made one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster_tests.local_org.orgs import Client, make_org

METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE", "HEAD")
NAMES = ("Account", "Project__c", "Attachment", "User", "Nothing", "", "%27", "..", "Account;DROP")
# Pieces that resources are made of: real ones, and some that are nearly so.
PIECES = (
    "sobjects", "query", "queryAll", "composite", "batch", "tree", "graph", "jobs", "ingest", "batches", "results",
    "resultPages", "describe", "layouts", "limits", "recordCount", "search", "parameterizedSearch", "updated",
    "deleted", "ui-api", "object-info", "picklist-values", "Key__c", "Id", "x", "001000000000001AAA",
    "tooling", "CustomField", "ApexTrigger", "metadata", "deployRequest", "750000000000001AAA", "password", "successfulResults", "recent", *NAMES,
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["\x00", "'", '"', "\\", "@{a.id}", "@{", "#N/A", "1e999", "\ud7ff", "2024-13-45", "-0", "null"]),
)


def keys() -> st.SearchStrategy[str]:
    known = (
        "records", "attributes", "type", "referenceId", "compositeRequest", "method", "url", "body", "allOrNone",
        "graphs", "graphId", "batchRequests", "richInput", "ids", "fields", "operation", "object", "query", "state",
        "externalIdFieldName", "columnDelimiter", "lineEnding", "q", "sobjects", "name", "Name", "Account__r", "Key__c",
        "FullName", "Metadata", "active", "label", "length", "deployOptions",
        "httpHeaders", "NewPassword", "Id", "concurrencyMode", "contentType",
    )  # fmt: skip
    return st.one_of(st.sampled_from(known), TEXTS)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys(), inner, max_size=4)),
    max_leaves=12,
)
SOQL = st.lists(
    st.sampled_from(
        ["SELECT", "Id", "Name", ",", "FROM", "Account", "WHERE", "(", ")", "=", "'a'", "LIMIT", "5", "COUNT()", "AND",
         "IN", "TYPEOF", "ORDER BY", "GROUP BY", "FIND", "{a b}", "RETURNING", "NULL", "TODAY", ":", "*", "\\"]
    ),
    max_size=14,
).map(" ".join)  # fmt: skip


PATHS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("/".join)
BODIES = st.one_of(
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
    SOQL.map(str.encode),
    st.just(b"<jobInfo><state/></jobInfo>"),
)
TYPES = ("application/json", "text/csv", "application/xml", "multipart/form-data; boundary=b", "text/plain", "")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with make_org(tmp_path_factory.mktemp("fuzz") / "org") as org, org.serve() as served:
        client = Client(served)
        for number in range(20):
            client.create("Account", Name=f"kept {number}")
        yield client
        client.http.close()


def kept(org: LocalOrg) -> int:
    return int(
        org.storage.rows('SELECT count(*) FROM "Account" WHERE "Name" LIKE \'kept %\' AND NOT "IsDeleted"')[0][0]
    )


def send(client: Client, method: str, path: str, body: bytes, kind: str, params: dict[str, str]) -> None:
    headers = {"Content-Type": kind} if kind else {}
    if "/async/" in path:
        headers["X-SFDC-Session"] = str(client.http.headers["Authorization"]).removeprefix("Bearer ")
    answer = client.call(method, path, data=body, headers=headers, params=params, allow_redirects=False)
    soap = "/Soap/" in path
    assert answer.status_code < 500 or (soap and b"Fault" in answer.content), (method, path, body, params, answer.text)
    if answer.status_code >= 400 and method != "HEAD" and not soap and answer.content:
        told: Any = answer.text
        assert (
            "errorCode" in told
            or "exceptionCode" in told
            or '"error"' in told
            or "error=" in told
            or "hasErrors" in told
        ), (path, told)


BASES = (
    "",
    "",
    "",
    "/services/async/62.0/job",
    "/services/Soap/u/62.0",
    "/services/Soap/m/62.0",
    "/services/oauth2/token",
    "/services/oauth2/authorize",
)


def fuzz(client: Client, examples: int) -> None:
    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip
    @given(
        method=st.sampled_from(METHODS),
        base=st.sampled_from(BASES),
        path=PATHS,
        body=BODIES,
        kind=st.sampled_from(TYPES),
        params=st.dictionaries(st.sampled_from(("q", "ids", "fields", "start", "end", "locator", "maxRecords", "columns", "explain")), st.one_of(SOQL, TEXTS), max_size=2),
    )  # fmt: skip
    def run(method: str, base: str, path: str, body: bytes, kind: str, params: dict[str, str]) -> None:
        send(
            client,
            method,
            f"{base}/{path}" if "oauth2" not in base and "Soap" not in base else base,
            body,
            kind,
            params,
        )

    run()
    assert kept(client.served.org) == 20, "a malformed request must not lose a row"
    assert client.query("SELECT COUNT(Id) n FROM Account WHERE Name LIKE 'kept %'")[0]["n"] == 20


def test_a_short_fuzz(fuzzed: Client) -> None:
    fuzz(fuzzed, 250)


@pytest.mark.slow
@pytest.mark.skipif("not config.getoption('-m')", reason="behind -m slow")
def test_a_long_fuzz(fuzzed: Client) -> None:
    fuzz(fuzzed, 20_000)


def test_a_served_org_answers_after_garbage_on_the_wire(fuzzed: Client) -> None:
    import socket

    host, port = fuzzed.served.url.removeprefix("http://").split(":")
    for garbage in (b"\x00\xff\x16\x03", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                    b"GET /%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n"):  # fmt: skip
        with socket.create_connection((host, int(port)), timeout=10) as wire:
            wire.sendall(garbage)
            wire.settimeout(0.2)
            try:
                wire.recv(4096)
            except TimeoutError:
                continue
    assert fuzzed.call("GET", "/limits").status_code == 200
