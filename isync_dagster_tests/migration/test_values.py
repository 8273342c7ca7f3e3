"""Field by field: what is changed in the target behind the tool's back is named as a cell, and why is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest

from isync_dagster.errors import PlanError
from isync_dagster.migration.causes import BY_TARGET
from isync_dagster.migration.checks import verify_target
from isync_dagster.migration.model import SyncJob, Verdict
from isync_dagster.migration.publishing import publish_again
from isync_dagster.store import files
from isync_dagster_tests.migration.world import (
    Migration,
    World,
    current,
    migrate,
    rich_data,
    serving_world,
    template,
)

METRICS = (
    {"name": "revenue", "object": "Account", "measure": "sum Revenue__c", "by": "Industry", "whole_org": True},
    {"name": "mean size", "object": "Account", "measure": "avg Size__c"},
    {"name": "last since", "object": "Account", "measure": "max Since__c"},
)


def judged(**validation: object):  # type: ignore[no-untyped-def]
    made = template(validation=validation)
    return type(made).model_validate({**made.model_dump(mode="json"), "metrics": METRICS})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Migration]]:
    with serving_world(tmp_path_factory.mktemp("world")) as world:
        world.reset(rich_data())
        yield world, migrate(world.job(judged()))


def thorough(world: World, **validation: object) -> SyncJob:
    job = world.job(judged(**validation))
    return replace(job, options=replace(job.options, thorough=True))


def by_name(verdicts: tuple[Verdict, ...]) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in verdicts}


def test_a_migration_that_nobody_touched_differs_nowhere(done: tuple[World, Migration]) -> None:
    world, migration = done
    assert migration.failed() == []
    found = by_name(verify_target(thorough(world), "Account"))
    assert found["fields"].numbers["compared values"] > 14 * 10
    columns = {row["field"]: row for row in found["fields"].table}
    assert {"Remarks__c", "Industry", "Mail__c", "Tags__c", "Met__c", "At__c"} <= set(columns)
    assert "ParentId" not in columns, "lookups have checks of their own"
    sums = [(row["checksum of what was migrated"], row["checksum of the target"]) for row in columns.values()]
    assert all(one == two for one, two in sums)
    assert len({one for one, _ in sums}) > 5


def test_a_cell_changed_behind_the_tools_back_is_named(done: tuple[World, Migration]) -> None:
    """Hours after the run, by the record's own stamp."""
    world, migration = done
    there = world.ids("target", "Account")["a3"]
    before = world.values("target", "Account", "Zip__c")["a3"]
    set_to = (
        """UPDATE "Account" SET "Zip__c" = '{}', "SystemModstamp" = "SystemModstamp" {} INTERVAL 2 HOUR """
        f"""WHERE "Id" = '{there}'"""
    )
    world.execute("target", set_to.format("99999", "+"))
    try:
        found = by_name(verify_target(migration.job, "Account"))["fields"]
    finally:
        world.execute("target", set_to.format(before, "-"))
    assert not found.passed and found.severity == "error"
    assert (found.numbers["different"], found.numbers["changed since"]) == (1, 1)
    (row,) = found.table
    assert row["object"] == "Account" and row["field"] == "Zip__c"
    assert row["source id"] == world.ids("source", "Account")["a3"] and row["target id"] == there
    assert (row["expected"], row["found"]) == ("00003", "99999")
    assert row["why"].startswith("changed since: saved by 005")
    assert "Zip__c (1)" in found.text and "1 were changed since by somebody" in found.text
    written = files.scan(current(migration.job).folder / "differences" / "Account.parquet").collect()
    assert written.select("field", "expected", "found").rows() == [("Zip__c", "00003", "99999")]
    again = by_name(verify_target(migration.job, "Account"))["fields"]
    assert again.passed
    assert not files.exists(current(migration.job).folder / "differences" / "Account.parquet")


