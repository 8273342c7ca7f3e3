"""Rows of the target: read once a run to match, and read again to verify."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial

import polars as pl
from upath import UPath

from isync_dagster.migration import reading
from isync_dagster.migration.changes import OVERLAP, SHARE, Base, base_in, lay, remember, stamped
from isync_dagster.migration.live import live
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.side_by_side import side_by_side
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.decide import target_fields
from isync_dagster.records.undo import STAMPS
from isync_dagster.schema.model import Field, SObject
from isync_dagster.store import files
from isync_dagster.store.runs import Run

ID = Field(name="Id", type="id")


def known_fields(plan: ObjectPlan) -> dict[str, Field]:
    """Target fields that the plan touches, by name, as the target describes them."""
    fields = {mapping.target.name: mapping.target for mapping in plan.fields}
    fields |= {lookup.target.name: lookup.target for lookup in plan.lookups}
    if plan.migration_key is not None:
        fields.setdefault(plan.migration_key, Field(name=plan.migration_key))
    return fields


def match_fields(plan: ObjectPlan) -> tuple[Field, ...]:
    """What a match and the comparison of a matched row need: Id, the key, every field that may be written."""
    return (ID, *target_fields(plan))


def needs_match(job: SyncJob, plan: ObjectPlan) -> bool:
    """True where a source record may have a counterpart already: by key, or by an earlier run's id map."""
    if plan.match_key or plan.migration_key or plan.object == "Pricebook2":
        return True
    return not job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).is_empty(plan.object)


