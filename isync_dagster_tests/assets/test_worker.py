"""Runs whose process is gone are ended, and their pool slots freed; all others are left alone."""

import os
import subprocess
import sys
from dataclasses import replace

import dagster as dg
import pytest

from isync_dagster.assets.worker import WORKER_TAG, is_dead, reap, signature
from isync_dagster.store.process import Process


@pytest.fixture
def instance(tmp_path):
    overrides = {"concurrency": {"pools": {"default_limit": 2, "granularity": "op"}}}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as made:
        yield made


def killed() -> str:
    """The signature of a process that was killed."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    signed = signature(Process.of(process.pid))
    process.kill()
    process.wait()
    return signed


@dg.job
def nothing() -> None: ...


def started(instance: dg.DagsterInstance, signed: str) -> dg.DagsterRun:
    return instance.create_run_for_job(
        job_def=nothing, status=dg.DagsterRunStatus.STARTED, tags={WORKER_TAG: signed} if signed else {}
    )


def test_a_process_is_known_by_its_start_too() -> None:
    me = Process.current()
    assert not is_dead(signature())
    assert is_dead(killed())
    assert is_dead(signature(replace(me, started=1))), "the id was given to another process"
    assert not is_dead(signature(replace(me, machine="another boot", pid=1, started=1)))
    assert not is_dead(signature(replace(me, machine="another container of this host", started=1)))
    assert not is_dead(signature(Process.of(1))), "a process of another user is alive"
    assert not is_dead(f"{me.host}:1:1"), "the tag of an earlier version says nothing"


def test_dead_runs_are_ended_and_their_slots_freed(instance: dg.DagsterInstance) -> None:
    dead, alive, unsigned = (started(instance, signed) for signed in (killed(), signature(), ""))
    events = instance.event_log_storage
    events.initialize_concurrency_limit_to_default("sf_target")
    for run in (dead, alive):
        assert events.claim_concurrency_slot("sf_target", run.run_id, "step").is_claimed
    assert reap(instance) == [dead.run_id]
    states = {run.run_id: run.status for run in instance.get_runs()}
    assert states[dead.run_id] is dg.DagsterRunStatus.FAILURE
    assert states[alive.run_id] is states[unsigned.run_id] is dg.DagsterRunStatus.STARTED
    assert events.get_concurrency_run_ids() == {alive.run_id}


def test_a_killed_process_that_nobody_waited_for_is_dead() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    signed = signature(Process.of(process.pid))
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(signed)
    process.wait()
