"""A migration made once and put back for each test: copying tables and a store costs less than migrating again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from isync_dagster.migration.writing import release_all
from isync_dagster_tests.migration.world import World


@dataclass(frozen=True)
class Kept:
    """The target and the store of a world as they were at one moment."""

    world: World
    objects: Sequence[str]
    store: int

    @classmethod
    def of(cls, world: World, objects: Sequence[str]) -> Kept:
        """Keep what the world holds now."""
        release_all()
        for name in objects:
            world.execute("target", f'CREATE OR REPLACE TABLE "_kept_{name}" AS SELECT * FROM "{name}"')
        return cls(world, objects, world.stores)

    def put_back(self) -> World:
        """The world as it was then, with a store of its own."""
        release_all()
        self.world.faults("target")
        for name in self.objects:
            self.world.execute("target", f'DELETE FROM "{name}"')
            self.world.execute("target", f'INSERT INTO "{name}" SELECT * FROM "_kept_{name}"')
        self.world.stores += 1
        shutil.copytree(self.world.folder / f"store-{self.store}", self.world.store_folder)
        return self.world
