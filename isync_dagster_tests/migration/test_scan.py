"""A scan says what a run then does, writes nothing, and leaves no run; its forecast learns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from upath import UPath

from isync_dagster.errors import OrgsError
from isync_dagster.migration import scan_missing
from isync_dagster.migration.forecast import past_errors
from isync_dagster.migration.scan import scan
from isync_dagster.store import files
from isync_dagster.store.scans import Scans
from isync_dagster.store.store import Store
from isync_dagster_tests.migration.world import STAMPED, World, migrate, rich_data, some, template, together

WRITES = "(POST|PATCH|PUT|DELETE) .*/(sobjects|jobs/ingest|composite/(sobjects|tree|graph)|tooling|async)"
SOME = ("Account", "Contact", "Node__c", "Memo__c")
BECOMES = {"insert": "inserted", "update": "updated"}


def decisions(found: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {
        row["object"]: {BECOMES.get(name, name): rows for name, rows in row["decisions"].items()}
        for phase in found["phases"]
        for row in phase["objects"]
    }


def files_of(folder: Path, *without: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in without
    }


def missing(found: dict[str, Any]) -> dict[tuple[str, str, str], tuple[int, str]]:
    return {(row["object"], row["field"], row["reason"]): (row["records"], row["fate"]) for row in found["missing"]}


def test_a_scan_says_what_the_run_then_does_and_writes_nothing(world: World) -> None:
    world.reset(rich_data())
    for side in ("source", "target"):
        world.watch(side, WRITES)
    first = scan(world.job(template(SOME)))
    assert (world.met("source"), world.met("target")) == (0, 0)
    assert world.counts(*SOME) == dict.fromkeys(SOME, 0)
    job = world.job(template(SOME))
    assert job.store.runs(job.key).latest() is None
    (folder,) = (world.store_folder / "scans").glob("*/*/*")
    assert not (folder / "work").exists(), "what was read is gone"
    assert first["missing"] == []
    assert first["forecast"]["learned_from"] == 0
    assert "a guess with a wide range" in first["forecast"]["basis"]

    done = migrate(world.job(template(SOME)))
    assert decisions(first) == {name: done.states(name) for name in SOME}
    assert done.summary is not None
    numbers = done.summary.numbers
    assert numbers["forecast: scan"] == 1
    likely, took = numbers["forecast: seconds"], numbers["seconds"]
    assert numbers["forecast: error of seconds, %"] == pytest.approx((likely - took) / took * 100, abs=0.1)

    # Something of everything that can happen to a record that is there already.
    world.execute("target", f"""UPDATE "Account" SET "Zip__c" = 'changed', {STAMPED} WHERE "Key__c" IN ('a1', 'a2')""")
    world.execute("target", f"""UPDATE "Account" SET "Industry" = 'Energy', {STAMPED} WHERE "Key__c" = 'a1'""")
    world.delete("Memo__c", "m2")
    before = files_of(world.store_folder, "scans", "leases")
    world.watch("target", WRITES)
    second = scan(world.job(template(SOME)))
    assert world.met("target") == 0
    assert files_of(world.store_folder, "scans", "leases") == before, "neither run, id map nor tombstone is touched"
    assert second["forecast"]["learned_from"] == 1
    account = next(row for row in second["phases"][0]["objects"] if row["object"] == "Account")
    assert account["changed_fields"] == {"Zip__c": 2, "Industry": 1}
    changes = {
        (change["field"], change["now"], change["then"])
        for sample in account["samples"]
        if sample["decision"] == "update"
        for change in sample["changes"]
    }
    assert changes == {
        ("Zip__c", "changed", "00001"), ("Zip__c", "changed", "00002"), ("Industry", "Energy", "New")
    }  # fmt: skip
    again = migrate(world.job(template(SOME)))
    assert decisions(second) == {name: again.states(name) for name in SOME}
    assert again.states("Memo__c") == {"identical": 6, "inserted": 1}
    assert again.summary is not None and again.summary.numbers["forecast: scan"] == 2
    job = world.job(template(SOME))
    assert [row["run"] for row in past_errors(job.store, job.plan)] == [1, 2]


def test_the_order_and_its_reasons_are_told(world: World) -> None:
    world.reset()
    found = scan(world.job(template()))
    assert {"object": "Contact", "after": "Account", "reason": "lookup AccountId"} in found["order"]
    assert {"object": "Part__c", "after": "Account", "reason": "master-detail Account__c"} in found["order"]
    why = {(row["object"], row["field"]): row["reason"] for row in found["deferred"]}
    assert why["Account", "ParentId"] == "points at Account itself: its records get their ids first"
    (circle,) = [text for (name, _), text in why.items() if name in ("Alpha__c", "Beta__c")]
    assert "closes the circle " in circle and "cheapest to fill later" in circle
    lines = found["tree"].splitlines()
    assert "Account (ParentId filled later)" in lines
    assert any(line.startswith(("├─ Contact", "└─ Contact")) for line in lines)


def test_every_reason_of_a_missing_parent_is_found(world: World) -> None:
    world.reset(
        together(
            some("Account", 6, Industry=lambda n: "Energy" if n == 2 else "New"),
            some("Contact", 6, AccountId=lambda n: f"a{n}"),
            some("Part__c", 6, Account__c=lambda n: f"a{n}"),
            some("Memo__c", 2, WhatId=lambda n: f"c{n}"),
        )
    )
    world.execute("source", """UPDATE "Account" SET "IsDeleted" = true WHERE "Key__c" = 'a1'""")
    world.execute("source", """DELETE FROM "Account" WHERE "Key__c" = 'a3'""")
    found = scan(
        world.job(
            template(
                ("Account", "Contact", "Part__c", "Memo__c"),
                phases=[
                    {"name": "early", "lines": ["Contact"]},
                    {"name": "late", "lines": ["Account", "Part__c"]},
                ],
                conditions={"Account": {"where": "Industry != 'Energy'"}},
                rejected_rows_threshold=50,
            ),
            "early",
        )
    )
    told = missing(found)
    assert told["Contact", "AccountId", scan_missing.LATER] == (3, "empty")
    for reason in (scan_missing.DELETED, scan_missing.NO_ACCESS, scan_missing.FILTERED):
        assert told["Contact", "AccountId", reason] == (1, "empty"), reason
        assert told["Part__c", "Account__c", reason] == (1, "blocked"), reason
    assert decisions(found)["Part__c"] == {"blocked": 3, "inserted": 3}
    job = world.job(template())
    scan_folder = job.store.scans(job.plan.source_org_id, job.plan.target_org_id, job.plan.template).newest()
    assert scan_folder is not None
    listed = pl.read_parquet(str(scan_folder.missing("Part__c")))
    ids = world.ids("source", "Part__c")
    assert set(listed["_source_id"]) == {ids[key] for key in ("p1", "p2", "p3")}


def test_a_line_that_is_not_there_and_a_parent_that_is_not_sent(world: World) -> None:
    world.reset(
        together(
            some("Account", 2, Mail__c=lambda n: f"m{n}@x.example"),
            some("Contact", 2, AccountId=lambda n: f"a{n}"),
            some("Memo__c", 2, WhatId=lambda n: f"c{n}"),
        )
    )
    found = scan(
        world.job(template(("Account", "Memo__c"), {"Account": {"insert_new": False, "match_key": ["Key__c"]}}))
    )
    told = missing(found)
    assert told["Memo__c", "WhatId", scan_missing.NOT_IN_SCOPE] == (2, "empty")
    assert decisions(found)["Account"] == {"skipped": 2}
    found = scan(
        world.job(template(("Account", "Contact"), {"Account": {"insert_new": False, "match_key": ["Key__c"]}}))
    )
    assert missing(found)["Contact", "AccountId", f"{scan_missing.NOT_SENT} (skipped)"] == (2, "empty")


def test_a_phase_is_scanned_on_top_of_those_it_comes_after(world: World) -> None:
    world.reset(together(some("Account", 2), some("Contact", 2, AccountId=lambda n: f"a{n}")))
    phases = [
        {"name": "one", "lines": ["Account"]},
        {"name": "two", "lines": ["Contact"], "after": ["one"]},
    ]
    recipe = template(("Account", "Contact"), phases=phases)
    found = scan(world.job(recipe, "two"), ["two"])
    assert [phase["phase"] for phase in found["phases"]] == ["one", "two"]
    assert found["missing"] == []
    migrate(world.job(recipe, "one"))
    found = scan(world.job(recipe, "two"), ["two"])
    assert [phase["phase"] for phase in found["phases"]] == ["two"]
    assert found["missing"] == []


def test_what_the_gate_would_stop_is_told_and_the_rest_is_scanned(world: World) -> None:
    world.reset(some("Account", 3, Zip__c=lambda n: "x" * 20), some("Account", 2))
    world.execute("source", """UPDATE "Account" SET "Code__c" = 'same' """)
    found = scan(world.job(template(("Account",), {"Account": {"match_key": ["Code__c"]}})))
    (phase,) = found["phases"]
    assert not phase["gate"]["passed"]
    assert any("not unique in the source" in row["check"] for row in phase["gate"]["findings"])
    assert sum(phase["objects"][0]["decisions"].values()) == 3


def test_a_connection_that_only_reads_refuses_to_write(world: World) -> None:
    world.reset(some("Account", 1))
    org = world.client("target").reading()
    world.watch("target", WRITES)
    with pytest.raises(OrgsError, match="only reads"):
        org.request("POST", "sobjects/Account", json={"Name": "x"})
    with pytest.raises(OrgsError, match="only reads"):
        org.request("POST", "composite/batch", json={"batchRequests": [{"method": "DELETE", "url": "x"}]})
    assert world.met("target") == 0
    assert org.count("Account") == 0


def test_an_id_map_on_top_of_another_reads_both_and_writes_its_own(tmp_path: Path) -> None:
    source, target = "00D000000000001AAA", "00D000000000002AAA"
    real = Store.open(str(tmp_path / "real"))
    where: dict[str, Any] = {"template": "t", "phase": "p", "run": 1}
    rows = pl.DataFrame({"source_id": ["1", "2"], "target_id": ["a", "b"]})
    real.idmap(source, target).append("Account", "Account", rows, part="x", **where)
    rehearsal = real.rehearsal(real.root / "scans" / "work")
    own = rehearsal.idmap(source, target)
    before = files_of(tmp_path / "real", "scans")
    own.append("Account", "Account", pl.DataFrame({"source_id": ["2"], "target_id": ["c"]}), part="x", **where)
    own.append("Contact", "Contact", pl.DataFrame({"source_id": ["3"], "target_id": ["d"]}), part="x", **where)
    assert own.objects() == ["Account", "Contact"]
    assert dict(own.read("Account").select("source_id", "target_id").collect().iter_rows()) == {"1": "a", "2": "c"}
    assert files_of(tmp_path / "real", "scans") == before


def test_parents_that_are_fetched_are_counted_and_sent(world: World) -> None:
    world.reset(
        together(
            some("Account", 3, Industry=lambda n: "Energy" if n == 2 else "New"),
            some("Contact", 3, AccountId=lambda n: f"a{n}"),
        )
    )
    recipe = template(
        ("Account", "Contact"),
        {"Contact": {"missing_parents": {"AccountId": "fetch_parent"}}},
        conditions={"Account": {"where": "Industry != 'Energy'"}},
    )
    found = scan(world.job(recipe))
    account = next(row for row in found["phases"][0]["objects"] if row["object"] == "Account")
    assert (account["in_org"], account["counted"], account["in_scope"], account["fetched"]) == (3, 2, 3, 1)
    assert found["missing"] == []


def test_rows_of_a_killed_scan_are_removed_by_a_later_one(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    scans = Scans(UPath(tmp_path / "scans"), lambda: now)
    dead = scans.open("a")
    files.write_json(dead.work / "rows.json", {})
    later = Scans(scans.folder, lambda: now + timedelta(hours=23))
    alive = later.open("b")
    files.write_json(alive.work / "rows.json", {})
    assert files.exists(dead.work / "rows.json")
    Scans(scans.folder, lambda: now + timedelta(hours=25)).open("c")
    assert not files.exists(dead.work / "rows.json")
    assert files.exists(alive.work / "rows.json")
