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
from isync_dagster.local_org.kill import CommitKill
from isync_dagster.local_org.org_schema import OrgSchema, columns, quote
from isync_dagster.schema.model import SObject

DATABASE: Final = "org.duckdb"
LOCK: Final = "org.lock"
NEW: Final = "new "
JOBS: Final = "bulk jobs"  # the counter of job ids, which are never given twice
BATCHES: Final = "bulk batches"  # likewise of Bulk 1.0 batch ids
MEMORY: Final = "4GB"  # at most; what does not fit is spilled beside the file
THREADS: Final = 4  # an org is one guest of the machine among others
OPTIMIZERS_OFF: Final = "common_subplan"
"""What DuckDB is not to do: in version 2.0 rows are lost where two subqueries of a condition begin alike (`test_oracle.py`)."""


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
        self.kill: CommitKill | None = None
        self.rows_left: int | None = None
        self._rows_claimed = 0
        self.row_limit = 0
        """How many rows the org may hold; 0: any number."""

    @classmethod
    def open(cls, folder: Path, schema: OrgSchema, *, seed: int = 0) -> Storage:
        """Open the database of `folder`; StoreError if another process has it open."""
        lock_file = _take_lock(folder)
        try:
            connection = duckdb.connect(
                str(folder / DATABASE),
                config={
                    "threads": str(min(_cores(), THREADS)),
                    "memory_limit": MEMORY,
                    "disabled_optimizers": OPTIMIZERS_OFF,
                },
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
            # Lookups that a delete emptied, for as long as their parent is in the recycle bin.
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS _org.emptied (object VARCHAR, field VARCHAR, child VARCHAR, parent VARCHAR)"
            )
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
            columns_of: dict[str, dict[str, tuple[str, str]]] = {}
            listed = cursor.execute(
                "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name='main'"
            ).fetchall()
            for table, column, kind in listed:
                columns_of.setdefault(table, {})[column.lower()] = (column, kind)
            for item in schema:
                present = columns_of.get(item.name)
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

    def keep_as_new(self) -> None:
        """Remember what the tables hold now: `reset` brings that back."""
        with self.transaction() as cursor:
            for item in self.schema:
                if cursor.execute(f"SELECT 1 FROM {quote(item.name)} LIMIT 1").fetchone():
                    cursor.execute(f"CREATE TABLE _org.{quote(NEW + item.name)} AS FROM {quote(item.name)}")
            self._save_counters(cursor)
            cursor.execute(f"CREATE TABLE _org.{quote(NEW)} AS FROM _org.counters")

    def reset(self, *, keep: frozenset[str]) -> None:
        """Put all tables back to what `keep_as_new` remembered, but those of `keep`; whole or not at all.

        Tables are dropped and made anew, which takes a moment whatever they hold. StoreError where nothing was
        remembered.
        """
        with self.transaction() as cursor:
            known = {
                str(row[0])
                for row in cursor.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name='_org'").fetchall()
            }
            if NEW not in known:
                raise StoreError(
                    f"The local org in {self.folder} was made by an older version, which cannot reset: make it anew.",
                    folder=str(self.folder),
                )
            for item in self.schema:
                if item.name in keep or not cursor.execute(f"SELECT 1 FROM {quote(item.name)} LIMIT 1").fetchone():
                    continue
                cursor.execute(f"DROP TABLE {quote(item.name)}")
                self._create_table(cursor, item)
                if NEW + item.name in known:
                    cursor.execute(f"INSERT INTO {quote(item.name)} BY NAME FROM _org.{quote(NEW + item.name)}")
            cursor.execute("DELETE FROM _org.emptied")
            first = dict(cursor.execute(f"SELECT name, value FROM _org.{quote(NEW)}").fetchall())
            kept = {f"id {name}" for name in keep} | {JOBS, BATCHES}
            before = dict(self._counters)
            try:
                for name in self._counters:
                    if name not in kept:
                        self._counters[name] = first.get(name, 1)
                        self._moved.add(name)
                self._save_counters(cursor)
            except BaseException:
                self._counters = before
                raise

    def checkpoint(self) -> None:
        """Write the log into the file, so that the next start has nothing to replay and the next end nothing to do."""
        with self._lock:
            self._connection.execute("CHECKPOINT")
            # The first one leaves half-filled row groups behind; the next with anything in the log merges them.
            self.set_note("checkpoint", True)
            self._connection.execute("CHECKPOINT")

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
            self._rows_claimed = 0
            self._local.cursor = cursor
            try:
                yield cursor
                self._save_counters(cursor)
                if self.kill is not None:
                    self.kill.before()
                cursor.execute("COMMIT")
                if self.kill is not None:
                    self.kill.after()
                if self.rows_left is not None:
                    self.rows_left = max(self.rows_left - self._rows_claimed, 0)
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

    def claim_rows(self, wanted: int) -> int:
        """How many of so many new rows fit into the storage; counted once the transaction ends well."""
        fit = wanted
        if self.rows_left is not None:
            fit = min(fit, self.rows_left - self._rows_claimed)
        if self.row_limit:
            fit = min(fit, max(self.row_limit - sum(self.counts().values()), 0))
        self._rows_claimed += fit
        return fit

    def count_up(self, name: str, count: int, *, start: int = 1) -> int:
        """Reserve `count` numbers of a counter and give the first; call inside a transaction."""
        first = self._counters.get(name, start)
        self._counters[name] = first + count
        self._moved.add(name)
        return first

    def count_past(self, name: str, number: int) -> None:
        """Let a counter go on after a number; call inside a transaction."""
        self.count_up(name, max(number + 1 - self._counters.get(name, 1), 0))

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
        # Polars' own text layout, which DuckDB reads as it lies: no copy of the strings.
        cursor.register(name, frame.to_arrow(compat_level=pl.CompatLevel.newest()))
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


def _cores() -> int:
    """The cores that this process may use; more threads than these cost a quarter of an insert's time."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
