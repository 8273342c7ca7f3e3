"""Dagster's SQLite storage with connections that stay open.

Dagster makes a new SQLAlchemy engine, compiles its statements anew and opens the file for every single event, which
costs more processor time than most steps of a small object. This storage keeps one engine and one connection a
database file; files, tables and everything that is read stay Dagster's own, so that either storage opens what the
other wrote. It leans on Dagster's internals: `isync_dagster_tests/assets/test_sqlite.py` holds the contract.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

OPEN_SHARDS = 8
"""Event logs of runs that stay open; a webserver that reads thousands of runs closes the oldest."""

BUSY_SECONDS = 30


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


class EventLog(SqliteEventLogStorage):
    """The event log: a file a run and one index, each with its connection kept open."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._open: OrderedDict[str, Engine] = OrderedDict()
        self._pid = os.getpid()
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine_of(shard)
            with engine.connect() as connection, connection.begin():
                yield connection
                wrote = connection.connection.driver_connection.in_transaction  # type: ignore[union-attr]
            if wrote and shard != INDEX_SHARD_NAME:
                # Whoever watches the run looks at the file itself, which a write-ahead log leaves alone.
                with suppress(FileNotFoundError):
                    os.utime(self.path_for_shard(shard))

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

    def wipe(self) -> None:
        self._close()
        super().wipe()

    def dispose(self) -> None:
        self._close()
        super().dispose()

    def _close(self) -> None:
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
        super().__init__(base_dir, inst_data)
        self._run_storage = RunStorage.from_local(str(Path(base_dir) / "history"))
        self._event_log_storage = EventLog(str(Path(base_dir) / "history" / "runs"))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Any) -> SqliteStorage:
        return cls.from_local(inst_data=inst_data, **config_value)
