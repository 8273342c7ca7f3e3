"""The asset `[template, compare]` and its check, on two local orgs that differ."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from isync_dagster.assets.comparing import compare_assets
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster.schema.model import SObject
from isync_dagster_tests.end_to_end.workbench import Bench, bench, template_of

TEMPLATE = "name: real\nsource: source\ntarget: target\nlines:\n  - {object: Account}\n"


class OrgBench(Workbench):
    """A workbench with the two orgs of a test."""

    made: Bench

    def org(self, alias: str) -> Any:
        return self.made.source_client if alias == "source" else self.made.target_client


def shorter(item: SObject, name: str, length: int) -> SObject:
    fields = tuple(replace(one, length=length) if one.name == name else one for one in item.fields)
    return replace(item, fields=fields)


def test_the_asset_tells_what_differs_and_its_check_says_whether_it_hurts(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "real.yaml").write_text(TEMPLATE)
    settings = Settings(tmp_path / "templates", str(tmp_path / "store"), tmp_path / "orgs.yaml")
    objects = list(standard(("Account",)))
    narrow = [shorter(item, "Site", 10) if item.name == "Account" else item for item in objects]
    data = DataSet()
    data.add("Account", pl.DataFrame({"_ref": ["a"], "Name": ["A"]}))
    with bench(tmp_path, objects, narrow, data) as made:
        plan = made.plan(template_of(["Account"]))
        workbench = OrgBench(settings, {plan.template: plan})
        workbench.made = made
        before = made.target.table("Account").height
        (asset,) = compare_assets(plan)
        result = dg.materialize([asset], resources={"workbench": workbench}, raise_on_error=False)
        assert result.success
        (event,) = result.asset_materializations_for_node(asset.node_def.name)
        assert event.metadata["blocks"].value == 1
        assert event.metadata["not counted"].value == 1
        assert "Account.Site" in str(event.metadata["differences"].value)
        (check,) = result.get_asset_check_evaluations()
        assert (check.check_name, check.passed, check.severity) == ("schema", False, dg.AssetCheckSeverity.ERROR)
        assert check.description == "1 differences: 1 blocks."
        assert made.target.table("Account").height == before
        made.target.change_schema(made.source.schema, made.target.schema.automation)
        again = dg.materialize([asset], resources={"workbench": workbench})
        (check,) = again.get_asset_check_evaluations()
        assert check.passed
