"""Before-images of what an upsert may find.

A row that remap decided to insert goes out as an upsert where the plan has a migration key. Remap found no record
with its key; one that came into the target since (another tool, another run) is updated by the upsert, so its values
are kept before anything of the wave is sent: one read of the records that were touched since the run was opened.
"""

from __future__ import annotations

import polars as pl

from isync_dagster.migration import reading
from isync_dagster.migration.closing import touched_since
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.target import ID, stamp_fields
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.ids import to18
from isync_dagster.records.payload import insert_payload, inserted_fields
from isync_dagster.schema.model import Field
from isync_dagster.store.runs import Run


def keep_upsert_images(
    job: SyncJob, run: Run, plan: ObjectPlan, rows: pl.LazyFrame, wave: int, stage: str = "load"
) -> None:
    """Keep the present values of the target's records that the upserts of a wave (decided `rows`) would update."""
    key, name = plan.migration_key, f"{wave:05d}" if stage == "load" else f"{stage}-{wave:05d}"
    part = f"upsert-{name}"
    before = run.before(plan.object)
    if key is None or before.has(part):
        return
    payload = insert_payload(rows, plan)
    if payload.head(1).collect().is_empty():
        return
    sent = {name: field for name, field in inserted_fields(plan).items() if field.updateable and name != key}
    fields = (ID, Field(key), *sent.values())
    folder = run.folder / "upserts" / plan.object / name
    touched = touched_since(run, [field.name for field in stamp_fields(job, plan.target_object)])
    reading.read(
        job,
        job.target,
        object=plan.target_object,
        fields=fields,
        where=" AND ".join(part for part in (touched, f"{key} != null") if part),
        folder=folder,
        stage="load",
    )
    there = reading.scan(folder, fields).with_columns(to18(pl.col(key)).alias("_key")).drop(key)
    said = pl.concat_list(pl.when(pl.col(name).is_not_null()).then(pl.lit(name)) for name in sent)
    changed = said.list.drop_nulls() if sent else pl.lit([], dtype=pl.List(pl.String))
    # Rows of the payload that find a record: none, unless somebody else brought it meanwhile.
    found = payload.select(to18(pl.col(key)).alias("_key"), changed.alias("_changed"))
    before.write(part, there.join(found, on="_key", how="inner").select("Id", "_changed", *sent))
