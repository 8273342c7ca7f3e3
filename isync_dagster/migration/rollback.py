"""Rollback: undo what a run wrote to the target, in reverse, and account for every record of it.

    links that heals filled emptied ─► relinks undone ─► updated records restored ─► inserted records deleted, children first ─► refused restores once more

Each step goes object by object against the load order, in chunks with the ledger of the load (step `rollback-<n>`), so
that a rollback that was cut off goes on where it stopped. A record that is gone already is accounted, not an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import polars as pl

from isync_dagster.errors import ConfigError, DataError, UnsettledError
from isync_dagster.migration.chunks import cut
from isync_dagster.migration.cleanup import Kind, cleaned_kinds, require_kept
from isync_dagster.migration.load import claimed_ids, send_wave
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.outcomes import Measure, counts_by, measured
from isync_dagster.migration.relink import linked_rows
from isync_dagster.migration.remap import retried_paths
from isync_dagster.migration.rollback_audit import (
    DELETES,
    HELD,
    RELINKS,
    RELINKS_AGAIN,
    RESTORES,
    RESTORES_AGAIN,
    account,
    account_held,
    account_planned,
    last_words,
)
from isync_dagster.migration.rollback_effects import forget_pairs, restore_links
from isync_dagster.migration.rollback_model import ALREADY_GONE, Conflicts, RollbackPlan, RollbackResult
from isync_dagster.migration.rollback_others import Undoing
from isync_dagster.migration.rollback_plan import plan_run, restored_images, writable
from isync_dagster.migration.rollback_runs import guard_identity, guard_target, job_of, runs_to_undo
from isync_dagster.migration.steps import sender_of
from isync_dagster.migration.stopping import enter, stop_of
from isync_dagster.migration.target import described
from isync_dagster.migration.unhealing import empty_links, still_held, wait_again
from isync_dagster.migration.writing import hold_target, release_target
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.payload import changes
from isync_dagster.records.undo import delete_payload, restore_payload
from isync_dagster.salesforce.bulk_ingest import BulkIngest
from isync_dagster.store import files
from isync_dagster.store.lease import Lease
from isync_dagster.store.rollbacks import Rollback, next_rollback
from isync_dagster.store.runs import Run


def plan_rollback(
    job: SyncJob,
    number: int | None = None,
    *,
    conflicts: Conflicts | str = Conflicts.SKIP,
    include_later: bool = False,
    hard_delete: bool = False,
) -> tuple[RollbackPlan, ...]:
    """What `rollback` would do, run by run in its order; reads the target, writes to no org.

    Raises `ConfigError` where a run is open, or newer runs and later phases are in the way.
    """
    guard_identity(job)
    policy, undoing = Conflicts(conflicts), Undoing()
    plans = []
    with ExitStack() as stack:
        for run in runs_to_undo(job, number, include_later):
            going = next_rollback(run, preview=True)
            begun = going.begun()
            if begun is not None:
                plans.append(RollbackPlan.from_json({**begun["plan"], "begun": True}))
                continue
            # Later runs' records are looked at until the last plan is made.
            stack.callback(files.remove_tree, going.folder)
            _require_kept(run)
            plan = plan_run(job_of(job, run), going, policy, hard_delete, undoing)
            waiting = _in_flight(run)
            if waiting:
                note = f"{waiting} chunks of the run were never accounted: their outcome is read before anything is undone."
                plan = RollbackPlan.from_json({**plan.to_json(), "notes": [*plan.notes, note]})
            plans.append(plan)
    return tuple(plans)


def rollback(
    job: SyncJob,
    number: int | None = None,
    *,
    conflicts: Conflicts | str = Conflicts.SKIP,
    include_later: bool = False,
    hard_delete: bool = False,
) -> tuple[RollbackResult, ...]:
    """Undo a run (`number`, else the newest that is not rolled back); resumes one that was cut off.

    With `include_later` newer runs and dependent phases are undone first. Raises `ConfigError` for what `plan_rollback`
    refuses, `OrgsError` for production without consent, `DataError` where `stop` met a conflict: nothing was sent then.
    Refused records are states of its audit log, not exceptions. Stops before the next run where one is not through.
    """
    guard_target(job)
    results: list[RollbackResult] = []
    for run in runs_to_undo(job, number, include_later):
        results.append(_roll_back(job_of(job, run), run, Conflicts(conflicts), hard_delete))
        if results[-1].stopped:
            break
    return tuple(results)


def _roll_back(job: SyncJob, run: Run, conflicts: Conflicts, hard_delete: bool) -> RollbackResult:
    asked = job
    with measured() as measure, ExitStack() as stack:
        enter(job, run)
        lease = hold_target(job, run)
        stack.callback(release_target, job, run)
        stack.enter_context(stack.enter_context(run.claim("rollback", "run", job.opened_by)).keep())
        going = next_rollback(run)
        job = replace(job, cancelled=lambda: stop_of(asked, run) is not None)
        plan = _begin(job, going, conflicts, hard_delete)
        items = [job.object(item.object) for item in plan.objects]
        stopped = _undo(job, going, items, plan.hard_delete, lease)
        if stopped is not None:
            again = f"`isync rollback {job.plan.template} --phase {job.phase}` goes on with it"
            return _result(going, items, measure, stopped=f"{stopped}. {again}")
        for item in items:
            account(job, going, item)
        touched = sorted({*(item.object for item in items), *job.plan.phase(run.job.phase).objects})
        forgotten = sum(forget_pairs(job, going, name) for name in touched)
        waiting = job.store.pending(job.plan.source_org_id, job.plan.target_org_id).objects()
        reopened = sum(restore_links(job, going, name) for name in waiting) + wait_again(job, going)
        result = _result(going, items, measure, forgotten=forgotten, reopened=reopened)
        run.mark_rolled_back({"rollback": going.number, **result.to_json()}, by=job.opened_by)
        # Last: until it is there, a repeat comes this way again.
        going.finish(result.to_json())
        return result


def _begin(job: SyncJob, going: Rollback, conflicts: Conflicts, hard_delete: bool) -> RollbackPlan:
    """The plan that counts: the one it was begun with, or a new one, fixed before anything is sent."""
    begun = going.begun()
    if begun is None:
        _require_kept(going.run)
        _account_in_flight(job, going.run)
        plan = plan_run(job, going, conflicts, hard_delete)
        if conflicts is Conflicts.STOP and plan.in_conflict:
            raise DataError(_why_not(plan), conflicts=plan.in_conflict)
        if plan.hard_delete:
            _try_hard_delete(job, plan)
        for item in plan.objects:
            account_planned(going, job.object(item.object))
        going.begin({"at": job.store.clock(), "by": job.opened_by, "plan": plan.to_json()})
        begun = going.begun()
        assert begun is not None
    plan = RollbackPlan.from_json(begun["plan"])
    if (plan.conflicts, plan.hard_delete) != (conflicts, hard_delete):
        how = f"--conflicts {plan.conflicts}" + (" --hard-delete" if plan.hard_delete else "")
        raise ConfigError(
            f"The rollback of run {plan.run} of phase {plan.phase!r} was begun with {how} and must be gone on with so; what "
            "it leaves can be rolled back again with other options.",
            run=plan.run,
        )
    return plan


def _require_kept(run: Run) -> None:
    """Refuse a run of which cleanup has removed what tells what it wrote."""
    kinds = [Kind.AUDIT_LOG, Kind.BEFORE_IMAGES, *([Kind.ROWS] if _in_flight(run) else [])]
    require_kept(run, kinds, f"A rollback of run {run.number} of phase {run.job.phase!r}")


def _try_hard_delete(job: SyncJob, plan: RollbackPlan) -> None:
    """Prove by an empty job that the user may delete for good, before anything is sent; `RequestError` where not."""
    first = next((item.target_object for item in plan.objects if item.delete), None)
    if first is not None:
        bulk = BulkIngest(job.target)
        bulk.abort(bulk.create(first, "hardDelete").id)


def _why_not(plan: RollbackPlan) -> str:
    found = [
        f"{item.object} {sample['target_id']}: {sample['code']} ({sample['message']})"
        for item in plan.objects
        for sample in item.samples
        if sample["code"] != ALREADY_GONE
    ]
    return (
        f"Run {plan.run} of phase {plan.phase!r}: {plan.in_conflict} records are in conflict and the policy is stop, so "
        f"nothing was undone. Such as {'; '.join(found[:5])}. `--conflicts skip` leaves them, `force` undoes them all the same."
    )


# ── what the run itself left in flight ───────────────────────────────────────────────────────────────────


def _in_flight(run: Run) -> int:
    """Chunks of a run that was given up, of which something was sent that is not accounted."""
    return sum(
        state not in ("planned", "failed", "done")
        for step, object in run.ledgers()
        if not step.startswith("rollback")
        for _, state in run.ledger(step, object).states().values()
    )


def _account_in_flight(job: SyncJob, run: Run) -> None:
    """Read the outcome of what a dead worker sent, so that nothing which arrived is missed; nothing is sent."""
    for step, object in run.ledgers():
        if step.startswith("rollback"):
            continue
        plan = job.object(object)
        sender = sender_of(job, run, plan, step)
        for number in sender.ledger.pending():
            try:
                sender.resume(number)
                while not sender.account(number):
                    sender.settle(number, claimed_ids(job, run, plan))
            except UnsettledError:
                # Accounted as `unknown`, and shown as such: the plan cannot say more.
                continue


# ── the steps ────────────────────────────────────────────────────────────────────────────────────────────


def _undo(job: SyncJob, going: Rollback, items: Sequence[ObjectPlan], hard_delete: bool, lease: Lease) -> str | None:
    """All steps; why it stopped early, or None."""
    delete = "hardDelete" if hard_delete else "delete"
    run = going.run

    def why_stop() -> str | None:
        stop = stop_of(job, run)
        return None if stop is None else f"it was stopped: {stop.why}"

    stopped = empty_links(job, going, lease.check, why_stop)
    if stopped is not None:
        return stopped
    held = still_held(job, going)
    for item in items:
        account_held(going, item, held)
    steps: list[tuple[int, str, Callable[[ObjectPlan], pl.LazyFrame | None]]] = [
        (RELINKS, "update", lambda item: _relinks(job, going, item)),
        (RESTORES, "update", lambda item: _restores(job, going, item, False)),
        (DELETES, delete, lambda item: _deletable(going, item)),
        (RELINKS_AGAIN, "update", lambda item: _refused(_restores(job, going, item, True), going, item, RELINKS)),
        (RESTORES_AGAIN, "update", lambda item: _refused(_restores(job, going, item, False), going, item, RESTORES)),
    ]
    for step, operation, payload in steps:
        for item in items:
            rows = payload(item)
            if rows is None:
                continue
            for wave, part in _waves(rows, step):
                stopped = _send(job, going, item, wave, operation, part, lease, why_stop)
                if stopped is not None:
                    return stopped
    return None


def _waves(rows: pl.LazyFrame, step: int) -> list[tuple[int, pl.LazyFrame]]:
    """The parts of a step that are sent one after the other."""
    if step != DELETES:
        return [(step, rows)]
    levels = rows.select(pl.col("_wave").unique().sort(descending=True)).collect()["_wave"].to_list()
    return [
        (DELETES + number, delete_payload(rows.filter(pl.col("_wave") == level))) for number, level in enumerate(levels)
    ]


def _send(
    job: SyncJob,
    going: Rollback,
    item: ObjectPlan,
    wave: int,
    operation: str,
    rows: pl.LazyFrame,
    lease: Lease,
    why_stop: Callable[[], str | None],
) -> str | None:
    sender = sender_of(job, going.run, item, going.step)
    mark = sender.ledger.folder / f"wave-{wave:05d}.json"
    if not files.exists(mark):
        count = 0
        for chunk, part in cut(job, sender.ledger, rows, operation, wave):
            sender.plan_chunk(chunk, part)
            count += 1
        files.write_json(mark, {"chunks": count})
    return send_wave(job, going.run, item, sender, wave, lease.check, why_stop=why_stop)


def _pending(going: Rollback, item: ObjectPlan, action: str) -> pl.LazyFrame:
    """Records that are to be deleted or restored: `_row`, `_source_id`, `_target_id`, `_wave`."""
    rows = files.scan(going.records(item.object))
    rows = rows.filter((pl.col("state") == State.PENDING) & (pl.col("action") == action))
    return rows.select("_row", "_source_id", "_target_id", "_wave")


def _deletable(going: Rollback, item: ObjectPlan) -> pl.LazyFrame:
    """Records that are to be deleted and that every child has let go of."""
    held = going.audit(item.object).read().filter(pl.col("attempt") == HELD).select(_source_id="source_id")
    return _pending(going, item, "delete").join(held, on="_source_id", how="anti")


def _restores(job: SyncJob, going: Rollback, item: ObjectPlan, second_pass: bool) -> pl.LazyFrame | None:
    """Updated records with the values from before the run's load, or from before its second pass; None without."""
    before = restored_images(job, going.run, item, second_pass)
    if before is None:
        return None
    rows = _pending(going, item, "restore").join(before, left_on="_target_id", right_on="Id", how="inner")
    return restore_payload(rows.sort("_row"), writable(job, item))


