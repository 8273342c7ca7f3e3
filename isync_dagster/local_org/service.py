"""What a running org holds beside its data: sessions, faults, call counter, Bulk jobs, and the routes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

import duckdb

from isync_dagster.errors import ConfigError
from isync_dagster.local_org import (
    auth,
    routes_bulk,
    routes_bulk1,
    routes_collections,
    routes_composite,
    routes_control,
    routes_deltas,
    routes_identity,
    routes_layouts,
    routes_metadata,
    routes_query,
    routes_rows,
    routes_schema,
    routes_search,
    routes_soap,
    routes_tooling,
)
from isync_dagster.local_org.bulk1_jobs import Bulk1Jobs
from isync_dagster.local_org.bulk_jobs import BulkJobs
from isync_dagster.local_org.cursors import Cursors
from isync_dagster.local_org.faults import Fault, Faults
from isync_dagster.local_org.kill import CommitKill, kill_now
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.request import of_headers, working_for
from isync_dagster.local_org.scenarios import Scenario
from isync_dagster.local_org.web import ApiError, Call, Reply, Route

log = logging.getLogger(__name__)


class Service:
    """Answers calls; thread-safe, one per running org."""

    def __init__(self, org: LocalOrg, *, own_process: bool = False) -> None:
        self.org = org
        self.own_process = own_process
        self.concurrent_limit: int | None = None
        self._calls_at_work = 0
        self.sessions = auth.Sessions(org)
        self.faults = Faults()
        self.cursors = Cursors(org.storage.pod, org.folder)
        self.calls_made = 0
        self.call_limit = org.settings.daily_requests
        self._lock = threading.Lock()
        self.jobs = BulkJobs(org)
        self.bulk1 = Bulk1Jobs(org)
        self.modified = time.time()
        self.metadata_jobs = routes_metadata.MetadataJobs()
        self.routes: list[Route] = [
            *auth.routes(),
            *routes_identity.routes(),
            *routes_soap.routes(),
            *routes_control.routes(),
            *routes_schema.routes(),
            *routes_tooling.routes(),
            *routes_metadata.routes(),
            *routes_bulk.routes(),
            *routes_bulk1.routes(),
            *routes_query.routes(),
            *routes_search.routes(),
            *routes_layouts.routes(),
            *routes_collections.routes(),
            *routes_composite.routes(),
            *routes_deltas.routes(),
            *routes_rows.routes(),
        ]

    def close(self) -> None:
        """Stop the background work."""
        self.jobs.close()
        self.cursors.close()
        self.bulk1.close()

    def instance_url(self, call: Call) -> str:
        """The URL under which this client reaches the org."""
        return call.headers.get("x-local-org-url", "http://127.0.0.1")

    def find(self, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of a path, with its named groups."""
        for item in self.routes:
            found = item.pattern.match(path)
            if found:
                return item, {key: value for key, value in found.groupdict().items() if value is not None}
        return None

    def count_call(self) -> None:
        """Count one API call; REQUEST_LIMIT_EXCEEDED once the allowance is used up."""
        with self._lock:
            if self.calls_made >= self.call_limit:
                raise ApiError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            self.calls_made += 1

    def limit_info(self) -> str:
        """The value of `Sforce-Limit-Info`."""
        return f"api-usage={self.calls_made}/{self.call_limit}"

    def answer(self, item: Route, call: Call) -> Reply:
        """Run the handler of an authenticated call; every refusal becomes the platform's envelope."""
        # Clients that know no PATCH say it with a POST.
        if call.method == "POST" and (meant := call.query.get("_HttpMethod", "").upper()):
            call.method = meant
        handler = item.handlers.get(call.method) or (item.handlers.get("GET") if call.method == "HEAD" else None)
        try:
            if handler is None:
                allowed = ",".join(sorted({"HEAD", *item.handlers} if "GET" in item.handlers else item.handlers))
                raise ApiError(
                    405, "METHOD_NOT_ALLOWED", f"HTTP Method '{call.method}' not allowed. Allowed are {allowed}"
                )
            user_id = call.session.user_id if call.session is not None else None
            with working_for(of_headers(call.headers, user_id=user_id, base=call.base)):
                return handler(call)
        except ApiError as error:
            return Reply(error.body(), status=error.status)
        except duckdb.Error:
            log.exception("The database refused %s %s", call.method, call.url_path)
            return unexpected()

    def enter(self) -> bool:
        """Count a call that begins; False where as many are at work as may be."""
        with self._lock:
            if self.concurrent_limit is not None and self._calls_at_work >= self.concurrent_limit:
                return False
            self._calls_at_work += 1
            return True

    def leave(self) -> None:
        """Count a call that ended."""
        with self._lock:
            self._calls_at_work -= 1

    def apply(self, scenario: Scenario) -> None:
        """Let a scenario begin in place of the one before; ConfigError where it would kill a process not its own."""
        self.refuse_kill(scenario.calls)
        self.lift()
        limits = scenario.limits
        self.org.conditions.apply(scenario)
        self.faults.seed = scenario.seed
        self.faults.set([rule.model_copy() for rule in scenario.calls])
        if limits is not None:
            self.concurrent_limit = limits.concurrent
            self.org.storage.rows_left = limits.storage_rows
            if limits.requests is not None:
                self.leave_calls(limits.requests)

    def lift(self) -> None:
        """Put all right again: no fault, no scenario, the allowances of a new day."""
        self.faults.set([])
        self.org.conditions.lift()
        self.org.storage.rows_left = None
        self.org.storage.kill = None
        self.concurrent_limit = None
        with self._lock:
            self.calls_made, self.call_limit = 0, self.org.settings.daily_requests

    def refuse_kill(self, rules: Iterable[Fault]) -> None:
        """ConfigError where a rule would kill a process that is more than this server."""
        if not self.own_process and any(rule.kind == "kill" for rule in rules):
            raise ConfigError(
                "This org is served inside another process, which a kill would end: serve it by "
                "`isync local-org serve` to have it killed."
            )

    def arm(self, rule: Fault) -> None:
        """Kill this process now, or at a commit to come."""
        if rule.moment == "before" or rule.moment == "after":
            kill_now()
        else:
            self.org.storage.kill = CommitKill(rule.moment, rule.commits, self.faults.seed)

    def leave_calls(self, left: int) -> None:
        """Let that many more calls pass before the allowance is used up."""
        with self._lock:
            self.call_limit = self.calls_made + left

    def status(self) -> dict[str, Any]:
        """What the control API tells."""
        return {
            "org_id": self.org.org_id,
            "calls": self.calls_made,
            "limit": self.call_limit,
            "faults": self.faults.as_json(),
            "scenario": self.org.conditions.scenario.name,
            "batches_left": self.org.conditions.batches_left,
            "query_jobs_left": self.org.conditions.query_jobs_left,
            "storage_rows_left": self.org.storage.rows_left,
            "process": os.getpid(),
        }


def unexpected() -> Reply:
    """The platform's answer to its own mistakes."""
    error = ApiError(
        500,
        "UNKNOWN_EXCEPTION",
        "An unexpected error occurred. Please include this ErrorId if you contact support: 1-1 (1)",
    )
    return Reply(error.body(), status=500)
