"""Find out what became of rows whose outcome is not known, by looking at the target.

'Unprocessed' is not 'uncommitted' and a lost answer is not a refusal, so rows that were sent without a
paired result are looked for in the target before they are sent again: among the records that the migrating
user created since the send, by equality of content after canonicalisation. A row that is found counts as
done; a row that is not found is provably absent as long as no candidate is left over that could be it in
changed form; else it is `unknown`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
from upath import UPath

from isync_dagster.migration import reading
from isync_dagster.migration.live import user_of
from isync_dagster.migration.model import SyncJob
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.typing import canonical, typed
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.model import Field

CLOCK_SKEW = timedelta(minutes=2)
"""How far before the send the search begins: the org's clocks need not agree to the second."""


@dataclass(frozen=True)
class Settled:
    """`found`: _row, target_id. `absent` and `unknown`: _row."""

    found: pl.DataFrame
    absent: pl.DataFrame
    unknown: pl.DataFrame


def settle_inserts(
    job: SyncJob,
    plan: ObjectPlan,
    rows: pl.DataFrame,
    *,
    columns: Sequence[str],
    since: datetime,
    taken: pl.Series,
    folder: UPath,
) -> Settled:
    """Settle inserted `rows` (_row and the sent `columns` as wire strings) against the target.

    `taken` are target ids that other rows already claim: results that paired, id map. The candidates are
    read into `folder`. Rows that are equal in every sent column are interchangeable.
    """
    fields = [field for field in sent_fields(plan, columns) if field.bulk_selectable]
    candidates = candidates_since(job, plan, fields, since=since, folder=folder)
    free = candidates.filter(~pl.col("Id").is_in(taken.implode()))
    return match_content(rows, free, fields)


def settle_ids(
    job: SyncJob, plan: ObjectPlan, rows: pl.DataFrame, ids: pl.Series, *, columns: Sequence[str], folder: UPath
) -> Settled:
    """Settle rows against the records of the `ids` that Salesforce returned without an echo that pairs."""
    fields = [field for field in sent_fields(plan, columns) if field.bulk_selectable]
    parts: list[pl.LazyFrame] = []
    named = (Field(name="Id", type="id"), *fields)
    for start in range(0, len(ids), 500):
        quoted = ", ".join(f"'{value}'" for value in ids.slice(start, 500).to_list())
        part = folder / f"{start:08d}"
        reading.read(
            job,
            job.target,
            object=plan.target_object,
            fields=named,
            where=f"Id IN ({quoted})",
            folder=part,
            stage="settle",
        )
        parts.append(reading.scan(part, named))
    return match_content(rows, pl.concat(parts).collect(), fields)


def sent_fields(plan: ObjectPlan, columns: Sequence[str]) -> list[Field]:
    """The target describes of the sent columns."""
    known = {mapping.target.name: mapping.target for mapping in plan.fields}
    known |= {lookup.target.name: lookup.target for lookup in plan.lookups}
    return [known[name] for name in columns if name in known]


def candidates_since(
    job: SyncJob, plan: ObjectPlan, fields: Sequence[Field], *, since: datetime, folder: UPath
) -> pl.DataFrame:
    """Records of the target object that this user may have made since the send: Id and the sent fields, typed.

    Whoever changed a record since is no matter: what was sent counts as ours by its creator and time of creation,
    unless these are sent themselves (audit fields).
    """
    stamp = (since - CLOCK_SKEW).strftime("%Y-%m-%dT%H:%M:%SZ")
    described = job.target.describe(plan.target_object)
    sent = {field.name for field in fields}
    conditions = [f"SystemModstamp >= {stamp}"]
    if "CreatedDate" not in sent and described.field("CreatedDate") is not None:
        conditions.append(f"CreatedDate >= {stamp}")
    if "CreatedById" not in sent and described.field("CreatedById") is not None:
        conditions.append(f"CreatedById = '{user_id(job.target)}'")
    named = (Field(name="Id", type="id"), *fields)
    reading.read(
        job,
        job.target,
        object=plan.target_object,
        fields=named,
        where=" AND ".join(conditions),
        folder=folder,
        stage="settle",
    )
    return reading.scan(folder, named).collect()


