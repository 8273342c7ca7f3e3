"""CumulusCI data sets: an SQLite dump and the mapping that says which table holds which object."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from isync_dagster.errors import DataError
from isync_dagster.local_org.seeds.dataset import REF, DataSet
from isync_dagster.schema.model import SObject

_DENIED = frozenset({sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_CREATE_VTABLE})


def read_cumulusci(sql: Path, mapping: Path, objects: Mapping[str, SObject] | None = None) -> DataSet:
    """The data set of a dump and its mapping: keys are `table-id`, record types by developer name.

    Tables that the mapping names and the dump lacks are left out, as are columns. Lookups may point at several
    tables, whose rows are then named `table-id` in the dump itself. With `objects`, columns that carry the name of a
    field are taken along although the mapping has forgotten them.
    """
    steps = _mapping(Path(mapping))
    data = DataSet()
    with _database(Path(sql)) as database:
        tables = {
            str(row[0]).lower(): str(row[0])
            for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        for name, step in steps.items():
            table = tables.get(str(step.get("table") or step.get("sf_object") or name).lower())
            if table is not None:
                sobject = str(step.get("sf_object") or name)
                step = {**step, **_forgotten(database, table, step, steps, (objects or {}).get(sobject))}
                _step(data, database, tables, table, step, steps, Path(sql).name, name)
    return data


def _step(
    data: DataSet,
    database: sqlite3.Connection,
    tables: Mapping[str, str],
    table: str,
    step: Mapping[str, Any],
    steps: Mapping[str, Mapping[str, Any]],
    origin: str,
    called: str,
) -> None:
    sobject = str(step.get("sf_object") or called)
    rows, key = _rows(database, table, step.get("filters"))
    columns = {column.lower(): column for column in rows.columns}
    loose = {_loose(column): column for column in rows.columns}
    chosen: dict[str, pl.Expr] = {REF: _keyed(pl.col(key), [table])}
    for field, column in _fields(step.get("fields")).items():
        source = columns.get(column.lower())
        if field != "Id" and source is not None:
            chosen[field] = pl.col(source)
    for field, lookup in (step.get("lookups") or {}).items():
        known = lookup or {}
        source = loose.get(_loose(str(known.get("key_field") or field))) or loose.get(_loose(field))
        if source is None:
            continue
        parents = known.get("table")
        names = [parents] if isinstance(parents, str) else list(parents or [])
        target = str(known.get("name") or field)
        chosen[target] = _keyed(pl.col(source), [tables.get(name.lower(), name) for name in names])
        data.links[sobject, target] = _objects_of(names, steps)
    for field, value in (step.get("static") or {}).items():
        chosen[field] = pl.lit(str(value))
    if step.get("record_type"):
        chosen["RecordTypeId"] = pl.lit(f"RecordType/{sobject}.{step['record_type']}")
    elif "RecordTypeId" in chosen:
        chosen["RecordTypeId"] = _record_types(database, tables, table, sobject, chosen["RecordTypeId"])
    data.add(sobject, rows.select([value.alias(name) for name, value in chosen.items()]), origin)


def _forgotten(
    database: sqlite3.Connection,
    table: str,
    step: Mapping[str, Any],
    steps: Mapping[str, Mapping[str, Any]],
    sobject: SObject | None,
) -> dict[str, Any]:
    """The step's fields and lookups with the table's columns that are fields of the object and not mapped."""
    if sobject is None:
        return {}
    fields, lookups = _fields(step.get("fields")), dict(step.get("lookups") or {})
    taken = {_loose(column) for column in fields.values()}
    taken |= {_loose(str((item or {}).get("key_field") or name)) for name, item in lookups.items()}
    loaded = {str(item.get("sf_object") or name): str(item.get("table") or item.get("sf_object") or name)
              for name, item in steps.items()}  # fmt: skip
    for (column,) in database.execute(f"SELECT name FROM pragma_table_info('{table}') WHERE pk = 0").fetchall():
        field = sobject.field(str(column))
        if field is None or _loose(column) in taken:
            continue
        if not field.is_reference:
            fields[field.name] = column
        elif parents := [loaded[name] for name in field.reference_to if name in loaded]:
            lookups[field.name] = {"table": parents, "key_field": column}
    return {"fields": fields, "lookups": lookups}


def _loose(name: str) -> str:
    """A name without case and underscores: CampaignId is the column campaign_id of older dumps."""
    return name.lower().replace("_", "")


def _keyed(column: pl.Expr, tables: Sequence[str]) -> pl.Expr:
    """Local ids with their table before them, where the dump has not put it there."""
    if not tables:
        return column
    whole = pl.any_horizontal([column.str.starts_with(f"{table}-") for table in tables])
    return pl.when(whole | column.is_null()).then(column).otherwise(pl.concat_str([pl.lit(f"{tables[0]}-"), column]))


def _fields(fields: Any) -> dict[str, str]:
    """Field -> column, from a mapping or from a list of names that serve as both."""
    if isinstance(fields, Mapping):
        return {str(field): str(column) for field, column in fields.items()}
    return {str(field): str(field) for field in fields or ()}


def _objects_of(tables: Sequence[str], steps: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The objects that the steps load from these tables."""
    wanted = {table.lower() for table in tables}
    found = [
        str(step.get("sf_object") or name)
        for name, step in steps.items()
        if str(step.get("table") or step.get("sf_object") or name).lower() in wanted
    ]
    return tuple(dict.fromkeys(found))