def test_what_the_target_changed_as_it_was_saved_is_told_apart(done: tuple[World, Migration]) -> None:
    world, _ = done
    there = world.ids("target", "Part__c")["pa2"]
    set_to = f"""UPDATE "Part__c" SET "Amount__c" = {{}} WHERE "Id" = '{there}'"""
    world.execute("target", set_to.format(77))
    try:
        strict = by_name(verify_target(thorough(world), "Part__c"))["fields"]
        lenient = by_name(verify_target(thorough(world, changed_by_target="warning"), "Part__c"))["fields"]
        left_out = by_name(verify_target(thorough(world, exclude_fields={"Part__c": ["Amount__c"]}), "Part__c"))[
            "fields"
        ]
    finally:
        world.execute("target", set_to.format(2))
    assert (strict.passed, strict.severity) == (False, "error")
    nobody = "no active trigger, flow or workflow rule that the user may read sets the field"
    assert strict.table[0]["why"].startswith(f"{BY_TARGET}: {nobody}") and strict.numbers["changed by the target"] == 1
    assert (lenient.passed, lenient.severity) == (False, "warn")
    assert left_out.passed
    assert left_out.numbers["compared values"] == strict.numbers["compared values"] - 6


@pytest.mark.parametrize(
    "column", ["Name", "Remarks__c", "Size__c", "Active__c", "Since__c", "Met__c", "At__c", "Tags__c"]
)
def test_every_type_of_value_is_compared(done: tuple[World, Migration], column: str) -> None:
    """One cell of each type set to another value or to nothing; nothing else is reported."""
    world, _ = done
    changed = {"Name": "'Other'", "Active__c": 'NOT "Active__c"', "Size__c": '"Size__c" + 0.01'}.get(column, "NULL")
    there = world.ids("target", "Account")["a1"]
    world.execute("target", 'CREATE OR REPLACE TABLE kept_cells AS SELECT * FROM "Account"')
    world.execute("target", f"""UPDATE "Account" SET "{column}" = {changed} WHERE "Id" = '{there}'""")
    try:
        found = by_name(verify_target(thorough(world), "Account"))["fields"]
    finally:
        world.execute(
            "target",
            f"""UPDATE "Account" SET "{column}" = k."{column}" FROM kept_cells k WHERE "Account"."Id" = k."Id" """,
        )
        world.execute("target", "DROP TABLE kept_cells")
    assert [(row["field"], row["target id"]) for row in found.table] == [(column, there)]


def test_business_totals_of_both_sides(done: tuple[World, Migration]) -> None:
    world, _ = done
    totals = by_name(verify_target(thorough(world), "Account"))["totals"]
    assert totals.passed, totals.text
    revenue = {row["value"]: row for row in totals.table if row["metric"] == "revenue"}
    # Every fourth account has the industry Old, which the target calls New, every fourth is New already.
    source = world.source.table("Account").with_columns(pl.col("Revenue__c").cast(pl.Float64))
    for value, names in (("New", ["Old", "New"]), ("Energy", ["Energy"])):
        wanted = source.filter(pl.col("Industry").is_in(names))["Revenue__c"].sum()
        assert revenue[value]["source"] == pytest.approx(wanted) == revenue[value]["target"]
    assert [row["value"] for row in totals.table if row["metric"] == "last since"] == [""]
    kinds = {row["value"]: row["source"] for row in totals.table if row["metric"] == "records by record type"}
    assert kinds == {"Business": 7, "Partner": 7}
    owners = {row["value"]: row["target"] for row in totals.table if row["metric"] == "records by owner"}
    assert sum(owners.values()) == 14 and not any(name.startswith("005") for name in owners)
    whole = {row["value"]: row["target"] for row in totals.table if row["metric"] == "revenue (whole org)"}
    assert whole["Energy"] == pytest.approx(revenue["Energy"]["target"])


