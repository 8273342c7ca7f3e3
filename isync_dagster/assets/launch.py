"""Runs of a template's jobs, started from code: what `isync migrate` and the job `migrate_phases` share.

Each phase becomes a run of its own on the given instance, with its partition, its job and its code location, so
that the UI shows it, links it and can run it again like one that was started there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from isync_dagster.assets import keys
from isync_dagster.assets.stages import stages_of
from isync_dagster.errors import ConfigError

if TYPE_CHECKING:
    from dagster._core.remote_origin import RemoteJobOrigin

    from isync_dagster.plan.model import Plan

MODULE = "isync_dagster.definitions"
LOCATION = "isync"
"""Name of the code location in workspace.yaml."""


def phases_in_order(plan: Plan, wanted: Sequence[str] = ()) -> list[str]:
    """The phases (all, or those wanted) so that each comes after the ones it names; raises for an unknown one."""
    names = [plan.phase(name).name for name in wanted] or [phase.name for phase in plan.phases]
    ordered: list[str] = []

    def place(name: str) -> None:
        if name in ordered:
            return
        for earlier in plan.phase(name).after:
            if earlier in names:
                place(earlier)
        ordered.append(name)

    for name in names:
        place(name)
    return ordered


def run_config(options: Mapping[str, Any], *, log_level: str | None = None) -> dict[str, Any]:
    """The run config that hands options to the verbs; `log_level` is that of Dagster's console logger."""
    config: dict[str, Any] = {}
    if options:
        config["resources"] = {"run_options": {"config": dict(options)}}
    if log_level:
        config["loggers"] = {"console": {"config": {"log_level": log_level}}}
    return config


def run_job(
    instance: dg.DagsterInstance,
    job_name: str,
    *,
    partition: str | None = None,
    assets: Iterable[dg.AssetKey] | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    parent_run_id: str | None = None,
    on_event: Callable[[dg.DagsterEvent], None] = lambda _: None,
    module: str = MODULE,
) -> dg.DagsterRun:
    """Run a job of the code location in this process, and give the finished run back; `on_event` sees each event.

    `assets` narrows the job to some of its assets and their checks. Must be called in the main thread, so that an
    interrupt reaches the run's executor.
    """
    from dagster._core.definitions.reconstruct import ReconstructableRepository
    from dagster._core.execution.api import execute_run_iterator

    repository = ReconstructableRepository.for_module(module, "defs", working_directory=str(Path.cwd()))
    job = repository.get_reconstructable_job(job_name)
    if assets is not None:
        job = job.get_subset(asset_selection=frozenset(assets))
    definition = job.get_definition()
    found = dict(tags or {})
    if partition is not None:
        found |= definition.get_tags_for_partition_key(partition, selected_asset_keys=None)
    if parent_run_id is not None:
        found["isync/started-by"] = parent_run_id
    run = instance.create_run_for_job(
        job_def=definition,
        run_config=dict(config or {}),
        tags=found,
        asset_selection=frozenset(assets) if assets is not None else None,
        remote_job_origin=_origin(job_name, module),
        job_code_origin=job.get_python_origin(),
    )
    for event in execute_run_iterator(job, run, instance):
        on_event(event)
    finished = instance.get_run_by_id(run.run_id)
    if finished is None:
        raise ConfigError(f"The Dagster run {run.run_id} vanished while it ran: was DAGSTER_HOME removed?")
    return finished


def run_phase(
    instance: dg.DagsterInstance,
    plan: Plan,
    phase: str,
    *,
    config: Mapping[str, Any] | None = None,
    parent_run_id: str | None = None,
    on_event: Callable[[dg.DagsterEvent], None] = lambda _: None,
    module: str = MODULE,
) -> dg.DagsterRun:
    """Run the `migrate` job of a template for one phase: the assets of the phase's objects, the gate and the report."""
    inside = [
        keys.asset_key(plan.template, item.object, stage)
        for item in plan.objects_in(phase)
        for stage in stages_of(item)
    ]
    gates = [keys.gate_key(plan.template, name) for name in (keys.PREFLIGHT, keys.REPORT)]
    return run_job(
        instance,
        keys.job_name("migrate", plan.template),
        partition=phase,
        assets=[*inside, *gates],
        config=config,
        tags={keys.TEMPLATE_TAG: plan.template, keys.PHASE_TAG: phase},
        parent_run_id=parent_run_id,
        on_event=on_event,
        module=module,
    )


def _origin(job_name: str, module: str) -> RemoteJobOrigin:
    """Where the webserver finds this job: the code location of workspace.yaml."""
    from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteJobOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    target = LoadableTargetOrigin(executable_path=DEFAULT_DAGSTER_ENTRY_POINT[0], module_name=module, attribute="defs")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(loadable_target_origin=target, location_name=LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job_name)
