"""Rollbacks of a run: what each decided, how far it came, and its own audit log.

    rollback/<n>/begun.json           options and plan, fixed before anything is sent
    rollback/<n>/records/<Object>     every record that the run wrote, and what is to be done with it
    rollback/<n>/healed/<Object>      links that other runs have filled with what is deleted, to be emptied first
    rollback/<n>/audit/<Object>/      what became of it
    rollback/<n>/done.json            the result

Its ledger is that of the step `rollback-<n>` of the run.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from upath import UPath

from isync_dagster.store import files
from isync_dagster.store.audit import AuditLog
from isync_dagster.store.layout import object_name
from isync_dagster.store.runs import Run


@dataclass(frozen=True)
class Rollback:
    """The n-th rollback of a run."""

    run: Run
    number: int
    preview: str = ""
    """Name of the folder of a plan that is only looked at, so that it is in nobody's way."""

    @property
    def folder(self) -> UPath:
        """The folder of the rollback."""
        return self.run.folder / "rollback" / (self.preview or f"{self.number:03d}")

    @property
    def step(self) -> str:
        """Its name as a step of the ledger and as a stage of the audit log."""
        return f"rollback-{self.number}"

    def records(self, object: str) -> UPath:
        """The file of an object's records."""
        return self.folder / "records" / f"{object_name(object)}.parquet"

    def healed(self, object: str) -> UPath:
        """The file of an object's links that other runs have filled with what is deleted."""
        return self.folder / "healed" / f"{object_name(object)}.parquet"

    def audit(self, object: str) -> AuditLog:
        """What became of an object's records; `latest()` has one row for each record that the run wrote."""
        return AuditLog(self.folder / "audit" / object_name(object))

    def begun(self) -> dict[str, Any] | None:
        """What it was begun with, or None while it is only planned."""
        return files.read_json(self.folder / "begun.json")

    def begin(self, data: Mapping[str, Any]) -> bool:
        """Fix the plan; False where another worker did before."""
        return files.create_if_absent(self.folder / "begun.json", data)

    def done(self) -> dict[str, Any] | None:
        """The result, or None while it is not through."""
        return files.read_json(self.folder / "done.json")

    def finish(self, data: Mapping[str, Any]) -> None:
        """Keep the result."""
        files.write_json(self.folder / "done.json", data)


def rollbacks(run: Run) -> list[Rollback]:
    """The rollbacks of a run that were begun, oldest first."""
    numbers = sorted(int(name) for name in files.names(run.folder / "rollback") if name.isdigit())
    found = (Rollback(run, number) for number in numbers)
    return [item for item in found if item.begun() is not None]


def unfinished(run: Run) -> Rollback | None:
    """The rollback that was begun and is not through, or None."""
    return next((item for item in rollbacks(run) if item.done() is None), None)


def next_rollback(run: Run, *, preview: bool = False) -> Rollback:
    """The rollback that is gone on with, or a new one; what a plan that was never begun left is thrown away.

    A `preview` has a folder of its own, which the caller removes.
    """
    going = unfinished(run)
    if going is not None:
        return going
    name = f"preview-{secrets.token_hex(8)}" if preview else ""
    fresh = Rollback(run, max((item.number for item in rollbacks(run)), default=0) + 1, name)
    files.remove_tree(fresh.folder)
    return fresh
