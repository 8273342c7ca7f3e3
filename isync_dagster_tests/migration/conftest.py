from __future__ import annotations

from collections.abc import Iterator

import pytest

from isync_dagster_tests.migration.world import World, serving_world


@pytest.fixture(scope="module")
def served_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both orgs, made and served once a module."""
    with serving_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def world(served_world: World) -> World:
    """The world of the module, emptied."""
    served_world.reset()
    return served_world
