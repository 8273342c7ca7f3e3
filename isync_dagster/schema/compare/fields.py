"""The fields of a pair of objects: what is missing, narrower, stricter or closed in the target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from isync_dagster.schema.compare.facts import Facts, by_rows, counted
from isync_dagster.schema.compare.model import Ask, Difference, Kind, Matched, Severity
from isync_dagster.schema.compare.numbers import compare_numbers
from isync_dagster.schema.compare.picklists import compare_picklists
from isync_dagster.schema.compare.relationships import becomes_detail, compare_relationship
from isync_dagster.schema.compare.wording import described, yes_no
from isync_dagster.schema.conversion import refusal
from isync_dagster.schema.model import COMPOUND_TYPES, TEXT_TYPES, Field

NOT_COMPARED = frozenset({"id", "systemmodstamp", "isdeleted"})
"""Fields that no permission makes writable and every object has."""


def holds_data(field: Field) -> bool:
    """True where people or programs write the field."""
    return (field.createable or field.updateable) and not field.calculated and not field.auto_number


def demands_value(field: Field) -> bool:
    """True where a record cannot be without a value that its writer gives."""
    computed = field.calculated or field.auto_number
    return not field.nillable and not field.defaulted_on_create and field.type != "boolean" and not computed


def compared(item: Matched) -> Iterable[tuple[Field, str]]:
    """The source fields that are compared, each with the name that it has in the target."""
    names = {name.lower(): target for name, target in item.pair.fields.items()}
    writers = {target.lower() for target in item.pair.fields.values()}
    for field in item.source.fields:
        lower = field.name.lower()
        if lower in NOT_COMPARED or field.type in COMPOUND_TYPES or field.type == "base64":
            continue
        if item.pair.carried is not None and lower not in item.pair.carried:
            continue
        if lower not in names and lower in item.pair.filled | writers:
            continue
        yield field, names.get(lower, field.name)


def compare_fields(item: Matched, renamed: Mapping[str, str], facts: Facts) -> Iterable[Difference]:
    """The differences of every compared field; `renamed` maps lower-case source objects to target objects."""
    assert item.target is not None
    for source, wanted in compared(item):
        target = item.target.field(wanted)
        if target is None:
            yield _missing(item, source, wanted, facts)
            continue
        if holds_data(source) and (target.calculated or target.auto_number):
            yield _computed(item, source, target, facts)
            continue
        yield from _type(item, source, target, facts)
        yield from _length(item, source, target, facts)
        yield from compare_numbers(item, source, target, facts)
        yield from _required(item, source, target, facts)
        yield from _keys(item, source, target, facts)
        yield from _access(item, source, target, facts)
        yield from compare_picklists(item, source, target, facts)
        yield from compare_relationship(item, source, target, renamed, facts)


def demanded_fields(item: Matched, facts: Facts) -> Iterable[Difference]:
    """Target fields that every new row needs and that nothing fills; a migration key that cannot be one."""
    assert item.target is not None
    filled = {wanted.lower() for _, wanted in compared(item)} | item.pair.filled
    for target in item.target.fields:
        if not item.pair.inserts or target.name.lower() in filled:
            continue
        if not target.createable or not demands_value(target):
            continue
        rows = facts.count(item.source.name, "", Ask.ROWS)
        yield Difference(
            Kind.FIELD_REQUIRED, item.source.name, item.target.name, "", target.name, "", "–", "required",
            by_rows(rows, Severity.BLOCKS), rows,
            f"{counted(rows)}Map a source field to {target.name} (fields), give it a default in the target, or make it "
            "optional there.",
        )  # fmt: skip
    key = item.pair.migration_key
    if key:
        found = item.target.field(key)
        if found is None or not (found.external_id and found.unique):
            state = "–" if found is None else "no unique external id"
            yield Difference(
                Kind.FIELD_MISSING if found is None else Kind.FIELD_EXTERNAL_ID,
                item.source.name, item.target.name, "", key, "", "migration_key", state, Severity.BLOCKS, None,
                f"Create {key} in the target as text of 18 characters, External ID and Unique (--package does), or take "
                "migration_key out.",
            )  # fmt: skip


def _made(
    item: Matched, kind: Kind, source: Field, target: Field | str, texts: tuple[str, str], severity: Severity,
    rows: int | None, advice: str,
) -> Difference:  # fmt: skip
    assert item.target is not None
    name = target if isinstance(target, str) else target.name
    return Difference(
        kind, item.source.name, item.target.name, source.name, name, "", texts[0], texts[1], severity, rows, advice
    )


def _missing(item: Matched, source: Field, wanted: str, facts: Facts) -> Difference:
    if not holds_data(source):
        advice = "Nothing of it is carried: the source computes it or keeps it read-only."
        texts = (described(source), "–")
        return _made(item, Kind.FIELD_MISSING, source, wanted, texts, Severity.COSMETIC, None, advice)
    rows = facts.count(item.source.name, source.name, Ask.FILLED)
    severity = Severity.BLOCKS if item.pair.missing_fields_refused else by_rows(rows, Severity.LOSES_DATA)
    advice = (
        f"{counted(rows)}Create it (--package), map it to another field (fields), or leave it out (exclude_fields)."
    )
    return _made(item, Kind.FIELD_MISSING, source, wanted, (described(source), "–"), severity, rows, advice)


def _computed(item: Matched, source: Field, target: Field, facts: Facts) -> Difference:
    rows = facts.count(item.source.name, source.name, Ask.FILLED)
    what = "numbered by the target" if target.auto_number else "computed by the target"
    advice = (
        f"{counted(rows)}The source's values stay behind: leave the field out (exclude_fields) or map it elsewhere."
    )
    severity = by_rows(rows, Severity.LOSES_DATA)
    return _made(item, Kind.FIELD_COMPUTED, source, target, (described(source), what), severity, rows, advice)


def _type(item: Matched, source: Field, target: Field, facts: Facts) -> Iterable[Difference]:
    if source.type == target.type:
        return
    refused = refusal(source, target)
    shaped = target.type == "email" or (source.type, target.type) == ("multipicklist", "picklist")
    rows: int | None = None
    severity, advice = Severity.COSMETIC, "Values go over as they are."
    if refused is not None or shaped:
        rows = facts.count(item.source.name, source.name, Ask.FILLED)
        severity = Severity.BLOCKS if refused and item.pair.planned else by_rows(rows, Severity.BLOCKS)
        why = refused or f"not every value of a {source.type} is one of a {target.type}"
        advice = f"{counted(rows)}{why[0].upper()}{why[1:]}. Map it to a field that fits, or leave it out."
    yield _made(item, Kind.FIELD_TYPE, source, target, (described(source), described(target)), severity, rows, advice)


def _length(item: Matched, source: Field, target: Field, facts: Facts) -> Iterable[Difference]:
    if source.type not in TEXT_TYPES or target.type not in TEXT_TYPES:
        return
    if not source.length or not target.length or source.length == target.length:
        return
    texts = (f"{source.length:,} characters", f"{target.length:,} characters")
    if target.length > source.length:
        advice = "Nothing to do: the target takes more."
        yield _made(item, Kind.FIELD_LENGTH, source, target, texts, Severity.COSMETIC, 0, advice)
        return
    rows = facts.count(item.source.name, source.name, Ask.LONGER, target.length)
    advice = (
        f"{counted(rows)}Salesforce refuses longer values (STRING_TOO_LONG): widen the field in the target (--package "
        "does for custom fields), or shorten the values in the source."
    )
    yield _made(item, Kind.FIELD_LENGTH, source, target, texts, by_rows(rows, Severity.BLOCKS), rows, advice)


def _required(item: Matched, source: Field, target: Field, facts: Facts) -> Iterable[Difference]:
    if demands_value(source) == demands_value(target) or source.master_detail != target.master_detail:
        return
    texts = ("required" if demands_value(source) else "optional", "required" if demands_value(target) else "optional")
    if not demands_value(target):
        advice = "Nothing to do: the target asks for less."
        yield _made(item, Kind.FIELD_REQUIRED, source, target, texts, Severity.COSMETIC, 0, advice)
        return
    rows = facts.count(item.source.name, source.name, Ask.EMPTY) if source.nillable else 0
    advice = (
        f"{counted(rows)}Salesforce refuses rows without a value (REQUIRED_FIELD_MISSING): fill them in the source, or "
        "make the field optional in the target (--package does for custom fields)."
    )
    yield _made(item, Kind.FIELD_REQUIRED, source, target, texts, by_rows(rows, Severity.BLOCKS), rows, advice)


def _keys(item: Matched, source: Field, target: Field, facts: Facts) -> Iterable[Difference]:
    if source.unique != target.unique:
        texts = (yes_no("unique", source.unique), yes_no("unique", target.unique))
        rows: int | None = 0
        advice = "Nothing to do: the target asks for less."
        if target.unique:
            rows = facts.count(item.source.name, source.name, Ask.DUPLICATES, int(target.case_sensitive))
            advice = (
                f"{counted(rows)}Salesforce refuses the second row of a value (DUPLICATE_VALUE): make the values unique "
                "in the source, or the field not unique in the target (--package does for custom fields)."
            )
        severity = by_rows(rows, Severity.BLOCKS)
        yield _made(item, Kind.FIELD_UNIQUE, source, target, texts, severity, rows, advice)
    if source.external_id != target.external_id:
        texts = (yes_no("external id", source.external_id), yes_no("external id", target.external_id))
        advice = "Nothing is refused; an upsert by this field works only where it is an external id."
        yield _made(item, Kind.FIELD_EXTERNAL_ID, source, target, texts, Severity.COSMETIC, 0, advice)


def _access(item: Matched, source: Field, target: Field, facts: Facts) -> Iterable[Difference]:
    if not holds_data(source):
        return
    closed = [
        word
        for flag, word in (("createable", "create"), ("updateable", "update"))
        if getattr(source, flag) and not getattr(target, flag)
    ]
    if becomes_detail(source, target) and "update" in closed:
        closed.remove("update")
    if not closed:
        return
    rows = facts.count(item.source.name, source.name, Ask.FILLED)
    late = closed == ["create"] and target.updateable
    severity = Severity.COSMETIC if late else by_rows(rows, Severity.LOSES_DATA)
    advice = (
        f"{counted(rows)}It is filled by a second pass (relink)."
        if late
        else f"{counted(rows)}Give the target's user edit access to {target.name} (field-level security; the package's "
        "permission set does), or leave it out (exclude_fields)."
    )
    texts = ("may be written", f"may not {' or '.join(closed)}")
    yield _made(item, Kind.FIELD_ACCESS, source, target, texts, severity, rows, advice)
