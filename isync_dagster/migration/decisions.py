"""What becomes of the rows of an object: transformed, resolved, matched, decided, all at once or in slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
from upath import UPath

from isync_dagster.migration.dealing import deal_out
from isync_dagster.migration.mapped import gone_parents, leave_alone, left_alone, out_of_sight
from isync_dagster.migration.memory import behind, memory
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.references import reference_map, standard_price_book
from isync_dagster.migration.slicing import bytes_behind, cut_rows, grouped, work_bytes, write_parts
from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.records.decide import decide, decide_unmatched, uncompared
from isync_dagster.records.ids import to18, unambiguous
from isync_dagster.records.match import claims, match, unmatched, with_claims
from isync_dagster.records.order import levels_of, load_order, waves
from isync_dagster.records.remap import resolve
from isync_dagster.records.transform import transform
from isync_dagster.store import files
from isync_dagster.store.runs import Run
from isync_dagster.store.scratch import scratch

PAIRS = {"source_id": pl.String, "target_id": pl.String}

NOT_ARRIVED = (State.FAILED, State.BLOCKED, State.DROPPED, State.SKIPPED, State.PENDING)
"""States of a parent of this run at which nothing can point."""


def write_decided(
    job: SyncJob, run: Run, plan: ObjectPlan, rows: pl.LazyFrame, there: pl.LazyFrame, by: Sequence[str]
) -> int:
    """Decide on the rows of an object and write them, in slices where they are more than a share of the memory."""
    folder = run.remap_folder(plan.object)
    size = work_bytes(run, plan, run.extract_folder(plan.object), run.folder / "target" / plan.object)
    count, share = memory().sliced(size)
    if count == 1:
        # Made before the share is taken: nothing else may be waited for while it is held.
        frame = decided(job, run, plan, rows, there, by=by)
        return write_parts(folder, [frame], share)
    with scratch() as place, behind(bytes_behind(job, run, plan.object)):
        return _write_slices(job, run, plan, rows, there, by, count, size, share, place)


def decided(
    job: SyncJob,
    run: Run,
    plan: ObjectPlan,
    rows: pl.LazyFrame,
    there: pl.LazyFrame,
    *,
    alone: bool = False,
    by: Sequence[str] | None = None,
) -> pl.LazyFrame:
    """Extracted `rows` of an object, transformed, resolved, matched to the target's rows (`there`), decided, in order.

    `by` are the fields of `load_order`. `alone` says that other rows of the object have gone before: a target record that is theirs matches none of these.
    """
    # Of the few that are tried again only what they name is looked at.
    frame = _resolved(job, run, plan, rows, _failed_parents(job, run, plan), named_only=alone)
    own, known = _id_map(job, run, plan), _known(run, plan, there)
    if _is_empty(known):
        frame, current = unmatched(frame), None
    else:
        frame, current = match(frame, plan, own, known), there
    if alone:
        frame = _not_of_others(frame, own)
    books = standard_price_book(job, run) if plan.wave_rule == "standard_price_book_first" else None
    return _ordered(frame, plan, current, left_alone(job, run, plan.object), by, books)


def _write_slices(
    job: SyncJob,
    run: Run,
    plan: ObjectPlan,
    rows: pl.LazyFrame,
    there: pl.LazyFrame,
    by: Sequence[str],
    count: int,
    size: int,
    share: int,
    scratch: Path,
) -> int:
    """As `decided` of all rows, slice by slice: of id maps, target rows and parents that failed only what a slice names."""
    lookup = plan.lookup(by[0]) if by else None
    failed = _failed_parents(job, run, plan, scratch)
    own = _id_map(job, run, plan)
    known = _known(run, plan, there)
    books = standard_price_book(job, run) if plan.wave_rule == "standard_price_book_first" else None
    left = left_alone(job, run, plan.object)
    with memory().share(share):
        slices = cut_rows(rows, count, None if lookup is None else lookup.source.name, scratch)
    # Rows contend for the target's records, and stand above each other, across slices.
    nothing = _is_empty(known)
    apart = nothing and plan.wave_rule != "self_levels"
    frames: list[pl.LazyFrame] = []
    now = [item for item in plan.lookups if not (item.deferred or item.kept or waits_for_level(plan, item))]
    columns = [(item.source.name, item) for item in now]
    for number, group in enumerate(grouped(slices)):
        pairs = near_pairs(job, run, columns, group, share, scratch / f"group-{number:05d}")
        frames += [_resolved(job, run, plan, rows, failed, named_only=True, near=pairs) for rows in group]
    if apart:
        parts = [_ordered(unmatched(frame), plan, None, left, by, books) for frame in frames]
        return write_parts(run.remap_folder(plan.object), parts, share)
    for number, frame in enumerate(frames):
        with memory().share(share):
            frames[number] = _spilled(frame, scratch / f"resolved-{number:05d}.parquet")
    with memory().share(size // 2):
        levels = levels_of(pl.concat(frames), plan) if plan.wave_rule == "self_levels" else None
        if nothing:
            parts = [_ordered(unmatched(frame), plan, None, left, by, books, levels) for frame in frames]
        else:
            matched = _matched_slices(plan, frames, own, known, there, scratch)
            parts = [_ordered(frame, plan, near, left, by, books, levels) for frame, near in matched]
    return write_parts(run.remap_folder(plan.object), parts, share)


def _matched_slices(
    plan: ObjectPlan,
    frames: Sequence[pl.LazyFrame],
    own: pl.LazyFrame,
    known: pl.LazyFrame,
    there: pl.LazyFrame,
    scratch: Path,
) -> list[tuple[pl.LazyFrame, pl.LazyFrame]]:
    """Each slice (`frames`) as `match` gives it, and the rows of the target that it is compared with: both are dealt out to the
    slices in one pass."""
    number = pl.lit(0, dtype=pl.UInt32).alias("_slice")
    whole = pl.concat([frame.with_columns(number + place) for place, frame in enumerate(frames)])
    found = _spilled(claims(whole, plan, own, known, ["_slice"]), scratch / "claims.parquet")
    mine = deal_out(found, pl.col("_slice"), len(frames), scratch / "claims")
    wanted = found.select("_slice", Id="_target_id").drop_nulls().unique()
    near = deal_out(there.join(wanted, on="Id", how="inner"), pl.col("_slice"), len(frames), scratch / "near")
    return [
        (with_claims(frame, part.drop("_slice")), rows.drop("_slice"))
        for frame, part, rows in zip(frames, mine, near, strict=True)
    ]


def _spilled(frame: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    """`frame`, written down and read again, so that what it took to make is not taken twice."""
    files.write_parquet(UPath(path), frame)
    return files.scan(UPath(path))


def _resolved(
    job: SyncJob,
    run: Run,
    plan: ObjectPlan,
    rows: pl.LazyFrame,
    failed: pl.LazyFrame | None,
    *,
    named_only: bool = False,
    near: Mapping[str, pl.LazyFrame] | None = None,
) -> pl.LazyFrame:
    """Extracted rows, transformed, their lookups resolved; `named_only`: of id maps only what they name is looked at.

    `near` has the pairs of a lookup's target field that are enough for these rows, where they were read before.
    """

    def pairs(lookup: Lookup) -> pl.LazyFrame:
        if not named_only:
            return pairs_of(job, run, lookup)
        return named_pairs(job, run, lookup, rows, lookup.source.name, near or {})

    lookups = [replace(lookup, deferred=True) if waits_for_level(plan, lookup) else lookup for lookup in plan.lookups]
    return resolve(transform(rows, plan), lookups, pairs, failed_parents=failed)


def near_pairs(
    job: SyncJob,
    run: Run,
    lookups: Sequence[tuple[str, Lookup]],
    group: Sequence[pl.LazyFrame],
    share: int,
    scratch: Path,
) -> dict[str, pl.LazyFrame]:
    """`pairs_of` of what the rows of several slices name, read once for all of them and written down, by target field.

    `lookups`, each with the column of the rows that holds its parents; those that no id map resolves are left out, and all of
    them where there is one slice alone.
    """
    found: dict[str, pl.LazyFrame] = {}
    if len(group) == 1:
        return found
    rows = pl.concat(group)
    for number, (column, lookup) in enumerate(lookups):
        if lookup.parents or lookup.others:
            # Made before the share is taken: nothing else may be waited for while it is held.
            pairs = pairs_of(job, run, lookup, _named(rows, column))
            with memory().share(share):
                found[lookup.target.name] = _spilled(pairs, scratch / f"near-{number:03d}.parquet")
    return found


def named_pairs(
    job: SyncJob, run: Run, lookup: Lookup, rows: pl.LazyFrame, column: str, near: Mapping[str, pl.LazyFrame]
) -> pl.LazyFrame:
    """`pairs_of` of the records that a column of `rows` names: of what is `near` (`near_pairs`) where it has the lookup."""
    known = near.get(lookup.target.name)
    if known is None:
        return pairs_of(job, run, lookup, _named(rows, column))
    return known.join(_named(rows, column), on="source_id", how="semi")


def _named(rows: pl.LazyFrame, column: str) -> pl.LazyFrame:
    """`source_id` of the records that a column of ids names, each once."""
    return rows.select(source_id=to18(pl.col(column))).drop_nulls().unique()


def _is_empty(frame: pl.LazyFrame) -> bool:
    return frame.head(1).collect().is_empty()


def _known(run: Run, plan: ObjectPlan, there: pl.LazyFrame) -> pl.LazyFrame:
    """What exists in the target, shown by a query or not."""
    return pl.concat([there, out_of_sight(run, plan.object).select(Id="target_id")], how="diagonal")


def _ordered(
    frame: pl.LazyFrame,
    plan: ObjectPlan,
    there: pl.LazyFrame | None,
    left: pl.LazyFrame,
    by: Sequence[str] | None,
    books: pl.LazyFrame | None,
    levels: pl.LazyFrame | None = None,
) -> pl.LazyFrame:
    """A matched frame, decided, in the order in which it is sent."""
    if there is None:
        decided = decide_unmatched(frame, plan).with_columns(_left=pl.lit(None, dtype=pl.String))
        return uncompared(load_order(waves(decided, plan, books, levels), plan, by), plan)
    return load_order(waves(leave_alone(decide(frame, plan, there), left), plan, books, levels), plan, by)


def _not_of_others(frame: pl.LazyFrame, id_map: pl.LazyFrame) -> pl.LazyFrame:
    """A matched frame in which no row has a target record that is another source record's counterpart."""
    owners = id_map.select(_owner="source_id", _target_id="target_id").unique("_target_id", keep="any")
    taken = pl.col("_owner").is_not_null() & (pl.col("_owner") != pl.col("_source_id"))
    words = pl.format("the target record {} is the counterpart of {} already", "_target_id", "_owner")
    return (
        frame.join(owners, on="_target_id", how="left", maintain_order="left")
        .with_columns(
            _conflict=pl.when(taken).then(words).otherwise(pl.col("_conflict")),
            _matched_by=pl.when(taken).then(None).otherwise(pl.col("_matched_by")),
        )
        .with_columns(_target_id=pl.when(taken).then(None).otherwise(pl.col("_target_id")))
        .drop("_owner")
    )


