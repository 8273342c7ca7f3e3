"""From a template and two snapshots to a plan, or to one error that lists all that stands against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from isync_dagster.errors import CycleError
from isync_dagster.plan.fingerprint import fingerprint, plan_hash
from isync_dagster.plan.graph import Link, LoadOrder, load_order
from isync_dagster.plan.keys import add_match_key, check_required
from isync_dagster.plan.lookups import links_of, mark_self_lookups, resolve_lookups
from isync_dagster.plan.mapping import Draft, draft_object
from isync_dagster.plan.metrics import check_metrics, check_validation
from isync_dagster.plan.model import (
    DroppedField,
    Lookup,
    MappedGone,
    ObjectPlan,
    Plan,
    Policy,
    ReferenceRule,
    StagedField,
    WaveRule,
)
from isync_dagster.plan.phases import check_sequences, plan_phases, warn_of_later_parents
from isync_dagster.plan.problems import Problems
from isync_dagster.plan.references import reference_rules
from isync_dagster.plan.rules import DRAFT, LOADED_AFTER, STAGED_STATUS
from isync_dagster.plan.scope import Scoped, check_field_names, scope_of
from isync_dagster.schema.snapshot import Snapshot
from isync_dagster.template.checks import check_template
from isync_dagster.template.models import Template


def build_plan(template: Template, source: Snapshot, target: Snapshot, rows: Mapping[str, int] | None = None) -> Plan:
    """Resolve a template against the schemas of both orgs.

    `rows`, where known, holds the number of rows of each object: of several ways to break a cycle the one with
    the fewest rows to relink is taken. Raises `PlanError` with a line for every problem (`problems` holds them),
    `CycleError` where required lookups in a circle are the only one.
    """
    problems = Problems(template.name)
    _check_orgs(template, source, target, problems)
    for finding in check_template(template):
        problems.add(".".join(str(step) for step in finding.path), finding.message)
    scope = scope_of(template, source, target, problems)
    rules = reference_rules(template, frozenset(scope), source, target, problems)
    nodes = [_node(item, scope, rules, source, template, problems) for item in scope.values()]
    order = _order(nodes, scope, rows or {}, problems)
    problems.raise_if_any()
    objects = _object_plans(nodes, order, template.settings.mapped_gone, problems)
    phases = plan_phases(template, objects)
    check_sequences(objects, scope, problems)
    warn_of_later_parents(objects, phases, problems)
    check_metrics(template.metrics, objects, problems)
    check_validation(template.settings.validation, objects, problems)
    problems.raise_if_any()
    used = {name for item in objects for lookup in item.lookups for name in lookup.references}
    plan = Plan(
        template=template.name,
        source_alias=template.source,
        target_alias=template.target,
        source_org_id=source.identity.org_id,
        target_org_id=target.identity.org_id,
        source_api_version=source.identity.api_version,
        target_api_version=target.identity.api_version,
        objects=objects,
        phases=phases,
        settings=template.settings,
        references={name: rules[name] for name in sorted(used)},
        warnings=problems.warnings,
        metrics=template.metrics,
    )
    return replace(plan, hash=plan_hash(plan))


@dataclass(frozen=True)
class _Node:
    """An object before its place in the order is known."""

    draft: Draft
    lookups: tuple[Lookup, ...]
    level_field: str | None

    @property
    def name(self) -> str:
        return self.draft.name


def _check_orgs(template: Template, source: Snapshot, target: Snapshot, problems: Problems) -> None:
    if source.identity.org_id == target.identity.org_id:
        problems.add(
            "orgs",
            f"source {template.source!r} and target {template.target!r} are the same org {source.identity.org_id}",
        )
    pins = (
        ("source", template.source, template.pins.source_org_id, source),
        ("target", template.target, template.pins.target_org_id, target),
    )
    for side, alias, pinned, snapshot in pins:
        if pinned is not None and pinned != snapshot.identity.org_id:
            problems.add(
                "pins",
                f"the template is pinned to the {side} org {pinned}, and the snapshot of {alias!r} is of "
                f"{snapshot.identity.org_id}: correct orgs.yaml, or the pin if the template is meant for this org",
            )


def _node(
    item: Scoped,
    scope: Mapping[str, Scoped],
    rules: Mapping[str, ReferenceRule],
    source: Snapshot,
    template: Template,
    problems: Problems,
) -> _Node:
    check_field_names(item, problems)
    draft = draft_object(item, frozenset(scope), template.settings.skip_missing_fields, problems)
    add_match_key(draft, problems)
    check_required(draft, problems)
    lookups = resolve_lookups(draft, scope, rules, source, template.settings, problems)
    lookups, level_field = mark_self_lookups(draft, lookups, problems)
    return _Node(draft, lookups, level_field)


def _order(
    nodes: Sequence[_Node], scope: Mapping[str, Scoped], rows: Mapping[str, int], problems: Problems
) -> LoadOrder:
    links = [link for node in nodes for link in links_of(node.draft, node.lookups, scope, rows)]
    for name, firsts in LOADED_AFTER.items():
        links += [Link(name, f"(after {first})", first, deferrable=False) for first in firsts if name in scope]
    names = sorted(scope, key=lambda name: (scope[name].position, name))
    try:
        order = load_order(names, links, {name: scope[name].sequence for name in scope})
    except CycleError as error:
        problems.cycle(error)
        return LoadOrder(tuple(names), dict.fromkeys(names, 0), frozenset(), (), exact=True)
    if not order.exact:
        problems.warn(
            "order",
            "many lookups form circles, too many to search for the fewest to fill later: a good choice was made, maybe "
            "not the best; sequences and exclude_parents narrow it",
        )
    return order


def _object_plans(
    nodes: Sequence[_Node], order: LoadOrder, gone: MappedGone, problems: Problems
) -> tuple[ObjectPlan, ...]:
    place = {name: index for index, name in enumerate(order.order)}
    lookups = {
        node.name: tuple(
            replace(lookup, deferred=True) if (node.name, lookup.source.name) in order.deferred else lookup
            for lookup in node.lookups
        )
        for node in nodes
    }
    fetched_by = _fetched_by(lookups, place, problems)
    plans = [_object_plan(node, lookups[node.name], order, place, fetched_by[node.name], gone) for node in nodes]
    for item in plans:
        _warn_of_deferred_policies(item, problems)
    return tuple(replace(item, fingerprint=fingerprint(item)) for item in sorted(plans, key=lambda item: item.order))


def _object_plan(
    node: _Node,
    lookups: tuple[Lookup, ...],
    order: LoadOrder,
    place: Mapping[str, int],
    fetched_by: tuple[str, ...],
    gone: MappedGone,
) -> ObjectPlan:
    draft, item = node.draft, node.draft.scoped
    staged = _staged(draft, place)
    direct = {name for lookup in lookups if not lookup.deferred and not lookup.kept for name in lookup.parents}
    direct |= {name for name in LOADED_AFTER.get(item.name, ()) if name in place}
    late = {name for lookup in lookups if lookup.deferred for name in lookup.parents}
    late |= {name for stage in staged for name in stage.after}
    clear = _clear_defaults(draft, {stage.target for stage in staged})
    created = item.source.field("CreatedDate")
    wave: WaveRule | None = "self_levels" if node.level_field else None
    if item.name == item.target.name == "PricebookEntry":
        wave = "standard_price_book_first"
    return ObjectPlan(
        object=item.name,
        target_object=item.target.name,
        sequence=item.sequence,
        level=order.levels[item.name],
        order=place[item.name],
        where=item.where,
        order_by=item.order_by,
        limit=item.limit,
        fields=tuple(draft.fields),
        lookups=lookups,
        match_key=draft.match_key,
        migration_key=draft.migration_key,
        update_existing=item.settings.update_existing and item.target.updateable,
        insert_new=item.settings.insert_new,
        mapped_gone=item.settings.mapped_gone or gone,
        dropped=tuple(DroppedField(name, reason) for name, reason in draft.dropped.items()),
        parents=tuple(sorted(direct - {item.name}, key=place.__getitem__)),
        deferred_parents=tuple(sorted(late, key=place.__getitem__)),
        fetched_by=fetched_by,
        wave_rule=wave,
        self_level_field=node.level_field,
        staged=staged,
        clear_defaults=clear,
        has_relink=bool(staged or clear or any(lookup.deferred for lookup in lookups)),
        scope_has_created_date=created is not None and created.filterable,
        source_fields=_source_fields(draft),
        source_label=item.source.label or item.name,
    )


def _staged(draft: Draft, place: Mapping[str, int]) -> tuple[StagedField, ...]:
    """Fields that relink sends: a status that starts as a draft, and what only an update may write."""
    staged = []
    for mapping in draft.fields:
        target = mapping.target
        after = STAGED_STATUS.get(draft.scoped.target.name)
        if after is not None and target.name == "Status" and target.updateable and DRAFT in target.active_values():
            staged.append(StagedField(target.name, DRAFT, tuple(name for name in after if name in place)))
        elif mapping.updateable and not mapping.insertable:
            staged.append(StagedField(target.name, ""))
    return tuple(staged)


def _clear_defaults(draft: Draft, staged: set[str]) -> tuple[str, ...]:
    return tuple(
        mapping.target.name
        for mapping in draft.fields
        if mapping.target.has_default
        and mapping.target.nillable
        and mapping.insertable
        and mapping.updateable
        and mapping.target.type != "boolean"
        and not mapping.target.name_field
        and mapping.target.name not in staged
    )


def _source_fields(draft: Draft) -> tuple[str, ...]:
    used = {mapping.source.name for mapping in draft.fields}
    used |= {field.name for field, _ in draft.lookups}
    names = ["Id", *(field.name for field in draft.scoped.source.fields if field.name in used)]
    if draft.scoped.source.field("SystemModstamp") is not None:
        names.append("SystemModstamp")
    return tuple(names)


def _fetched_by(
    lookups: Mapping[str, Sequence[Lookup]], place: Mapping[str, int], problems: Problems
) -> dict[str, tuple[str, ...]]:
    """For each object the children that name parents to fetch; a circle of them is a problem."""
    fetches = [
        Link(child, lookup.source.name, parent, deferrable=False)
        for child, own in lookups.items()
        for lookup in own
        if lookup.policy is Policy.FETCH_PARENT
        for parent in lookup.parents
    ]
    try:
        load_order(sorted(lookups), fetches)
    except CycleError as error:
        problems.add(
            " -> ".join((*error.path, error.path[0].partition(".")[0])),
            "fetch_parent in a circle: each extract would wait for the other; give one of them another policy",
        )
    found: dict[str, set[str]] = {name: set() for name in lookups}
    for link in fetches:
        found[link.parent].add(link.child)
    return {name: tuple(sorted(children, key=place.__getitem__)) for name, children in found.items()}


def _warn_of_deferred_policies(item: ObjectPlan, problems: Problems) -> None:
    for lookup in item.deferred:
        if lookup.policy in {Policy.BLOCK, Policy.STOP, Policy.DROP_ROW}:
            problems.warn(
                f"{item.object}.{lookup.source.name}",
                f"is filled after the load, too late for {lookup.policy.value}: a missing parent leaves a pending link",
            )
