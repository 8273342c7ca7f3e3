"""Every lookup that is linked, compared with what the target holds now: a join over all rows, not a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from isync_dagster.migration.memory import memory
from isync_dagster.migration.model import LinkState, State, SyncJob, Verdict
from isync_dagster.migration.names import named
from isync_dagster.migration.record_count import keep_verdict
from isync_dagster.migration.remap import current_rows
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.store.runs import Run

WRONG_SHOWN = 10
"""Wrong lookups of one field that a check lists."""

CHECKED_LINKS = (LinkState.LINKED, LinkState.DEFAULTED, LinkState.KEPT)


def relationships(
    job: SyncJob,
    run: Run,
    plan: ObjectPlan,
    beside: Sequence[tuple[pl.LazyFrame, pl.LazyFrame]],
    size: int,
    wanted: Mapping[str, Sequence[Lookup]],
) -> list[Verdict]:
    """A verdict of each name in `wanted` on its lookups.

    `beside` are the records (`link_states`) and the target's rows (`Id`, the lookups), in parts that belong together, of about
    `size` bytes; each part is joined once.
    """
    lookups = list({lookup.target.name: lookup for of in wanted.values() for lookup in of}.values())
    found = {name: _Found(max(2, job.options.spot_checks // max(1, len(of)))) for name, of in wanted.items()}
    for states, there in beside:
        # Bounded by the budget: ids and states of the records of a part, and what their target records hold.
        with memory().share(size):
            joined = _beside(states, there, lookups)
            for name, of in wanted.items():
                for lookup in of:
                    found[name].add(joined, lookup)
    return [_verdict(job, run, plan, name, item) for name, item in found.items()]


@dataclass
class _Found:
    """What is known of the lookups of one verdict so far."""

    limit: int
    """Right ones that are shown of each field."""
    verified: int = 0
    wrong: int = 0
    pending: int = 0
    by_field: dict[str, int] = field(default_factory=dict)
    bad: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, joined: pl.DataFrame, lookup: Lookup) -> None:
        """Judge a lookup of the records of one part."""
        name = lookup.target.name
        compared = _compared(joined, lookup)
        good, bad = compared.filter("_right"), compared.filter(~pl.col("_right"))
        label = f"{name} verified"
        self.by_field[label] = self.by_field.get(label, 0) + good.height
        self.verified, self.wrong = self.verified + good.height, self.wrong + bad.height
        self.pending += joined.filter(pl.col(f"_link.{name}") == LinkState.PENDING).height
        self.samples += _shown(good.head(self.limit - sum(item["field"] == name for item in self.samples)), name)
        self.bad += _shown(bad.head(WRONG_SHOWN - sum(item["field"] == name for item in self.bad)), name)


def _verdict(job: SyncJob, run: Run, plan: ObjectPlan, name: str, found: _Found) -> Verdict:
    text = f"{found.verified:,} lookups point at the counterpart of their source parent"
    text += f", {found.wrong:,} do not." if found.wrong else "."
    if found.pending:
        text += f" {found.pending:,} wait for a parent that is not in the target."
    shown = _with_parents(run, plan, found.bad or found.samples[: job.options.spot_checks])
    numbers = {"verified": found.verified, "wrong": found.wrong, "pending": found.pending, **found.by_field}
    # Samples as pairs of names, where a few calls more are in place.
    table = [dict(row) for row in named(shown, job.source, job.target)] if job.options.thorough else shown
    return keep_verdict(job, run, plan.object, name, not found.wrong, text, numbers=numbers, table=table)


def _beside(states: pl.LazyFrame, there: pl.LazyFrame, lookups: Sequence[Lookup]) -> pl.DataFrame:
    """`states` (`link_states`) with `_found.F`, what the target holds in lookup F."""
    names = [lookup.target.name for lookup in lookups]
    found = there.select(pl.col("Id").alias("_target_id"), *(pl.col(name).alias(f"_found.{name}") for name in names))
    wanted = [item for name in names for item in (name, f"_link.{name}")]
    rows = states.select("_source_id", "_target_id", "_state", *dict.fromkeys(wanted))
    return rows.join(found, on="_target_id", how="left", maintain_order="left").collect()


def _compared(joined: pl.DataFrame, lookup: Lookup) -> pl.DataFrame:
    """source, target, expected, found, `_right`: records whose lookup must hold a known value."""
    name = lookup.target.name
    written = pl.col("_state").is_in([State.INSERTED, State.UPDATED, State.IDENTICAL])
    # What an insert alone may set is left as it is in a record that was in the target before.
    bound = pl.lit(True) if lookup.updateable else pl.col("_state") == State.INSERTED
    right = pl.col(name).eq_missing(pl.col(f"_found.{name}"))
    due = written & pl.col(f"_link.{name}").is_in(CHECKED_LINKS) & pl.col(name).is_not_null()
    return joined.filter(due & (right | bound)).select(
        source="_source_id", target="_target_id", expected=pl.col(name), found=pl.col(f"_found.{name}"), _right=right
    )


def _shown(rows: pl.DataFrame, name: str) -> list[dict[str, Any]]:
    return [{"field": name, **row} for row in rows.drop("_right").to_dicts()]


def _with_parents(run: Run, plan: ObjectPlan, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The few rows that are shown, with what each lookup names in the source as `parent`."""
    names = list(dict.fromkeys(f"_from.{row['field']}" for row in rows))
    ids = pl.Series([row["source"] for row in rows], dtype=pl.String).unique()
    mine = current_rows(run, plan.object).filter(pl.col("_source_id").is_in(ids.implode()))
    known = {row["_source_id"]: row for row in mine.select("_source_id", *names).collect().to_dicts()} if rows else {}
    return [
        {"field": row["field"], "source": row["source"], "parent": known[row["source"]][f"_from.{row['field']}"], **row}
        for row in rows
    ]
