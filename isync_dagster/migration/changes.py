"""The target's rows from what was read of them before and what was saved since: the same rows that a whole read gives.

    target/<Object>/part-*.parquet   the rows, and of each the stamps (`records.undo.STAMPS`)
    target/<Object>/base.json        what a later read may rest on: when the read began, its fields, the last whole read, and
                                     the run whose read it is equal to, where nothing has changed since
    target/<Object>/whole.json       why the object was read whole

A record that was inserted, updated, undeleted or reparented by a merge has a new `SystemModstamp`; one that was deleted or
merged away is shown by `queryAll`; and the number of records there are now must come out, so that what nothing shows (a
purge, a record that the user sees no more) is noticed. Wherever that does not hold for an object or a field, or a record
has slipped through between the calls, the object is read whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import polars as pl
from upath import UPath

from isync_dagster.errors import RequestError
from isync_dagster.migration import reading
from isync_dagster.migration.live import live, user_of
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.side_by_side import side_by_side
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.typing import typed
from isync_dagster.records.undo import STAMPS
from isync_dagster.salesforce.org import Deleted
from isync_dagster.schema.model import Field
from isync_dagster.store import files

STAMP = "SystemModstamp"
OVERLAP = timedelta(minutes=15)
"""How far before the earlier read the search for changes begins: a transaction is visible only when it ends, with the
stamps of its course; Salesforce ends one after ten minutes."""
SECOND = timedelta(seconds=2)
"""What a stamp does not tell apart: orgs stamp whole seconds."""
WHOLE_EVERY = timedelta(days=30)
"""How long reads rest on the last whole one."""
SHARE = 4
"""Where more than one row in so many has changed, the object is read whole."""


@dataclass(frozen=True)
class Base:
    """An earlier read of all rows of an object of the target."""

    folder: UPath
    object: str
    fields: tuple[Field, ...]
    since: datetime
    """When it began, by the target's clock."""
    whole_at: datetime
    """When the last whole read that it rests on began."""
    rows: int
    user: str
    """Who read it: another user may see other records."""

    def scan(self) -> pl.LazyFrame:
        """Its rows."""
        return reading.scan(self.folder, self.fields)


def stamped(job: SyncJob, object: str, fields: Sequence[Field]) -> tuple[Field, ...]:
    """The fields to read of an object of the target, its stamps with them."""
    there = live(job, job.target, object)
    known = {field.name for field in fields}
    return (*fields, *(f for name, f in STAMPS.items() if name not in known and there.field(name) is not None))


def remember(
    job: SyncJob,
    folder: UPath,
    fields: Sequence[Field],
    since: datetime,
    whole_at: datetime | None = None,
    same: str | None = None,
) -> None:
    """Note beside a read what a later one may rest on once it is complete; `whole_at` where it is not whole itself, `same`
    the folder of the run whose read it is equal to."""
    kinds = {field.name: field.type for field in fields}
    noted = {"fields": kinds, "since": since, "whole_at": whole_at or since, "user": user_of(job.target), "same": same}
    files.write_json(folder / "base.json", noted)


def same_as(folder: UPath) -> str | None:
    """The name of the run's folder whose read of the object the one in `folder` found unchanged, None else."""
    noted = files.read_json(folder / "base.json")
    return None if noted is None or reading.recorded(folder) is None else noted.get("same")


def base_in(folder: UPath, object: str, fields: Sequence[Field]) -> Base | None:
    """The read in `folder` where it is complete and has just these fields, None else."""
    noted, read = files.read_json(folder / "base.json"), reading.recorded(folder)
    if noted is None or read is None or noted["fields"] != {field.name: field.type for field in fields}:
        return None
    since, whole = (datetime.fromisoformat(noted[name]) for name in ("since", "whole_at"))
    return Base(folder, object, tuple(fields), since, whole, read.rows, noted["user"])


