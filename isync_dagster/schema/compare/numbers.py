"""Numbers: digits before the decimal point, which Salesforce refuses, and decimals, which it rounds."""

from __future__ import annotations

from collections.abc import Iterable

from isync_dagster.schema.compare.facts import Facts, by_rows, counted
from isync_dagster.schema.compare.model import ORDER, Ask, Difference, Kind, Matched, Severity
from isync_dagster.schema.compare.wording import described
from isync_dagster.schema.model import NUMBER_TYPES, Field

_NUMBERS = NUMBER_TYPES | {"int", "long"}


def whole_digits(field: Field) -> int:
    """Digits that a number may have before the decimal point; 0 where the describe does not say."""
    return field.digits if field.type == "int" else max(field.precision - field.scale, 0)


def compare_numbers(item: Matched, source: Field, target: Field, facts: Facts) -> Iterable[Difference]:
    """At most one difference: the worse of fewer digits and fewer decimals."""
    if source.type not in _NUMBERS or target.type not in _NUMBERS or source.calculated:
        return
    before, after = whole_digits(source), whole_digits(target)
    if (before, source.scale) == (after, target.scale) or not before or not after:
        return
    assert item.target is not None
    found: list[tuple[Severity, int | None, str]] = []
    if after < before:
        rows = facts.count(item.source.name, source.name, Ask.WHOLE_DIGITS, after)
        why = f"Salesforce refuses more than {after} digits before the decimal point (NUMBER_OUTSIDE_VALID_RANGE)"
        found.append((by_rows(rows, Severity.BLOCKS), rows, why))
    if target.scale < source.scale:
        rows = facts.count(item.source.name, source.name, Ask.DECIMALS, target.scale)
        why = f"Salesforce rounds to {target.scale} decimals"
        found.append((by_rows(rows, Severity.LOSES_DATA), rows, why))
    found.sort(key=lambda entry: ORDER[entry[0]])
    severity, rows, why = found[0] if found else (Severity.COSMETIC, 0, "")
    advice = f"{counted(rows)}{why}: widen the field in the target (--package does for custom fields)."
    yield Difference(
        Kind.FIELD_PRECISION, item.source.name, item.target.name, source.name, target.name, "", described(source),
        described(target), severity, rows, advice if found else "Nothing to do: the target takes more.",
    )  # fmt: skip
