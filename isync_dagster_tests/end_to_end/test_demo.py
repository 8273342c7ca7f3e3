"""The demo, from its source org to its target org: every state, and every row and lookup proved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from isync_dagster.local_org.demo.make import make_demo
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.migration.model import Summary
from isync_dagster.plan.model import Plan
from isync_dagster.template import Template, parse_template
from isync_dagster_tests.end_to_end.proof import Proof
from isync_dagster_tests.end_to_end.workbench import Bench, serving

TEMPLATE = Path(__file__).parents[2] / "templates" / "demo.yaml"


def demo_template() -> Template:
    """The shipped template, with the aliases of the workbench."""
    text = TEMPLATE.read_text().replace("source: demo_source", "source: source")
    return parse_template(text.replace("target: demo_target", "target: target"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("demo")
    one, two = make_demo(folder, rows=1_500)
    with LocalOrg.open(one) as source, LocalOrg.open(two) as target, serving(folder, source, target) as made:
        yield made


@pytest.fixture(scope="module")
def before(work: Bench) -> pl.Series:
    """Ids of what the target held at the start."""
    names = [name for name, count in work.target.counts().items() if count]
    return pl.concat([work.target.table(name)["Id"] for name in names])


@pytest.fixture(scope="module")
def migrated(work: Bench, before: pl.Series) -> tuple[Plan, list[Summary]]:
    plan = work.plan(demo_template())
    return plan, work.run(plan)


def test_every_phase_keeps_both_laws(migrated: tuple[Plan, list[Summary]]) -> None:
    _, summaries = migrated
    assert [summary.phase for summary in summaries] == ["foundation", "sales", "service"]
    failed = [
        verdict.text
        for summary in summaries
        for row in summary.objects
        for verdict in row.verdicts
        if not verdict.passed
    ]
    assert failed == []
    assert all(summary.kept for summary in summaries)


def test_every_row_and_lookup_arrives(work: Bench, before: pl.Series, migrated: tuple[Plan, list[Summary]]) -> None:
    plan, _ = migrated
    people = work.source.table("User").select(pl.col("Id").alias("source_id"), "LastName")
    there = work.target.table("User").select(pl.col("Id").alias("target_id"), "LastName")
    users = people.join(there, on="LastName").select("source_id", "target_id")
    proof = Proof(work.source, work.target, work.id_map(plan), users, before)
    assert proof.problems(plan) == []


def test_rows_that_match_are_updated_left_or_found_the_same(migrated: tuple[Plan, list[Summary]]) -> None:
    _, summaries = migrated
    states = {row.object: row.states for summary in summaries for row in summary.objects}
    assert states["Account"]["identical"] > 0
    assert states["Account"]["updated"] > 0
    assert states["Product2"]["existing"] == 8
    assert states["Contact"]["updated"] > 0
    assert "failed" not in {state for counts in states.values() for state, count in counts.items() if count}


def test_records_of_people_who_are_gone_have_the_default_owner(
    work: Bench, migrated: tuple[Plan, list[Summary]]
) -> None:
    plan, _ = migrated
    gone = work.source.table("User").filter(pl.col("LastName").is_in(["Sand", "Alt"]))["Id"]
    theirs = work.source.table("Account").filter(pl.col("OwnerId").is_in(gone.implode())).select("Id")
    pairs = work.id_map(plan).filter(pl.col("object") == "Account")
    found = theirs.join(pairs, left_on="Id", right_on="source_id").join(
        work.target.table("Account"), left_on="target_id", right_on="Id"
    )
    assert found.height > 0
    assert set(found["OwnerId"]) == {work.target.settings.user_id}


def test_a_second_run_sends_nothing(work: Bench, migrated: tuple[Plan, list[Summary]]) -> None:
    plan, _ = migrated
    stamps = {name: work.target.table(name)["SystemModstamp"].max() for name in ("Account", "Lead", "Opportunity")}
    summaries = work.run(plan)
    sent = {
        (row.object, state): count
        for summary in summaries
        for row in summary.objects
        for state, count in row.states.items()
        if count and state not in ("identical", "existing")
    }
    assert sent == {}
    assert {name: work.target.table(name)["SystemModstamp"].max() for name in stamps} == stamps
