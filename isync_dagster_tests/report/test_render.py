"""The report says the outcome first, holds every number, and lets no customer data become markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from syrupy.assertion import SnapshotAssertion
from upath import UPath

from isync_dagster.report import render_html, render_markdown, summary_from_json, summary_to_json, write_report
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
