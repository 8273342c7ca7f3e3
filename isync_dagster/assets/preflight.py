"""The preflight gate of a template: one asset a phase, with a check for every kind of finding."""

# No `from __future__ import annotations`: Dagster reads the annotations of asset functions at run time.

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from isync_dagster.assets import describe, keys, metadata
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.verbs import verb
from isync_dagster.assets.work import RETRY, boundary, sync_job
from isync_dagster.errors import PreflightError
from isync_dagster.template.kinds import KINDS

if TYPE_CHECKING:
    from isync_dagster.plan.model import Plan


def preflight_asset(plan: "Plan", phases: dg.StaticPartitionsDefinition) -> dg.AssetsDefinition:
    """`template/preflight` with its checks; where it fails, they still say what was found."""
    key = keys.gate_key(plan.template, keys.PREFLIGHT)

    @dg.asset(
        key=key,
        deps=[keys.asset_key(plan.template, item.object, keys.EXTRACT) for item in plan.objects],
        check_specs=[dg.AssetCheckSpec(name, asset=key, description=text) for name, text in KINDS.items()],
        description=describe.preflight(plan),
        group_name=keys.slug(plan.template),
        kinds={"polars"},
        owners=[keys.OWNER],
        tags={keys.STAGE_TAG: keys.PREFLIGHT, keys.TEMPLATE_TAG: plan.template},
        partitions_def=phases,
        code_version=plan.hash,
        pool=keys.pool(plan.target_alias),
        retry_policy=RETRY,
    )
    def preflight(
        context: dg.AssetExecutionContext, run_options: RunOptionsResource, workbench: dg.ResourceParam[Workbench]
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        with boundary():
            job = sync_job(context, workbench, run_options.options(), plan.template, context.partition_key)
            try:
                outcome = verb(keys.PREFLIGHT)(job)
            except PreflightError as error:
                # Before the step fails: the checks say what is in the way.
                yield from check_results(key, error.details.get("table", ()))
                raise
        yield dg.MaterializeResult(
            asset_key=key,
            metadata=metadata.of_outcome(outcome, plan.template),
            check_results=list(check_results(key, outcome.errors)),
        )

    return preflight


def check_results(key: dg.AssetKey, findings: Iterable[Mapping[str, Any]]) -> Iterator[dg.AssetCheckResult]:
    """One result a kind from the gate's table of findings: errors fail it, warnings warn."""
    rows = list(findings)
    for kind, text in KINDS.items():
        mine = [row for row in rows if row["kind"] == kind]
        worst = any(row["severity"] == "error" for row in mine)
        count = sum(row["rows"] for row in mine)
        shown = [{name: row[name] for name in ("object", "field", "severity", "rows", "message", "value", "sample")}
                 for row in mine]  # fmt: skip
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=kind,
            passed=not mine,
            severity=dg.AssetCheckSeverity.ERROR if worst else dg.AssetCheckSeverity.WARN,
            description=text if not mine else f"{count:,} rows: {mine[0]['message']}",
            metadata={"rows": count, **({"findings": dg.MetadataValue.md(table(shown))} if mine else {})},
        )
