"""A project on disk whose orgs are the two served ones of a world, and the command as its user calls it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from isync_dagster.cli import app
from isync_dagster.cli.home import prepare
from isync_dagster.migration.writing import release_all
from isync_dagster.schema.snapshot import save_snapshot
from isync_dagster_tests.migration.world import World

ORGS = """\
orgs:
  source: {{auth: username_password, login_url: "{source[url]}", username: "{source[username]}",
            password: "${{S_PASSWORD}}", security_token: "${{S_TOKEN}}"}}
  target: {{auth: username_password, login_url: "{target[url]}", username: "{target[username]}",
            password: "${{T_PASSWORD}}", security_token: "${{T_TOKEN}}"}}
"""


def make_served_project(folder: Path, world: World, patch: pytest.MonkeyPatch) -> Path:
    """Write the orgs and their snapshots, prepare a Dagster home; gives the folder of the templates."""
    templates = folder / "templates"
    templates.mkdir()
    found = {side: world.served[side].credentials() for side in ("source", "target")}
    (templates / "orgs.yaml").write_text(ORGS.format(**found))
    for side, mark in (("source", "S"), ("target", "T")):
        save_snapshot(templates / "orgs", world.snapshots[side])
        patch.setenv(f"{mark}_PASSWORD", found[side]["password"])
        patch.setenv(f"{mark}_TOKEN", found[side]["security_token"])
    patch.setenv("DAGSTER_HOME", str(folder / "dagster"))
    patch.setenv("ISYNC_TEMPLATES", str(templates))
    prepare()
    return templates


def isync(*arguments: str) -> Result:
    """The command in this process, with the code location imported anew and no lease kept."""
    release_all()
    sys.modules.pop("isync_dagster.definitions", None)
    found: Result = CliRunner().invoke(app, list(arguments))  # type: ignore[assignment]
    release_all()
    return found
