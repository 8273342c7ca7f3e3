"""The way every call of an org takes: login, limits on calls in flight, retry, replay, counting.

A call goes out at most `attempts` times. It is made again only where that is safe: nothing was sent, Salesforce
refused it before doing anything, or the caller says that repeating does no harm. Everything else that got no
answer is UnknownOutcome, to be settled by the caller.
"""

from __future__ import annotations

import json as json_module
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, NoReturn, Self
from urllib.parse import urlsplit

import requests
from simple_salesforce.api import Salesforce

from isync_dagster.errors import AuthenticationError, OrgsError
from isync_dagster.salesforce.faults import SessionExpired, no_answer, read_fault, refusal
from isync_dagster.salesforce.limiter import Limiter, Place
from isync_dagster.salesforce.login import Grant, Login
from isync_dagster.salesforce.meter import Meter, active_meters, metering
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.salesforce.polling import Pace
from isync_dagster.salesforce.transport import BearerAuth, SessionPool, WireSession, usage_of
from isync_dagster.salesforce.tuning import Tuning

NEWEST_TESTED = "64.0"
OLDEST_USABLE = "47.0"

_CALL_HEADERS = {"Accept": "application/json", "Sforce-Call-Options": "client=isync_dagster"}
_ALWAYS_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Call:
    """One call as it is sent, and sent again."""

    method: str
    path: str
    params: Mapping[str, str] | None = None
    body: bytes | Path | None = None
    headers: Mapping[str, str] | None = None
    repeatable: bool = False
    stream: bool = False
    timeout: tuple[float, float] | None = None


