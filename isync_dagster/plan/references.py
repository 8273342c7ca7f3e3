"""Rules that find the records of objects which are not migrated by natural key."""

from __future__ import annotations

from dataclasses import replace

from isync_dagster.plan.model import ReferenceRule
from isync_dagster.plan.problems import Problems
from isync_dagster.plan.rules import REFERENCE_RULES, STANDARD_BOOK
from isync_dagster.schema.model import SObject
from isync_dagster.schema.snapshot import Snapshot, did_you_mean
from isync_dagster.template.models import Reference, Template


def reference_rules(
    template: Template, lines: frozenset[str], source: Snapshot, target: Snapshot, problems: Problems
) -> dict[str, ReferenceRule]:
    """The rule of each referenced object: those every org needs, completed by the template.

    An object with a line is migrated, so it has a rule only where the template writes one (for records outside the
    line's scope); the standard price book is a reference even then, since no org takes a second one.
    """
    rules: dict[str, ReferenceRule] = {}
    declared = {name.lower(): (name, reference) for name, reference in template.references.items()}
    for name, usual in REFERENCE_RULES.items():
        if name.lower() not in declared and (name not in lines or name == STANDARD_BOOK):
            rules[name] = _usable(usual, source.find(name), target.find(name))
    for spelled, reference in declared.values():
        known = next((name for name in REFERENCE_RULES if name.lower() == spelled.lower()), None)
        described = source.find(spelled)
        name = described.name if described else known or spelled
        rule = _declared(name, reference, REFERENCE_RULES.get(name), problems)
        if reference.by:
            rule = _checked(rule, target.find(name), "target", problems)
            rule = _checked(rule, described, "source", problems)
        rules[name] = rule
    return rules


def _declared(name: str, reference: Reference, usual: ReferenceRule | None, problems: Problems) -> ReferenceRule:
    keys = tuple(tuple(part.strip() for part in key.split("+")) for key in reference.by)
    if not keys and usual is not None:
        keys = usual.by
    if not keys and reference.map_file is None:
        problems.add(f"references.{name}", "say by which fields its records are found (by), or give a map_file")
    return ReferenceRule(
        object=name,
        by=keys,
        default=reference.default,
        map_file=reference.map_file,
        where=reference.where or (usual.where if usual else None),
    )


def _usable(rule: ReferenceRule, source: SObject | None, target: SObject | None) -> ReferenceRule:
    """A usual rule without the keys that an org does not have (FederationIdentifier needs a permission to be seen)."""
    described = [sobject for sobject in (source, target) if sobject is not None]
    keys = tuple(key for key in rule.by if all(sobject.field(name) for sobject in described for name in key))
    return replace(rule, by=keys or rule.by)


def _checked(rule: ReferenceRule, sobject: SObject | None, side: str, problems: Problems) -> ReferenceRule:
    """The rule with its field names as the org spells them; unknown and unfilterable ones are problems."""
    if sobject is None:
        return rule
    spelling: dict[str, str] = {}
    for name in rule.fields:
        field = sobject.field(name)
        if field is None:
            guess = did_you_mean(name, [known.name for known in sobject.fields])
            problems.add(f"references.{rule.object}", f"by: the {side} has no field {name}{guess}")
            continue
        if not field.filterable:
            problems.add(f"references.{rule.object}", f"by: {name} cannot be filtered in the {side}")
        spelling[name] = field.name
    keys = tuple(tuple(spelling.get(name, name) for name in key) for key in rule.by)
    return replace(rule, by=keys)
