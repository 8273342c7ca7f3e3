"""The report of a run, for the person who signs the migration off: one HTML file, and the same in Markdown."""

from isync_dagster.report.render import render_html, render_markdown, write_report
from isync_dagster.report.summary import summary_from_json, summary_to_json

__all__ = ["render_html", "render_markdown", "summary_from_json", "summary_to_json", "write_report"]
