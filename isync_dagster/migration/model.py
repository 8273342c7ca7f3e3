"""What the verbs take and give: a sync job and its options, outcomes, verdicts, the summary of a run.

Nothing here imports polars or simple_salesforce, so that the Dagster code location can name these types at
load without their cost.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isync_dagster.plan.model import ObjectPlan, PhasePlan, Plan
    from isync_dagster.salesforce.org import Org
    from isync_dagster.store.runs import JobKey
    from isync_dagster.store.store import Store


class State(StrEnum):
    """Where a source record in scope ends: exactly one of these, at any moment (the conservation law)."""

    INSERTED = "inserted"
    UPDATED = "updated"
    IDENTICAL = "identical"
    EXISTING = "existing"
    SKIPPED = "skipped"
    BLOCKED = "blocked"
    DROPPED = "dropped"
    FAILED = "failed"
    DELETED = "deleted"
    PENDING = "pending"
    UNKNOWN = "unknown"


class LinkState(StrEnum):
    """Where a lookup of a record ends: exactly one of these (the second law)."""

    LINKED = "linked"
    PENDING = "pending"
    DEFAULTED = "defaulted"
    DROPPED = "dropped"
    KEPT = "kept"
    FAILED = "failed"
    EMPTY = "empty"


IN_TARGET = (State.INSERTED, State.UPDATED, State.IDENTICAL, State.EXISTING)
"""States whose record has a counterpart in the target, so that lookups may point at it."""


@dataclass(frozen=True)
class RunOptions:
    """Switches of one run; the defaults are right for nearly every migration."""

    confirm_production: str = ""
    """The target's 18-character org id, typed by the person who starts a run that writes to production."""
    parallel_downloads: int = 4
    """Result pages of one extract that download at the same time."""
    split_rows: int = 2_000_000
    """Above so many rows an object is read in ranges of ids, of about so many rows, each a query job of its own."""
    parallel_ranges: int = 2
    """Ranges of one object that are read at the same time."""
    parallel_jobs: int = 2
    """Bulk ingest jobs of one object that run at the same time."""
    chunk_bytes: int = 90_000_000
    """Size of one Bulk ingest upload in bytes; Salesforce takes 100 MB of raw CSV."""
    lock_attempts: int = 4
    """How often rows refused with a transient code are sent again within a run."""
    batch_rows: int = 10_000
    """Rows of one batch of the platform: siblings share one, and rows that must go alone go by so many in a job."""
    collections_rows: int = 200
    """Updates of at most this many rows go by one sObject collections call instead of a Bulk job."""
    jobs_on_cancel: str = "wait"
    """What becomes of Bulk jobs in flight when the run is cancelled: `wait` for them, or `abort` them."""
    api_budget: str = ""
    """Share of an org's daily API calls at which the run stops (`90%`); empty: as the template says."""
    spot_checks: int = 10
    """Readable (child, parent, parent) samples that a relationship check lists."""
    thorough: bool = False
    """Judge as `isync validate` does: as many fields of as many records as the template's `validation.rows` says, and
    the names of spot-checked records and their parents asked of both orgs."""


@dataclass(frozen=True)
class Progress:
    """One step of a long verb: `done` of `total` rows."""

    object: str
    stage: str
    message: str
    done: int = 0
    total: int = 0


def _silent(_: Progress) -> None:
    return None


def _never() -> bool:
    return False


@dataclass(frozen=True)
class SyncJob:
    """One (org pair, template, phase) with all that the verbs need to work on it."""

    plan: Plan
    phase: str
    source: Org
    target: Org
    store: Store
    options: RunOptions = field(default_factory=RunOptions)
    cancelled: Callable[[], bool] = _never
    """Looked at between calls: true asks the verb to stop cleanly."""
    progress: Callable[[Progress], None] = _silent
    templates_folder: Path = Path("templates")
    """Where the template lies: map files are named relative to it."""
    opened_by: str = "isync"
    """Who opened the run, as people would recognise it (a Dagster run id, a user)."""
    reads_only: bool = False
    """True for a scan: no org is written to, so that a production target needs no consent."""
    session: str = field(default_factory=lambda: secrets.token_hex(8))
    """All the work that was started at once has the same: a request to stop is for the sessions at work when it is made."""

    @property
    def key(self) -> JobKey:
        """The store's name of this sync job."""
        from isync_dagster.store.runs import JobKey

        return JobKey(self.plan.source_org_id, self.plan.target_org_id, self.plan.template, self.phase)

    @property
    def phase_plan(self) -> PhasePlan:
        """The plan of this job's phase."""
        return self.plan.phase(self.phase)

    def object(self, name: str) -> ObjectPlan:
        """The plan of one object."""
        return self.plan.object(name)

    def in_phase(self, name: str) -> bool:
        """True where the object is migrated in this phase."""
        return name in self.phase_plan.objects

    def for_phase(self, phase: str) -> SyncJob:
        """The same job for another phase."""
        return replace(self, phase=phase)


