"""Canary: the first rows of every object into the target and out again, in a run of its own.

It goes the whole way of a migration (extract, gate, remap, load, relink, checks), with the ledger, the audit log
and the id map of a run of the template `<name>~canary`, and ends with its rollback. What the target would refuse of real rows shows
before the real run; refused rows stop nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from isync_dagster.errors import ConfigError, PreflightError
from isync_dagster.migration.checks import check_conservation, check_rejected_rows, verify_target
from isync_dagster.migration.extract import extract
from isync_dagster.migration.finish import finish
from isync_dagster.migration.load import load
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.relink import relink
from isync_dagster.migration.remap import remap
from isync_dagster.migration.rollback import rollback
from isync_dagster.migration.rollback_model import RollbackResult
from isync_dagster.migration.rollback_runs import left_something
from isync_dagster.migration.runs import current_run, guard_orgs
from isync_dagster.plan.model import Lookup, ObjectPlan, PhasePlan, Plan, Policy
from isync_dagster.store.rollbacks import Rollback
from isync_dagster.store.runs import Run, RunState
from isync_dagster.template.models import Caps, CheckSeverity, PreflightDecision

PHASE = "canary"
SHOWN = 20
"""Records of an object left in the target that are named."""
LEFT = (State.SKIPPED, State.FAILED, State.PENDING, State.UNKNOWN)
"""States of a rollback's audit log that say that a record is as the canary made it."""
SUFFIX = "~canary"


@dataclass(frozen=True)
class Canary:
    """What a canary showed: what became of its rows, what was refused and why, and that all of it is out again."""

    run: int
    states: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Object -> rows by record state, before they were taken out."""
    errors: tuple[Mapping[str, Any], ...] = ()
    """Refused and blocked rows grouped, as a load reports them, with `object`."""
    findings: tuple[Mapping[str, Any], ...] = ()
    """What the gate said of these rows."""
    failed: tuple[str, ...] = ()
    """Checks that did not pass, as sentences."""
    undone: tuple[RollbackResult, ...] = ()
    left: tuple[Mapping[str, Any], ...] = ()
    """Records that are still in the target as the canary made them (`object`, `target_id`, `state`, `code`, `message`), some."""

    @property
    def clean(self) -> bool:
        """True where every record that it wrote is undone."""
        return bool(self.undone) and all(result.complete and not result.stopped for result in self.undone)

    @property
    def refused(self) -> int:
        """Rows that the target refused or that were blocked."""
        return sum(states.get(name, 0) for states in self.states.values() for name in ("failed", "blocked"))


def canary_plan(plan: Plan, rows: int, phases: Sequence[str] = ()) -> Plan:
    """The plan of a canary: the first `rows` of each object of the phases, and the parents that they name."""
    if rows < 1:
        raise ConfigError(f"A canary needs at least one row an object, not {rows}.")
    wanted = [plan.phase(name) for name in phases] or list(plan.phases)
    names = {name for phase in wanted for name in phase.objects}
    where: dict[str, str] = {}
    for phase in wanted:
        for name, condition in phase.where.items():
            where.setdefault(name, condition)
    ordered = [item for item in plan.objects if item.object in names]
    place = {item.object: number for number, item in enumerate(ordered)}
    objects = tuple(_small(item, rows, place, ordered) if item.object in names else item for item in plan.objects)
    # Refused rows are what a canary is for: they stop nothing, and the gate only tells.
    tells = tuple(
        PreflightDecision(check=check, severity=CheckSeverity.WARN, why="a canary tries it")
        for check in ("storage", "access")
    )
    settings = plan.settings.model_copy(
        update={"continue_on_error": True, "caps": Caps(), "preflight": (*plan.settings.preflight, *tells)}
    )
    mark = hashlib.sha256(f"{plan.hash} canary {rows} {sorted(names)}".encode()).hexdigest()
    return replace(
        plan,
        template=plan.template + SUFFIX,
        objects=objects,
        phases=(PhasePlan(PHASE, tuple(item.object for item in ordered), where),),
        settings=settings,
        hash=mark,
    )


def _small(item: ObjectPlan, rows: int, place: Mapping[str, int], ordered: Sequence[ObjectPlan]) -> ObjectPlan:
    mine = place[item.object]
    children = tuple(
        child.object
        for child in ordered
        # Children are extracted first, so that they can name the parents; within a cycle one way has to do.
        if place[child.object] > mine and any(item.object in lookup.parents for lookup in child.lookups)
    )
    return replace(
        item,
        limit=rows if item.limit is None else min(rows, item.limit),
        order_by=item.order_by or "Id",
        lookups=tuple(_fetching(lookup, mine, place) for lookup in item.lookups),
        fetched_by=children,
    )


def _fetching(lookup: Lookup, mine: int, place: Mapping[str, int]) -> Lookup:
    """A lookup that brings its parent along, where the parent's object is loaded before."""
    fetches = any(place.get(parent, mine) < mine for parent in lookup.parents) and not lookup.kept
    return replace(lookup, policy=Policy.FETCH_PARENT) if fetches else lookup


