"""Heal: fill the lookups that were left empty because their parent came later.

The phase that brings a parent heals what waits for it when it finishes; `isync relink` does the same at any time. A
heal is ledgered like a load, as step `heal-<n>` of the run that remembered the links, so that explain, checks and
rollback of that run see it: rows planned before they are sent, before-images kept, results in the audit log. Only
rows with a link that can be filled now are read and sent. A value that somebody has set in the target since stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
from upath import UPath

from isync_dagster.errors import ConfigError, TransientError
from isync_dagster.migration import reading
from isync_dagster.migration.automation import ensure_off
from isync_dagster.migration.chunks import cut_update
from isync_dagster.migration.closing import refresh_stamps
from isync_dagster.migration.decisions import PAIRS
from isync_dagster.migration.healed import healed_path, steps_of
from isync_dagster.migration.links import link_states
from isync_dagster.migration.load import Keeper, errors_of, is_through, send_wave, sent
from isync_dagster.migration.mapped import proof_folder, prove
from isync_dagster.migration.model import Outcome, Progress, State, SyncJob
from isync_dagster.migration.outcomes import measured
from isync_dagster.migration.references import resolved_anew
from isync_dagster.migration.remap import has_rows, remapped
from isync_dagster.migration.runs import guard_orgs
from isync_dagster.migration.sending import Sender
from isync_dagster.migration.target import ID
from isync_dagster.migration.writing import hold_target, release_target
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.records.ids import unambiguous
from isync_dagster.records.payload import changes
from isync_dagster.store import files
from isync_dagster.store.ledger import Entry
from isync_dagster.store.pending import Pending
from isync_dagster.store.rollbacks import unfinished
from isync_dagster.store.runs import JobKey, Run, RunState

ASK_BY_ID = 400
"""Up to so many records are read by id; more by one read of the whole object."""

WRITTEN = (State.INSERTED, State.UPDATED, State.IDENTICAL)


def heal_links(job: SyncJob, objects: Sequence[str] = ()) -> tuple[Outcome, ...]:
    """Fill every pending link of the template (or of `objects`) whose parent is in the target now.

    One outcome for each run and object with links that could be filled: `numbers` has linked, kept (somebody set
    another value meanwhile), gone (the record itself is not in the target) and refused. Raises as `load` does; where
    it was cut off, a repeat goes on.
    """
    plans = [job.object(name) for name in objects] or list(job.plan.objects)
    guard_orgs(job)
    done: list[Outcome] = []
    for plan in plans:
        for run in _runs(job, plan, None):
            try:
                done += _heal(job, run, plan, run)
            finally:
                release_target(job, run)
    return tuple(done)


def heal_after(job: SyncJob, run: Run) -> tuple[Outcome, ...]:
    """What `run` settles of the pending links of its template: those its own rows have resolved, those whose parent it
    brought. The lease of the run is used."""
    for plan in job.plan.objects_in(job.phase):
        note_resolved(job, run, plan)
    done: list[Outcome] = []
    for plan in job.plan.objects:
        for owner in _runs(job, plan, run):
            done += _heal(job, owner, plan, run)
    return tuple(done)


def notes_of(done: Sequence[Outcome]) -> tuple[str, ...]:
    """What the person who signs off should know of the links that were filled."""
    return tuple(
        f"{item.object}: {item.numbers['linked']} pending links were filled ({'; '.join(item.notes)})" for item in done
    )


def note_resolved(job: SyncJob, run: Run, plan: ObjectPlan) -> int:
    """Close the pending links of earlier runs that this run's own rows have resolved; how many there were."""
    pending = _pending(job)
    waiting = pending.open(plan.object)
    if not plan.lookups or waiting.head(1).collect().is_empty():
        return 0
    states = link_states(run, plan).filter(pl.col("_state").is_in(WRITTEN))
    settled = ["linked", "defaulted", "kept", "empty"]
    resolved = pl.concat(
        states.filter(pl.col(f"_link.{name}").is_in(settled)).select(
            source_id="_source_id", field=pl.lit(name), how=pl.col(f"_link.{name}"), target_parent_id=pl.col(name)
        )
        for name in (lookup.target.name for lookup in plan.lookups)
    )
    closed = waiting.select("source_id", "field", "source_parent_id", "parent_object").join(
        resolved, on=["source_id", "field"], how="inner"
    )
    if closed.head(1).collect().is_empty():
        return 0
    return pending.heal(
        plan.object, closed, template=job.plan.template, phase=job.phase, run=run.number, part="resolved"
    )


