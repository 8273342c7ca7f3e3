"""Lookups: the objects that they may point at, and whether they are master-detail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isync_dagster.schema.compare.facts import Facts, by_rows, counted
from isync_dagster.schema.compare.model import Ask, Difference, Kind, Matched, Severity
from isync_dagster.schema.compare.wording import described
from isync_dagster.schema.model import Field


def becomes_detail(source: Field, target: Field) -> bool:
    """True where a lookup of the source is a master-detail relationship in the target."""
    return source.is_reference and target.is_reference and target.master_detail and not source.master_detail


def compare_relationship(
    item: Matched, source: Field, target: Field, renamed: Mapping[str, str], facts: Facts
) -> Iterable[Difference]:
    """Parents that the target's lookup does not take, a relationship of another kind, another delete rule."""
    if not source.is_reference or not target.is_reference:
        return
    assert item.target is not None
    names = (item.source.name, item.target.name, source.name, target.name)
    takes = {name.lower() for name in target.reference_to}
    for parent in source.reference_to:
        if renamed.get(parent.lower(), parent).lower() in takes:
            continue
        rows = (
            facts.count(item.source.name, source.name, Ask.PARENTS, names=[parent])
            if source.polymorphic
            else facts.count(item.source.name, source.name, Ask.FILLED)
        )
        yield Difference(
            Kind.RELATIONSHIP, *names, parent, described(source), described(target),
            by_rows(rows, Severity.BLOCKS), rows,
            f"{counted(rows)}The target's lookup does not take {renamed.get(parent.lower(), parent)} "
            "(FIELD_INTEGRITY_EXCEPTION): map it to a lookup that does (fields), or leave it out (exclude_fields).",
        )  # fmt: skip
    if source.master_detail != target.master_detail:
        stricter = becomes_detail(source, target)
        severity, advice = Severity.COSMETIC, "Nothing is refused; deletes and sharing follow the parent no longer."
        counted_rows: int | None = 0
        if stricter:
            counted_rows = facts.count(item.source.name, source.name, Ask.EMPTY) if source.nillable else 0
            severity = by_rows(counted_rows, Severity.BLOCKS)
            advice = (
                f"{counted(counted_rows)}A master-detail relationship refuses rows without a parent: fill it in the "
                "source, or make it a lookup in the target."
            )
        yield Difference(
            Kind.RELATIONSHIP, *names, "", described(source), described(target), severity, counted_rows, advice
        )
    elif (source.cascade_delete, source.restricted_delete) != (target.cascade_delete, target.restricted_delete):
        yield Difference(
            Kind.RELATIONSHIP, *names, "", _delete_rule(source), _delete_rule(target), Severity.COSMETIC, 0,
            "Nothing to do for the migration: only what a delete of the parent does differs.",
        )  # fmt: skip


def _delete_rule(field: Field) -> str:
    if field.cascade_delete:
        return "a delete of the parent deletes it"
    return "a delete of the parent is refused" if field.restricted_delete else "a delete of the parent empties it"
