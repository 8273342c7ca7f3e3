"""Retry: send just what failed, what was blocked by it, and what could not be sent, once the cause is gone.

A retry is numbered within its run, open or closed. It remaps its rows anew, parents before children, against the
target as it is now; sends them under a ledger of their own (`retry-n`); then relinks them, and heals the lookups of
other records that waited for a parent which has arrived (`retry-n-relink`). All other rows are left alone. Cut off at
any point it goes on where it stopped when it is called again. Rows that are refused again are collected, whatever
`continue_on_error` says: to find them is what a retry is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.errors import ConfigError
from isync_dagster.migration import reading
from isync_dagster.migration.automation import ensure_off
from isync_dagster.migration.checks import (
    check_conservation,
    check_rejected_rows,
    verify_target,
)
from isync_dagster.migration.chunks import cut_update
from isync_dagster.migration.cleanup import Kind, require_kept
from isync_dagster.migration.closing import refresh_stamps
from isync_dagster.migration.decisions import decided, pairs_of
from isync_dagster.migration.extract import FETCH_IDS, extracted, source_fields
from isync_dagster.migration.finish import summarize
from isync_dagster.migration.links import link_states
from isync_dagster.migration.load import account_unsent, keep_before_images, send_wave, send_waves, stop_over_unknown
from isync_dagster.migration.mapped import prove, prove_lookups
from isync_dagster.migration.model import IN_TARGET, LinkState, State, Summary, SyncJob, Verdict
from isync_dagster.migration.outcomes import counts_by, measured
from isync_dagster.migration.publishing import write
from isync_dagster.migration.relink import is_loaded, is_planned, keep_relink_before_images, linked_rows
from isync_dagster.migration.remap import current_rows, remember_pending, stop_where_told, with_default_ids
from isync_dagster.migration.retry_keepers import rows_path
from isync_dagster.migration.runs import guard_orgs
from isync_dagster.migration.steps import sender_of
from isync_dagster.migration.stopping import guarded
from isync_dagster.migration.target import match_fields
from isync_dagster.migration.writing import hold_target, release_target
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.payload import changes, sent_text
from isync_dagster.records.relink import heal, pending_links, relinked_fields
from isync_dagster.records.relink import relink as relinked
from isync_dagster.report.summary import summary_to_json
from isync_dagster.store import files
from isync_dagster.store.runs import Run, RunState


@dataclass(frozen=True)
class Wanted:
    """What a retry was asked for; no object and no code mean all."""

    objects: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    extract_again: bool = False

    def takes(self, object: str) -> bool:
        """True where the object's refused rows are wanted."""
        return not self.objects or object in self.objects


@dataclass(frozen=True)
class Retried:
    """What a retry did: for each object the states of the rows that it tried, and how many lookups it filled."""

    run: int
    number: int
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    relinked: dict[str, int] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()
    summary: Summary | None = None
    """The new summary of a closed run; None while the run is open."""
    calls: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that were tried."""
        return sum(sum(states.values()) for states in self.states.values())


def retry(
    job: SyncJob, objects: Sequence[str] = (), codes: Sequence[str] = (), *, extract_again: bool = False
) -> Retried:
    """Retry the phase's newest run: `failed` rows (with one of the `codes`), `blocked` ones, and `pending` ones.

    Of the `objects` named, or of all; a blocked child of a parent that arrives goes with it, wherever it is. The rows
    are those of the run's extract, or with `extract_again` read anew from the source. A retry that was cut off is
    finished first, with what it was asked for. A closed run gets a new summary, verdicts and report, and stays closed.

    Raises `ConfigError` where there is no run to retry or it was made with another plan, `UnsettledError` where the
    outcome of rows is unknown, and what `guarded` raises where it is to stop.
    """
    run = _run(job)
    what = f"A retry of run {run.number} of phase {job.phase!r}"
    require_kept(run, (Kind.ROWS, Kind.AUDIT_LOG), what)
    guard_orgs(job)
    for name in objects:
        if not job.in_phase(job.object(name).object):
            raise ConfigError(f"{name} is not in phase {job.phase!r}: {', '.join(job.phase_plan.objects)} are.")
    lease = hold_target(job, run)
    plans = job.plan.objects_in(job.phase)
    try:
        ensure_off(job, run)
        with measured() as measure, guarded(job, run, refused=False) as guarded_job:
            for plan in plans:
                stop_over_unknown(job, run, plan)
            number, wanted, notes = _begin(job, run, Wanted(tuple(objects), tuple(codes), extract_again))
            for plan in plans:
                if _is_accounted(run, plan):
                    _send(guarded_job, run, with_default_ids(job, run, plan), number, wanted, lease.check)
            for plan in plans:
                if _is_accounted(run, plan):
                    _relink(guarded_job, run, with_default_ids(job, run, plan), number, lease.check)
            refresh_stamps(job, run, f"retry-{number}", f"retry-{number}-relink")
            done = _account(job, run, number)
            verdicts = _judge(job, run, plans, done)
            summary = _new_summary(job, run) if not run.is_open else None
            done = replace(done, verdicts=verdicts, summary=summary, notes=notes)
            done = replace(done, calls=measure.calls, seconds=measure.seconds)
            files.write_json(_folder(run, number) / "done.json", {"states": done.states, "at": job.store.clock()})
            return done
    finally:
        release_target(job, run)


def unfinished(run: Run) -> int | None:
    """The number of the run's retry that was begun and not finished, or None."""
    return run.open_retry


