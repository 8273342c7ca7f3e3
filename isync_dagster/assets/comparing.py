"""Org compare in Dagster: `[template, compare]` with its counts and table, and the check `schema` on it."""

# No `from __future__ import annotations`: Dagster reads the annotations of asset functions at run time.

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from isync_dagster.assets import keys
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import Workbench, connect
from isync_dagster.assets.settings import Settings
from isync_dagster.assets.work import RETRY, boundary
from isync_dagster.errors import ConfigError

if TYPE_CHECKING:
    from isync_dagster.migration.comparing import Compared, OrgComparison
    from isync_dagster.plan.model import Plan
    from isync_dagster.salesforce.org import Org
    from isync_dagster.template.models import Template

COMPARE = "compare"
SCHEMA_CHECK = "schema"
SHOWN = 200
"""Differences that the table in the UI lists; the command lists all."""


def compare_one(
    settings: Settings, template: "Template", *, snapshots: bool = False, with_data: bool = False
) -> "Compared":
    """Compare the orgs of a template: live, or their snapshots with the counts of extracts alone."""
    from isync_dagster.migration.comparing import compare_template
    from isync_dagster.schema.snapshot import load_snapshot
    from isync_dagster.store.store import Store

    store = Store.open(settings.store)
    if snapshots:
        source, target = (load_snapshot(settings.snapshots, alias) for alias in (template.source, template.target))
        return compare_template(template, source, target, org=None, store=store, live=False)
    with connect(settings.orgs, template.source) as one, connect(settings.orgs, template.target) as two:
        return compare_live(template, one, two, store, with_data=with_data)


def compare_live(template: "Template", source: "Org", target: "Org", store: Any, *, with_data: bool) -> "Compared":
    """Compare two orgs that are logged in, with what a template moves."""
    from isync_dagster.assets.snapshots import objects_needed
    from isync_dagster.migration.comparing import compare_template, live_snapshot

    needed, _ = objects_needed([template], template.source)
    own = live_snapshot(source, needed, required=True)
    goes_to, _ = objects_needed([template], template.target)
    there = live_snapshot(target, goes_to, required=False)
    return compare_template(template, own, there, org=source, store=store, with_data=with_data)


def compare_assets(plan: "Plan") -> list[dg.AssetsDefinition]:
    """The asset `[template, compare]`; it reads only, and nothing waits for it."""

    @dg.asset(
        key=keys.gate_key(plan.template, COMPARE),
        description=(
            f"How the schema of `{plan.target_alias}` differs from that of `{plan.source_alias}` where {plan.template} "
            "goes: objects, fields, picklist values, record types, lookups, rights, each judged by the rows of the "
            "source. Reads only. `isync compare` shows all of it and resolves it."
        ),
        group_name=keys.slug(plan.template),
        kinds={"salesforce"},
        owners=[keys.OWNER],
        tags={keys.STAGE_TAG: COMPARE, keys.TEMPLATE_TAG: plan.template},
        check_specs=[
            dg.AssetCheckSpec(
                SCHEMA_CHECK,
                asset=keys.gate_key(plan.template, COMPARE),
                description="The target's schema takes every row in scope, and loses nothing of it.",
            )
        ],
        pool=keys.pool(plan.source_alias),
        retry_policy=RETRY,
    )
    # Where an asset has checks of its own Dagster takes the bare class only.
    def compare(context: dg.AssetExecutionContext, workbench: dg.ResourceParam[Workbench]) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from isync_dagster.template import load_templates

        with boundary():
            templates = load_templates(workbench.settings.templates)
            if plan.template not in templates:
                raise ConfigError(
                    f"There is no template {plan.template!r} in {workbench.settings.templates}/ any more."
                )
            template = templates[plan.template]
            source, target = (workbench.org(alias) for alias in (template.source, template.target))
            result = compare_live(template, source, target, workbench.store, with_data=False).result
        return dg.MaterializeResult(metadata=_metadata(result), check_results=[_verdict(result)])

    return [compare]


def _metadata(result: "OrgComparison") -> Mapping[str, Any]:
    from isync_dagster.schema.compare import Severity

    rows = [
        {"severity": str(item.severity), "what": str(item.kind), "where": item.place, "value": item.value,
         "source": item.source, "target": item.target, "rows": item.rows, "what to do": item.what_to_do}
        for item in sorted(result.differences, key=lambda item: list(Severity).index(item.severity))
    ]  # fmt: skip
    more = f"\n\n… and {len(rows) - SHOWN:,} more: `isync compare`." if len(rows) > SHOWN else ""
    return {
        **{str(severity): result.count(severity) for severity in Severity},
        "objects": len(result.objects),
        "not counted": result.uncounted,
        "outcome": result.headline,
        "differences": dg.MetadataValue.md((table(rows[:SHOWN]) or "No difference.") + more),
    }


def _verdict(result: "OrgComparison") -> dg.AssetCheckResult:
    from isync_dagster.schema.compare import Severity

    blocks, loses = result.count(Severity.BLOCKS), result.count(Severity.LOSES_DATA)
    return dg.AssetCheckResult(
        check_name=SCHEMA_CHECK,
        passed=not blocks and not loses,
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        description=result.headline,
        metadata={"blocks": blocks, "loses data": loses},
    )
