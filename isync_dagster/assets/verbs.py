"""The verbs of the migration, found by name when they are first used.

They bring polars and the clients of Salesforce with them, which a code location that only shows its graph
does not need. Tests put their own verbs into `VERBS`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from isync_dagster.assets import keys

VERBS: dict[str, str | Callable[..., Any]] = {
    keys.EXTRACT: "isync_dagster.migration.extract:extract",
    keys.PREFLIGHT: "isync_dagster.migration.preflight:preflight",
    keys.REMAP: "isync_dagster.migration.remap:remap",
    keys.LOAD: "isync_dagster.migration.load:load",
    keys.RELINK: "isync_dagster.migration.relink:relink",
    "scan": "isync_dagster.migration.scan:scan",
    "finish": "isync_dagster.migration.finish:finish",
    "plan_rollback": "isync_dagster.migration.rollback:plan_rollback",
    "rollback": "isync_dagster.migration.rollback:rollback",
    "check_references": "isync_dagster.migration.reference_check:check_references",
    "check_states": "isync_dagster.migration.checks:check_states",
    "check_target": "isync_dagster.migration.checks:verify_target",
}


def verb(name: str) -> Callable[..., Any]:
    """The function of that name, imported on first use."""
    found = VERBS[name]
    if isinstance(found, str):
        module, _, function = found.partition(":")
        return getattr(import_module(module), function)  # type: ignore[no-any-return]
    return found
