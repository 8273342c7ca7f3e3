"""What the assets say of themselves, in the words of the people who plan and sign off a migration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isync_dagster.assets import keys

if TYPE_CHECKING:
    from isync_dagster.plan.model import ObjectPlan, Plan


def stage(plan: Plan, item: ObjectPlan, stage: str) -> str:
    """One paragraph on what a stage of an object does and what it leaves."""
    return {keys.EXTRACT: _extract, keys.REMAP: _remap, keys.LOAD: _load, keys.RELINK: _relink}[stage](plan, item)


def _extract(plan: Plan, item: ObjectPlan) -> str:
    scope = [f"`{item.where}`"] if item.where else []
    scope += [f"the first {item.limit:,} by `{item.order_by or 'Id'}`"] if item.limit is not None else []
    which = " and ".join(scope) if scope else "all that the user may see"
    return (
        f"Reads the **{item.source_label or item.object}** records in scope from `{plan.source_alias}` ({which}; "
        "created up to the moment the run was opened) and keeps them, typed, as Parquet. Nothing is written to any org."
    )


def _remap(plan: Plan, item: ObjectPlan) -> str:
    key = ", ".join(part.source for part in item.match_key)
    match = f"by the id map, then by {key}" if key else "by the id map"
    return (
        f"Maps fields and picklists to **{item.target_object}**, replaces every lookup by the id its parent has in "
        f"`{plan.target_alias}`, finds records that are there already ({match}), and decides what happens to each row. "
        "Nothing is written to any org."
    )


def _load(plan: Plan, item: ObjectPlan) -> str:
    does = " and ".join(
        word for word, on in (("inserts new", item.insert_new), ("updates matching", item.update_existing)) if on
    )
    text = (
        f"Sends the rows to **{item.target_object}** in `{plan.target_alias}` ({does or 'matches only'}) and gives "
        "every row exactly one state. A repeat goes on where the last one stopped: nothing is sent twice."
    )
    deferred = [lookup.source.name for lookup in item.lookups if lookup.deferred]
    return text + (f" {', '.join(deferred)} is filled later, by relink." if deferred else "")


def _relink(plan: Plan, item: ObjectPlan) -> str:
    todo = [f"the lookups {', '.join(name for name in deferred)}"] if (deferred := _deferred(item)) else []
    todo += [f"the final {field.target}" for field in item.staged]
    todo += ["empty values where the target put its default"] if item.clear_defaults else []
    return (
        f"Second pass over the loaded **{item.target_object}** records: writes {', '.join(todo)}, now that all "
        "records they point at are in the target."
    )


def _deferred(item: ObjectPlan) -> list[str]:
    return [lookup.target.name for lookup in item.lookups if lookup.deferred]


def preflight(plan: Plan) -> str:
    """On the gate between reading and writing."""
    return (
        "The gate between reading and writing: finds in the extracts what Salesforce would refuse (missing required "
        "values, texts too long, unknown picklist values, keys that are not unique) and stops the run before the first "
        f"row is sent to `{plan.target_alias}`."
    )


def report(plan: Plan) -> str:
    """On the last asset of a phase."""
    return (
        f"Closes the run of the phase and writes its report: what became of every record from "
        f"`{plan.source_alias}`, every check, every refused row, every field that was not migrated."
    )


def definition(item: ObjectPlan, stage: str) -> Mapping[str, Any]:
    """The few facts of the plan that the graph shows; long ones come with a materialization."""
    facts: dict[str, Any] = {"object": item.object, "target object": item.target_object, "load order": item.order}
    if stage == keys.REMAP and item.match_key:
        facts["match key"] = " + ".join(part.source for part in item.match_key)
    if stage in (keys.LOAD, keys.RELINK) and (deferred := _deferred(item)):
        facts["deferred lookups"] = ", ".join(deferred)
    return facts
