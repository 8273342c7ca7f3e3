"""The describe answers of the local org beside real ones, where those are at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.describe import read_describes
from isync_dagster_tests.local_org.orgs import Client

REAL = Path(__file__).parents[3] / "shared" / "realdata" / "describes"

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no real describes beside the checkout")

FULL = ("Account", "Case", "Contact", "Event", "Lead", "Opportunity", "OpportunityContactRole")
EDITED = {"custom"}  # what the recordings had changed by hand


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    objects = read_describes(REAL / "cumulusci")
    folder = tmp_path_factory.mktemp("real") / "org"
    with LocalOrg.create(folder, objects.values(), name="Real", seed=3) as org, org.serve() as served:
        client = Client(served)
        yield client
        client.http.close()


@pytest.mark.parametrize("name", FULL)
def test_a_describe_comes_back_as_it_was(real: Client, name: str) -> None:
    recorded: dict[str, Any] = json.loads((REAL / "cumulusci" / f"{name}.json").read_text())
    answer: dict[str, Any] = real.call("GET", f"/sobjects/{name}/describe").json()
    assert set(answer) >= set(recorded)
    assert [field["name"] for field in answer["fields"]] == [field["name"] for field in recorded["fields"]]
    for mine, theirs in zip(answer["fields"], recorded["fields"], strict=True):
        assert set(mine) >= set(theirs), mine["name"]
        different = {key for key in theirs if mine[key] != theirs[key]} - EDITED
        assert not different, (mine["name"], {key: (mine[key], theirs[key]) for key in different})
    mine = {(child["childSObject"], child["field"]): child for child in answer["childRelationships"]}
    for child in recorded["childRelationships"]:
        assert mine[child["childSObject"], child["field"]] == child


def test_an_org_of_projected_describes_takes_rows(tmp_path: Path) -> None:
    objects = read_describes(REAL / "projected-jira-org")
    with LocalOrg.create(tmp_path / "org", objects.values(), name="Projected", seed=4) as org, org.serve() as served:
        client = Client(served)
        account = client.create("Account", Name="A")
        contact = client.create("Contact", LastName="C", AccountId=account)
        assert client.query(f"SELECT Account.Name FROM Contact WHERE Id = '{contact}'")[0]["Account"]["Name"] == "A"
        deal = client.create(
            "Opportunity", Name="D", StageName="Prospecting", CloseDate="2026-01-01", AccountId=account
        )
        client.create("OpportunityContactRole", OpportunityId=deal, ContactId=contact)
        client.create("Case", Subject="S", AccountId=account)
        assert client.call("DELETE", f"/sobjects/Opportunity/{deal}").status_code == 204
        client.http.close()


@pytest.mark.parametrize(
    ("folders", "rows"),
    [
        (("amaxa", "grouparoo", "restforce"), {"Topic": {"Name": "t"}, "Lead": {"LastName": "l", "Company": "c"},
                                              "Campaign": {"Name": "c"}, "Task": {"Subject": "s"}}),
        (("rlm-projected",), {"Account": {"Name": "a"}, "Product2": {"Name": "p"}, "Contact": {"LastName": "c"},
                              "LegalEntity": {"Name": "e"}}),
    ],
)  # fmt: skip
def test_every_described_object_is_served(tmp_path: Path, folders: tuple[str, ...], rows: dict[str, Any]) -> None:
    objects = {name: item for folder in folders for name, item in read_describes(REAL / folder).items()}
    with LocalOrg.create(tmp_path / "org", objects.values(), name="Real", seed=6) as org, org.serve() as served:
        client = Client(served)
        for name, item in objects.items():
            described = client.call("GET", f"/sobjects/{name}/describe")
            assert described.status_code == 200, (name, described.text)
            told = {field["name"] for field in described.json()["fields"]}
            assert {field.name for field in item.fields} <= told, name
            # Every org has one price book from its first day.
            held = [row["Name"] for row in client.query(f"SELECT FIELDS(STANDARD) FROM {name} LIMIT 5")]
            assert held == (["Standard Price Book"] if name == "Pricebook2" else []), name
        for name, values in rows.items():
            made = client.create(name, **values)
            row = client.query(f"SELECT {', '.join(values)} FROM {name} WHERE Id = '{made}'")[0]
            assert {key: row[key] for key in values} == values
        client.http.close()
