"""Templates to Dagster definitions: plans offline, assets, checks, jobs and resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import dagster as dg

from isync_dagster.assets.automation import automation_hook, automation_sensor
from isync_dagster.assets.checks import template_checks
from isync_dagster.assets.comparing import compare_assets
from isync_dagster.assets.executor import executor
from isync_dagster.assets.jobs import shared_jobs, template_jobs
from isync_dagster.assets.notifications import notification_sensors
from isync_dagster.assets.operations import cleanup_job, cleanup_schedule
from isync_dagster.assets.recovery import recovery_sensors, shared_sensors
from isync_dagster.assets.references import with_code_references
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.assets.snapshots import snapshot_assets
from isync_dagster.assets.stages import template_assets
from isync_dagster.errors import ConfigError

if TYPE_CHECKING:
    from isync_dagster.plan.model import Plan


def definitions(plans: Mapping[str, Plan], settings: Settings) -> dg.Definitions:
    """Everything that Dagster loads, from plans alone: no network, no store."""
    aliases = sorted({alias for plan in plans.values() for alias in (plan.source_alias, plan.target_alias)})
    cleanup = cleanup_job()
    return dg.Definitions(
        assets=[
            *(
                asset
                for plan in plans.values()
                for asset in with_code_references(template_assets(plan), settings.templates, plan.template)
            ),
            *(asset for plan in plans.values() for asset in compare_assets(plan)),
            *snapshot_assets(aliases),
        ],
        asset_checks=[check for plan in plans.values() for check in template_checks(plan)],
        jobs=[*(job for plan in plans.values() for job in template_jobs(plan)), *shared_jobs(aliases), cleanup],
        schedules=[cleanup_schedule(cleanup)],
        sensors=[
            *(sensor for plan in plans.values() for sensor in recovery_sensors(plan)),
            *shared_sensors(),
            automation_sensor(),
            automation_hook(),
            *notification_sensors(),
        ],
        resources={"run_options": RunOptionsResource(), "workbench": Workbench(settings, plans)},
        executor=executor(settings.executor, settings.max_concurrent),
    )


def load_plans(settings: Settings, only: Iterable[str] | None = None) -> dict[str, Plan]:
    """The plans of all templates (or of those named), made from the describe snapshots beside them.

    What is wrong with any of them is raised as one `ConfigError`, so that one reading tells everything.
    """
    from isync_dagster.plan.build import build_plan
    from isync_dagster.schema.snapshot import load_snapshot
    from isync_dagster.template import load_templates

    templates = load_templates(settings.templates)
    names = list(templates) if only is None else list(only)
    plans: dict[str, Plan] = {}
    problems: list[str] = []
    for name in names:
        try:
            if name not in templates:
                known = ", ".join(sorted(templates)) or "none"
                raise ConfigError(f"There is no template {name!r} in {settings.templates}/ (found: {known}).")
            template = templates[name]
            source = load_snapshot(settings.snapshots, template.source)
            target = load_snapshot(settings.snapshots, template.target)
            plans[name] = build_plan(template, source, target)
        except ConfigError as error:
            problems.append(str(error))
            first = error
    if len(problems) == 1:
        raise first
    if problems:
        raise ConfigError("\n".join(problems))
    return plans
