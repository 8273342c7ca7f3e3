"""The table of clients and features: what works, what differs and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TITLE = "# Clients that nobody here wrote, against the local org\n"
LEAD = """
Written by `make conformance`: every row was run in this order by the client named, unchanged, against a local org
on loopback. *works* means that the client did it and what it wrote was read back; *differs* names the difference.
"""


@dataclass(frozen=True)
class Row:
    """One feature as one client saw it."""

    client: str
    feature: str
    outcome: str
    why: str = ""


def markdown(rows: Iterable[Row], replay: Iterable[tuple[str, ...]] = ()) -> str:
    """The page: a table a client, then the replay of recorded answers."""
    text = TITLE + LEAD
    by_client: dict[str, list[Row]] = {}
    for row in rows:
        by_client.setdefault(row.client, []).append(row)
    for client, entries in sorted(by_client.items()):
        text += f"\n## {client}\n\n| feature | outcome | why |\n|---|---|---|\n"
        text += "".join(f"| {entry.feature} | {entry.outcome} | {_cell(entry.why)} |\n" for entry in entries)
    counted = list(replay)
    if counted:
        text += "\n## Recorded answers of real orgs, asked again\n\n"
        text += "| request | recorded | same | differs | why |\n|---|---|---|---|---|\n"
        text += "".join(f"| {' | '.join(_cell(cell) for cell in row)} |\n" for row in counted)
    return text


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def write(path: Path, text: str) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
