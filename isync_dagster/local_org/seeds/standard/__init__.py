"""The standard objects, written down from Salesforce's published facts.

Each is the plain object of a new org: the fields that matter to a migration with their types, lengths and flags,
and the child relationships with what a delete of the parent does.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.seeds.notation import Note, linked
from isync_dagster.local_org.seeds.standard import (
    contracts,
    customers,
    files,
    lists,
    messages,
    sales,
    service,
    setup,
    teams,
)
from isync_dagster.schema.model import SObject

# What every org has, whichever objects it is built for: ids of these are referred to from everywhere.
SETUP_OBJECTS = tuple(item.name for item, _ in setup.OBJECTS)


@cache
def standard_pairs() -> tuple[tuple[SObject, tuple[Note, ...]], ...]:
    """All standard objects with the notes that `linked` needs."""
    rooms = (customers, sales, service, contracts, messages, teams, lists, files, setup)
    return tuple(item for room in rooms for item in room.OBJECTS)


@cache
def standard_objects() -> dict[str, SObject]:
    """All standard objects by name, linked with each other."""
    return {item.name: item for item in linked(standard_pairs())}


def standard(names: Iterable[str]) -> list[SObject]:
    """The standard objects of these names and what every org has; ConfigError for an unknown name."""
    wanted = [*SETUP_OBJECTS, *names]
    known = standard_objects()
    missing = sorted({name for name in wanted if name not in known})
    if missing:
        raise ConfigError(f"no standard object of this name is written down: {', '.join(missing)}")
    return [known[name] for name in dict.fromkeys(wanted)]