def obstacle(job: SyncJob, base: Base) -> str | None:
    """Why changes of this object cannot be told by its stamps, in words; None where they can."""
    if job.plan.settings.target_reads == "whole":
        return "the template says `target_reads: whole`"
    there = live(job, job.target, base.object)
    if there.field(STAMP) is None:
        return f"the object has no {STAMP}"
    if job.target.time_passed() - base.whole_at > WHOLE_EVERY:
        return f"the last whole read is of {base.whole_at:%Y-%m-%d}"
    if user_of(job.target) != base.user:
        return "another user read it before, who may see other records"
    for field in base.fields:
        now = there.field(field.name)
        if now is None or field.name == "Id" or field.name in STAMPS:
            continue
        if now.calculated or not (now.createable or now.updateable or now.auto_number):
            # A formula, a roll-up, a copy of another record's value: it changes and the stamp does not.
            return f"{field.name} can change without the record being saved"
    return None


def lay(job: SyncJob, wanted: Sequence[tuple[Base, ObjectPlan, UPath]]) -> dict[UPath, str]:
    """Make each folder hold the object's rows as they are now, from its base; folder -> why that could not be.

    A folder is complete or has no manifest. All objects are asked for together, five queries a call.
    """
    why: dict[UPath, str] = {}
    open_: list[tuple[Base, ObjectPlan, UPath]] = []
    for base, plan, folder in wanted:
        told = obstacle(job, base)
        if told is None:
            open_.append((base, plan, folder))
        else:
            why[folder] = told
    if not open_:
        return why
    now = job.target.time_passed()
    asked: list[str | Deleted] = []
    for base, _, _ in open_:
        asked += _questions(job, base)
    try:
        answers = iter(job.target.queries(asked, most=reading.REST_ROWS))
    except RequestError as error:
        if len(open_) == 1:
            return {**why, open_[0][2]: f"the org does not tell what changed: {error}"}
        # One object that cannot be asked like this does not spoil the others.
        for item in open_:
            why |= lay(job, [item])
        return why
    given = [[next(answers) for _ in _questions(job, base)] for base, _, _ in open_]
    looks = [partial(_look, job, base, answer, folder) for (base, _, folder), answer in zip(open_, given, strict=True)]
    seen = [(*item, look) for item, look in zip(open_, side_by_side(looks, "changes"), strict=True)]
    # A record that a lookup pointed at is gone: whether emptying that lookup is told by a stamp is not relied on.
    lost = {base.object for base, _, _, found in seen if isinstance(found, str) or len(found.gone)}
    for base, plan, folder, found in seen:
        if isinstance(found, str):
            why[folder] = found
        elif to := next((name for item in plan.lookups for name in item.target.reference_to if name in lost), None):
            why[folder] = f"records of {to} are gone, which a lookup may have pointed at"
        elif told := _laid(job, base, found, folder):
            why[folder] = told
        else:
            same = None if found.changed.height or len(found.gone) else base.folder.parent.parent.name
            remember(job, folder, base.fields, now, base.whole_at, same)
    for folder in why:
        files.remove_tree(folder)
    return why


@dataclass(frozen=True)
class _Seen:
    """What is there now and was not, or not so, in the base."""

    count: int
    changed: pl.DataFrame
    """`Id`, `SystemModstamp` of records that were saved since."""
    gone: pl.Series
    """Ids of the base that were deleted or merged away."""


def _questions(job: SyncJob, base: Base) -> list[str | Deleted]:
    after = f"{STAMP} >= {(base.since - OVERLAP).strftime('%Y-%m-%dT%H:%M:%SZ')}"
    asked: list[str | Deleted] = [
        f"SELECT COUNT() FROM {base.object}",
        f"SELECT Id, {STAMP} FROM {base.object} WHERE {after}",
    ]
    if live(job, job.target, base.object).field("IsDeleted") is not None:
        asked.append(Deleted(f"SELECT Id FROM {base.object} WHERE IsDeleted = true AND {after}"))
    return asked


