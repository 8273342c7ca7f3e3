from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.salesforce.tuning import Tuning
from isync_dagster_tests.salesforce.scripted_org import TOKEN, ScriptedOrg


class Naps:
    """Sleeps that take no time and are remembered."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)

    def now(self) -> float:
        """The clock that they move."""
        return sum(self.taken)


@pytest.fixture
def server() -> Iterator[ScriptedOrg]:
    with ScriptedOrg() as running:
        yield running


@pytest.fixture
def naps() -> Naps:
    return Naps()


@pytest.fixture
def tuning(naps: Naps) -> Tuning:
    return Tuning(attempts=4, connect_timeout=2.0, read_timeout=3.0, upload_timeout=3.0, sleep=naps, clock=naps.now)


@pytest.fixture
def connect(server: ScriptedOrg, tuning: Tuning) -> Iterator[Callable[..., Org]]:
    """Makes orgs on the scripted server; by default with its access token and API version 62.0."""
    made: list[Org] = []

    def make(env: dict[str, str] | None = None, **config: Any) -> Org:
        entry = {"auth": "access_token", "instance_url": server.url, "access_token": "${TOKEN}", "api_version": "62.0"}
        if "auth" in config:
            entry = {"api_version": "62.0"}
        parsed = OrgConfig.model_validate({**entry, **config})
        org = Org.connect(parsed.bound(Path(), {"TOKEN": TOKEN, **(env or {})}), "acme", tuning=tuning)
        made.append(org)
        return org

    yield make
    for org in made:
        org.close()


@pytest.fixture
def org(connect: Callable[..., Org]) -> Org:
    return connect()
