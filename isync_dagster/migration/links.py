"""The second law: where every lookup of every record ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from isync_dagster.migration.dealing import deal
from isync_dagster.migration.healed import healed_links, steps_of
from isync_dagster.migration.memory import memory
from isync_dagster.migration.model import LinkState, State
from isync_dagster.migration.reading import recorded
from isync_dagster.migration.relink import linked_rows
from isync_dagster.migration.remap import current_rows, retried_paths
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.records.words import LINK_STATES
from isync_dagster.store import files
from isync_dagster.store.audit import RANKED, latest_of
from isync_dagster.store.remembered import Remembered
from isync_dagster.store.runs import Run
from isync_dagster.store.scratch import scratch

_totals = Remembered[pl.DataFrame]()

_STATES = pl.Enum([str(state) for state in State])
COUNTS = {"field": pl.String, "state": pl.String, "rows": pl.UInt32}


ROW_BYTES = 150
"""What a record's ids and state take while its lookups are looked at, and each lookup as much again."""


def parts_of(run: Run, plan: ObjectPlan) -> tuple[int, int]:
    """Into how many parts the records of an object go, so that what is known of all their lookups fits a share; and what
    to take for one."""
    rows = sum(int(done.rows) for done in (recorded(run.extract_folder(plan.object)),) if done is not None)
    return memory().sliced(rows * ROW_BYTES * (1 + len(plan.lookups)))


@dataclass(frozen=True)
class Logged:
    """What a run holds of records of an object: of all of them, or of those of one part."""

    audit: pl.LazyFrame
    """Rows of the audit log: source_id, target_id, state, and what tells which row counts (`RANKED`) where one does not."""
    rows: pl.LazyFrame
    """As they were decided last: `_source_id`, and per lookup F: F, `_from.F` (where they are wanted), `_link.F` (Enum)."""
    late: pl.LazyFrame | None
    """The same of the second pass: `_source_id`, and per lookup F: F (where wanted), `_link.F`; None before."""
    plain: bool = False
    """Each record is once in `audit`."""

    @property
    def states(self) -> pl.LazyFrame:
        """`source_id`, `target_id`, `state` of each record."""
        return self.audit if self.plain else latest_of(self.audit)

    def settled(self) -> Logged:
        """The same with `states` in memory, for those that look at them several times."""
        return replace(self, audit=self.states.select("source_id", "target_id", "state").collect().lazy(), plain=True)

    @classmethod
    def of(cls, run: Run, plan: ObjectPlan, *, parents: bool = True, targets: bool = True) -> Logged:
        """Of all records.

        What nobody wants to know is not dealt out: without `parents` there is no `_from.F`, without `targets` no F, but
        where it is told by them what became of a lookup.
        """
        names = [lookup.target.name for lookup in plan.lookups]
        if any(_is_level(plan, lookup) for lookup in plan.lookups) or steps_of(run, plan.object):
            parents = targets = True
        links = [pl.col(f"_link.{name}").cast(LINK_STATES) for name in names]
        known = [*(names if targets else ()), *(f"_from.{name}" for name in names if parents)]
        late = linked_rows(run, plan.object)
        log = run.audit(plan.object)
        # In this order: a part that comes in between makes the log no plainer than what is read of it.
        audit = log.read()
        plain = log.is_plain()
        return cls(
            audit.select("source_id", "target_id", "state", *(() if plain else RANKED[1:])),
            current_rows(run, plan.object).select("_source_id", *known, *links),
            None if late is None else late.select("_source_id", *(names if targets else ()), *links),
            plain,
        )

    def only(self, source_id: str) -> Logged:
        """Of one record."""
        mine = pl.col("_source_id") == source_id
        audit = self.audit.filter(pl.col("source_id") == source_id)
        late = None if self.late is None else self.late.filter(mine)
        return Logged(audit, self.rows.filter(mine), late, self.plain)

    def dealt(self, count: int, folder: Path) -> list[Logged]:
        """In parts: all that is held of a record is in one of them."""
        audits = deal(self.audit, pl.col("source_id"), count, folder / "audit")
        rows = deal(self.rows, pl.col("_source_id"), count, folder / "rows")
        late: Sequence[pl.LazyFrame | None] = [None] * count
        if self.late is not None:
            late = deal(self.late, pl.col("_source_id"), count, folder / "late")
        return [Logged(*part, self.plain) for part in zip(audits, rows, late, strict=True)]


