"""What the assets show of themselves in the UI: owners, tags, freshness, links to the template and the code."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from isync_dagster.assets import keys
from isync_dagster.assets.factory import definitions
from isync_dagster.assets.settings import Settings
from isync_dagster.plan.fingerprint import plan_hash
from isync_dagster.plan.model import Plan
from isync_dagster.template.models import Freshness
from isync_dagster_tests.assets.plans import small_plan

TEXT = (
    "name: core\nlines:\n  - object: Account\n  - {object: Contact}\nobjects:\n  Account:\n    update_existing: true\n"
)


def graph(plan: Plan, templates: Path) -> Any:
    return definitions(
        {plan.template: plan}, Settings.from_env({"ISYNC_TEMPLATES": str(templates)})
    ).resolve_asset_graph()


def kept_fresh(**values: float) -> Plan:
    plan = small_plan()
    freshness = Freshness.model_validate(values)
    return replace(plan, settings=plan.settings.model_copy(update={"freshness": freshness}))


def test_every_asset_has_an_owner_a_description_and_its_template(tmp_path: Path) -> None:
    found = graph(small_plan(), tmp_path)
    for key in found.get_all_asset_keys():
        node = found.get(key)
        assert node.owners == [keys.OWNER], key
        assert len(node.description or "") > 40, key
        if key.path[0] == "core":
            assert node.tags[keys.TEMPLATE_TAG] == "core", key
            assert node.tags[keys.STAGE_TAG], key
    pools = {pool for key in found.get_all_asset_keys() for pool in found.get(key).pools}
    plan = small_plan()
    assert pools == {keys.pool(plan.source_alias), keys.pool(plan.target_alias)}, "one an org"


def test_assets_link_to_their_place_in_the_template_and_to_their_verb(tmp_path: Path) -> None:
    (tmp_path / "core.yaml").write_text(TEXT)
    found = graph(small_plan(), tmp_path)

    def references(*path: str) -> dict[str, tuple[str, int | None]]:
        value = found.get(dg.AssetKey(path)).metadata["dagster/code_references"]
        assert isinstance(value, dg.CodeReferencesMetadataValue)
        return {one.label or "": (Path(one.file_path).name, one.line_number) for one in value.code_references
                if isinstance(one, dg.LocalFileCodeReference)}  # fmt: skip

    assert references("core", "Account", "load") == {
        "template": ("core.yaml", 6),
        "what the stage does": ("load.py", 1),
    }
    assert references("core", "Contact", "remap") == {
        "template": ("core.yaml", 4),
        "what the stage does": ("remap.py", 1),
    }
    assert references("core", "report")["what the stage does"] == ("finish.py", 1)
    stages = [key for key in found.get_all_asset_keys() if key.path[0] == "core"]
    for key in stages:
        value = found.get(key).metadata.get("dagster/code_references")
        for one in value.code_references if isinstance(value, dg.CodeReferencesMetadataValue) else ():
            assert isinstance(one, dg.LocalFileCodeReference)
            assert Path(one.file_path).is_file(), one.file_path


def test_a_template_that_is_run_again_and_again_says_when_it_is_overdue(tmp_path: Path) -> None:
    plan = kept_fresh(hours=24, warn_hours=20)
    found = graph(plan, tmp_path)
    with_policy = {key.to_user_string() for key in found.get_all_asset_keys() if found.get(key).freshness_policy}
    loads = {f"core/{item.object}/load" for item in plan.objects}
    assert with_policy == loads | {"core/report"}
    policy = found.get(dg.AssetKey(["core", "Account", "load"])).freshness_policy
    assert policy == dg.FreshnessPolicy.time_window(timedelta(hours=24), timedelta(hours=20))
    nothing = graph(small_plan(), tmp_path)
    assert not any(nothing.get(key).freshness_policy for key in nothing.get_all_asset_keys())


def test_freshness_decides_nothing_that_an_open_run_rests_on() -> None:
    assert plan_hash(kept_fresh(hours=24)) == plan_hash(small_plan())
    with pytest.raises(ValidationError, match=r"warn_hours \(24\) must be less than hours \(24\)"):
        kept_fresh(hours=24, warn_hours=24)
