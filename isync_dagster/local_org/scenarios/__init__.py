"""Scenario files: named trouble for a local org, as a test suite sweeps it.

    from isync_dagster.local_org.scenarios import load, names

    for name in names():
        served.service.apply(load(name))

A scenario that kills the server (`kills`) needs a server in a process of its own (`isync local-org serve`).
"""

from isync_dagster.local_org.scenarios.files import load, names, shipped
from isync_dagster.local_org.scenarios.model import Limits, Locks, Scenario, Timeouts

__all__ = ["Limits", "Locks", "Scenario", "Timeouts", "load", "names", "shipped"]
