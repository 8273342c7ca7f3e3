"""Cleanup: what runs keep longer than their template says is removed, after it was shown and recorded.

Kept for good: the id map, the pending links, and of every run its plan, states, ledger transitions and the record of
what cleanup removed. Never touched: open runs, runs with a step under way, and what a hold protects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store import files
from isync_dagster.store.rollbacks import unfinished
from isync_dagster.store.runs import JobKey, Run
from isync_dagster.store.store import Store
from isync_dagster.template.models import Retention

TRIES = 100


class Kind(StrEnum):
    """What a run keeps, by how long it is kept; the names are those of the template's `retention`."""

    ROWS = "rows"
    AUDIT_LOG = "audit_log"
    BEFORE_IMAGES = "before_images"
    REPORTS = "reports"


FOLDERS: Mapping[Kind, tuple[str, ...]] = {
    Kind.ROWS: (
        "extract",
        "references",
        "target",
        "left",
        "preflight",
        "mapped",
        "remap",
        "relink",
        "verify",
        "differences",
        "ledger",
        "heal",
        "retries",
        "upserts",
    ),
    Kind.AUDIT_LOG: ("audit",),
    Kind.BEFORE_IMAGES: ("before", "closing", "rollback"),
    Kind.REPORTS: ("report", "verdicts"),
}
"""Folders of a run by kind. What a rollback needs, and its own audit log, stay as long as the before-images."""

ROWS_ONLY = ("ledger", "heal", "retries", "rollback")
"""Folders of which only the Parquet files go; what was begun and done, small JSON files, stays."""

WHAT: Mapping[Kind, str] = {
    Kind.ROWS: "extracted, remapped and sent rows",
    Kind.AUDIT_LOG: "the audit log",
    Kind.BEFORE_IMAGES: "the before-images, and what its rollbacks did",
    Kind.REPORTS: "reports and verdicts",
}


@dataclass(frozen=True)
class Removal:
    """One kind of one run that is due."""

    run: Run
    kind: Kind
    files: int
    bytes: int
    ended: datetime
    days: int
    """How many days after its end the run keeps this kind."""

    @property
    def job(self) -> JobKey:
        """The sync job of the run."""
        return self.run.job


@dataclass(frozen=True)
class Protected:
    """One run that keeps what would be due, and why."""

    run: Run
    why: str


@dataclass(frozen=True)
class CleanupPlan:
    """What a cleanup would remove now, and what it leaves for a reason."""

    removals: tuple[Removal, ...]
    protected: tuple[Protected, ...]

    @property
    def bytes(self) -> int:
        """Bytes of all removals."""
        return sum(removal.bytes for removal in self.removals)

    @property
    def files(self) -> int:
        """Files of all removals."""
        return sum(removal.files for removal in self.removals)


def plan_cleanup(store: Store, retention: Mapping[str, Retention], templates: Iterable[str] = ()) -> CleanupPlan:
    """What is due, by the `retention` of each template (of one that is not named: the defaults); nothing is removed.

    With `templates` only their runs. The days count from the end of a run: closed or abandoned.
    """
    wanted = set(templates)
    removals: list[Removal] = []
    protected: list[Protected] = []
    for key in store.jobs():
        if wanted and key.template not in wanted:
            continue
        rules = retention.get(key.template, Retention())
        runs = store.runs(key)
        for run in runs.list():
            due = list(_due(run, rules, store.clock()))
            if not due:
                continue
            why = _why_protected(run, runs.hold)
            if why is None:
                removals += due
            else:
                protected.append(Protected(run, why))
    return CleanupPlan(tuple(removals), tuple(protected))


def apply_cleanup(plan: CleanupPlan, by: str) -> CleanupPlan:
    """Remove what the plan says; what was removed comes back. Each run's record is written before its files go.

    A run that got a hold, or was opened to a step, since the plan was made is left.
    """
    removed: list[Removal] = []
    protected: list[Protected] = []
    for removal in plan.removals:
        why = _why_protected(removal.run, _job_hold(removal.run))
        if why is not None:
            protected.append(Protected(removal.run, why))
            continue
        _record(removal, by)
        for path in _paths(removal.run, removal.kind):
            files.remove(path)
        removed.append(removal)
    return CleanupPlan(tuple(removed), tuple(protected))


