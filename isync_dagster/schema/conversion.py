"""Which field types may carry the values of which others: whatever could lose a value is refused or told.

The rule is about types in general; whether the rows at hand fit a shorter or narrower field is counted by the
preflight.
"""

from __future__ import annotations

from isync_dagster.schema.model import NUMBER_TYPES, TEXT_TYPES, Field

_TEXT = TEXT_TYPES | {"anyType"}
_NUMBER = NUMBER_TYPES | {"int", "long"}
_SPELLED = frozenset({"boolean", "date", "datetime", "time"}) | _NUMBER
"""Types whose values have one plain spelling as text."""


def refusal(source: Field, target: Field) -> str | None:
    """Why values of `source` must not go to `target`, or None where they may."""
    if source.is_reference or target.is_reference or "id" in {source.type, target.type}:
        if source.is_reference and target.is_reference:
            return None
        return (
            f"{source.type} does not go to {target.type}: an id of the source org means nothing in the target"
            if source.is_reference or source.type == "id"
            else f"{source.type} does not go to {target.type}: a lookup takes ids, and only remapped ones"
        )
    if source.type == target.type:
        return None
    if target.type in _TEXT and (source.type in _TEXT or source.type in _SPELLED):
        return None
    if source.type in _NUMBER and target.type in NUMBER_TYPES:
        return None
    if source.type in NUMBER_TYPES and target.type in {"int", "long"}:
        return None if source.scale == 0 and source.precision else f"{source.type} has decimals, {target.type} has none"
    return f"{source.type} does not go to {target.type} without loss"


def narrowing(source: Field, target: Field) -> str | None:
    """What `target` holds less of than `source`, or None."""
    if source.type in _TEXT and target.type in _TEXT:
        if 0 < target.length < source.length:
            return f"takes {target.length} characters, the source up to {source.length}"
        return None
    if source.type in _NUMBER and target.type in _NUMBER:
        before, after = _whole_digits(source), _whole_digits(target)
        if before and after and after < before:
            return f"takes {after} digits before the decimal point, the source {before}"
        if target.type in NUMBER_TYPES and source.scale > target.scale:
            return f"takes {target.scale} decimals, the source {source.scale}"
    return None


def lost_values(source: Field, target: Field, picklist: dict[str, str]) -> list[str]:
    """Active source values that a restricted target picklist refuses, after the mapping of values."""
    if not target.restricted_picklist or target.type not in {"picklist", "multipicklist"}:
        return []
    accepted = target.active_values()
    return sorted(
        value for value in source.active_values() if (sent := picklist.get(value, value)) and sent not in accepted
    )


def _whole_digits(field: Field) -> int:
    return field.digits if field.type == "int" else max(field.precision - field.scale, 0)
