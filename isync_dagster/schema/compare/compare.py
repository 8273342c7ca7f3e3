"""Two schemas, pair by pair of objects, to differences: pure, the same answer for the same schemas and data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from isync_dagster.errors import SnapshotError
from isync_dagster.schema.compare.added import added
from isync_dagster.schema.compare.facts import Facts, by_rows, counted
from isync_dagster.schema.compare.fields import compare_fields, demanded_fields
from isync_dagster.schema.compare.model import (
    ORDER,
    Answers,
    Ask,
    Difference,
    Kind,
    Matched,
    Pair,
    Question,
    Severity,
)
from isync_dagster.schema.model import RecordTypeInfo, SObject
from isync_dagster.schema.snapshot import did_you_mean

RECORD_TYPE = "RecordTypeId"


@dataclass(frozen=True)
class Comparison:
    """Every difference, in the order of the pairs and the source's fields, and what was asked of the data."""

    differences: tuple[Difference, ...]
    questions: tuple[Question, ...]

    @property
    def worst(self) -> Severity | None:
        """The highest severity, None where there is no difference."""
        return min((item.severity for item in self.differences), key=ORDER.__getitem__, default=None)

    def count(self, severity: Severity) -> int:
        """How many differences have a severity."""
        return sum(item.severity is severity for item in self.differences)


def compare(
    pairs: Sequence[Pair],
    source: Mapping[str, SObject],
    target: Mapping[str, SObject],
    answers: Answers | None = None,
    *,
    both_ways: bool = False,
) -> Comparison:
    """Compare the objects of the pairs, from what the source has to what the target takes.

    `source` and `target` are describes by API name in any case. Without `answers` every severity is the worst that
    the data could make of it; `questions` of the result says what to find out, and a second call with the answers
    judges by the rows. `both_ways` adds what only the target has. Raises `SnapshotError` for an object that the
    source does not have.
    """
    facts = Facts(answers or {})
    lower = {name.lower(): item for name, item in source.items()}
    target_lower = {name.lower(): item for name, item in target.items()}
    matched = [_matched(pair, lower, target_lower) for pair in pairs]
    renamed = {item.source.name.lower(): item.pair.target for item in matched}
    found: list[Difference] = []
    for item in matched:
        found += _object(item, renamed, facts, both_ways)
    return Comparison(tuple(found), tuple(facts.asked))


def _matched(pair: Pair, source: Mapping[str, SObject], target: Mapping[str, SObject]) -> Matched:
    item = source.get(pair.source.lower())
    if item is None:
        known = [found.name for found in source.values()]
        raise SnapshotError(f"The source has no object {pair.source!r}{did_you_mean(pair.source, known)}")
    return Matched(pair, item, target.get(pair.target.lower()))


def _object(item: Matched, renamed: Mapping[str, str], facts: Facts, both_ways: bool) -> Iterable[Difference]:
    name = item.source.name
    if item.target is None:
        rows = facts.count(name, "", Ask.ROWS)
        yield Difference(
            Kind.OBJECT_MISSING, name, item.pair.target, "", "", "", item.source.label or name, "–",
            Severity.BLOCKS if item.pair.planned else by_rows(rows, Severity.BLOCKS), rows,
            f"{counted(rows)}Create it in the target (--package), map it to another object (target_object), or take "
            f"its line out.",
        )  # fmt: skip
        return
    yield from _object_access(item, facts)
    yield from compare_fields(item, renamed, facts)
    yield from demanded_fields(item, facts)
    yield from _record_types(item, facts)
    if both_ways:
        yield from added(item)


def _object_access(item: Matched, facts: Facts) -> Iterable[Difference]:
    source, target, pair = item.source, item.target, item.pair
    assert target is not None
    closed = [
        word
        for flag, word, wanted in (("createable", "create", pair.inserts), ("updateable", "update", pair.updates))
        if wanted and getattr(source, flag) and not getattr(target, flag)
    ]
    if not closed:
        return
    rows = facts.count(source.name, "", Ask.ROWS)
    worst = Severity.BLOCKS if "create" in closed else Severity.LOSES_DATA
    yield Difference(
        Kind.OBJECT_ACCESS, source.name, target.name, "", "", "", "may be written", f"may not {' or '.join(closed)}",
        by_rows(rows, worst), rows,
        f"{counted(rows)}Give the target's user the permission to {' and '.join(closed)} {target.name} (the package's "
        "permission set does), or set insert_new / update_existing: false.",
    )  # fmt: skip


def _record_types(item: Matched, facts: Facts) -> Iterable[Difference]:
    source, target, pair = item.source, item.target, item.pair
    assert target is not None
    if pair.carried is not None and RECORD_TYPE.lower() not in pair.carried:
        return
    have = {info.developer_name.lower(): info for info in usable_record_types(target)}
    there = {info.developer_name.lower(): info for info in target.record_type_infos if not info.master}
    missing = [
        info
        for info in source.record_type_infos
        if not info.master and info.developer_name and info.developer_name.lower() not in have
    ]
    missing = [info for info in missing if info.active or info.developer_name.lower() not in there]
    used = facts.values(source.name, RECORD_TYPE, [info.record_type_id for info in missing]) if missing else None
    for info in missing:
        rows = None if used is None else used.get(info.record_type_id, 0)
        found = there.get(info.developer_name.lower())
        state = "–" if found is None else "inactive" if not found.active else "not available to the user"
        worst = Severity.BLOCKS if pair.record_type_refused else Severity.LOSES_DATA
        yield Difference(
            Kind.RECORD_TYPE, source.name, target.name, RECORD_TYPE, RECORD_TYPE, info.developer_name,
            info.name or info.developer_name, state,
            Severity.COSMETIC if pair.record_type_defaulted else by_rows(rows, worst), rows,
            f"{counted(rows)}Create or activate it in the target (--package) and give the user's profile access; "
            "without it rows get the user's default record type.",
        )  # fmt: skip


def usable_record_types(item: SObject) -> list[RecordTypeInfo]:
    """The record types that a row can be given: active, available, not the master."""
    return [info for info in item.record_type_infos if not info.master and info.active and info.available]