def made_since(job: SyncJob, plan: ObjectPlan, ids: pl.Series, *, since: datetime, folder: UPath) -> pl.Series:
    """Those of the target `ids` whose record this user created since then; none where that cannot be told."""
    described = job.target.describe(plan.target_object)
    if described.field("CreatedDate") is None or described.field("CreatedById") is None:
        return ids.clear()
    stamp = (since - CLOCK_SKEW).strftime("%Y-%m-%dT%H:%M:%SZ")
    mine = f"CreatedDate >= {stamp} AND CreatedById = '{user_id(job.target)}'"
    named = (Field(name="Id", type="id"),)
    found = [ids.clear()]
    for start in range(0, len(ids), 500):
        quoted = ", ".join(f"'{value}'" for value in ids.slice(start, 500).to_list())
        part = folder / f"{start:08d}"
        reading.read(
            job,
            job.target,
            object=plan.target_object,
            fields=named,
            where=f"Id IN ({quoted}) AND {mine}",
            folder=part,
            stage="settle",
        )
        found.append(reading.scan(part, named).collect()["Id"].alias(ids.name))
    return pl.concat(found)


def user_id(org: Org) -> str:
    """The id of the user that the tool is logged in as."""
    return user_of(org)


def match_content(rows: pl.DataFrame, candidates: pl.DataFrame, fields: Sequence[Field]) -> Settled:
    """Pair rows and candidates that are equal in every field where the row says anything.

    A sent null lets the org's default apply, so it equals any value there.

    >>> from isync_dagster.schema.model import Field
    >>> rows = pl.DataFrame({"_row": [1, 2], "Name": ["Ann", "Bob"]})
    >>> there = pl.DataFrame({"Id": ["001"], "Name": ["ann "[:3].title()]})
    >>> settled = match_content(rows, there, [Field("Name")])
    >>> settled.found.rows(), settled.absent["_row"].to_list(), settled.unknown["_row"].to_list()
    ([(1, '001')], [2], [])
    """
    keys = [f"_key.{field.name}" for field in fields]
    left = typed(rows.lazy(), fields).select(
        "_row", *[canonical(pl.col(field.name), field).alias(key) for field, key in zip(fields, keys, strict=True)]
    )
    right = candidates.lazy().select(
        "Id", *[canonical(pl.col(field.name), field).alias(key) for field, key in zip(fields, keys, strict=True)]
    )
    found: list[pl.DataFrame] = []
    remaining_left, remaining_right = left.collect(), right.collect()
    patterns = remaining_left.select(pl.concat_list([pl.col(key).is_not_null() for key in keys]).unique()).to_series()
    # Loop over patterns of filled columns, not over rows: the rows of one load share a few patterns.
    for pattern in sorted(patterns.to_list(), key=sum, reverse=True):
        said = [key for key, filled in zip(keys, pattern, strict=True) if filled]
        if not said:
            continue
        same = pl.all_horizontal(
            [pl.col(key).is_not_null() == filled for key, filled in zip(keys, pattern, strict=True)]
        )
        mine = remaining_left.filter(same).sort("_row").with_columns(_nth=pl.int_range(pl.len()).over(said))
        theirs = remaining_right.sort("Id").with_columns(_nth=pl.int_range(pl.len()).over(said))
        paired = mine.join(theirs, on=[*said, "_nth"], how="inner").select("_row", target_id="Id")
        found.append(paired)
        remaining_left = remaining_left.join(paired, on="_row", how="anti")
        remaining_right = remaining_right.join(paired, left_on="Id", right_on="target_id", how="anti")
    all_found = (
        pl.concat(found) if found else pl.DataFrame(schema={"_row": rows.schema["_row"], "target_id": pl.String})
    )
    missing = rows.select("_row").join(all_found, on="_row", how="anti")
    nothing = missing.clear()
    if remaining_right.is_empty():
        return Settled(all_found, missing, nothing)
    return Settled(all_found, nothing, missing)
