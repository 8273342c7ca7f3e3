"""`isync explain`: one record, all that the store knows of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from isync_dagster.assets.settings import Settings
from isync_dagster.migration.explain import Event, Explanation, Visit, explain
from isync_dagster.store.store import Store

LONGEST = 300
"""Characters of a value that are shown; `--json` has all."""


def show(console: Console, record_id: str, template: str, as_json: bool) -> None:
    """Print what is known of the record."""
    found = explain(Store.open(Settings.from_env().store), record_id, template)
    if as_json:
        console.out(json.dumps([asdict(item) for item in found], indent=1, ensure_ascii=False), highlight=False)
        return
    for item in found:
        for line in _lines(item):
            console.print(line, soft_wrap=isinstance(line, str))


def _lines(item: Explanation) -> Iterator[str | Table]:
    counterpart = f"→ [bold]{item.target_id}[/]" if item.target_id else "→ [yellow]no counterpart now[/]"
    yield f"[bold]{escape(item.object)}[/] [bold]{item.source_id}[/] {counterpart}"
    yield f"  source org {item.source_org_id}, target org {item.target_org_id}"
    yield from _id_map(item)
    for link in item.pending:
        ended = link["healed"]
        text = f"closed: {ended}" if ended else "waits for its parent"
        yield f"  pending link {escape(link['field'])} → {link['source_parent_id']}: {text} ({_by(link)})"
    for visit in item.visits:
        yield ""
        yield from _visit(visit)


def _id_map(item: Explanation) -> Iterator[str]:
    if not item.id_map:
        yield "  id map: never"
    for entry in item.id_map:
        if entry["gone"]:
            was = f"{entry['target_id']} " if entry["target_id"] else ""
            yield f"  id map: [yellow]{was}{escape(entry['gone'])}[/] ({_by(entry)})"
        else:
            yield f"  id map: {entry['target_id']} by {escape(entry['how'] or '?')} ({_by(entry)})"


def _by(entry: Mapping[str, Any]) -> str:
    return f"{escape(entry['template'])}/{escape(entry['phase'])} run {entry['run']}, {str(entry['at'])[:19]}"


def _visit(visit: Visit) -> Iterator[str | Table]:
    yield (
        f"[bold]{escape(visit.template)}[/] phase [bold]{escape(visit.phase)}[/], run {visit.run} ({visit.state}), opened "
        f"{visit.opened_at} by {escape(visit.opened_by)}"
    )
    if visit.decision:
        matched = f", matched by {visit.matched_by}" if visit.matched_by else ""
        reason = f": {escape(visit.reason)}" if visit.reason else ""
        yield f"  decided: {visit.decision}{matched}{reason}"
    for event in visit.events:
        yield from _event(event)
    if visit.links:
        table = Table("lookup", "state", "policy", "source parent", "target parent", header_style="dim", box=None)
        for link in visit.links:
            table.add_row(
                f"  {link.field}",
                link.state,
                escape(link.policy),
                link.source_parent_id or "",
                link.target_parent_id or "",
            )
        yield table
    for step, values in visit.before.items():
        yield f"  before {escape(step)} the target held: {_cells(values)}"
    for text in visit.missing:
        yield f"  [yellow]missing:[/] {escape(text)}"


def _event(event: Event) -> Iterator[str]:
    rule = f" ({event.rule})" if event.rule else ""
    tried = f", attempt {event.attempt}" if event.attempt else ""
    job = f", job {event.job_id}" if event.job_id else ""
    when = f"sent {event.sent_at}, accounted {event.at}" if event.sent_at else f"accounted {event.at}"
    yield f"  {event.stage}: [bold]{event.state}[/]{escape(rule)}{tried}{job}; {when}"
    said = " ".join(text for text in (event.code, event.message) if text)
    if said:
        on = f" (fields: {escape(event.fields)})" if event.fields else ""
        yield f"    {'Salesforce said' if event.code else 'why'}: {escape(said)}{on}"
    if event.advice:
        yield f"    what to do: {escape(event.advice)}"
    if event.sent:
        yield f"    sent: {_cells(event.sent)}"


def _cells(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{escape(name)}={escape(_short(value))}" for name, value in values.items())


def _short(value: Any) -> str:
    text = "(empty)" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
