"""The inventory against a real local org: counts, last changes, coverage, and what looks passing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from isync_dagster.local_org.faults import Fault
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import apply
from isync_dagster.local_org.seeds.notation import linked, sobject
from isync_dagster.migration.inventory import Entry, inventory
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.template import parse_template
from isync_dagster_tests.migration.world import QUICK, some, together

NAME = "Name string(80) cuN; Key__c string(40) cun"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalOrg, Org]]:
    folder = tmp_path_factory.mktemp("inventory")
    names = ("Campaign", "Case", "Import_tmp__c", "Contempt__c", "Old_Plan__c", "Empty__c", "Thing__History")
    objects = linked([sobject(name, NAME) for name in names])
    with LocalOrg.create(folder / "org", objects, name="source", seed=31) as org:
        rows = together(
            *(some(name, 3) for name in names if name not in ("Empty__c", "Campaign")), some("Campaign", 128)
        )
        apply(org, rows)
        with org.storage.transaction() as cursor:
            cursor.execute("""UPDATE "Old_Plan__c" SET "SystemModstamp" = TIMESTAMP '2019-03-01 10:20:30'""")
            cursor.execute("""UPDATE "Case" SET "SystemModstamp" = now()""")
        with org.serve() as there:
            found = there.credentials()
            config = OrgConfig.model_validate(
                {"auth": "username_password", "login_url": found["url"], "username": found["username"],
                 "password": "${P}", "security_token": "${T}"}
            ).bound(folder, {"P": found["password"], "T": found["security_token"]})  # fmt: skip
            with Org.connect(config, "source", tuning=QUICK) as client:
                there.service.faults.set(
                    [Fault.read({"kind": "delay", "path": "(POST|PATCH|DELETE) .*/(sobjects|jobs)", "times": None})]
                )
                yield org, client
                assert [rule["met"] for rule in there.service.faults.as_json()] == [0], "nothing was written"


def test_what_an_org_holds(served: tuple[LocalOrg, Org]) -> None:
    _, client = served
    template = parse_template("name: crm\nsource: source\ntarget: other\nlines: [{object: case}]\n")
    with client.metering() as meter:
        found = {entry.object: entry for entry in inventory(client, [template])}
    assert meter.calls <= 8, "few calls, whatever the number of objects"
    assert "Thing__History" not in found
    campaign, case = found["Campaign"], found["Case"]
    assert (campaign.records, campaign.counted, campaign.storage_mb) == (128, "approximate", 1.0)
    assert (case.records, case.counted, case.templates, case.looks) == (3, "exact", ("crm",), ("transactional",))
    assert case.last_change is not None
    assert abs((datetime.now(UTC) - datetime.fromisoformat(case.last_change)).total_seconds()) < 600
    old = found["Old_Plan__c"]
    assert old.last_change == "2019-03-01T10:20:30+00:00"
    assert set(old.looks) == {"obsolete", "temporary"}
    assert "unchanged for" in old.why and "'old'" in old.why
    assert found["Import_tmp__c"].looks == ("temporary",)
    assert found["Contempt__c"].looks == (), "a word inside another says nothing"
    assert found["Empty__c"].looks == ("empty",)


def test_an_object_without_a_kept_count_is_counted(
    served: tuple[LocalOrg, Org], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, client = served
    from isync_dagster.migration import inventory as module

    kept = module._record_counts
    monkeypatch.setattr(
        module, "_record_counts", lambda org, names: {k: v for k, v in kept(org, names).items() if k != "Campaign"}
    )
    found: dict[str, Entry] = {entry.object: entry for entry in inventory(client, [])}
    assert (found["Campaign"].records, found["Campaign"].counted) == (128, "exact")
