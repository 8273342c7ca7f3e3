"""Picklists: the values that rows hold and the target does not accept, one difference a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isync_dagster.schema.compare.facts import Facts, by_rows, counted
from isync_dagster.schema.compare.model import Difference, Kind, Matched, Severity
from isync_dagster.schema.model import Field

PICKLISTS = frozenset({"picklist", "multipicklist"})


def mapping_of(pairs: Mapping[str, Mapping[str, str]], field: str) -> Mapping[str, str]:
    """The mapping of values of a field, by its name in any case."""
    return next((values for name, values in pairs.items() if name.lower() == field.lower()), {})


def compare_picklists(item: Matched, source: Field, target: Field, facts: Facts) -> Iterable[Difference]:
    """Values that a restricted target refuses, values that an open one does not list, and whether it is restricted.

    A restricted list is judged by the rows: what none of them holds is cosmetic, and what they hold beside the
    source's active values is found too.
    """
    if target.type not in PICKLISTS or not (source.type in PICKLISTS or target.restricted_picklist):
        return
    assert item.target is not None
    mapping = mapping_of(item.pair.picklists, source.name)
    accepted = target.active_values()
    listed = [value.value for value in source.picklist_values if value.active]
    dormant = [value.value for value in source.picklist_values if not value.active]
    candidates = [value for value in listed if _refused(value, mapping, accepted)]
    open_source = not source.restricted_picklist or any(_refused(value, mapping, accepted) for value in dormant)
    used: Mapping[str, int] | None = None
    if target.restricted_picklist and (candidates or open_source):
        asked = [*candidates, *(value for value in dormant if _refused(value, mapping, accepted))]
        used = facts.values(item.source.name, source.name, asked)
        known = set(candidates)
        candidates += sorted(value for value in used or () if value not in known and _refused(value, mapping, accepted))
    for value in candidates:
        yield _value(item, source, target, value, mapping, used)
    if source.type in PICKLISTS and source.restricted_picklist != target.restricted_picklist:
        unknown = target.restricted_picklist and used is None
        yield Difference(
            Kind.PICKLIST_RESTRICTED, item.source.name, item.target.name, source.name, target.name, "",
            _restricted(source), _restricted(target), Severity.BLOCKS if unknown else Severity.COSMETIC,
            None if unknown else 0,
            "Rows not counted. Rows may hold values beside the list, which the target would refuse."
            if unknown
            else "Nothing to do: the values in use are judged one by one.",
        )  # fmt: skip


def _refused(value: str, mapping: Mapping[str, str], accepted: frozenset[str]) -> bool:
    sent = mapping.get(value, value)
    return bool(sent) and sent not in accepted


def _value(
    item: Matched,
    source: Field,
    target: Field,
    value: str,
    mapping: Mapping[str, str],
    used: Mapping[str, int] | None,
) -> Difference:
    assert item.target is not None
    sent = mapping.get(value, value)
    entry = next((found for found in target.picklist_values if found.value == sent), None)
    state = "inactive" if entry is not None else "–"
    rows: int | None = None
    if target.restricted_picklist:
        rows = None if used is None else used.get(value, 0)
        severity = Severity.BLOCKS if sent != value and item.pair.planned else by_rows(rows, Severity.BLOCKS)
        advice = (
            f"{counted(rows)}Map it to a value that the target has (picklists), or add it there (--package); the target "
            "is restricted and refuses it (INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST)."
        )
    else:
        severity = Severity.COSMETIC
        advice = "The target is not restricted: the value arrives, and its list does not offer it. Add it (--package)."
    return Difference(
        Kind.PICKLIST_VALUE, item.source.name, item.target.name, source.name, target.name, value,
        value if sent == value else f"{value} → {sent}", state, severity, rows, advice,
    )  # fmt: skip


def _restricted(field: Field) -> str:
    return "restricted" if field.restricted_picklist else "not restricted"
