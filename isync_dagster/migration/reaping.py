"""What dead processes left in the store: leases that nobody holds any more, temporaries of files never finished."""

from __future__ import annotations

from dataclasses import dataclass

from isync_dagster.store import files
from isync_dagster.store.store import Store


@dataclass(frozen=True)
class Reaped:
    """Holders whose lease was given back, and how many temporaries were removed."""

    leases: tuple[str, ...]
    temporaries: int


def reap_store(store: Store) -> Reaped:
    """Give back the leases whose holder is dead (by the rule in `store.lease`), remove old temporaries.

    Safe at any moment beside living workers: a lease is only given back where no member of its run is alive.
    """
    found = []
    for name in files.names(store.layout.root / "leases"):
        if name.endswith(".json"):
            continue
        holder = store.lease(name).reap()
        if holder is not None:
            found.append(f"{holder['holder']} ({holder['label']})")
    return Reaped(tuple(found), store.sweep())
