"""`isync local-org` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isync_dagster.local_org.__main__ import main
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.schema.model import Field, SObject

TEAM = SObject(
    "Team__c",
    label="Team",
    custom=True,
    fields=(
        Field("Name", "string", length=80, nillable=False, name_field=True),
        Field("Lead__c", "reference", reference_to=("Team__c",), relationship_name="Lead__r"),
    ),
)


@pytest.fixture
def describe(tmp_path: Path) -> Path:
    path = tmp_path / "Team__c.json"
    path.write_text(json.dumps(TEAM.to_json()))
    return path


def tree(path: Path, *, lead: str = "@a") -> Path:
    rows = [
        {"attributes": {"type": "Team__c", "referenceId": "a"}, "Name": "North"},
        {"attributes": {"type": "Team__c", "referenceId": "b"}, "Name": "South", "Lead__c": lead},
    ]
    path.write_text(json.dumps({"records": rows}))
    return path


def test_an_org_is_made_and_filled(tmp_path: Path, describe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = tmp_path / "org", tree(tmp_path / "teams.json")
    assert main(["make", str(folder), "--schema", str(describe), "--data", str(data), "--name", "Mine"]) == 0
    assert "Team__c 2" in capsys.readouterr().out
    assert main(["fill", str(folder), "--data", str(data)]) == 0
    with LocalOrg.open(folder) as org:
        teams = org.table("Team__c")
        assert sorted(teams["Name"]) == ["North", "North", "South", "South"]
        leads = teams.filter(teams["Name"] == "South")["Lead__c"].to_list()
        assert set(leads) == set(teams.filter(teams["Name"] == "North")["Id"])
        assert org.table("Organization")["Name"].to_list() == ["Mine"]


def test_two_orgs_have_ids_of_their_own(tmp_path: Path, describe: Path) -> None:
    found = set()
    for name in ("one", "two"):
        assert main(["make", str(tmp_path / name), "--schema", str(describe)]) == 0
        with LocalOrg.open(tmp_path / name) as org:
            found.add(org.org_id)
    assert len(found) == 2


def test_without_a_schema_it_has_the_standard_objects(tmp_path: Path) -> None:
    assert main(["make", str(tmp_path / "org")]) == 0
    with LocalOrg.open(tmp_path / "org") as org:
        assert {"Account", "Contact", "Opportunity", "Case"} <= set(org.counts())


def test_what_cannot_be_filled_is_not_left_behind(
    tmp_path: Path, describe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, data = tmp_path / "org", tree(tmp_path / "teams.json", lead="@nobody")
    assert main(["make", str(folder), "--schema", str(describe), "--data", str(data)]) == 1
    assert "nobody" in capsys.readouterr().err
    assert not folder.exists()


def test_paths_that_do_not_fit(tmp_path: Path, describe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["make", str(tmp_path / "org"), "--schema", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["make", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert describe.exists()
    assert main(["fill", str(tmp_path / "none"), "--data", str(describe)]) == 2
    assert "holds no local org" in capsys.readouterr().err
