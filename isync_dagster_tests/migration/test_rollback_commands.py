"""`isync rollback` and the job `rollback_<template>`: what they show, when they write, how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from isync_dagster.assets.factory import definitions, load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.cli import app
from isync_dagster.cli.console import Exit
from isync_dagster.migration.writing import release_all
from isync_dagster.schema.snapshot import save_snapshot
from isync_dagster_tests.migration.test_rollback import keyed, tables
from isync_dagster_tests.migration.test_rollback_conflicts import edit
from isync_dagster_tests.migration.world import World, current, migrate, rows_of, some, together

WRITES = "(POST|PATCH|PUT|DELETE) .*/(jobs/ingest|composite/(sobjects|tree|graph))"
ORG = (
    '  {side}: {{auth: username_password, login_url: "{url}", username: "{username}", '
    'password: "${{{name}_PASSWORD}}", security_token: "${{{name}_TOKEN}}"}}'
)


@pytest.fixture
def project(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project folder with the world's two orgs, and a migration in its store."""
    monkeypatch.delenv("COLUMNS", raising=False)
    templates = tmp_path / "templates"
    templates.mkdir()
    recipe = keyed("Account", "Contact")
    (templates / "world.yaml").write_text(json.dumps(recipe.model_dump(mode="json", exclude_unset=True)))
    entries = []
    for side in ("source", "target"):
        found, name = world.served[side].credentials(), side.upper()
        monkeypatch.setenv(f"{name}_PASSWORD", found["password"])
        monkeypatch.setenv(f"{name}_TOKEN", found["security_token"])
        entries.append(ORG.format(side=side, name=name, url=found["url"], username=found["username"]))
        save_snapshot(templates / "orgs", world.snapshots[side])
    (templates / "orgs.yaml").write_text("\n".join(["orgs:", *entries]))
    world.reset(
        together(some("Account", 3), some("Contact", 2, AccountId=lambda n: f"a{n}")),
        rows_of("Account", [{"Key__c": "a0", "Name": "Theirs"}]),
    )
    monkeypatch.setenv("ISYNC_STORE", str(world.store_folder))
    monkeypatch.delenv("ISYNC_TEMPLATES", raising=False)
    monkeypatch.delenv("ISYNC_ORGS", raising=False)
    monkeypatch.chdir(tmp_path)
    migrate(world.job(recipe))
    release_all()
    return world


def isync(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=typed)  # type: ignore[return-value]


def flat(result: Result) -> str:
    return " ".join(result.output.split())


def test_the_command_plans_asks_undoes_and_says_what_is_left(project: World) -> None:
    edit(project, "Contact", "c1", "FirstName", "Ada")
    before = tables(project)
    project.watch("target", WRITES)
    planned = isync("rollback", "world", "--phase", "all", "--plan")
    assert planned.exit_code == Exit.OK, planned.output
    text = flat(planned)
    assert "world phase all run 1: what a rollback does" in text
    assert "Contact: 1 × CHANGED_SINCE, somebody changed it after the run" in text
    assert "Account: 1 × WOULD_CLEAR_LOOKUPS" in text
    assert "Nothing was written to the org." in text
    refused = isync("rollback", "world", "-p", "all", typed="n\n")
    assert "Roll back run 1 of phase all in target [y/N]" in flat(refused)
    assert refused.exit_code == 1
    stopped = isync("rollback", "world", "-p", "all", "--conflicts", "stop", "--yes")
    assert stopped.exit_code == Exit.FAILED
    assert "1 records are in conflict and the policy is stop, so nothing was undone" in flat(stopped)
    assert isync("rollback", "world", "-p", "all", "--conflicts", "some").exit_code == Exit.CONFIGURATION
    assert project.met("target") == 0
    assert tables(project) == before

    done = isync("rollback", "world", "-p", "all", typed="y\n")
    assert done.exit_code == Exit.REJECTED, done.output
    assert "2 records are left as the run made them: the same command with --run 1" in flat(done)
    assert project.ids("target", "Account").keys() == {"a0", "a1"}
    forced = isync("rollback", "world", "-p", "all", "--run", "1", "--conflicts", "force", "--yes")
    assert forced.exit_code == Exit.OK, forced.output
    assert "Every record that the run wrote is undone." in flat(forced)
    assert project.values("target", "Account", "Name") == {"a0": "Theirs"}
    assert "rolled_back" in isync("runs", "world").output


def test_the_job_writes_only_when_it_is_confirmed(project: World) -> None:
    before = tables(project)
    settings = Settings.from_env()
    job = definitions(load_plans(settings), settings).resolve_job_def("rollback_world")

    def run(**config: Any) -> dg.ExecuteInProcessResult:
        found = {"ops": {"rollback_world_run": {"config": {"phase": "all", **config}}}}
        return job.execute_in_process(run_config=found, raise_on_error=False)

    planned = run()
    assert planned.success
    (output,) = [event for event in planned.all_events if event.is_successful_output]
    shown = output.event_specific_data.metadata["plan of all run 1"].value  # type: ignore[union-attr]
    assert "Contact" in str(shown)
    assert tables(project) == before
    assert not run(confirm="yes").success
    assert tables(project) == before

    done = run(confirm="all")
    assert done.success
    assert project.values("target", "Account", "Name") == {"a0": "Theirs"}
    assert project.counts("Contact") == {"Contact": 0}
    assert current(project.job(keyed("Account", "Contact"))).state == "rolled_back"
    nothing = run(confirm="all")
    assert not nothing.success
    (failure,) = [event for event in nothing.all_events if event.is_step_failure]
    assert "nothing to roll back" in str(failure.step_failure_data.user_failure_data or failure.step_failure_data.error)
