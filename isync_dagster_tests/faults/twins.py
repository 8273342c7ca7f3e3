"""Two orgs of one random schema, compared by joins over their tables: the tool's own checks have no say here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from isync_dagster.local_org.faults import Fault
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import DataSet, apply
from isync_dagster.local_org.server import Served
from isync_dagster.migration.model import RunOptions, SyncJob
from isync_dagster.migration.writing import release_all
from isync_dagster.plan.build import build_plan
from isync_dagster.plan.model import Plan
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.snapshot import Snapshot
from isync_dagster.store.store import Store
from isync_dagster.template import parse_template
from isync_dagster_tests.faults.deeds import connect
from isync_dagster_tests.faults.schemas import Schema

CONTENT = ("Name", "Key__c", "Text__c", "Code__c", "Number__c", "Whole__c", "Flag__c")
STRANGER = "stranger"


@dataclass
class Twins:
    """Both orgs of a schema, and what a random walk needs of them."""

    schema: Schema
    folder: Path
    orgs: Mapping[str, LocalOrg]
    served: Mapping[str, Served]
    options: RunOptions
    plan: Plan = field(init=False)
    _clients: list[Org] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = [*(shape.name for shape in self.schema.shapes), "User"]
        snapshots = {}
        for side in ("source", "target"):
            org = self.client(side)
            snapshots[side] = Snapshot(org.identity(), datetime.now(UTC), {name: org.describe(name) for name in names})
        objects: dict[str, dict[str, str]] = {}
        for shape in self.schema.shapes:
            keys = {"match": {"match_key": "Key__c"}, "migration": {"migration_key": "Legacy__c"}, "none": {}}
            objects[shape.name] = keys[shape.key]
        recipe = {
            "name": "walk",
            "source": "source",
            "target": "target",
            "references": {"User": {"default": self.served["target"].username}},
            "lines": [{"object": shape.name} for shape in self.schema.shapes],
            "objects": objects,
        }
        self.plan = build_plan(parse_template(json.dumps(recipe)), snapshots["source"], snapshots["target"])

    def client(self, side: str) -> Org:
        """A new connection to one side."""
        org = connect(side, self.served[side].credentials())
        self._clients.append(org)
        return org

    def close(self) -> None:
        """Drop the connections."""
        release_all()
        for client in self._clients:
            client.close()

    def job(self) -> SyncJob:
        """A sync job as a new process would have it."""
        release_all()
        store = Store.open(str(self.folder / "store"))
        return SyncJob(self.plan, "all", self.client("source"), self.client("target"), store, self.options)

    def faults(self, side: str, *rules: Mapping[str, Any]) -> None:
        """Set the fault rules of one org."""
        self.served[side].service.faults.set([Fault.read(dict(rule)) for rule in rules])

    # ── data ─────────────────────────────────────────────────────────────────────────────────────────

    def live(self, side: str, name: str) -> pl.DataFrame:
        """The records of an object that are not deleted."""
        return self.orgs[side].table(name).filter(~pl.col("IsDeleted"))

    def ids(self, side: str, name: str) -> list[str]:
        """Their ids, in a stable order."""
        return self.live(side, name).sort("Id")["Id"].to_list()

    def insert(self, side: str, name: str, rows: list[dict[str, str | None]]) -> None:
        """Put records into an org behind everybody's back."""
        data = DataSet()
        columns = list(dict.fromkeys(key for row in rows for key in row))
        listed = [{key: row.get(key) for key in columns} for row in rows]
        data.add(name, pl.DataFrame(listed, schema=dict.fromkeys(columns, pl.String)))
        apply(self.orgs[side], data, keep_nulls=True)

    def change(self, side: str, name: str, record: str, values: Mapping[str, str | None]) -> None:
        """Change a record in an org behind everybody's back, as somebody else a moment later: stamped, as every save is."""
        kinds = {"Number__c": "DECIMAL(38,2)", "Whole__c": "DECIMAL(38,0)", "Flag__c": "BOOLEAN"}
        setting = ", ".join(f'"{key}" = CAST(? AS {kinds.get(key, "VARCHAR")})' for key in values)
        setting += ', "SystemModstamp" = now(), "LastModifiedDate" = now()'
        with self.orgs[side].storage.transaction() as cursor:
            cursor.execute(f'UPDATE "{name}" SET {setting} WHERE "Id" = ?', [*values.values(), record])

    def tables(self, side: str) -> dict[str, list[tuple[Any, ...]]]:
        """Every record of every object that is not deleted, with every column but those that say when it was touched."""
        found = {}
        for shape in self.schema.shapes:
            table = (
                self.live(side, shape.name).drop("LastModifiedDate", "LastModifiedById", "SystemModstamp").sort("Id")
            )
            table = table.with_columns(_canonical(column) for column in ("Text__c", "Code__c"))
            found[shape.name] = [tuple(zip(table.columns, row, strict=True)) for row in table.rows()]
        return found

    # ── proofs ───────────────────────────────────────────────────────────────────────────────────────

    def picture(self, side: str, name: str) -> list[tuple[Any, ...]]:
        """The records of an object as they mean the same in both orgs: a lookup is the content of what it points at."""
        shape = self.schema.shape(name)
        table = self.live(side, name).select("Id", *CONTENT, *(look.name for look in shape.looks))
        for look in shape.looks:
            parents = pl.concat([self._named(side, parent) for parent in look.to])
            table = table.join(parents, left_on=look.name, right_on="_id", how="left", maintain_order="left")
            dangling = table.filter(pl.col(look.name).is_not_null() & pl.col("_name").is_null())
            assert dangling.is_empty(), (
                f"{side} {name}.{look.name} points at no record: {dangling[look.name].to_list()}"
            )
            table = table.with_columns(pl.col("_name").alias(look.name)).drop("_name")
        shown = table.filter(pl.col("Key__c").is_null() | ~pl.col("Key__c").str.starts_with(STRANGER)).drop("Id")
        return sorted(shown.with_columns(_canonical(column) for column in ("Text__c", "Code__c")).rows(), key=repr)

    def _named(self, side: str, name: str) -> pl.DataFrame:
        return self.live(side, name).select(
            _id="Id", _name=pl.format("{} {} {}", pl.lit(name), pl.col("Key__c").fill_null("-"), "Name")
        )

    def assert_same(self) -> None:
        """Every source record has exactly one counterpart with the same content and the same parents; none is more."""
        for shape in self.schema.shapes:
            here, there = self.picture("source", shape.name), self.picture("target", shape.name)
            assert there == here, f"{shape.name}: {_difference(here, there)}"

    def assert_no_source_id(self) -> None:
        """No id of a source record stands in any column of the target but the migration key, whose purpose it is."""
        ids = {value for shape in self.schema.shapes for value in self.orgs["source"].table(shape.name)["Id"].to_list()}
        ids |= {value[:15] for value in ids}
        for shape in self.schema.shapes:
            table = self.orgs["target"].table(shape.name)
            for column in table.columns:
                if table.schema[column] == pl.String and column != "Legacy__c":
                    found = table.filter(pl.col(column).is_in(list(ids)))
                    assert found.is_empty(), f"{shape.name}.{column} holds ids of the source: {found[column].to_list()}"


