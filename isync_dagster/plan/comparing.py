"""A template as the pairs of objects that an org compare looks at: its names, its values, what it carries."""

from __future__ import annotations

from isync_dagster.plan.mapping import carried_fields
from isync_dagster.plan.problems import Problems
from isync_dagster.plan.scope import Scoped, scope_of
from isync_dagster.schema.compare import Pair
from isync_dagster.schema.snapshot import Snapshot
from isync_dagster.template.models import Policy, Template

RECORD_TYPE = "RecordTypeId"


def pairs_of(template: Template, source: Snapshot, target: Snapshot) -> tuple[Pair, ...]:
    """A pair for every object that the template moves, in the order of its lines.

    An object that the target does not have is a pair too. What else is wrong with the template is the plan's to tell.
    """
    problems = Problems(template.name)
    scope = scope_of(template, source, target, problems)
    by_lower = {name.lower(): item for name, item in scope.items()}
    settings = {name.lower(): item for name, item in template.objects.items()}
    left_out = (
        {name.lower() for name in template.settings.transactional_objects}
        if template.settings.skip_transactional_objects
        else set()
    )
    pairs: dict[str, Pair] = {}
    for line in template.lines:
        lower = line.object.lower()
        if lower in pairs or lower in left_out:
            continue
        item = by_lower.get(lower)
        if item is not None:
            pairs[lower] = _pair(template, item, frozenset(scope))
            continue
        own = settings.get(lower)
        goes_to = (own.target_object if own is not None else None) or line.object
        pairs[lower] = Pair(line.object, goes_to, planned=True)
    return tuple(pairs.values())


def where_of(template: Template, source: Snapshot, target: Snapshot) -> dict[str, str]:
    """Lower-case source object -> the SOQL condition of its lines; without an entry every row is in scope."""
    scope = scope_of(template, source, target, Problems(template.name))
    return {name.lower(): item.where for name, item in scope.items() if item.where}


def _pair(template: Template, item: Scoped, scope: frozenset[str]) -> Pair:
    own = item.settings
    policy = next(
        (rule for name, rule in own.missing_parents.items() if name.lower() == RECORD_TYPE.lower()),
        template.settings.missing_parents.optional,
    )
    reference = template.references.get("RecordType")
    key = own.migration_key or ""
    return Pair(
        source=item.source.name,
        target=item.target.name,
        fields=own.fields,
        picklists=own.picklists,
        carried=frozenset(name.lower() for name in carried_fields(item, scope)),
        filled=frozenset({key.lower()} - {""}),
        migration_key=key,
        planned=True,
        missing_fields_refused=not template.settings.skip_missing_fields,
        record_type_refused=policy.policy in (Policy.BLOCK, Policy.STOP, Policy.DROP_ROW),
        record_type_defaulted=policy.policy is Policy.DEFAULT or bool(reference and reference.default),
        inserts=own.insert_new,
        updates=own.update_existing,
    )
