"""Jobs that act on a run that is not as it should be: retry, settle, abort; and the sensors that look after runs.

They are jobs with a confirmation in their config, never assets: to materialize all must not send anything again.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of op functions at run time.

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from isync_dagster.assets import keys
from isync_dagster.assets.launch import phases_in_order
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.work import boundary, cancelled
from isync_dagster.assets.worker import reap
from isync_dagster.errors import ConfigError

if TYPE_CHECKING:
    from isync_dagster.migration.model import SyncJob
    from isync_dagster.plan.model import Plan

CONFIRM = "The template's name, typed by the person who starts this."


class RetryConfig(dg.Config):
    """Which refused rows to send again."""

    confirm: str = Field(description=CONFIRM)
    phases: list[str] = Field(
        default=[], description="Phases whose newest run is retried; none means all that have run."
    )
    objects: list[str] = Field(default=[], description="Only refused rows of these objects; none means all.")
    codes: list[str] = Field(
        default=[], description="Only rows refused with one of these status codes, such as UNABLE_TO_LOCK_ROW."
    )
    extract_again: bool = Field(
        default=False, description="Read the rows from the source anew; otherwise they are sent as they were extracted."
    )


class Decision(dg.Config):
    """What became of one row."""

    source_id: str = Field(description="Id of the record in the source.")
    decision: str = Field(description="sent:<target id>, or not-sent.")


class SettleConfig(dg.Config):
    """How rows of unknown outcome are settled."""

    confirm: str = Field(description=CONFIRM)
    phase: str = Field(description="The phase whose newest run is settled.")
    objects: list[str] = Field(default=[], description="Only rows of these objects; none means all.")
    look: bool = Field(default=True, description="Look for the rows in the target once more before anything else.")
    decisions: list[Decision] = Field(default=[], description="A person's word on rows that the look leaves open.")


class AbortConfig(dg.Config):
    """How the open run of a phase is stopped."""

    confirm: str = Field(description=CONFIRM)
    phase: str = Field(description="The phase whose open run is stopped.")
    jobs: Literal["wait", "abort"] = Field(
        default="wait", description="Bulk jobs in flight: wait for them, or abort them (rows processed stay)."
    )


def recovery_jobs(plan: "Plan") -> list[dg.JobDefinition]:
    """The jobs `retry_…`, `settle_…` and `abort_…` of a template."""
    return [_retry(plan), _settle(plan), _abort(plan)]


def has_run(job: "SyncJob") -> bool:
    """True where the phase has a run that a retry may work on."""
    run = job.store.runs(job.key).latest()
    return run is not None and str(run.state) in ("open", "closed")


def _confirmed(plan: "Plan", said: str, what: str) -> None:
    if said.strip() != plan.template:
        raise ConfigError(f"To {what} {plan.template!r}, give its name as `confirm` in the config of this run.")


def _job(context: dg.OpExecutionContext, workbench: Workbench, options: Any, plan: "Plan", phase: str) -> "SyncJob":
    run_id = context.run.run_id
    return workbench.job(
        plan.template,
        plan.phase(phase).name,
        options,
        cancelled=cancelled(context, workbench),
        opened_by=f"Dagster run {run_id}",
        session=run_id,
    )


def _retry(plan: "Plan") -> dg.JobDefinition:
    name = keys.job_name("retry", plan.template)

    @dg.op(name=f"{name}_rows", description="Sends just the refused, blocked and left rows again.")
    def rows(
        context: dg.OpExecutionContext,
        config: RetryConfig,
        run_options: RunOptionsResource,
        workbench: dg.ResourceParam[Workbench],
    ) -> dg.Output[None]:
        from isync_dagster.migration.retry import retry

        shown: list[dict[str, Any]] = []
        failed: list[str] = []
        with boundary():
            _confirmed(plan, config.confirm, "retry")
            for phase in phases_in_order(plan, config.phases):
                job = _job(context, workbench, run_options.options(), plan, phase)
                if not config.phases and not has_run(job):
                    continue
                objects = [item for item in config.objects if job.in_phase(plan.object(item).object)]
                if config.objects and not objects:
                    continue
                done = retry(job, objects, config.codes, extract_again=config.extract_again)
                shown += [
                    {"phase": phase, "retry": done.number, "object": item, "state": state, "rows": count}
                    for item, states in done.states.items()
                    for state, count in states.items()
                ]
                shown += [
                    {"phase": phase, "retry": done.number, "object": item, "state": "lookups filled", "rows": count}
                    for item, count in done.relinked.items()
                ]
                failed += [f"{item.object} {item.name}: {item.text}" for item in done.verdicts if not item.passed]
        return dg.Output(
            None,
            metadata={
                "rows": dg.MetadataValue.md(table(shown)),
                "tried": sum(row["rows"] for row in shown if row["state"] != "lookups filled"),
                "checks": dg.MetadataValue.md("\n".join(f"* {text}" for text in failed) or "all passed"),
            },
        )

    @dg.job(
        name=name,
        description=f"Sends the rows of {plan.template} that were refused, blocked or left, once the cause is gone.",
        tags={keys.TEMPLATE_TAG: plan.template},
    )
    def retry_job() -> None:
        rows()

    return retry_job


def _settle(plan: "Plan") -> dg.JobDefinition:
    name = keys.job_name("settle", plan.template)

    @dg.op(name=f"{name}_rows", description="Finds out, or is told, what became of rows whose outcome is unknown.")
    def rows(
        context: dg.OpExecutionContext,
        config: SettleConfig,
        run_options: RunOptionsResource,
        workbench: dg.ResourceParam[Workbench],
    ) -> dg.Output[None]:
        import polars as pl

        from isync_dagster.migration.settle import settle

        with boundary():
            _confirmed(plan, config.confirm, "settle rows of")
            job = _job(context, workbench, run_options.options(), plan, config.phase)
            said = pl.DataFrame(
                [{"source_id": item.source_id, "decision": item.decision} for item in config.decisions],
                schema={"source_id": pl.String, "decision": pl.String},
            )
            done = settle(job, config.objects, said, look=config.look)
        left = done.left.head(50).select("object", "source_id", "sf_job_id", "sent_at", "sent", "candidates").to_dicts()
        return dg.Output(
            None,
            metadata={
                "found": done.found,
                "to be sent again": done.not_sent,
                "unknown": done.left.height,
                "still unknown": dg.MetadataValue.md(table(left) if left else "none: materialize again to go on"),
            },
        )

    @dg.job(
        name=name,
        description=f"Settles rows of {plan.template} whose outcome is unknown; writes to no org. Then materialize again.",
    )
    def settle_job() -> None:
        rows()

    return settle_job


def _abort(plan: "Plan") -> dg.JobDefinition:
    name = keys.job_name("abort", plan.template)

    @dg.op(name=f"{name}_run", description="Stops the open run of a phase, wherever its workers are.")
    def run(
        context: dg.OpExecutionContext,
        config: AbortConfig,
        run_options: RunOptionsResource,
        workbench: dg.ResourceParam[Workbench],
    ) -> dg.Output[None]:
        from isync_dagster.migration.abort import abort

        with boundary():
            _confirmed(plan, config.confirm, "stop")
            job = _job(context, workbench, run_options.options(), plan, config.phase)
            reap(context.instance)
            done = abort(job, config.jobs, waiting=lambda who: context.log.info(f"Waiting for {who['holder']} …"))
        shown = [{"object": item, **states} for item, states in done.states.items()]
        return dg.Output(
            None,
            metadata={
                "run": done.run,
                "states": dg.MetadataValue.md(table(shown)),
                "unsettled": len(done.unsettled),
                "go on with": f"isync {done.verb} {plan.template} --phase {config.phase}",
            },
        )

    @dg.job(name=name, description=f"Stops the open run of a phase of {plan.template}; it stays open and can go on.")
    def abort_job() -> None:
        run()

    return abort_job


# ── sensors ──────────────────────────────────────────────────────────────────────────────────────────────


def recovery_sensors(plan: "Plan") -> list[dg.SensorDefinition]:
    """The sensor of a template that goes on with runs which the API budget stopped."""
    return [_resume(plan)]


def _resume(plan: "Plan") -> dg.SensorDefinition:
    @dg.sensor(
        name=keys.job_name("resume", plan.template),
        job_name=keys.job_name("migrate", plan.template),
        minimum_interval_seconds=900,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Goes on with a run that the API budget stopped, when the allowance of both orgs has recovered. Off "
        "until it is switched on, since it writes to the target by itself; costs one API call an org and look, and "
        "only while such a run waits.",
    )
    def resume(
        context: dg.SensorEvaluationContext, workbench: dg.ResourceParam[Workbench]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        from isync_dagster.migration.budget import has_recovered, stopped_by_budget

        waiting = list(stopped_by_budget(workbench.store, plan))
        if not waiting:
            yield dg.SkipReason("No run waits for the API budget.")
            return
        free, found = has_recovered(plan, workbench.org)
        if not free:
            yield dg.SkipReason(f"{len(waiting)} runs wait: {found}.")
            return
        for item in waiting:
            yield dg.RunRequest(
                run_key=f"{plan.template}/{item.phase}/{item.run.number}/{item.stop}",
                partition_key=item.phase,
                tags={keys.TEMPLATE_TAG: plan.template, keys.PHASE_TAG: item.phase},
            )

    return resume


def shared_sensors() -> list[dg.SensorDefinition]:
    """The sensor that reaps what dead processes left."""

    @dg.sensor(
        name="reap_dead_runs",
        # It starts nothing itself: it only ends what is dead.
        target=None,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends Dagster runs whose process is gone, frees their pool slots, gives stale leases back.",
    )
    def reap_dead_runs(context: dg.SensorEvaluationContext, workbench: dg.ResourceParam[Workbench]) -> dg.SkipReason:
        from isync_dagster.migration.reaping import reap_store

        ended = reap(context.instance)
        found = reap_store(workbench.store)
        if not ended and not found.leases:
            return dg.SkipReason("Nothing dead.")
        return dg.SkipReason(
            f"Ended {len(ended)} dead runs ({', '.join(ended) or 'none'}), gave back {len(found.leases)} leases "
            f"({', '.join(found.leases) or 'none'})."
        )

    return [reap_dead_runs]