def _rows(database: sqlite3.Connection, table: str, filters: Any) -> tuple[pl.DataFrame, str]:
    """All rows of a table as text (empty is null), and the name of its key column."""
    info = database.execute(f"SELECT name, pk FROM pragma_table_info('{table}')").fetchall()
    names = [str(name) for name, _ in info]
    key = next((str(name) for name, rank in info if rank), names[0])
    conditions = [filters] if isinstance(filters, str) else list(filters or ())
    where = " AND ".join(f"({condition})" for condition in conditions)
    chosen = ", ".join(f"""nullif(CAST("{name}" AS TEXT), '') AS "{name}" """ for name in names)
    text = f'SELECT {chosen} FROM "{table}"' + (f" WHERE {where}" if where else "")
    found = database.execute(text).fetchall()
    return pl.DataFrame(found, schema=dict.fromkeys(names, pl.String), orient="row"), key


def _record_types(
    database: sqlite3.Connection, tables: Mapping[str, str], table: str, sobject: str, column: pl.Expr
) -> pl.Expr:
    """The record type ids of the dump as developer names, by the table that maps them."""
    mapped = tables.get(f"{table}_rt_mapping".lower()) or tables.get(f"{sobject}_rt_mapping".lower())
    if mapped is None:
        return pl.lit(None, dtype=pl.String)
    known = dict(database.execute(f'SELECT record_type_id, developer_name FROM "{mapped}"').fetchall())
    names = [f"RecordType/{sobject}.{name}" for name in known.values()]
    return column.replace_strict(list(known), names, default=None, return_dtype=pl.String)


def _database(sql: Path) -> sqlite3.Connection:
    """The dump in memory; it may make tables and rows, and reach no file."""
    database = sqlite3.connect(":memory:")
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action in _DENIED else sqlite3.SQLITE_OK)
    try:
        database.executescript(sql.read_text(encoding="utf-8"))
    except (OSError, sqlite3.Error) as error:
        database.close()
        raise DataError(f"{sql} cannot be read as an SQLite dump: {error}", file=str(sql)) from error
    return database


def _mapping(path: Path) -> dict[str, Mapping[str, Any]]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read as a mapping: {error}", file=str(path)) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is no mapping: it must name steps with sf_object and fields", file=str(path))
    return {str(name): step or {} for name, step in found.items()}