class OrgCalls:
    """The calls of one org: it logs in with the first one, once for all threads."""

    def __init__(self, config: OrgConfig, alias: str, tuning: Tuning | None = None) -> None:
        self.alias = alias
        self.config = config
        self.tuning = tuning or Tuning()
        credentials = config.credentials(alias)
        self._pool = SessionPool(credentials.ca_file, self.tuning, (credentials.login_url, credentials.instance_url))
        self._login = Login(alias, credentials, self._pool, self.tuning, self._count)
        self._in_flight = Limiter(config.concurrency.calls)
        self._jobs = Limiter(config.concurrency.jobs)
        self._lock = threading.Lock()
        self._calls = 0
        self._usage: tuple[int, int] | None = None
        self._version = config.api_version
        self._reads_only = False
        self._versioning = threading.Lock()
        self._heard: tuple[datetime, float] | None = None
        self.pace = Pace()
        """How long the org's jobs took lately."""

    def reading(self) -> Self:
        """The same org and login through which nothing can be written: such a call raises `OrgsError`, unsent."""
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._reads_only = True
        return view

    def __repr__(self) -> str:
        return f"Org({self.alias!r}, auth={self.config.auth!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Org holds a login and is not pickled; pass its alias and connect where it is used")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections; calls under way end as they would."""
        self._pool.close()

    # what was used

    @property
    def calls(self) -> int:
        """HTTP calls made so far, logins and repeats included: what Salesforce counts against the allowance."""
        return self._calls

    @property
    def usage(self) -> tuple[int, int] | None:
        """(used, max) of the org's calls in 24 hours as the latest answer said, or None before the first."""
        return self._usage

    def metering(self) -> AbstractContextManager[Meter]:
        """A meter of the calls and bytes of the block, its own download threads included, no other thread's."""
        return metering()

    def job_slot(self) -> AbstractContextManager[Place]:
        """The right to run one more Bulk job in the org at this time; waits for it.

        A job whose rows did not get locks says so (`crowded`): for a while fewer run beside each other.
        """
        return self._jobs.place()

    @property
    def room(self) -> tuple[int, int]:
        """(calls in flight, Bulk jobs) that this process allows itself now: what is configured, or less after refusals."""
        return self._in_flight.room, self._jobs.room

    # where it is

    @property
    def api_version(self) -> str:
        """The API version in use, such as `62.0`: the configured one, else the newest that both sides know."""
        if self._version is not None:
            return self._version
        # All threads begin with it, and one of them asks.
        with self._versioning:
            if self._version is None:
                self._version = self._newest_version()
        return self._version

    def _newest_version(self) -> str:
        offered = self.versions()
        usable = [version for version in offered if float(OLDEST_USABLE) <= float(version) <= float(NEWEST_TESTED)]
        if not usable:
            raise OrgsError(
                f"org '{self.alias}' offers API versions {', '.join(offered) or 'none'}; this tool needs one of "
                f"{OLDEST_USABLE} to {NEWEST_TESTED}",
                alias=self.alias,
            )
        return max(usable, key=float)

    @property
    def instance_url(self) -> str:
        """Where the org's API is; logs in where that is not known yet."""
        return self._login.grant().instance_url

    def versions(self) -> list[str]:
        """The API versions that the org offers."""
        answer = self.request("GET", "/services/data").json()
        return [str(item["version"]) for item in answer if isinstance(item, dict) and "version" in item]

    # every call

    @property
    def simple(self) -> Salesforce:
        """simple-salesforce on this org's connections: its calls get our retry, re-login and counting."""
        grant = self._login.grant()
        return Salesforce(
            session_id=grant.token,
            instance=urlsplit(grant.instance_url).netloc,
            version=self.api_version,
            session=_Through(self),
        )

    def path(self, resource: str, version: str | None = None) -> str:
        """The path of a resource of the data API: `jobs/query` -> `/services/data/v62.0/jobs/query`."""
        return resource if resource.startswith("/") else f"/services/data/v{version or self.api_version}/{resource}"

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        body: bytes | Path | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        version: str | None = None,
        timeout: float | None = None,
    ) -> requests.Response:
        """The answer (2xx) to a call of this org; `path` below `/services/data/vNN/`, or absolute on the host.

        `body` is sent as it is; a Path is streamed. `repeatable` says that a repeat does no harm (default: reads).
        Raises TransientError (nothing happened, or repeats did not help), UnknownOutcome (not repeatable, no
        answer), AuthenticationError, ApiLimitError, or RequestError with `code` and `status`.
        """
        wanted = dict(headers or {})
        if json is not None:
            body = json_module.dumps(json, separators=(",", ":")).encode()
            wanted.setdefault("Content-Type", "application/json; charset=UTF-8")
        call = Call(
            method=method.upper(),
            path=self.path(path, version),
            params=params,
            body=body,
            headers=wanted,
            repeatable=method.upper() in _ALWAYS_REPEATABLE if repeatable is None else repeatable,
            timeout=None if timeout is None else (self.tuning.connect_timeout, timeout),
        )
        return self.tuning.repeat(lambda: self._once(call))

    def stream(self, call: Call, use: Callable[[requests.Response], None]) -> None:
        """Hand the open answer of one attempt of a read to `use`; a repeat is the caller's (`tuning.repeat`)."""
        self._logged_in(call, use)

    def _once(self, call: Call) -> requests.Response:
        found: list[requests.Response] = []
        self._logged_in(call, found.append)
        return found[0]

    def _logged_in(self, call: Call, use: Callable[[requests.Response], None]) -> None:
        """One attempt, replayed with a new login where Salesforce refused the session (so nothing had happened)."""
        grant = self._login.grant()
        for renewed in range(3):
            try:
                return self._attempt(call, grant, use)
            except SessionExpired as expired:
                if renewed == 2:
                    raise AuthenticationError(
                        f"org '{self.alias}': Salesforce refuses a fresh session ({expired}); check the session "
                        "settings of the user's profile and app (IP ranges, high assurance)",
                        alias=self.alias,
                    ) from None
                grant = self._login.renew(grant)
        return None

    def _attempt(self, call: Call, grant: Grant, use: Callable[[requests.Response], None]) -> None:
        where = f"org '{self.alias}': {call.method} {call.path}"
        if self._reads_only and not _only_reads(call):
            raise OrgsError(f"{where}: not sent, for this connection only reads", alias=self.alias)
        with self._in_flight.place() as place, self._pool.lend(fresh=not call.repeatable) as session:
            self._count()
            try:
                with _opened(call.body) as data, self._send(session, call, grant, data) as answer:
                    usage = usage_of(answer.headers)
                    if usage is not None:
                        self._usage = usage
                    if 200 <= answer.status_code < 300:
                        self._hear(answer.headers.get("Date", ""))
                        use(answer)
                        return
                    fault = read_fault(answer.status_code, answer.content, answer.headers.get("Content-Type", ""))
            except requests.RequestException as error:
                raise no_answer(error, where=where, repeatable=call.repeatable) from None
            if fault.says_too_much:
                place.crowded()
        if fault.session_expired:
            raise SessionExpired(fault)
        refused = refusal(fault, where=where, repeatable=call.repeatable, allowance=usage)
        wait = answer.headers.get("Retry-After", "")
        if wait.isdigit():
            refused.details["retry_after"] = int(wait)
        raise refused

    def _send(
        self, session: WireSession, call: Call, grant: Grant, data: bytes | IO[bytes] | None
    ) -> requests.Response:
        base = urlsplit(grant.instance_url)
        more: dict[str, Any] = {} if call.timeout is None else {"timeout": call.timeout}
        answer = session.request(
            call.method,
            f"https://{base.netloc}{call.path}",
            params=call.params,
            data=data,
            headers={**_CALL_HEADERS, **(call.headers or {})},
            auth=BearerAuth(grant.token),
            stream=call.stream,
            **more,
        )
        if not call.stream:
            for meter in active_meters():
                meter.add_bytes(received=len(answer.content))
        return answer

    def _hear(self, date: str) -> None:
        """Take note of the org's clock."""
        with suppress(ValueError):
            self._heard = (parsedate_to_datetime(date).astimezone(UTC), time.monotonic())

    def _count(self) -> None:
        with self._lock:
            self._calls += 1
        for meter in active_meters():
            meter.add_call()


