"""Where things are and how steps run: the settings that the environment gives to the code location and the CLI."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isync_dagster.errors import ConfigError
from isync_dagster.migration.memory import DEFAULT, parse_size

EXECUTORS = ("threads", "processes", "in_process", "celery", "k8s")
REMOTE = ("celery", "k8s")
"""Executors whose steps run on other machines (docs/deploy.md)."""


@dataclass(frozen=True)
class Settings:
    """The settings of one process; every process of a run must see the same ones."""

    templates: Path
    """Folder of the templates (`ISYNC_TEMPLATES`, default `./templates`)."""
    store: str
    """Root URL of the store (`ISYNC_STORE`, default `./.isync/store`)."""
    orgs: Path
    """orgs.yaml (`ISYNC_ORGS`, default `<templates>/orgs.yaml`)."""
    executor: str = "threads"
    """How steps run (`ISYNC_EXECUTOR`): threads, processes or in_process; celery or k8s on other machines."""
    max_concurrent: int | None = None
    """Steps of one run at the same time (`ISYNC_MAX_CONCURRENT`)."""
    memory: int = DEFAULT
    """Bytes that each process holds at most, about (`ISYNC_MEMORY`, such as `1.5 GB`; default 1 GB)."""

    @property
    def is_remote(self) -> bool:
        """True where steps run on other machines than the process that drives the run."""
        return self.executor in REMOTE

    @property
    def snapshots(self) -> Path:
        """Folder of the describe snapshots, one folder an org alias."""
        return self.templates / "orgs"

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; a value that cannot be right raises `ConfigError` with the variable's name.

        >>> Settings.from_env({"ISYNC_EXECUTOR": "thread"})
        Traceback (most recent call last):
        isync_dagster.errors.ConfigError: ISYNC_EXECUTOR is 'thread': it takes threads, processes, in_process, celery or k8s.
        """
        values = os.environ if environment is None else environment
        templates = Path(values.get("ISYNC_TEMPLATES") or "templates")
        executor = values.get("ISYNC_EXECUTOR") or EXECUTORS[0]
        if executor not in EXECUTORS:
            raise ConfigError(
                f"ISYNC_EXECUTOR is {executor!r}: it takes {', '.join(EXECUTORS[:-1])} or {EXECUTORS[-1]}."
            )
        many = values.get("ISYNC_MAX_CONCURRENT") or ""
        if many and not (many.isdigit() and int(many)):
            raise ConfigError(f"ISYNC_MAX_CONCURRENT is {many!r}: it takes a number of steps, such as 16.")
        return cls(
            templates=templates,
            store=values.get("ISYNC_STORE") or ".isync/store",
            orgs=Path(values.get("ISYNC_ORGS") or templates / "orgs.yaml"),
            executor=executor,
            max_concurrent=int(many) if many else None,
            memory=parse_size(values["ISYNC_MEMORY"], "ISYNC_MEMORY") if values.get("ISYNC_MEMORY") else DEFAULT,
        )
