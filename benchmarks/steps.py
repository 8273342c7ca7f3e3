"""`python -m benchmarks.steps`: what a step costs under each executor, beside the work that is done in it.

For each executor a run of a few steps and one of many, each a command of its own on a fresh Dagster home; the steps do
nothing, so that the difference is the price of a step: seconds by the clock, processor seconds, memory. Prints a table.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import meter, report

FEW, MANY = 10, 110
EXECUTORS = ("threads", "processes", "in_process")


@dataclass
class Result:
    """The price of one step, and the peak memory of the command with all its processes."""

    executor: str
    seconds: float
    cpu: float
    peak_rss: int


def main() -> int:
    """Measure all executors, or be the command that runs `--steps` of one."""
    options = _options()
    if options.steps:
        return _run(options.executor[0], options.steps)
    work: Path = options.work.resolve()
    results = [_measure(name, work) for name in options.executor]
    options.out.mkdir(parents=True, exist_ok=True)
    data = {"machine": report.machine(), "results": [asdict(result) for result in results]}
    (options.out / "steps.json").write_text(json.dumps(data, indent=2) + "\n")
    text = markdown(results)
    (options.out / "steps.md").write_text(text)
    print(text)
    return 0


def markdown(results: list[Result]) -> str:
    """The table of `docs/performance.md`."""
    lines = [
        "| executor | seconds a step | processor seconds a step | peak RSS MB, all processes |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| `{item.executor}` | {item.seconds:.3f} | {item.cpu:.3f} | {item.peak_rss / 1e6:,.0f} |" for item in results
    ]
    return "\n".join(lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", nargs="*", default=list(EXECUTORS), help="which ones")
    parser.add_argument("--steps", type=int, default=0, help="be the command: run so many steps of the first one")
    parser.add_argument("--work", type=Path, default=Path(".isync/bench/steps"), help="Dagster homes; removed")
    parser.add_argument("--out", type=Path, default=Path(".isync/bench/out"), help="folder of the results")
    return parser.parse_args()


def _measure(name: str, work: Path) -> Result:
    few, many = _command(name, work, FEW), _command(name, work, MANY)
    steps = MANY - FEW
    return Result(name, (many.wall - few.wall) / steps, (many.cpu - few.cpu) / steps, many.peak_rss)


def _command(name: str, work: Path, steps: int) -> meter.Usage:
    shutil.rmtree(work, ignore_errors=True)
    home = work / "home"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    command = [sys.executable, "-m", "benchmarks.steps", "--executor", name, "--steps", str(steps)]
    environment: Mapping[str, str] = {**os.environ, "DAGSTER_HOME": str(home)}
    used = meter.run(command, environment, Path.cwd(), work / "log")
    if used.status:
        raise SystemExit(f"{name}: {(work / 'log').read_text()[-2000:]}")
    shutil.rmtree(work)
    return used


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────


def _run(name: str, steps: int) -> int:
    import dagster as dg

    os.environ[STEPS], os.environ[EXECUTOR] = str(steps), name
    with dg.DagsterInstance.get() as instance:
        return 0 if dg.execute_job(dg.reconstructable(job), instance=instance).success else 1


STEPS, EXECUTOR = "ISYNC_BENCH_STEPS", "ISYNC_BENCH_EXECUTOR"
"""How the processes of steps, which make the job anew, learn of what it is."""


def job() -> object:
    """A job of assets that do nothing and do not depend on each other."""
    import dagster as dg

    from isync_dagster.assets.executor import executor

    def one(number: int) -> dg.AssetsDefinition:
        @dg.asset(name=f"step_{number}")
        def body() -> None: ...

        return body

    made = dg.Definitions(
        assets=[one(number) for number in range(int(os.environ[STEPS]))],
        jobs=[dg.define_asset_job("all", selection="*")],
        executor=executor(os.environ[EXECUTOR]),
    )
    return made.resolve_job_def("all")


if __name__ == "__main__":
    sys.exit(main())
