"""Small views of big frames, for metadata that people read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from isync_dagster.migration.model import Outcome
from isync_dagster.salesforce.meter import Meter, metering
from isync_dagster.schema.model import Field
from isync_dagster.store import files
from isync_dagster.store.runs import Run

PREVIEW_ROWS = 5
PREVIEW_COLUMNS = 8
PREVIEW_TEXT = 60


def preview_of(frame: pl.LazyFrame) -> tuple[Mapping[str, Any], ...]:
    """The first rows of a frame with the first columns that hold a value, long text cut."""
    head = frame.head(PREVIEW_ROWS).collect()
    filled = [name for name in head.columns if head[name].null_count() < head.height][:PREVIEW_COLUMNS]
    return tuple(
        {key: (value if value is None else str(value)[:PREVIEW_TEXT]) for key, value in row.items()}
        for row in head.select(filled).to_dicts()
    )


def columns_of(frame: pl.LazyFrame, fields: Iterable[Field]) -> tuple[tuple[str, str, str], ...]:
    """(name, Polars dtype, what it is) of every column."""
    known = {field.name: field for field in fields}
    return tuple(
        (name, str(kind), _described(known[name]) if name in known else "")
        for name, kind in frame.collect_schema().items()
    )


def _described(field: Field) -> str:
    if field.is_reference:
        shown = ", ".join(field.reference_to[:4]) + (" …" if len(field.reference_to) > 4 else "")
        return f"{field.label}: lookup to {shown}"
    size = f"({field.precision},{field.scale})" if field.precision else f"({field.length})" if field.length else ""
    return f"{field.label}: {field.type}{size}"


def kept(run: Run, outcome: Outcome) -> Outcome:
    """The outcome, with its calls and seconds added to what the run has used so far in that stage of the object."""
    path = run.folder / "used" / f"{outcome.stage}-{outcome.object or 'all'}.json"
    before = files.read_json(path) or {"calls": 0, "seconds": 0.0}
    files.write_json(
        path, {"calls": before["calls"] + outcome.calls, "seconds": round(before["seconds"] + outcome.seconds, 3)}
    )
    return outcome


def calls_of(run: Run) -> int:
    """API calls of all stages of a run to both orgs, resumed parts included; those of its checks come on top."""
    used = (files.read_json(run.folder / "used" / name) for name in files.names(run.folder / "used"))
    return sum(int(item["calls"]) for item in used if item is not None)


def counts_by(frame: pl.LazyFrame, column: str) -> dict[str, int]:
    """Rows by value of a text column."""
    counted = frame.group_by(pl.col(column).cast(pl.String)).len().collect()
    return {str(key): int(value) for key, value in sorted(counted.iter_rows(), key=lambda pair: str(pair[0]))}


@dataclass(frozen=True)
class Measure:
    """What a verb used so far."""

    started: float
    meter: Meter

    @property
    def seconds(self) -> float:
        """Seconds since the verb began."""
        return time.monotonic() - self.started

    @property
    def calls(self) -> int:
        """Calls made to both orgs."""
        return self.meter.calls


@contextmanager
def measured() -> Iterator[Measure]:
    """Measure the block: seconds, and calls of this thread and those it hands work to."""
    with metering() as meter:
        yield Measure(time.monotonic(), meter)
