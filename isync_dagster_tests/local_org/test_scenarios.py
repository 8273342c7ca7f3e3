"""Scenario files, and what an org in trouble does: refusals, counts and rows read back from the org."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import requests

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.conditions import Conditions
from isync_dagster.local_org.faults import Fault
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.locks import contended_rows
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.scenarios import Limits, Locks, Scenario, Timeouts, load, names, shipped
from isync_dagster.local_org.scenarios.files import parse
from isync_dagster.local_org.server import Served
from isync_dagster_tests.local_org.orgs import Client, make_org


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalOrg]:
    with make_org(tmp_path_factory.mktemp("org") / "org") as made:
        yield made


@pytest.fixture
def well(client: Client, served: Served) -> Iterator[Client]:
    """A client of the org, which is in good health again afterwards."""
    yield client
    served.service.lift()
    client.http.close()


def begin(client: Client, **sections: object) -> None:
    scenario = Scenario.model_validate({"name": "test", "description": "Of a test.", **sections})
    client.served.service.apply(scenario)


def held(client: Client, prefix: str) -> int:
    rows = client.query(f"SELECT COUNT(Id) n FROM Contact WHERE LastName LIKE '{prefix}%'")
    return int(rows[0]["n"])


def csv(prefix: str, parents: list[str]) -> str:
    return "LastName,AccountId\n" + "".join(f"{prefix}{number},{parent}\n" for number, parent in enumerate(parents))


def test_every_shipped_scenario_is_whole_and_in_one_line() -> None:
    found = shipped()
    assert len(found) > 25
    assert [item.name for item in found] == list(names())
    assert all("\n" not in item.description and item.description.endswith(".") for item in found)
    assert {item.name for item in found if item.kills} == {name for name in names() if name.startswith("kill-")}


def test_every_shipped_scenario_loads_and_lifts_on_a_served_org(well: Client, served: Served) -> None:
    control = "/__local_org/scenario"
    for item in shipped():
        begun = well.call("POST", control, json={"name": item.name})
        if item.kills:
            # This server lives in the process of the tests.
            assert begun.status_code == 400 and begun.json()[0]["errorCode"] == "INVALID_SCENARIO"
            continue
        assert begun.json()["scenario"] == item.name
        lifted = well.call("DELETE", control)
        assert lifted.json()["scenario"] == "none", item.name
        well.log_in()
        assert well.query("SELECT COUNT(Id) n FROM User")[0]["n"] >= 3, item.name


def test_a_wrong_file_names_line_and_nearest_key(tmp_path: Path) -> None:
    text = "name: x\ndescription: y\nlock:\n  a: 1\ncalls:\n  - kind: status\n    paht: x\nlocks:\n  degre: 0\n"
    with pytest.raises(ConfigError) as found:
        parse(text, "x.yaml")
    assert str(found.value).splitlines() == [
        "x.yaml:3: lock: there is no such key: did you mean locks?.",
        "x.yaml:7: calls.0.paht: there is no such key: did you mean path?.",
        "x.yaml:9: locks.degre: there is no such key: did you mean degree?.",
    ]
    with pytest.raises(ConfigError, match=r"x\.yaml:2: the key 'name' stands here a second time"):
        parse("name: x\nname: y\n", "x.yaml")
    with pytest.raises(ConfigError, match=r"x\.yaml:2: this is no YAML"):
        parse("name: x\n  - y: [", "x.yaml")
    with pytest.raises(ConfigError, match="did you mean row-locks"):
        load("row-lock")
    file = tmp_path / "other.yaml"
    file.write_text("name: mine\ndescription: Mine.\n")
    with pytest.raises(ConfigError, match=r"the name is 'mine' and the file is other\.yaml"):
        load(file)


def test_a_scenario_begins_and_ends_by_the_control_side(well: Client) -> None:
    answer = well.call("POST", "/__local_org/scenario", json={"name": "service-unavailable"})
    assert answer.json()["scenario"] == "service-unavailable"
    statuses = [well.call("GET", "/limits").status_code for _ in range(14)]
    assert statuses == [200] * 10 + [503] * 3 + [200]
    assert well.call("DELETE", "/__local_org/scenario").json()["scenario"] == "none"
    listed = {item["name"] for item in well.call("GET", "/__local_org/scenarios").json()}
    assert listed == set(names())
    refused = well.call("POST", "/__local_org/scenario", json={"name": "kill-in-commit"})
    assert (refused.status_code, refused.json()[0]["errorCode"]) == (400, "INVALID_SCENARIO")
    assert requests.post(f"{well.served.url}/__local_org/scenario", json={}, timeout=10).status_code == 401
    assert requests.post(f"{well.served.url}/__local_org/reset", timeout=10).status_code == 401


def test_rules_count_by_every_share_and_seed() -> None:
    every = Fault(kind="delay", every=3, times=2)
    assert [every.meets("GET /x", 0) for _ in range(9)] == [True, False, False, True, False, False, False, False, False]
    share = [[Fault(kind="delay", share=0.5, times=None) for _ in range(2)] for _ in range(2)]
    first, again = ([rule.meets("GET /x", 1) for _ in range(40)] for rule in share[0])
    assert first == again
    assert 5 < sum(first) < 35
    assert [share[1][0].meets("GET /x", 2) for _ in range(40)] != first


def test_parallel_batches_contend_and_sorted_or_serial_ones_do_not(well: Client) -> None:
    accounts = [well.create("Account", Name=f"Lock {number}") for number in range(4)]
    mixed = [accounts[number % 4] for number in range(80)]
    locks = {"parallel": 4, "degree": 1, "batch_rows": 20, "chunk_rows": 5}
    begin(well, locks=locks)
    info = well.ingest("Contact", "insert", csv("Mixed", mixed))
    refused = well.results(info["id"], "failedResults")
    assert info["numberRecordsFailed"] == refused.height == 60
    assert held(well, "Mixed") == 20
    assert set(refused["sf__Error"]) == {
        f"UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 1 records: {account[:15]}:--"
        for account in accounts
    }
    # The first batch of the four got every lock: sent again, the rest comes through batch by batch.
    assert sorted(refused["LastName"], key=lambda name: int(name[5:]))[0] == "Mixed20"
    info = well.ingest("Contact", "insert", csv("Sorted", sorted(mixed)))
    assert (info["numberRecordsFailed"], held(well, "Sorted")) == (0, 80)
    begin(well, locks={**locks, "degree": 3})
    assert well.ingest("Contact", "insert", csv("Waited", mixed))["numberRecordsFailed"] == 20
    begin(well, locks={**locks, "parallel": 1})
    assert well.ingest("Contact", "insert", csv("Serial", mixed))["numberRecordsFailed"] == 0
    begin(well, locks={**locks, "objects": ["Case"]})
    assert well.ingest("Contact", "insert", csv("Other", mixed))["numberRecordsFailed"] == 0


def test_users_and_record_types_are_not_locked(org: LocalOrg) -> None:
    upload = pl.DataFrame({"_row": range(40), "OwnerId": ["005"] * 40, "Name": ["x"] * 40}).cast({"_row": pl.UInt32})
    locks = Locks(parallel=4, batch_rows=10, chunk_rows=5)
    assert contended_rows(upload, org.describe("Account"), locks).height == 0
    by_path = upload.rename({"OwnerId": "Account.Name"})
    assert contended_rows(by_path, org.describe("Contact"), locks).height == 30


def test_batches_that_come_one_by_one_contend_unless_serial(org: LocalOrg) -> None:
    conditions = Conditions()
    locks = Locks(parallel=2, degree=1, chunk_rows=5)
    conditions.apply(Scenario(name="test", description="Of a test.", locks=locks))
    contact = org.describe("Contact")

    def refused(job: str, batch: int, parents: str, *, serial: bool = False) -> list[int]:
        rows = Rows(pl.DataFrame({"_row": range(len(parents)), "AccountId": list(parents)}).cast({"_row": pl.UInt32}))
        conditions.refuse_contended(rows, contact, job, batch, serial=serial)
        return sorted(rows.refused()["_row"])

    assert refused("a", 0, "abcdefghij") == []
    assert refused("a", 1, "axxxxaxxxx") == [0]  # chunk 0 meets the a of chunk 0; by chunk 1 that is done
    assert refused("a", 2, "abcdefghij") == []
    assert refused("b", 0, "abcdefghij") == []
    assert refused("a", 3, "abcde", serial=True) == []


def test_held_rows_are_refused_once_and_the_same_by_seed(well: Client) -> None:
    ids = [well.create("Account", Name=f"Held {number}") for number in range(30)]
    body = {"records": [{"attributes": {"type": "Account"}, "Id": row, "Site": "x"} for row in ids]}
    found = []
    for _ in range(2):
        begin(well, seed=3, locks={"parallel": 1, "held": 0.4})
        answer = well.call("PATCH", "/composite/sobjects", json=body).json()
        found.append([item["success"] for item in answer])
        assert {item["errors"][0]["statusCode"] for item in answer if not item["success"]} == {"UNABLE_TO_LOCK_ROW"}
        assert all(item["success"] for item in well.call("PATCH", "/composite/sobjects", json=body).json())
    assert found[0] == found[1]
    assert 0 < sum(found[0]) < 30


def test_a_batch_that_times_out_is_resumed(well: Client) -> None:
    begin(well, timeouts={"batches": [0], "batch_rows": 30, "committed_rows": 10, "retries": 2})
    info = well.ingest("Contact", "insert", csv("Resumed", [""] * 70))
    assert (info["state"], info["retries"], info["numberRecordsProcessed"]) == ("JobComplete", 2, 70)
    rows = well.results(info["id"])
    assert sorted(rows["LastName"]) == sorted(f"Resumed{number}" for number in range(70))
    assert held(well, "Resumed") == 70
    assert well.ingest("Contact", "insert", csv("Next", [""] * 40))["retries"] == 0


def test_a_job_that_fails_lists_committed_rows_as_unprocessed(well: Client) -> None:
    begin(well, timeouts={"batches": [1], "batch_rows": 30, "committed_rows": 10, "fails": True})
    info = well.ingest("Contact", "insert", csv("Failed", [""] * 70))
    assert (info["state"], info["retries"], info["numberRecordsProcessed"]) == ("Failed", 10, 30)
    counts = [well.results(info["id"], kind).height for kind in ("successfulResults", "failedResults")]
    unprocessed = well.results(info["id"], "unprocessedrecords")["LastName"].to_list()
    assert (counts, len(unprocessed)) == ([30, 0], 40)
    saved = {row["LastName"] for row in well.query("SELECT LastName FROM Contact WHERE LastName LIKE 'Failed%'")}
    assert saved == {f"Failed{number}" for number in range(40)}
    assert saved & set(unprocessed) == {f"Failed{number}" for number in range(30, 40)}


def test_result_files_come_in_the_order_asked_for(well: Client) -> None:
    info = well.ingest("Contact", "insert", csv("Order", [""] * 50))
    sent = [f"Order{number}" for number in range(50)]
    shuffled = well.results(info["id"])["LastName"].to_list()
    assert shuffled != sent
    assert sorted(shuffled) == sorted(sent)
    assert well.results(info["id"])["LastName"].to_list() == shuffled
    begin(well, results="sent")
    assert well.results(info["id"])["LastName"].to_list() == sent
    begin(well, results="reversed")
    assert well.results(info["id"])["LastName"].to_list() == sent[::-1]


def test_allowances_end(well: Client) -> None:
    begin(well, limits={"batches": 1, "query_jobs": 1, "storage_rows": 5})
    info = well.ingest("Contact", "insert", csv("Full", [""] * 8))
    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"], held(well, "Full")) == (8, 3, 5)
    assert set(well.results(info["id"], "failedResults")["sf__Error"]) == {
        "STORAGE_LIMIT_EXCEEDED:storage limit exceeded:--"
    }
    assert well.refusal("Account", Name="Full")[0] == "STORAGE_LIMIT_EXCEEDED"
    refused = well.call("POST", "/jobs/ingest", json={"object": "Contact", "operation": "insert"})
    assert (refused.status_code, refused.json()[0]["errorCode"]) == (400, "EXCEEDEDQUOTA")
    query = {"operation": "query", "query": "SELECT Id FROM Account"}
    assert well.call("POST", "/jobs/query", json=query).status_code == 200
    assert well.call("POST", "/jobs/query", json=query).json()[0]["errorCode"] == "LIMIT_EXCEEDED"
    limits = well.call("GET", "/limits").json()
    assert [limits[name]["Remaining"] for name in ("DailyBulkApiBatches", "DailyBulkV2QueryJobs", "DataStorageMB")] == [
        0, 0, 0,
    ]  # fmt: skip
    begin(well, limits={"requests": 2})
    answers = [well.call("GET", "/limits") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert answers[1].headers["Sforce-Limit-Info"] == "api-usage=2/2"
    assert answers[2].json() == [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}]


def test_all_or_none_gives_its_room_back(well: Client) -> None:
    begin(well, limits=Limits(storage_rows=3).model_dump())
    records = [{"attributes": {"type": "Account"}, "Name": "Room"} for _ in range(4)]
    answer = well.call("POST", "/composite/sobjects", json={"allOrNone": True, "records": records}).json()
    assert not any(item["success"] for item in answer)
    assert [well.create("Account", Name="Room")[:3] for _ in range(3)] == ["001"] * 3


def test_more_calls_at_a_time_than_allowed(well: Client, served: Served) -> None:
    begin(well, limits={"concurrent": 1})
    assert well.call("GET", "/limits").status_code == 200
    assert served.service.enter()
    try:
        answer = well.call("GET", "/limits")
    finally:
        served.service.leave()
    assert (answer.status_code, answer.json()[0]["message"]) == (
        403,
        "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
    )
    assert well.call("GET", "/limits").status_code == 200


def test_read_only_refuses_writes_alone(well: Client) -> None:
    before = held(well, "")
    begin(well, calls=[{"kind": "read_only", "times": 2}])
    assert well.call("GET", "/query", params={"q": "SELECT Id FROM Account LIMIT 1"}).status_code == 200
    assert well.call("POST", "/jobs/query", json={"operation": "query", "query": "SELECT Id FROM Case"}).ok
    for _ in range(2):
        answer = well.call("POST", "/sobjects/Contact", json={"LastName": "No"})
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (503, "SERVER_UNAVAILABLE")
    assert held(well, "") == before
    assert well.call("POST", "/sobjects/Contact", json={"LastName": "Yes"}).status_code == 201


def test_a_gateway_answers_with_a_page(well: Client) -> None:
    begin(well, calls=[{"kind": "status", "status": 502, "html": True}])
    answer = well.call("GET", "/limits")
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    assert answer.text.startswith("<html>")


def test_time_outs_of_all_jobs_or_of_one_object() -> None:
    assert Timeouts().jobs == 1
    with pytest.raises(ValueError, match="less than or equal to 10"):
        Timeouts(retries=11)
