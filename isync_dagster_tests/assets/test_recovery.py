"""The jobs that act on a run need its template's name typed; the sensors start nothing by themselves unless asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from isync_dagster.assets.recovery import recovery_jobs, recovery_sensors, shared_sensors
from isync_dagster.assets.resources import RunOptionsResource, Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.assets.worker import WORKER_TAG, signature
from isync_dagster.store.process import Process
from isync_dagster.store.store import Store
from isync_dagster_tests.assets.plans import small_plan


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    plan = small_plan()
    return Workbench(Settings(Path("templates"), str(tmp_path / "store"), Path("none.yaml")), {plan.template: plan})


@pytest.mark.parametrize(
    ("verb", "op", "config"),
    [
        ("retry", "retry_core_rows", {}),
        ("settle", "settle_core_rows", {"phase": "people"}),
        ("abort", "abort_core_run", {"phase": "people"}),
    ],
)
def test_nothing_is_done_without_the_templates_name(
    bench: Workbench, verb: str, op: str, config: dict[str, Any]
) -> None:
    jobs = {job.name: job for job in recovery_jobs(small_plan())}
    job = dg.Definitions(
        jobs=list(jobs.values()), resources={"workbench": bench, "run_options": RunOptionsResource()}
    ).resolve_job_def(f"{verb}_core")
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(
            run_config={"ops": {op: {"config": {**config, "confirm": "cora"}}}}, instance=instance, raise_on_error=False
        )
    assert not done.success
    data = done.get_step_failure_events()[0].step_failure_data.user_failure_data
    assert data is not None
    assert "'core', give its name as `confirm`" in str(data.description)
    assert not Path(bench.settings.store).exists(), "not even the store was opened"


def test_what_writes_by_itself_is_off_and_what_only_reaps_is_on() -> None:
    (resume,), (reaper,) = recovery_sensors(small_plan()), shared_sensors()
    assert (resume.name, resume.default_status) == ("resume_core", dg.DefaultSensorStatus.STOPPED)
    assert (reaper.name, reaper.default_status) == ("reap_dead_runs", dg.DefaultSensorStatus.RUNNING)


def test_the_reaper_ends_what_a_killed_process_left(bench: Workbench) -> None:
    code = (
        "import sys,os,signal; from isync_dagster.store.store import Store;"
        "Store.open(sys.argv[1]).lease(sys.argv[2]).acquire('core/people/1', 'a killed run');"
        "sys.stdout.write(str(os.getpid())); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGSTOP)"
    )
    org = "00D000000000002AAA"
    process = subprocess.Popen(
        [sys.executable, "-c", code, bench.settings.store, org],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert int(process.stdout.read(len(str(process.pid)))) == process.pid
    signed = signature(Process.of(process.pid))
    (sensor,) = shared_sensors()

    @dg.job
    def nothing() -> None: ...

    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(
            job_def=nothing, status=dg.DagsterRunStatus.STARTED, tags={WORKER_TAG: signed}
        )

        def look() -> str:
            context = dg.build_sensor_context(instance=instance, resources={"workbench": bench})
            found = sensor(context)
            assert isinstance(found, dg.SkipReason)
            return str(found.skip_message)

        assert look() == "Nothing dead.", "a stopped process is not a dead one"
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert look() == f"Ended 1 dead runs ({run.run_id}), gave back 1 leases (a killed run (core/people/1))."
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.FAILURE
    assert Store.open(bench.settings.store).lease(org).holder() is None
