"""What a repeat takes over from the run before: findings, decisions, verdicts and counts of objects of which nothing has changed.

A run that finds the same rows in the source, the same in the target, and the same counterparts of everything that they
point at, comes to the same decisions. So where all of that is proven of an object, what the run before recorded of it is
given a second place in this run instead of being worked out anew; each stage asks for itself. It is proven by

- the digests of the text that came from the source (`reading`), page by page;
- the read of the target, which found nothing saved, removed or added since the run before read it (`changes`), or, where the
  run before wrote to it, since that was through with it (`left`);
- the references by natural key, which are equal;
- the id maps: of what was added since the run before looked at them, the rows name nothing.

Only what needs no call is taken over: what the run before sent is identical now, and where a row of it was refused the
object is decided anew.

    carried/inputs.json      the run that is the base, or why there is none; how far the id map of each object was written
    carried/<Object>.json    the run that the decisions of an object are taken from, or why they are not; how far the id maps
                             were written that its lookups are resolved by
    carried/<Object>-relink.json    the same of its second pass
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from upath import UPath

from isync_dagster import __version__
from isync_dagster.migration import reading
from isync_dagster.migration.changes import same_as
from isync_dagster.migration.cleanup import cleaned_kinds
from isync_dagster.migration.counterparts import how_far, own_changed, parents_changed
from isync_dagster.migration.extract import extract_folders
from isync_dagster.migration.left import (
    SENT,
    inputs_of,
    lay_rows,
    lay_second_pass,
    look,
    states_before,
    was_sent,
    why_not_left,
)
from isync_dagster.migration.model import ObjectSummary, State, SyncJob, Verdict
from isync_dagster.migration.references import references_path
from isync_dagster.migration.target import left_folder, target_folder, verify_folder
from isync_dagster.plan.model import ObjectPlan, Policy
from isync_dagster.report.summary import summary_from_json
from isync_dagster.store import files
from isync_dagster.store.rollbacks import rollbacks
from isync_dagster.store.runs import Run, RunState

STANDING = frozenset({State.IDENTICAL, State.EXISTING, State.SKIPPED, State.DROPPED, State.BLOCKED})
"""States of records that nothing was sent for."""
BY_PARENT = frozenset({State.DROPPED, State.BLOCKED})
"""States whose reason may be what became of a parent."""
JUDGED = " Judged in run "
ABOUT_BEFORE = ("taken over from run", "decided anew:")


def note_inputs(job: SyncJob, run: Run) -> None:
    """Keep what a later run must know to rest on this one, and which run this one rests on; once, before it decides."""
    path = run.folder / "carried" / "inputs.json"
    if files.exists(path):
        return
    base, why = (None, "") if job.reads_only else _base(job, run)
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    written = {item.object: id_map.sequence(item.object) for item in job.plan.objects_in(job.phase)}
    states = {} if base is None else {item.object: dict(item.states) for item in _summary(base)}
    number = None if base is None else base.number
    noted = {"version": __version__, "base": number, "why": why, "states": states, "id_maps": written}
    files.write_json(path, noted)


def look_at_left(job: SyncJob, run: Run, plans: Iterable[ObjectPlan]) -> None:
    """Find out which objects stand in the target as the run before left them, where that is all that must be known of them."""
    base = _base_of(job, run)
    if base is not None:
        look(job, run, base, [plan for plan in plans if not _why_other_rows(run, base, plan) and _may_stand(run, plan)])


def same_rows(job: SyncJob, run: Run, plan: ObjectPlan) -> tuple[Run | None, str]:
    """The run before, where the object's rows in source and target and its references are as they were in it; else why not.

    Both are empty where there is no run to rest on. The target's rows have been read to match, or stand as they were left.
    """
    base = _base_of(job, run)
    if base is None:
        return None, str(inputs_of(run).get("why", ""))
    if why := _why_other_rows(run, base, plan) or _why_other_target(run, base, plan):
        return None, why
    if own_changed(job, run, base, plan, inputs_of(base)):
        return None, "counterparts of its records have changed"
    return base, ""


def take_decisions(job: SyncJob, run: Run, plan: ObjectPlan) -> tuple[Run | None, str]:
    """Give the decided rows of the run before a place in this one, where they stand; else why they do not, in words.

    The defaults of the plan's lookups are target ids. What is found is kept for the stages that come after.
    """
    now = [lookup for lookup in plan.lookups if not lookup.deferred]
    written, defaults = how_far(job, now), _defaults(plan)
    base, why = _same_decisions(job, run, plan)
    # What an attempt that was cut off has left there is of no use.
    files.remove_tree(run.remap_folder(plan.object))
    if base is not None:
        if was_sent(run, plan.object):
            if not lay_rows(base, run, plan):
                files.remove_tree(run.remap_folder(plan.object))
                why, base = f"run {base.number} has not recorded where all its rows are", None
        else:
            for name in files.names(base.remap_folder(plan.object)):
                if name != "manifest.json":
                    files.copy(base.remap_folder(plan.object) / name, run.remap_folder(plan.object) / name)
    _note(run, plan.object, base, why, {"id_maps": written, **({"defaults": defaults} if defaults else {})})
    return base, why


def take_second_pass(job: SyncJob, run: Run, plan: ObjectPlan, rows: str) -> bool:
    """Give the rows of the second pass (a file `rows` of its folder) a place in this run, where they stand."""
    written = {"id_maps": how_far(job, plan.deferred)}
    base, why = taken_from(job, run, plan.object), "decisions were made anew"
    if base is not None:
        there, noted = base.folder / "relink" / plan.object / rows, _noted(base, f"{plan.object}-relink")
        if not files.exists(there):
            why = f"run {base.number} has no second pass of it"
        elif parents_changed(job, run, base, plan, plan.deferred, noted):
            why = "counterparts of what its lookups point at have changed"
        else:
            if was_sent(run, plan.object):
                lay_second_pass(base, run, plan, rows)
            else:
                files.copy(there, run.folder / "relink" / plan.object / rows)
            _note(run, f"{plan.object}-relink", base, "", written)
            return True
    _note(run, f"{plan.object}-relink", None, why, written)
    return False


def taken_from(job: SyncJob, run: Run, object: str) -> Run | None:
    """The run that the decisions on an object were taken from, or None where this one made them."""
    noted = _noted(run, object)
    return None if noted.get("from") is None else job.store.runs(job.key).get(int(noted["from"]))


def may_stand(job: SyncJob, run: Run, plan: ObjectPlan, names: Sequence[str]) -> tuple[Verdict, ...]:
    """The verdicts `names` of the run before, as this run's own, where nothing but the target can have changed since.

    None of them where decisions were made anew, one did not pass, or more is asked for than the run before judged.
    """
    base = taken_from(job, run, plan.object)
    if (
        base is None
        or job.options.thorough
        or (plan.has_relink and not files.exists(_path(run, f"{plan.object}-relink")))
        or _is_other(run, plan)
    ):
        return ()
    if plan.has_relink and taken_from(job, run, f"{plan.object}-relink") is None:
        return ()
    judged_by = base.plan()["settings"].get("validation")
    if judged_by != job.plan.settings.model_dump(mode="json").get("validation"):
        return ()
    found = [files.read_json(base.layout.verdict(plan.object, name)) for name in names]
    verdicts = [Verdict.from_json(data) for data in found if data is not None and data["passed"]]
    if len(verdicts) < len(names):
        return ()
    return tuple(_as_of(verdict, run, base) for verdict in verdicts)


def same_links(job: SyncJob, run: Run, plan: ObjectPlan) -> dict[str, int] | None:
    """How many lookups ended in each state, by the summary of the run that the decisions and the second pass were taken
    from; None where this run made either of them."""
    base = taken_from(job, run, plan.object)
    if base is None or _is_other(run, plan):
        return None
    if plan.has_relink and taken_from(job, run, f"{plan.object}-relink") is None:
        return None
    return next((dict(row.links) for row in _summary(base) if row.object == plan.object), None)


def still_stands(run: Run, plan: ObjectPlan) -> bool:
    """True where the re-read of the target found it as it was when it was read to match, or found as it was left."""
    return same_as(verify_folder(run, plan)) == run.folder.name


def anew_or_taken(base: Run | None, why: str) -> tuple[str, ...]:
    """Whether decisions were taken over, and why not, in words; nothing where there is no run before."""
    if base is not None:
        return (f"{ABOUT_BEFORE[0]} {base.number}: nothing has changed since",)
    return (f"{ABOUT_BEFORE[1]} {why}",) if why else ()


# ── how ──────────────────────────────────────────────────────────────────────────────────────────────────


def _base(job: SyncJob, run: Run) -> tuple[Run | None, str]:
    """The run before this one, where it was brought to its end by the same plan and nothing was done to it since."""
    earlier = [item for item in job.store.runs(job.key).list() if item.number < run.number]
    if not earlier:
        return None, ""
    base = earlier[-1]
    state = base.state
    if state not in (RunState.CLOSED, RunState.ACCEPTED):
        return None, f"run {base.number} is {state}"
    if base.plan() != run.plan():
        return None, f"the template, or a describe snapshot, is not that of run {base.number}"
    if base.retries() or files.names(base.folder / "heal") or rollbacks(base):
        return None, f"rows of run {base.number} were sent again, filled or undone after it"
    if cleaned_kinds(base):
        return None, f"what run {base.number} kept was cleaned up"
    if inputs_of(base).get("version") != __version__:
        return None, f"run {base.number} was made by another version"
    return base, ""


def _base_of(job: SyncJob, run: Run) -> Run | None:
    """The run that this one rests on, as it was noted."""
    number = inputs_of(run).get("base")
    return None if number is None else job.store.runs(job.key).get(int(number))


def _why_other_rows(run: Run, base: Run, plan: ObjectPlan) -> str:
    """Why the rows of the source, or the references, are not those of `base`, in words; empty where they are."""
    if (came := _contents(run, plan)) is None or came != _contents(base, plan):
        return "rows of the source have changed"
    for name in sorted({name for lookup in plan.lookups for name in lookup.references} | _books(plan)):
        if not _equal(references_path(run, name), references_path(base, name)):
            return f"the {name} records that lookups are resolved by have changed"
    return ""


def _why_other_target(run: Run, base: Run, plan: ObjectPlan) -> str:
    """Why the object in the target is not as it was for `base`, in words; empty where it is."""
    if same_as(left_folder(run, plan)) == base.folder.name:
        return ""
    if was_sent(run, plan.object):
        return why_not_left(run, plan) or f"run {base.number} sent rows of it"
    there, before = target_folder(run, plan), target_folder(base, plan)
    unread = not (files.names(there) or files.names(before) or files.names(left_folder(base, plan)))
    return "" if unread or same_as(there) == base.folder.name else "rows of the target have changed"


def _is_other(run: Run, plan: ObjectPlan) -> bool:
    """True where records that were the business of the run before, since it inserted them, are none of this run's business: updates are off."""
    return not plan.update_existing and was_sent(run, plan.object)


