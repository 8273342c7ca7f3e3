"""The jobs that accept, fill pending links and clean up: on a real store, with a confirmation, and never by accident."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from isync_dagster.assets.factory import definitions
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.store.runs import JobKey, Run
from isync_dagster.store.store import Store
from isync_dagster_tests.assets.plans import small_plan


class StoreBench(Workbench):
    """A workbench with a real store and no orgs."""

    def org(self, alias: str) -> Any:
        raise AssertionError(f"{alias} was asked")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    past = datetime.now(UTC) - timedelta(days=70)
    return Store.open(str(tmp_path / "store"), clock=lambda: past)


@pytest.fixture
def run(store: Store) -> Run:
    """A run of the phase `people` that was closed 70 days ago and passed its one check."""
    plan = small_plan()
    key = JobKey(plan.source_org_id, plan.target_org_id, plan.template, "people")
    made = store.runs(key).open_or_resume(plan.to_json(), plan.hash, datetime.now(UTC), "test")
    made.write_verdict("Account", "conservation", _verdict(True))
    made.close({})
    from isync_dagster.store import files

    files.write_parquet(made.extract_folder("Account") / "part-00000.parquet", pl.DataFrame({"Id": ["001"]}))
    return made


def _verdict(passed: bool) -> dict[str, Any]:
    where = {"name": "conservation", "object": "Account", "phase": "people", "run": 1}
    return {**where, "passed": passed, "text": "As it should be."}


def execute(store: Store, name: str, op: str, **config: Any) -> dg.ExecuteInProcessResult:
    plan = small_plan()
    settings = Settings(Path("templates"), str(store.root), Path("orgs.yaml"))
    defs = definitions({plan.template: plan}, settings)
    bench = StoreBench(settings, {plan.template: plan})
    made = dg.Definitions(jobs=defs.jobs, assets=defs.assets, resources={**(defs.resources or {}), "workbench": bench})
    with dg.DagsterInstance.ephemeral() as instance:
        return made.resolve_job_def(name).execute_in_process(
            instance=instance, run_config={"ops": {op: {"config": config}}}, raise_on_error=False
        )


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    return str(event.step_failure_data.error)


def test_a_run_is_accepted_by_its_job_when_it_is_confirmed(store: Store, run: Run) -> None:
    unsure = execute(store, "accept_core", "accept_core_run", phase="people", confirm="yes")
    assert not unsure.success
    assert "Not confirmed: type 'core'" in failure(unsure)
    assert run.state == "closed"
    run.write_verdict("Account", "conservation", _verdict(False))
    assert "is not accepted" in failure(
        execute(store, "accept_core", "accept_core_run", phase="people", confirm="core")
    )
    result = execute(store, "accept_core", "accept_core_run", phase="people", confirm="core", anyway="agreed")
    assert result.success
    assert run.state == "accepted"
    assert result.run_id in run.transitions()[-1]["by"]


def test_cleanup_shows_and_removes_only_what_is_confirmed(store: Store, run: Run) -> None:
    rows = run.extract_folder("Account") / "part-00000.parquet"
    shown = execute(store, "cleanup_store", "cleanup_store_files")
    assert shown.success
    assert rows.exists()
    removed = execute(store, "cleanup_store", "cleanup_store_files", confirm="cleanup")
    assert removed.success
    assert not rows.exists()
    assert "no template 'cora'" in failure(execute(store, "cleanup_store", "cleanup_store_files", templates=["cora"]))


def test_pending_links_are_not_filled_without_a_word(store: Store, run: Run) -> None:
    assert "Not confirmed" in failure(execute(store, "relink_pending_core", "relink_pending_core_links", confirm=""))


def test_the_schedule_is_off_until_somebody_turns_it_on() -> None:
    defs = definitions({"core": small_plan()}, Settings.from_env({}))
    schedule = defs.resolve_schedule_def("cleanup_daily")
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "0 2 * * *"
