"""What a rollback takes and gives: policies, conflicts, the plan and the result, as plain data.

The states of its audit log are the record states of the migration, seen from the undo: `deleted` (a record that the run
made is gone), `updated` (a record that the run changed has its old values again), `skipped` (left, for the conflict
that the code names), `failed` (Salesforce refused), `pending` (not sent yet) and `unknown` (the run itself could not
tell whether the record arrived). Their sum is the number of records that the run wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from isync_dagster.migration.model import State


class Conflicts(StrEnum):
    """What is done with records that somebody else has a stake in."""

    SKIP = "skip"
    """Leave them as they are, and say so."""
    FORCE = "force"
    """Undo them all the same: changes by others and what hangs on the records go with them."""
    STOP = "stop"
    """Undo nothing at all while there is one."""


class Conflict(StrEnum):
    """Why a record is not simply undone: the `code` of the rollback's audit log."""

    CHANGED_SINCE = "CHANGED_SINCE"
    WOULD_DELETE_OTHERS = "WOULD_DELETE_OTHERS"
    WOULD_CLEAR_LOOKUPS = "WOULD_CLEAR_LOOKUPS"
    BLOCKED_BY_OTHERS = "BLOCKED_BY_OTHERS"
    NO_BEFORE_IMAGE = "NO_BEFORE_IMAGE"
    NOT_DELETABLE = "NOT_DELETABLE"


MEANING: Mapping[str, str] = {
    Conflict.CHANGED_SINCE: "somebody changed it after the run",
    Conflict.WOULD_DELETE_OTHERS: "deleting it would delete records that are not this run's",
    Conflict.WOULD_CLEAR_LOOKUPS: "deleting it would empty lookups of records that are not this run's",
    Conflict.BLOCKED_BY_OTHERS: "records that are not this run's point at it and forbid its deletion",
    Conflict.NO_BEFORE_IMAGE: "it was found while rows were sent; what it held before is not known",
    Conflict.NOT_DELETABLE: "records of this object cannot be deleted",
}

NEVER = (Conflict.NO_BEFORE_IMAGE, Conflict.NOT_DELETABLE)
"""Conflicts that no policy overrides: there is nothing to do it with."""

ALREADY_GONE = "ALREADY_GONE"
"""Code of a record that was deleted before the rollback came to it; its state is `deleted`."""


@dataclass(frozen=True)
class ObjectUndo:
    """What a rollback would do with the records of one object."""

    object: str
    target_object: str
    delete: int = 0
    restore: int = 0
    gone: int = 0
    """Written by the run, and not in the target any more."""
    unknown: int = 0
    left: int = 0
    """Matched by the run and not changed by it: not touched."""
    conflicts: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[Mapping[str, Any], ...] = ()
    """Some records of each kind: what, target_id, source_id, message."""

    @property
    def in_conflict(self) -> int:
        """Records that are in conflict."""
        return sum(self.conflicts.values())

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ObjectUndo:
        """Read what `RollbackPlan.to_json` holds of an object."""
        return cls(**{**data, "samples": tuple(data["samples"])})


@dataclass(frozen=True)
class RollbackPlan:
    """What the rollback of one run would do; objects in the order in which they are undone."""

    template: str
    phase: str
    run: int
    number: int
    conflicts: Conflicts
    hard_delete: bool
    objects: tuple[ObjectUndo, ...]
    notes: tuple[str, ...] = ()
    begun: bool = False
    """True where it was begun before and is gone on with."""

    def total(self, name: str) -> int:
        """The sum of a count over the objects."""
        return sum(int(getattr(item, name)) for item in self.objects)

    @property
    def in_conflict(self) -> int:
        """Records in conflict, of all objects."""
        return sum(item.in_conflict for item in self.objects)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RollbackPlan:
        """Read what `to_json` gave."""
        objects = tuple(ObjectUndo.from_json(item) for item in data["objects"])
        own = {"objects": objects, "notes": tuple(data["notes"]), "conflicts": Conflicts(data["conflicts"])}
        return cls(**{**data, **own})


@dataclass(frozen=True)
class RollbackResult:
    """What became of the records that a run wrote."""

    template: str
    phase: str
    run: int
    number: int
    states: Mapping[str, Mapping[str, int]]
    """Object -> records by state."""
    codes: Mapping[str, Mapping[str, int]]
    """Object -> records that are left or were refused, by code."""
    forgotten: int = 0
    """Source records whose counterpart the id map has no more."""
    reopened: int = 0
    """Lookups that wait for their parent again."""
    calls: int = 0
    seconds: float = 0.0
    stopped: str = ""
    """Why it was not through, or empty."""

    def count(self, *states: State) -> int:
        """Records of all objects in some states."""
        return sum(found.get(state, 0) for found in self.states.values() for state in states)

    @property
    def complete(self) -> bool:
        """True where every record that the run wrote is undone."""
        return not self.stopped and not self.count(State.SKIPPED, State.FAILED, State.PENDING, State.UNKNOWN)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RollbackResult:
        """Read what `to_json` gave."""
        return cls(**data)
