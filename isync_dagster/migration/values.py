"""Field by field and sum by sum: what was migrated beside what the target holds now.

verify/target/<Object>/           the re-read that all checks of the object share
verify/values/<Object>/           the sample's rows where the object is too big to compare whole
differences/<Object>.parquet      every differing cell: field, source_id, target_id, expected, found, why, …
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
from upath import UPath

from isync_dagster.errors import RequestError
from isync_dagster.migration import reading
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.remap import current_rows
from isync_dagster.migration.target import ID, stamp_fields
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.reconcile import (
    CELL_SCHEMA,
    TOTALS_SCHEMA,
    Column,
    cells,
    column_totals,
    compared_columns,
    differs,
    joined_hashes,
)
from isync_dagster.records.typing import typed
from isync_dagster.schema.model import Field
from isync_dagster.store import files
from isync_dagster.store.runs import Run

WRITTEN = (State.INSERTED, State.UPDATED, State.IDENTICAL)
"""States of records whose values are ours to answer for."""

CELLS_AT_ONCE = 20_000_000
"""Cells of either side whose hashes are in memory at a time: 17 bytes each."""
CELLS_KEPT = 100_000
"""Differing cells of one field that are written down; all are counted."""
SAMPLE_SEED = 5


@dataclass(frozen=True)
class Compared:
    """What the comparison of an object's fields found."""

    records: int
    """Records that were migrated."""
    sampled: int | None
    """Records of them that were compared, where that was a sample."""
    columns: pl.DataFrame
    """A row a field: `field`, `compared`, `different`, `expected`, `found` (checksums)."""
    differences: UPath | None
    """File of the differing cells; None where there are none."""

    @property
    def cells(self) -> int:
        """Cells that were compared."""
        return int(self.columns["compared"].sum())

    @property
    def different(self) -> int:
        """Cells that differ."""
        return int(self.columns["different"].sum())

    @property
    def missed(self) -> str:
        """What a sample that found nothing may have missed, as a sentence (95 %: the rule of three)."""
        if self.sampled is None:
            return ""
        share = f"1 record in {max(1, self.sampled // 3):,}"
        return (
            f" A random sample of {self.sampled:,} of {self.records:,} records was compared: what is wrong in fewer than "
            f"{share} can go unseen (at 95 %)."
        )


