"""The asset checks of a template: both laws, rejected rows, and the re-read of the target.

They have no partitions of their own, since the UI cannot run partitioned checks alone. Inside a run they
judge its phase; alone they judge every phase that has run. Either way the result lists all phases, and a phase
that passes never hides one that failed.
"""

# No `from __future__ import annotations`: Dagster reads the annotations of check functions at run time.

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dagster as dg

from isync_dagster.assets import keys, metadata
from isync_dagster.assets.judging import (
    READ_THE_TARGET,
    Judge,
    has_run,
    judge,
    judges_of,
    stored,
)
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.work import PRIORITY, RETRY, boundary
from isync_dagster.errors import ConfigError
from isync_dagster.migration.model import RunOptions, SyncJob, Verdict

if TYPE_CHECKING:
    from isync_dagster.plan.model import ObjectPlan, Plan

DESCRIPTIONS: Mapping[str, str] = {
    "references": "Before anything of it is sent: every lookup that is not filled later has found its parent.",
    "conservation": "Every extracted record is in exactly one state, and the states add up to the rows extracted.",
    "rejected_rows": "Rows that Salesforce refused or that lack a required parent stay within the threshold.",
    "record_count": "Every record that this run says is in the target is found there when the target is read again.",
    "relationships": "Every migrated lookup, as the target now has it, points at its source parent's counterpart.",
    "relinked": "Every lookup that the second pass filled points at the counterpart of its source parent.",
    "fields": "Every mapped field of the migrated records holds in the target what was sent, or is named as a cell.",
    "totals": "Counts by record type, status and owner, and the template's metrics, are the same in both orgs.",
}


def template_checks(plan: "Plan") -> list[dg.AssetChecksDefinition]:
    """Every check of a template."""
    checks: list[dg.AssetChecksDefinition] = []
    for item in plan.objects:
        blocking = {"conservation", *(() if plan.settings.continue_on_error else ("rejected_rows",))}
        checks += [_checks(plan, item, by, blocking) for by in judges_of(item)]
    return checks


def _checks(plan: "Plan", item: "ObjectPlan", by: Judge, blocking: Collection[str]) -> dg.AssetChecksDefinition:
    """The checks that one judge answers: one definition, so that one read of the target serves them all, in one step."""
    assets = {name: keys.asset_key(plan.template, item.object, stage) for name, stage in by.stages.items()}
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=DESCRIPTIONS[name], blocking=name in blocking)
        for name, key in assets.items()
    ]

    @dg.multi_asset_check(
        name=f"{keys.group(plan.template, item.object)}__{by.verb}",
        specs=specs,
        # Each can be executed by itself in the UI, at the price of the one read that serves them all.
        can_subset=True,
        # What only looks into the store waits for no slot of the org, since others wait for its verdict.
        pool=keys.pool(plan.target_alias) if by in READ_THE_TARGET else None,
        op_tags={PRIORITY: "-1" if by in READ_THE_TARGET else "2"},
        retry_policy=RETRY,
    )
    def body(
        context: dg.AssetCheckExecutionContext, run_options: RunOptionsResource, workbench: dg.ResourceParam[Workbench]
    ) -> Iterator[dg.AssetCheckResult]:
        with boundary():
            options, phase = run_options.options(), _phase(context)
            if phase is not None:
                found = _in_run(workbench, options, plan, item, by, phase, context.run.run_id)
            else:
                found = _alone(workbench, options, plan, item, by, _wanted(context))
        wanted = {selected.name for selected in context.selected_asset_check_keys}
        for name, result in found.items():
            if name not in wanted:
                continue
            yield dg.AssetCheckResult(asset_key=assets[name], check_name=name, **result)

    return body


def _phase(context: dg.AssetCheckExecutionContext) -> str | None:
    return context.partition_key if context.has_partition_key else None


def _wanted(context: dg.AssetCheckExecutionContext) -> list[str]:
    return [name for name in context.run.tags.get(keys.PHASES_TAG, "").split(",") if name]


def _in_run(
    workbench: Workbench, options: RunOptions, plan: "Plan", item: "ObjectPlan", by: Judge, phase: str, run_id: str
) -> dict[str, dict[str, Any]]:
    """Judge the phase of the run. Another phase's stored failure is a warning: it must show, and not block this one."""
    job = workbench.job(plan.template, phase, options, session=run_id)
    if not job.in_phase(item.object):
        return _elsewhere(job, plan, item, by)
    made = {verdict.name: verdict for verdict in judge(job, item.object, by, run_id)}
    others = {name: stored(job.for_phase(name), item.object, by.names) for name in _phases(plan, item) if name != phase}
    results = {}
    for name in by.names:
        verdict = made[name]
        phases = {other: verdicts.get(name) for other, verdicts in others.items()} | {phase: verdict}
        failed = [other for other, found in phases.items() if found is not None and _failed(found)]
        result = _result(verdict.text, verdict.passed, verdict.severity, phases, plan, item)
        result["metadata"] |= metadata.of_verdict(verdict)
        if verdict.passed and failed:
            result |= {"passed": False, "severity": dg.AssetCheckSeverity.WARN}
            result["description"] = f"{phase}: {verdict.text} But {', '.join(failed)} failed before; see the table."
        results[name] = result
    return results