def _refuse_half_undone(job: SyncJob) -> None:
    runs = (run for phase in job.plan.phases for run in job.store.runs(job.for_phase(phase.name).key).list())
    half = next((run for run in runs if unfinished(run) is not None), None)
    if half is not None:
        raise ConfigError(
            f"The rollback of run {half.number} of phase {half.job.phase!r} was begun and is not through: it empties lookups "
            f"that would be filled now. Finish it first: `isync rollback {half.job.template} --phase {half.job.phase}`.",
            run=half.number,
        )


# ── which links, of which run ────────────────────────────────────────────────────────────────────────────


def _pending(job: SyncJob) -> Pending:
    return job.store.pending(job.plan.source_org_id, job.plan.target_org_id)


def _candidates(job: SyncJob, plan: ObjectPlan) -> pl.LazyFrame:
    """The links that wait, and those that were filled with a parent that may have come back under another id."""
    links = _pending(job).links(plan.object).filter(pl.col("template") == job.plan.template)
    filled = (pl.col("healed") == "linked") & pl.col("target_parent_id").is_not_null()
    return links.filter(pl.col("healed").is_null() | filled)


def _runs(job: SyncJob, plan: ObjectPlan, by: Run | None) -> Iterator[Run]:
    """The runs that remembered candidates; one that is open heals only its own, one rolled back has none."""
    found = _candidates(job, plan).select("phase", "run").unique().sort("phase", "run").collect()
    for phase, number in found.iter_rows():
        key = JobKey(job.plan.source_org_id, job.plan.target_org_id, job.plan.template, phase)
        run = job.store.runs(key).get(number)
        if run is None or run.state is RunState.ROLLED_BACK:
            continue
        if run.is_open and (by is None or (by.job, by.number) != (run.job, run.number)):
            continue
        yield run


@dataclass(frozen=True)
class HealStep:
    """One heal of one object of one run."""

    run: Run
    plan: ObjectPlan
    name: str
    lookups: tuple[Lookup, ...]

    @property
    def folder(self) -> UPath:
        """Where its rows lie."""
        return self.run.folder / "heal" / self.plan.object / self.name

    @property
    def rows(self) -> UPath:
        """What it decided, a row a record: there once it is begun."""
        return self.folder / "rows.parquet"

    @property
    def wave(self) -> UPath:
        """Says that its rows are cut into chunks."""
        return self.run.ledger(self.name, self.plan.object).folder / "wave-00000.json"

    @property
    def done(self) -> UPath:
        """The links that it closed: there once it is over."""
        return healed_path(self.run, self.plan.object, self.name)


def _heal(job: SyncJob, run: Run, plan: ObjectPlan, holder: Run) -> list[Outcome]:
    """Heal what one run remembered of one object, a step that was cut off first."""
    done = []
    number = 0
    for name in steps_of(run, plan.object):
        number = int(name.removeprefix("heal-"))
        step = HealStep(run, plan, name, plan.lookups)
        if files.exists(step.rows) and not files.exists(step.done):
            done += _step(job, step, holder, None)
    ready = _ready(job, run, plan)
    if ready:
        step = HealStep(run, plan, f"heal-{number + 1}", tuple(lookup for lookup, _ in ready))
        done += _step(job, step, holder, ready)
    return done


_Ready = list[tuple[Lookup, pl.DataFrame]]