def waits_for_level(plan: ObjectPlan, lookup: Lookup) -> bool:
    """True for the required self lookup of an object that is loaded level by level: load fills it, wave by wave."""
    return plan.wave_rule == "self_levels" and lookup.target.name == plan.self_level_field


def pairs_of(job: SyncJob, run: Run, lookup: Lookup, of: pl.LazyFrame | None = None) -> pl.LazyFrame:
    """source_id → target_id of everything that a lookup may point at: id maps and natural keys together, one row a source id.

    A record that they give different counterparts has none here: which one is meant would be a guess.

    With `of` (`source_id`) of those records alone, as far as id maps go.
    """
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    frames = [id_map.read(name, of).select("source_id", "target_id") for name in (*lookup.parents, *lookup.others)]
    frames += [reference_map(job, run, name).select("source_id", "target_id") for name in lookup.references]
    if not frames:
        return pl.LazyFrame(schema=PAIRS)
    # One id map has one row a source id as it is.
    return frames[0] if len(frames) == 1 and not lookup.references else unambiguous(pl.concat(frames))


def _id_map(job: SyncJob, run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """source_id → target_id of the object's own records as earlier runs left them."""
    own = (
        job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
        .read(plan.object)
        .select("source_id", "target_id")
    )
    if plan.object != "Pricebook2":
        return own
    # The standard price book exists in every org and cannot be inserted, whatever the match key says.
    standard = standard_price_book(job, run).select("source_id", "target_id")
    return pl.concat([standard, own.join(standard, on="source_id", how="anti")])


def _failed_parents(job: SyncJob, run: Run, plan: ObjectPlan, scratch: Path | None = None) -> pl.LazyFrame | None:
    """Parents of this run that did not reach the target, with the reason: what a blocked child names; None without any.

    With `scratch` they are written down there, a part of each log at a time.
    """
    why = pl.concat_str(["state", "code", "message"], separator=" ", ignore_nulls=True).alias("reason")
    frames = []
    for name in plan.parents:
        # Nearly always all have arrived, which the summary of the log tells: then no record of it is looked at.
        log = run.audit(name)
        if not job.in_phase(name) or not any(log.states().get(state) for state in NOT_ARRIVED):
            continue
        for number, part in enumerate(log.latest_in_parts()):
            lost = part.filter(pl.col("state").is_in(NOT_ARRIVED)).select("source_id", why)
            if scratch is not None:
                with memory().share(memory().slice_bytes):
                    lost = _spilled(lost, scratch / f"failed-{name}-{number:05d}.parquet")
            frames.append(lost)
    gone = gone_parents(job, [name for lookup in plan.lookups for name in (*lookup.parents, *lookup.others)])
    if not frames or gone is None:
        return pl.concat(frames) if frames else gone
    failed = pl.concat(frames)
    return pl.concat([failed, gone.join(failed, on="source_id", how="anti")])
