"""Rows of many objects that refer to each other by local keys, and their way into a local org.

A frame of a data set has one row a record: `_ref` (String, its key in the data set), values under field names,
and lookups that hold the `_ref` of another row (of any object), a real id, or one of the keys of `known_keys`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from isync_dagster.errors import DataError
from isync_dagster.local_org.ids import ID_PATTERN
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.storage import registered
from isync_dagster.schema.model import Field, SObject

REF = "_ref"


@dataclass
class DataSet:
    """Object -> frame, in the order of the source.

    `origins` says which file an object's rows came from; `links` which objects a lookup points at, by object and
    field, where the source says so.
    """

    frames: dict[str, pl.DataFrame] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    links: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def add(self, name: str, frame: pl.DataFrame, origin: str = "") -> None:
        """Add rows of an object; more rows of the same object are appended, new columns and all."""
        if name in self.frames:
            frame = pl.concat([self.frames[name], frame], how="diagonal_relaxed")
            origin = ", ".join(dict.fromkeys(filter(None, [self.origins.get(name, ""), origin])))
        self.frames[name] = frame
        self.origins[name] = origin

    @property
    def rows(self) -> int:
        """How many records there are in all."""
        return sum(frame.height for frame in self.frames.values())


def apply(
    org: LocalOrg, data: DataSet, *, keys: Mapping[str, str] | None = None, keep_nulls: bool = False
) -> dict[str, pl.DataFrame]:
    """Load the data set; gives object -> frame of `_ref`, `Id`, in the order of the rows.

    Ids are reserved for all rows first, so that lookups resolve whatever the order, cycles and self references
    included. `keys` are further local keys with their ids. With `keep_nulls` an empty cell stays empty where the
    org has a default. DataError names file, record and field of a reference to a missing row.
    """
    made = {name: _reserve(org, name, frame) for name, frame in data.frames.items()}
    known = {**known_keys(org), **(keys or {})}
    keyed = pl.DataFrame({REF: list(known), "Id": list(known.values())}, schema={REF: pl.String, "Id": pl.String})
    index = pl.concat([keyed, *(frame.select(REF, "Id") for frame in made.values())]).unique(REF, keep="last")
    for name, frame in data.frames.items():
        sobject = org.describe(name)
        resolved = _resolve(org, frame, sobject, index, data.origins.get(name, ""))
        resolved = resolved.with_columns(made[name]["Id"]).drop(REF, strict=False)
        org.load(name, resolved)
        if keep_nulls:
            _empty_again(org, sobject, resolved)
    return made


def known_keys(org: LocalOrg) -> dict[str, str]:
    """Keys of what every org holds by itself.

    `RecordType/Account.Business`, `Profile/Standard User`, `Pricebook2/Standard` and `User/<username>`.
    """
    found: dict[str, str] = {}
    for item in org.schema:
        for info in item.record_type_infos:
            if not info.master:
                found[f"RecordType/{item.name}.{info.name}"] = info.record_type_id
                found[f"RecordType/{item.name}.{info.developer_name}"] = info.record_type_id
    for name, key in (("Profile", "Name"), ("User", "Username"), ("Group", "DeveloperName")):
        if org.schema.get(name) is not None:
            table = org.table(name).select("Id", key).drop_nulls()
            found |= {f"{name}/{value}": row_id for row_id, value in table.iter_rows()}
    if org.schema.get("Pricebook2") is not None:
        standard = org.table("Pricebook2").filter(pl.col("IsStandard"))["Id"]
        if standard.len():
            found["Pricebook2/Standard"] = standard[0]
    return found


def _reserve(org: LocalOrg, name: str, frame: pl.DataFrame) -> pl.DataFrame:
    sobject = org.describe(name)
    with org.storage.transaction():
        ids = org.storage.new_ids(sobject, frame.height)
    refs = frame[REF].cast(pl.String) if REF in frame.columns else pl.Series(REF, [None] * frame.height, pl.String)
    return pl.DataFrame({REF: refs, "Id": ids})


def _resolve(org: LocalOrg, frame: pl.DataFrame, sobject: SObject, index: pl.DataFrame, origin: str) -> pl.DataFrame:
    for column in references(frame, sobject):
        name = column.name
        values = frame.select(pl.col(name).cast(pl.String).replace("", None).alias(REF))
        found = values.join(index, on=REF, how="left", maintain_order="left").with_row_index("row")
        lost = found.filter(pl.col("Id").is_null() & pl.col(REF).is_not_null())
        if lost.height:
            # A real id stands for itself where the org holds that record; people of another org are not brought along.
            real = _held(org, lost[REF])
            found = found.join(real, on=REF, how="left", maintain_order="left").with_columns(pl.coalesce("Id", "real"))
            lost = found.filter(pl.col("Id").is_null() & pl.col(REF).is_not_null())
            if "User" in column.reference_to:
                lost = lost.filter(~pl.col(REF).str.contains(ID_PATTERN))
        if lost.height:
            row, value = lost.row(0, named=True)["row"], lost.row(0, named=True)[REF]
            raise DataError(
                f"{origin or sobject.name}: {sobject.name} record {_called(frame, row)} refers by {name} to {value!r}, "
                f"which is not in the data set ({lost.height} such record(s)); add that record or clear the reference",
                file=origin,
                record=_called(frame, row),
                field=name,
            )
        frame = frame.with_columns(found["Id"].alias(name))
    return frame


def _held(org: LocalOrg, ids: pl.Series) -> pl.DataFrame:
    """The given ids (`_ref`) that are records of the org, each with itself as `real`."""
    wanted = ids.unique().filter(ids.unique().str.contains(ID_PATTERN))
    found = [pl.DataFrame(schema={REF: pl.String, "real": pl.String})]
    for prefix in wanted.str.head(3).unique():
        sobject = org.schema.of_id(prefix)
        if sobject is not None:
            rows = org.table(sobject.name).select(pl.col("Id").alias(REF), pl.col("Id").alias("real"))
            found.append(rows.filter(pl.col(REF).is_in(wanted.implode())))
    return pl.concat(found)


def _called(frame: pl.DataFrame, row: int) -> str:
    key = frame[REF][row] if REF in frame.columns else None
    return str(key) if key is not None else f"number {row + 1}"


def references(frame: pl.DataFrame, sobject: SObject) -> Iterable[Field]:
    """The lookup fields among the columns of a frame."""
    found = (sobject.field(column) for column in frame.columns if column != REF)
    return [item for item in found if item is not None and item.is_reference]


def _empty_again(org: LocalOrg, sobject: SObject, frame: pl.DataFrame) -> None:
    for column in frame.columns:
        item = sobject.field(column)
        if item is None or not item.nillable or not item.has_default:
            continue
        empty = frame.filter(pl.col(column).is_null()).select("Id")
        if empty.height:
            with org.storage.transaction() as cursor, registered(cursor, _empty=empty):
                cursor.execute(
                    f"UPDATE {quote(sobject.name)} SET {quote(item.name)} = NULL "
                    f'WHERE "Id" IN (SELECT "Id" FROM _empty)'
                )
