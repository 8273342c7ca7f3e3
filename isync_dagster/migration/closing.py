"""The closing re-read: how the target's records were stamped when a run was through with them.

A rollback must not undo what people have changed since, and must not take the run's own second pass, roll-ups and
flows for such a change. So the last thing a run does is to take the stamps of the records that it wrote: from the
re-read of its check, and where the run was sending rows (of any object) while or after that was read, what was stamped
since, of several objects by one call (`SystemModstamp` is indexed). What others save meanwhile may be seen with an
older stamp than it has: then a rollback leaves it alone, as it should.

    closing/<Object>/part-*.parquet   Id, SystemModstamp, LastModifiedDate, LastModifiedById (those there are)
    closing/<Object>/base.json        where these are of all records, as the checks have judged them: what the next run may rest on
                                      (`left`); else why.json
    closing/<Object>/<step>.parquet   the same of what a retry or a heal wrote after the end
    closing/closed.json               the target's time, and the user that wrote
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.migration import reading
from isync_dagster.migration.changes import SECOND, STAMP, remember
from isync_dagster.migration.memory import memory
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.settling import user_id
from isync_dagster.migration.side_by_side import side_by_side
from isync_dagster.migration.target import ID, stamp_fields, started_path, verify_folder
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.typing import typed
from isync_dagster.records.undo import STAMPS, Window, merged
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype
from isync_dagster.store import files
from isync_dagster.store.ledger import ChunkState
from isync_dagster.store.runs import Run

AROUND = timedelta(hours=1)
"""How long before a run was opened a search for what it wrote begins: the clocks of orgs and workers may differ."""
ASK_BY_ID = 400
"""Up to so many records are read by id; more by one read of what was touched since the run was opened."""
ROW_BYTES = 150
"""What an id that is looked for takes."""
MARGIN = timedelta(seconds=5)
"""What is added to both ends of a time in which rows were sent: orgs stamp whole seconds, by their own clock."""


def read_stamps(job: SyncJob, run: Run, healed: datetime | None = None) -> None:
    """Keep the stamps of every record that the run wrote, unless that was done.

    `healed` is when links began to be filled just now, in the ledgers of other runs, by the target's clock. What a cut-off
    earlier call read is thrown away, since more may have been sent.
    """
    folder = run.folder / "closing"
    if files.exists(folder / "closed.json"):
        return
    files.remove_tree(folder)
    sent = _sendings(run)
    if healed is not None:
        sent.append((job.store.clock(), healed))
    later: list[tuple[ObjectPlan, datetime]] = []
    for plan in job.plan.objects:
        if not _was_written(run, plan):
            continue
        started = _checked(run, plan)
        if started is None:
            _read_all(job, run, plan)
            continue
        at, by_target = started
        # What was still being sent as the check read, or came after it; and what has the stamp of that very second, so that
        # it might have been saved twice in it.
        again = [min(began, by_target) for ended, began in sent if ended >= at]
        if _any_since(run, plan, by_target - SECOND):
            again.append(by_target - SECOND)
        if again:
            later.append((plan, min(again)))
        else:
            _keep(job, run, plan, None, by_target)
    if later:
        _read_later(job, run, later)
    looked = {"at": job.target.time_passed(), "by_worker": job.store.clock(), "user": user_id(job.target)}
    files.write_json(folder / "closed.json", looked)


def refresh_stamps(job: SyncJob, run: Run, *steps: str) -> None:
    """Read the stamps of the records that steps (a retry, a heal) wrote after the run had read them all.

    Of these records alone: to read the others anew would hide what people have changed since.
    """
    if closed(run) is None:
        return
    for plan in job.plan.objects:
        sent = pl.col("stage").is_in(steps) & pl.col("chunk").is_not_null()
        wrote = run.audit(plan.object).read().filter(sent).select(Id="target_id").drop_nulls().unique().sort("Id")
        # Bounded: one more than is asked for by id.
        few = wrote.head(ASK_BY_ID + 1).collect()["Id"]
        if few.is_empty():
            continue
        fields = (ID, *stamp_fields(job, plan.target_object))
        where = "Id IN ({})".format(", ".join(f"'{value}'" for value in few))
        if len(few) > ASK_BY_ID:
            where = touched_since(run, [field.name for field in fields])
        folder = stamps_folder(run, plan.object) / f"reading-{steps[0]}"
        files.remove_tree(folder)
        target = plan.target_object
        reading.read(job, job.target, object=target, fields=fields, where=where, folder=folder, stage="closing")
        rows = reading.scan(folder, fields).join(wrote, on="Id", how="semi")
        files.write_parquet(stamps_folder(run, plan.object) / f"{steps[0]}.parquet", rows)
        files.remove_tree(folder)


def closed(run: Run) -> dict[str, Any] | None:
    """`at` (the target's time, ISO), `by_worker` (the worker's) and `user` of the closing re-read, or None where there was none."""
    return files.read_json(run.folder / "closing" / "closed.json")


def stamps_folder(run: Run, object: str) -> UPath:
    """Where the stamps of an object's records lie."""
    return run.folder / "closing" / object


