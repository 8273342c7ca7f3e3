"""The stage of a sweep: a world with one source for all cases, and the undisturbed run that each is compared with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from isync_dagster.local_org.seeds.dataset import apply
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.writing import release_all
from isync_dagster_tests.faults.deeds import OBJECTS, Deed, recipe, write_recipe
from isync_dagster_tests.faults.picture import Picture, picture_of
from isync_dagster_tests.faults.points import read_log
from isync_dagster_tests.faults.worker import Workers
from isync_dagster_tests.migration.world import World


class Stage:
    """One deed in one world."""

    def __init__(self, world: World, deed: Deed, workers: Workers, folder: Path) -> None:
        self.world = world
        self.deed = deed
        self.folder = folder
        self._workers = workers
        self._cases = 0
        self._back: Callable[[], None] | None = None
        self._held: dict[str, list[tuple[Any, ...]]] = {}
        self._undisturbed: tuple[Picture, list[dict[str, str]]] | None = None

    def clear(self) -> None:
        """A fresh target and store; the source stays, so that source ids are the same in every case."""
        self.world.faults("source")
        if self._back is not None:
            self._back()
            return
        self.world.clear_target()
        before = self.deed.before()
        if before is not None:
            apply(self.world.target, before, keep_nulls=True)
        if self.deed.first is not None:
            self._held = {name: self.world.picture("target", name) for name in OBJECTS}
            self.deed.first(self.world, self.job())
            self._back = self.world.checkpoint(self.deed.name)
            self._back()

    def job(self) -> SyncJob:
        """A sync job as a new process would have it."""
        release_all()
        return self.world.job(self.deed.settings(), **self.deed.options)

    def recipe(self, **more: object) -> Path:
        """The recipe of the next case as a file."""
        self._cases += 1
        path = self.folder / f"case-{self._cases}.json"
        return write_recipe(path, recipe(self.world, self.deed, **more))

    def undisturbed(self) -> tuple[Picture, list[dict[str, str]]]:
        """What an undisturbed run leaves, and every point that it passes; run once."""
        if self._undisturbed is None:
            self._undisturbed = self._run_undisturbed()
        return self._undisturbed

    def _run_undisturbed(self) -> tuple[Picture, list[dict[str, str]]]:
        self.clear()
        log = self.folder / "points.jsonl"
        path = self.recipe(log=str(log))
        code = self._workers.run(path)
        assert code == 0, path.with_suffix(".error").read_text()
        job = self.job()
        done = picture_of(self.world, job)
        self._prove(done, job)
        return done, read_log(log)

    def go_on(self) -> None:
        """Do the deed again in this process, as the person would; what is through already is left so."""
        if self.is_open():
            self.deed.act(self.job())

    def is_open(self) -> bool:
        """True while there is something to go on with."""
        job = self.job()
        return self.deed.again(job.store.runs(job.key).latest())

    def arrived(self, expected: Picture) -> None:
        """Target, audit log and id map are those of the undisturbed run, row for row."""
        found = picture_of(self.world, self.job())
        assert found.target == expected.target
        assert found.idmap == expected.idmap
        assert found.audit == expected.audit
        assert found.undone == expected.undone

    def _prove(self, done: Picture, job: SyncJob) -> None:
        """The undisturbed run itself is right: every source record and lookup is there, and the strangers are left; or
        all is as it was before."""
        if self.deed.undoes:
            assert done.target == self._held
            return
        for name, rows in done.target.items():
            there = [row for row in rows if not {"stranger", "stranger too"} & set(row)]
            expected = self.world.picture("source", name)
            assert there == expected, name
