"""Settings come from the environment, and a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from isync_dagster.assets.settings import Settings
from isync_dagster.errors import ConfigError


def test_defaults_are_beside_the_working_folder() -> None:
    settings = Settings.from_env({})
    assert settings == Settings(Path("templates"), ".isync/store", Path("templates/orgs.yaml"), "threads", None)
    assert settings.snapshots == Path("templates/orgs")


def test_every_setting_has_a_variable() -> None:
    given = {
        "ISYNC_TEMPLATES": "/t",
        "ISYNC_STORE": "s3://bucket/x",
        "ISYNC_ORGS": "/secret/orgs.yaml",
        "ISYNC_EXECUTOR": "processes",
        "ISYNC_MAX_CONCURRENT": "4",
        "ISYNC_MEMORY": "1.5 GB",
    }
    expected = Settings(Path("/t"), "s3://bucket/x", Path("/secret/orgs.yaml"), "processes", 4, 1_500_000_000)
    assert Settings.from_env(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"ISYNC_EXECUTOR": "dask"},
        {"ISYNC_MAX_CONCURRENT": "many"},
        {"ISYNC_MAX_CONCURRENT": "0"},
        {"ISYNC_MEMORY": "plenty"},
        {"ISYNC_MEMORY": "100 MB"},
    ],
)
def test_a_wrong_value_is_named(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        Settings.from_env(given)
