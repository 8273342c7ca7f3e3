"""Which runs a rollback undoes, and in which order: newest first, and never from under what was built on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from isync_dagster.errors import ConfigError, OrgsError, PlanError
from isync_dagster.migration.closing import closed, sending_windows
from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import Plan
from isync_dagster.records.undo import Window, merged
from isync_dagster.schema.snapshot import OrgIdentity
from isync_dagster.store import files
from isync_dagster.store.rollbacks import rollbacks, unfinished
from isync_dagster.store.runs import Run, RunState


def runs_to_undo(job: SyncJob, number: int | None, include_later: bool) -> list[Run]:
    """The run of the job (`number`, else its newest that is not rolled back) and all that must be undone before it.

    In the order in which they are undone. Raises `ConfigError` where a run is open, where there is nothing to undo, and
    where newer runs or later phases are in the way and `include_later` is off.
    """
    wanted = _wanted(job, number)
    first = "" if number is None else f" --run {number}"
    newer = [run for run in job.store.runs(job.key).list() if run.number > wanted.number]
    for phase in dependent_phases(job.plan, job.phase):
        runs = job.store.runs(job.for_phase(phase).key).list()
        newer += [run for run in runs if run.opened_at >= wanted.opened_at]
    newer = [run for run in newer if run.state is not RunState.ROLLED_BACK]
    for run in [wanted, *newer]:
        if run.is_open:
            raise ConfigError(
                f"Run {run.number} of {run.job.template!r}, phase {run.job.phase!r}, is open: it may still write. Let it "
                f"come to its end (`isync migrate {run.job.template} --phase {run.job.phase}`), or give it up with "
                f"`isync runs abandon {run.job.template} --phase {run.job.phase}`; then roll back.",
                run=run.number,
            )
    if newer and not include_later:
        named = ", ".join(f"phase {run.job.phase!r} run {run.number} ({run.state})" for run in _newest_first(newer))
        raise ConfigError(
            f"Run {wanted.number} of {job.plan.template!r}, phase {job.phase!r}, cannot be rolled back alone: {named} came "
            f"later and may rest on it. Roll them back first, or all together, newest first: `isync rollback "
            f"{job.plan.template} --phase {job.phase}{first} --include-later`.",
            run=wanted.number,
        )
    return [*_newest_first(newer), wanted]


def dependent_phases(plan: Plan, phase: str) -> list[str]:
    """Phases that come after `phase` by their `after`, or whose lookups may point at objects of it; itself not."""
    found: set[str] = set()
    objects = set(plan.phase(phase).objects)
    for item in plan.phases:
        if item.name == phase:
            continue
        pointed = {
            name
            for member in plan.objects_in(item.name)
            for lookup in member.lookups
            for name in (*lookup.parents, *lookup.others)
        }
        if pointed & objects or objects & set(item.objects):
            found.add(item.name)
    behind = {phase} | found
    while grown := {item.name for item in plan.phases if behind & set(item.after)} - behind:
        behind |= grown
    return [item.name for item in plan.phases if item.name in behind and item.name != phase]


def job_of(job: SyncJob, run: Run) -> SyncJob:
    """The job as the run was planned: what the template says today is no matter for what was done."""
    try:
        plan = Plan.from_json(run.plan())
    except PlanError as error:
        raise ConfigError(
            f"Run {run.number} of phase {run.job.phase!r} was planned by another version of the tool, which must roll it "
            f"back: {error}",
            run=run.number,
        ) from error
    return replace(job, plan=plan, phase=run.job.phase)


def guard_identity(job: SyncJob) -> OrgIdentity:
    """The target, which must be the planned one. The source is not asked: it may be retired."""
    target = job.target.identity()
    if target.org_id != job.plan.target_org_id:
        raise PlanError(
            f"The target org {job.plan.target_alias!r} is {target.org_id} ({target.name}), but the run wrote to "
            f"{job.plan.target_org_id}. Check orgs.yaml: nothing was touched."
        )
    return target


def guard_target(job: SyncJob) -> None:
    """Refuse a target that is not the planned one, and production without consent."""
    target = guard_identity(job)
    job.target.require_writable()
    if target.is_production and job.options.confirm_production != target.org_id:
        raise OrgsError(
            f"The target {job.plan.target_alias!r} ({target.name}) is a production org. To roll back there, give its org "
            f"id: `--confirm-production {target.org_id}`, or `confirm_production` in the job's config."
        )


def own_windows(job: SyncJob, run: Run) -> tuple[list[Window], list[Window], str]:
    """When the tool was sending to the target: since the run was closed, in all since it was opened; and as which user.

    What a later run, a retry, a heal, or an earlier rollback moved is no change by somebody else. Bounded by the chunks of the
    runs that were opened since.
    """
    last_look = closed(run)
    at = datetime.fromisoformat(last_look["by_worker"]) if last_look else None
    everything: list[Window] = []
    later: list[Window] = []
    for key in job.store.jobs():
        if key.target_org_id != run.job.target_org_id:
            continue
        for other in job.store.runs(key).list():
            late = files.names(other.folder / "heal") or files.names(other.retries_folder) or rollbacks(other)
            if other.opened_at >= run.opened_at or late:
                everything += sending_windows(other)
                later += sending_windows(other, at) if at else []
    if last_look is None:
        return [], merged(everything), ""
    end = datetime.fromisoformat(last_look["at"])
    return [(max(start, end), stop) for start, stop in merged(later)], merged(everything), str(last_look["user"])


def _wanted(job: SyncJob, number: int | None) -> Run:
    runs = job.store.runs(job.key)
    listed = runs.list()
    where = f"Phase {job.phase!r} of template {job.plan.template!r}"
    if number is None:
        going = [run for run in listed if unfinished(run) is not None]
        if going:
            return going[-1]
        left = [run for run in listed if run.state is not RunState.ROLLED_BACK]
        if not left:
            done = f"all its runs are rolled back ({len(listed)})" if listed else "it has never run"
            raise ConfigError(f"{where} has nothing to roll back: {done}.")
        return left[-1]
    run = runs.get(number)
    if run is None:
        known = ", ".join(str(item.number) for item in listed) or "none"
        raise ConfigError(f"{where} has no run {number} (there are: {known}).")
    if run.state is RunState.ROLLED_BACK and not left_something(run):
        raise ConfigError(f"{where}: run {number} is rolled back already, and nothing of it is left.", run=number)
    return run


def left_something(run: Run) -> bool:
    done = [item.done() for item in rollbacks(run)]
    last = done[-1] if done else None
    if last is None:
        return True
    return any(states.get(state) for states in last["states"].values() for state in ("skipped", "failed", "pending"))


def _newest_first(runs: Sequence[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: (run.opened_at, run.number), reverse=True)
