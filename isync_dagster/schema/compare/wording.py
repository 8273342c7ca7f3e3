"""How a field is told to people."""

from __future__ import annotations

from isync_dagster.schema.model import NUMBER_TYPES, Field


def described(field: Field) -> str:
    """A field's type with what belongs to it.

    >>> described(Field("A__c", "currency", precision=18, scale=2)), described(Field("B__c", length=80))
    ('currency(18, 2)', 'string(80)')
    """
    if field.calculated:
        return f"{field.type}, computed"
    if field.type in NUMBER_TYPES:
        return f"{field.type}({field.precision}, {field.scale})"
    if field.is_reference:
        kind = "master-detail" if field.master_detail else "lookup"
        return f"{kind} to {', '.join(field.reference_to[:3])}{', …' if len(field.reference_to) > 3 else ''}"
    if field.type in ("string", "textarea") and field.length:
        return f"{field.type}({field.length})"
    return field.type


def yes_no(word: str, value: bool) -> str:
    """`unique` or `not unique`."""
    return word if value else f"not {word}"