@dataclass(frozen=True)
class Outcome:
    """What one verb did for one object: counts for metadata, a preview for people."""

    object: str
    stage: str
    run: int
    rows: int = 0
    states: Mapping[str, int] = field(default_factory=dict)
    """Rows by decision (remap) or record state (load, relink)."""
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    preview: tuple[Mapping[str, Any], ...] = ()
    columns: tuple[tuple[str, str, str], ...] = ()
    """(name, type, description) of the frame that was written."""
    lineage: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Written column -> (source object, source field)."""
    errors: tuple[Mapping[str, Any], ...] = ()
    """Refused rows grouped: code, message, fields, rows, sample source id, advice."""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data, as the store keeps it beside the frame."""
        return {
            "object": self.object,
            "stage": self.stage,
            "run": self.run,
            "rows": self.rows,
            "states": dict(self.states),
            "numbers": dict(self.numbers),
            "calls": self.calls,
            "seconds": self.seconds,
            "bytes": self.bytes,
            "preview": [dict(row) for row in self.preview],
            "columns": [list(column) for column in self.columns],
            "lineage": {key: list(value) for key, value in self.lineage.items()},
            "errors": [dict(row) for row in self.errors],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        """Read what `to_json` gave."""
        return cls(
            **{
                **data,
                "preview": tuple(data.get("preview", ())),
                "columns": tuple((name, kind, text) for name, kind, text in data.get("columns", ())),
                "lineage": {key: (value[0], value[1]) for key, value in data.get("lineage", {}).items()},
                "errors": tuple(data.get("errors", ())),
                "notes": tuple(data.get("notes", ())),
            }
        )


@dataclass(frozen=True)
class Verdict:
    """The result of one check of one object in one phase."""

    name: str
    object: str
    phase: str
    run: int
    passed: bool
    text: str
    """One sentence that says what was found."""
    severity: str = "error"
    numbers: Mapping[str, int | float] = field(default_factory=dict)
    table: tuple[Mapping[str, Any], ...] = ()
    """Sample rows for people: spot-checks, missing records, refused rows."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, as the store keeps it."""
        return {
            "name": self.name,
            "object": self.object,
            "phase": self.phase,
            "run": self.run,
            "passed": self.passed,
            "text": self.text,
            "severity": self.severity,
            "numbers": dict(self.numbers),
            "table": [dict(row) for row in self.table],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Read what `to_json` gave."""
        return cls(**{**data, "table": tuple(data.get("table", ()))})


@dataclass(frozen=True)
class ObjectSummary:
    """One row of the closing table."""

    object: str
    target_object: str
    level: int
    extracted: int
    states: Mapping[str, int]
    links: Mapping[str, int]
    """Lookups by link state, all fields of the object together."""
    lookups_verified: int
    lookups_wrong: int
    errors: tuple[Mapping[str, Any], ...]
    dropped_fields: tuple[tuple[str, str], ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Summary:
    """A run as the person who signs it off reads it."""

    template: str
    phase: str
    run: int
    state: str
    source: str
    target: str
    source_org_id: str
    target_org_id: str
    t0: str
    closed_at: str
    objects: tuple[ObjectSummary, ...]
    warnings: tuple[str, ...]
    numbers: Mapping[str, int | float]
    report_path: str = ""
    opened_at: str = ""
    opened_by: str = ""
    used: tuple[Mapping[str, Any], ...] = ()
    """What each stage of each object took: stage, object, calls, seconds."""
    history: tuple[Mapping[str, Any], ...] = ()
    """What happened to the run: at, what, by."""
    spot_checks: tuple[Mapping[str, Any], ...] = ()
    """Lookups by the names of records: object, field, record, parent in the source, parent in the target, ids."""
    error_files: tuple[str, ...] = ()
    """CSV files of refused rows beside the report."""

    @property
    def kept(self) -> bool:
        """True where both laws hold, nothing is unknown and rejected rows stay within the threshold."""
        verdicts = [verdict for row in self.objects for verdict in row.verdicts]
        return bool(verdicts) and all(verdict.passed for verdict in verdicts if verdict.severity == "error")
