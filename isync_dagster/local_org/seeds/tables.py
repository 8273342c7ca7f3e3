"""Data sets that are tables: folders of CSV or Parquet files, one an object, and SFDMU projects.

A column `Id` is the row's key in the data set. A column of a path (`TaxPolicy.Name`,
`Parent__r.$$Name$Site__r.Code__c`) names the parent by its own columns instead of an id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from isync_dagster.errors import DataError
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.seeds.dataset import REF, DataSet
from isync_dagster.schema.model import Field, SObject

SEPARATORS: Final = (",", ";", "\t", "|", "^", "`")
EMPTY: Final = ("", "#N/A")

# Parents that are named by a natural key and are no rows of the data set.
NATURAL: Final = {
    "RecordType": ("DeveloperName", "Name"),
    "Profile": ("Name",),
    "User": ("Username",),
    "Group": ("DeveloperName",),
}


def read_tables(folder: Path, schema: OrgSchema) -> DataSet:
    """The data set of a folder's `<Object>.csv` and `<Object>.parquet` files."""
    files = sorted(file for file in Path(folder).iterdir() if file.suffix.lower() in (".csv", ".parquet"))
    if not files:
        raise DataError(f"{folder} holds no .csv or .parquet file", file=str(folder))
    data = DataSet()
    for file in files:
        sobject = schema.get(file.stem)
        data.add(sobject.name if sobject else file.stem, read_table(file), file.name)
    return link(data, schema)


def read_table(file: Path) -> pl.DataFrame:
    """One file as text columns (an empty cell and `#N/A` are null); the separator is the one its header uses."""
    file = Path(file)
    if file.suffix.lower() == ".parquet":
        frame = pl.read_parquet(file)
    else:
        header = file.open(encoding="utf-8-sig").readline()
        separator = max(SEPARATORS, key=lambda mark: (header.count(mark), mark == ","))
        frame = pl.read_csv(file, infer_schema=False, separator=separator, encoding="utf8")
        frame = frame.rename({name: name.lstrip("\ufeff") for name in frame.columns})
    text = [pl.col(name) for name, dtype in frame.schema.items() if dtype == pl.String]
    return frame.with_columns([pl.when(~column.is_in(EMPTY)).then(column).name.keep() for column in text])


def read_sfdmu(folder: Path, schema: OrgSchema) -> DataSet:
    """The data set of an SFDMU project: export.json and its CSV files, later object sets laid over the first.

    Rows of a later set find theirs by the set's external id; what they hold replaces what was there.
    """
    folder = Path(folder)
    try:
        project = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}/export.json cannot be read: {error}", file=str(folder)) from error
    sets: list[dict[str, Any]] = project.get("objectSets") or [{"objects": project.get("objects", [])}]
    data = DataSet()
    for number, step in enumerate(sets, 1):
        place = folder if number == 1 else folder / "objectset_source" / f"object-set-{number}"
        for entry in step["objects"]:
            name = _object_of(entry)
            file = place / f"{name}.csv"
            if entry.get("excluded") or not file.exists():
                continue
            sobject = schema.get(name)
            frame = read_table(file)
            if name in data.frames:
                data.frames[name] = _laid_over(data.frames[name], frame, str(entry.get("externalId") or "Name"))
            elif frame.height:
                data.add(sobject.name if sobject else name, frame, file.name)
    for file in sorted(folder.glob("*.csv")):
        # Objects that are only referred to are exported with their key and have no entry of their own.
        if file.stem not in data.frames and schema.get(file.stem) is not None and read_table(file).height:
            data.add(file.stem, read_table(file), file.name)
    return link(data, schema)


