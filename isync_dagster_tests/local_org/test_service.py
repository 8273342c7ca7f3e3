from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import requests
from simple_salesforce.api import Salesforce

from isync_dagster.errors import ConfigError, StoreError
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster_tests.local_org.orgs import Client, make_org


def test_versions_directory_limits_and_counts(client: Client) -> None:
    versions = client.call("GET", "/services/data/").json()
    assert [versions[0]["version"], versions[-1]["version"]] == ["31.0", "67.0"]
    assert client.call("GET", "/services/data/v68.0/sobjects").json()[0]["errorCode"] == "NOT_FOUND"
    assert client.call("GET", "/").json()["sobjects"] == "/services/data/v62.0/sobjects"
    answer = client.call("GET", "/limits/")
    assert answer.json()["DailyApiRequests"]["Max"] == 5_000_000
    assert answer.headers["Sforce-Limit-Info"].startswith("api-usage=")
    assert answer.headers["Date"]
    counted = client.call("GET", "/limits/recordCount", params={"sObjects": "User,Nothing"}).json()
    assert counted == {"sObjects": [{"count": 3, "name": "User"}]}


def test_describes(client: Client, org: LocalOrg) -> None:
    listed = client.call("GET", "/sobjects").json()
    names = {item["name"]: item for item in listed["sobjects"]}
    assert names["Account"]["keyPrefix"] == "001"
    assert names["Project__c"]["keyPrefix"] == org.describe("Project__c").key_prefix
    described = client.call("GET", "/sobjects/project__C/describe").json()
    fields = {field["name"]: field for field in described["fields"]}
    assert len(fields["Name"]) == 57
    assert (fields["Key__c"]["externalId"], fields["Key__c"]["idLookup"], fields["Key__c"]["byteLength"]) == (
        True,
        True,
        60,
    )
    assert fields["Account__c"]["referenceTo"] == ["Account"]
    assert any(
        child["childSObject"] == "Step__c" and child["cascadeDelete"] for child in described["childRelationships"]
    )
    infos = {info["developerName"]: info for info in described["recordTypeInfos"]}
    assert infos["Master"]["recordTypeId"] == "012000000000000AAA"
    assert infos["Small"]["recordTypeId"] in org.table("RecordType")["Id"].to_list()
    changed = client.call("GET", "/sobjects/Account/describe").headers["Last-Modified"]
    again = client.call("GET", "/sobjects/Account/describe", headers={"If-Modified-Since": changed})
    assert (again.status_code, again.content) == (304, b"")


def test_json_is_compact_or_pretty(client: Client) -> None:
    query = {"q": "SELECT Id FROM Account WHERE Name = 'nobody at all'"}
    assert client.call("GET", "/query", params=query).text == '{"totalSize":0,"done":true,"records":[]}'
    pretty = client.call("GET", "/query", params=query, headers={"X-PrettyPrint": "1"}).text
    assert pretty == '{\n  "totalSize" : 0,\n  "done" : true,\n  "records" : [ ]\n}'


def test_two_orgs_differ_in_ids_and_prefixes(tmp_path: Path) -> None:
    with make_org(tmp_path / "a", seed=1) as one, make_org(tmp_path / "b", seed=2) as two:
        assert one.org_id != two.org_id
        assert one.describe("Project__c").key_prefix != two.describe("Project__c").key_prefix
        first, second = (org.load("Account", pl.DataFrame({"Name": ["x"]}))[0] for org in (one, two))
        assert first[:3] == second[:3] == "001"
        assert first != second


def test_an_org_is_found_again_after_closing(tmp_path: Path) -> None:
    with make_org(tmp_path / "org") as org:
        ids = org.load("Account", pl.DataFrame({"Name": ["x", "y"]}))
        org_id, prefix = org.org_id, org.describe("Project__c").key_prefix
        with pytest.raises(StoreError, match="already open"):
            LocalOrg.open(tmp_path / "org")
    with LocalOrg.open(tmp_path / "org") as org:
        assert (org.org_id, org.describe("Project__c").key_prefix) == (org_id, prefix)
        assert org.table("Account")["Id"].to_list() == ids.to_list()
        assert org.load("Account", pl.DataFrame({"Name": ["z"]}))[0] not in set(ids)
    with pytest.raises(ConfigError, match="already holds a local org"):
        make_org(tmp_path / "org")
    with pytest.raises(ConfigError, match="holds no local org"):
        LocalOrg.open(tmp_path / "elsewhere")


def test_only_loopback_is_served(fresh: LocalOrg) -> None:
    with pytest.raises(ConfigError, match="loopback only"):
        fresh.serve(host="0.0.0.0")


def test_audit_fields_are_settable_where_the_org_allows_it(tmp_path: Path) -> None:
    with make_org(tmp_path / "org", audit_fields=True) as org, org.serve() as served:
        client = Client(served)
        account = client.create("Account", Name="Old", CreatedDate="2001-02-03T04:05:06Z")
        row = client.call("GET", f"/sobjects/Account/{account}").json()
        assert row["CreatedDate"] == "2001-02-03T04:05:06.000+0000"
        assert row["SystemModstamp"] > "2020"
        answer = client.call("PATCH", f"/sobjects/Account/{account}", json={"CreatedDate": "2001-02-03T04:05:06Z"})
        assert answer.json()[0]["errorCode"] == "INVALID_FIELD_FOR_INSERT_UPDATE"
        client.http.close()


