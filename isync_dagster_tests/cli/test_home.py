"""A fresh Dagster home survives that many processes start on it at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from isync_dagster.cli import home

TOUCH = """
from isync_dagster.cli.home import dagster_instance
with dagster_instance() as instance:
    print(len(instance.get_runs()), instance.telemetry_enabled)
"""


def test_racing_first_starts_all_find_a_whole_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ISYNC_STORE", str(tmp_path / "store"))
    racing = [
        subprocess.Popen([sys.executable, "-c", TOUCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in racing:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.split() == ["0", "False"]


def test_a_changed_dagster_yaml_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    home.prepare()
    settings = tmp_path / "dagster.yaml"
    shipped = yaml.safe_load(settings.read_text())
    assert shipped["telemetry"] == shipped["nux"] == {"enabled": False}
    settings.write_text("telemetry: {enabled: false}\n")
    for mark in tmp_path.glob(".initialised-*"):
        mark.unlink()
    home.prepare()
    assert settings.read_text() == "telemetry: {enabled: false}\n"
