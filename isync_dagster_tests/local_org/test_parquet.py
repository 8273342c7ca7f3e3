"""Reset, and whole tables out to Parquet and in again."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, StoreError
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.parquet import Imported, export_parquet, import_parquet
from isync_dagster_tests.local_org.orgs import Client, make_org


def test_a_reset_org_is_a_new_one(fresh: LocalOrg) -> None:
    new = {name: count for name, count in fresh.counts().items() if count}
    users = fresh.table("User")
    with fresh.serve() as served:
        client = Client(served)
        first = client.create("Account", Name="Acme")
        client.create("Step__c", Project__c=client.create("Project__c", Name="P"))
        info = client.ingest("Contact", "insert", "LastName\nA\nB\n")
        assert client.call("POST", "/__local_org/reset").status_code == 200
        assert {name: count for name, count in fresh.counts().items() if count} == new
        assert client.call("GET", f"/jobs/ingest/{info['id']}").status_code == 404
        assert client.query("SELECT Id FROM Contact") == []
        # Ids and numbers start anew; ids of jobs are never given twice.
        assert client.create("Account", Name="Acme") == first
        step = client.create("Step__c", Project__c=client.create("Project__c", Name="P"))
        assert client.query(f"SELECT Name FROM Step__c WHERE Id = '{step}'")[0]["Name"].endswith("1")
        assert client.ingest("Contact", "insert", "LastName\nA\n")["id"] != info["id"]
    assert fresh.table("User").equals(users)


def test_a_reset_lasts(tmp_path: Path) -> None:
    with make_org(tmp_path / "org") as org:
        org.load("Account", pl.DataFrame({"Name": ["a", "b"]}))
        org.reset()
    with LocalOrg.open(tmp_path / "org") as org:
        assert org.counts()["Account"] == 0
        org.storage.rows('DROP TABLE _org."new "')
        with pytest.raises(StoreError, match="made by an older version"):
            org.reset()


def test_tables_go_out_and_come_in_as_they_were(tmp_path: Path) -> None:
    with make_org(tmp_path / "org", audit_fields=True) as org:
        accounts = org.load("Account", pl.DataFrame({"Name": [f"A{n}" for n in range(500)]}))
        projects = org.load("Project__c", pl.DataFrame({
            "Name": ["P", "Q"], "Account__c": accounts[:2], "Budget__c": ["1.25", None], "Start__c": ["2020-01-02", None],
            "Moment__c": ["2020-01-02T03:04:05Z", None], "At__c": ["10:11:12.000Z", None], "Open__c": ["false", None],
        }))  # fmt: skip
        before = {name: org.table(name) for name in ("Account", "Project__c", "User", "RecordType")}
        written = export_parquet(org, tmp_path / "out")
        assert (written["Account"], written["Project__c"]) == (500, 2)
        assert "Organization" not in written
        with pytest.raises(ConfigError, match="is not empty"):
            export_parquet(org, tmp_path / "out")
        org.reset()
        found = import_parquet(org, tmp_path / "out")
        assert found["Account"] == Imported(500, 0)
        assert found["User"] == Imported(0, before["User"].height)
        assert all(org.table(name).sort("Id").equals(frame.sort("Id")) for name, frame in before.items())
        assert org.load("Project__c", pl.DataFrame({"Name": ["R"]}))[0] > projects.max()  # type: ignore[operator]
        assert import_parquet(org, tmp_path / "out")["Account"] == Imported(0, 500)


def test_what_does_not_fit_comes_not_in_at_all(fresh: LocalOrg, tmp_path: Path) -> None:
    def refusal(name: str, frame: pl.DataFrame) -> str:
        folder = tmp_path / name
        folder.mkdir()
        frame.write_parquet(folder / f"{name}.parquet")
        with pytest.raises(ConfigError) as found:
            import_parquet(fresh, folder)
        return str(found.value)

    good = "001000000000001AAA"
    assert "no object Acount: did you mean Account?" in refusal("Acount", pl.DataFrame({"Id": [good]}))
    assert "no stored field Nam: did you mean Name?" in refusal("Account", pl.DataFrame({"Id": [good], "Nam": ["x"]}))
    assert "has no Id column" in refusal("Case", pl.DataFrame({"Subject": ["x"]}))
    assert "2 row(s) have no Id of Contact" in refusal("Contact", pl.DataFrame({"Id": [None, good]}))
    assert "does not fit Task" in refusal(
        "Task", pl.DataFrame({"Id": ["00T000000000001AAA"] * 2, "Subject": ["x", "y"]})
    )
    (tmp_path / "Lead.parquet").write_text("no parquet")
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        import_parquet(fresh, tmp_path)
    with pytest.raises(ConfigError, match=r"holds no \.parquet file"):
        import_parquet(fresh, tmp_path / "nothing")
    assert all(fresh.counts()[name] == 0 for name in ("Account", "Contact", "Task", "Lead", "Case"))