def test_faults(fresh: LocalOrg) -> None:
    with fresh.serve() as served:
        client = Client(served)

        def faults(*rules: dict[str, object]) -> None:
            assert client.call("POST", "/__local_org/faults", json=list(rules)).status_code == 200

        faults({"kind": "status", "path": "GET .*/limits", "status": 503, "times": 2})
        assert [client.call("GET", "/limits").status_code for _ in range(3)] == [503, 503, 200]
        before = served.org.counts()["Account"]
        faults(
            {"kind": "drop_before", "path": "POST .*/Account"},
            {"kind": "drop_after", "path": "POST .*/Account", "after": 1},
        )
        for expected in (before, before + 1):
            with pytest.raises(requests.RequestException):
                client.call("POST", "/sobjects/Account", json={"Name": "dropped"})
            assert served.org.counts()["Account"] == expected
        faults({"kind": "expire_session", "path": "GET .*/limits"})
        assert client.call("GET", "/limits").json()[0]["errorCode"] == "INVALID_SESSION_ID"
        client.log_in()
        faults({"kind": "delay", "path": "GET .*/limits", "seconds": 0.2})
        started = time.monotonic()
        client.call("GET", "/limits")
        assert time.monotonic() - started >= 0.2
        faults({"kind": "truncate", "path": "GET .*/sobjects", "bytes": 100})
        with pytest.raises(requests.RequestException):
            client.call("GET", "/sobjects", headers={"Accept-Encoding": "identity"})
        assert client.call("POST", "/__local_org/faults", json={"kind": "nonsense"}).status_code == 400
        client.call("DELETE", "/__local_org/faults")
        client.call("POST", "/__local_org/budget", json={"calls": 1})
        assert client.call("GET", "/limits").status_code == 200
        answer = client.call("GET", "/limits")
        assert (answer.status_code, answer.json()[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")
        client.call("POST", "/__local_org/budget", json={"calls": 1_000_000})
        client.call("POST", "/__local_org/expire")
        assert client.call("GET", "/limits").status_code == 401
        client.http.close()


def test_simple_salesforce_over_https(fresh: LocalOrg) -> None:
    with fresh.serve(https=True) as served:
        token = Client(served).log_in()
        session = requests.Session()
        session.trust_env = False
        session.verify = served.ca_file
        sf: Any = Salesforce(session_id=token, instance_url=served.https_url, session=session)
        made = sf.Account.create({"Name": "Acme", "Phone": "1"})
        assert made["success"] is True
        assert sf.Account.get(made["id"])["Phone"] == "1"
        assert sf.Account.update(made["id"], {"Phone": "2"}) == 204
        assert sf.query("SELECT Phone FROM Account")["records"][0]["Phone"] == "2"
        assert sf.query("SELECT COUNT() FROM Account")["totalSize"] == 1
        assert sf.Project__c.upsert("Key__c/k1", {"Name": "P"}) == 201
        assert sf.Project__c.get_by_custom_id("Key__c", "k1")["Name"] == "P"
        assert len(sf.describe()["sobjects"]) == len(list(fresh.schema))
        done = sf.bulk2.Account.insert(records=[{"Name": f"A{number}"} for number in range(3)], wait=0.1)
        assert [(job["numberRecordsProcessed"], job["numberRecordsFailed"]) for job in done] == [(3, 0)]
        rows = "".join(sf.bulk2.Account.query("SELECT Name FROM Account", wait=0.1)).splitlines()
        assert len(rows) == 5
        assert sf.Account.delete(made["id"]) == 204
        session.close()


def test_a_process_of_its_own_survives_a_kill(tmp_path: Path) -> None:
    make_org(tmp_path / "org").close()
    ready = tmp_path / "ready.json"
    command = [
        sys.executable,
        "-m",
        "isync_dagster.local_org",
        "serve",
        str(tmp_path / "org"),
        "--ready-file",
        str(ready),
    ]
    root = Path(__file__).parents[2]
    ids: list[str] = []
    for number, ending in enumerate((signal.SIGKILL, signal.SIGTERM)):
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            credentials = json.loads(process.stdout.readline())
            assert json.loads(ready.read_text()) == credentials
            refused = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
            assert refused.returncode == 1
            assert "already open" in refused.stderr
            with requests.Session() as http:
                http.trust_env = False
                answer = http.post(
                    f"{credentials['url']}/services/oauth2/token",
                    data={
                        "grant_type": "client_credentials",
                        "client_id": credentials["consumer_key"],
                        "client_secret": credentials["consumer_secret"],
                    },
                ).json()
                http.headers["Authorization"] = f"Bearer {answer['access_token']}"
                made = http.post(
                    f"{credentials['url']}/services/data/v62.0/sobjects/Account", json={"Name": f"A{number}"}
                )
                ids.append(made.json()["id"])
            process.send_signal(ending)
            process.wait(timeout=20)
    with LocalOrg.open(tmp_path / "org") as org:
        assert org.table("Account")["Id"].to_list() == ids