def _may_stand(run: Run, plan: ObjectPlan) -> bool:
    """True where the run before left no record of the object that is to be sent."""
    return set(states_before(run, plan.object)) <= STANDING | SENT


def _same_decisions(job: SyncJob, run: Run, plan: ObjectPlan) -> tuple[Run | None, str]:
    base, why = same_rows(job, run, plan)
    if base is None:
        return None, why
    if not files.names(base.remap_folder(plan.object)) or not _may_stand(run, plan):
        return None, f"rows of it were refused in run {base.number}"
    noted = _noted(base, plan.object)
    if _defaults(plan) != noted.get("defaults", {}):
        return None, "the default of a lookup is another record"
    anew = [name for name in plan.parents if job.in_phase(name) and taken_from(job, run, name) is None]
    if anew and BY_PARENT & set(states_before(run, plan.object)):
        return None, f"rows of it were blocked or dropped, and {anew[0]} was decided anew"
    if parents_changed(job, run, base, plan, [lookup for lookup in plan.lookups if not lookup.deferred], noted):
        return None, "counterparts of what its lookups point at have changed"
    return base, ""


def _contents(run: Run, plan: ObjectPlan) -> list[list[str]] | None:
    """The digests of the pages of each read that makes an extract; None where a part has none."""
    found = []
    for folder in extract_folders(run, plan):
        done = reading.recorded(folder)
        if done is None or {name for name in files.names(folder) if name.startswith("part-")} != set(done.digests):
            return None
        found.append(sorted(done.digests.values()))
    return found


