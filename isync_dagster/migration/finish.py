"""Finish: close a run whose every object is through, and write its summary and report."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from isync_dagster.errors import ConfigError
from isync_dagster.migration.automation import notes_on, restore
from isync_dagster.migration.carried import same_links
from isync_dagster.migration.closing import read_stamps
from isync_dagster.migration.extract import extracted
from isync_dagster.migration.forecast import forecast_error
from isync_dagster.migration.healing import heal_after, notes_of
from isync_dagster.migration.links import link_totals
from isync_dagster.migration.load import errors_in
from isync_dagster.migration.model import ObjectSummary, Outcome, State, Summary, SyncJob, Verdict
from isync_dagster.migration.outcomes import calls_of, kept, measured
from isync_dagster.migration.publishing import publish
from isync_dagster.migration.relink import is_loaded, is_relinked
from isync_dagster.migration.runs import current_run
from isync_dagster.migration.writing import release_target
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.report.summary import summary_to_json
from isync_dagster.store.runs import Run


def finish(job: SyncJob) -> Summary:
    """Close the run with a last look at what it wrote, put automation back, give the lease back, write the report.

    The run stays open while an object is not through, or automation of the target could not be put back.
    """
    run = current_run(job)
    _refuse_unfinished(job, run)
    began = job.target.time_passed()
    healed = heal_after(job, run)
    switched = restore(job, run)
    with measured() as measure:
        read_stamps(job, run, began if healed else None)
        kept(run, Outcome("", "closing", run.number, calls=measure.calls, seconds=measure.seconds))
    summary = summarize(job, run)
    summary = replace(
        summary,
        warnings=(*summary.warnings, *notes_of(healed), *(notes_on(switched) if switched else ())),
        state="closed",
        closed_at=job.store.clock().isoformat(timespec="seconds"),
    )
    summary = publish(job, run, summary)
    run.close(summary_to_json(summary), by=job.opened_by)
    release_target(job, run)
    return summary


def summarize(job: SyncJob, run: Run) -> Summary:
    """The run as it stands: counts, lookups, errors and the verdicts that checks have left in the store."""
    verdicts = [Verdict.from_json(data) for data in run.verdicts()]
    objects = tuple(_object(job, run, plan, verdicts) for plan in job.plan.objects_in(job.phase))
    used, allowed = job.target.usage or (0, 0)
    seconds, calls = round((job.store.clock() - run.opened_at).total_seconds(), 1), calls_of(run)
    return Summary(
        template=job.plan.template,
        phase=job.phase,
        run=run.number,
        state=str(run.state),
        source=job.plan.source_alias,
        target=job.plan.target_alias,
        source_org_id=job.plan.source_org_id,
        target_org_id=job.plan.target_org_id,
        t0=run.t0.isoformat(),
        closed_at="",
        objects=objects,
        warnings=job.plan.warnings,
        numbers={
            "seconds": seconds,
            "API calls": calls,
            "target allowance used": used,
            "target allowance": allowed,
            **forecast_error(job.store, run, job.plan, calls, seconds),
        },
    )


def _object(job: SyncJob, run: Run, plan: ObjectPlan, verdicts: list[Verdict]) -> ObjectSummary:
    log = run.audit(plan.object)
    mine = tuple(verdict for verdict in verdicts if verdict.object == plan.object)
    links = same_links(job, run, plan)
    return ObjectSummary(
        object=plan.object,
        target_object=plan.target_object,
        level=plan.level,
        extracted=extracted(run, plan).select(pl.len()).collect().item(),
        states=log.states(),
        links=_links(run, plan) if links is None else links,
        lookups_verified=sum(int(verdict.numbers.get("verified", 0)) for verdict in mine),
        lookups_wrong=sum(int(verdict.numbers.get("wrong", 0)) for verdict in mine),
        errors=errors_in(log.standing()),
        dropped_fields=tuple((dropped.field, dropped.reason) for dropped in plan.dropped),
        verdicts=mine,
    )


def _links(run: Run, plan: ObjectPlan) -> dict[str, int]:
    totals = link_totals(run, plan).drop_nulls("state").group_by("state").agg(pl.col("rows").sum()).sort("state")
    return {str(state): int(rows) for state, rows in totals.select("state", "rows").iter_rows()}


def _refuse_unfinished(job: SyncJob, run: Run) -> None:
    """Raise `ConfigError` that names every object with rows that are not through."""
    open_objects = []
    for plan in job.plan.objects_in(job.phase):
        states = run.audit(plan.object).states()
        if states.get(State.UNKNOWN):
            open_objects.append(f"{plan.object} ({states[State.UNKNOWN]} rows with unknown outcome)")
        elif not is_loaded(run, plan.object) or (plan.has_relink and not is_relinked(run, plan.object)):
            refused = states.get(State.FAILED, 0)
            why = f", after {refused} rows were refused" if refused else ""
            open_objects.append(f"{plan.object} (not loaded and relinked completely{why})")
    if open_objects:
        raise ConfigError(
            f"Run {run.number} of {job.plan.template!r}, phase {job.phase!r}, cannot be closed: {', '.join(open_objects)}. "
            "Materialize what is left; the run goes on where it stopped. Where refused rows stopped it, correct the cause and "
            f"send them with `isync retry {job.plan.template} --phase {job.phase}`, or let it go on past them with "
            "`continue_on_error: true`. Rows with unknown outcome are decided with "
            f"`isync settle {job.plan.template} --phase {job.phase}`.",
            run=run.number,
        )