def _canonical(name: str) -> pl.Expr:
    """What a save does to text."""
    text = pl.col(name).str.replace_all("\r\n?", "\n").str.strip_chars()
    return pl.when(text != "").then(text).alias(name)


def _difference(here: list[tuple[Any, ...]], there: list[tuple[Any, ...]]) -> str:
    left, right = list(here), list(there)
    for row in here:
        if row in right:
            right.remove(row)
            left.remove(row)
    return f"missing in the target {str(left)[:1500]}; too much there {str(right)[:1500]}"


@contextmanager
def serving_twins(folder: Path, schema: Schema, **options: Any) -> Iterator[Twins]:
    """Make and serve both orgs of a schema."""
    folder.mkdir(parents=True, exist_ok=True)
    objects = schema.objects()
    with (
        LocalOrg.create(folder / "source", objects, name="source", seed=11) as source,
        LocalOrg.create(
            folder / "target", objects, name="target", seed=22, is_sandbox=True, batch_rows=3, batches_per_commit=1
        ) as target,
        source.serve() as one,
        target.serve() as two,
    ):
        orgs, served = {"source": source, "target": target}, {"source": one, "target": two}
        twins = Twins(schema, folder, orgs, served, replace(RunOptions(), **options))
        try:
            yield twins
        finally:
            twins.close()
