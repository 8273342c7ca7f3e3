"""Opening, finding and guarding the numbered runs of a sync job."""

from __future__ import annotations

from isync_dagster.errors import ConfigError, OrgsError, PlanError
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.side_by_side import side_by_side
from isync_dagster.store.rollbacks import unfinished
from isync_dagster.store.runs import Run


def open_run(job: SyncJob) -> Run:
    """The open run of the sync job, or a new one with the scope fixed at the source's clock now.

    A run is opened only when both orgs are the planned ones, the target may be written to, and every phase
    named in `after` is done. An open run made from another plan is refused: what it recorded would not fit.
    """
    runs = job.store.runs(job.key)
    run = runs.current()
    if run is None:
        guard_orgs(job)
        guard_phase_order(job)
        guard_rollback(job)
        run = runs.open_or_resume(
            plan_json=job.plan.to_json(),
            plan_hash=job.plan.hash,
            t0=job.source.time_passed(),
            opened_by=job.opened_by,
        )
    return _same_plan(job, run)


def current_run(job: SyncJob) -> Run:
    """The open run; the stages after extract never open one, so that they cannot act on nothing."""
    run = job.store.runs(job.key).current()
    if run is None:
        raise ConfigError(
            f"Phase {job.phase!r} of template {job.plan.template!r} has no open run. Materialize its extract assets "
            "first (or the whole job): they open the next run.",
            template=job.plan.template,
            phase=job.phase,
        )
    return _same_plan(job, run)


def latest_run(job: SyncJob) -> Run | None:
    """The open run, else the newest one, else None: what checks judge."""
    runs = job.store.runs(job.key)
    return runs.current() or runs.latest()


def _same_plan(job: SyncJob, run: Run) -> Run:
    if run.plan_hash != job.plan.hash:
        raise ConfigError(
            f"Run {run.number} of {job.plan.template!r}, phase {job.phase!r}, was opened with another plan: the template or a "
            "describe snapshot has changed since. Put the old ones back to finish it, or give it up with "
            f"`isync runs abandon {job.plan.template} --phase {job.phase}` (what it loaded stays in the target and "
            "in the id map) and start anew.",
            run=run.number,
        )
    return run


def guard_orgs(job: SyncJob) -> None:
    """Refuse orgs that are not the planned pair, a pair that is one org, and production without consent."""
    source, target = side_by_side([job.source.identity, job.target.identity], "identity")
    if source.org_id == target.org_id:
        raise PlanError(
            f"Source {job.plan.source_alias!r} and target {job.plan.target_alias!r} are the same org ({source.org_id}). "
            "Check the two entries in orgs.yaml."
        )
    for side, identity, planned, alias in (
        ("source", source, job.plan.source_org_id, job.plan.source_alias),
        ("target", target, job.plan.target_org_id, job.plan.target_alias),
    ):
        if identity.org_id != planned:
            raise PlanError(
                f"The {side} org {alias!r} is {identity.org_id} ({identity.name}), but template {job.plan.template!r} was "
                f"planned for {planned}. Check orgs.yaml; if the org is meant to be another one, take a new snapshot: "
                f"`isync orgs snapshot {alias} --template {job.plan.template}`."
            )
    if job.reads_only:
        return
    job.target.require_writable()
    if target.is_production and job.options.confirm_production != target.org_id:
        raise OrgsError(
            f"The target {job.plan.target_alias!r} ({target.name}) is a production org. To write to it, give its org id "
            f"{target.org_id} as `confirm_production` in the run's config (resources: run_options), or "
            f"`isync migrate {job.plan.template} --confirm-production {target.org_id}`."
        )


def guard_rollback(job: SyncJob) -> None:
    """Refuse a new run while the newest one is half rolled back: it would match what is about to be deleted."""
    latest = job.store.runs(job.key).latest()
    going = unfinished(latest) if latest is not None else None
    if latest is not None and going is not None:
        raise ConfigError(
            f"The rollback of run {latest.number} of phase {job.phase!r} was begun and is not through. Finish it first: "
            f"`isync rollback {job.plan.template} --phase {job.phase}` goes on where it stopped.",
            run=latest.number,
        )


def guard_phase_order(job: SyncJob) -> None:
    """Refuse at once (never wait in a slot) while a phase named in `after` is not done."""
    for earlier in job.phase_plan.after:
        before = job.for_phase(earlier)
        runs = job.store.runs(before.key)
        done = runs.latest()
        if done is None or done.state not in ("closed", "accepted"):
            state = "has never run" if done is None else f"is {done.state} (run {done.number})"
            raise ConfigError(
                f"Phase {job.phase!r} of template {job.plan.template!r} comes after phase {earlier!r}, which {state}. "
                f"Run it first: `isync migrate {job.plan.template} --phase {earlier}`, or the job `migrate_phases`.",
                phase=job.phase,
                after=earlier,
            )
