"""The jobs: migrate one phase, migrate phases in order, validate, refresh the snapshots."""

# No `from __future__ import annotations`: Dagster reads the annotations of op functions at run time.

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from isync_dagster.assets import keys
from isync_dagster.assets.automation import automation_job
from isync_dagster.assets.canary import canary_job
from isync_dagster.assets.launch import phases_in_order, run_config, run_phase
from isync_dagster.assets.operations import operation_jobs
from isync_dagster.assets.recovery import recovery_jobs
from isync_dagster.assets.rollback import rollback_job
from isync_dagster.assets.scan import scan_job
from isync_dagster.assets.stages import stages_of
from isync_dagster.assets.work import boundary

if TYPE_CHECKING:
    from isync_dagster.plan.model import Plan


class PhasesConfig(dg.Config):
    """Which phases to run, one after the other, and the options of their runs."""

    phases: list[str] = Field(default=[], description="Phases to run; none means all of the template, in order.")
    confirm_production: str = Field(
        default="", description="To write to a production org: its 18-character org id, typed by you."
    )


def template_jobs(plan: "Plan") -> list[Any]:
    """The jobs of a template."""
    own = [_migrate(plan), _migrate_phases(plan), _validate(plan), scan_job(plan)]
    return [
        *own,
        *recovery_jobs(plan),
        rollback_job(plan),
        *operation_jobs(plan),
        automation_job(plan),
        canary_job(plan),
    ]


def shared_jobs(aliases: Iterable[str]) -> list[Any]:
    """The jobs that belong to no template."""
    snapshots = [keys.snapshot_key(alias) for alias in aliases]
    if not snapshots:
        return []
    return [
        dg.define_asset_job(
            "refresh_snapshots",
            selection=dg.AssetSelection.assets(*snapshots),
            description="Describes the orgs anew and writes the snapshots beside the templates. Reads only.",
        )
    ]


def _migrate(plan: "Plan") -> Any:
    wanted = [keys.asset_key(plan.template, item.object, stage) for item in plan.objects for stage in stages_of(item)]
    gates = [keys.gate_key(plan.template, name) for name in (keys.PREFLIGHT, keys.REPORT)]
    return dg.define_asset_job(
        keys.job_name("migrate", plan.template),
        selection=dg.AssetSelection.assets(*wanted, *gates),
        description=f"Migrates one phase of {plan.template} to {plan.target_alias}, with all checks.",
        tags={keys.TEMPLATE_TAG: plan.template},
    )


def _validate(plan: "Plan") -> Any:
    stages = [
        keys.asset_key(plan.template, item.object, stage)
        for item in plan.objects
        for stage in stages_of(item)
        if stage in (keys.LOAD, keys.RELINK)
    ]
    return dg.define_asset_job(
        keys.job_name("validate", plan.template),
        selection=dg.AssetSelection.checks_for_assets(*stages),
        description=f"Judges every phase of {plan.template} that has run; reads the target again, writes to no org.",
        tags={keys.TEMPLATE_TAG: plan.template},
    )


def _migrate_phases(plan: "Plan") -> dg.JobDefinition:
    name = keys.job_name("migrate_phases", plan.template)

    @dg.op(
        name=f"{name}_in_order", description="Runs the phases one after the other and stops at the first that fails."
    )
    def in_order(context: dg.OpExecutionContext, config: PhasesConfig) -> None:
        with boundary():
            wanted = phases_in_order(plan, config.phases)
            options = {"confirm_production": config.confirm_production} if config.confirm_production else {}
            for done, phase in enumerate(wanted):
                context.log.info(f"Phase {phase} of {plan.template} starts ({done} of {len(wanted)} done).")
                run = run_phase(
                    context.instance,
                    plan,
                    phase,
                    config=run_config(options),
                    parent_run_id=context.run.run_id,
                )
                if run.status is not dg.DagsterRunStatus.SUCCESS:
                    rest = ", ".join(wanted[done + 1 :]) or "none"
                    raise dg.Failure(
                        f"Phase {phase} ended as {run.status.value}: see its run. Not started: {rest}.",
                        metadata={"run": dg.MetadataValue.dagster_run(run.run_id)},
                        allow_retries=False,
                    )

    # In the main thread of the run's process, so that terminating this run reaches the run of the phase.
    @dg.job(
        name=name,
        executor_def=dg.in_process_executor,
        description=f"Migrates the phases of {plan.template} in their order, each as a run of its own.",
        tags={"isync/phases-of": plan.template},
    )
    def phases() -> None:
        in_order()

    return phases
