"""Outcomes and verdicts as Dagster metadata: numbers that are plotted, tables that people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from isync_dagster.assets import keys
from isync_dagster.assets.markdown import table
from isync_dagster.migration.model import Outcome, State, Summary, Verdict

MEANING: Mapping[str, str] = {
    State.INSERTED: "new in the target",
    State.UPDATED: "matched and changed",
    State.IDENTICAL: "matched, nothing to change",
    State.EXISTING: "matched, updating is off",
    State.SKIPPED: "no match, inserting is off",
    State.BLOCKED: "a required parent is missing",
    State.DROPPED: "left out by policy",
    State.FAILED: "refused by Salesforce",
    State.DELETED: "deleted",
    State.PENDING: "not sent yet",
    State.UNKNOWN: "sent, outcome not settled",
    "insert": "will be inserted",
    "update": "will be updated",
}
"""What a state or decision means, in the words of the people who read it."""


LONGEST = 100_000
"""Characters of a report that a run carries as metadata; a longer one is in its file alone."""


def of_outcome(outcome: Outcome, template: str, *, partitioned: bool = True) -> dict[str, Any]:
    """The metadata of one materialization."""
    rows = "dagster/partition_row_count" if partitioned else "dagster/row_count"
    found: dict[str, Any] = {
        rows: dg.MetadataValue.int(outcome.rows),
        "run": dg.MetadataValue.int(outcome.run),
        "api_calls": dg.MetadataValue.int(outcome.calls),
        "bytes": dg.MetadataValue.int(outcome.bytes),
        "seconds": dg.MetadataValue.float(round(outcome.seconds, 3)),
    }
    if outcome.seconds > 0 and outcome.rows:
        found["rows_per_second"] = dg.MetadataValue.float(round(outcome.rows / outcome.seconds, 1))
    # The flat keys are plotted over the materializations; the table says what they mean.
    found |= {f"states/{state}": dg.MetadataValue.int(count) for state, count in outcome.states.items()}
    found |= {name: _number(value) for name, value in outcome.numbers.items()}
    if outcome.states:
        found["outcome"] = dg.MetadataValue.md(outcome_table(outcome.states))
    if outcome.errors:
        found["refused"] = dg.MetadataValue.md(table(outcome.errors))
    if outcome.preview:
        found["preview"] = dg.MetadataValue.md(table(outcome.preview))
    if outcome.notes:
        found["notes"] = dg.MetadataValue.md("\n".join(f"- {note}" for note in outcome.notes))
    if outcome.columns:
        columns = [dg.TableColumn(name, kind, description=text or None) for name, kind, text in outcome.columns]
        found["dagster/column_schema"] = dg.TableSchema(columns)
    if outcome.lineage and outcome.stage != keys.EXTRACT:
        found["dagster/column_lineage"] = dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(keys.asset_key(template, source, keys.EXTRACT), field)]
                for column, (source, field) in outcome.lineage.items()
            }
        )
    return found


def of_nothing(phase: str) -> dict[str, Any]:
    """The metadata of an object that is not in the phase: it materializes empty, at no cost."""
    return {"dagster/partition_row_count": dg.MetadataValue.int(0), "notes": f"not in phase {phase}"}


def outcome_table(states: Mapping[str, int]) -> str:
    """States with their counts and meaning, the biggest first, and the sum that the conservation law speaks of."""
    rows: list[dict[str, Any]] = [
        {"state": state, "rows": count, "meaning": MEANING.get(state, "")}
        for state, count in sorted(states.items(), key=lambda item: -item[1])
    ]
    return table([*rows, {"state": "sum", "rows": sum(states.values()), "meaning": ""}])


def of_verdict(verdict: Verdict) -> dict[str, Any]:
    """The metadata of one check of one phase."""
    found: dict[str, Any] = {"phase": verdict.phase, "run": dg.MetadataValue.int(verdict.run)}
    found |= {name: _number(value) for name, value in verdict.numbers.items()}
    if verdict.table:
        found["sample"] = dg.MetadataValue.md(table(verdict.table))
    return found


def of_summary(summary: Summary) -> dict[str, Any]:
    """The metadata of a run's report: the closing table and where the report is."""
    states = [state for state in State if any(row.states.get(state) for row in summary.objects)]
    rows = [
        {
            "object": row.object,
            "extracted": row.extracted,
            **{state.value: row.states.get(state, 0) for state in states},
            "lookups verified": row.lookups_verified,
            "lookups wrong": row.lookups_wrong,
        }
        for row in summary.objects
    ]
    found: dict[str, Any] = {
        "run": dg.MetadataValue.int(summary.run),
        "promise kept": dg.MetadataValue.bool(summary.kept),
        "dagster/partition_row_count": dg.MetadataValue.int(sum(row.extracted for row in summary.objects)),
        "outcome": dg.MetadataValue.md(table(rows)),
    }
    found |= {name: _number(value) for name, value in summary.numbers.items()}
    if summary.report_path:
        found["report"] = dg.MetadataValue.path(summary.report_path)
    from isync_dagster.report.render import render_markdown

    text = render_markdown(summary)
    if len(text) <= LONGEST:
        found["whole report"] = dg.MetadataValue.md(text)
    if summary.warnings:
        found["warnings"] = dg.MetadataValue.md("\n".join(f"- {warning}" for warning in summary.warnings))
    return found


def _number(value: float) -> dg.MetadataValue[Any]:
    whole = isinstance(value, int)
    return dg.MetadataValue.int(int(value)) if whole else dg.MetadataValue.float(float(value))