def _ready(job: SyncJob, run: Run, plan: ObjectPlan) -> _Ready:
    """For each lookup the links whose parent and child both have a counterpart: source_id, _child, _to, _was,
    source_parent_id, parent_object. Bounded by the links that can be filled now."""
    mine = _candidates(job, plan).filter((pl.col("phase") == run.job.phase) & (pl.col("run") == run.number))
    fields = set(mine.select(pl.col("field").unique()).collect()["field"])
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    children = unambiguous(id_map.read(plan.object).select("source_id", "target_id"))
    children = children.select("source_id", _child="target_id")
    found: _Ready = []
    for lookup in plan.lookups:
        if lookup.target.name not in fields or not lookup.updateable or lookup.kept:
            continue
        links = (
            mine.filter(pl.col("field") == lookup.target.name)
            .join(_parents(job, lookup), on="source_parent_id", how="inner")
            .filter(pl.col("_to").ne_missing(pl.col("target_parent_id")))
            .join(children, on="source_id", how="inner")
            .select("source_id", "_child", "_to", "source_parent_id", "parent_object", _was="target_parent_id")
            .collect()
        )
        if links.height:
            found.append((lookup, links))
    return found


def _parents(job: SyncJob, lookup: Lookup) -> pl.LazyFrame:
    """`source_parent_id`, `_to` of everything that the lookup may point at, as of now."""
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    frames = [id_map.read(name).select("source_id", "target_id") for name in (*lookup.parents, *lookup.others)]
    frames += [resolved_anew(job, name).lazy().select("source_id", "target_id") for name in lookup.references]
    pairs = unambiguous(pl.concat(frames)) if frames else pl.LazyFrame(schema=PAIRS)
    return pairs.select(source_parent_id="source_id", _to="target_id")


# ── one step ─────────────────────────────────────────────────────────────────────────────────────────────


def _step(job: SyncJob, step: HealStep, holder: Run, ready: _Ready | None) -> list[Outcome]:
    run, plan = step.run, step.plan
    _refuse_half_undone(job)
    with measured() as measure:
        lease = hold_target(job, holder)
        ensure_off(job, holder)
        if ready is not None:
            # A parent that somebody deleted meanwhile is no parent; who asked is told by the id map.
            for name in dict.fromkeys(name for lookup, _ in ready for name in (*lookup.parents, *lookup.others)):
                prove(job, run, name, step.name)
            ready = _ready(job, run, plan)
            if not ready:
                # Proven anew when something is ready again.
                files.remove_tree(proof_folder(run, step.name))
                return []
        job.progress(Progress(plan.object, "relink", "filling pending links"))
        # Links that are refused stay pending; they stop nothing.
        settings = job.plan.settings.model_copy(update={"continue_on_error": True})
        going = replace(job, plan=replace(job.plan, settings=settings))
        sender = Sender(going, run, plan, step.name, HealKeeper(going, run, plan, step.name))
        if not files.exists(step.wave):
            if ready is not None:
                files.write_parquet(step.rows, _rows(job, step, ready))
            plan_heal(job, step, sender)
        send_wave(going, run, plan, sender, 0, lease.check)
        if not is_through(sender.ledger):
            raise _unfinished(job, step)
        outcome = _account(job, step)
        refresh_stamps(job, run, step.name)
        return [replace(outcome, calls=measure.calls, seconds=measure.seconds)]


def _rows(job: SyncJob, step: HealStep, ready: _Ready) -> pl.LazyFrame:
    """A row a record: `_row`, `_source_id`, `_target_id`, and for each lookup F: F (the parent's target id), `_from.F`,
    `_now.F` (what the target holds), `_how.F` (linked, kept, gone; null where nothing waits); `_changed`."""
    names = [lookup.target.name for lookup, _ in ready]
    rows = pl.concat([links.lazy().select("source_id", "_child") for _, links in ready]).unique("source_id")
    rows = rows.sort("source_id").join(_there(job, step, ready), left_on="_child", right_on="_id", how="left")
    seen = _seen(step, names)
    rows = rows.join(seen, on="source_id", how="left", maintain_order="left")
    for lookup, links in ready:
        name = lookup.target.name
        own = links.lazy().select(
            "source_id",
            pl.col("_to").alias(name),
            pl.col("_was").alias(f"_was.{name}"),
            pl.col("source_parent_id").alias(f"_from.{name}"),
            pl.col("parent_object").alias(f"_object.{name}"),
        )
        rows = rows.join(own, on="source_id", how="left", maintain_order="left")
    how = {f"_how.{name}": _how(name) for name in names}
    differs = [
        pl.when((pl.col(f"_how.{name}") == "linked") & pl.col(name).ne_missing(pl.col(f"_now.{name}"))).then(
            pl.lit(name)
        )
        for name in names
    ]
    return rows.with_columns(**how).select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("_row"),
        pl.col("source_id").alias("_source_id"),
        pl.col("_child").alias("_target_id"),
        *names,
        *[f"{prefix}.{name}" for prefix in ("_from", "_object", "_now", "_how") for name in names],
        pl.concat_list(differs).list.drop_nulls().alias("_changed"),
    )