def test_a_total_that_differs_says_where(done: tuple[World, Migration]) -> None:
    world, _ = done
    there = world.ids("target", "Account")["a5"]
    set_to = f"""UPDATE "Account" SET "Industry" = '{{}}' WHERE "Id" = '{there}'"""
    world.execute("target", set_to.format("Energy"))
    try:
        totals = by_name(verify_target(thorough(world), "Account"))["totals"]
    finally:
        world.execute("target", set_to.format("New"))
    assert not totals.passed and totals.text == "1 of 5 totals differ between the orgs: revenue."
    bad = {row["value"]: row["difference"] for row in totals.table if row["difference"] is not None}
    assert bad == {"Energy": pytest.approx(500000000.01), "New": pytest.approx(-500000000.01)}


def test_spot_checks_are_pairs_of_names(done: tuple[World, Migration]) -> None:
    world, _ = done
    links = by_name(verify_target(thorough(world), "Contact"))["relationships"]
    pairs = [row for row in links.table if row["field"] == "AccountId"]
    assert pairs
    for row in pairs:
        assert row["parent in the source"] == row["parent in the target"]
        assert row["parent in the source"].startswith("Account ")
        assert row["record"] in set(world.source.table("Contact")["Name"])


def test_a_sample_says_its_size_and_what_it_can_miss(done: tuple[World, Migration]) -> None:
    world, _ = done
    found = by_name(verify_target(thorough(world, rows=6), "Account"))["fields"]
    assert found.passed and found.numbers["compared records"] == 6 and found.numbers["migrated"] == 14
    assert "A random sample of 6 of 14 records was compared" in found.text
    assert "fewer than 1 record in 2 can go unseen" in found.text
    # What every record has wrong, no sample misses.
    world.execute("target", 'UPDATE "Account" SET "Zip__c" = \'x\' || "Zip__c"')
    try:
        bad = by_name(verify_target(thorough(world, rows=6), "Account"))["fields"]
    finally:
        world.execute("target", 'UPDATE "Account" SET "Zip__c" = substr("Zip__c", 2)')
    assert bad.numbers["different"] == 6


def test_the_report_has_names_time_and_history(done: tuple[World, Migration]) -> None:
    world, migration = done
    summary = migration.summary
    assert summary is not None
    pairs = {(row["object"], row["field"]): row for row in summary.spot_checks}
    assert pairs["Account", "ParentId"]["parent in the source"].startswith("Account ")
    assert all(row["parent in the source"] for row in summary.spot_checks)
    assert {"extract", "remap", "load", "relink"} <= {row["stage"] for row in summary.used}
    assert [(line["what"], line["by"]) for line in summary.history] == [("opened", "test")]
    page = publish_again(current(migration.job), summary)
    assert [line["what"] for line in page.history] == ["opened", "closed"]
    html = (current(migration.job).report_folder / "report.html").read_text()
    assert "records by record type" in html and "Account 0" in html
    assert world.ids("target", "Account")["a3"] is not None


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ({"object": "Acount"}, "Acount has no line"),
        ({"object": "Account", "measure": "sum Nmae"}, "Account.Nmae is not carried over"),
        ({"object": "Account", "measure": "sum Name"}, "sum does not work for Name"),
        ({"object": "Account", "measure": "avg Size__c", "whole_org": True}, "compares counts and sums"),
        ({"object": "Account", "by": "OwnerId", "whole_org": True}, "cannot compare by OwnerId"),
    ],
)
def test_a_metric_that_cannot_be_compared_is_refused(
    done: tuple[World, Migration], metric: dict[str, object], text: str
) -> None:
    world, _ = done
    made = template()
    wrong = type(made).model_validate({**made.model_dump(mode="json"), "metrics": [{"name": "m", **metric}]})
    with pytest.raises(PlanError, match=text):
        world.plan(wrong)


def test_metrics_and_validation_change_nothing_that_an_open_run_rests_on(done: tuple[World, Migration]) -> None:
    world, migration = done
    assert world.plan(template()).hash == migration.job.plan.hash == world.plan(judged(rows=3)).hash
    kept = migration.job.plan
    assert type(kept).from_json(kept.to_json()).metrics == kept.metrics
