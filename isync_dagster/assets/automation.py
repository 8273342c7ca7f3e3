"""Automation of the target in Dagster: the job that switches it by hand, the sensor that puts it back.

A run of the `migrate` job needs neither: it switches off and on by itself. The job asks for a confirmation, so that
no click switches anything by accident.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of op functions at run time.

from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from isync_dagster.assets import keys
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.work import boundary
from isync_dagster.errors import ConfigError, OrgError

if TYPE_CHECKING:
    from isync_dagster.plan.model import Plan


class AutomationConfig(dg.Config):
    """What to do with the target's automation."""

    action: Literal["list", "off", "on"] = Field(default="list", description="list reads only; off and on switch.")
    kinds: list[str] = Field(
        default=[],
        description="triggers, validation_rules, flows, workflow_rules, duplicate_rules; none means what the template "
        "says, or all.",
    )
    objects: list[str] = Field(default=[], description="Only on these objects of the target; none means all in scope.")
    only: list[str] = Field(default=[], description="Only these, by Name or Object.Name.")
    keep: list[str] = Field(default=[], description="Never these, by Name or Object.Name.")
    confirm: str = Field(
        default="", description="For off and on: the template's name, typed by the person who starts it."
    )


def automation_job(plan: "Plan") -> dg.JobDefinition:
    """The job `automation_…` of a template."""
    name = keys.job_name("automation", plan.template)

    @dg.op(name=f"{name}_switch", description="Lists the automation on the objects in scope, or switches it.")
    def switch(
        context: dg.OpExecutionContext,
        config: AutomationConfig,
        run_options: RunOptionsResource,
        workbench: dg.ResourceParam[Workbench],
    ) -> None:
        from isync_dagster.migration.automation import automation_of, records_off, switch_off, switch_on
        from isync_dagster.migration.runs import guard_orgs
        from isync_dagster.salesforce.automation import KINDS

        with boundary():
            if config.action != "list" and config.confirm.strip() != plan.template:
                raise ConfigError(
                    f"To switch automation {config.action}, give {plan.template!r} as `confirm`. Nothing was done."
                )
            by = f"Dagster run {context.run.run_id}"
            job = workbench.job(plan.template, plan.phases[0].name, run_options.options(), opened_by=by)
            if config.action == "off":
                guard_orgs(job)
                own = plan.settings.automation
                asked = {"objects": config.objects, "only": config.only, "keep": config.keep}
                wanted = type(own).model_validate(
                    {
                        **own.model_dump(mode="json"),
                        "off": config.kinds or list(own.off) or list(KINDS),
                        **{key: value for key, value in asked.items() if value},
                    }
                )
                context.log.info(switch_off(job, wanted).text)
            elif config.action == "on":
                for record in switch_on(job):
                    context.log.info(record.text)
            rows: list[dict[str, Any]] = [
                {"kind": item.kind, "object": item.object, "name": item.name, "on": item.active, "note": item.fixed}
                for item in automation_of(job, config.kinds, config.objects)
            ]
            left = [record.text for record in records_off(job.store, plan.target_org_id)]
        context.add_output_metadata(
            {
                "automation": dg.MetadataValue.md(table(rows) if rows else "none on the objects in scope"),
                "switched off by this tool": dg.MetadataValue.md("\n".join(f"* {text}" for text in left) or "nothing"),
            }
        )

    @dg.job(
        name=name,
        executor_def=dg.in_process_executor,
        description=f"Lists or switches triggers, rules and flows of {plan.target_alias} on the objects of {plan.template}. "
        "What is switched off by hand stays off until `on`, or until the end of the template's next run.",
        tags={keys.TEMPLATE_TAG: plan.template},
    )
    def automation() -> None:
        switch()

    return automation


def automation_sensor() -> dg.SensorDefinition:
    """The sensor that puts back what a dead run left off. It runs by default: it only undoes what the tool did."""

    @dg.sensor(
        name="restore_automation",
        target=None,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Switches automation of a target on again that a run left off when its process died. It acts on "
        "nothing else: only what this tool switched off, and never while its run is at work. A tick that fails says "
        "what is still off; the next one tries again.",
    )
    def restore_automation(workbench: dg.ResourceParam[Workbench]) -> dg.SkipReason:
        from isync_dagster.migration.automation import restore_left

        done, failed = restore_left(workbench.store, workbench.org, "the sensor restore_automation")
        if failed:
            raise OrgError("Automation of a target is STILL OFF: " + " | ".join(failed))
        if not done:
            return dg.SkipReason("Nothing was left switched off.")
        return dg.SkipReason("Switched on again: " + " | ".join(record.text for record in done))

    return restore_automation


def automation_hook() -> dg.SensorDefinition:
    """The failure hook: as soon as a run has failed or was cancelled, what it left off is put back."""

    @dg.run_status_sensor(
        name="restore_automation_after_failure",
        run_status=dg.DagsterRunStatus.FAILURE,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        monitor_all_code_locations=False,
        description="Switches automation of a target on again when a run of a template has failed.",
    )
    def restore_automation_after_failure(
        context: dg.RunStatusSensorContext, workbench: dg.ResourceParam[Workbench]
    ) -> dg.SkipReason:
        from isync_dagster.migration.automation import restore_left

        done, failed = restore_left(workbench.store, workbench.org, f"after Dagster run {context.dagster_run.run_id}")
        if failed:
            raise OrgError("Automation of a target is STILL OFF: " + " | ".join(failed))
        return dg.SkipReason(" | ".join(record.text for record in done) or "Nothing was left switched off.")

    return restore_automation_after_failure