def _how(name: str) -> pl.Expr:
    now = pl.col(f"_now.{name}")
    untouched = now.is_null() | now.eq_missing(pl.col(f"_seen.{name}")) | now.eq_missing(pl.col(f"_was.{name}"))
    return (
        pl.when(pl.col(name).is_null())
        .then(None)
        .when(pl.col("_present").is_null())
        .then(pl.lit("gone"))
        .when(untouched | (now == pl.col(name)))
        .then(pl.lit("linked"))
        .otherwise(pl.lit("kept"))
    )


def _there(job: SyncJob, step: HealStep, ready: _Ready) -> pl.LazyFrame:
    """`_id`, `_present`, `_now.F` of the records as they are in the target."""
    fields = (ID, *(lookup.target for lookup, _ in ready))
    ids = pl.concat([links["_child"] for _, links in ready]).unique().sort()
    few = len(ids) <= ASK_BY_ID
    where = "Id IN ({})".format(", ".join(f"'{value}'" for value in ids.to_list())) if few else ""
    folder = step.folder / "there"
    reading.read(
        job, job.target, object=step.plan.target_object, fields=fields, where=where, folder=folder, stage="relink"
    )
    now = [pl.col(lookup.target.name).alias(f"_now.{lookup.target.name}") for lookup, _ in ready]
    return reading.scan(folder, fields).select(pl.col("Id").alias("_id"), pl.lit(True).alias("_present"), *now)


def _seen(step: HealStep, names: Sequence[str]) -> pl.LazyFrame:
    """`source_id`, `_seen.F`: what the matched record held when its run decided; null where that is not known."""
    empty = {"source_id": pl.String(), **{f"_seen.{name}": pl.String() for name in names}}
    if not has_rows(step.run, step.plan.object):
        return pl.LazyFrame(schema=empty)
    rows = remapped(step.run, step.plan.object)
    there = rows.collect_schema().names()
    return rows.select(
        pl.col("_source_id").alias("source_id"),
        *(
            (pl.col(f"_now.{name}") if f"_now.{name}" in there else pl.lit(None, dtype=pl.String)).alias(
                f"_seen.{name}"
            )
            for name in names
        ),
    )


def plan_heal(job: SyncJob, step: HealStep, sender: Sender) -> None:
    """Keep the before-images and cut the rows into chunks."""
    rows = files.scan(step.rows)
    changed = rows.filter(pl.col("_changed").list.len() > 0)
    names = [name for name in rows.collect_schema().names() if not name.startswith("_")]
    before = step.run.before(step.plan.object)
    if not before.has(step.name):
        now = [pl.col(f"_now.{name}").alias(name) for name in names]
        before.write(step.name, changed.select(pl.col("_target_id").alias("Id"), "_changed", *now))
    payload = changes(changed, {name: pl.col(name) for name in names})
    number = 0
    for chunk, part in cut_update(job, sender.ledger, payload, step.plan.lookups):
        sender.plan_chunk(chunk, part)
        number += 1
    files.write_json(step.wave, {"chunks": number})


