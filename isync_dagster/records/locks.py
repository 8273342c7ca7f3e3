"""Which parents the rows of an object contend for, and which of them decides the order in which they are sent.

Rule: saving a row locks the records that its lookups point at, for as long as its chunk of 200 rows takes, and waits
ten seconds for them ("UNABLE_TO_LOCK_ROW", Salesforce's Record Locking Cheat Sheet). Bulk API 2.0 cuts a job into
batches of 10,000 rows in the order of the upload and works on several at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from isync_dagster.plan.model import Lookup

BATCH_ROWS = 10_000
"""Rows of one batch of a Bulk 2.0 job; also the number of children above which Salesforce speaks of data skew."""
CHUNK_ROWS = 200
"""Rows of a batch that are saved together, and hold their locks together."""
SIDE_BY_SIDE = 4
"""Batches that are taken to run at a time; what the platform does is not told, and more only scales the measure."""
BUCKETS = 1 << 21
"""Parents are counted by so many values of a hash, which bounds the memory of counting them."""

NOT_LOCKED = frozenset(
    {"User", "Group", "RecordType", "Profile", "UserRole", "Organization", "BusinessHours", "Pricebook2", "Queue"}
)
"""Setup records, which are not locked by the records that point at them."""

NEGLIGIBLE = 0.001
"""A share of rows below which a lookup is not sorted by."""

Kind = Literal["master-detail", "required", "optional"]
KINDS: tuple[Kind, ...] = ("master-detail", "required", "optional")


@dataclass(frozen=True)
class Contention:
    """How much the rows of an object contend for the parents of one lookup."""

    field: str
    """The target field."""
    kind: Kind
    rows: int
    """Rows that have a parent."""
    largest: int
    """Children of the parent with most of them; a few more where hashes meet."""
    share: float
    """Share of all rows that would, sent in random order, be saved at the same moment as a sibling."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for the store."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.field} ({self.kind}; {self.share:.0%} of the rows would meet a sibling, most have {self.largest:,})"
        )


def locking(lookups: Iterable[Lookup]) -> tuple[Lookup, ...]:
    """The lookups whose parents are locked by a save, by kind (`KINDS`), else in the order given."""
    locked = (lookup for lookup in lookups if not NOT_LOCKED.issuperset(lookup.target.reference_to))
    return tuple(sorted(locked, key=lambda lookup: KINDS.index(kind_of(lookup))))


def kind_of(lookup: Lookup) -> Kind:
    """What the lookup is in the target."""
    if lookup.target.master_detail:
        return "master-detail"
    return "required" if lookup.required else "optional"


def by_rule(lookups: Iterable[Lookup]) -> tuple[str, ...]:
    """The target field that rows are sorted by where nothing is measured: one that each row has, if there is one."""
    return tuple(lookup.target.name for lookup in locking(lookups) if kind_of(lookup) != "optional")[:1]


def contention(rows: pl.LazyFrame, columns: Mapping[str, Kind], known_as: Mapping[str, str]) -> list[Contention]:
    """How much `rows` contend for the parents in each of `columns` (target field -> kind), most contended first.

    `known_as` says how a field's column is called in `rows` (default: as the field). A field comes first by its kind
    where it is at least half as contended as the worst one, else by its share. Streams; a pass over one column each.
    """
    total = rows.select(pl.len()).collect().item()
    found = [_measure(rows, name, known_as.get(name, name), kind, total) for name, kind in columns.items()]
    worst = max((item.share for item in found), default=0.0)
    # Python's sort keeps the order of equals, so that ties are broken by the order given.
    return sorted(
        (item for item in found if item.share >= NEGLIGIBLE),
        key=lambda item: (0, KINDS.index(item.kind), -item.share) if item.share * 2 >= worst else (1, 0, -item.share),
    )


def _measure(rows: pl.LazyFrame, field: str, column: str, kind: Kind, total: int) -> Contention:
    bucket = (pl.col(column).hash(7) % BUCKETS).cast(pl.UInt32)
    children = pl.col("children").cast(pl.Float64)
    # Chance that none of the rows that are saved at the same moment is a sibling.
    alone = (-(children - 1) / max(total, 1) * (SIDE_BY_SIDE - 1) * CHUNK_ROWS).exp()
    measured = (
        rows.select(pl.col(column))
        .drop_nulls()
        .group_by(bucket.alias("bucket"))
        .agg(pl.len().alias("children"))
        .select(
            rows=pl.col("children").sum(),
            largest=pl.col("children").max().fill_null(0),
            met=(children * (1 - alone)).sum(),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    return Contention(field, kind, measured["rows"], measured["largest"], measured["met"] / max(total, 1))


def skewed(rows: pl.LazyFrame, column: str, most: int) -> pl.Series:
    """The parents in `column` with more than `most` children in `rows`; streams, and holds no more than rows / most."""
    bucket = (pl.col(column).hash(7) % BUCKETS).cast(pl.UInt32)
    parents = rows.select(pl.col(column)).drop_nulls()
    crowded = (
        parents.group_by(bucket.alias("bucket")).agg(pl.len()).filter(pl.col("len") > most).collect(engine="streaming")
    )
    if crowded.is_empty():
        return pl.Series(column, [], dtype=pl.String)
    exact = (
        parents.filter(bucket.is_in(crowded["bucket"].implode()))
        .group_by(column)
        .agg(pl.len())
        .filter(pl.col("len") > most)
        .sort(column)
    )
    return exact.collect(engine="streaming")[column]
