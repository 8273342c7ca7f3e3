from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from isync_dagster.store import process
from isync_dagster.store.process import Process

ME = Process.current()


def test_it_survives_json() -> None:
    assert Process.from_json({**ME.to_json(), "more": 1}) == ME


def test_this_process_lives() -> None:
    assert ME.is_alive_here(ME) is True


def test_another_machine_cannot_tell() -> None:
    assert replace(ME, machine="other").is_alive_here(ME) is None
    assert replace(ME, machine="").is_alive_here(replace(ME, machine="")) is None


def test_a_process_lives_until_it_ends() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        other = replace(ME, pid=child.pid, started=process._start(child.pid) or 0)
        assert other.is_alive_here(ME) is True
        assert replace(other, started=other.started + 1).is_alive_here(ME) is False
        child.kill()
    assert other.is_alive_here(ME) is False


@pytest.mark.skipif(not ME.machine, reason="the system does not tell")
def test_the_machine_is_one_boot() -> None:
    assert Process.current().machine == ME.machine
