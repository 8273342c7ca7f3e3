"""`isync report`: the pages are made anew from the store, with what happened since; links lead to where they say."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from isync_dagster.cli import app
from isync_dagster.cli.console import Exit
from isync_dagster.migration.model import Verdict
from isync_dagster.report import summary_to_json
from isync_dagster.store.runs import JobKey, Run
from isync_dagster.store.store import Store
from isync_dagster_tests.cli.project import make_project
from isync_dagster_tests.report.summaries import summary

KEY = JobKey("00D000000000001AAA", "00D000000000002AAA", "core", "accounts")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Two closed runs of the phase `accounts`, the second with a refused row, and an open one."""
    (tmp_path / "home").mkdir()
    make_project(tmp_path, monkeypatch, tmp_path / "home")
    found = Store.open(".isync/store").runs(KEY)
    made = []
    for number in range(3):
        run = found.open_or_resume({}, "hash", NOW, "Ann")
        row = {"source_id": "001000000000002AAA", "state": "failed", "code": "DUPLICATE_VALUE", "message": "twice"}
        frame = pl.DataFrame([row]).with_columns(stage=pl.lit("load"), attempt=pl.lit(0), at=pl.lit(NOW))
        if number == 1:
            run.audit("Contact").append("load-1", frame)
        if number < 2:
            run.close(summary_to_json(summary(trouble=number == 1, phase="accounts")), by="Ann")
        made.append(run)
    return made


def isync(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_newest_closed_run_is_told_with_what_happened_since(runs: list[Run]) -> None:
    run = runs[1]
    later = Verdict("fields", "Contact", "accounts", 2, False, "1 of 9 values differ.", "error", {"different": 1})
    run.write_verdict("Contact", "fields", later.to_json())
    done = isync("report", "core", "--phase", "accounts")
    assert done.exit_code == Exit.OK
    page = Path(done.stdout.strip()).read_text()
    assert "/accounts/00002/" in done.stdout
    assert "1 of 9 values differ." in page, "what was validated since"
    (csv,) = [path for path in Path(run.report_folder.path).iterdir() if path.suffix == ".csv"]
    assert csv.name.startswith("errors_Contact_") and csv.name in page
    assert "001000000000002AAA" in csv.read_text()
    run.mark_rolled_back({}, by="Bob")
    isync("report", "core", "--phase", "accounts", "--run", "2")
    page = Path(done.stdout.strip()).read_text()
    assert "This run was rolled back" in page and "Bob" in page


def test_history_shows_all_runs_and_its_links_lead_to_their_reports(runs: list[Run]) -> None:
    isync("report", "core", "--phase", "accounts")
    done = isync("report", "core", "--history")
    page = Path(done.stdout.strip())
    html = page.read_text()
    assert html.count('<td class="when">') == 2 * 3
    assert "✗ not kept" in html and "✓ kept" in html and "not closed" in html
    (link,) = re.findall(r'href="([^"]+)"', html)
    assert (page.parent / link).resolve() == Path((runs[1].report_folder / "report.html").path).resolve()
    assert (page.parent / link).exists()


def test_there_is_nothing_to_report_yet(runs: list[Run]) -> None:
    done = isync("report", "core", "--phase", "accounts", "--run", "7")
    assert done.exit_code == Exit.CONFIGURATION
    assert "no closed run 7" in " ".join(done.stdout.split())
