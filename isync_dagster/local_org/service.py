"""What a running org holds beside its data: sessions, faults, call counter, Bulk jobs, and the routes."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import duckdb

from isync_dagster.local_org import (
    auth,
    routes_bulk,
    routes_collections,
    routes_composite,
    routes_control,
    routes_metadata,
    routes_query,
    routes_rows,
    routes_schema,
    routes_tooling,
)
from isync_dagster.local_org.bulk_jobs import BulkJobs
from isync_dagster.local_org.cursors import Cursors
from isync_dagster.local_org.faults import Faults
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.request import of_headers, working_for
from isync_dagster.local_org.web import ApiError, Call, Reply, Route

log = logging.getLogger(__name__)


class Service:
    """Answers calls; thread-safe, one per running org."""

    def __init__(self, org: LocalOrg) -> None:
        self.org = org
        self.sessions = auth.Sessions(org)
        self.faults = Faults()
        self.cursors = Cursors(org.storage.pod)
        self.calls_made = 0
        self.call_limit = org.settings.daily_requests
        self._lock = threading.Lock()
        self.jobs = BulkJobs(org)
        self.modified = time.time()
        self.metadata_jobs = routes_metadata.MetadataJobs()
        self.routes: list[Route] = [
            *auth.routes(),
            *routes_control.routes(),
            *routes_schema.routes(),
            *routes_tooling.routes(),
            *routes_metadata.routes(),
            *routes_bulk.routes(),
            *routes_query.routes(),
            *routes_collections.routes(),
            *routes_composite.routes(),
            *routes_rows.routes(),
        ]

    def close(self) -> None:
        """Stop the background work."""
        self.jobs.close()

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
        }


def unexpected() -> Reply:
    """The platform's answer to its own mistakes."""
    error = ApiError(
        500,
        "UNKNOWN_EXCEPTION",
        "An unexpected error occurred. Please include this ErrorId if you contact support: 1-1 (1)",
    )
    return Reply(error.body(), status=500)
