"""`python -m benchmarks.migration --rows 100000 1000000`: the tool against the floor, in one run.

For each size: two local orgs as processes of their own; the floor from the source into one empty target; `isync
migrate` from the same source into another; the same command twice more, with nothing changed. Prints ratios, API calls,
peak memory and the share of the orgs; writes JSON, Markdown and a plot into `--out`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks import floor, meter, report
from benchmarks.orgs import Served, serving
from benchmarks.world import NAMES, World, make, make_many, save_template

STARTS = 5


@dataclass
class Result:
    """One size: seconds, calls, bytes. `start` is the wall time of the command with (nearly) nothing to move, `start_floor`
    what the floor needs for those few records, `repeat_start` and `later_start` the wall time of the first and of a later repeat in
    which nothing has changed of them."""

    rows: int
    objects: int
    floor_seconds: float = 0.0
    verify_seconds: float = 0.0
    floor_calls: int = 0
    floor_parts: dict[str, float] = field(default_factory=dict)
    start: float = 0.0
    start_floor: float = 0.0
    repeat_start: float = 0.0
    later_start: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0
    orgs_cpu: float = 0.0
    calls: int = 0
    peak_rss: int = 0
    repeat_wall: float = 0.0
    repeat_calls: int = 0
    repeat_ingest: int = 0
    later_wall: float = 0.0
    later_calls: int = 0
    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Wall beyond the start, in floors (moving and verifying)."""
        return (self.wall - self.start) / (self.floor_seconds + self.verify_seconds)

    @property
    def repeat_ratio(self) -> float:
        """Wall of the first repeat beyond that of (nearly) no records and one read of the target, in extracts alone (the floor's)."""
        return self._in_extracts(self.repeat_wall, self.repeat_start)

    @property
    def later_ratio(self) -> float:
        """The same of a later repeat."""
        return self._in_extracts(self.later_wall, self.later_start)

    def _in_extracts(self, wall: float, start: float) -> float:
        extract = self.floor_parts.get("extract", 0.0)
        return (wall - start - self.verify_seconds) / extract if extract and wall else 0.0


def main() -> int:
    """Run the sizes that were asked for."""
    options = _options()
    work: Path = options.work.resolve()
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    start = _start_cost(work)
    results = [_size(work, rows, start.wall, options.repeat) for rows in options.rows]
    if options.many:
        results.append(_many(work, start.wall))
    for result in results:
        result.start_floor = start.floor_seconds + start.verify_seconds
        result.repeat_start, result.later_start = start.repeat_wall, start.later_wall
    data = {
        "machine": report.machine(),
        "results": [asdict(result) | _ratios(result) for result in results],
    }
    (out / "migration.json").write_text(json.dumps(data, indent=2) + "\n")
    text = report.markdown(data)
    (out / "migration.md").write_text(text)
    report.plot(data, out / "migration.svg")
    print(text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000], help="records, all objects together")
    parser.add_argument("--many", action="store_true", help="also 150 small objects of 50 rows")
    parser.add_argument("--no-repeat", dest="repeat", action="store_false", help="leave the repeats out")
    parser.add_argument("--work", type=Path, default=Path(".isync/bench"), help="orgs and stores; sources are kept")
    parser.add_argument("--out", type=Path, default=Path(".isync/bench/out"), help="folder of the results")
    return parser.parse_args()


