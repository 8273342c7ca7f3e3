"""The stage of a sweep: a world with one source for all cases, and the undisturbed run that each is compared with."""

from __future__ import annotations

from pathlib import Path

from isync_dagster.local_org.seeds.dataset import apply
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.writing import release_all
from isync_dagster_tests.faults.deeds import Deed, recipe, write_recipe
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
        self._undisturbed: tuple[Picture, list[dict[str, str]]] | None = None

    def clear(self) -> None:
        """A fresh target and store; the source stays, so that source ids are the same in every case."""
        self.world.faults("source")
        self.world.clear_target()
        before = self.deed.before()
        if before is not None:
            apply(self.world.target, before, keep_nulls=True)

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
        """Do the deed again in this process, as the person would; a run that is closed already is left so."""
        job = self.job()
        latest = job.store.runs(job.key).latest()
        if latest is None or latest.is_open:
            self.deed.act(job)

    def arrived(self, expected: Picture) -> None:
        """Target, audit log and id map are those of the undisturbed run, row for row."""
        found = picture_of(self.world, self.job())
        assert found.target == expected.target
        assert found.idmap == expected.idmap
        assert found.audit == expected.audit

    def _prove(self, done: Picture, job: SyncJob) -> None:
        """The undisturbed run itself is right: every source record and lookup is there, and the stranger is left."""
        for name, rows in done.target.items():
            there = [row for row in rows if "stranger" not in row]
            expected = self.world.picture("source", name)
            assert there == expected, name
