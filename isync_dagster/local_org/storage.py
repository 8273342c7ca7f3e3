"""The database of a local org: one DuckDB file, one table per object, one writer at a time.

Reads use cursors of their own and see the last committed state. Writes go through `transaction()`, which holds
the org's write lock; id and autonumber counters move in the same transaction as the rows they number, so a kill
never gives an id twice.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock, local
from typing import Any, Final

import duckdb
import polars as pl

from isync_dagster.errors import StoreError
from isync_dagster.local_org.ids import id_range, pod
from isync_dagster.local_org.org_schema import OrgSchema, columns, quote
from isync_dagster.schema.model import SObject

DATABASE: Final = "org.duckdb"
LOCK: Final = "org.lock"
THREADS: Final = 4  # an org is one guest of the machine among others


class Storage:
    """The tables of one org; `Storage.open` makes the file and tables that are missing."""

    def __init__(self, folder: Path, schema: OrgSchema, seed: int, connection: duckdb.DuckDBPyConnection) -> None:
        self.folder = folder
        self.schema = schema
        self.pod = pod(seed)
        self._connection = connection
        self._lock = RLock()
        self._local = local()
        self._lock_file: int | None = None
        self._counters: dict[str, int] = {}
        self._moved: set[str] = set()
        self.row_limit = 0
        """How many rows the org may hold; 0: any number."""

    @classmethod
    def open(cls, folder: Path, schema: OrgSchema, *, seed: int = 0) -> Storage:
        """Open the database of `folder`; StoreError if another process has it open."""
        lock_file = _take_lock(folder)
        try:
            connection = duckdb.connect(
                str(folder / DATABASE), config={"threads": str(min(os.cpu_count() or 1, THREADS))}
            )
        except duckdb.Error as error:
            os.close(lock_file)
            raise StoreError(f"The local org in {folder} cannot be opened: {error}", folder=str(folder)) from error
        connection.execute("SET TimeZone='UTC'")
        # Checkpoints rewrite what is in the log: rarely is enough, and a start replays this much in a second.
        connection.execute("SET checkpoint_threshold='256MB'")
        storage = cls(folder, schema, seed, connection)
        storage._lock_file = lock_file
        storage._prepare()
        return storage

    def _prepare(self) -> None:
        with self.transaction() as cursor:
            cursor.execute("CREATE SCHEMA IF NOT EXISTS _org")
            cursor.execute("CREATE TABLE IF NOT EXISTS _org.counters (name VARCHAR, value BIGINT)")
            cursor.execute("CREATE TABLE IF NOT EXISTS _org.notes (name VARCHAR, value VARCHAR)")
            self._counters = dict(cursor.execute("SELECT name, value FROM _org.counters").fetchall())
            known = {
                row[0]
                for row in cursor.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name='main'").fetchall()
            }
            for item in self.schema:
                if item.name not in known:
                    self._create_table(cursor, item)

    def _create_table(self, cursor: duckdb.DuckDBPyConnection, item: SObject) -> None:
        cursor.execute(self.schema.ddl(item))
        cursor.execute(f'CREATE UNIQUE INDEX IF NOT EXISTS {quote("_id " + item.name)} ON {quote(item.name)} ("Id")')

    def refresh_schema(self, schema: OrgSchema) -> None:
        """Take a changed schema: tables are made, columns added, retyped or dropped; no table is dropped."""
        self.schema = schema
        with self.transaction() as cursor:
            for item in schema:
                present = {
                    str(name).lower(): (str(name), str(kind))
                    for name, kind in cursor.execute(
                        "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name='main' AND table_name=?",
                        [item.name],
                    ).fetchall()
                }
                if not present:
                    self._create_table(cursor, item)
                else:
                    self._change_table(cursor, item, present)

    def _change_table(
        self, cursor: duckdb.DuckDBPyConnection, item: SObject, present: Mapping[str, tuple[str, str]]
    ) -> None:
        """Bring a table in step with its object: columns added, retyped (what does not fit becomes null), dropped."""
        table, wanted = quote(item.name), columns(item)
        added = {name: kind for name, kind in wanted.items() if name.lower() not in present}
        retyped = {
            name: kind for name, kind in wanted.items()
            if name.lower() in present and _plain_type(present[name.lower()][1]) != _plain_type(kind)
        }  # fmt: skip
        kept = {name.lower() for name in wanted}
        dropped = [name for lower, (name, _) in present.items() if lower not in kept]
        if not (added or retyped or dropped):
            return
        # Columns of a table with an index cannot change.
        index = quote("_id " + item.name)
        cursor.execute(f"DROP INDEX IF EXISTS {index}")
        for name, kind in added.items():
            cursor.execute(f"ALTER TABLE {table} ADD COLUMN {quote(name)} {kind}")
        for name, kind in retyped.items():
            column = quote(name)
            cursor.execute(
                f"ALTER TABLE {table} ALTER {column} SET DATA TYPE {kind} USING TRY_CAST({column} AS {kind})"
            )
        for name in dropped:
            cursor.execute(f"ALTER TABLE {table} DROP COLUMN {quote(name)}")
        cursor.execute(f'CREATE UNIQUE INDEX {index} ON {table} ("Id")')

    def close(self) -> None:
        """Write the log into the file and let go of it."""
        with self._lock:
            self._connection.close()
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read cursor on the committed state, or that of the transaction which this thread is in."""
        active: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if active is not None:
            yield active
            return
        cursor = self._connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A write transaction: all or nothing, one at a time; the cursor sees its own writes.

        Inside another transaction of the same thread it joins that one.
        """
        active: duckdb.DuckDBPyConnection | None = getattr(self._local, "cursor", None)
        if active is not None:
            yield active
            return
        with self._lock:
            cursor = self._connection.cursor()
            cursor.execute("BEGIN TRANSACTION")
            self._moved.clear()
            self._local.cursor = cursor
            try:
                yield cursor
                self._save_counters(cursor)
                cursor.execute("COMMIT")
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            finally:
                self._local.cursor = None
                cursor.close()

    def _save_counters(self, cursor: duckdb.DuckDBPyConnection) -> None:
        for name in self._moved:
            cursor.execute("DELETE FROM _org.counters WHERE name=?", [name])
            cursor.execute("INSERT INTO _org.counters VALUES (?, ?)", [name, self._counters[name]])
        self._moved.clear()

    def count_up(self, name: str, count: int, *, start: int = 1) -> int:
        """Reserve `count` numbers of a counter and give the first; call inside a transaction."""
        first = self._counters.get(name, start)
        self._counters[name] = first + count
        self._moved.add(name)
        return first

    def new_ids(self, sobject: SObject, count: int) -> pl.Series:
        """Reserve ids of an object (String, 18 characters); call inside a transaction."""
        prefix = sobject.key_prefix or "000"
        return id_range(prefix, self.pod, self.count_up(f"id {sobject.name}", count), count)

    def rows(self, sql: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query on the committed state."""
        with self.cursor() as cursor:
            return cursor.execute(sql, parameters or []).fetchall()

    def frame(self, sql: str, parameters: list[Any] | None = None) -> pl.DataFrame:
        """A query on the committed state as a frame."""
        with self.cursor() as cursor:
            return select(cursor, sql, parameters)

    def note(self, name: str) -> Any:
        """A small value remembered with the data, or None."""
        found = self.rows("SELECT value FROM _org.notes WHERE name=?", [name])
        return json.loads(found[0][0]) if found else None

    def set_note(self, name: str, value: Any) -> None:
        """Remember a small JSON value with the data."""
        with self.transaction() as cursor:
            cursor.execute("DELETE FROM _org.notes WHERE name=?", [name])
            cursor.execute("INSERT INTO _org.notes VALUES (?, ?)", [name, json.dumps(value)])

    def counts(self) -> Mapping[str, int]:
        """Object -> rows that are not deleted, for every object."""
        with self.cursor() as cursor:
            answer: dict[str, int] = {}
            for item in self.schema:
                found = cursor.execute(f'SELECT count(*) FROM {quote(item.name)} WHERE NOT "IsDeleted"').fetchall()
                answer[item.name] = int(found[0][0])
            return answer