def _start_cost(work: Path) -> Result:
    """`isync migrate` with four rows an object on a fresh Dagster home: imports, Dagster, logins, steps, and the same floor.

    The median of several, since a busy machine changes a few seconds by a tenth and more.
    """
    results = sorted((_size(work, 24, 0.0, repeat=True) for _ in range(STARTS)), key=lambda result: result.wall)
    middle = results[STARTS // 2]
    repeats, later = (
        sorted(getattr(result, name) for result in results)[STARTS // 2] for name in ("repeat_wall", "later_wall")
    )
    return replace(middle, repeat_wall=repeats, later_wall=later)


def _ratios(result: Result) -> dict[str, float]:
    return {name: getattr(result, name) for name in ("ratio", "repeat_ratio", "later_ratio")}


def _size(work: Path, rows: int, start: float, repeat: bool) -> Result:
    world = World.of(rows)
    kept = work / f"orgs-{rows}"
    if not (kept / "made").exists():
        shutil.rmtree(kept, ignore_errors=True)
        make(kept, world)
        (kept / "made").touch()
    return _measure(work / f"run-{rows}", kept, world, start, repeat)


def _many(work: Path, start: float) -> Result:
    kept = work / "orgs-many"
    shutil.rmtree(kept, ignore_errors=True)
    _, _, rows = make_many(kept)
    return _measure(work / "run-many", kept, World(rows), start, True)


def _measure(place: Path, orgs: Path, world: World, start: float, repeat: bool) -> Result:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    source = orgs / NAMES[0]
    templates = save_template(place / "templates", {name: orgs / name for name in NAMES}, world.rows)
    result = Result(world.total, len(world.rows), start=start)
    shutil.copytree(orgs / NAMES[1], place / "floor")
    with serving(NAMES[0], source) as from_org, serving(NAMES[1], place / "floor") as to_org:
        moved = floor.run(from_org, to_org, _plan(templates), world, place / "floor-files")
    result.floor_seconds, result.verify_seconds = moved.move, moved.seconds["verify"]
    result.floor_calls, result.floor_parts = moved.calls, moved.seconds
    shutil.rmtree(place / "floor-files")
    shutil.rmtree(place / "floor")
    shutil.copytree(orgs / NAMES[1], place / "target")
    with serving(NAMES[0], source) as from_org, serving(NAMES[1], place / "target") as to_org:
        both = (from_org, to_org)
        environment = _environment(place, templates, both)
        calls, cpu = sum(org.calls() for org in both), sum(org.cpu_seconds() for org in both)
        used = _isync(environment, place, "migrate.log")
        result.wall, result.cpu, result.peak_rss, result.samples = used.wall, used.cpu, used.peak_rss, used.samples
        result.orgs_cpu = sum(org.cpu_seconds() for org in both) - cpu
        result.calls = sum(org.calls() for org in both) - calls
        if repeat:
            jobs = _ingest_jobs(to_org)
            result.repeat_wall, result.repeat_calls = _again(environment, place, both, "repeat.log")
            # The first repeat rests on what the load left, the next one on what that has found.
            result.later_wall, result.later_calls = _again(environment, place, both, "later.log")
            result.repeat_ingest = _ingest_jobs(to_org) - jobs
    shutil.rmtree(place / "target")
    return result


def _again(environment: Mapping[str, str], place: Path, orgs: tuple[Served, Served], log: str) -> tuple[float, int]:
    """Wall seconds and API calls of the same command once more."""
    calls = sum(org.calls() for org in orgs)
    wall = _isync(environment, place, log).wall
    return wall, sum(org.calls() for org in orgs) - calls


def _plan(templates: Path) -> floor.Plan:
    from isync_dagster.assets.factory import load_plans
    from isync_dagster.assets.settings import Settings

    return load_plans(Settings.from_env({"ISYNC_TEMPLATES": str(templates)}), ["bench"])["bench"]


def _environment(place: Path, templates: Path, orgs: tuple[Served, Served]) -> Mapping[str, str]:
    own = {
        "ISYNC_TEMPLATES": str(templates),
        "ISYNC_STORE": str(place / "store"),
        "DAGSTER_HOME": str(place / "dagster"),
    }
    # As anybody has it: with the byte code of Python's modules kept.
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**usual, **own, **orgs[0].environment(), **orgs[1].environment()}


def _isync(environment: Mapping[str, str], place: Path, log: str) -> meter.Usage:
    command = [sys.executable, "-m", "isync_dagster.cli", "migrate", "bench"]
    used = meter.run(command, environment, place, place / log)
    if used.status:
        raise SystemExit(f"isync migrate ended with {used.status}; see {place / log}")
    return used


def _ingest_jobs(org: Served) -> int:
    answer = org.session.get(f"{org.url}/services/data/v64.0/jobs/ingest").json()
    return len(answer["records"])


if __name__ == "__main__":
    sys.exit(main())
