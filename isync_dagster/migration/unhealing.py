"""Links that other runs' heals have filled with what a rollback deletes: emptied first, and waiting again afterwards.

A rollback that deletes parents must not leave their children to what Salesforce does with them (some lookups forbid
the deletion, some delete the child along). Emptying is a heal backwards: a step `heal-<n>` of the run that remembered
the link, ledgered, with before-images and its rows in that run's audit log.

    rollback/<n>/healed/<Object>.parquet             the links, as the plan found them (`LINKS`)
    rollback/<n>/steps/<Object>.<phase>.<run>.json   the step of that run that empties them
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import polars as pl

from isync_dagster.migration.closing import refresh_stamps
from isync_dagster.migration.healed import steps_of
from isync_dagster.migration.healing import HealKeeper, HealStep, plan_heal
from isync_dagster.migration.load import is_through, send_wave
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.sending import Sender
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store import files
from isync_dagster.store.layout import encode
from isync_dagster.store.rollbacks import Rollback
from isync_dagster.store.runs import JobKey, Run, RunState

LINKS = {
    "source_id": pl.String(),
    "field": pl.String(),
    "source_parent_id": pl.String(),
    "parent_object": pl.String(),
    "target_parent_id": pl.String(),
    "phase": pl.String(),
    "run": pl.Int32(),
    "child": pl.String(),
}
"""A link that a heal filled: the record and the lookup that hold it, the parent in both orgs, the run that remembered
it, and the record's target id."""


def filled_links(job: SyncJob, rollback: Rollback, plan: ObjectPlan) -> pl.LazyFrame:
    """The links of an object that heals of other runs have filled (`LINKS`), whatever they hold now."""
    log = job.store.pending(job.plan.source_org_id, job.plan.target_org_id)
    own = (pl.col("phase") == rollback.run.job.phase) & (pl.col("run") == rollback.run.number)
    links = log.links(plan.object).filter((pl.col("template") == job.plan.template) & ~own)
    linked = (pl.col("healed") == "linked") & pl.col("target_parent_id").is_not_null()
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).read(plan.object)
    children = id_map.select("source_id", child="target_id")
    parts = [links.filter(linked).join(children, on="source_id", how="inner").select(list(LINKS))]
    for run in _runs(job, rollback):
        # A heal that was cut off: what it sent counts, though nothing of it is closed.
        for name in steps_of(run, plan.object):
            step = HealStep(run, plan, name, plan.lookups)
            if files.exists(step.rows) and not files.exists(step.done):
                parts += _begun(step)
    return pl.concat(parts).cast(pl.Schema(LINKS)).unique(["child", "field", "target_parent_id"])


def _runs(job: SyncJob, rollback: Rollback) -> Iterator[Run]:
    for phase in job.plan.phases:
        for run in job.store.runs(job.for_phase(phase.name).key).list():
            own = (run.job, run.number) == (rollback.run.job, rollback.run.number)
            if not own and run.state is not RunState.ROLLED_BACK:
                yield run


def _begun(step: HealStep) -> list[pl.LazyFrame]:
    rows = files.scan(step.rows)
    return [
        rows.filter(pl.col("_changed").list.contains(name) & pl.col(name).is_not_null()).select(
            source_id="_source_id",
            field=pl.lit(name),
            source_parent_id=pl.col(f"_from.{name}"),
            parent_object=pl.col(f"_object.{name}"),
            target_parent_id=pl.col(name),
            phase=pl.lit(step.run.job.phase),
            run=pl.lit(step.run.number, dtype=pl.Int32),
            child="_target_id",
        )
        for name in rows.collect_schema().names()
        if not name.startswith("_")
    ]


# ── emptied ──────────────────────────────────────────────────────────────────────────────────────────────


def empty_links(
    job: SyncJob, going: Rollback, check: Callable[[], None], why_stop: Callable[[], str | None]
) -> str | None:
    """Empty the planned links, before their parents are deleted; why it stopped early, or None."""
    # A stop of the rollback stops what it sends in the name of other runs.
    job = replace(job, cancelled=lambda: why_stop() is not None)
    for plan, run, links in _planned(job, going):
        step = _step(going, run, plan)
        sender = Sender(job, run, plan, step.name, HealKeeper(job, run, plan, step.name))
        if not files.exists(step.wave):
            if not files.exists(step.rows):
                files.write_parquet(step.rows, _rows(links))
            plan_heal(job, step, sender)
        stopped = send_wave(job, run, plan, sender, 0, check, why_stop=why_stop)
        if stopped is not None or not is_through(sender.ledger):
            return stopped or f"not every lookup of {plan.object} that holds what is deleted could be emptied"
    return None