def canary(job: SyncJob, rows: int, phases: Sequence[str] = ()) -> Canary:
    """Send the first `rows` of each object and take them out again; a canary that was cut off is taken out first.

    Raises `OrgsError` for production without consent, and what the verbs raise, after undoing what was sent.
    """
    plan = canary_plan(job.plan, rows, phases)
    own = replace(job, plan=plan, phase=PHASE)
    guard_orgs(own)
    before = _clear(own)
    items = plan.objects_in(PHASE)
    try:
        for item in reversed(items):
            extract(own, item.object)
        try:
            findings = preflight(own).errors
        except PreflightError as error:
            run = current_run(own)
            run.abandon("the gate found what no row gets past", by=own.opened_by)
            undone = (*before, *rollback(own))
            return Canary(run.number, findings=tuple(error.details.get("table", ())), failed=(str(error),),
                          undone=undone, left=_left(own, undone))  # fmt: skip
        for item in items:
            remap(own, item.object)
            load(own, item.object)
        for item in items:
            if item.has_relink:
                relink(own, item.object)
        failed = _judge(own, items)
        summary = finish(own)
    except BaseException:
        # Whatever it was: what has arrived in the target must not stay there.
        _clear(own)
        raise
    undone = (*before, *rollback(own))
    return Canary(
        summary.run,
        {row.object: row.states for row in summary.objects},
        tuple({"object": row.object, **error} for row in summary.objects for error in row.errors),
        tuple(findings),
        failed,
        undone,
        _left(own, undone),
    )


def _judge(job: SyncJob, items: Sequence[ObjectPlan]) -> tuple[str, ...]:
    found = []
    for item in items:
        found += [check_conservation(job, item.object), check_rejected_rows(job, item.object)]
        found += verify_target(job, item.object)
    return tuple(f"{verdict.object}: {verdict.text}" for verdict in found if not verdict.passed)


def _left(job: SyncJob, undone: Sequence[RollbackResult]) -> tuple[Mapping[str, Any], ...]:
    """Records that rollbacks did not undo, some of each object."""
    found: list[Mapping[str, Any]] = []
    for result in undone:
        run = job.store.runs(job.key).get(result.run)
        assert run is not None
        going = Rollback(run, result.number)
        for item in job.plan.objects_in(PHASE):
            rows = going.audit(item.object).latest().filter(pl.col("state").is_in(LEFT))
            shown = rows.select("target_id", "state", "code", "message").head(SHOWN).collect()
            found += [{"object": item.object, **row} for row in shown.to_dicts()]
    return tuple(found)


def _clear(job: SyncJob) -> tuple[RollbackResult, ...]:
    """Take out what an earlier canary of the template left: its open run is given up and rolled back."""
    runs = job.store.runs(job.key)
    run: Run | None = runs.latest()
    if run is None:
        return ()
    if run.is_open:
        run.abandon("a canary that was cut off", by=job.opened_by)
    if run.state is not RunState.ROLLED_BACK or left_something(run):
        return tuple(rollback(job, run.number))
    return ()