def _alone(
    workbench: Workbench, options: RunOptions, plan: "Plan", item: "ObjectPlan", by: Judge, wanted: list[str]
) -> dict[str, dict[str, Any]]:
    """Judge every phase that has run (or those wanted); none at all is a warning, since nothing was proved."""
    made: dict[str, Mapping[str, Verdict]] = {}
    for phase in _phases(plan, item):
        if wanted and phase not in wanted:
            continue
        # Nothing waits for it and all depends on it: as much is compared as the template allows.
        job: SyncJob = workbench.job(plan.template, phase, replace(options, thorough=True))
        made[phase] = _made_now(job, item, by) if has_run(job) else {}
    return _all_phases(plan, item, by, made)


def _elsewhere(job: SyncJob, plan: "Plan", item: "ObjectPlan", by: Judge) -> dict[str, dict[str, Any]]:
    """An object that the run's phase leaves alone: what was found in its own phases, and never a reason to block."""
    found = {name: stored(job.for_phase(name), item.object, by.names) for name in _phases(plan, item)}
    results = _all_phases(plan, item, by, found)
    for result in results.values():
        result["severity"] = dg.AssetCheckSeverity.WARN
        result["passed"] = result["passed"] or not any(found.values())
        result["description"] = f"{item.object} is not in phase {job.phase}. {result['description']}"
    return results


def _all_phases(
    plan: "Plan", item: "ObjectPlan", by: Judge, made: Mapping[str, Mapping[str, Verdict]]
) -> dict[str, dict[str, Any]]:
    """One result a check from the verdicts of all phases."""
    results = {}
    for name in by.names:
        phases = {phase: verdicts.get(name) for phase, verdicts in made.items()}
        verdicts = [verdict for verdict in phases.values() if verdict is not None]
        failed = [verdict for verdict in verdicts if not verdict.passed]
        worst = "error" if any(_failed(verdict) for verdict in failed) else "warn"
        if not verdicts:
            result = _result("No phase has run yet: nothing to judge.", False, "warn", phases, plan, item)
        elif failed:
            text = " ".join(f"{verdict.phase}: {verdict.text}" for verdict in failed)
            result = _result(text, False, worst, phases, plan, item)
        else:
            text = verdicts[0].text if len(verdicts) == 1 else f"All {len(verdicts)} phases that have run pass."
            result = _result(text, True, "error", phases, plan, item)
        shown = failed[0] if failed else verdicts[0] if len(verdicts) == 1 else None
        if shown is not None:
            result["metadata"] |= metadata.of_verdict(shown)
        results[name] = result
    return results


def _made_now(job: SyncJob, item: "ObjectPlan", by: Judge) -> Mapping[str, Verdict]:
    """The verdicts; an object that its open run has not reached yet is not good, and no reason to stop."""
    try:
        return {verdict.name: verdict for verdict in judge(job, item.object, by)}
    except ConfigError as error:
        return {name: Verdict(name, item.object, job.phase, 0, False, str(error)) for name in by.names}


def _phases(plan: "Plan", item: "ObjectPlan") -> list[str]:
    return [phase.name for phase in plan.phases if item.object in phase.objects]


def _failed(verdict: Verdict) -> bool:
    return not verdict.passed and verdict.severity == "error"


def _result(
    text: str, passed: bool, severity: str, phases: Mapping[str, Verdict | None], plan: "Plan", item: "ObjectPlan"
) -> dict[str, Any]:
    order = _phases(plan, item)
    rows = [
        {"phase": name, "run": "not run yet", "result": "", "found": ""}
        if (verdict := phases.get(name)) is None
        else {"phase": name, "run": verdict.run, "result": _word(verdict), "found": verdict.text}
        for name in order
    ]
    return {
        "passed": passed,
        "severity": dg.AssetCheckSeverity.WARN if severity == "warn" else dg.AssetCheckSeverity.ERROR,
        "description": text,
        "metadata": {"phases": dg.MetadataValue.md(table(rows))},
    }


def _word(verdict: Verdict) -> str:
    return "passed" if verdict.passed else "failed" if verdict.severity == "error" else "warning"
