"""`python -m benchmarks.locks --rows 120000`: rows that do not get a lock, by the order in which they are sent.

One source org; for each order an empty target in the platform's lock model: batches of 10,000 rows, four at a time,
saved in chunks of 200, each of which locks the parents of its rows. Prints how many rows were refused, in how many
attempts they were sent, how many Bulk jobs and API calls that took, and what is missing in the target; writes JSON and
Markdown into `--out`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import polars as pl

from benchmarks import report
from isync_dagster.local_org.demo.dice import ROW, Dice
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.scenarios.model import Locks, Scenario
from isync_dagster.local_org.seeds.notation import linked, sobject
from isync_dagster.local_org.seeds.standard import SETUP_OBJECTS, standard_pairs
from isync_dagster.local_org.server import Served
from isync_dagster.migration.extract import extract
from isync_dagster.migration.load import load
from isync_dagster.migration.model import RunOptions, SyncJob
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.remap import remap
from isync_dagster.migration.runs import current_run
from isync_dagster.migration.writing import release_all
from isync_dagster.plan.build import build_plan
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.locks import locking
from isync_dagster.records.order import sent_lookups
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.schema.snapshot import Snapshot
from isync_dagster.store.store import Store
from isync_dagster.template import parse_template

SHARES: Mapping[str, float] = {"Account": 0.05, "Campaign__c": 0.0, "Contact": 0.35, "Deal__c": 0.25, "Member__c": 0.35}
"""Object -> its share of the rows; of campaigns there are `CAMPAIGNS`."""
CAMPAIGNS = 40
FIELDS: Mapping[str, tuple[str, str]] = {
    "Account": ("Name string(80) cundIN", "user"),
    "Campaign__c": ("Name string(80) cundIN", "user"),
    "Contact": ("LastName string(80) cu; AccountId reference cun > Account as Account < Contacts", "user"),
    "Deal__c": (
        "Name string(80) cundIN; Account__c reference cun > Account as Account__r < Deals__r; "
        "Contact__c reference cun > Contact as Contact__r < Deals__r",
        "user",
    ),
    "Member__c": (
        "Name string(80) cundIN; Contact__c reference cM > Contact as Contact__r < Members__r; "
        "Campaign__c reference cun > Campaign__c as Campaign__r < Members__r",
        "none",
    ),
}
TEMPLATE = {
    "name": "locks",
    "source": "source",
    "target": "target",
    "lines": [{"object": name} for name in FIELDS],
}


@dataclass
class Result:
    """What one object took in one order; `degree` is how many batches get the lock of one parent."""

    order: str
    degree: int
    object: str
    rows: int
    refused: int
    jobs: int
    alone: int
    missing: int


def main() -> int:
    """Run every order in every degree of contention."""
    options = _options()
    work: Path = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    results: list[Result] = []
    with _org(work / "source", 11) as source:
        _fill(source, options.rows)
        with source.serve() as served:
            for degree in options.degree:
                for name in ORDERS:
                    results += _measure(work / f"{name}-{degree}".replace(" ", "-"), source, served, name, degree)
    shutil.rmtree(work)
    data = {"machine": report.machine(), "rows": options.rows, "results": [asdict(result) for result in results]}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "locks.json").write_text(json.dumps(data, indent=2) + "\n")
    text = markdown(results)
    (options.out / "locks.md").write_text(text)
    print(text)
    return 0


def markdown(results: list[Result]) -> str:
    """The table of `docs/performance.md`."""
    lines = [
        "| batches that get a lock | object | rows | order | refused for a lock | Bulk jobs | of them alone | missing |",
        "|---:|---|---:|---|---:|---:|---:|---:|",
    ]
    shown = sorted(results, key=lambda result: (result.degree, list(FIELDS).index(result.object)))
    lines += [
        f"| {item.degree} | {item.object} | {item.rows:,} | {item.order} | {item.refused:,} | {item.jobs} | {item.alone} | "
        f"{item.missing:,} |"
        for item in shown
        if item.object not in ("Account", "Campaign__c")
    ]
    return "\n".join(lines) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="records, all objects together")
    parser.add_argument("--degree", type=int, nargs="*", default=[1, 3], help="batches that get the lock of one parent")
    parser.add_argument("--work", type=Path, default=Path(".isync/bench/locks"), help="orgs and stores; removed")
    parser.add_argument("--out", type=Path, default=Path(".isync/bench/out"), help="folder of the results")
    return parser.parse_args()


# ── the orgs ─────────────────────────────────────────────────────────────────────────────────────────────


def _org(folder: Path, seed: int) -> LocalOrg:
    folder.parent.mkdir(parents=True, exist_ok=True)
    setup = [pair for pair in standard_pairs() if pair[0].name in SETUP_OBJECTS]
    own = [
        sobject(name, fields, owner=owner, **({} if name.endswith("__c") else {"prefix": PREFIXES[name]}))
        for name, (fields, owner) in FIELDS.items()
    ]
    return LocalOrg.create(folder, linked([*setup, *own]), name=folder.name, seed=seed, is_sandbox=True)


PREFIXES = {"Account": "001", "Contact": "003"}


def _fill(org: LocalOrg, rows: int) -> None:
    """One account has a fifth of all contacts, the others some; a deal has contact and account of one family."""
    counts = {name: int(rows * share) or CAMPAIGNS for name, share in SHARES.items()}
    ids: dict[str, pl.Series] = {}
    families = pl.Series("AccountId", [], dtype=pl.String)
    for name, count in counts.items():
        dice = Dice(11, name)
        table = pl.select(pl.int_range(count, dtype=pl.UInt64).alias(ROW))
        label = pl.concat_str(pl.lit(f"{name} "), pl.col(ROW).cast(pl.String)).alias(
            "LastName" if name == "Contact" else "Name"
        )
        match name:
            case "Contact":
                few = pl.lit(ids["Account"]).gather(dice.below("account", counts["Account"]))
                crowd = pl.lit(ids["Account"][0])
                parents = [pl.when(dice.chance("crowd", 0.2)).then(crowd).otherwise(few).alias("AccountId")]
            case "Deal__c":
                place = dice.below("contact", counts["Contact"])
                parents = [
                    pl.lit(ids["Contact"]).gather(place).alias("Contact__c"),
                    pl.lit(families).gather(place).alias("Account__c"),
                ]
            case "Member__c":
                parents = [
                    pl.lit(ids["Contact"]).gather(dice.below("contact", counts["Contact"])).alias("Contact__c"),
                    pl.lit(ids["Campaign__c"]).gather(dice.below("campaign", CAMPAIGNS)).alias("Campaign__c"),
                ]
            case _:
                parents = []
        frame = table.select(label, *parents)
        if name == "Contact":
            families = frame["AccountId"]
        ids[name] = org.load(name, frame)


def _connect(served: Served, alias: str, folder: Path) -> Org:
    found = served.credentials()
    entry = {
        "auth": "username_password",
        "login_url": found["url"],
        "username": found["username"],
        "password": "${PASSWORD}",
        "security_token": "${TOKEN}",
    }
    secrets = {"PASSWORD": str(found["password"]), "TOKEN": str(found["security_token"])}
    return Org.connect(OrgConfig.model_validate(entry).bound(folder, secrets), alias)


# ── one run ──────────────────────────────────────────────────────────────────────────────────────────────


def _measure(folder: Path, source: LocalOrg, from_org: Served, name: str, degree: int) -> list[Result]:
    locks = Locks(parallel=4, degree=degree)
    with _org(folder / "target", 22) as target, target.serve() as to_org, ExitStack() as patched:
        to_org.service.apply(Scenario(name="contention", description="Locks.", seed=3, locks=locks))
        for place, instead in ORDERS[name].items():
            patched.enter_context(patch(place, instead))
        job = _job(folder, from_org, to_org)
        items = job.plan.objects_in(job.phase)
        for item in items:
            extract(job, item.object)
        preflight(job)
        found = []
        for item in items:
            remap(job, item.object)
            load(job, item.object)
            missing = source.table(item.object).height - target.table(item.object).height
            found.append(_result(job, item, name, degree, missing))
        release_all()
        job.source.close()
        job.target.close()
    shutil.rmtree(folder)
    return found


def _job(folder: Path, from_org: Served, to_org: Served) -> SyncJob:
    orgs = {alias: _connect(served, alias, folder) for alias, served in (("source", from_org), ("target", to_org))}
    names = (*FIELDS, "User", "Group", "RecordType")
    known = {
        alias: Snapshot(org.identity(), datetime.now(UTC), {name: org.describe(name) for name in names})
        for alias, org in orgs.items()
    }
    plan = build_plan(parse_template(json.dumps(TEMPLATE)), known["source"], known["target"])
    store = Store.open(str(folder / "store"))
    return SyncJob(plan, "all", orgs["source"], orgs["target"], store, RunOptions(), opened_by="benchmark")


def _result(job: SyncJob, item: ObjectPlan, name: str, degree: int, missing: int) -> Result:
    run = current_run(job)
    log = run.audit(item.object).read()
    refused = log.filter(pl.col("code") == "UNABLE_TO_LOCK_ROW").select(pl.len()).collect().item()
    ledger = run.ledger("load", item.object)
    planned = [entry for number in ledger.chunks() for entry in ledger.entries(number) if entry.state == "planned"]
    alone = sum(bool(entry.payload.get("alone")) for entry in planned)
    rows = log.select(pl.col("source_id").n_unique()).collect().item()
    return Result(name, degree, item.object, rows, refused, len(planned), alone, missing)


# ── orders ───────────────────────────────────────────────────────────────────────────────────────────────


def _by_kind(_: object, plan: ObjectPlan) -> tuple[str, ...]:
    return tuple(lookup.target.name for lookup in locking(sent_lookups(plan)))[:1]


def _at_random(frame: pl.LazyFrame, *_: object) -> pl.LazyFrame:
    return frame.sort("_wave", pl.col("_source_id").hash(5)).with_row_index("_row")


def _no_parents(*_: object) -> tuple[str, ...]:
    return ()


ORDERS: Mapping[str, Mapping[str, Callable[..., object]]] = {
    "random": {
        "isync_dagster.migration.remap.load_order": _at_random,
        "isync_dagster.migration.load.locked_parents": _no_parents,
    },
    "sorted by the master": {
        "isync_dagster.migration.remap.sorted_by": _by_kind,
        "isync_dagster.migration.load.locked_parents": _no_parents,
    },
    "ours": {},
}
"""What takes the place of the tool's own order and cut; the way in which rows are sent again is always its own."""


if __name__ == "__main__":
    sys.exit(main())
