"""A person at the Dagster UI: takes a phase back, materializes it again, runs its checks alone.

Needs a Chromium (Debian: `apt install chromium`); run by `make browser`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.store.runs import JobKey
from isync_dagster.store.store import Store

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds after which a hang is a failure; nothing is said about speed."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}: apt install chromium"),
]
RUNS = """query($job: String!) { runsOrError(filter: {pipelineName: $job}, limit: 20) {
  ... on Runs { results { id status tags { key value } } } } }"""


@dataclass(frozen=True)
class Ui:
    """A UI over a migrated demo."""

    url: str
    folder: Path
    page: Page

    def runs(self, job: str) -> list[dict[str, Any]]:
        """The Dagster runs of a job, newest first."""
        body = json.dumps({"query": RUNS, "variables": {"job": job}}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["data"]["runsOrError"]["results"]
        return found

    def ended(self, job: str, before: int) -> dict[str, Any]:
        """The run that was started after `before` runs of the job were there, once it has ended."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = self.runs(job)
            if len(found) > before and found[0]["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
                return found[0]
            time.sleep(0.5)
        raise AssertionError(f"no run of {job} ended: {self.runs(job)[:2]}")

    def phase_states(self) -> list[str]:
        """The states of the runs of phase `service`, oldest first, as the store has them."""
        settings = Settings.from_env({"ISYNC_TEMPLATES": str(self.folder / "templates")})
        plan = load_plans(settings, ["demo"])["demo"]
        key = JobKey(plan.source_org_id, plan.target_org_id, "demo", "service")
        return [str(run.state) for run in Store.open(str(self.folder / ".isync" / "store")).runs(key).list()]


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    folder = tmp_path_factory.mktemp("ui")
    shutil.copytree(ROOT / "templates", folder / "templates")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ISYNC_", "DAGSTER_"))}
    isync = [sys.executable, "-m", "isync_dagster.cli"]
    environment = {**own, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*isync, "demo", "--rows", "300"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [*isync, "ui", "--demo", "--port", str(port)],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(url, process)
        with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
            browser = playwright.chromium.launch_persistent_context(
                profile,
                executable_path=str(CHROMIUM),
                headless=True,
                args=FLAGS,
                viewport={"width": 1600, "height": 1000},
            )
            try:
                page = browser.new_page()
                page.set_default_timeout(60_000)
                yield Ui(url, folder, page)
            finally:
                browser.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, "the UI ended before it answered"
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError("the UI does not answer")


def test_a_phase_is_taken_back_and_materialized_again_and_its_checks_run_alone(ui: Ui) -> None:
    page = ui.page
    assert ui.phase_states() == ["closed"]

    # Roll back, in the launchpad of the job: what it is to do and its confirmation are typed.
    page.goto(f"{ui.url}/locations/isync/jobs/rollback_demo/playground")
    page.locator(".CodeMirror").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("ops: {rollback_demo_run: {config: {phase: service, confirm: service}}}")
    page.get_by_role("button", name="Launch Run").click()
    assert ui.ended("rollback_demo", 0)["status"] == "SUCCESS"
    assert ui.phase_states() == ["rolled_back"]

    # Materialize the phase again: its partition is picked from the list.
    before = len(ui.runs("migrate_demo"))
    page.goto(f"{ui.url}/locations/isync/jobs/migrate_demo")
    page.get_by_text("Materialize all").locator("visible=true").last.click()
    page.get_by_text("Select a partition or create one").click()
    page.get_by_text("service", exact=True).locator("visible=true").last.click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch").locator("visible=true").last.click()
    run = ui.ended("migrate_demo", before)
    assert run["status"] == "SUCCESS"
    assert {"key": "dagster/partition", "value": "service"} in run["tags"]
    assert ui.phase_states() == ["rolled_back", "closed"]

    # The checks of one load, alone.
    page.goto(f"{ui.url}/assets/demo/Case/load?view=checks")
    page.get_by_text("conservation").locator("visible=true").first.wait_for()
    before = len(ui.runs("__ASSET_JOB"))
    page.get_by_role("button", name="Execute all").click()
    assert ui.ended("__ASSET_JOB", before)["status"] == "SUCCESS"
    page.reload()
    page.get_by_text("Succeeded").locator("visible=true").nth(3).wait_for()
