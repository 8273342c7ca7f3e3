"""What a run works with: its options, and the workbench that hands out orgs, the store and sync jobs."""

# No `from __future__ import annotations`: pydantic and Dagster read the annotations of resources at run time.

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import Field

from isync_dagster.assets.settings import Settings
from isync_dagster.errors import ConfigError, OrgsError
from isync_dagster.migration.memory import limit_process
from isync_dagster.migration.model import Progress, RunOptions, SyncJob

if TYPE_CHECKING:
    from isync_dagster.plan.model import Plan
    from isync_dagster.salesforce.org import Org
    from isync_dagster.store.store import Store

_DEFAULT = RunOptions()


class RunOptionsResource(dg.ConfigurableResource[Any]):
    """The switches of one run, apart from all that stays the same between runs."""

    confirm_production: str = Field(
        default=_DEFAULT.confirm_production,
        description="To write to a production org: its 18-character org id, typed by the person who starts the run.",
    )
    parallel_downloads: int = Field(
        default=_DEFAULT.parallel_downloads, ge=1, description="Result pages of one extract downloaded at a time."
    )
    split_rows: int = Field(
        default=_DEFAULT.split_rows,
        ge=1,
        description="Above so many rows an object is read in ranges of ids, each a query job of its own.",
    )
    parallel_ranges: int = Field(
        default=_DEFAULT.parallel_ranges, ge=1, description="Ranges of one object read at the same time."
    )
    parallel_jobs: int = Field(
        default=_DEFAULT.parallel_jobs, ge=1, description="Bulk ingest jobs of one object that run at a time."
    )
    chunk_bytes: int = Field(
        default=_DEFAULT.chunk_bytes, ge=1, le=100_000_000, description="Bytes of one Bulk ingest upload."
    )
    lock_attempts: int = Field(
        default=_DEFAULT.lock_attempts,
        ge=1,
        description="How often rows that Salesforce refused for a lock or the like are sent within a run.",
    )
    batch_rows: int = Field(
        default=_DEFAULT.batch_rows,
        ge=1,
        le=10_000,
        description="Rows of a batch of the platform; rows that must go alone go by so many in a job.",
    )
    jobs_on_cancel: Literal["wait", "abort"] = Field(
        default="wait", description="When this run is cancelled: wait for Bulk jobs in flight, or abort them."
    )
    api_budget: str = Field(
        default=_DEFAULT.api_budget,
        description="Share of an org's daily API calls at which the run stops (90%); empty: as the template says.",
    )
    spot_checks: int = Field(
        default=_DEFAULT.spot_checks, ge=0, description="Sample records that a relationship check lists."
    )
    thorough: bool = Field(
        default=_DEFAULT.thorough,
        description="The checks of a run compare as many records field by field as those that are run alone.",
    )

    def options(self) -> RunOptions:
        """The options as the verbs take them."""
        return RunOptions(
            confirm_production=self.confirm_production.strip(),
            parallel_downloads=self.parallel_downloads,
            split_rows=self.split_rows,
            parallel_ranges=self.parallel_ranges,
            parallel_jobs=self.parallel_jobs,
            chunk_bytes=self.chunk_bytes,
            lock_attempts=self.lock_attempts,
            batch_rows=self.batch_rows,
            jobs_on_cancel=self.jobs_on_cancel,
            api_budget=self.api_budget.strip(),
            spot_checks=self.spot_checks,
            thorough=self.thorough,
        )


class Workbench:
    """Orgs, store and plans of one process: one login an org, one store, both made when first needed."""

    def __init__(self, settings: Settings, plans: Mapping[str, "Plan"]) -> None:
        self.settings = settings
        self.plans = plans
        self._lock = threading.Lock()
        self._logins: dict[str, threading.Lock] = {}
        self._orgs: dict[str, Org] = {}
        self._store: Store | None = None
        limit_process(settings.memory)

    def plan(self, template: str) -> "Plan":
        """The plan of a template; ConfigError names the templates there are."""
        try:
            return self.plans[template]
        except KeyError:
            known = ", ".join(sorted(self.plans)) or "none"
            raise ConfigError(
                f"There is no template {template!r} in {self.settings.templates}/ (found: {known})."
            ) from None

    def org(self, alias: str) -> "Org":
        """The org of that alias, logged in: steps that need it at the same time share one login."""
        with self._lock:
            login = self._logins.setdefault(alias, threading.Lock())
        with login:
            if alias not in self._orgs:
                self._orgs[alias] = connect(self.settings.orgs, alias)
            return self._orgs[alias]

    @property
    def store(self) -> "Store":
        """The store at `ISYNC_STORE`, opened once."""
        with self._lock:
            if self._store is None:
                from isync_dagster.store.store import Store

                self._store = Store.open(self.settings.store)
                if self.settings.is_remote:
                    # Each machine for itself: its rights and its clock are its own.
                    self._store.check_writable()
            return self._store

    def job(
        self,
        template: str,
        phase: str,
        options: RunOptions = _DEFAULT,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        progress: Callable[[Progress], None] = lambda _: None,
        opened_by: str = "isync",
        session: str = "",
    ) -> SyncJob:
        """The sync job of one phase, with both orgs logged in."""
        plan = self.plan(template)
        more: dict[str, Any] = {"session": session} if session else {}
        return SyncJob(
            plan=plan,
            phase=phase,
            source=self.org(plan.source_alias),
            target=self.org(plan.target_alias),
            store=self.store,
            options=options,
            cancelled=cancelled,
            progress=progress,
            templates_folder=self.settings.templates,
            opened_by=opened_by,
            **more,
        )


def connect(orgs: Path, alias: str) -> "Org":
    """Log in to the org that orgs.yaml calls `alias`; OrgsError names the aliases there are."""
    from isync_dagster.salesforce.org import Org
    from isync_dagster.salesforce.orgs import load_orgs

    configs = load_orgs(orgs)
    if alias not in configs:
        known = ", ".join(sorted(configs)) or "none"
        raise OrgsError(f"{orgs} has no org {alias!r} (found: {known}). Add it there, then `isync orgs check {alias}`.")
    return Org.connect(configs[alias], alias)
