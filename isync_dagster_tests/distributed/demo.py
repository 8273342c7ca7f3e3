"""The demo's orgs, migrated by the real command in a process of its own, and what that leaves: the picture of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.store.runs import Run
from isync_dagster.store.store import Store

ROOT = Path(__file__).parents[2]
TEMPLATE = "demo"
STAMPS = ("CreatedDate", "LastModifiedDate", "SystemModstamp", "LastReferencedDate", "LastViewedDate")
"""When something was written says nothing of what was."""
SETTLED = "settled against the target"


@dataclass(frozen=True)
class Picture:
    """Target org, audit log and id map, object by object; ids of new records shown as the source record they come from."""

    target: dict[str, list[tuple[Any, ...]]]
    audit: dict[str, list[tuple[Any, ...]]]
    idmap: dict[str, list[tuple[Any, ...]]]


def environment(home: Path, store: str, **more: str) -> dict[str, str]:
    """The environment of a process of ours, with the demo's credentials as they are now."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ISYNC_", "DAGSTER_", "AWS_"))}
    orgs = {name: value for name, value in os.environ.items() if name.startswith("ISYNC_DEMO_")}
    own = {
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "ISYNC_STORE": store,
        "ISYNC_TEMPLATES": str(ROOT / "templates"),
        "PYTHONPATH": str(ROOT),
    }
    return {**kept, **orgs, **own, **more}


def migrating(env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """`isync migrate demo`, begun."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "isync_dagster.cli", "migrate", TEMPLATE],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def runs_of(store: Store) -> dict[str, Run]:
    """Phase -> its only run."""
    found = {}
    for job in store.jobs():
        (found[job.phase],) = store.runs(job).list()
    return found


def picture_of(store: Store, target: LocalOrg, before: Mapping[str, pl.Series]) -> Picture:
    """The picture of a migration into `target`, which held the ids of `before` when it began."""
    plan = load_plans(Settings.from_env({"ISYNC_TEMPLATES": str(ROOT / "templates")}), [TEMPLATE])[TEMPLATE]
    known = store.idmap(plan.source_org_id, plan.target_org_id)
    pairs = known.read_many([item.object for item in plan.objects]).collect()
    old = pl.concat(list(before.values()))
    new = pairs.filter(~pl.col("target_id").is_in(old.implode()))
    assert new["target_id"].is_unique().all(), "two records share a new target record"
    shown = dict(new.select("target_id", pl.format("<{}>", "source_id")).iter_rows())

    runs = runs_of(store)
    rows, audit, idmap = {}, {}, {}
    for item in plan.objects:
        rows[item.target_object] = _rows(target, item.target_object, shown)
        (phase,) = [phase.name for phase in plan.phases if item.object in phase.objects]
        latest = runs[phase].audit(item.object).latest().collect()
        assert latest["source_id"].is_unique().all()
        audit[item.object] = _sorted(
            latest.select(
                "source_id",
                pl.col("target_id").replace(shown),
                "state",
                "code",
                pl.when(pl.col("message") != SETTLED).then("message"),
                "fields",
                "stage",
            )
        )
        idmap[item.object] = _sorted(
            known.read(item.object).collect().select("source_id", pl.col("target_id").replace(shown), "target_object")
        )
    return Picture(rows, audit, idmap)


def _rows(org: LocalOrg, name: str, shown: Mapping[str, str]) -> list[tuple[Any, ...]]:
    table = org.table(name).filter(~pl.col("IsDeleted"))
    numbers = [field.name for field in org.describe(name).fields if field.auto_number]
    # Numbers are given in the order of arrival, which is any.
    table = table.drop([column for column in (*STAMPS, *numbers) if column in table.columns])
    return _sorted(table.with_columns(pl.col(pl.String).replace(dict(shown))))


def _sorted(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(frame.rows(), key=repr)