def cleaned_kinds(run: Run) -> dict[Kind, str]:
    """What cleanup removed of a run: kind -> a sentence that says what, when, by whom and why."""
    found: dict[Kind, str] = {}
    for name in files.names(_records(run)):
        data = files.read_json(_records(run) / name)
        if data is not None:
            kind = Kind(data["kind"])
            found[kind] = (
                f"{WHAT[kind]} of run {run.number} of {run.job.template!r}, phase {run.job.phase!r}, were removed at "
                f"{data['at'][:19]} by {data['by']}: kept for {data['days']} days after its end ({data['ended'][:10]})"
            )
    return found


def missing_of(run: Run) -> tuple[str, ...]:
    """What of a run is missing because it was cleaned up, a sentence a kind."""
    return tuple(cleaned_kinds(run).values())


def require_kept(run: Run, kinds: Iterable[Kind], what_for: str) -> None:
    """Raise `StoreError` that says what is missing and why, where one of `kinds` was cleaned up."""
    cleaned = cleaned_kinds(run)
    missing = [cleaned[kind] for kind in kinds if kind in cleaned]
    if missing:
        raise StoreError(
            f"{what_for} is not possible any more: {'; '.join(missing)}. Longer `retention` in the template, or a hold "
            "(`isync hold`), keeps later runs.",
            run=run.number,
            missing=[str(kind) for kind in kinds if kind in cleaned],
        )


# ── how ──────────────────────────────────────────────────────────────────────────────────────────────────


def ended_at(run: Run) -> datetime | None:
    """When a run was closed or given up; None while it is open."""
    for change in run.transitions():
        if change["state"] != "open":
            return datetime.fromisoformat(change["at"])
    return None


def _due(run: Run, rules: Retention, now: datetime) -> Iterable[Removal]:
    ended = ended_at(run)
    if ended is None:
        return
    for kind in Kind:
        days = int(getattr(rules, kind))
        if now - ended < timedelta(days=days):
            continue
        sizes = [files.size(path) for path in _paths(run, kind)]
        if sizes:
            yield Removal(run, kind, len(sizes), sum(sizes), ended, days)


def _paths(run: Run, kind: Kind) -> list[UPath]:
    """The files of a kind that cleanup removes."""
    found = []
    for folder in FOLDERS[kind]:
        for name in files.find(run.folder / folder):
            if folder not in ROWS_ONLY or name.endswith(".parquet"):
                found.append(run.folder / folder / name)
    # Small, and what the links of the run have come to: a heal that is over is not to be begun anew.
    return [path for path in found if path.name != "healed.parquet"]


def _why_protected(run: Run, job_hold: Mapping[str, str] | None) -> str | None:
    if run.is_open:
        return "it is open"
    held = run.hold or job_hold
    if held is not None:
        return f"it is held: {held['why']}"
    if run.open_retry is not None:
        return "a retry of it is under way"
    if unfinished(run) is not None:
        return "its rollback is under way"
    for step, object in run.ledgers():
        if run.ledger(step, object).pending() and str(run.state) != "abandoned":
            return f"{step} of {object} is under way"
    return None


def _job_hold(run: Run) -> Mapping[str, str] | None:
    return files.read_json(run.folder.parent / "hold.json")


def _records(run: Run) -> UPath:
    return run.folder / "cleaned"


def _record(removal: Removal, by: str) -> None:
    folder = _records(removal.run)
    entry = {
        "kind": str(removal.kind),
        "files": removal.files,
        "bytes": removal.bytes,
        "days": removal.days,
        "ended": removal.ended,
        "at": removal.run.clock(),
        "by": by,
    }
    for number in range(1, TRIES):
        if files.create_if_absent(folder / f"{number:03d}-{removal.kind}.json", entry):
            return
    raise StoreError(f"What cleanup removes of {folder.parent} cannot be recorded: remove old entries of {folder}.")
