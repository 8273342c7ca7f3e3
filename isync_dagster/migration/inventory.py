"""Inventory: every object of an org that could be migrated, with what decides whether it should be.

Few calls: one global describe, the org's own record counts a hundred objects a call, and exact counts and last changes
25 queries a call. Nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from isync_dagster.plan.forecast import storage_mb
from isync_dagster.plan.rules import REFERENCE_RULES, STANDARD_BOOK
from isync_dagster.salesforce.org import Org
from isync_dagster.template.models import DEFAULT_TRANSACTIONAL_OBJECTS, Template

BATCH = 25
"""Queries of one composite/batch call (Salesforce's limit)."""
COUNTS = 100
STAMPS = ("SystemModstamp", "LastModifiedDate", "CreatedDate")
SETUP = frozenset({*REFERENCE_RULES, "GroupMember", "QueueSobject", "PermissionSet", "PermissionSetAssignment"})
SETUP -= {STANDARD_BOOK}
COMPANIONS = ("Share", "History", "Feed", "ChangeEvent")
NOT_ROWS = ("__mdt", "__e", "__x", "__b", "__Share", "__History", "__Feed", "__ChangeEvent")
TEMPORARY = re.compile(
    r"(^|[_ ])(te?mp|temporary|staging|stage|stg|import|backup|bak|copy|old|test|deprecated|obsolete|legacy|archive|x)"
    r"([_ ]|\d|$)"
)
"""Words in a name or label that speak of a passing purpose; a standard object has none of them."""


@dataclass(frozen=True)
class Entry:
    """One object."""

    object: str
    label: str
    custom: bool
    records: int | None
    counted: str
    """exact (COUNT), approximate (the org's own count), or what stood in the way."""
    last_change: str | None
    """The newest SystemModstamp (else LastModifiedDate, CreatedDate), UTC; of deleted records none."""
    storage_mb: float
    templates: tuple[str, ...]
    looks: tuple[str, ...]
    """setup, transactional, temporary, obsolete, empty, custom setting."""
    why: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def inventory(org: Org, templates: Iterable[Template], months: int = 18) -> list[Entry]:
    """Every migration candidate of an org, biggest storage first.

    A candidate can be queried and created and is neither a companion (Share, History, Feed, ChangeEvent) nor metadata,
    an event, an external or a big object. `months` without a change make an object look obsolete.
    """
    org = org.reading()
    covered = covered_by(org.alias, templates)
    found = {str(item["name"]): item for item in org.describe_global() if is_candidate(item)}
    counts = _record_counts(org, list(found))
    exact = [name for name in found if name not in counts or name.lower() in covered]
    counted, refused = _counts(org, exact)
    filled = [name for name in found if counted.get(name, counts.get(name, 0))]
    changes = _last_changes(org, filled)
    now = datetime.now(UTC)
    entries = []
    for name, item in found.items():
        entry = Entry(
            object=name,
            label=str(item.get("label") or name),
            custom=bool(item.get("custom")),
            records=counted.get(name, counts.get(name)),
            counted="exact" if name in counted else "approximate" if name in counts else refused.get(name, "no count"),
            last_change=changes.get(name),
            storage_mb=0.0,
            templates=covered.get(name.lower(), ()),
            looks=(),
            why="",
        )
        size = round(storage_mb(name, entry.records or 0), 2)
        looks = dict(_looks(entry, bool(item.get("customSetting")), now, months))
        entries.append(replace(entry, storage_mb=size, looks=tuple(looks), why="; ".join(looks.values())))
    return sorted(entries, key=lambda entry: (-entry.storage_mb, -(entry.records or 0), entry.object))


def covered_by(alias: str, templates: Iterable[Template]) -> dict[str, tuple[str, ...]]:
    """Lower-case object -> names of the templates that read it from this org, or write it there."""
    found: dict[str, list[str]] = {}
    for template in templates:
        settings = {name.lower(): own for name, own in template.objects.items()}
        for line in template.lines:
            own = settings.get(line.object.lower())
            names = [line.object] if alias == template.source else []
            names += [(own.target_object if own else None) or line.object] if alias == template.target else []
            for name in names:
                found.setdefault(name.lower(), []).append(template.name)
    return {name: tuple(dict.fromkeys(named)) for name, named in found.items()}


def is_candidate(item: Mapping[str, Any]) -> bool:
    """True for an object of the global describe that a migration may carry (salesforce-api, global describe)."""
    name = str(item["name"])
    companion = name.endswith(NOT_ROWS) or item.get("associateEntityType") in COMPANIONS
    # Companions of standard objects have no key prefix of their own: AccountShare, CaseHistory, LeadFeed.
    companion = companion or (not item.get("keyPrefix") and name.endswith(COMPANIONS))
    wanted = item.get("queryable") and item.get("createable") and not item.get("deprecatedAndHidden")
    return bool(wanted) and not companion


def _looks(entry: Entry, setting: bool, now: datetime, months: int) -> Iterable[tuple[str, str]]:
    if entry.object in SETUP:
        yield "setup", "of every org itself: found by natural key, not migrated"
    if entry.object in DEFAULT_TRANSACTIONAL_OBJECTS:
        yield "transactional", "daily business rather than master data"
    if setting:
        yield "custom setting", "configuration: deploy it or load it by its owner"
    words = f"{re.sub(r'__c$', '', entry.object).lower()} {entry.label.lower()}"
    hit = TEMPORARY.search(words) if entry.custom else None
    if hit:
        yield "temporary", f"its name says {hit[2]!r}"
    if entry.records == 0:
        yield "empty", "no records"
    elif entry.last_change:
        since = now - datetime.fromisoformat(entry.last_change)
        if since > timedelta(days=months * 365.25 / 12):
            yield "obsolete", f"unchanged for {int(since.days / (365.25 / 12))} months"


def _record_counts(org: Org, names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(names), COUNTS):
        params = {"sObjects": ",".join(names[start : start + COUNTS])}
        answer = org.request("GET", "limits/recordCount", params=params).json()
        found |= {str(entry["name"]): int(entry["count"]) for entry in answer["sObjects"]}
    return found


def _counts(org: Org, names: Sequence[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Exact counts, and what the org said where it gave none."""
    answers = _asked(org, {name: f"SELECT COUNT() FROM {name}" for name in names})
    good = {name: int(answer["totalSize"]) for name, answer in answers.items() if isinstance(answer, dict)}
    bad = {name: _code(answer) for name, answer in answers.items() if not isinstance(answer, dict)}
    return good, bad


def _last_changes(org: Org, names: Sequence[str]) -> dict[str, str]:
    """The newest stamp of each object; one that lacks a field is asked for the next. The index answers, not a scan."""
    found: dict[str, str] = {}
    open_names = list(names)
    for stamp in STAMPS:
        queries = {name: f"SELECT {stamp} FROM {name} ORDER BY {stamp} DESC NULLS LAST LIMIT 1" for name in open_names}
        answers = _asked(org, queries)
        open_names = []
        for name, answer in answers.items():
            if not isinstance(answer, dict):
                open_names.append(name)
            elif answer.get("records") and answer["records"][0].get(stamp):
                found[name] = _iso(str(answer["records"][0][stamp]))
    return found


def _asked(org: Org, queries: Mapping[str, str]) -> dict[str, Any]:
    """The answer to each query, 25 a call: its JSON, or the list of errors of one that was refused."""
    names = list(queries)
    found: dict[str, Any] = {}
    for start in range(0, len(names), BATCH):
        some = names[start : start + BATCH]
        requests = [
            {"method": "GET", "url": f"v{org.api_version}/query?q={quote(queries[name], safe='')}"} for name in some
        ]
        body = {"haltOnError": False, "batchRequests": requests}
        answer = org.request("POST", "composite/batch", json=body, repeatable=True).json()
        found |= {name: item["result"] for name, item in zip(some, answer["results"], strict=True)}
    return found


def _code(answer: Any) -> str:
    first = answer[0] if isinstance(answer, list) and answer else {}
    return str(first.get("errorCode") or "no answer")


def _iso(text: str) -> str:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").astimezone(UTC).isoformat(timespec="seconds")