class _Through(requests.Session):
    """The session that simple-salesforce gets: its calls take the org's way, with the headers it set itself."""

    def __init__(self, org: OrgCalls) -> None:
        super().__init__()
        self._org = org

    def request(self, method: str | bytes, url: str | bytes, *_: Any, **kwargs: Any) -> requests.Response:
        """Send by `Org.request`; the host and the token are the org's present ones."""
        parts = urlsplit(url.decode() if isinstance(url, bytes) else url)
        given = dict(kwargs.get("headers") or {})
        ours = {name: value for name, value in given.items() if name not in ("Authorization", "X-PrettyPrint")}
        data = kwargs.get("data")
        if isinstance(data, str):
            data = data.encode()
        return self._org.request(
            method.decode() if isinstance(method, bytes) else method,
            parts.path + (f"?{parts.query}" if parts.query else ""),
            params=kwargs.get("params"),
            json=kwargs.get("json"),
            body=data,
            headers=ours,
        )


def _only_reads(call: Call) -> bool:
    """True for a call that changes no record and no setting: a read, a query job, a batch of reads."""
    if call.method in _ALWAYS_REPEATABLE or re.search(r"/jobs/query(/|$)", call.path):
        return True
    listed = {"batch": "batchRequests", "composite": "compositeRequest"}.get(call.path.rsplit("/", 1)[-1])
    if "/composite" not in call.path or listed is None or not isinstance(call.body, bytes):
        return False
    return all(item.get("method") == "GET" for item in json_module.loads(call.body)[listed])


@contextmanager
def _opened(body: bytes | Path | None) -> Iterator[bytes | IO[bytes] | None]:
    """The body as requests takes it; a file is opened for each attempt, so that a replay starts at its beginning."""
    if isinstance(body, Path):
        with body.open("rb") as file:
            yield file
    else:
        yield body