def still_held(job: SyncJob, going: Rollback) -> pl.LazyFrame:
    """Target records that a child could not let go of, and so are not deleted: `_target_id`, `code`, `message`."""
    schema = dict.fromkeys(("_target_id", "code", "message"), pl.String())
    parts = [pl.LazyFrame(schema=schema)]
    for plan, run, links in _planned(job, going):
        refused = _refused(going, run, plan)
        told = pl.format(f"{plan.object} {{}} could not let it go: {{}}", "child", pl.col("message").fill_null(""))
        parts.append(
            links.join(refused, on="source_id", how="inner").select("code", _target_id="target_parent_id", message=told)
        )
    return pl.concat(parts, how="diagonal").group_by("_target_id").agg(pl.col("code", "message").first())


def wait_again(job: SyncJob, going: Rollback) -> int:
    """The emptied links wait for their parents again, in the memory of the run that knows them; how many."""
    log = job.store.pending(job.plan.source_org_id, job.plan.target_org_id)
    count = 0
    for plan, run, links in _planned(job, going):
        step = _step(going, run, plan)
        emptied = links.join(_refused(going, run, plan), on="source_id", how="anti")
        by = going.run.job
        # Our own write is no change by others, when that run is undone in its turn.
        refresh_stamps(job, run, step.name)
        log.add(
            plan.object,
            emptied.select("source_id", "field", "source_parent_id", "parent_object"),
            template=run.job.template,
            phase=run.job.phase,
            run=run.number,
            part=f"{going.step}-of-{by.phase}-{going.run.number}",
        )
        # The last file: a step that has it is over.
        healed = emptied.select("source_id", "field", how=pl.lit("pending"), target_parent_id="target_parent_id")
        count += files.write_parquet(step.done, healed)
    return count


def _planned(job: SyncJob, going: Rollback) -> Iterator[tuple[ObjectPlan, Run, pl.LazyFrame]]:
    """The planned links, by object and by the run that remembered them."""
    for plan in job.plan.objects:
        path = going.healed(plan.object)
        if not files.exists(path):
            continue
        links = files.scan(path, LINKS)
        for phase, number in links.select("phase", "run").unique().sort("phase", "run").collect().iter_rows():
            key = JobKey(job.plan.source_org_id, job.plan.target_org_id, job.plan.template, phase)
            run = job.store.runs(key).get(number)
            if run is not None:
                yield plan, run, links.filter((pl.col("phase") == phase) & (pl.col("run") == number))


def _step(going: Rollback, run: Run, plan: ObjectPlan) -> HealStep:
    """The step that empties: its number is fixed once, so that a repeat goes on with it."""
    path = going.folder / "steps" / f"{plan.object}.{encode(run.job.phase)}.{run.number}.json"
    known = (int(name.removeprefix("heal-")) for name in steps_of(run, plan.object))
    files.create_if_absent(path, {"step": f"heal-{max(known, default=0) + 1}"})
    return HealStep(run, plan, str((files.read_json(path) or {})["step"]), plan.lookups)


def _rows(links: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of the step, as a heal has them: what each lookup is to hold (nothing), and what it holds."""
    names = links.select(pl.col("field").unique().sort()).collect()["field"].to_list()
    rows = links.group_by("source_id", "child").agg(
        pl.col("field").alias("_changed"),
        *(
            pl.col(column).filter(pl.col("field") == name).first().alias(f"{prefix}.{name}")
            for name in names
            for prefix, column in (
                ("_from", "source_parent_id"),
                ("_object", "parent_object"),
                ("_now", "target_parent_id"),
            )
        ),
    )
    return rows.sort("source_id").select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("_row"),
        pl.col("source_id").alias("_source_id"),
        pl.col("child").alias("_target_id"),
        *(pl.lit(None, dtype=pl.String).alias(name) for name in names),
        *(f"{prefix}.{name}" for prefix in ("_from", "_object", "_now") for name in names),
        *(pl.lit(None, dtype=pl.String).alias(f"_how.{name}") for name in names),
        "_changed",
    )


def _refused(going: Rollback, run: Run, plan: ObjectPlan) -> pl.LazyFrame:
    """`source_id`, `code`, `message` of the records whose lookups could not be emptied."""
    mine = run.audit(plan.object).read().filter(pl.col("stage") == _step(going, run, plan).name)
    last = mine.group_by("source_id").agg(pl.col("code", "message", "state").max_by("attempt"))
    gone = pl.col("code").is_in(["ENTITY_IS_DELETED"])
    refused = (pl.col("code").is_not_null() & ~gone) | (pl.col("state") == State.PENDING)
    return last.filter(refused).select("source_id", "code", "message")