def stamps_of(run: Run, object: str) -> pl.LazyFrame:
    """Id and the stamps (`STAMPS`) of an object's records at the end of the run; null where the object lacks one."""
    schema = {"Id": pl.String(), **{name: dtype(field) for name, field in STAMPS.items()}}
    folder = stamps_folder(run, object)
    found = files.scan(folder / "part-*.parquet", schema)
    later = [name for name in files.names(folder) if name.endswith(".parquet") and not name.startswith("part-")]
    if not later:
        return found
    # Sorted are only the records that were written to after the end.
    newest = pl.coalesce("SystemModstamp", "LastModifiedDate")
    again = files.scan([folder / name for name in later], schema).sort(newest, nulls_last=False)
    again = again.unique("Id", keep="last", maintain_order=True)
    return pl.concat([found.join(again, on="Id", how="anti"), again])


def touched_since(run: Run, names: list[str]) -> str:
    """The condition that finds what was written since the run was opened; empty where nothing tells it."""
    return written_since(names, min(run.t0, run.opened_at) - AROUND)


def written_since(names: list[str], since: datetime) -> str:
    """The condition that finds what was written since then, by the best of the stamps among `names`; empty without any."""
    stamp = next((name for name in ("SystemModstamp", "LastModifiedDate", "CreatedDate") if name in names), None)
    return f"{stamp} >= {since.strftime('%Y-%m-%dT%H:%M:%SZ')}" if stamp else ""


def sending_windows(run: Run, after: datetime | None = None) -> list[Window]:
    """The times in which the run (its second pass, retries and rollbacks too) was sending rows, overlaps joined.

    `after`: only what was sent since, by the clock of the workers. Bounded by the chunks of its ledgers: two small files each.
    """
    windows: list[Window] = []
    for step, object in run.ledgers():
        ledger = run.ledger(step, object)
        for chunk, (last, _) in ledger.states().items():
            for attempt in range(1, last + 1):
                sent = ledger.entry(chunk, attempt, ChunkState.CREATED)
                ended = ledger.entry(chunk, attempt, ChunkState.DONE) or ledger.last(chunk)
                if sent is not None and ended is not None and (after is None or sent.at > after):
                    start = datetime.fromisoformat(sent.payload["sent_at"])
                    windows.append((min(start, sent.at) - MARGIN, max(start, ended.at) + MARGIN))
    return merged(windows)


def _was_written(run: Run, plan: ObjectPlan) -> bool:
    return any(part != "remap" for part in run.audit(plan.object).parts())


def _sendings(run: Run) -> list[tuple[datetime, datetime]]:
    """Of each chunk of the run's ledgers: when it was last written to, by the worker's clock; when it was first sent, by the target's."""
    found: list[tuple[datetime, datetime]] = []
    for step, object in run.ledgers():
        ledger = run.ledger(step, object)
        for chunk in ledger.chunks():
            first, last = ledger.entry(chunk, 1, ChunkState.CREATED), ledger.last(chunk)
            if last is not None:
                began = datetime.fromisoformat(first.payload["sent_at"]) if first is not None else run.t0 - AROUND
                found.append((last.at, began))
    return found


