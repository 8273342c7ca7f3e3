"""The commands of the person who runs a migration, on a store that holds real runs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from isync_dagster.cli import app
from isync_dagster.cli.console import Exit
from isync_dagster.store.runs import JobKey, Run
from isync_dagster.store.store import Store
from isync_dagster_tests.cli.project import StoreVerbs, make_project

KEY = JobKey("00D000000000001AAA", "00D000000000002AAA", "core", "accounts")
SOURCE, TARGET = "001000000000001AAA", "001900000000001AAA"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A closed run of the phase `accounts` with a refused and an inserted account, closed 100 days ago."""
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "home").mkdir()
    project: StoreVerbs = make_project(tmp_path, monkeypatch, tmp_path / "home")
    past = datetime.now(UTC) - timedelta(days=100)
    store = Store.open(".isync/store", clock=lambda: past)
    made = store.runs(KEY).open_or_resume(plan_json(), "hash", past, "Ann")
    rows = [
        {"source_id": SOURCE, "target_id": TARGET, "state": "inserted", "rule": "insert"},
        {"source_id": "001000000000002AAA", "state": "failed", "code": "DUPLICATE_VALUE", "message": "twice: [x]"},
    ]
    table = pl.DataFrame(rows, infer_schema_length=None).with_columns(
        stage=pl.lit("load"), attempt=pl.lit(1), at=pl.lit(past), chunk=pl.lit(0)
    )
    made.audit("Account").append("load-1", table)
    sent = pl.DataFrame({"_row": [0, 1], "_source_id": [row["source_id"] for row in rows], "Name": ["A", "B"]})
    made.ledger("load", "Account").plan(0, 1, sent, {})
    made.ledger("load", "Account").record(0, 1, "done", {})
    id_map = store.idmap(KEY.source_org_id, KEY.target_org_id)
    pair = pl.DataFrame({"source_id": [SOURCE], "target_id": [TARGET], "how": ["inserted"]})
    id_map.append("Account", "Account", pair, "core", "accounts", 1, "load-1")
    made.write_verdict("Account", "rejected_rows", verdict(False))
    made.close({"objects": [], "warnings": [], **dict.fromkeys(SUMMARY, "")})
    assert project.refused == 0
    return made


SUMMARY = (
    "template",
    "phase",
    "run",
    "state",
    "source",
    "target",
    "source_org_id",
    "target_org_id",
    "t0",
    "closed_at",
    "numbers",
)


def plan_json() -> dict[str, object]:
    from isync_dagster.assets.factory import load_plans
    from isync_dagster.assets.settings import Settings

    return load_plans(Settings.from_env(), ["core"])["core"].to_json()


def verdict(passed: bool) -> dict[str, object]:
    return {
        "name": "rejected_rows",
        "object": "Account",
        "phase": "accounts",
        "run": 1,
        "passed": passed,
        "text": "1 rows refused.",
    }


def isync(*arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=input)  # type: ignore[return-value]


def flat(result: Result) -> str:
    return " ".join(result.output.split())


def test_explain_for_people_and_as_json(run: Run) -> None:
    text = flat(isync("explain", TARGET[:15]))
    assert f"Account {SOURCE} → {TARGET}" in text
    assert "core phase accounts, run 1 (closed)" in text
    assert "load: inserted (insert), attempt 1" in text
    assert 'sent: Name="A"' in text
    refused = flat(isync("explain", "001000000000002AAA"))
    assert "no counterpart now" in refused
    assert "Salesforce said: DUPLICATE_VALUE twice: [x]" in refused
    assert "what to do: " in refused
    (found,) = json.loads(isync("explain", SOURCE, "--json").output)
    assert found["visits"][0]["events"][0]["sent"] == {"Name": "A"}
    unknown = isync("explain", "001000000000009AAA")
    assert unknown.exit_code == Exit.CONFIGURATION
    assert "No run has met the record" in flat(unknown)


