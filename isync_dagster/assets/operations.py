"""Jobs of the person who runs a migration: accept a run, fill pending links, clean up. None of them is an asset.

Each asks for a confirmation in its config, so that neither a click nor 'materialize all' accepts, sends or removes.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of op functions at run time.

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from isync_dagster.assets import keys
from isync_dagster.assets.cancellation import Token
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.work import boundary

if TYPE_CHECKING:
    from isync_dagster.plan.model import Plan

CONFIRM = "cleanup"
"""What is typed to let the cleanup job remove files."""


class AcceptConfig(dg.Config):
    """Which run is good."""

    phase: str = Field(description="The phase whose run is accepted.")
    run: int | None = Field(default=None, description="Number of the run; without it, the newest.")
    anyway: str = Field(default="", description="Accept in spite of failed checks, for this reason, which is kept.")
    confirm: str = Field(description="The template's name, typed by the person who accepts.")


class RelinkConfig(dg.Config):
    """Which pending links to fill."""

    objects: list[str] = Field(default=[], description="Only links of these objects; none means all.")
    confirm: str = Field(description="The template's name, typed by the person who starts it: it writes to the target.")


class CleanupConfig(dg.Config):
    """What to remove."""

    templates: list[str] = Field(default=[], description="Only runs of these templates; none means all.")
    confirm: str = Field(
        default="", description=f"Type {CONFIRM!r} to remove what is due; anything else only shows it in the run's log."
    )


def operation_jobs(plan: "Plan") -> list[Any]:
    """The jobs of one template."""
    return [_accept(plan), _relink_pending(plan)]


def _confirmed(given: str, wanted: str) -> None:
    from isync_dagster.errors import ConfigError

    if given.strip() != wanted:
        raise ConfigError(f"Not confirmed: type {wanted!r} as `confirm` in the op's config. Nothing was done.")


def _accept(plan: "Plan") -> dg.JobDefinition:
    name = keys.job_name("accept", plan.template)

    @dg.op(name=f"{name}_run", description="Accepts a closed run; refused while a check of it has failed.")
    def accept_run(
        context: dg.OpExecutionContext, config: AcceptConfig, workbench: dg.ResourceParam[Workbench]
    ) -> None:
        with boundary():
            from isync_dagster.migration.acceptance import accept
            from isync_dagster.store.layout import JobKey

            _confirmed(config.confirm, plan.template)
            phase = plan.phase(config.phase).name
            runs = workbench.store.runs(JobKey(plan.source_org_id, plan.target_org_id, plan.template, phase))
            run = accept(runs, config.run, anyway=config.anyway, by=f"Dagster run {context.run.run_id}")
        context.log.info(f"Run {run.number} of {plan.template}, phase {phase}, is accepted.")

    @dg.job(
        name=name,
        executor_def=dg.in_process_executor,
        description=f"Says that a run of {plan.template} is good; cleanup may act on it then. Writes to no org.",
        tags={keys.TEMPLATE_TAG: plan.template},
    )
    def accept_job() -> None:
        accept_run()

    return accept_job


def _relink_pending(plan: "Plan") -> dg.JobDefinition:
    name = keys.job_name("relink_pending", plan.template)

    @dg.op(
        name=f"{name}_links",
        description="Fills lookups that were left empty because their parent came later.",
        pool=keys.pool(plan.target_alias),
    )
    def fill_links(
        context: dg.OpExecutionContext,
        config: RelinkConfig,
        run_options: RunOptionsResource,
        workbench: dg.ResourceParam[Workbench],
    ) -> None:
        with boundary():
            from isync_dagster.migration.healing import heal_links

            _confirmed(config.confirm, plan.template)
            job = workbench.job(
                plan.template,
                plan.phases[0].name,
                run_options.options(),
                cancelled=Token(context.run.run_id).is_set,
                opened_by=f"Dagster run {context.run.run_id}",
            )
            done = heal_links(job, [plan.object(item).object for item in config.objects])
        rows = [
            {"object": item.object, "run": item.run, **item.numbers, "notes": "; ".join(item.notes)} for item in done
        ]
        context.add_output_metadata({"links": dg.MetadataValue.md(table(rows))})
        refused = sum(int(item.numbers["refused"]) for item in done)
        if refused:
            errors = [{"object": item.object, **error} for item in done for error in item.errors]
            raise dg.Failure(
                f"Salesforce refused {refused} links; they wait on.",
                metadata={"errors": dg.MetadataValue.md(table(errors))},
                allow_retries=False,
            )

    @dg.job(
        name=name,
        executor_def=dg.in_process_executor,
        description=f"Fills the pending links of {plan.template} in {plan.target_alias}. Writes to the target.",
        tags={keys.TEMPLATE_TAG: plan.template},
    )
    def relink_job() -> None:
        fill_links()

    return relink_job


def cleanup_job() -> dg.JobDefinition:
    """The job that removes what runs have kept longer than their templates say."""

    @dg.op(name="cleanup_store_files", description="Says what is due, and removes it when it is confirmed.")
    def remove_due(
        context: dg.OpExecutionContext, config: CleanupConfig, workbench: dg.ResourceParam[Workbench]
    ) -> None:
        with boundary():
            from isync_dagster.migration.cleanup import apply_cleanup, plan_cleanup

            for name in config.templates:
                workbench.plan(name)
            retention = {name: plan.settings.retention for name, plan in workbench.plans.items()}
            due = plan_cleanup(workbench.store, retention, config.templates)
            confirmed = config.confirm.strip() == CONFIRM
            done = apply_cleanup(due, f"Dagster run {context.run.run_id}") if confirmed else due
            kept = (*due.protected, *(done.protected if confirmed else ()))
        rows: list[Mapping[str, Any]] = [
            {
                "template": item.job.template,
                "phase": item.job.phase,
                "run": item.run.number,
                "kind": str(item.kind),
                "files": item.files,
                "bytes": item.bytes,
            }
            for item in done.removals
        ]
        verb = "removed" if confirmed else "due"
        context.log.info(f"{done.files} files, {done.bytes} bytes {verb}.")
        context.add_output_metadata(
            {
                verb: dg.MetadataValue.md(table(rows)),
                "files": done.files,
                "bytes": done.bytes,
                "left": dg.MetadataValue.md(
                    table([{"phase": item.run.job.phase, "run": item.run.number, "why": item.why} for item in kept])
                ),
            }
        )

    @dg.job(
        name="cleanup_store",
        executor_def=dg.in_process_executor,
        description="Shows what runs have kept longer than `retention` says; with confirm: cleanup removes it. The id map "
        "and the pending links always stay.",
    )
    def cleanup_store() -> None:
        remove_due()

    return cleanup_store


def cleanup_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Every night at two, once somebody has turned it on."""
    return dg.ScheduleDefinition(
        name="cleanup_daily",
        job=job,
        cron_schedule="0 2 * * *",
        run_config={"ops": {"cleanup_store_files": {"config": {"confirm": CONFIRM}}}},
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Removes what is due by the templates' `retention`. Turning it on confirms it.",
    )
