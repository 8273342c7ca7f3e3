"""`isync …`: everything the Dagster UI can start, and what happens before there is a graph to show."""

import gc
import sys

# Imports make a million objects that all stay: looking through them again and again for garbage is a second of every
# command. Nothing is looked for meanwhile, and in what a run makes in larger portions than Python's.
gc.disable()

from isync_dagster.cli.app import app, main  # noqa: E402

# The binding of DuckDB, which a process has that serves local orgs, counts at the end what was not collected.
if "duckdb" not in sys.modules:
    gc.freeze()
gc.set_threshold(50_000, 20, 100)
gc.enable()

__all__ = ["app", "main"]
