"""A run's summary as plain data and back, as the store keeps it when the run closes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from isync_dagster.migration.model import ObjectSummary, Summary, Verdict


def summary_to_json(summary: Summary) -> dict[str, Any]:
    """Everything of the summary as JSON."""
    return asdict(summary)


def summary_from_json(data: Mapping[str, Any]) -> Summary:
    """Read what `summary_to_json` gave; keys that a later version added are not read."""
    values = {name: data[name] for name in Summary.__dataclass_fields__ if name in data}
    values["objects"] = tuple(_object(item) for item in data["objects"])
    for name in ("warnings", "used", "history", "spot_checks", "error_files"):
        values[name] = tuple(data.get(name, ()))
    return Summary(**values)


def _object(data: Mapping[str, Any]) -> ObjectSummary:
    values = {name: data[name] for name in ObjectSummary.__dataclass_fields__ if name in data}
    values["errors"] = tuple(data["errors"])
    values["dropped_fields"] = tuple((field, reason) for field, reason in data["dropped_fields"])
    values["verdicts"] = tuple(Verdict.from_json(verdict) for verdict in data["verdicts"])
    return ObjectSummary(**values)