class Values:
    """The comparison of one object of a run; made before the target is read again, to say what must be read."""

    def __init__(self, job: SyncJob, run: Run, plan: ObjectPlan, states: pl.LazyFrame) -> None:
        self.job, self.run, self.plan = job, run, plan
        self.folder = run.folder / "verify" / "values" / plan.object
        files.remove_tree(self.folder)
        names = [lookup.target.name for lookup in plan.lookups]
        columns = ["_source_id", "_target_id", "_state", *names, *(f"_link.{name}" for name in names)]
        ours = pl.col("_state").is_in(WRITTEN) & pl.col("_target_id").is_not_null()
        self.who = states.filter(ours).select(columns)
        """Records whose values are ours to answer for: `_source_id`, `_target_id`, `_state`, and per lookup F: F, `_link.F`."""
        self.records = int(self.who.select(pl.len()).collect().item())

    @cached_property
    def rows(self) -> pl.LazyFrame:
        """The object's rows as they were decided."""
        return current_rows(self.run, self.plan.object)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The fields that are compared."""
        return compared_columns(self.plan, self.job.plan.settings.validation.exclude_fields.get(self.plan.object, ()))

    @property
    def limit(self) -> int | None:
        """How many records are compared field by field; None: all."""
        validation = self.job.plan.settings.validation
        return validation.rows if self.job.options.thorough else validation.run_rows

    @property
    def whole(self) -> bool:
        """True where every migrated record is compared."""
        return self.limit is None or self.records <= self.limit

    def wanted(self) -> list[str]:
        """The target fields that the one re-read must bring for the comparison of all records."""
        return [column.target.name for column in self.columns] if self.whole else []

    def compare(self, there: pl.LazyFrame) -> Compared:
        """Compare every field with `there` (the re-read), or with a sample read for this where the object is too big."""
        if self.whole:
            return self._compare(self.who, there, None)
        assert self.limit is not None
        # Bounded by the template: `validation.rows` or `run_rows` ids.
        picked = self.who.with_columns(_draw=pl.col("_target_id").hash(SAMPLE_SEED + self.run.number))
        sample = picked.bottom_k(self.limit, by="_draw").drop("_draw").collect()
        if {column.target.name for column in self.columns} <= set(there.collect_schema().names()):
            # The re-read rests on what was read to match, all fields with it.
            return self._compare(sample.lazy(), there, sample.height)
        return self._compare(sample.lazy(), self._sampled_rows(sample["_target_id"]), sample.height)

    def _compare(self, who: pl.LazyFrame, there: pl.LazyFrame, sampled: int | None) -> Compared:
        records = self.records if sampled is None else sampled
        width = max(1, CELLS_AT_ONCE // max(records, 1))
        groups = [self.columns[start : start + width] for start in range(0, len(self.columns), width)]
        tables = [column_totals(joined_hashes(self.rows, who, there, group), group) for group in groups]
        table = pl.concat(tables) if tables else pl.DataFrame(schema=TOTALS_SCHEMA)
        wrong = set(table.filter(pl.col("different") > 0)["field"])
        bad = [column for column in self.columns if column.target.name in wrong]
        files.remove(self._path())
        return Compared(self.records, sampled, table, self._listed(who, there, bad) if bad else None)

    def _listed(self, who: pl.LazyFrame, there: pl.LazyFrame, bad: Sequence[Column]) -> UPath:
        """Write every differing cell down, with what is known of the reason; the file."""
        from isync_dagster.migration.deviations import explained

        parts = []
        for number, column in enumerate(bad):
            joined = joined_hashes(self.rows, who, there, [column])
            # Bounded: ids of CELLS_KEPT records.
            ids = joined.filter(differs(column.target.name)).select("_target_id").head(CELLS_KEPT).collect()
            part = self.folder / f"cells-{number:05d}.parquet"
            files.write_parquet(part, cells(self.rows, who, there, column, ids.lazy()))
            parts.append(part)
        path = self._path()
        files.write_parquet(path, explained(self.job, self.run, self.plan, files.scan(parts, CELL_SCHEMA), there, who))
        return path

    def _path(self) -> UPath:
        return self.run.folder / "differences" / f"{self.plan.object}.parquet"

    def _sampled_rows(self, ids: pl.Series) -> pl.LazyFrame:
        """Id, the compared fields and the stamps of these records, as the target holds them now."""
        fields: dict[str, Field] = {"Id": ID} | {column.target.name: column.target for column in self.columns}
        for field in stamp_fields(self.job, self.plan.target_object):
            fields.setdefault(field.name, field)
        folder = self.folder / "sample"
        head = f"SELECT {', '.join(fields)} FROM {self.plan.target_object} WHERE Id IN ("
        lists = [
            ", ".join(f"'{value}'" for value in ids.slice(start, reading.REST_ROWS).to_list())
            for start in range(0, len(ids), reading.REST_ROWS)
        ]
        try:
            for number, raw in enumerate(self.job.target.queries([f"{head}{listed})" for listed in lists])):
                assert isinstance(raw, pl.DataFrame)
                if raw.height:
                    part = typed(raw.select(list(fields)).lazy(), fields.values())
                    files.write_parquet(folder / f"part-{number:05d}.parquet", part)
        except RequestError as error:
            if error.details.get("code") != "URI_TOO_LONG":
                raise
            # An org that takes no long text in a composite call: a Bulk query does.
            return self._sampled_by_bulk(lists, tuple(fields.values()))
        return reading.scan(folder, tuple(fields.values()))

    def _sampled_by_bulk(self, lists: Sequence[str], fields: tuple[Field, ...]) -> pl.LazyFrame:
        frames = []
        for number, listed in enumerate(lists):
            folder = self.folder / f"bulk-{number:05d}"
            reading.read(
                self.job,
                self.job.target,
                object=self.plan.target_object,
                fields=fields,
                where=f"Id IN ({listed})",
                folder=folder,
                stage="verify",
                at_least=reading.REST_ROWS + 1,
            )
            frames.append(reading.scan(folder, fields))
        return pl.concat(frames)