# ── which run, which retry ───────────────────────────────────────────────────────────────────────────────


def _run(job: SyncJob) -> Run:
    run = job.store.runs(job.key).latest()
    where = f"Phase {job.phase!r} of template {job.plan.template!r}"
    anew = f"`isync migrate {job.plan.template} --phase {job.phase}`"
    if run is None:
        raise ConfigError(f"{where} has never run: there is nothing to retry. {anew} runs it.")
    if run.state not in (RunState.OPEN, RunState.CLOSED):
        raise ConfigError(
            f"{where}: run {run.number} is {run.state}, so it is not changed any more. {anew} opens the next one, which "
            "sends what is missing in the target.",
            run=run.number,
        )
    if run.plan_hash != job.plan.hash:
        raise ConfigError(
            f"{where}: run {run.number} was made with another plan: the template or a describe snapshot has changed "
            f"since. A retry sends rows as that run planned them; for the new plan open a new run with {anew} (give an "
            f"open one up first: `isync runs abandon {job.plan.template} --phase {job.phase}`).",
            run=run.number,
        )
    return run


def _folder(run: Run, number: int) -> UPath:
    return run.retries_folder / f"{number:03d}"


def _begin(job: SyncJob, run: Run, wanted: Wanted) -> tuple[int, Wanted, tuple[str, ...]]:
    """The retry to work on: one that was cut off, as it was asked for, else the next one."""
    number = unfinished(run)
    if number is None:
        number = max(run.retries(), default=0) + 1
        asked = {"objects": wanted.objects, "codes": wanted.codes, "extract_again": wanted.extract_again}
        files.create_if_absent(
            _folder(run, number) / "begun.json", {**asked, "by": job.opened_by, "at": job.store.clock()}
        )
    begun = files.read_json(_folder(run, number) / "begun.json") or {}
    kept = Wanted(tuple(begun["objects"]), tuple(begun["codes"]), bool(begun["extract_again"]))
    if kept == wanted:
        return number, kept, ()
    said = f"objects {', '.join(kept.objects) or 'all'}, codes {', '.join(kept.codes) or 'all'}"
    return number, kept, (f"Retry {number}, which was cut off, was finished as it had been asked for ({said}).",)


def _is_accounted(run: Run, plan: ObjectPlan) -> bool:
    """True where the run has decided on the object's rows; what it has not reached yet is not retried."""
    return "remap" in run.audit(plan.object).parts()


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────────────


def _send(job: SyncJob, run: Run, plan: ObjectPlan, number: int, wanted: Wanted, check: Any) -> None:
    """Decide on the object's rows once, and send those that are to be sent."""
    path = rows_path(run, number, "remap", plan.object)
    step = f"retry-{number}"
    if not files.exists(path):
        ids = _candidates(job, run, plan, number, wanted)
        if ids.is_empty():
            return
        if not run.is_open:
            # Much may have happened in the target since the run was closed.
            prove(job, run, plan.object, step)
            prove_lookups(job, run, plan.lookups, step)
        source = _read_again(job, run, plan, number, ids) if wanted.extract_again else _extracted(run, plan, ids)
        there = _target_rows(job, run, plan, number, ids)
        made = run.audit(plan.object).read().filter(pl.col("state") == State.INSERTED)
        made = made.select(_source_id="source_id", _made=pl.lit(True)).unique()
        rows = decided(job, run, plan, source, there, alone=True)
        rows = rows.join(made, on="_source_id", how="left", maintain_order="left").with_columns(
            pl.col("_made").fill_null(False)
        )
        files.write_parquet(path, rows)
    rows = files.scan(path)
    stop_where_told(plan, rows)
    remember_pending(job, run, plan, rows, step)
    account_unsent(job, run, plan, rows, step)
    keep_before_images(run, plan, rows, step)
    sender = sender_of(job, run, plan, step)
    send_waves(job, run, plan, sender, rows, check)


