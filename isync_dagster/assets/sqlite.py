"""Dagster's SQLite storage with connections that stay open.

Dagster makes a new SQLAlchemy engine, compiles its statements anew and opens the file for every single event, up to
four times for one that tells of an asset, which costs more processor time than most steps of a small object. This
storage keeps one engine and one connection a database file, and writes an event in one transaction a file; files,
tables and everything that is read stay Dagster's own, so that either storage opens what the other wrote. It leans on
Dagster's internals: `isync_dagster_tests/assets/test_sqlite.py` holds the contract.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory
from dagster._core.event_api import AssetRecordsFilter, EventRecordsResult
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    DagsterEventType,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import AssetKeyTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from dagster._utils.concurrency import ConcurrencyClaimStatus, ConcurrencySlotStatus
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from isync_dagster.store.remembered import Remembered

OPEN_SHARDS = 8
"""Event logs of runs that stay open; a webserver that reads thousands of runs closes the oldest."""

BUSY_SECONDS = 30

NEWEST = 512
"""Materializations that are kept in memory: each check of an asset asks for the newest one."""

# What an event of these kinds tells goes into the index as well.
_INDEXED = ASSET_EVENTS | ASSET_CHECK_EVENTS | EVENT_TYPE_TO_PIPELINE_RUN_STATUS.keys()
_COLUMNS = ("run_id", "event", "dagster_event_type", "timestamp", "step_key", "asset_key", "partition")
_EVENT = f"INSERT INTO {SqlEventLogStorageTable.name} ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_NEWEST = (
    f"SELECT (SELECT max(id) FROM {SqlEventLogStorageTable.name} "
    "WHERE asset_key = ? AND dagster_event_type = ? AND partition = ?) || ' ' || "
    f"coalesce((SELECT wipe_timestamp FROM {AssetKeyTable.name} WHERE asset_key = ?), '')"
)

# Dagster's tables of the pools, in its own words (`_core/storage/event_log/schema.py`).
_ALONE = "BEGIN IMMEDIATE"
_ASKED = "SELECT id FROM pending_steps WHERE concurrency_key = ? AND run_id = ? AND step_key = ?"
_FREE_SLOT = "SELECT id FROM concurrency_slots WHERE concurrency_key = ? AND step_key IS NULL AND deleted = 0 LIMIT 1"
_ROOM = (
    "SELECT (SELECT count(*) FROM concurrency_slots WHERE concurrency_key = ? AND deleted = 0) > "
    "(SELECT count(*) FROM pending_steps WHERE concurrency_key = ? AND assigned_timestamp IS NOT NULL)"
)
_ASK = (
    "INSERT INTO pending_steps (concurrency_key, run_id, step_key, priority, assigned_timestamp) "
    "VALUES (?, ?, ?, ?, CURRENT_TIMESTAMP)"
)
_TAKE = "UPDATE concurrency_slots SET run_id = ?, step_key = ? WHERE id = ?"
_WAITING_OR_GOING = (
    "SELECT EXISTS (SELECT 1 FROM pending_steps WHERE assigned_timestamp IS NULL) "
    "OR EXISTS (SELECT 1 FROM concurrency_slots WHERE deleted)"
)
_GIVE_BACK = "UPDATE concurrency_slots SET run_id = NULL, step_key = NULL WHERE run_id = ? AND step_key = ?"
_FORGET = "DELETE FROM pending_steps WHERE run_id = ? AND step_key = ?"


def _first(connection: Connection, statement: str, *values: Any) -> Any:
    """The first column of the first row, or None."""
    row = connection.exec_driver_sql(statement, values).fetchone()
    return None if row is None else row[0]


def _engine(url: str) -> Engine:
    """An engine with one connection that all threads share, one after the other."""
    engine = create_engine(
        url, poolclass=StaticPool, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _: Any) -> None:
        # With the write-ahead log a killed process loses nothing; only a power cut may take the last events with it.
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def _read_migrations_once() -> None:
    """Let Dagster's migrations be read once a process: some ninety modules, for each database that is opened or made."""
    read = ScriptDirectory.from_config
    known: list[ScriptDirectory] = []

    def from_config(config: Any) -> ScriptDirectory:
        if config.get_main_option("script_location") != ALEMBIC_SCRIPTS_LOCATION:
            return read(config)
        if not known:
            known.append(read(config))
        return known[0]

    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]