def link(data: DataSet, schema: OrgSchema) -> DataSet:
    """The data set with columns of paths replaced by lookups that hold the parents' keys.

    DataError names file, record and column where a parent is not among the rows.
    """
    keyed = {name: _with_key(name, frame) for name, frame in data.frames.items()}
    linked = DataSet(origins=dict(data.origins), links=dict(data.links))
    for name, frame in keyed.items():
        sobject = schema.get(name)
        spelled = frame
        for column in frame.columns:
            if "." in column or column.startswith("$$"):
                if sobject is not None and not column.startswith("$$"):
                    spelled = _linked(spelled, column, sobject, schema, keyed, data.origins.get(name, ""))
                spelled = spelled.drop(column, strict=False)
            elif sobject is not None and (field := sobject.field(column)) is not None and field.name != column:
                spelled = spelled.rename({column: field.name})
        linked.frames[name] = spelled
    return linked


def _object_of(entry: dict[str, Any]) -> str:
    found = re.search(r"\bFROM\s+(\w+)", str(entry.get("query", "")), re.IGNORECASE)
    if found is None:
        raise DataError(f"export.json: no object in the query {entry.get('query')!r}")
    return found[1]


def _laid_over(frame: pl.DataFrame, later: pl.DataFrame, external_id: str) -> pl.DataFrame:
    keys = [key for key in external_id.split(";") if key in frame.columns and key in later.columns]
    later = later.unique(keys, keep="last", maintain_order=True)
    joined = frame.join(later, on=keys, how="left", suffix="\x00", maintain_order="left")
    both = [name for name in later.columns if name in frame.columns and name not in keys]
    return joined.with_columns([pl.coalesce(f"{name}\x00", name).alias(name) for name in both]).drop(
        [f"{name}\x00" for name in both]
    )


def _with_key(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    """`_ref` from the column Id, else from the row number."""
    if REF in frame.columns:
        return frame
    known = next((column for column in frame.columns if column.lower() == "id"), None)
    if known is not None:
        return frame.rename({known: REF})
    return frame.with_columns(pl.concat_str([pl.lit(f"{name}#"), pl.int_range(pl.len()).cast(pl.String)]).alias(REF))


def _linked(
    frame: pl.DataFrame,
    column: str,
    sobject: SObject,
    schema: OrgSchema,
    keyed: dict[str, pl.DataFrame],
    origin: str,
) -> pl.DataFrame:
    relationship, _, path = column.partition(".")
    field = schema.relationship(sobject, relationship)
    if field is None:
        raise DataError(f"{origin}: {sobject.name} has no relationship {relationship!r} ({column})", field=column)
    if field.name in frame.columns and frame[field.name].null_count() < frame.height:
        return frame  # the ids themselves are there, too
    parts = path.removeprefix("$$").split("$") if path.startswith("$$") else [path]
    values = frame.select(REF, pl.col(column).alias("key"))
    parents = [keyed[name] for name in field.reference_to if name in keyed and set(parts) <= set(keyed[name].columns)]
    if not parents:
        return frame.with_columns(_natural(field, sobject, parts, column))
    index = pl.concat([_index(parent, parts) for parent in parents]).unique("key", keep="first", maintain_order=True)
    found = values.join(index, on="key", how="left", maintain_order="left")
    lost = found.filter(pl.col("parent").is_null() & pl.col("key").is_not_null())
    if lost.height:
        record, value = lost.row(0)[:2]
        raise DataError(
            f"{origin}: {sobject.name} record {record} refers by {column} to {value!r}, which no row has "
            f"({lost.height} such record(s))",
            file=origin,
            record=record,
            field=column,
        )
    return frame.with_columns(found["parent"].alias(field.name))


def _index(parent: pl.DataFrame, parts: Sequence[str]) -> pl.DataFrame:
    key = pl.concat_str([pl.col(part).fill_null("") for part in parts], separator=";")
    return parent.select(key.alias("key"), pl.col(REF).alias("parent"))


def _natural(field: Field, sobject: SObject, parts: Sequence[str], column: str) -> pl.Expr:
    """A key of `known_keys` for parents that every org holds; nothing for other parents without rows."""
    for parent, names in NATURAL.items():
        if parent in field.reference_to and parts[0] in names:
            before = f"{parent}/{sobject.name}." if parent == "RecordType" else f"{parent}/"
            return pl.concat_str([pl.lit(before), pl.col(column)]).alias(field.name)
    return pl.lit(None, dtype=pl.String).alias(field.name)
