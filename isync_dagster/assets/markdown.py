"""Tables for people in Markdown, safe for what customers keep in their fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TEXT = 80
"""Longest text of a cell."""


def cell(value: object) -> str:
    """One value as a table cell: no line breaks, no markup of its own.

    >>> cell("a | b\\n<img src=x>"), cell(12345), cell(None)
    ('a \\\\| b &lt;img src=x&gt;', '12,345', '')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    text = " ".join(str(value).split())
    text = text if len(text) <= TEXT else text[: TEXT - 1] + "…"
    for plain, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\\", "\\\\"), ("|", "\\|"), ("`", "\\`")):
        text = text.replace(plain, written)
    for sign in "*_[]":
        text = text.replace(sign, "\\" + sign)
    return text


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Rows as a Markdown table; `columns` names and orders them, else those of all rows in order of appearance."""
    listed = list(rows)
    names = list(columns) if columns is not None else list(dict.fromkeys(key for row in listed for key in row))
    if not listed or not names:
        return ""
    lines = [_line(names), "|" + "|".join(" --- " for _ in names) + "|"]
    lines += [_line(row.get(name) for name in names) for row in listed]
    return "\n".join(lines)


def _line(values: Iterable[object]) -> str:
    return "| " + " | ".join(cell(value) for value in values) + " |"
