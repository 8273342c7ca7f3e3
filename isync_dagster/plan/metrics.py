"""The metrics of a template against the plan: what is measured must be carried over, or nothing could be compared."""

from __future__ import annotations

from collections.abc import Sequence

from isync_dagster.plan.model import ObjectPlan
from isync_dagster.plan.problems import Problems
from isync_dagster.schema.model import NUMBER_TYPES, Field
from isync_dagster.schema.snapshot import did_you_mean
from isync_dagster.template.models import Metric, Validation

_ADDED = NUMBER_TYPES | {"int", "long"}
_ORDERED = _ADDED | {"date", "datetime"}


def check_metrics(metrics: Sequence[Metric], objects: Sequence[ObjectPlan], problems: Problems) -> None:
    """Note every metric that cannot be compared, and why."""
    known = {item.object: item for item in objects}
    seen: set[str] = set()
    for metric in metrics:
        where = f"metrics.{metric.name}"
        if metric.name.lower() in seen:
            problems.add(where, "two metrics have this name")
        seen.add(metric.name.lower())
        item = known.get(metric.object)
        if item is None:
            problems.add(where, f"{metric.object} has no line in this template{did_you_mean(metric.object, known)}")
            continue
        carried = carried_fields(item)
        for name in (metric.field, metric.by):
            if name is not None and name not in carried:
                problems.add(
                    where,
                    f"{item.object}.{name} is not carried over, so the two orgs cannot be compared by it"
                    f"{did_you_mean(name, carried)}",
                )
        field = carried.get(metric.field or "")
        allowed = _ADDED if metric.function in ("sum", "avg") else _ORDERED
        if field is not None and field.type not in allowed:
            problems.add(where, f"{metric.function} does not work for {metric.field}, which is a {field.type}")
        if metric.whole_org and metric.function not in ("count", "sum"):
            problems.add(where, f"whole_org compares counts and sums, not {metric.function}")
        if metric.whole_org and metric.by is not None and carried.get(metric.by, Field("")).is_reference:
            problems.add(where, f"whole_org cannot compare by {metric.by}: a lookup holds other ids in each org")


def check_validation(validation: Validation, objects: Sequence[ObjectPlan], problems: Problems) -> None:
    """Note every name under `exclude_fields` that means nothing."""
    known = {item.object: item for item in objects}
    for name, fields in validation.exclude_fields.items():
        where = f"settings.validation.exclude_fields.{name}"
        item = known.get(name)
        if item is None:
            problems.add(where, f"{name} has no line in this template{did_you_mean(name, known)}")
            continue
        carried = carried_fields(item)
        for field in fields:
            if field not in carried:
                problems.add(where, f"{field} is not carried over{did_you_mean(field, carried)}")
            elif carried[field].is_reference:
                problems.add(where, f"{field} is a lookup: every lookup is verified, and none is left out")


def carried_fields(item: ObjectPlan) -> dict[str, Field]:
    """Source name -> target field of everything that the object's plan writes, lookups included."""
    found = {mapping.source.name: mapping.target for mapping in item.fields if mapping.insertable or mapping.updateable}
    return found | {lookup.source.name: lookup.target for lookup in item.lookups}
