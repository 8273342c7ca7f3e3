"""Accepting a run: a person says that its result is good."""

from __future__ import annotations

from isync_dagster.errors import ConfigError, DataError
from isync_dagster.migration.model import Verdict
from isync_dagster.store.runs import Run, Runs, RunState

SHOWN = 8


def chosen_run(runs: Runs, number: int | None = None) -> Run:
    """The run of that number, else the newest; `ConfigError` where there is none."""
    run = runs.latest() if number is None else runs.get(number)
    if run is None:
        which = "no run" if number is None else f"no run {number}"
        known = ", ".join(str(item.number) for item in runs.list()) or "none"
        raise ConfigError(
            f"Phase {runs.job.phase!r} of template {runs.job.template!r} has {which} (runs: {known}). See "
            f"`isync runs {runs.job.template}`.",
            run=number,
        )
    return run


def accept(runs: Runs, number: int | None = None, *, anyway: str = "", by: str = "isync") -> Run:
    """Accept the newest run (or the one of that number); what held its sync job back from cleanup ends.

    Raises `DataError` where a check failed or nothing was checked, unless `anyway` gives the reason, which is kept;
    `ConfigError` where the run is not closed. Accepting twice changes nothing.
    """
    run = chosen_run(runs, number)
    if run.state is RunState.ACCEPTED:
        return run
    if run.state is not RunState.CLOSED:
        advice = {
            RunState.OPEN: f"Finish it first: `isync migrate {run.job.template} --phase {run.job.phase}`.",
            RunState.ABANDONED: "It was given up; accept the run that took its place.",
            RunState.ROLLED_BACK: "It was undone; nothing of it is left to accept.",
        }[run.state]
        raise ConfigError(f"{_named(run)} is {run.state}, and only a closed run is accepted. {advice}", run=run.number)
    verdicts = [Verdict.from_json(data) for data in run.verdicts()]
    failed = [verdict for verdict in verdicts if not verdict.passed and verdict.severity == "error"]
    against = [f"{verdict.object} {verdict.name}: {verdict.text}" for verdict in failed]
    if not verdicts:
        against = ["nothing was checked"]
    if against and not anyway.strip():
        more = f"\n  … and {len(against) - SHOWN} more" if len(against) > SHOWN else ""
        listed = "\n  ".join(against[:SHOWN])
        raise DataError(
            f"{_named(run)} is not accepted:\n  {listed}{more}\nCorrect the cause and run "
            f"`isync validate {run.job.template} --phase {run.job.phase}`, or accept it all the same with a reason "
            "(--anyway), which is kept with the run.",
            run=run.number,
        )
    run.accept(by, {"anyway": anyway.strip(), "against": against} if against else {})
    run.release_hold()
    runs.release_hold()
    return run


def _named(run: Run) -> str:
    return f"Run {run.number} of {run.job.template!r}, phase {run.job.phase!r},"