_read_migrations_once()


class EventLog(SqliteEventLogStorage):
    """The event log: a file a run and one index, each with its connection kept open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open: OrderedDict[str, Engine] = OrderedDict()
        self._pid = os.getpid()
        # Of the thread that has `_db_lock` for several statements: who it is, and its transactions.
        self._holder: int | None = None
        self._held: dict[str, Connection] = {}
        # What is there once stays: tables, the columns of newer versions.
        self._found: set[str] = set()
        self._newest = Remembered[EventRecordsResult](NEWEST)
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        if self._holder == threading.get_ident() and shard in self._held:
            yield self._held[shard]
            return
        with self._db_lock, self._transaction(shard) as connection:
            yield connection

    @contextmanager
    def _together(self, shard: str) -> Iterator[None]:
        """All that the block writes into the index and the file of a run is one transaction each, the run's ends first."""
        if self._holder == threading.get_ident():
            yield
            return
        with self._db_lock, ExitStack() as transactions:
            held = {name: transactions.enter_context(self._transaction(name)) for name in (INDEX_SHARD_NAME, shard)}
            self._holder, self._held = threading.get_ident(), held
            try:
                yield
            finally:
                self._holder, self._held = None, {}

    @contextmanager
    def _transaction(self, shard: str) -> Iterator[Connection]:
        engine = self._engine_of(shard)
        with engine.connect() as connection, connection.begin():
            yield connection
            wrote = connection.connection.driver_connection.in_transaction  # type: ignore[union-attr]
        if wrote and shard != INDEX_SHARD_NAME:
            # Whoever watches the run looks at the file itself, which a write-ahead log leaves alone.
            with suppress(FileNotFoundError):
                os.utime(self.path_for_shard(shard))

    def store_event(self, event: EventLogEntry) -> None:
        """Write an event; what it tells of assets, checks and the run's state goes into the index, as Dagster has it."""
        kind = event.dagster_event_type if event.is_dagster_event else None
        if kind in _INDEXED:
            with self._together(event.run_id):
                super().store_event(event)
            return
        row = self._event_to_row(event)
        row["timestamp"] = row["timestamp"].isoformat(sep=" ", timespec="microseconds")
        with self.run_connection(event.run_id) as connection:
            connection.exec_driver_sql(_EVENT, tuple(row[name] for name in _COLUMNS))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Write events that Dagster hands over together (the plan of a run) in one transaction."""
        runs = {event.run_id for event in events}
        with self._together(runs.pop()) if len(runs) == 1 else nullcontext():
            for event in events:
                self.store_event(event)

    def has_table(self, table_name: str) -> bool:
        """True where the index has that table; it is looked for until it is there."""
        if table_name not in self._found and super().has_table(table_name):
            self._found.add(table_name)
        return table_name in self._found

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        name = f"{AssetKeyTable.name}.{column_name}"
        if name not in self._found and super()._has_asset_key_col_on_connection(conn, column_name):
            self._found.add(name)
        return name in self._found

    def fetch_materializations(
        self,
        records_filter: Any,
        limit: int,
        cursor: str | None = None,
        ascending: bool = False,
    ) -> EventRecordsResult:
        """As Dagster's; the newest one of an asset's partition is read once, until there is a newer one."""
        asked: tuple[str, str] | None = None
        if isinstance(records_filter, AssetRecordsFilter) and (limit, cursor, ascending) == (1, None, False):
            key, partitions = records_filter.asset_key, list(records_filter.asset_partitions or ())
            if len(partitions) == 1 and records_filter == AssetRecordsFilter(key, partitions):
                asked = key.to_string(), partitions[0]
        if asked is None:
            return super().fetch_materializations(records_filter, limit, cursor, ascending)
        kind = DagsterEventType.ASSET_MATERIALIZATION.value
        with self.index_connection() as connection:
            newest = _first(connection, _NEWEST, asked[0], kind, asked[1], asked[0])
        name = " ".join(asked)
        if newest is not None and (known := self._newest.get(name, newest)) is not None:
            return known
        found = super().fetch_materializations(records_filter, limit, cursor, ascending)
        if newest is not None and found.records and newest.split(" ")[0] == str(found.records[0].storage_id):
            self._newest.put(name, newest, found)
        return found

    def _engine_of(self, shard: str) -> Engine:
        if self._pid != os.getpid():
            # A connection must not cross a fork; the parent goes on using its own.
            self._open.clear()
            self._pid = os.getpid()
        engine = self._open.get(shard)
        if engine is not None and not Path(self.path_for_shard(shard)).exists():
            self._open.pop(shard).dispose()
            self._initialized_dbs.discard(shard)
            engine = None
        if engine is None:
            engine = _engine(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            self._open[shard] = engine
        self._open.move_to_end(shard)
        for oldest in [name for name in self._open if name != INDEX_SHARD_NAME][:-OPEN_SHARDS]:
            self._open.pop(oldest).dispose()
        return engine

    # ── slots of the pools ───────────────────────────────────────────────────────────────────────────

    def claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        """A slot for a step: in one transaction where one is free and the step has not asked before.

        What Dagster comes to by five transactions of compiled statements, each step of every run; all else (the pool
        is full, the step waits already) is left to it.
        """
        step = (concurrency_key, run_id, step_key)
        with self.index_transaction() as connection:
            connection.exec_driver_sql(_ALONE)
            slot = None if _first(connection, _ASKED, *step) else _first(connection, _FREE_SLOT, concurrency_key)
            if slot is not None and _first(connection, _ROOM, concurrency_key, concurrency_key):
                connection.exec_driver_sql(_ASK, (*step, priority or 0))
                connection.exec_driver_sql(_TAKE, (run_id, step_key, slot))
                now = datetime.now(UTC).replace(tzinfo=None)
                return ConcurrencyClaimStatus(
                    concurrency_key=concurrency_key,
                    slot_status=ConcurrencySlotStatus.CLAIMED,
                    priority=priority,
                    assigned_timestamp=now,
                    enqueued_timestamp=now,
                )
        return super().claim_concurrency_slot(concurrency_key, run_id, step_key, priority)

    def free_concurrency_slot_for_step(self, run_id: str, step_key: str) -> None:
        """Give a step's slots back: in one transaction, where no pool got smaller and nobody waits for one."""
        with self.index_transaction() as connection:
            connection.exec_driver_sql(_ALONE)
            if not _first(connection, _WAITING_OR_GOING):
                connection.exec_driver_sql(_GIVE_BACK, (run_id, step_key))
                connection.exec_driver_sql(_FORGET, (run_id, step_key))
                return
        super().free_concurrency_slot_for_step(run_id, step_key)

    def wipe(self) -> None:
        self._close()
        super().wipe()

    def dispose(self) -> None:
        self._close()
        super().dispose()

    def _close(self) -> None:
        self._found.clear()
        self._newest = Remembered[EventRecordsResult](NEWEST)
        with self._db_lock:
            while self._open:
                self._open.popitem()[1].dispose()


class RunStorage(SqliteRunStorage):
    """The runs: one engine, its connections pooled."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        engine = self.__dict__.get("_pooled")
        if engine is None or engine[0] != os.getpid():
            engine = (os.getpid(), create_engine(self._conn_string, connect_args={"timeout": BUSY_SECONDS}))
            self.__dict__["_pooled"] = engine
        with engine[1].connect() as connection, connection.begin():
            yield connection

    def dispose(self) -> None:
        engine = self.__dict__.pop("_pooled", None)
        if engine is not None:
            engine[1].dispose()
        super().dispose()


class SqliteStorage(DagsterSqliteStorage):
    """Runs, events and schedules below one folder, where `DagsterSqliteStorage` keeps them too."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Not that of Dagster's class, which opens runs and events with its own storages first.
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir = base_dir
        self._run_storage = RunStorage.from_local(str(Path(base_dir) / "history"))
        self._event_log_storage = EventLog(str(Path(base_dir) / "history" / "runs"))
        self._schedule_storage = SqliteScheduleStorage.from_local(str(Path(base_dir) / "schedules"))
        self._inst_data = inst_data

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> SqliteStorage:
        return cls.from_local(inst_data=inst_data, **config_value)
