"""Pictures of the Dagster UI for the docs: `make screenshots`, or `python scripts/screenshots.py --url URL`.

Uses the UI at the URL if one answers; else it runs the demo (where it has not run) and starts a UI of its own.
Needs a Chromium (`--chromium`, default /usr/bin/chromium). Fails where a page does not show what it should, or
where it asks for anything outside this machine.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

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
SECONDS = 60.0


@dataclass(frozen=True)
class Shot:
    """One picture: its file, the page, texts that must be on it, what to click first."""

    name: str
    path: str
    texts: tuple[str, ...]
    clicks: tuple[str, ...] = ()
    height: int = 900
    width: int = 1600
    zoom_out: int = 0


OBJECTS = " or ".join(
    f'group:"demo__{name}"'
    for name in ("account", "contact", "opportunity", "contract", "order", "case", "project__c", "milestone__c")
)
FEW = 'group:"demo__account" or group:"demo__contact" or group:"demo__opportunity"'

SHOTS = (
    Shot("graph", f"/asset-groups~{quote(OBJECTS)}/", ("demo__account", "demo__milestone__c"), (), 900, 1800),
    Shot("stages", f"/asset-groups~{quote(FEW)}/", ("relink",), ("demo__contact",), 800, 1800, 3),
    Shot(
        "object",
        "/locations/__repository__@isync/asset-groups/demo__account/lineage",
        ("extract", "remap", "load", "relink"),
    ),
    Shot("load", "/assets/demo/Account/load?view=overview", ("states/", "outcome"), height=1500),
    Shot("checks", "/assets/demo/Account/load?view=checks", ("conservation", "verified"), ("relationships",), 1100),
    Shot("partitions", "/assets/demo/Account/load?view=partitions", ("foundation", "sales")),
)


def main() -> int:
    """Take every picture; the exit status says how many failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:3000")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--to", type=Path, default=Path("docs/images"))
    parser.add_argument("--rows", type=int, default=2_000, help="size of the demo where it must be made")
    options = parser.parse_args()
    if not Path(options.chromium).exists():
        print(f"There is no {options.chromium}: install Chromium or name it with --chromium.", file=sys.stderr)
        return 2
    options.to.mkdir(parents=True, exist_ok=True)
    with running(options.url, options.rows), sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=options.chromium,
            headless=True,
            args=FLAGS,
            viewport={"width": 1600, "height": 900},
            device_scale_factor=1,
        )
        try:
            page = browser.new_page()
            host = urllib.parse.urlsplit(options.url).hostname
            strangers: set[str] = set()
            page.on("request", lambda request: strangers.add(request.url) if _leaves(request.url, host) else None)
            failed = sum(not take(page, options.url, shot, options.to) for shot in SHOTS)
            failed += not take_report(page, options.to)
        finally:
            browser.close()
    for url in sorted(strangers):
        print(f"asked for {url}", file=sys.stderr)
    return failed + len(strangers)


def take(page: Page, url: str, shot: Shot, folder: Path) -> bool:
    """Open the page, wait for its texts, save the picture."""
    page.set_viewport_size({"width": shot.width, "height": shot.height})
    page.goto(url + shot.path)
    try:
        if shot.clicks:
            page.wait_for_timeout(4000)  # the page is drawn in steps; what is clicked must be the last of them
        for text in shot.clicks:
            # The last of equal texts is the one in the page; the first may be in a list beside it.
            page.get_by_text(text, exact=True).locator("visible=true").last.click(timeout=SECONDS * 1000)
        for text in shot.texts:
            page.get_by_text(text).locator("visible=true").first.wait_for(timeout=SECONDS * 1000)
        for _ in range(shot.zoom_out):
            page.wait_for_timeout(500)
            page.locator('[aria-label="zoom_out"]').locator("visible=true").last.click()
        page.wait_for_load_state("networkidle", timeout=SECONDS * 1000)
        page.wait_for_timeout(1500)  # the graph's layout and the plots move until they are done
    except Exception as error:  # noqa: BLE001 (told, and the other pictures are taken)
        page.screenshot(path=folder / f"{shot.name}.failed.png")
        print(f"✗ {shot.name}: {str(error).splitlines()[0]}", file=sys.stderr)
        return False
    page.screenshot(path=folder / f"{shot.name}.png")
    print(f"✓ {folder / shot.name}.png")
    return True


def take_report(page: Page, folder: Path) -> bool:
    """The report of the demo's newest run of its first phase, as a file of the store."""
    found = sorted(Path(".isync/store/runs").glob("*/demo/foundation/*/report/report.html"))
    if not found:
        print("✗ report: the store of this folder has no run of the demo", file=sys.stderr)
        return False
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(found[-1].absolute().as_uri())
    page.get_by_text("The promise is kept").first.wait_for(timeout=SECONDS * 1000)
    page.screenshot(path=folder / "report.png")
    print(f"✓ {folder / 'report'}.png")
    return True


@contextmanager
def running(url: str, rows: int) -> Iterator[None]:
    """A UI answers at the URL: the one that is there, or one of our own on the migrated demo."""
    if answers(url):
        yield
        return
    isync = [sys.executable, "-m", "isync_dagster.cli"]
    if not Path(".isync/demo").exists():
        subprocess.run([*isync, "demo", "--rows", str(rows)], check=True)
    port = str(urllib.parse.urlsplit(url).port or 3000)
    ui = subprocess.Popen([*isync, "ui", "--demo", "--port", port], start_new_session=True)
    try:
        until = time.monotonic() + 180
        while not answers(url):
            if ui.poll() is not None or time.monotonic() > until:
                raise SystemExit("The UI did not start.")
            time.sleep(0.5)
        yield
    finally:
        ui.send_signal(signal.SIGTERM)
        ui.wait(timeout=60)


def answers(url: str) -> bool:
    """True where a Dagster webserver with our code location answers."""
    query = json.dumps({"query": "{repositoriesOrError{... on RepositoryConnection{nodes{name}}}}"}).encode()
    request = urllib.request.Request(f"{url}/graphql", query, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(json.load(answer)["data"]["repositoriesOrError"].get("nodes"))
    except (urllib.error.URLError, OSError, KeyError, ValueError):
        return False


def _leaves(url: str, host: str | None) -> bool:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != host


if __name__ == "__main__":
    raise SystemExit(main())
