"""The code location loads offline, quickly, quietly and without what only a run needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from isync_dagster.assets.factory import load_plans
from isync_dagster.assets.settings import Settings
from isync_dagster.errors import ConfigError

ROOT = Path(__file__).parents[2]

HEAVY = ("polars", "pyarrow", "simple_salesforce", "duckdb", "requests", "uvicorn", "isync_dagster.local_org", "upath")

LOAD = f"""
import json, sys
from isync_dagster.definitions import defs
heavy = [name for name in {HEAVY!r} if name in sys.modules]
print(json.dumps({{
    "heavy": heavy,
    "assets": len(defs.resolve_asset_graph().get_all_asset_keys()),
    "jobs": sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")),
}}))
"""


def load(templates: Path, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ISYNC_TEMPLATES": str(templates),
        "PYTHONPATH": str(ROOT),
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    return subprocess.run(
        [sys.executable, "-W", "error::dagster.BetaWarning", "-c", LOAD],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shipped_templates_load_offline_without_heavy_modules(tmp_path: Path) -> None:
    done = load(ROOT / "templates", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["heavy"] == []
    assert {"migrate_demo", "migrate_phases_demo", "validate_demo", "refresh_snapshots"} <= set(found["jobs"])
    assert found["assets"] > 40
    assert "BetaWarning" not in done.stderr
    assert "PreviewWarning" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "loading writes nothing"


def test_no_templates_is_an_empty_graph(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    done = load(tmp_path / "templates", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["assets"] == 0


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "templates", tmp_path / "templates")
    return tmp_path / "templates"


def test_every_broken_template_is_named_at_once(templates: Path) -> None:
    demo = (templates / "demo.yaml").read_text()
    for name, alias in (("one", "nowhere"), ("two", "elsewhere")):
        text = demo.replace("name: demo", f"name: {name}").replace("demo_source", alias)
        (templates / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_plans(Settings(templates, "store", templates / "orgs.yaml"))
    assert "'nowhere'" in str(caught.value)
    assert "'elsewhere'" in str(caught.value)
    assert "isync orgs snapshot" in str(caught.value)


def test_the_message_reaches_the_ui_as_it_is(templates: Path, tmp_path: Path) -> None:
    (templates / "demo.yaml").write_text("name: demo\nsorce: x\n")
    done = load(templates, cwd=tmp_path)
    assert done.returncode != 0
    assert "sorce" in done.stderr.splitlines()[-1] or "sorce" in done.stderr
    assert "demo.yaml:2" in done.stderr
