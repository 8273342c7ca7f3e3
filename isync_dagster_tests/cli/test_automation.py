"""Automation on the command line: a real `isync migrate` killed while it is off, put back by the next command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from isync_dagster.assets.automation import automation_sensor
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.cli.console import Exit
from isync_dagster.local_org.automation.model import Automation
from isync_dagster_tests.cli.served import isync, make_served_project
from isync_dagster_tests.migration.world import World, serving_world, some, template, together

RULES = Automation.model_validate(
    {
        "validation_rules": [{"object": "Account", "name": "No_Zero", "message": "No.", "formula": 'ENDS(Name, "0")'}],
        "triggers": [
            {"object": "Account", "name": "Watch", "events": ["before insert"], "condition": "TRUE",
             "throws": "System.NullPointerException: null", "body": "trigger Watch on Account (before insert) {}"},
        ],
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("automation")
    with serving_world(folder, automation=RULES) as made, pytest.MonkeyPatch.context() as patch:
        make_served_project(folder, made, patch)
        yield made


@pytest.fixture
def world(served_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    served_world.reset(together(some("Account", 4), some("Contact", 2, AccountId=lambda n: f"a{n}")))
    monkeypatch.setenv("ISYNC_STORE", str(served_world.store_folder))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.chdir(served_world.folder)
    settings = {"automation": {"off": ["triggers", "validation_rules"]}}
    found = template(("Account", "Contact"), {"Account": {"exclude_fields": ["RecordTypeId"]}}, **settings)
    text = json.dumps(found.model_dump(mode="json", exclude_unset=True))
    (served_world.folder / "templates" / "world.yaml").write_text(text)
    return served_world


def on(world: World) -> dict[str, bool]:
    found = world.target.schema.automation
    return {item.name: item.active for item in (*found.triggers, *found.validation_rules)}


BEFORE = {"Watch": True, "No_Zero": True}


def test_list_off_status_on(world: World) -> None:
    listed = isync("automation", "world", "list", "--json")
    assert listed.exit_code == Exit.OK, listed.output
    assert [(item["kind"], item["name"], item["active"]) for item in json.loads(listed.stdout)] == [
        ("triggers", "Watch", True),
        ("validation_rules", "No_Zero", True),
    ]
    wrong = isync("automation", "world", "off", "--kinds", "rules")
    assert (wrong.exit_code, "none of triggers" in wrong.output) == (Exit.CONFIGURATION, True)
    done = isync("automation", "world", "off", "--kinds", "triggers", "--yes")
    assert done.exit_code == Exit.OK, done.output
    assert on(world) == {"Watch": False, "No_Zero": True}
    status = isync("automation", "world", "status")
    assert status.exit_code == Exit.FAILED
    assert "1 triggers (Account.Watch)" in " ".join(status.output.split())
    assert isync("automation", "world", "on").exit_code == Exit.OK
    assert on(world) == BEFORE
    assert isync("automation", "world", "status").exit_code == Exit.OK


@pytest.mark.slow
def test_a_killed_migrate_is_put_back_by_whatever_comes_next(world: World) -> None:
    # The first upload hangs: the process is killed with everything off and a Bulk job open.
    world.faults("target", {"kind": "delay", "path": "PUT .*/batches", "seconds": 30, "times": None})
    command = [str(Path(sys.executable).parent / "isync"), "migrate", "world"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 300
        while any(on(world).values()):
            assert started.poll() is None, started.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
    world.faults("target")
    assert on(world) == {"Watch": False, "No_Zero": False}
    # Any command that acts; two that start at once restore once.
    two = [
        subprocess.Popen([command[0], "retry", "world"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = "".join(text for process in two for text in process.communicate())
    assert said.count("is on again (2 items)") == 1, said
    assert on(world) == BEFORE
    done = isync("migrate", "world")
    assert done.exit_code == Exit.OK, done.output
    assert world.counts("Account", "Contact") == {"Account": 4, "Contact": 2}
    assert on(world) == BEFORE


@pytest.mark.slow
def test_a_canary_goes_in_and_out(world: World) -> None:
    tried = isync("migrate", "world", "--canary", "2")
    assert tried.exit_code == Exit.OK, tried.output
    assert "is out again" in tried.output
    assert world.counts("Account", "Contact") == {"Account": 0, "Contact": 0}
    assert on(world) == BEFORE
    with dg.DagsterInstance.get() as instance:
        assert instance.get_runs(limit=1)[0].job_name == "canary_world"


def test_the_sensor_finds_nothing_and_runs_by_default(world: World) -> None:
    sensor = automation_sensor()
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    bench = Workbench(Settings.from_env(), {})
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, resources={"workbench": bench})
        assert "Nothing was left" in str(sensor.evaluate_tick(context).skip_message)
