"""The report says the outcome first, holds every number, and lets no customer data become markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from syrupy.assertion import SnapshotAssertion
from upath import UPath

from isync_dagster.report import render_html, render_markdown, summary_from_json, summary_to_json, write_report
from isync_dagster.report.history import History, HistoryRun, render_history
from isync_dagster_tests.report.summaries import summary


class Text(HTMLParser):
    """The visible words and the tags of a page; fails on a tag that is not closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(page: str) -> Text:
    parser = Text()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_a_good_run_says_so_first() -> None:
    page = read(render_html(summary()))
    text = " ".join(page.words)
    assert "The promise is kept" in text
    assert text.index("The promise is kept") < text.index("What became of every record")
    assert "1,703" in text, "records in scope"
    assert "Fields that were not migrated" in text
    assert not [word for word in page.words if word == "Refused rows"]


def test_trouble_is_shown_and_stays_text() -> None:
    html = render_html(summary(trouble=True))
    page = read(html)
    text = " ".join(page.words)
    assert "The promise is not kept: 1 of 8 checks did not hold." in text
    assert "2 lookups point at <other> records." in text
    assert "Required fields are missing: [<b>LastName</b>] | end" in text
    assert "Fax" in text
    assert "script" not in page.tags
    assert "b" in page.tags and html.count("<b>LastName") == 0


def test_the_page_needs_nothing_from_elsewhere_and_knows_the_dark() -> None:
    html = render_html(summary(trouble=True))
    assert not re.search(r"""(src|href)=|url\(|@import|http://|https://""", html)
    assert "prefers-color-scheme: dark" in html


def test_markdown(snapshot: SnapshotAssertion) -> None:
    assert render_markdown(summary(trouble=True)) == snapshot


def test_tables_of_markdown_are_whole() -> None:
    lines = [line for line in render_markdown(summary(trouble=True)).splitlines() if line.startswith("|")]
    assert lines
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines if "LastName" in line or "advice" in line}
    assert widths == {7}


def test_a_summary_survives_the_store() -> None:
    given = summary(trouble=True)
    assert summary_from_json(json.loads(json.dumps(summary_to_json(given)))) == given


def test_both_files_are_written(tmp_path: object) -> None:
    folder = UPath(str(tmp_path)) / "report"
    page = write_report(summary(), folder)
    assert page.read_text().startswith("<!doctype html>")
    assert (folder / "report.md").read_text().startswith("# core · people · run 3")


def test_values_totals_and_history_are_told() -> None:
    html = render_html(summary(trouble=True, values=True))
    text = " ".join(read(html).words)
    assert "18,000" in text and "values compared" in text
    assert "✗ -0.50" in text and "1,250,000.50" in text, "totals side by side"
    assert "Ada <i>" in text and "<i>" not in html
    assert "Acme & Co" in text
    assert "retry 1 of Contact: 3 inserted" in text and "2026-01-02 00:00:00 UTC" in text
    assert "errors_Contact_20260101T000000.csv" in text
    found = summary_from_json(json.loads(json.dumps(summary_to_json(summary(trouble=True, values=True)))))
    assert found == summary(trouble=True, values=True)
    markdown = render_markdown(found)
    assert "| Contact | pipeline | Won | 1,250,000.50 | 1,250,000 | **✗ -0.50** |" in markdown
    assert "Ada &lt;i>" in markdown


def test_a_summary_of_an_older_version_is_read() -> None:
    data = json.loads(json.dumps(summary_to_json(summary())))
    for name in ("used", "history", "spot_checks", "error_files", "opened_at", "opened_by"):
        del data[name]
    assert summary_from_json(data) == summary()


def test_history_lists_every_run_and_how_it_went() -> None:
    runs = [
        HistoryRun("people", 3, "accepted", "2026-01-03T00:00:00+00:00", "Ada", summary(), "../a/report.html"),
        HistoryRun("sales", 1, "open", "2026-01-02T00:00:00+00:00", "Bob <b>"),
        HistoryRun(
            "people", 2, "closed", "2026-01-01T00:00:00+00:00", "Ada", summary(trouble=True), "../b/report.html"
        ),
    ]
    html = render_history(History("core", "source", "target", ["people", "sales"], runs, "2026-01-04T00:00:00+00:00"))
    page = read(html)
    text = " ".join(page.words)
    assert "✓ kept" in text and "✗ not kept" in text and "not closed" in text
    assert 'href="../a/report.html"' in html and "Bob <b>" in text
    assert html.count("<circle") == 2, "one dot a closed run of people"
    assert not re.search(r"""src=|url\(|@import|http://|https://""", html)