def link_states(run: Run, plan: ObjectPlan, source_id: str | None = None, logged: Logged | None = None) -> pl.LazyFrame:
    """One row a record: `_source_id`, `_state` (record state), `_target_id`, and per lookup F: F (target id or null, what
    the target should hold), `_from.F`, `_link.F` (String) as it is now.

    A lookup of a record that did not reach the target failed with it (or was dropped with it, or waits with it);
    one of a record that was left as it is (`existing`) was kept. Deferred lookups are pending until relink. With
    `source_id` only of that record, with `logged` of those in it; F or `_from.F` are null where they are not wanted of it.
    """
    if logged is None:
        logged = Logged.of(run, plan)
    if source_id is not None:
        logged = logged.only(source_id)
    state = logged.states.select(_source_id="source_id", _state="state", _there="target_id")
    rows = _spelled(logged.rows, plan).join(state, on="_source_id", how="left", maintain_order="left")
    late = None if logged.late is None else _spelled(logged.late, plan)
    for lookup in plan.lookups:
        if _is_level(plan, lookup):
            rows = _with_level(run, plan, rows, lookup)
        elif lookup.deferred and late is not None:
            rows = _with_late(rows, late, lookup)
    for path in retried_paths(run, "relink", plan.object):
        again = files.scan(path)
        for lookup in plan.lookups:
            rows = rows if _is_level(plan, lookup) else _with_late(rows, again, lookup)
    healed = healed_links(run, plan.object)
    if healed is not None:
        for lookup in plan.lookups:
            rows = _with_healed(rows, healed, lookup)
    return rows.with_columns(_final(lookup) for lookup in plan.lookups).rename({"_there": "_target_id"})


@dataclass(frozen=True)
class States:
    """`link_states` of an object's records on this machine, without the parents in the source, for those that look at them
    several times: in parts by a hash of the target record, beside which they are looked at."""

    parts: tuple[pl.LazyFrame, ...]
    """Those that are in the target are in the part of their target record, the others in the first."""
    bytes: int
    """What one part takes."""

    @classmethod
    def write(cls, run: Run, plan: ObjectPlan, place: Path) -> States:
        """Lay them out in `place`."""
        count, size = parts_of(run, plan)
        totals = LinkTotals(run, plan)
        found: list[list[pl.LazyFrame]] = []
        for number, logged in enumerate(Logged.of(run, plan, parents=False).dealt(count, place / "logged")):
            states = _packed(link_states(run, plan, logged=logged))
            with memory().share(size):
                if count == 1:
                    states.sink_ipc(place / "states.ipc", compression="zstd")
                    found.append([pl.scan_ipc(place / "states.ipc")])
                else:
                    found.append(deal(states, pl.col("_target_id"), count, place / f"states-{number}"))
                totals.add(pl.concat(found[-1]))
        totals.total()
        return cls(tuple(_spelled(pl.concat(part), plan) for part in zip(*found, strict=True)), size)

    @property
    def all(self) -> pl.LazyFrame:
        """All records."""
        return pl.concat(self.parts)

    def beside(self, there: pl.LazyFrame, place: Path) -> list[tuple[pl.LazyFrame, pl.LazyFrame]]:
        """Each part with the rows of the target (`Id`) that its records may have; `place` is not there yet."""
        return list(zip(self.parts, deal(there, pl.col("Id"), len(self.parts), place), strict=True))


class LinkTotals:
    """Counts every lookup of every record by what became of it, part by part, for whoever looks at all records anyway.

    Checks and the summary want the counts: they are kept until a file that they rest on is written, by whichever process.
    """

    def __init__(self, run: Run, plan: ObjectPlan) -> None:
        """Made before the first part is looked at."""
        self._plan = plan
        self._name = str(run.layout.audit(plan.object))
        self._stamp = _stamp(run, plan)
        self._found: list[pl.DataFrame] = []

    def known(self) -> pl.DataFrame | None:
        """The counts, where nothing has been written since somebody counted; else None."""
        if not self._plan.lookups:
            return pl.DataFrame(schema=COUNTS)
        return None if self._stamp is None else _totals.get(self._name, self._stamp)

    def add(self, states: pl.LazyFrame) -> None:
        """Count the records of one part (`link_states`)."""
        if self._plan.lookups:
            links = states.select(
                pl.col(f"_link.{item.target.name}").cast(pl.String).alias(item.target.name)
                for item in self._plan.lookups
            )
            long = links.unpivot(variable_name="field", value_name="state")
            self._found.append(long.group_by("field", "state").agg(pl.len()).collect())

    def total(self) -> pl.DataFrame:
        """`COUNTS` of all parts: `state` is null where a lookup has none, which must not be."""
        if not self._plan.lookups:
            return pl.DataFrame(schema=COUNTS)
        rows = pl.col("len").sum().cast(pl.UInt32).alias("rows")
        found = pl.concat(self._found).group_by("field", "state").agg(rows).sort("field", "state")
        if self._stamp is not None:
            _totals.put(self._name, self._stamp, found)
        return found


def link_totals(run: Run, plan: ObjectPlan) -> pl.DataFrame:
    """`COUNTS` of an object's records: every lookup of each of them, by what became of it (`LinkTotals`)."""
    totals = LinkTotals(run, plan)
    known = totals.known()
    if known is not None:
        return known
    count, size = parts_of(run, plan)
    with scratch() as place:
        for logged in Logged.of(run, plan, parents=False, targets=False).dealt(count, place):
            with memory().share(size):
                totals.add(link_states(run, plan, logged=logged))
    return totals.total()