def _books(plan: ObjectPlan) -> set[str]:
    return (
        {"StandardPricebook2"}
        if plan.object == "Pricebook2" or plan.wave_rule == "standard_price_book_first"
        else set()
    )


def _equal(one: UPath, other: UPath) -> bool:
    """True where two small files of references have the same rows; where neither is there, too."""
    if not (files.exists(one) and files.exists(other)):
        return files.exists(one) == files.exists(other)
    frames = [files.scan(path).collect() for path in (one, other)]
    first, second = (frame.sort(frame.columns) for frame in frames)
    return first.equals(second)


def _defaults(plan: ObjectPlan) -> dict[str, str]:
    """The target ids that a missing parent becomes, by field."""
    found = {lookup.target.name: lookup.default for lookup in plan.lookups if lookup.policy is Policy.DEFAULT}
    return {name: str(default) for name, default in sorted(found.items())}


def _as_of(verdict: Verdict, run: Run, base: Run) -> Verdict:
    plain, _, judged = verdict.text.partition(JUDGED)
    number = judged.split(":")[0] if judged else str(base.number)
    text = f"{plain}{JUDGED}{number}: nothing has changed since."
    return Verdict.from_json({**verdict.to_json(), "run": run.number, "text": text})


def _summary(run: Run) -> tuple[ObjectSummary, ...]:
    data = run.summary()
    return () if data is None else summary_from_json(data).objects


def _noted(run: Run, name: str) -> dict[str, Any]:
    return files.read_json(_path(run, name)) or {}


def _note(run: Run, name: str, base: Run | None, why: str, more: dict[str, Any]) -> None:
    files.write_json(_path(run, name), {"from": None if base is None else base.number, "why": why, **more})


def _path(run: Run, name: str) -> UPath:
    return run.folder / "carried" / f"{name}.json"
