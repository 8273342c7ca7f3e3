"""What proves a migration: both laws from the store, counts and lookups from a re-read of the target."""

from __future__ import annotations

from typing import Any

import polars as pl

from isync_dagster.errors import ConfigError
from isync_dagster.migration.carried import may_stand, still_stands
from isync_dagster.migration.cleanup import missing_of
from isync_dagster.migration.dealing import deal
from isync_dagster.migration.extract import extracted
from isync_dagster.migration.lastlook import AT_LAST, LastLook
from isync_dagster.migration.left import verdicts_of
from isync_dagster.migration.links import LinkTotals, Logged, States, link_states, parts_of
from isync_dagster.migration.load import errors_in
from isync_dagster.migration.memory import behind, memory
from isync_dagster.migration.model import State, SyncJob, Verdict
from isync_dagster.migration.record_count import keep_verdict, record_count
from isync_dagster.migration.relationships import relationships
from isync_dagster.migration.relink import is_planned
from isync_dagster.migration.remap import has_rows, remap_outcome
from isync_dagster.migration.runs import latest_run
from isync_dagster.migration.target import as_matched, reread
from isync_dagster.migration.threshold import allowed_rejects
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store.runs import Run, RunState
from isync_dagster.store.scratch import scratch


def check_states(job: SyncJob, object: str) -> tuple[Verdict, ...]:
    """`conservation` and `rejected_rows`: what the audit log of an object says of its records."""
    return check_conservation(job, object), check_rejected_rows(job, object)


def check_conservation(job: SyncJob, object: str) -> Verdict:
    """Both laws: every record extracted has exactly one state, every lookup of it has one."""
    run, plan = _judged(job, object)
    if run is None:
        return _no_run(job, object, "conservation")
    ids = extracted(run, plan).select(source_id="Id")
    rows = strange = missing = 0
    states: dict[str, int] = {}
    without: list[dict[str, Any]] = []
    count, size = parts_of(run, plan)
    totals = LinkTotals(run, plan)
    with scratch() as place:
        everything = deal(ids, pl.col("source_id"), count, place / "ids")
        known = Logged.of(run, plan, parents=False, targets=False).dealt(count, place / "logged")
        for mine, part in zip(everything, known, strict=True):
            with memory().share(size):
                # Both laws look at the states of the part: they are told from the log once. Counts and ten ids come back.
                logged = part.settled()
                latest = logged.states
                total, counted, lost, found, foreign = pl.collect_all(
                    [
                        mine.select(pl.len()),
                        latest.group_by("state").len().sort("state"),
                        mine.join(latest, on="source_id", how="anti").select("source_id").head(10),
                        mine.join(latest, on="source_id", how="semi").select(pl.len()),
                        latest.join(mine, on="source_id", how="anti").select(pl.len()),
                    ]
                )
                totals.add(link_states(run, plan, logged=logged))
            rows, strange = rows + int(total.item()), strange + int(foreign.item())
            missing += int(total.item()) - int(found.item())
            for state, number in counted.iter_rows():
                states[str(state)] = states.get(str(state), 0) + int(number)
            without += lost.head(10 - len(without)).to_dicts()
    states = dict(sorted(states.items()))
    links = totals.total()
    unaccounted = int(links.filter(pl.col("state").is_null())["rows"].sum()) if links.height else 0
    complete = int(links["rows"].sum()) == rows * len(plan.lookups) if links.height else not plan.lookups or not rows
    unknown = states.get(State.UNKNOWN, 0)
    passed = not missing and not strange and not unaccounted and complete and not unknown
    parts = ", ".join(f"{count:,} {state}" for state, count in states.items() if count)
    text = (
        f"{rows:,} extracted = {parts or 'nothing'}."
        if passed
        else (
            f"{rows:,} extracted, {sum(states.values()):,} accounted ({parts}): {missing:,} without a state, {strange:,} not extracted, "
            f"{unaccounted:,} lookups without a state, {unknown:,} unknown."
        )
    )
    return keep_verdict(
        job,
        run,
        object,
        "conservation",
        passed,
        text,
        numbers={"extracted": rows, **states, "without state": missing, "lookups without state": unaccounted},
        table=without or _link_table(links),
    )