def _stamp(run: Run, plan: ObjectPlan) -> object | None:
    """Changes when a file is written that the counts rest on; None where they rest on more than is looked at here."""
    if run.retries() or steps_of(run, plan.object):
        return None
    rests_on = (run.layout.audit(plan.object), run.remap_folder(plan.object), run.folder / "relink" / plan.object)
    return tuple(files.stamps(folder) for folder in rests_on)


def _packed(states: pl.LazyFrame) -> pl.LazyFrame:
    """`states` in fewer bytes: closed vocabularies as such, and without the parents in the source."""
    columns = states.collect_schema().names()
    links = [pl.col(name).cast(LINK_STATES) for name in columns if name.startswith("_link.")]
    return states.with_columns(*links, pl.col("_state").cast(_STATES)).select(
        name for name in columns if not name.startswith("_from.")
    )


def _spelled(rows: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """`rows` with vocabularies as text, and null for what is not known of the lookups."""
    known = rows.collect_schema()
    names = [lookup.target.name for lookup in plan.lookups]
    wanted = [*names, *(f"_from.{name}" for name in names)]
    nothing = {name: pl.lit(None, dtype=pl.String) for name in wanted if name not in known}
    coded = [pl.col(name).cast(pl.String) for name, kind in known.items() if isinstance(kind, pl.Enum)]
    return rows.with_columns(*coded, **nothing)


def _final(lookup: Lookup) -> pl.Expr:
    state, link = pl.col("_state"), pl.col(f"_link.{lookup.target.name}")

    def becomes(value: LinkState) -> pl.Expr:
        return pl.lit(str(value))

    return (
        pl.when(link == LinkState.EMPTY)
        .then(link)
        .when(state.is_in([State.FAILED, State.BLOCKED]))
        .then(becomes(LinkState.FAILED))
        .when(state.is_in([State.DROPPED, State.SKIPPED, State.DELETED]))
        .then(becomes(LinkState.DROPPED))
        .when(state.is_in([State.PENDING, State.UNKNOWN]))
        .then(becomes(LinkState.PENDING))
        .when(state == State.EXISTING)
        .then(becomes(LinkState.KEPT))
        .when(state.is_null())
        .then(None)
        .otherwise(link)
        .alias(f"_link.{lookup.target.name}")
    )


def _with_late(rows: pl.LazyFrame, late: pl.LazyFrame, lookup: Lookup) -> pl.LazyFrame:
    """A lookup as relink, or the relink of a retry, resolved it; rows that it did not touch stay as they are."""
    name = lookup.target.name
    resolved = late.select("_source_id", _late=pl.col(name), _late_link=pl.col(f"_link.{name}").cast(pl.String))
    joined = rows.join(resolved, on="_source_id", how="left", maintain_order="left")
    return joined.with_columns(
        pl.when(pl.col("_late_link").is_not_null()).then(pl.col("_late")).otherwise(pl.col(name)).alias(name),
        pl.coalesce("_late_link", f"_link.{name}").alias(f"_link.{name}"),
    ).drop("_late", "_late_link")


def _with_healed(rows: pl.LazyFrame, healed: pl.LazyFrame, lookup: Lookup) -> pl.LazyFrame:
    """A lookup that was pending, as a heal filled it, found it set by somebody else, or a rollback emptied it again."""
    name = lookup.target.name
    own = healed.filter(pl.col("field") == name).select(
        _source_id="source_id", _healed="how", _parent="target_parent_id"
    )
    joined = rows.join(own, on="_source_id", how="left", maintain_order="left")
    # A rollback of the parent's run takes back what a heal, or the second pass of a retry, had filled.
    undone = pl.col("_healed") == LinkState.PENDING
    filled = (pl.col(f"_link.{name}") == LinkState.PENDING) & pl.col("_healed").is_not_null()
    filled = filled | (undone & (pl.col(name) == pl.col("_parent"))).fill_null(False)
    return joined.with_columns(
        pl.when(filled).then(pl.when(~undone).then(pl.col("_parent"))).otherwise(pl.col(name)).alias(name),
        pl.when(filled).then(pl.col("_healed")).otherwise(pl.col(f"_link.{name}")).alias(f"_link.{name}"),
    ).drop("_healed", "_parent")


def _is_level(plan: ObjectPlan, lookup: Lookup) -> bool:
    return plan.wave_rule == "self_levels" and lookup.target.name == plan.self_level_field


def _with_level(run: Run, plan: ObjectPlan, rows: pl.LazyFrame, lookup: Lookup) -> pl.LazyFrame:
    """The required self lookup of an object loaded level by level: linked to where the parent went."""
    name = lookup.target.name
    parents = run.audit(plan.object).latest().select(_parent="source_id", _to="target_id")
    joined = rows.join(parents, left_on=f"_from.{name}", right_on="_parent", how="left", maintain_order="left")
    found = pl.col("_to").is_not_null() & (pl.col(f"_link.{name}") == LinkState.PENDING)
    return joined.with_columns(
        pl.col("_to").alias(name),
        pl.when(found).then(pl.lit(str(LinkState.LINKED))).otherwise(pl.col(f"_link.{name}")).alias(f"_link.{name}"),
    ).drop("_to")