def _relinks(job: SyncJob, going: Rollback, item: ObjectPlan) -> pl.LazyFrame | None:
    """The second pass undone: in updated records what it wrote, in inserted ones what would forbid their deletion.

    That is a staged status (an activated order cannot be deleted) and lookups that restrict the deletion of their
    parent. Other lookups of records that are about to go are not worth a call.
    """
    parts = [_restores(job, going, item, True)]
    linked = _linked(going.run, item.object)
    back: dict[str, str | None] = {stage.target: stage.initial for stage in item.staged if stage.initial}
    back |= dict.fromkeys(_restricting(job, item))
    back = {name: value for name, value in back.items() if name in writable(job, item)}
    if back:
        rows, able = _pending(going, item, "delete"), pl.lit(list(back), dtype=pl.List(pl.String))
        if Kind.ROWS in cleaned_kinds(going.run):
            # Which of them it was is not known any more: to set back what is so already does no harm.
            rows = rows.with_columns(_changed=able)
        else:
            changed = linked.select("_source_id", _changed=pl.col("_changed").list.set_intersection(able))
            rows = rows.join(changed, on="_source_id", how="inner")
        rows = rows.filter(pl.col("_changed").list.len() > 0).sort("_row")
        parts.append(changes(rows, {name: pl.lit(value, dtype=pl.String) for name, value in back.items()}))
    found = [part for part in parts if part is not None]
    return pl.concat(found, how="diagonal").sort("_row") if found else None


