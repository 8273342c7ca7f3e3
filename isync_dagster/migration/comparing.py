"""Org compare: two live orgs or two snapshots, the objects of a template or any, with the rows of the source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from isync_dagster.errors import ConfigError, SnapshotError
from isync_dagster.migration.usage import RowsOf, find_out
from isync_dagster.plan.comparing import pairs_of, where_of
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.compare import COLUMNS, ORDER, Comparison, Difference, Kind, Pair, Severity, compare
from isync_dagster.schema.model import SObject
from isync_dagster.schema.snapshot import OrgIdentity, Snapshot, did_you_mean
from isync_dagster.store.layout import JobKey
from isync_dagster.store.runs import Run
from isync_dagster.store.store import Store
from isync_dagster.template.models import Template

__all__ = [
    "COLUMNS",
    "Compared",
    "Difference",
    "OrgComparison",
    "Severity",
    "compare_orgs",
    "compare_template",
    "drift_of",
    "live_snapshot",
    "movable_objects",
]

DESCRIBES = 8
"""Describe calls at the same time."""
COMPARISON_VERSION = 1


@dataclass(frozen=True)
class OrgComparison:
    """The result: what was compared, every difference, and how far the data was known."""

    template: str
    source: OrgIdentity
    target: OrgIdentity
    objects: tuple[str, ...]
    differences: tuple[Difference, ...]
    counted_by: Mapping[str, str]
    """Source object -> where its counts come from; an object without counts is not in it."""
    notes: tuple[str, ...]
    compared_at: str
    live: bool

    @property
    def worst(self) -> Severity | None:
        """The highest severity, None where there is no difference."""
        return min((item.severity for item in self.differences), key=ORDER.__getitem__, default=None)

    def count(self, severity: Severity) -> int:
        """How many differences have a severity."""
        return sum(item.severity is severity for item in self.differences)

    @property
    def uncounted(self) -> int:
        """Differences above cosmetic whose rows were not counted."""
        return sum(item.rows is None and item.severity is not Severity.COSMETIC for item in self.differences)

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        if not self.differences:
            return f"No difference: {self.target.alias} takes all that {self.source.alias} has."
        parts = [f"{number:,} {_phrase(severity, number)}" for severity in Severity if (number := self.count(severity))]
        return f"{len(self.differences):,} differences: {', '.join(parts)}."

    def only(
        self, severities: Iterable[Severity] = (), kinds: Iterable[Kind] = (), objects: Iterable[str] = ()
    ) -> OrgComparison:
        """The same with just the differences of these severities, kinds and objects; nothing named admits all."""
        wanted, sorts, names = set(severities), set(kinds), {name.lower() for name in objects}
        kept = tuple(
            item
            for item in self.differences
            if (not wanted or item.severity in wanted)
            and (not sorts or item.kind in sorts)
            and (not names or names & {item.object.lower(), item.target_object.lower()})
        )
        return replace(self, differences=kept)

    def to_json(self) -> dict[str, Any]:
        """Plain data for --json and the store."""
        return {
            "version": COMPARISON_VERSION,
            "template": self.template,
            "source": {"alias": self.source.alias, "org_id": self.source.org_id, "name": self.source.name},
            "target": {"alias": self.target.alias, "org_id": self.target.org_id, "name": self.target.name},
            "compared_at": self.compared_at,
            "live": self.live,
            "objects": list(self.objects),
            "counts": {str(severity): self.count(severity) for severity in Severity},
            "counted_by": dict(self.counted_by),
            "notes": list(self.notes),
            "differences": [item.to_json() for item in self.differences],
        }

    def rows(self) -> list[dict[str, Any]]:
        """A flat row a difference, keys as in `COLUMNS`."""
        return [{name: row[name] for name in COLUMNS} for row in (item.to_json() for item in self.differences)]


def _phrase(severity: Severity, number: int) -> str:
    words = {Severity.BLOCKS: ("blocks", "block"), Severity.LOSES_DATA: ("loses data", "lose data")}
    one, many = words.get(severity, ("cosmetic", "cosmetic"))
    return one if number == 1 else many


@dataclass(frozen=True)
class Compared:
    """The result with all that it was made from: what a resolution works with."""

    result: OrgComparison
    pairs: tuple[Pair, ...]
    source: Snapshot
    target: Snapshot


def live_snapshot(org: Org, names: Iterable[str], *, required: bool) -> Snapshot:
    """Describes of these objects, as the org gives them now; what it does not have is left out, or refused.

    Raises `SnapshotError` with the nearest names where `required`.
    """
    listed = {str(item["name"]).lower(): str(item["name"]) for item in org.describe_global()}
    wanted = list(dict.fromkeys(names))
    unknown = [name for name in wanted if name.lower() not in listed]
    if unknown and required:
        raise SnapshotError(
            "\n".join(
                f"The org {org.alias!r} shows its user no object {name!r}{did_you_mean(name, listed.values())}"
                for name in unknown
            )
        )
    spelled = [listed[name.lower()] for name in wanted if name.lower() in listed]
    with ThreadPoolExecutor(DESCRIBES, thread_name_prefix="describe") as pool:
        described = list(pool.map(org.describe, spelled))
    return Snapshot(org.identity(), datetime.now(UTC), {item.name: item for item in described})


def movable_objects(org: Org) -> list[str]:
    """The objects of an org that hold records a migration could carry, for `--all`."""
    return [
        str(item["name"])
        for item in org.describe_global()
        if item.get("queryable") and item.get("createable") and not item.get("deprecatedAndHidden")
        and not str(item["name"]).endswith(("__mdt", "__Share", "__History", "__Feed", "__ChangeEvent", "__Tag"))
    ]  # fmt: skip


def compare_template(
    template: Template,
    source: Snapshot,
    target: Snapshot,
    *,
    org: Org | None,
    store: Store | None,
    with_data: bool = False,
    live: bool = True,
) -> Compared:
    """Compare what a template moves. `org` is the source, asked for counts (None: extracts only)."""
    pairs = pairs_of(template, source, target)
    phases = {name: _phases(template, name) for name in (pair.source for pair in pairs)}
    key = (source.identity.org_id, target.identity.org_id, template.name)

    def runs(object: str) -> Sequence[Run]:
        if store is None:
            return ()
        names = phases.get(object) or _phases(template, object)
        found = [store.runs(JobKey(*key, phase)).latest() for phase in names]
        return [run for run in found if run is not None] if None not in found else ()

    return _compared(
        template.name, pairs, source, target, org, where_of(template, source, target), runs, with_data, live
    )


def compare_orgs(
    source: Snapshot,
    target: Snapshot,
    *,
    org: Org | None,
    with_data: bool = False,
    live: bool = True,
    names: Iterable[str] | None = None,
) -> Compared:
    """Compare the objects that `source` holds (or those named) with those of the same name in `target`."""
    pairs = tuple(Pair(name, name) for name in (source.objects if names is None else names))
    return _compared("", pairs, source, target, org, {}, lambda _: (), with_data, live)


def drift_of(snapshot: Snapshot, live: Snapshot, names: Iterable[str]) -> OrgComparison:
    """How an org's describes differ now from its snapshot, in both directions; nothing is asked of the rows.

    Raises `ConfigError` where the snapshot is of another org.
    """
    was, now = snapshot.identity, live.identity
    if was.org_id != now.org_id:
        raise ConfigError(
            f"The snapshot of {was.alias!r} is of org {was.org_id}, and orgs.yaml leads to {now.org_id} ({now.name}). "
            f"Check orgs.yaml; if the org is meant to be another one: `isync orgs snapshot {was.alias}`."
        )
    pairs = tuple(Pair(name, name) for name in names)
    found = compare(pairs, {name: snapshot.object(name) for name in names}, live.objects, both_ways=True)
    return OrgComparison(
        template="",
        source=replace(was, alias=f"snapshot of {was.alias}"),
        target=now,
        objects=tuple(pair.source for pair in pairs),
        differences=found.differences,
        counted_by={},
        notes=(f"The snapshot was taken {snapshot.fetched_at.isoformat(timespec='minutes')}.",),
        compared_at=datetime.now(UTC).isoformat(timespec="seconds"),
        live=True,
    )


def _phases(template: Template, object: str) -> list[str]:
    named = [phase.name for phase in template.phases if object.lower() in {line.lower() for line in phase.lines}]
    return named if template.phases else ["all"]


def _compared(
    name: str, pairs: Sequence[Pair], source: Snapshot, target: Snapshot, org: Org | None, where: Mapping[str, str],
    runs: Any, with_data: bool, live: bool,
) -> Compared:  # fmt: skip
    if source.identity.org_id == target.identity.org_id:
        raise ConfigError(
            f"Source {source.identity.alias!r} and target {target.identity.alias!r} are the same org "
            f"({source.identity.org_id}). Check the two entries in orgs.yaml."
        )
    first = compare(pairs, source.objects, target.objects)
    rows = RowsOf(org, source.objects, where, _prefixes(org, source.objects), runs)
    usage = find_out(rows, first.questions, with_data=with_data)
    judged = compare(pairs, source.objects, target.objects, usage.answers) if usage.answers else first
    result = OrgComparison(
        template=name,
        source=source.identity,
        target=target.identity,
        objects=tuple(pair.source for pair in pairs),
        differences=judged.differences,
        counted_by={object: ", ".join(sorted(by)) for object, by in sorted(usage.counted_by.items())},
        notes=(*_stale(judged), *usage.refused),
        compared_at=datetime.now(UTC).isoformat(timespec="seconds"),
        live=live,
    )
    return Compared(result, tuple(pairs), source, target)


def _stale(judged: Comparison) -> Iterable[str]:
    left = sum(item.rows is None and item.severity is not Severity.COSMETIC for item in judged.differences)
    if left:
        yield (
            f"{left:,} differences above cosmetic are judged without a count, as if rows were touched; --with-data reads "
            "the columns that no query can count."
        )


def _prefixes(org: Org | None, objects: Mapping[str, SObject]) -> dict[str, str]:
    known = {item.name.lower(): item.key_prefix for item in objects.values() if item.key_prefix}
    for item in org.describe_global() if org is not None else ():
        if item.get("keyPrefix"):
            known.setdefault(str(item["name"]).lower(), str(item["keyPrefix"]))
    return known