def check_rejected_rows(job: SyncJob, object: str) -> Verdict:
    """Failed and blocked rows stay within the template's threshold."""
    run, plan = _judged(job, object)
    if run is None:
        return _no_run(job, object, "rejected_rows")
    log = run.audit(object)
    states = log.states()
    failed, blocked = states.get(State.FAILED, 0), states.get(State.BLOCKED, 0)
    stuck = states.get(State.PENDING, 0)
    allowed = allowed_rejects(job, run, plan)
    passed = failed + blocked <= allowed and not stuck
    text = f"{failed:,} rows refused, {blocked:,} blocked; {allowed:,} are allowed."
    if stuck:
        text += f" {stuck:,} rows are not sent yet."
    return keep_verdict(
        job,
        run,
        object,
        "rejected_rows",
        passed,
        text,
        numbers={"failed": failed, "blocked": blocked, "pending": stuck, "allowed": allowed},
        table=[dict(row) for row in errors_in(log.standing())],
    )


def verify_target(job: SyncJob, object: str) -> tuple[Verdict, ...]:
    """`record_count`, `relationships`, `relinked` (where the object has a second pass), `fields`, `totals`: one re-read for all.

    What waits for the second pass is no good while that has not run.
    """
    run, plan = _judged(job, object)
    late = ("relinked", *AT_LAST) if plan.has_relink else AT_LAST
    if run is None:
        return tuple(_no_run(job, object, name) for name in ("record_count", "relationships", *late))
    decided = remap_outcome(run, object).states
    written = decided.get("insert", 0) + decided.get("update", 0)
    there = written + decided.get("identical", 0) + decided.get("existing", 0)
    if stood := _still_standing(job, run, plan, there):
        return stood
    with scratch() as place, behind(0):
        states = States.write(run, plan, place)
        last = LastLook(job, run, plan, states.all) if not plan.has_relink or is_planned(run, object) else None
        names = [lookup.target.name for lookup in plan.lookups]
        rows = reread(
            job, run, plan, dict.fromkeys([*names, *(last.wanted() if last else [])]), at_least=there, written=written
        )
        beside = states.beside(rows.select("Id", *names), place / "there")
        wanted = {"relationships": [lookup for lookup in plan.lookups if not lookup.deferred]}
        if plan.has_relink and last is not None:
            wanted["relinked"] = list(plan.deferred)
        found = [
            record_count(job, run, plan, beside, states.bytes),
            *relationships(job, run, plan, beside, states.bytes, wanted),
        ]
        if last is None:
            # Nothing was judged: what the run has done so far is not wrong for that.
            text = "The second pass has not run yet; materialize relink."
            return (*found, *(keep_verdict(job, run, object, name, False, text, severity="warn") for name in late))
        return (*found, *last.verdicts(rows))


# ── how ──────────────────────────────────────────────────────────────────────────────────────────────────


def _still_standing(job: SyncJob, run: Run, plan: ObjectPlan, there: int) -> tuple[Verdict, ...]:
    """The verdicts of the run before, where the target has not changed since, as this run found or finds it; none else."""
    verdicts = may_stand(job, run, plan, verdicts_of(plan))
    if not verdicts or (plan.has_relink and not is_planned(run, plan.object)):
        return ()
    if not as_matched(job, run, plan):
        # Whether something was saved tells, whatever it was.
        reread(job, run, plan, (), at_least=there, written=0)
        if not still_stands(run, plan):
            return ()
    for verdict in verdicts:
        run.write_verdict(plan.object, verdict.name, verdict.to_json())
    return verdicts


def _judged(job: SyncJob, object: str) -> tuple[Run | None, ObjectPlan]:
    plan = job.object(object)
    run = latest_run(job)
    if run is not None and run.state is RunState.ROLLED_BACK:
        # There is nothing left of it to judge; what it holds tells what was, not what is.
        return None, plan
    if run is not None and not (run.audit(object).parts() and has_rows(run, object)):
        if missing := missing_of(run):
            raise ConfigError(f"{object} cannot be checked any more: {'; '.join(missing)}.")
        raise ConfigError(f"{object} is not loaded in run {run.number} of phase {job.phase!r} yet: nothing to check.")
    return run, plan


def _link_table(links: pl.DataFrame) -> list[dict[str, Any]]:
    if not links.height:
        return []
    return links.pivot(on="state", index="field", values="rows").fill_null(0).to_dicts()


def _no_run(job: SyncJob, object: str, name: str) -> Verdict:
    latest = latest_run(job)
    why = "has not run yet" if latest is None else f"was rolled back (run {latest.number})"
    number = 0 if latest is None else latest.number
    return Verdict(name, object, job.phase, number, False, f"Phase {job.phase!r} {why}: nothing was judged.", "warn")
