"""`isync local-org` as a person types it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from isync_dagster.cli.app import app
from isync_dagster.local_org.__main__ import main
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.running import NOTE, noted
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


def test_an_org_comes_up_in_one_go(tmp_path: Path, describe: Path) -> None:
    folder, data = tmp_path / "org", tree(tmp_path / "teams.json")
    command = [sys.executable, "-m", "isync_dagster.cli", "local-org", "start", str(folder)]
    command += ["--schema", str(describe), "--data", str(data), "--scenario", "latency"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        while "Ctrl-C stops it" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        found = re.search(r"answers at (http://127\.0\.0\.1:\d+)", said)
        assert found
        note = json.loads((folder / NOTE).read_text())
        assert note["url"] == found[1]
        assert (folder / NOTE).stat().st_mode & 0o077 == 0
        with requests.Session() as http:
            http.trust_env = False
            printed = CliRunner().invoke(app, ["local-org", "token", str(folder)])
            http.headers["Authorization"] = f"Bearer {printed.stdout.strip()}"
            query = {"q": "SELECT Lead__r.Name FROM Team__c WHERE Name = 'South'"}
            answer = http.get(f"{found[1]}/services/data/v62.0/query", params=query).json()
            assert answer["records"][0]["Lead__r"]["Name"] == "North"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert not (folder / NOTE).exists()


def test_a_served_org_is_told_about_and_put_into_trouble(
    tmp_path: Path, describe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, data = str(tmp_path / "org"), str(tree(tmp_path / "teams.json"))

    def run(*arguments: str) -> tuple[int, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    assert run("make", folder, "--schema", str(describe), "--data", data)[0] == 0
    assert "not served\nrows: Organization 1" in run("status", folder)[1]
    code, said = run("fault", "show", folder)
    assert (code, "is not served: start it by" in said) == (2, True)
    with LocalOrg.open(Path(folder)) as org, org.serve() as served, noted(org.folder, served.credentials()):
        assert "The first batch" in run("fault", "list")[1]
        assert run("fault", "set", folder, "session-expiry")[0] == 0
        assert (
            "scenario session-expiry\n  expire_session on /services/data: met 0, 1 more"
            in run("fault", "show", folder)[1]
        )
        file = tmp_path / "mine.yaml"
        file.write_text("name: mine\ndescription: Mine.\nresults: sent\n")
        assert run("fault", "set", folder, str(file)) == (0, "mine: Mine.\n")
        assert org.conditions.order == "sent"
        file.write_text("name: mine\ndescription: Mine.\nresult: sent\n")
        assert run("fault", "set", folder, str(file)) == (
            2,
            f"{file}:3: result: there is no such key: did you mean results?.\n",
        )
        assert run("fault", "lift", folder) == (0, "lifted\n")
        code, said = run("status", folder)
        assert f"served at {served.url}" in said
        assert "Team__c 2" in said
        assert run("fill", folder, "--data", data)[0] == 1
        assert run("reset", folder, "--data", data)[0] == 2
        assert run("reset", folder)[0] == 0
        assert org.counts()["Team__c"] == 0


def test_reset_export_and_import(tmp_path: Path, describe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, data = tmp_path / "org", tree(tmp_path / "teams.json")
    assert main(["make", str(folder), "--schema", str(describe), "--data", str(data)]) == 0
    assert main(["export", str(folder), str(tmp_path / "out")]) == 0
    assert "Team__c: 2 rows" in capsys.readouterr().out
    assert main(["reset", str(folder)]) == 0
    assert main(["import", str(folder), str(tmp_path / "out")]) == 0
    assert "Team__c: 2 rows\n" in capsys.readouterr().out
    assert main(["reset", str(folder), "--data", str(data), "--data", str(data)]) == 0
    with LocalOrg.open(folder) as org:
        assert org.counts()["Team__c"] == 4


def test_no_other_address_than_loopback(tmp_path: Path, describe: Path) -> None:
    assert main(["make", str(tmp_path / "org"), "--schema", str(describe)]) == 0
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.com"):
        found = CliRunner().invoke(app, ["local-org", "serve", str(tmp_path / "org"), "--host", host])
        assert "answers on loopback only" in str(found.exception)
