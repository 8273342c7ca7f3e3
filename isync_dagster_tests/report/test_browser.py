"""The report in a real browser: nothing is asked of the network, all is visible, in light, in dark and on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from isync_dagster.report import write_report
from isync_dagster_tests.report.summaries import summary

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="there is no /usr/bin/chromium (Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = UPath(str(tmp_path_factory.mktemp("report")))
    return str(write_report(summary(trouble=True, values=True), folder))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_in_both_colour_schemes(browser: Any, page_file: str, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"file://{page_file}")
        assert asked == [f"file://{page_file}"] and wrong == []
        assert page.locator(".promise").inner_text().startswith("✗ The promise is not kept")
        assert page.locator(".promise").bounding_box()["y"] < 250, "the outcome is seen without scrolling"
        for box in page.locator("svg.chart rect.part").all():
            assert box.bounding_box()["width"] > 0
        words = "getComputedStyle(document.body)"
        paper, ink = page.evaluate(f"[{words}.backgroundColor, {words}.color]")
        bright = [sum(int(part) for part in colour[4:-1].split(",")) for colour in (paper, ink)]
        assert (bright[0] > bright[1]) is (scheme == "light")
        fill = page.locator("svg.chart rect.failed").first.evaluate("found => getComputedStyle(found).fill")
        assert fill != "rgb(0, 0, 0)", "states have colours"
        # Only tables may be wider than the window, inside their own frame.
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.set_viewport_size({"width": 420, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    finally:
        context.close()


def test_the_report_on_paper(browser: Any, page_file: str) -> None:
    page = browser.new_page()
    try:
        page.goto(f"file://{page_file}")
        page.emulate_media(media="print")
        assert page.locator("details table").first.is_visible(), "what is folded is printed too"
        assert page.pdf(format="A4").startswith(b"%PDF")
    finally:
        page.close()
