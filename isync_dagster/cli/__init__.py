"""`isync …`: everything the Dagster UI can start, and what happens before there is a graph to show."""

from isync_dagster.cli.app import app, main

__all__ = ["app", "main"]
