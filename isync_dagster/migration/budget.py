"""The API budget: runs that it stopped, and whether they may go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from isync_dagster.plan.model import Plan
from isync_dagster.salesforce.org import Org
from isync_dagster.store.runs import JobKey, Run
from isync_dagster.store.stops import StopKind
from isync_dagster.store.store import Store
from isync_dagster.template.models import share_of

ROOM = 0.02
"""Share of the allowance that must be free below the budget, so that a run does not stop again at once."""


@dataclass(frozen=True)
class Waiting:
    """An open run that the budget stopped, and that nothing has gone on with since."""

    phase: str
    run: Run
    stop: int
    why: str


def stopped_by_budget(store: Store, plan: Plan) -> Iterator[Waiting]:
    """The open runs of a template whose newest stop is the budget's, with no session since."""
    for phase in plan.phases:
        key = JobKey(plan.source_org_id, plan.target_org_id, plan.template, phase.name)
        run = store.runs(key).current()
        newest = run.stops.newest() if run is not None else None
        if run is None or newest is None or newest.kind is not StopKind.BUDGET:
            continue
        if run.stops.is_obeyed(newest.number):
            yield Waiting(phase.name, run, newest.number, newest.why)


def has_recovered(plan: Plan, orgs: Callable[[str], Org]) -> tuple[bool, str]:
    """Whether both orgs have room below the template's budget (one call each), and what was found, for people."""
    share = share_of(plan.settings.api_budget)
    said, free = [], True
    for alias in dict.fromkeys((plan.source_alias, plan.target_alias)):
        limit = orgs(alias).limits()["DailyApiRequests"]
        most, used = int(limit["Max"]), int(limit["Max"]) - int(limit["Remaining"])
        free = free and used <= max(share - ROOM, share / 2) * most
        said.append(f"{alias}: {used:,} of {most:,} calls used")
    return free, f"{'; '.join(said)}; the budget is {plan.settings.api_budget}"
