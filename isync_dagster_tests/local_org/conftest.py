from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.server import Served
from isync_dagster_tests.local_org.orgs import Client, make_org


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalOrg]:
    with make_org(tmp_path_factory.mktemp("org") / "org") as made:
        yield made


@pytest.fixture(scope="module")
def served(org: LocalOrg) -> Iterator[Served]:
    with org.serve() as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    made = Client(served)
    yield made
    made.http.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LocalOrg]:
    """An org of the test's own."""
    with make_org(tmp_path / "org") as made:
        yield made
