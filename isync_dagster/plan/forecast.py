"""What a run will take: calls, Bulk batches, storage and time, as straight lines through what earlier runs took.

The time and the calls of a stage of an object are a base and so much a row. The lines are fitted to the runs of the
same org pair; where there are none they are rough ones of two local orgs, which say little of an org on the net: the
range says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

STAGES = ("extract", "preflight", "remap", "load", "relink", "closing")
BATCH_ROWS = 10_000
"""Rows of one Bulk ingest batch (Salesforce counts `DailyBulkApiBatches` by them)."""
FEW_ROWS = 200
"""Up to so many updates go by one collections call."""
ROW_KB: Mapping[str, float] = {"Campaign": 8, "CampaignMember": 1, "PersonAccount": 4, "Knowledge__kav": 4}
"""Kilobytes that a record takes of the data storage, where it is not the usual two."""
USUAL_KB = 2.0
FILES = frozenset({"ContentVersion", "ContentDocument", "Attachment", "Document"})
"""Objects whose content counts to the file storage, not to the data storage."""
UNLEARNED = (0.3, 15.0)
"""Shortest and longest time, as shares of the likely one, where there is nothing to learn from."""
FEW_RUNS, WIDER = 3, 1.5
"""With fewer runs than these the range is so much wider."""


@dataclass(frozen=True)
class Sample:
    """What a stage of an object took in a run."""

    run: str
    stage: str
    rows: int
    seconds: float
    calls: int


@dataclass(frozen=True)
class Line:
    """A base and so much a row."""

    base: float
    per_row: float

    def at(self, rows: int) -> float:
        """The value for so many rows."""
        return self.base + self.per_row * rows


@dataclass(frozen=True)
class Rates:
    """The lines of each stage, and how far off they were for the runs that they come from."""

    seconds: Mapping[str, Line]
    calls: Mapping[str, Line]
    together: float
    """Time of a run as a share of the sum of its stages: they run beside each other."""
    low: float
    high: float
    runs: int

    @property
    def learned(self) -> bool:
        """True where they come from earlier runs of the org pair."""
        return self.runs > 0


@dataclass(frozen=True)
class Estimate:
    """What an object, or a phase, will take."""

    calls: int
    batches: int
    storage_mb: float
    seconds: float
    """The likely time; of an object: of its stages one after the other."""


DEFAULTS = Rates(
    seconds={
        "extract": Line(0.6, 0.0002),
        "preflight": Line(0.5, 0.000001),
        "remap": Line(0.3, 0.00001),
        "load": Line(0.8, 0.001),
        "relink": Line(0.5, 0.0005),
        "closing": Line(0.3, 0.000001),
    },
    calls={
        "extract": Line(2.3, 0.00004),
        "preflight": Line(9, 0.0),
        "remap": Line(0.4, 0.0),
        "load": Line(5.8, 0.000005),
        "relink": Line(2.0, 0.000008),
        "closing": Line(3.2, 0.000003),
    },
    together=0.42,
    low=UNLEARNED[0],
    high=UNLEARNED[1],
    runs=0,
)
"""Calls are fitted to runs between two local orgs: the demo's three phases of 20,000 records, and the benchmark's six
objects with 24 to a million; an org whose jobs take long is asked more often how they stand. So are the bases of the
seconds, and what a row adds where the work is the tool's own (preflight, remap, closing). What it adds to the others is a
guess at an org on the net, of which a local one takes a tenth: it says little, which is why the range is `UNLEARNED`."""


def storage_mb(object: str, rows: int) -> float:
    """Data storage that so many records of an object take, in MB, as Salesforce counts it (about 2 KB a record)."""
    return 0.0 if object in FILES else rows * ROW_KB.get(object, USUAL_KB) / 1024


def batches_of(rows: int) -> int:
    """Bulk ingest batches that so many rows are sent in."""
    return ceil(rows / BATCH_ROWS) if rows > FEW_ROWS else 0


def learn(samples: Iterable[Sample], walls: Mapping[str, float]) -> Rates:
    """The rates of earlier runs; `walls` has the seconds from the opening to the end of each run.

    `DEFAULTS` where there is no run; the lines of stages that no run had stay the defaults.
    """
    listed = list(samples)
    runs = sorted({sample.run for sample in listed} & set(walls))
    if not runs:
        return DEFAULTS
    by_stage = {stage: [sample for sample in listed if sample.stage == stage] for stage in STAGES}
    seconds, calls = dict(DEFAULTS.seconds), dict(DEFAULTS.calls)
    for stage, found in by_stage.items():
        if found:
            rows = [sample.rows for sample in found]
            seconds[stage] = fit(rows, [sample.seconds for sample in found])
            calls[stage] = fit(rows, [float(sample.calls) for sample in found])
    sums = {run: sum(sample.seconds for sample in listed if sample.run == run) for run in runs}
    together = median(walls[run] / sums[run] if sums[run] else 1.0 for run in runs)
    ratios = []
    for run in runs:
        likely = together * sum(seconds[sample.stage].at(sample.rows) for sample in listed if sample.run == run)
        ratios.append(walls[run] / likely if likely else 1.0)
    wider = WIDER if len(runs) < FEW_RUNS else 1.1
    return Rates(seconds, calls, together, min(*ratios, 1.0) / wider, max(*ratios, 1.0) * wider, len(runs))


def fit(rows: Sequence[int], values: Sequence[float]) -> Line:
    """The line of least squares through the points, with neither base nor slope below zero.

    >>> fit([100, 300], [2.0, 4.0])
    Line(base=1.0, per_row=0.01)
    >>> fit([5], [2.0])
    Line(base=2.0, per_row=0.0)
    """
    middle_x, middle_y = sum(rows) / len(rows), sum(values) / len(values)
    spread = sum((x - middle_x) ** 2 for x in rows)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in zip(rows, values, strict=True)) / spread if spread else 0.0
    if slope <= 0:
        return Line(middle_y, 0.0)
    base = middle_y - slope * middle_x
    if base < 0:
        return Line(0.0, sum(x * y for x, y in zip(rows, values, strict=True)) / sum(x * x for x in rows))
    return Line(base, slope)


def of_object(rates: Rates, target_object: str, *, read: int, inserts: int, updates: int, relink: bool) -> Estimate:
    """What an object takes of which so many rows are read and so many are sent."""
    sent = inserts + updates
    rows = {"extract": read, "remap": read, "load": sent, "relink": sent if relink else None}
    stages = {stage: count for stage, count in rows.items() if count is not None}
    return Estimate(
        calls=round(sum(rates.calls[stage].at(count) for stage, count in stages.items())),
        batches=batches_of(sent) * (2 if relink else 1),
        storage_mb=round(storage_mb(target_object, inserts), 3),
        seconds=sum(rates.seconds[stage].at(count) for stage, count in stages.items()),
    )


def of_phase(rates: Rates, objects: Sequence[Estimate], *, read: int, sent: int) -> Estimate:
    """What a phase of these objects takes: their sum, the gate and the close, as far as they run beside each other."""
    more = {"preflight": read, "closing": sent}
    alone = sum(item.seconds for item in objects) + sum(rates.seconds[stage].at(rows) for stage, rows in more.items())
    calls = sum(rates.calls[stage].at(rows) for stage, rows in more.items())
    return Estimate(
        calls=sum(item.calls for item in objects) + round(calls),
        batches=sum(item.batches for item in objects),
        storage_mb=round(sum(item.storage_mb for item in objects), 3),
        seconds=alone * rates.together,
    )
