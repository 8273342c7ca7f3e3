"""The job that undoes a run: an op behind a confirmation, never an asset, so that 'materialize all' cannot reach it."""

# No `from __future__ import annotations`: Dagster reads the annotations of op functions at run time.

from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from isync_dagster.assets import keys
from isync_dagster.assets.cancellation import Token
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.verbs import verb
from isync_dagster.assets.work import boundary
from isync_dagster.errors import ConfigError
from isync_dagster.migration.model import Progress, State

if TYPE_CHECKING:
    from isync_dagster.migration.rollback_model import RollbackPlan, RollbackResult
    from isync_dagster.plan.model import Plan


class RollbackConfig(dg.Config):
    """Which run is undone, and how; without the confirmation it is only planned."""

    phase: str = Field(description="The phase whose run is rolled back.")
    confirm: str = Field(
        default="", description="Type the phase's name again to roll back; empty shows the plan and writes to no org."
    )
    run: int = Field(default=0, ge=0, description="Number of the run; 0 is the newest that is not rolled back.")
    conflicts: Literal["skip", "force", "stop"] = Field(
        default="skip",
        description="Records that somebody changed since, or that others hang on: skip leaves them, force undoes them, "
        "stop undoes nothing while there is one.",
    )
    include_later: bool = Field(
        default=False, description="Roll back newer runs and dependent phases first, where there are any."
    )
    hard_delete: bool = Field(
        default=False, description="Delete past the recycle bin; needs the permission Bulk API Hard Delete."
    )


def rollback_job(plan: "Plan") -> dg.JobDefinition:
    """`rollback_<template>`: one op that plans, reports the plan, and with the confirmation undoes."""
    name = keys.job_name("rollback", plan.template)

    @dg.op(name=f"{name}_run", description="Plans the rollback and, where it is confirmed, undoes the run.")
    def undo(
        context: dg.OpExecutionContext,
        config: RollbackConfig,
        run_options: RunOptionsResource,
        workbench: dg.ResourceParam[Workbench],
    ) -> None:
        with boundary():
            if config.confirm and config.confirm.strip() != config.phase.strip():
                raise ConfigError(
                    f"The confirmation is {config.confirm!r}, the phase {config.phase!r}: type the phase's name to roll "
                    "back, or leave `confirm` empty to see the plan. Nothing was done."
                )
            job = workbench.job(
                plan.template,
                plan.phase(config.phase.strip()).name,
                run_options.options(),
                cancelled=Token(context.run.run_id).is_set,
                progress=lambda progress: _log(context, progress),
                opened_by=f"Dagster run {context.run.run_id}",
            )
            number = config.run or None
            how: dict[str, Any] = {
                "conflicts": config.conflicts,
                "include_later": config.include_later,
                "hard_delete": config.hard_delete,
            }
            plans = verb("plan_rollback")(job, number, **how)
            found = {f"plan of {item.phase} run {item.run}": dg.MetadataValue.md(_planned(item)) for item in plans}
            if not config.confirm:
                context.log.info("Planned only, since `confirm` is empty: nothing was written to the org.")
                context.add_output_metadata(found)
                return
            results = verb("rollback")(job, number, **how)
            found |= {f"phase {item.phase} run {item.run}": dg.MetadataValue.md(_undone(item)) for item in results}
            context.add_output_metadata(found)
            stopped = [f"{item.phase} run {item.run}: {item.stopped}" for item in results if item.stopped]
            if stopped:
                raise dg.Failure("; ".join(stopped), allow_retries=False)
            left = sum(item.count(State.SKIPPED, State.FAILED, State.PENDING, State.UNKNOWN) for item in results)
            if left:
                context.log.warning(f"{left} records are left as the run made them; the metadata says why.")

    @dg.job(
        name=name,
        executor_def=dg.in_process_executor,
        description=f"Undoes a run of {plan.template} in {plan.target_alias}. Shows the plan first; writes only when confirmed.",
        tags={keys.TEMPLATE_TAG: plan.template},
    )
    def job() -> None:
        undo()

    return job


def _log(context: dg.OpExecutionContext, progress: Progress) -> None:
    context.log.info(f"{progress.object} {progress.stage}: {progress.message}")


def _planned(plan: "RollbackPlan") -> str:
    rows = [
        {
            "object": item.object,
            "delete": item.delete,
            "restore": item.restore,
            "in conflict": item.in_conflict,
            "gone already": item.gone,
            "unknown": item.unknown,
            "left as it is": item.left,
        }
        for item in plan.objects
    ]
    samples = [{"object": item.object, **sample} for item in plan.objects for sample in item.samples]
    text = table(rows) + (f"\n\n{table(samples)}" if samples else "")
    return text + "".join(f"\n- {note}" for note in plan.notes)


def _undone(result: "RollbackResult") -> str:
    states = [state for state in State if result.count(state)]
    rows = [
        {"object": name, **{str(state): counts.get(state, 0) for state in states}}
        | {"why": ", ".join(f"{code} × {count}" for code, count in result.codes.get(name, {}).items())}
        for name, counts in result.states.items()
    ]
    return table(rows)