def _candidates(job: SyncJob, run: Run, plan: ObjectPlan, number: int, wanted: Wanted) -> pl.DataFrame:
    """`_source_id` of the rows to try: bounded by what was refused, blocked or left."""
    latest = run.audit(plan.object).latest()
    state, coded = pl.col("state"), pl.lit(True)
    if wanted.codes:
        coded = pl.col("code").is_in(wanted.codes)
    chosen = pl.lit(False)
    if wanted.takes(plan.object):
        sent = ~pl.col("stage").is_in(["extract", "remap"])
        chosen = ((state == State.FAILED) & coded) | ((state == State.PENDING) & sent & coded)
        if not wanted.codes or plan.wave_rule == "self_levels":
            chosen = chosen | (state == State.BLOCKED)
    mine = latest.filter(chosen).select(_source_id="source_id")
    blocked = latest.filter(state == State.BLOCKED).select(_source_id="source_id")
    lookups = [lookup for lookup in plan.lookups if not lookup.deferred and not lookup.kept]
    arrived = _arrived(job, run, number)
    freed = [
        current_rows(run, plan.object)
        .join(blocked, on="_source_id", how="semi")
        .join(arrived, left_on=f"_from.{lookup.target.name}", right_on="source_id", how="semi")
        .select("_source_id")
        for lookup in lookups
    ]
    found = pl.concat([mine, *freed]).unique()
    for open_rows in _open_rows(run, plan):
        found = found.join(open_rows, on="_source_id", how="anti")
    return found.sort("_source_id").collect()


def _arrived(job: SyncJob, run: Run, number: int) -> pl.LazyFrame:
    """`source_id` of the records of any object that this retry has brought into the target."""
    frames = [
        run.audit(plan.object)
        .latest()
        .filter((pl.col("stage") == f"retry-{number}") & pl.col("state").is_in(IN_TARGET))
        .select("source_id")
        for plan in job.plan.objects_in(job.phase)
        if files.exists(rows_path(run, number, "remap", plan.object))
    ]
    return pl.concat(frames) if frames else pl.LazyFrame(schema={"source_id": pl.String})


def _open_rows(run: Run, plan: ObjectPlan) -> list[pl.LazyFrame]:
    """`_source_id` of the rows whose chunk is not through: they go on with the run itself, never twice."""
    found = []
    for step in ("load", "relink"):
        ledger = run.ledger(step, plan.object)
        for number in ledger.chunks():
            entry = ledger.last(number)
            if entry is not None and (entry.state != "done" or entry.payload.get("again")):
                found.append(ledger.rows(number, entry.attempt).select("_source_id"))
    return found


def _extracted(run: Run, plan: ObjectPlan, ids: pl.DataFrame) -> pl.LazyFrame:
    return extracted(run, plan).join(ids.lazy(), left_on="Id", right_on="_source_id", how="semi")


def _read_again(job: SyncJob, run: Run, plan: ObjectPlan, number: int, ids: pl.DataFrame) -> pl.LazyFrame:
    """The rows as the source has them now; one that is gone there is not sent, and stays as it was accounted."""
    folder = _folder(run, number) / "extract" / plan.object
    return _read_ids(job, job.source, plan.object, source_fields(plan), ids["_source_id"], folder)


