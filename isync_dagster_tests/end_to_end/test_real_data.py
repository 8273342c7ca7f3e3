"""Real data sets, from one org to another: every row and every lookup arrives."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from isync_dagster.errors import DataError
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import apply
from isync_dagster_tests.end_to_end.datasets import (
    PLANS,
    RELATIONAL,
    SETS,
    RealSet,
    npsp_trailhead,
    plugin_csv,
    plugin_data,
)
from isync_dagster_tests.end_to_end.proof import prove_arrived
from isync_dagster_tests.end_to_end.workbench import bench, template_of

pytestmark = pytest.mark.skipif(not SETS.exists(), reason="the real data sets are not here")


@pytest.mark.parametrize("name", RELATIONAL)
def test_every_row_and_lookup_arrives(name: str, tmp_path: Path) -> None:
    real = RELATIONAL[name]()
    with bench(tmp_path, real.objects, real.objects, real.data) as work:
        for sobject, rows in real.expected.items():
            assert work.source.counts()[sobject] == rows, sobject
        plan = work.plan(template_of(name for name, frame in real.data.frames.items() if frame.height))
        (summary,) = work.run(plan)
        assert sum(row.extracted for row in summary.objects) == real.data.rows
        assert [problem for row in summary.objects for problem in row.errors] == []
        assert prove_arrived(work.source, work.target, work.id_map(plan), plan) == []
        assert summary.kept


def test_the_proof_finds_what_did_not_arrive(tmp_path: Path) -> None:
    real = RELATIONAL["outbound-funds"]()
    with bench(tmp_path, real.objects, real.objects, real.data) as work:
        plan = work.plan(template_of(real.data.frames))
        work.run(plan)
        with work.target.storage.transaction() as cursor:
            cursor.execute("""UPDATE "Funding_Program__c" SET "Parent_Funding_Program__c" = NULL""")
            cursor.execute("""UPDATE "Contact" SET "LastName" = 'Somebody' WHERE "FirstName" IS NOT NULL""")
            cursor.execute("""UPDATE "Review__c" SET "IsDeleted" = true""")
        found = " | ".join(prove_arrived(work.source, work.target, work.id_map(plan), plan))
        assert "Funding_Program__c.Parent_Funding_Program__c: 3 of 3 lookups" in found
        assert "Contact.LastName" in found
        assert "Review__c: 4 counterparts are not in the target" in found


@pytest.mark.parametrize(
    ("plan", "named"),
    [("missingRef/Account-Opportunity-plan.json", "Opportunity"), ("missingSelfRef/Account-plan.json", "Account")],
)
def test_a_reference_to_a_missing_record_is_an_error(plan: str, named: str, tmp_path: Path) -> None:
    real = plugin_data(f"{PLANS}/{plan}")
    with (
        _org(tmp_path, real) as org,
        pytest.raises(DataError, match=rf"{named}\.json: {named} record \w+Ref\d+ refers by"),
    ):
        apply(org, real.data)


@pytest.mark.parametrize("name", ["comma", "semicolon", "tab", "pipe", "caret", "backquote", "comma_wrapped_values"])
def test_csv_of_any_separator_loads(name: str, tmp_path: Path) -> None:
    real = plugin_csv(name)
    with _org(tmp_path, real) as org:
        apply(org, real.data)
        table = org.table("Account")
        assert table.height == real.data.rows > 0
        assert table["Name"][0] == "account Upsert #0"
        assert table["AnnualRevenue"].null_count() == 0


def test_self_references_of_the_source_are_those_its_index_names(tmp_path: Path) -> None:
    real = npsp_trailhead()
    with _org(tmp_path, real) as org:
        apply(org, real.data)

        def filled(name: str, column: str) -> int:
            return org.table(name).filter(pl.col(column).is_not_null()).height

        assert filled("Campaign", "ParentId") == 14
        assert filled("npe4__Relationship__c", "npe4__ReciprocalRelationship__c") == 18
        assert filled("npsp__Engagement_Plan_Task__c", "npsp__Parent_Task__c") == 6


def _org(folder: Path, real: RealSet) -> LocalOrg:
    return LocalOrg.create(folder / "org", real.objects, name="real")
