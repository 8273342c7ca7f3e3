"""Recorded answers of real orgs, asked again of the local org: same status, keys, error codes and messages."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.standard import standard, standard_objects
from isync_dagster.schema.model import Field, SObject
from isync_dagster_tests.conformance.conftest import REPLAY
from isync_dagster_tests.conformance.replay import RECORDINGS, Compared, Recorded, Replay, cassettes, differences
from isync_dagster_tests.local_org.orgs import Client

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings beside the checkout")

# Why an answer differs: a part of the request's shape, a part of the difference, the reason.
REASONS: list[tuple[str, str, str]] = [
    ("tooling/executeAnonymous", "status 404", "a local org runs no Apex"),
    ("tooling/runTestsAsynchronous", "status 404", "a local org runs no Apex"),
    ("tooling/query", "sObject type 'Apex", "a local org runs no Apex, and has no results of its tests"),
    ("tooling/query", "SubscriberPackage' is not", "a local org has no installed packages"),
    ("tooling/query", "SubscriberPackageVersion' is not", "a local org has no installed packages"),
    ("connect/communities", "", "the Connect API is not served"),
    ("POST /data/composite", "status", "the recording was altered by hand to show a network error"),
    ("/describe", "has also associateEntityType", "recorded in v48.0: these attributes came later"),
    ("/describe", "urls has also defaultValues", "recorded before this address was listed"),
    ("Event/describe", "urls lacks eventSeriesUpdates", "series of events are not served"),
    ("Event/describe", "urls has also", "the recorded Event lists fewer addresses than its own global describe"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    whizbang = SObject(
        "Whizbang",
        label="Whizbang",
        fields=(
            Field("Name", "string", label="Name", length=80, name_field=True),
            Field("Text_Label", "string", label="Text", length=255),
            Field("External_Field__c", "string", label="External", length=40, external_id=True, id_lookup=True),
        ),
    )
    objects = standard(standard_objects())
    bar = SObject("Bar", label="Bar", fields=(Field("Name", "string", label="Name", length=80, name_field=True),))
    with (
        LocalOrg.create(
            tmp_path_factory.mktemp("replay") / "org", [*objects, whizbang, bar], name="Replay", seed=8
        ) as org,
        org.serve() as served,
    ):
        made = Client(served)
        made.create("Account", Name="Sitwell-Bluth")
        yield made
        made.http.close()


def reason(compared: Compared, difference: str) -> str | None:
    shape = compared.recorded.shape
    return next((why for part, kind, why in REASONS if part in shape and kind in difference), None)


def report(found: list[Compared], note: str) -> list[str]:
    """Fills the table; gives the differences for which there is no reason."""
    rows: dict[str, list[Compared]] = {}
    for item in found:
        rows.setdefault(item.recorded.shape, []).append(item)
    unexplained: list[str] = []
    for shape, items in sorted(rows.items()):
        same = sum(not item.differences for item in items)
        whys = Counter(reason(item, difference) or difference for item in items for difference in item.differences)
        unexplained += [
            f"{shape} ({item.recorded.source}): {difference}"
            for item in items
            for difference in item.differences
            if reason(item, difference) is None
        ]
        REPLAY.append((shape, str(len(items)), str(same), str(len(items) - same), "; ".join(whys)))
    return unexplained


def test_cassettes(client: Client) -> None:
    found: list[Compared] = []
    for calls in cassettes():
        replay = Replay(client)
        found += [replay.send(call) for call in calls]
    assert len(found) > 300
    unexplained = report(found, "cassette")
    assert not unexplained, "\n".join(sorted(set(unexplained)))


def bodies() -> dict[str, tuple[str, str, Any, int]]:
    """Recorded bodies without their request: the request that calls for each."""
    soql = "/query?q=SELECT+Text_Label+FROM+Whizbang"
    return {
        "services_data_success_response.json": ("GET", "/services/data", None, 200),
        "sobject/create_success_response.json": ("POST", "/sobjects/Whizbang", {"Name": "x"}, 201),
        "sobject/delete_error_response.json": ("DELETE", "/sobjects/Whizbang/rid", None, 404),
        "sobject/describe_sobjects_success_response.json": ("GET", "/sobjects", None, 200),
        "sobject/get_deleted_success_response.json": ("GET", "/sobjects/Whizbang/deleted/", None, 200),
        "sobject/get_updated_success_response.json": ("GET", "/sobjects/Whizbang/updated/", None, 200),
        "sobject/org_query_response.json": ("GET", "/query?q=SELECT+Id+FROM+Organization", None, 200),
        "sobject/query_empty_response.json": ("GET", soql + "+WHERE+Name='none'", None, 200),
        "sobject/query_paginated_first_page_response.json": ("GET", soql, None, 200),
        "sobject/sobject_describe_error_response.json": ("GET", "/sobjects/Nothing/describe", None, 404),
        "sobject/sobject_find_error_response.json": ("GET", "/sobjects/Whizbang/23foo", None, 404),
        "sobject/upsert_created_success_response.json": (
            "PATCH", "/sobjects/Whizbang/External_Field__c/a", {"Name": "x"}, 201),
        "sobject/upsert_error_response.json": ("PATCH", "/sobjects/Whizbang/Namez/a", {"Name": "x"}, 404),
        "sobject/upsert_multiple_error_response.json": ("GET", "/sobjects/Whizbang/External_Field__c/same", None, 300),
        "sobject/write_error_response.json": ("POST", "/sobjects/Bar", {"foo": 1}, 400),
        "sobject/search_error_response.json": ("GET", "/search?q=bad", None, 400),
        "sobject/recent_success_response.json": ("GET", "/recent", None, 200),
    }  # fmt: skip


BODY_REASONS = {
    "sobject/describe_sobjects_success_response.json": "recorded in v23.0, which had fewer attributes",
    "sobject/upsert_created_success_response.json": "recorded before v46.0: `created` came later",
}


def test_recorded_bodies(client: Client) -> None:
    for number in range(230):
        client.create("Whizbang", Name=f"w{number}", **({"External_Field__c": "same"} if number < 2 else {}))
    gone = client.create("Whizbang", Name="gone")
    client.call("DELETE", f"/sobjects/Whizbang/{gone}")
    found: list[tuple[str, ...]] = []
    unexplained: list[str] = []
    now = datetime.now(UTC)
    span = {"start": (now - timedelta(hours=1)).isoformat(), "end": (now + timedelta(hours=1)).isoformat()}
    for name, (method, path, content, status) in bodies().items():
        recorded = json.loads((RECORDINGS / "api" / "restforce" / name).read_text(encoding="utf-8"))
        options: dict[str, Any] = {"json": content} if content is not None else {}
        if path.endswith(("deleted/", "updated/")):
            options["params"] = span
        answer = client.call(method, path, headers={"Sforce-Query-Options": "batchSize=200"}, **options)
        wrong = [] if answer.status_code == status else [f"status {answer.status_code} for {status}"]
        ours = answer.json()
        wrong += differences(recorded, ours)
        why = BODY_REASONS.get(name, "")
        unexplained += [f"{name}: {item}" for item in wrong if not why]
        found.append(
            (
                f"{method} {path.split('?')[0]} ({Path(name).stem})",
                "1",
                str(int(not wrong)),
                str(int(bool(wrong))),
                why if wrong else "",
            )
        )
    REPLAY.extend(found)
    assert not unexplained, "\n".join(unexplained)


def test_a_difference_is_seen() -> None:
    recorded = Recorded("", "GET", "/", None, "", 400, [{"errorCode": "A", "message": "m"}])
    assert list(differences(recorded.body, [{"errorCode": "A", "message": "n"}])) == ["message 'n' for 'm'"]
    assert list(differences({"a": [{"b": 1}]}, {"a": [{"c": 1}]})) == ["a[] lacks b", "a[] has also c"]