def _look(job: SyncJob, base: Base, given: Sequence[pl.DataFrame | int], folder: UPath) -> _Seen | str:
    """What the answers to `_questions` say of the base, or why it cannot be told from them."""
    count, stamps, *deleted = given
    assert isinstance(count, pl.DataFrame)
    fields = (Field(name="Id", type="id"), STAMPS[STAMP])
    if isinstance(stamps, int):
        # Many were saved of late: their ids and stamps only, to be compared with those that are known.
        place = folder / "stamps"
        reading.read(
            job,
            job.target,
            object=base.object,
            fields=fields,
            where=f"{STAMP} >= {(base.since - OVERLAP).strftime('%Y-%m-%dT%H:%M:%SZ')}",
            folder=place,
            stage="match",
            at_least=stamps,
        )
        saved = reading.scan(place, fields)
    else:
        saved = typed(stamps.select("Id", STAMP).lazy(), fields)
    known = base.scan().select("Id", STAMP)
    # Bounded: one more than a share of the rows.
    most = max(base.rows // SHARE, reading.REST_ROWS)
    # Saved again within the second in which it was read, a record has the stamp that it had.
    lately = saved.filter(pl.col(STAMP) >= base.since - SECOND)
    differing = pl.concat([saved.join(known, on=["Id", STAMP], how="anti", nulls_equal=True), lately])
    changed = differing.unique("Id", keep="any").head(most + 1).collect()
    files.remove_tree(folder / "stamps")
    if changed.height > most:
        return f"more than {most:,} of {base.rows:,} records were saved since"
    gone = pl.Series("Id", [], dtype=pl.String)
    for rows in deleted:
        if isinstance(rows, int):
            return f"{rows:,} records were deleted since"
        gone = pl.concat([gone, typed(rows.select("Id").lazy(), fields[:1]).collect()["Id"]])
    gone = known.select("Id").filter(pl.col("Id").is_in(gone.implode())).collect()["Id"]
    return _Seen(int(count.item(0, 0)), changed, gone)


def _laid(job: SyncJob, base: Base, seen: _Seen, folder: UPath) -> str | None:
    """Write the rows as they are now; why not, in words, where something does not come out."""
    fresh = _values(job, base, seen.changed, folder)
    if fresh is None:
        return "a record that was saved since was gone a moment later"
    replaced = pl.concat([seen.changed["Id"], seen.gone])
    left = _copy(base, replaced, folder)
    if left + fresh.height != seen.count:
        return f"{seen.count:,} records are there, {left + fresh.height:,} were expected"
    if fresh.height:
        files.write_parquet(folder / f"part-{len(_parts(base)):05d}.parquet", fresh)
    told = reading.Reading(
        folder, left + fresh.height, 0, 0.0, 0, f"{base.object} since {base.since.isoformat()}", seen.count, "changes"
    )
    files.write_json(folder / "manifest.json", told.to_json())
    return None


def _values(job: SyncJob, base: Base, changed: pl.DataFrame, folder: UPath) -> pl.DataFrame | None:
    """The rows of the changed records; None where one of them is there no more."""
    ids = changed["Id"]
    names = [field.name for field in base.fields]
    if ids.is_empty():
        return pl.DataFrame(schema=base.scan().collect_schema())
    if len(ids) <= reading.REST_ROWS:
        listed = ", ".join(f"'{value}'" for value in ids.sort())
        (raw,) = job.target.queries([f"SELECT {', '.join(names)} FROM {base.object} WHERE Id IN ({listed})"])
        assert isinstance(raw, pl.DataFrame)
        rows = typed(raw.select(names).lazy(), base.fields).collect()
    else:
        place = folder / "changed"
        oldest: datetime = changed.select(pl.col(STAMP).min()).item()
        reading.read(
            job,
            job.target,
            object=base.object,
            fields=base.fields,
            where=f"{STAMP} >= {oldest:%Y-%m-%dT%H:%M:%SZ}",
            folder=place,
            stage="match",
            at_least=len(ids),
        )
        # Bounded by a share of the object (`SHARE`).
        rows = reading.scan(place, base.fields).filter(pl.col("Id").is_in(ids.implode())).collect()
        files.remove_tree(place)
    return rows if rows.height == len(ids) else None


def _copy(base: Base, replaced: pl.Series, folder: UPath) -> int:
    """The base's rows but for the replaced ones; how many. A part that has none of those is taken as it is."""
    if replaced.is_empty():
        for name in _parts(base):
            files.copy(base.folder / name, folder / name)
        return base.rows
    rows = 0
    for name in _parts(base):
        part = files.scan(base.folder / name)
        hit = pl.col("Id").is_in(replaced.implode())
        total, touched = part.select(rows=pl.len(), touched=hit.sum()).collect().row(0)
        if touched:
            rows += files.write_parquet(folder / name, part.filter(~hit))
        else:
            files.copy(base.folder / name, folder / name)
            rows += int(total)
    return rows


def _parts(base: Base) -> list[str]:
    return [name for name in files.names(base.folder) if name.startswith("part-")]
