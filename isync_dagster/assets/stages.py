"""The assets of a template: extract, remap, load and relink of every object, the preflight gate, the report."""

# No `from __future__ import annotations`: Dagster reads the annotations of asset functions at run time.

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from isync_dagster.assets import describe, keys, metadata
from isync_dagster.assets.preflight import preflight_asset
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.scan import scan_asset
from isync_dagster.assets.verbs import verb
from isync_dagster.assets.work import PRIORITY, RETRY, boundary, sign, sync_job

if TYPE_CHECKING:
    from isync_dagster.plan.model import ObjectPlan, Plan

KINDS: Mapping[str, set[str]] = {
    keys.EXTRACT: {"salesforce", "parquet"},
    keys.REMAP: {"polars", "parquet"},
    keys.LOAD: {"salesforce", "parquet"},
    keys.RELINK: {"salesforce", "parquet"},
}


def template_assets(plan: "Plan") -> list[dg.AssetsDefinition]:
    """Every asset of a template; the dependencies mirror the lookups of its objects."""
    phases = dg.StaticPartitionsDefinition([phase.name for phase in plan.phases])
    assets = [preflight_asset(plan, phases)]
    for item in plan.objects:
        assets += [_stage(plan, item, stage, phases) for stage in stages_of(item)]
    return [*assets, _report(plan, phases), scan_asset(plan)]


def stages_of(item: "ObjectPlan") -> tuple[str, ...]:
    """The stages an object goes through: relink only where something is left for it to do."""
    return keys.STAGES if item.has_relink else keys.STAGES[:-1]


def depends_on(plan: "Plan", item: "ObjectPlan", stage: str) -> list[dg.AssetKey]:
    """What must be materialized before a stage of an object, sorted and without doubles."""
    key = plan.template

    def of(objects: Iterable[str], stage: str) -> set[dg.AssetKey]:
        return {keys.asset_key(key, name, stage) for name in objects}

    found: set[dg.AssetKey] = set()
    if stage == keys.EXTRACT:
        found = of(item.fetched_by, keys.EXTRACT)
    elif stage == keys.REMAP:
        gate = keys.gate_key(key, keys.PREFLIGHT)
        found = of([item.object], keys.EXTRACT) | {gate} | of(item.parents, keys.LOAD)
    elif stage == keys.LOAD:
        found = of([item.object], keys.REMAP)
    elif stage == keys.RELINK:
        waits = [item.object, *item.deferred_parents, *(after for staged in item.staged for after in staged.after)]
        found = of(waits, keys.LOAD)
    return sorted(found - {keys.asset_key(key, item.object, stage)})


def last_stages(plan: "Plan") -> list[dg.AssetKey]:
    """What the report waits for: the load and the relink of every object."""
    return [
        keys.asset_key(plan.template, item.object, stage)
        for item in plan.objects
        for stage in stages_of(item)
        if stage in (keys.LOAD, keys.RELINK)
    ]


def _stage(plan: "Plan", item: "ObjectPlan", stage: str, phases: dg.StaticPartitionsDefinition) -> dg.AssetsDefinition:
    alias = plan.source_alias if stage == keys.EXTRACT else plan.target_alias

    @dg.asset(
        key=keys.asset_key(plan.template, item.object, stage),
        deps=depends_on(plan, item, stage),
        description=describe.stage(plan, item, stage),
        group_name=keys.group(plan.template, item.object),
        kinds=KINDS[stage],
        owners=[keys.OWNER],
        tags={keys.STAGE_TAG: stage, keys.TEMPLATE_TAG: plan.template, keys.SIZE_TAG: _size(plan, item)},
        op_tags={keys.SIZE_TAG: _size(plan, item), PRIORITY: "1" if stage == keys.LOAD else "0"},
        metadata=describe.definition(item, stage),
        partitions_def=phases,
        freshness_policy=_freshness(plan) if stage == keys.LOAD else None,
        code_version=item.fingerprint,
        pool=keys.pool(alias),
        retry_policy=RETRY,
    )
    def body(
        context: dg.AssetExecutionContext, run_options: RunOptionsResource, workbench: dg.ResourceParam[Workbench]
    ) -> dg.MaterializeResult[Any]:
        phase = context.partition_key
        if item.object not in plan.phase(phase).objects:
            return dg.MaterializeResult(metadata=metadata.of_nothing(phase))
        with boundary():
            job = sync_job(context, workbench, run_options.options(), plan.template, phase)
            outcome = verb(stage)(job, item.object)
        sign(context, job)
        _materialize_elsewhere(context, plan, item)
        return dg.MaterializeResult(metadata=metadata.of_outcome(outcome, plan.template))

    return body


def _materialize_elsewhere(context: dg.AssetExecutionContext, plan: "Plan", item: "ObjectPlan") -> None:
    """Materialize the phases that the object is not in as empty, once, before the one that it is in.

    They have nothing to do and need no step; the asset's newest materialization stays the one with rows.
    """
    elsewhere = [phase.name for phase in plan.phases if item.object not in phase.objects]
    if not elsewhere:
        return
    done = context.instance.get_materialized_partitions(context.asset_key)
    for name in elsewhere:
        if name not in done:
            empty = metadata.of_nothing(name)
            context.log_event(dg.AssetMaterialization(context.asset_key, partition=name, metadata=empty))


def _report(plan: "Plan", phases: dg.StaticPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.gate_key(plan.template, keys.REPORT),
        deps=last_stages(plan),
        description=describe.report(plan),
        group_name=keys.slug(plan.template),
        kinds={"html"},
        owners=[keys.OWNER],
        tags={keys.STAGE_TAG: keys.REPORT, keys.TEMPLATE_TAG: plan.template},
        op_tags={PRIORITY: "-2"},
        partitions_def=phases,
        freshness_policy=_freshness(plan),
        code_version=plan.hash,
        retry_policy=RETRY,
    )
    def report(
        context: dg.AssetExecutionContext, run_options: RunOptionsResource, workbench: dg.ResourceParam[Workbench]
    ) -> dg.MaterializeResult[Any]:
        # The checks that re-read the target run beside the loads of other objects; the run closes after them.
        from isync_dagster.assets.judging import judge_the_rest

        with boundary():
            job = sync_job(context, workbench, run_options.options(), plan.template, context.partition_key)
            judge_the_rest(job, context.run.run_id)
            summary = verb("finish")(job)
        return dg.MaterializeResult(metadata=metadata.of_summary(summary))

    return report


def _freshness(plan: "Plan") -> dg.FreshnessPolicy | None:
    """How old a load may be, where the template is run again and again."""
    wanted = plan.settings.freshness
    if wanted is None:
        return None
    warn = timedelta(hours=wanted.warn_hours) if wanted.warn_hours is not None else None
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=wanted.hours), warn_window=warn)


def _size(plan: "Plan", item: "ObjectPlan") -> str:
    """`huge` steps of a run are limited apart from the others (`huge_objects` of the template)."""
    if item.object.lower() in {name.lower() for name in plan.settings.huge_objects}:
        return "huge"
    return "small" if item.limit is not None and item.limit <= 100_000 else "normal"