def target_rows(job: SyncJob, run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """The target's rows to match against (`match_fields`, typed), read once a run and kept in the store.

    No rows are read, and the frame is empty, where nothing can match.
    """
    read_target(job, run, [plan])
    return reading.scan(target_folder(run, plan), match_fields(plan))


def read_target(job: SyncJob, run: Run, plans: Iterable[ObjectPlan]) -> None:
    """Read what `target_rows` gives of several objects: what has changed since an earlier run read it, all together; those
    that are read whole side by side."""
    wanted = [plan for plan in plans if reading.recorded(target_folder(run, plan)) is None and needs_match(job, plan)]
    later: list[tuple[Base, ObjectPlan, UPath]] = []
    for plan in wanted:
        folder = target_folder(run, plan)
        base = None if files.names(folder) else _earlier(job, run, plan)
        if base is not None:
            later.append((base, plan, folder))
    for folder, why in lay(job, later).items():
        files.write_json(folder / "whole.json", {"why": why})
    whole = [plan for plan in wanted if reading.recorded(target_folder(run, plan)) is None]
    side_by_side([partial(_read_whole, job, run, plan) for plan in whole], "match")


def _read_whole(job: SyncJob, run: Run, plan: ObjectPlan) -> None:
    """Read all rows of an object of the target."""
    folder = target_folder(run, plan)
    fields = stamped(job, plan.target_object, match_fields(plan))
    if not files.exists(folder / "began.json"):
        files.write_json(folder / "began.json", {"by_target": job.target.time_passed()})
    began = datetime.fromisoformat((files.read_json(folder / "began.json") or {})["by_target"])
    remember(job, folder, fields, began)
    reading.read(job, job.target, object=plan.target_object, fields=fields, folder=folder, stage="match")


def _earlier(job: SyncJob, run: Run, plan: ObjectPlan) -> Base | None:
    """The newest read of the object's rows by an earlier run; None where there is none, or of other fields."""
    fields = stamped(job, plan.target_object, match_fields(plan))
    for before in reversed(job.store.runs(job.key).list()):
        if before.number < run.number:
            base = base_in(target_folder(before, plan), plan.target_object, fields)
            if base is not None:
                return base
    return None


def target_folder(run: Run, plan: ObjectPlan) -> UPath:
    """Where the target's rows lie as they were read to match."""
    return run.folder / "target" / plan.object


def left_folder(run: Run, plan: ObjectPlan) -> UPath:
    """Where the stamps of the target's rows lie that the run before has left as they are (`left`): then none are read to match."""
    return run.folder / "left" / plan.object


def known_before(run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """`Id` of the target's rows as they were before the run sent any row of the object."""
    if _by_stamps(run, plan):
        return reading.scan(left_folder(run, plan), (ID,))
    return reading.scan(target_folder(run, plan), match_fields(plan)).select("Id")


def known_now(job: SyncJob, run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """As `known_before`; the rows are read to match where nothing is known of them yet."""
    if reading.recorded(left_folder(run, plan)) is None:
        read_target(job, run, [plan])
    return known_before(run, plan)


def reread(
    job: SyncJob, run: Run, plan: ObjectPlan, names: Iterable[str], *, at_least: int, written: int
) -> pl.LazyFrame:
    """Id, the named fields and the stamps (`stamp_fields`) of the target's rows as they are now; one of before is thrown away.

    `at_least` rows there are and `written` were sent, by what the run recorded. All checks of the object share it, and the
    end of the run takes its stamps from there. Where the run has read the rows to match and sent few, what changed since
    is read, and nothing where they are `as_matched`; checks alone (`thorough`) read all.
    """
    folder = verify_folder(run, plan)
    files.remove_tree(folder)
    known = known_fields(plan)
    fields = [ID, *(known[name] for name in names)]
    fields += [field for field in stamp_fields(job, plan.target_object) if field.name not in known]
    started = {"at": job.store.clock(), "by_target": job.target.time_passed()}
    matched, base = _matched(job, run, plan)
    few = base is not None and written <= base.rows // SHARE and {f.name for f in fields} <= {f.name for f in matched}
    if base is not None and few and as_matched(job, run, plan):
        return base.scan()
    if base is not None and few and not lay(job, [(base, plan, folder)]):
        files.write_json(started_path(run, plan), started)
        return reading.scan(folder, matched)
    files.write_json(started_path(run, plan), started)
    reading.read(
        job, job.target, object=plan.target_object, fields=fields, folder=folder, stage="verify", at_least=at_least
    )
    return reading.scan(folder, fields)


def as_matched(job: SyncJob, run: Run, plan: ObjectPlan) -> bool:
    """True where the rows that were read to match tell what the target has now: the run has sent nothing so far, of whatever
    object, and read them no longer ago than changes take to be seen. Checks alone (`thorough`) look for themselves."""
    _, base = _matched(job, run, plan)
    if base is None or job.target.time_passed() - base.since > OVERLAP:
        return False
    return not any(run.ledger(step, object).chunks() for step, object in run.ledgers())


def _matched(job: SyncJob, run: Run, plan: ObjectPlan) -> tuple[tuple[Field, ...], Base | None]:
    """The fields that are read to match, or stamps where those suffice, and that read of the run; None where there is none, or
    checks are to look anew."""
    fields = stamped(job, plan.target_object, match_fields(plan))
    if job.options.thorough:
        return fields, None
    if _by_stamps(run, plan):
        fields = (ID, *stamp_fields(job, plan.target_object))
        return fields, base_in(left_folder(run, plan), plan.target_object, fields)
    return fields, base_in(target_folder(run, plan), plan.target_object, fields)


def _by_stamps(run: Run, plan: ObjectPlan) -> bool:
    """True where of the target's rows no more than stamps was read."""
    return reading.recorded(target_folder(run, plan)) is None and reading.recorded(left_folder(run, plan)) is not None


def stamp_fields(job: SyncJob, target_object: str) -> tuple[Field, ...]:
    """Those of `records.undo.STAMPS` that the target's object has."""
    found = described(job, target_object)
    return tuple(field for name, field in STAMPS.items() if found.field(name) is not None)


def described(job: SyncJob, target_object: str) -> SObject:
    """The target's object as it describes itself, asked once a session."""
    return live(job, job.target, target_object)


def started_path(run: Run, plan: ObjectPlan) -> UPath:
    """Says when a re-read was begun: `at` by the worker's clock, `by_target` by the target's."""
    return verify_folder(run, plan) / "started.json"


def verify_folder(run: Run, plan: ObjectPlan) -> UPath:
    """Where a re-read lies, for the checks and the end of the run."""
    return run.folder / "verify" / "target" / plan.object