def _checked(run: Run, plan: ObjectPlan) -> tuple[datetime, datetime] | None:
    """When the re-read of the object's checks was begun, by the worker's clock and by the target's; None without one."""
    started = files.read_json(started_path(run, plan))
    if started is None or reading.recorded(verify_folder(run, plan)) is None:
        return None
    return datetime.fromisoformat(started["at"]), datetime.fromisoformat(started["by_target"])


def _read_all(job: SyncJob, run: Run, plan: ObjectPlan) -> None:
    fields = (ID, *stamp_fields(job, plan.target_object))
    reading.read(
        job,
        job.target,
        object=plan.target_object,
        fields=fields,
        where=touched_since(run, [field.name for field in fields]),
        folder=stamps_folder(run, plan.object),
        stage="closing",
    )


def _read_later(job: SyncJob, run: Run, later: list[tuple[ObjectPlan, datetime]]) -> None:
    """Read what was stamped since these times, of all objects together; one with much of it in a read of its own."""
    asked: list[tuple[ObjectPlan, tuple[Field, ...], str]] = []
    for plan, since in later:
        fields = (ID, *stamp_fields(job, plan.target_object))
        where = written_since([field.name for field in fields], since)
        if where:
            asked.append((plan, fields, where))
        else:
            _read_all(job, run, plan)
    looked = job.target.time_passed()
    texts = [
        f"SELECT {', '.join(field.name for field in fields)} FROM {plan.target_object} WHERE {where}"
        for plan, fields, where in asked
    ]
    answers = job.target.queries(texts, most=reading.REST_ROWS)

    def keep(plan: ObjectPlan, fields: tuple[Field, ...], where: str, rows: pl.DataFrame | int) -> None:
        if isinstance(rows, pl.DataFrame):
            seen = typed(rows.select([field.name for field in fields]).lazy(), fields)
            _keep(job, run, plan, seen, looked, rows.height)
            return
        folder = stamps_folder(run, plan.object) / "later"
        target = plan.target_object
        read = reading.read(
            job, job.target, object=target, fields=fields, where=where, folder=folder, stage="closing", at_least=rows
        )
        _keep(job, run, plan, reading.scan(folder, fields), looked, read.rows)
        files.remove_tree(folder)

    kept = [partial(keep, *item, rows) for item, rows in zip(asked, answers, strict=True)]
    side_by_side(kept, "closing")


def _any_since(run: Run, plan: ObjectPlan, since: datetime) -> bool:
    """True where a record that the check read has a stamp of then or later."""
    found = files.scan(verify_folder(run, plan) / "part-*.parquet", {STAMP: dtype(STAMPS[STAMP])})
    return not found.filter(pl.col(STAMP) >= since).head(1).collect().is_empty()


def _keep(
    job: SyncJob, run: Run, plan: ObjectPlan, later: pl.LazyFrame | None, looked: datetime, rows: int = 0
) -> None:
    """Keep the stamps of the object's records as its check read them, but for those that were read `later` (`rows`).

    Also of records that the run did not write: who asks looks for what it wrote. The next run may rest on them where they are of
    what the checks have judged: they are what there was when they were `looked` at, by the target's clock.
    """
    schema = {"Id": pl.String(), **{name: dtype(field) for name, field in STAMPS.items()}}
    # The stamps alone: they are kept longer than the values that a check has read.
    known = files.scan(verify_folder(run, plan) / "part-*.parquet", schema)
    folder, judged = stamps_folder(run, plan.object), True
    with memory().share(rows * ROW_BYTES):
        if later is not None:
            # A roll-up, a flow of another object's load, a person: what they wrote no check has seen.
            seen = known.join(later.select("Id"), on="Id", how="semi")
            judged = later.join(seen, on=["Id", STAMP], how="anti").head(1).collect().is_empty()
            known = pl.concat([known.join(later, on="Id", how="anti"), later], how="diagonal")
        kept = files.write_parquet(folder / "part-00000.parquet", known)
    if not judged:
        files.write_json(folder / "why.json", {"why": "records of it were saved after its checks had read them"})
        return
    remember(job, folder, (ID, *stamp_fields(job, plan.target_object)), looked)
    told = reading.Reading(folder, kept, 0, 0.0, 0, f"{plan.target_object} at the end of the run", kept, "the checks")
    files.write_json(folder / "manifest.json", told.to_json())