def _linked(run: Run, object: str) -> pl.LazyFrame:
    """`_source_id` and `_changed` of the rows that the second passes of the run and of its retries have written."""
    late = linked_rows(run, object)
    paths = retried_paths(run, "relink", object)
    frames = [] if late is None else [late]
    frames += [files.scan(path) for path in paths]
    nothing = pl.LazyFrame(schema={"_source_id": pl.String, "_changed": pl.List(pl.String)})
    rows = pl.concat([nothing, *(frame.select("_source_id", "_changed") for frame in frames)])
    return rows.group_by("_source_id").agg(pl.col("_changed").list.explode().drop_nulls().unique())


def _restricting(job: SyncJob, item: ObjectPlan) -> list[str]:
    """Deferred lookups of an object that forbid the deletion of what they point at, by the parents' live describe."""
    names = []
    for lookup in item.deferred:
        if len(lookup.target.reference_to) > 1:
            continue  # a polymorphic lookup restricts nothing
        for parent in lookup.target.reference_to:
            children = described(job, parent).child_relationships
            if any(
                child.restricted_delete
                and (child.child_s_object, child.field) == (item.target_object, lookup.target.name)
                for child in children
            ):
                names.append(lookup.target.name)
    return names


def _refused(rows: pl.LazyFrame | None, going: Rollback, item: ObjectPlan, step: int) -> pl.LazyFrame | None:
    """Those of `rows` that a step could not restore: what stood in their way may be deleted now."""
    if rows is None:
        return None
    latest = last_words(going, item).filter((pl.col("_step") == step) & (pl.col("state") == State.FAILED))
    return rows.join(latest.select(_source_id="source_id"), on="_source_id", how="semi", maintain_order="left")


def _result(
    going: Rollback,
    items: Sequence[ObjectPlan],
    measure: Measure,
    *,
    forgotten: int = 0,
    reopened: int = 0,
    stopped: str = "",
) -> RollbackResult:
    logs = {item.object: going.audit(item.object).latest() for item in items}
    left = pl.col("state").is_in([State.SKIPPED, State.FAILED, State.PENDING]) & pl.col("code").is_not_null()
    job = going.run.job
    return RollbackResult(
        job.template,
        job.phase,
        going.run.number,
        going.number,
        states={name: counts_by(log, "state") for name, log in logs.items()},
        codes={name: counts_by(log.filter(left), "code") for name, log in logs.items()},
        forgotten=forgotten,
        reopened=reopened,
        calls=measure.calls,
        seconds=round(measure.seconds, 3),
        stopped=stopped,
    )