def test_errors_are_filtered_and_exported(run: Run, tmp_path: Path) -> None:
    text = flat(isync("errors", "core", "--run", "1", "--export", "out"))
    assert "1 rows written to out/errors_Account_" in text
    (file,) = (tmp_path / "out").glob("errors_Account_*.csv")
    assert pl.read_csv(file)["sent.Name"].to_list() == ["B"]
    assert "DUPLICATE_VALUE" in isync("errors", "core", "--code", "duplicate_value").output
    assert "No refused rows" in isync("errors", "core", "--code", "UNABLE_TO_LOCK_ROW").output
    assert "No refused rows" in isync("errors", "core", "--object", "Contact").output
    assert "no run 4" in flat(isync("errors", "core", "--run", "4"))
    unknown = isync("errors", "core", "--object", "Kontact")
    assert unknown.exit_code == Exit.CONFIGURATION
    assert "Contact" in flat(unknown)


def test_accept_is_refused_over_a_failed_check_but_for_a_reason(run: Run) -> None:
    refused = isync("accept", "core", "--phase", "accounts")
    assert refused.exit_code == Exit.FAILED
    assert "Account rejected_rows: 1 rows refused." in flat(refused)
    assert isync("accept", "core", "--phase", "accounts", "--anyway", "agreed with Bob").exit_code == Exit.OK
    assert "accepted before" in flat(isync("accept", "core", "--phase", "accounts"))
    assert "│ accounts │ 1 │ accepted │" in flat(isync("runs", "core"))
    assert run.transitions()[-1]["details"]["anyway"] == "agreed with Bob"
    assert isync("accept", "core", "--phase", "contacts").exit_code == Exit.CONFIGURATION


def test_a_hold_is_shown_and_keeps_cleanup_away(run: Run) -> None:
    assert isync("hold", "core", "--phase", "accounts", "--why", "audit in May").exit_code == Exit.OK
    assert "held: audit in May" in flat(isync("runs", "core"))
    text = flat(isync("cleanup", "--apply", "--yes"))
    assert "due, but kept: core, phase accounts, run 1: it is held: audit in May" in text
    assert "Nothing is due" in text
    assert isync("release", "core", "--phase", "accounts").exit_code == Exit.OK
    assert isync("release", "core", "--phase", "accounts").exit_code == Exit.CONFIGURATION
    assert isync("hold", "core", "--phase", "accounts", "--run", "1").exit_code == Exit.OK
    again = isync("release", "core", "--phase", "accounts")
    assert "Runs with a hold of their own: 1" in flat(again)
    assert isync("release", "core", "--phase", "accounts", "--run", "1").exit_code == Exit.OK


def test_cleanup_says_first_and_then_removes(run: Run) -> None:
    shown = flat(isync("cleanup"))
    assert "│ core │ accounts │ 1 │" in shown
    assert "audit_log │ 90 days │ 1 │" in shown
    assert "`isync cleanup --apply` removes them" in shown
    assert run.audit("Account").parts()
    declined = isync("cleanup", "--apply", input="n\n")
    assert declined.exit_code != Exit.OK
    assert run.audit("Account").parts()
    done = isync("cleanup", "core", "--apply", input="y\n")
    assert done.exit_code == Exit.OK, done.output
    assert "each run says what it lacks now" in flat(done)
    assert not run.audit("Account").parts()
    assert "without " in flat(isync("runs", "core"))
    assert "missing: the audit log of run 1" in flat(isync("errors", "core"))
    assert "Nothing is due" in flat(isync("cleanup"))
    # The id map is kept for good.
    assert f"Account {SOURCE} → {TARGET}" in flat(isync("explain", SOURCE))


def test_the_id_map_is_exported_by_template_or_orgs(run: Run, tmp_path: Path) -> None:
    assert "1 pairs written to map.csv" in flat(isync("idmap", "export", "core", "--to", "map.csv"))
    assert (tmp_path / "map.csv").read_text().splitlines()[1].startswith(f"Account,{SOURCE},Account,{TARGET},inserted")
    result = isync("idmap", "export", "--source", "source", "--target", "target", "--to", "map.parquet")
    assert result.exit_code == Exit.OK, result.output
    assert pl.read_parquet(tmp_path / "map.parquet").height == 1
    neither = isync("idmap", "export", "--to", "map.csv")
    assert neither.exit_code == Exit.CONFIGURATION
    assert "Name a template, or both" in flat(neither)