def _target_rows(job: SyncJob, run: Run, plan: ObjectPlan, number: int, ids: pl.DataFrame) -> pl.LazyFrame:
    """The target's rows to match with, as they are now: all where a key finds them, else those that the id map names."""
    folder = _folder(run, number) / "target" / plan.object
    fields = match_fields(plan)
    if plan.match_key or plan.migration_key or plan.object == "Pricebook2":
        reading.read(job, job.target, object=plan.target_object, fields=fields, folder=folder, stage="retry")
        return reading.scan(folder, fields)
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).read(plan.object)
    mapped = id_map.join(ids.lazy(), left_on="source_id", right_on="_source_id", how="semi")
    targets = mapped.select("target_id").unique().sort("target_id").collect()["target_id"]
    return _read_ids(job, job.target, plan.target_object, fields, targets, folder)


def _read_ids(job: SyncJob, org: Any, object: str, fields: Any, ids: pl.Series, folder: UPath) -> pl.LazyFrame:
    parts = [pl.LazyFrame(schema=reading.scan(folder, fields).collect_schema())]
    for start in range(0, len(ids), FETCH_IDS):
        quoted = ", ".join(f"'{value}'" for value in ids.slice(start, FETCH_IDS).to_list())
        part = folder / f"{start:08d}"
        reading.read(job, org, object=object, fields=fields, where=f"Id IN ({quoted})", folder=part, stage="retry")
        parts.append(reading.scan(part, fields))
    return pl.concat(parts)


# ── their lookups ────────────────────────────────────────────────────────────────────────────────────────


def _relink(job: SyncJob, run: Run, plan: ObjectPlan, number: int, check: Any) -> None:
    """Second pass of the retried rows, and the lookups of others that waited for a parent which is there now."""
    step = f"retry-{number}-relink"
    path = rows_path(run, number, "relink", plan.object)
    sender = sender_of(job, run, plan, step)
    marker = sender.ledger.folder / "wave-00000.json"
    if not files.exists(marker):
        if not files.exists(path):
            rows = _to_relink(job, run, plan, number)
            if rows is None:
                return
            files.write_parquet(path, rows)
        rows = files.scan(path)
        keep_relink_before_images(run, plan, rows, step)
        fields = relinked_fields(plan) | {
            lookup.target.name: lookup.target for lookup in plan.lookups if lookup.updateable
        }
        payload = changes(
            rows.filter(pl.col("_changed").list.len() > 0), {name: sent_text(item) for name, item in fields.items()}
        )
        count = 0
        for chunk, part in cut_update(job, sender.ledger, payload, plan.lookups):
            sender.plan_chunk(chunk, part)
            count += 1
        files.write_json(marker, {"chunks": count})
    send_wave(job, run, plan, sender, 0, check)
    _note_links(job, run, plan, number)


def _to_relink(job: SyncJob, run: Run, plan: ObjectPlan, number: int) -> pl.LazyFrame | None:
    """The rows of the second pass with what changes in them (`_changed`); None where there is nothing to look at.

    Where the run's own relink of the object is still to come, that fills the deferred lookups.
    """
    latest = run.audit(plan.object).latest()
    there = latest.filter(pl.col("state").is_in([State.INSERTED, State.UPDATED, State.IDENTICAL]))
    there = there.select("target_id", "state", _source_id="source_id").rename(
        {"target_id": "_there", "state": "_state"}
    )
    rows = current_rows(run, plan.object).join(there, on="_source_id", how="inner", maintain_order="left")
    rows = rows.with_columns(_target_id=pl.col("_there")).drop("_there")
    path = rows_path(run, number, "remap", plan.object)
    mine = (
        files.scan(path).select("_source_id") if files.exists(path) else pl.LazyFrame(schema={"_source_id": pl.String})
    )
    late = not run.is_open or not plan.has_relink or is_planned(run, plan.object)
    parts: list[pl.LazyFrame] = []
    if plan.has_relink and late and files.exists(path):
        retried = rows.join(mine, on="_source_id", how="semi", maintain_order="left")
        parts.append(relinked(retried, plan, lambda lookup: pairs_of(job, run, lookup)))
        rows = rows.join(mine, on="_source_id", how="anti", maintain_order="left")
    waiting = [lookup for lookup in plan.lookups if late or not lookup.deferred]
    if waiting:
        rows = _as_linked(run, plan, rows)
        parts.append(heal(rows, waiting, lambda lookup: pairs_of(job, run, lookup)))
    if not parts:
        return None
    return pl.concat(parts, how="diagonal").drop("_row").with_row_index("_row")


