"""Whole tables of a local org as Parquet: out of it, and into it with Ids, audit fields and all.

One file an object, `<Object>.parquet`, with all stored columns in the table's own types (`storage.field_types`).
Rows stream between file and database: memory stays bounded whatever the size. For rows that should get Ids of the
org's own, and for data that refers to each other by local keys, load them instead (`isync local-org fill`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.faults import nearest
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.org_schema import BASE62, columns, quote
from isync_dagster.schema.model import SObject

ITSELF: Final = "Organization"  # its row is the org's identity


@dataclass(frozen=True)
class Imported:
    """What became of one file: rows that came in, and rows whose Id the org held before (left as they were)."""

    rows: int
    present: int


def export_parquet(org: LocalOrg, folder: Path) -> dict[str, int]:
    """Write every object that has rows, deleted ones included; gives object -> rows. The folder must be new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty: name a new folder for the export.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    written: dict[str, int] = {}
    with org.storage.cursor() as cursor:
        # One transaction: all files show the org at one moment.
        cursor.execute("BEGIN TRANSACTION")
        for item in org.schema:
            found = cursor.execute(f"SELECT count(*) FROM {quote(item.name)}").fetchone()
            if item.name == ITSELF or not found or not found[0]:
                continue
            target = folder / f"{item.name}.parquet"
            cursor.execute(f"COPY {quote(item.name)} TO {_text(target)} (FORMAT parquet, COMPRESSION zstd)")
            written[item.name] = int(found[0])
        cursor.execute("COMMIT")
    return written


def import_parquet(org: LocalOrg, folder: Path) -> dict[str, Imported]:
    """Take the files of a folder in, each whole or not at all; gives object -> what became of its rows.

    Every file needs an `Id` column (18 characters). All files are checked before the first row comes in: ConfigError
    where one is no Parquet, names an object or a field that the org has not, or has no Ids.
    """
    files = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    if not files:
        raise ConfigError(f"{folder} holds no .parquet file: name a folder with one <Object>.parquet an object.")
    plan = [(file, _object_of(org, file)) for file in files if file.stem != ITSELF]
    given = {file: _columns_of(org, file, item) for file, item in plan}
    done = {item.name: _take_in(org, file, item, given[file]) for file, item in plan}
    org.storage.checkpoint()
    return done


def _object_of(org: LocalOrg, file: Path) -> SObject:
    found = org.schema.get(file.stem)
    if found is None:
        close = nearest(file.stem, [item.name for item in org.schema])
        raise ConfigError(f"{file}: the org has no object {file.stem}{close if close[0] == ':' else '.'}")
    return found


def _columns_of(org: LocalOrg, file: Path, item: SObject) -> list[str]:
    try:
        with org.storage.cursor() as cursor:
            described = cursor.execute(f"DESCRIBE SELECT * FROM read_parquet({_text(file)})").fetchall()
            given = [str(row[0]) for row in described]
            stored = columns(item)
            for name in given:
                if name not in stored:
                    close = nearest(name, stored)
                    raise ConfigError(
                        f"{file}: {item.name} has no stored field {name}{close if close[0] == ':' else '.'}"
                    )
            if "Id" not in given:
                raise ConfigError(f"{file} has no Id column: `isync local-org fill` loads rows and gives them Ids.")
            prefix = item.key_prefix or ""
            bad = cursor.execute(
                f'SELECT "Id", count(*) OVER () FROM read_parquet({_text(file)}) WHERE "Id" IS NULL OR '
                f'NOT regexp_full_match("Id", \'[0-9A-Za-z]{{18}}\') OR NOT starts_with("Id", ?) LIMIT 1',
                [prefix],
            ).fetchone()
    except duckdb.Error as error:
        raise ConfigError(f"{file} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if bad:
        raise ConfigError(
            f"{file}: {bad[1]} row(s) have no Id of {item.name} (18 characters that begin with {prefix}), such as "
            f"{bad[0]!r}."
        )
    return given


def _take_in(org: LocalOrg, file: Path, item: SObject, given: list[str]) -> Imported:
    table = quote(item.name)
    # What every row has, where the file does not bring it.
    filled = {
        "IsDeleted": "false", "CreatedDate": "$now", "LastModifiedDate": "$now", "SystemModstamp": "$now",
        "CreatedById": "$user", "LastModifiedById": "$user", "OwnerId": "$user",
    }  # fmt: skip
    absent = {name: value for name, value in filled.items() if name in columns(item) and name not in given}
    actor = org.actor()
    known = {"$now": ("now", actor.now), "$user": ("user", actor.user_id)}
    parameters = dict(known[value] for value in absent.values() if value in known)
    names = [*given, *absent]
    listed = ", ".join(quote(name) for name in names)
    values = ", ".join([*(f"s.{quote(name)}" for name in given), *absent.values()])
    source = f"read_parquet({_text(file)}) s"
    with org.storage.transaction() as cursor:
        try:
            total = cursor.execute(f"SELECT count(*) FROM {source}").fetchone()
            empty = not cursor.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()
            fresh = "" if empty else f' WHERE s."Id" NOT IN (SELECT "Id" FROM {table})'
            added = cursor.execute(
                f"INSERT INTO {table} ({listed}) SELECT {values} FROM {source}{fresh}", parameters or None
            ).fetchone()
        except duckdb.Error as error:
            raise ConfigError(f"{file} does not fit {item.name}: {str(error).splitlines()[0]}") from error
        assert total is not None and added is not None
        newest = cursor.execute(
            f'SELECT max("Id") FROM {table} WHERE substr("Id", 4, 4) = ?', [f"{org.storage.pod}0"]
        ).fetchone()
        if newest and newest[0]:
            org.storage.count_past(f"id {item.name}", _number(str(newest[0])))
    return Imported(int(added[0]), int(total[0]) - int(added[0]))


def _number(record_id: str) -> int:
    """The counter of an id of the org's own.

    >>> _number("0015g0000000010AAA")
    62
    """
    value = 0
    for char in record_id[7:15]:
        value = value * 62 + BASE62.index(char)
    return value


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