def _account(job: SyncJob, step: HealStep) -> Outcome:
    """Close the links that are filled (or kept), and say what came of the step."""
    run, plan = step.run, step.plan
    rows = files.scan(step.rows)
    names = [name for name in rows.collect_schema().names() if not name.startswith("_")]
    mine = run.audit(plan.object).read().filter(pl.col("stage") == step.name)
    last = mine.group_by("source_id").agg(
        *(pl.col(name).max_by("attempt") for name in ("code", "message", "fields")),
        pl.col("state").max_by("attempt"),
    )
    refused = last.filter(pl.col("code").is_not_null() | (pl.col("state") == State.PENDING))
    rows = rows.join(
        refused.select("source_id", _refused=pl.lit(True)), left_on="_source_id", right_on="source_id", how="left"
    )
    long = pl.concat(
        rows.filter(pl.col(f"_how.{name}").is_not_null()).select(
            source_id="_source_id",
            field=pl.lit(name),
            source_parent_id=pl.col(f"_from.{name}"),
            parent_object=pl.col(f"_object.{name}"),
            how=pl.when(pl.col("_changed").list.contains(name) & pl.col("_refused"))
            .then(pl.lit("refused"))
            .otherwise(pl.col(f"_how.{name}")),
            target_parent_id=pl.when(pl.col(f"_how.{name}") == "linked").then(pl.col(name)),
        )
        for name in names
    )
    settled = long.filter(pl.col("how").is_in(["linked", "kept"]))
    where = {"template": run.job.template, "phase": run.job.phase, "run": run.number}
    _pending(job).heal(plan.object, settled, part=step.name, **where)  # type: ignore[arg-type]
    counted = dict(long.group_by("how").len().collect().iter_rows())
    numbers = {name: int(counted.get(name, 0)) for name in ("linked", "kept", "gone", "refused")}
    # The last file: a step that has it is over.
    files.write_parquet(step.done, settled)
    return Outcome(
        plan.object,
        "relink",
        run.number,
        rows=sum(numbers.values()),
        numbers=numbers,
        errors=errors_of(refused.with_columns(state=pl.lit(str(State.FAILED)))),
        notes=tuple(_notes(step, numbers)),
    )


def _notes(step: HealStep, numbers: dict[str, int]) -> Iterator[str]:
    yield f"{step.name} of run {step.run.number}, phase {step.run.job.phase}"
    if numbers["kept"]:
        yield f"{numbers['kept']} lookups hold a value that somebody set in the target meanwhile: it stays"
    if numbers["gone"]:
        yield f"{numbers['gone']} records are not in the target any more: their links wait on"
    if numbers["refused"]:
        yield f"{numbers['refused']} links were refused and wait on"


def _unfinished(job: SyncJob, step: HealStep) -> ConfigError | TransientError:
    text = f"{step.plan.object}: filling pending links ({step.name} of run {step.run.number}) "
    again = f"`isync relink {job.plan.template}` goes on with it, or materialize again."
    if job.cancelled():
        return ConfigError(f"{text}was stopped on request. {again}")
    return TransientError(f"{text}is not through. {again}")


class HealKeeper(Keeper):
    """A healed row keeps its state; one that was identical is updated now. A refusal is noted, and loses no record."""

    def __call__(self, part: str, outcome: pl.DataFrame, entry: Entry) -> None:
        """Record `outcome` (OUTCOME_SCHEMA) of the attempt that `entry` belongs to."""
        audit = self.run.audit(self.plan.object)
        rows = outcome.lazy().select(source_id="_source_id")
        # Bounded by the chunk: only its own records are looked up.
        before = audit.latest(rows).select("source_id", _before="state", _there="target_id").collect()
        joined = outcome.join(before, left_on="_source_id", right_on="source_id", how="left")
        done = pl.col("state") == State.UPDATED
        was = pl.col("_before").fill_null(str(State.UPDATED))
        state = pl.when(done & (was == State.IDENTICAL)).then(pl.lit(str(State.UPDATED))).otherwise(was)
        unsent = pl.col("state").is_in(["again", str(State.PENDING)])
        audit.append(
            part,
            joined.select(
                source_id="_source_id",
                target_id=pl.coalesce("_there", "target_id"),
                state=state,
                code=pl.when(unsent & pl.col("code").is_null()).then(pl.lit("NOT_SENT")).otherwise(pl.col("code")),
                **sent(entry, self.stage, self.job.store.clock()),
            ),
        )
