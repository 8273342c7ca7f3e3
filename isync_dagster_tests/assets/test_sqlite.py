"""The kept-open SQLite storage: Dagster's own files, whoever reads or writes them."""

from __future__ import annotations

import random
import re
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.event_api import AssetRecordsFilter
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from isync_dagster.assets import sqlite
from isync_dagster.assets.sqlite import EventLog, RunStorage


@dg.asset
def numbers() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"rows": 3})


@dg.asset_check(asset=numbers)
def some() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shipped = files("isync_dagster.assets").joinpath("dagster.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(shipped)
    return tmp_path


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as found:
        yield found


def _materialize(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return dg.materialize([numbers, some], instance=instance)


def test_the_shipped_settings_use_it(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.event_log_storage, EventLog)
    assert isinstance(instance.run_storage, RunStorage)
    assert instance.event_log_storage.supports_global_concurrency_limits


def test_dagsters_own_storage_reads_what_it_wrote_and_goes_on(home: Path, instance: dg.DagsterInstance) -> None:
    run_id = _materialize(instance).run_id
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.get() as plain:
        assert type(plain.event_log_storage) is SqliteEventLogStorage
        types = [record.dagster_event_type for record in plain.all_logs(run_id)]
        assert dg.DagsterEventType.ASSET_MATERIALIZATION in types
        assert plain.get_run_by_id(run_id).status is dg.DagsterRunStatus.SUCCESS
        second = _materialize(plain).run_id
    # What the other one wrote meanwhile is seen through the connection that stayed open.
    assert {run.run_id for run in instance.get_runs()} == {run_id, second}
    found = instance.fetch_materializations(numbers.key, limit=5).records
    assert [record.run_id for record in found] == [second, run_id]


def test_whoever_watches_a_run_hears_of_each_event(instance: dg.DagsterInstance) -> None:
    run = _empty_run(instance)
    seen: list[str] = []
    heard = threading.Event()

    def callback(entry: dg.EventLogEntry, _: str) -> None:
        seen.append(entry.message)
        heard.set()

    instance.report_engine_event("before", run)
    instance.watch_event_logs(run.run_id, None, callback)
    try:
        instance.report_engine_event("after", run)
        assert heard.wait(30)
    finally:
        instance.end_watch_event_logs(run.run_id, callback)
    assert "before" in " ".join(seen)


def test_threads_write_at_once(instance: dg.DagsterInstance) -> None:
    runs = [_empty_run(instance) for _ in range(4)]
    threads = [threading.Thread(target=_report, args=(instance, run, 25)) for run in runs for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(instance.all_logs(run.run_id)) for run in runs] == [51] * 4  # one of each is of the run itself


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, times: int) -> None:
    for number in range(times):
        instance.report_engine_event(f"event {number}", run)


def _empty_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    definitions = dg.Definitions(assets=[numbers], jobs=[dg.define_asset_job("all", [numbers])])
    return instance.create_run_for_job(definitions.resolve_job_def("all"))


@pytest.mark.parametrize("seed", range(2))
def test_slots_are_given_as_dagster_gives_them(tmp_path: Path, seed: int) -> None:
    ours, dagsters = EventLog(str(tmp_path / "ours")), SqliteEventLogStorage(str(tmp_path / "dagsters"))
    chance = random.Random(seed)
    steps = [(f"run {number % 3}", f"step {number}") for number in range(12)]
    for log in (ours, dagsters):
        log.set_concurrency_slots("source", 3)
        log.set_concurrency_slots("target", 2)
    pools = {step: chance.choice(["source", "target"]) for step in steps}
    claimed = 0
    for _ in range(100):
        step = chance.choice(steps)
        match chance.choice(["claim", "claim", "free", "free", "smaller", "run"]):
            case "claim":
                found = [
                    log.claim_concurrency_slot(pools[step], *step, steps.index(step) % 3) for log in (ours, dagsters)
                ]
                assert [status.is_claimed for status in found] == [found[1].is_claimed] * 2
                assert [status.is_assigned for status in found] == [found[1].is_assigned] * 2
                assert (found[0].enqueued_timestamp is None) == (found[1].enqueued_timestamp is None)
                claimed += found[0].is_claimed
            case "free":
                for log in (ours, dagsters):
                    log.free_concurrency_slot_for_step(*step)
            case "smaller":
                number = chance.randint(1, 4)
                for log in (ours, dagsters):
                    log.set_concurrency_slots("source", number)
            case "run" if chance.random() < 0.2:
                for log in (ours, dagsters):
                    log.free_concurrency_slots_for_run(step[0])
        assert _slots(ours) == _slots(dagsters)
    assert claimed > 10


def _slots(log: SqliteEventLogStorage) -> dict[str, tuple[object, ...]]:
    """Of each pool: its slots, who is in them, who has one coming and who waits."""
    found = {name: log.get_concurrency_info(name) for name in ("source", "target")}
    return {
        name: (
            info.slot_count,
            sorted((slot.run_id, slot.step_key) for slot in info.claimed_slots),
            sorted((step.run_id, step.step_key, step.assigned_timestamp is None) for step in info.pending_steps),
        )
        for name, info in found.items()
    }


def test_workers_that_claim_at_once_never_share_a_slot(tmp_path: Path) -> None:
    logs = [EventLog(str(tmp_path / "runs")) for _ in range(4)]
    logs[0].set_concurrency_slots("target", 5)
    together = threading.Barrier(len(logs))
    got: list[str] = []

    def work(number: int) -> None:
        together.wait()
        for step in range(10):
            if logs[number].claim_concurrency_slot("target", f"run {number}", f"step {step}").is_claimed:
                got.append(f"{number} {step}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(logs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 5
    info = logs[0].get_concurrency_info("target")
    assert len(info.claimed_slots) == 5
    assert len({(slot.run_id, slot.step_key) for slot in info.claimed_slots}) == 5


def test_the_oldest_files_are_closed_and_opened_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "OPEN_SHARDS", 2)
    runs = [_empty_run(instance) for _ in range(5)]
    for run in (*runs, *runs):
        instance.report_engine_event("hello", run)
    log = instance.event_log_storage
    assert isinstance(log, EventLog)
    assert len(log._open) <= 3
    assert [len(instance.all_logs(run.run_id)) for run in runs] == [3] * 5


def test_a_deleted_run_and_a_wiped_history_leave_nothing_behind(home: Path, instance: dg.DagsterInstance) -> None:
    run = _empty_run(instance)
    instance.report_engine_event("hello", run)
    instance.delete_run(run.run_id)
    assert instance.all_logs(run.run_id) == []
    second = _materialize(instance).run_id
    instance.wipe()
    assert instance.get_runs() == []
    assert not (home / "history" / "runs" / f"{second}.db").exists()
    assert _materialize(instance).success


def _tables(base: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the event log's files, by file and table; sorted, for ids of pools and the like are not compared."""
    found = {}
    for path in sorted(base.glob("*.db")):
        with closing(sqlite3.connect(path)) as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            # When which migration of the index was through.
            names.remove("secondary_indexes")
            for name in sorted(names):
                found[f"{path.stem}.{name}"] = sorted(connection.execute(f'SELECT * FROM "{name}"'), key=repr)
    return found


def _without_times(tables: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    # When a row was made, by the database's own clock.
    own = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$")
    return {
        name: [tuple("…" if isinstance(cell, str) and own.match(cell) else cell for cell in row) for row in rows]
        for name, rows in tables.items()
    }


def test_events_are_stored_as_dagster_stores_them(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    run_id = _materialize(instance).run_id
    events = _entries(instance, run_id)
    kinds = [entry.dagster_event_type for entry in events]
    planned = [entry for entry, kind in zip(events, kinds, strict=True) if kind is not None and "PLANNED" in kind.value]
    assert len(planned) == 2 and dg.DagsterEventType.ASSET_CHECK_EVALUATION in kinds
    logs = EventLog(str(tmp_path / "ours")), SqliteEventLogStorage(str(tmp_path / "dagsters"))
    for log in logs:
        log.store_event_batch(planned)
        for entry in events:
            if entry not in planned:
                log.store_event(entry)
    ours, dagsters = (_without_times(_tables(tmp_path / name)) for name in ("ours", "dagsters"))
    assert ours.keys() == dagsters.keys()
    for name in ours:
        assert ours[name] == dagsters[name], name
    assert len(ours[f"{run_id}.event_logs"]) == len(events)
    assert ours["index.asset_check_executions"] and ours["index.asset_keys"]


def _entries(instance: dg.DagsterInstance, run_id: str) -> list[dg.EventLogEntry]:
    return [record.event_log_entry for record in instance.get_records_for_run(run_id).records]


def test_an_event_is_written_whole_or_not_at_all(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = _materialize(instance).run_id
    entry = next(
        entry
        for entry in _entries(instance, run_id)
        if entry.dagster_event_type is dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    log = EventLog(str(tmp_path / "other"))

    def fail(*_: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(log, "_store_asset_event", fail)
        with pytest.raises(OSError, match="no room"):
            log.store_event(entry)
    assert not log.get_logs_for_run(run_id)
    assert not log.fetch_materializations(numbers.key, limit=1).records
    # The connections are as good as before, for this thread and for others.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(log.store_event, entry).result()
    log.store_event(entry)
    assert len(log.get_logs_for_run(run_id)) == 2


def test_the_newest_materialization_of_a_partition_is_never_an_old_one(
    home: Path, instance: dg.DagsterInstance
) -> None:
    parts = dg.StaticPartitionsDefinition(["a", "b"])

    @dg.asset(partitions_def=parts)
    def parted() -> None: ...

    def newest(partition: str) -> str | None:
        wanted = AssetRecordsFilter(parted.key, [partition])
        found = [log.fetch_materializations(wanted, limit=1).records for log in (instance, instance)]
        assert found[0] == found[1] == list(plain.fetch_materializations(wanted, limit=1).records)
        return found[0][0].run_id if found[0] else None

    plain = SqliteEventLogStorage(str(home / "history" / "runs"))
    assert newest("a") is None
    first = dg.materialize([parted], instance=instance, partition_key="a").run_id
    assert (newest("a"), newest("b")) == (first, None)
    second = dg.materialize([parted], instance=instance, partition_key="a").run_id
    assert newest("a") == second
    # Somebody else's run on the same files.
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.get() as other:
        third = dg.materialize([parted], instance=other, partition_key="a").run_id
        assert newest("a") == third
        other.wipe_assets([parted.key])
    assert newest("a") is None