def _as_linked(run: Run, plan: ObjectPlan, rows: pl.LazyFrame) -> pl.LazyFrame:
    """Decided rows whose lookups are as the second passes so far left them."""
    states = link_states(run, plan)
    names = [lookup.target.name for lookup in plan.lookups]
    if linked_rows(run, plan.object) is None:
        # Before its relink a deferred lookup is pending, whatever is known.
        names = [lookup.target.name for lookup in plan.lookups if not lookup.deferred]
    now = states.select(
        "_source_id",
        *[pl.col(name).alias(f"_is.{name}") for name in names],
        *[pl.col(f"_link.{name}").alias(f"_is_link.{name}") for name in names],
    )
    joined = rows.join(now, on="_source_id", how="left", maintain_order="left")
    kinds = rows.collect_schema()
    return joined.with_columns(
        *[pl.col(f"_is.{name}").alias(name) for name in names],
        *[pl.col(f"_is_link.{name}").cast(kinds[f"_link.{name}"]).alias(f"_link.{name}") for name in names],
    ).select(pl.exclude(r"^_is(_link)?\..*$"))


def _note_links(job: SyncJob, run: Run, plan: ObjectPlan, number: int) -> None:
    """Keep the pending links right: those that were filled are healed, deferred ones of retried rows that wait are new."""
    pending = job.store.pending(job.plan.source_org_id, job.plan.target_org_id)
    named: dict[str, Any] = {"template": job.plan.template, "phase": job.phase, "run": run.number}
    path = rows_path(run, number, "relink", plan.object)
    late = {lookup.target.name for lookup in plan.deferred}
    if files.exists(path):
        waiting = pending_links(files.scan(path), plan).filter(pl.col("field").is_in(sorted(late)))
        if not waiting.head(1).collect().is_empty():
            pending.add(plan.object, waiting, part=f"retry-{number}-relink", **named)
    if not plan.lookups:
        return
    states = link_states(run, plan)
    linked = [
        states.filter(pl.col(f"_link.{lookup.target.name}") == LinkState.LINKED).select(
            source_id="_source_id", field=pl.lit(lookup.target.name), target_parent_id=pl.col(lookup.target.name)
        )
        for lookup in plan.lookups
    ]
    healed = (
        pending.open(plan.object)
        .select("source_id", "field", "source_parent_id", "parent_object")
        .join(pl.concat(linked), on=["source_id", "field"], how="inner")
    )
    if not healed.head(1).collect().is_empty():
        pending.heal(plan.object, healed, part=f"retry-{number}", **named)


# ── what came of it ──────────────────────────────────────────────────────────────────────────────────────


def _account(job: SyncJob, run: Run, number: int) -> Retried:
    """States of the rows that were tried, and how many rows of each object the second pass filled."""
    states, filled = {}, {}
    for plan in job.plan.objects_in(job.phase):
        path = rows_path(run, number, "remap", plan.object)
        if files.exists(path):
            latest = run.audit(plan.object).latest()
            mine = files.scan(path).select("_source_id")
            counts = counts_by(latest.join(mine, left_on="source_id", right_on="_source_id", how="semi"), "state")
            states[plan.object] = counts
        late = rows_path(run, number, "relink", plan.object)
        if files.exists(late):
            count = files.scan(late).select((pl.col("_changed").list.len() > 0).sum()).collect().item()
            if count:
                filled[plan.object] = int(count)
    return Retried(run.number, number, states, filled)


def _judge(job: SyncJob, run: Run, plans: Sequence[ObjectPlan], done: Retried) -> tuple[Verdict, ...]:
    """The checks of every object that the retry has touched, made anew: the old verdicts are of another state."""
    found: list[Verdict] = []
    for plan in plans:
        if plan.object not in done.states and plan.object not in done.relinked:
            continue
        found += [check_conservation(job, plan.object), check_rejected_rows(job, plan.object)]
        if is_loaded(run, plan.object):
            found += verify_target(job, plan.object)
    return tuple(found)


def _new_summary(job: SyncJob, run: Run) -> Summary:
    """The closed run's summary and report as they are after the retry."""
    before = run.summary() or {}
    closed_at = str(before.get("closed_at") or "")
    summary = replace(summarize(job, run), state="closed", closed_at=closed_at)
    # A retry asks the source nothing that it does not need: the spot-checks stay those of the run.
    summary = write(run, replace(summary, spot_checks=tuple(before.get("spot_checks", ()))))
    run.amend(summary_to_json(summary), by=job.opened_by)
    return summary