def _plain_type(kind: str) -> str:
    return kind.replace(" ", "").upper()


def select(
    cursor: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | dict[str, Any] | None = None
) -> pl.DataFrame:
    """A query as a frame, on the state that the cursor's transaction sees."""
    frame = cursor.sql(sql, params=parameters or None).pl()
    assert isinstance(frame, pl.DataFrame)
    return frame


@contextmanager
def registered(cursor: duckdb.DuckDBPyConnection, **frames: pl.DataFrame) -> Iterator[None]:
    """Let SQL on this cursor read frames by name while the block runs."""
    for name, frame in frames.items():
        cursor.register(name, frame)
    try:
        yield
    finally:
        for name in frames:
            cursor.unregister(name)


def insert_frame(cursor: duckdb.DuckDBPyConnection, sobject: SObject, frame: pl.DataFrame) -> None:
    """Append rows whose columns carry the table's names; absent columns become null."""
    kinds = columns(sobject)
    names = [name for name in kinds if name in frame.columns]
    targets = ", ".join(quote(name) for name in names)
    with registered(cursor, _new_rows=frame.select(names)):
        cursor.execute(f"INSERT INTO {quote(sobject.name)} ({targets}) SELECT {targets} FROM _new_rows")


def polars_type(kind: str) -> pl.DataType:
    """The Polars type that goes into a DuckDB column of that type unchanged."""
    if kind.startswith("DECIMAL"):
        return pl.Decimal(38, int(kind.rstrip(")").split(",")[1]))
    return {
        "BOOLEAN": pl.Boolean(),
        "BIGINT": pl.Int64(),
        "DOUBLE": pl.Float64(),
        "DATE": pl.Date(),
        "TIMESTAMP": pl.Datetime("us"),
        "TIME": pl.Time(),
        "BLOB": pl.Binary(),
    }.get(kind, pl.String())


def field_types(sobject: SObject) -> dict[str, pl.DataType]:
    """Column name -> Polars type for an object's table."""
    return {name: polars_type(kind) for name, kind in columns(sobject).items()}


def _take_lock(folder: Path) -> int:
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle, 400, 0).decode(errors="replace").strip() or "another process"
        os.close(handle)
        raise StoreError(
            f"The local org in {folder} is already open ({holder}). Stop that server, or use another folder.",
            folder=str(folder),
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()}".encode(), 0)
    return handle
