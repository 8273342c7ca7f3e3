"""The canary job of a template: some rows of each object into the target and out again."""

# No `from __future__ import annotations`: Dagster reads the annotations of op functions at run time.

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from isync_dagster.assets import keys
from isync_dagster.assets.cancellation import Token
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.work import boundary
from isync_dagster.errors import ConfigError

if TYPE_CHECKING:
    from isync_dagster.plan.model import Plan


class CanaryConfig(dg.Config):
    """How many rows to try."""

    rows: int = Field(default=10, ge=1, description="Rows of each object, and the parents that they name.")
    phases: list[str] = Field(default=[], description="Only objects of these phases; none means all.")
    confirm: str = Field(description="The template's name, typed by the person who starts it: it writes to the target.")


def canary_job(plan: "Plan") -> dg.JobDefinition:
    """The job `canary_…` of a template."""
    name = keys.job_name("canary", plan.template)

    @dg.op(
        name=f"{name}_rows",
        description="Sends the first rows of every object, looks at what was refused, and takes all out again.",
        pool=keys.pool(plan.target_alias),
    )
    def rows(
        context: dg.OpExecutionContext,
        config: CanaryConfig,
        run_options: RunOptionsResource,
        workbench: dg.ResourceParam[Workbench],
    ) -> None:
        with boundary():
            from isync_dagster.migration.canary import canary

            if config.confirm.strip() != plan.template:
                raise ConfigError(
                    f"Not confirmed: give {plan.template!r} as `confirm` in the op's config. Nothing was done."
                )
            run_id = context.run.run_id
            job = workbench.job(
                plan.template,
                plan.phases[0].name,
                run_options.options(),
                cancelled=Token(run_id).is_set,
                opened_by=f"Dagster run {run_id}",
                session=run_id,
            )
            done = canary(job, config.rows, config.phases)
        states = [
            {"object": item, "state": state, "rows": count}
            for item, found in done.states.items()
            for state, count in found.items()
        ]
        context.add_output_metadata(
            {
                "run": done.run,
                "refused": done.refused,
                "taken out": done.clean,
                "rows": dg.MetadataValue.md(table(states)),
                "errors": dg.MetadataValue.md(table(done.errors) if done.errors else "none"),
                "findings": dg.MetadataValue.md(table(done.findings) if done.findings else "none"),
                "checks": dg.MetadataValue.md("\n".join(f"* {text}" for text in done.failed) or "all passed"),
            }
        )
        if not done.clean:
            named = "; ".join(
                f"{item['object']} {item['target_id']} ({item['code'] or item['state']}: {item['message']})"
                for item in done.left
            )
            why = "; ".join(result.stopped for result in done.undone if result.stopped)
            raise dg.Failure(
                f"Not every record of the canary is out of {plan.target_alias}: {named or why}. Do away with the cause, then "
                "start the canary again (it begins with what is left), or delete these records by hand.",
                metadata={"left": dg.MetadataValue.md(table(done.left) if done.left else "none")},
                allow_retries=False,
            )

    @dg.job(
        name=name,
        executor_def=dg.in_process_executor,
        description=f"The first rows of every object of {plan.template} into {plan.target_alias} and out again, as a run of "
        "its own. Writes to the target.",
        tags={keys.TEMPLATE_TAG: plan.template},
    )
    def canary_run() -> None:
        rows()

    return canary_run
