"""Connections: requests sessions that know their org's certificates, time limits and loopback rule.

A session is lent to one thread at a time and goes back to the pool after the answer was read, so that threads
never share one and connections live on between calls.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from isync_dagster.salesforce.tuning import Tuning
from isync_dagster.salesforce.urls import is_loopback

USER_AGENT = "isync_dagster"


class LoopbackAdapter(HTTPAdapter):
    """Sends to http what was addressed to https: simple-salesforce always writes https.

    Mounted for loopback hosts only, where the org's URL says http; elsewhere credentials need TLS.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send the request to the same host and port by http."""
        if request.url is not None and request.url.startswith("https://"):
            request.url = "http://" + request.url.removeprefix("https://")
        return super().send(request, *args, **kwargs)


class WireSession(requests.Session):
    """A session with the org's certificates and a time limit on every call, simple-salesforce's included."""

    def __init__(self, ca_file: Path | None, tuning: Tuning, local_urls: frozenset[str]) -> None:
        super().__init__()
        self.used = 0.0
        self._verify: bool | str = True if ca_file is None else str(ca_file)
        self._timeouts = (tuning.connect_timeout, tuning.read_timeout)
        self.headers.update({"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"})
        # Cookies would tie calls to the server of the first one, and carry its session beside the token.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for url in local_urls:
            # A proxy, a .netrc or a certificate bundle of the environment is not meant for this machine.
            self.trust_env = False
            if url.startswith("http://"):
                self.mount(f"https://{urlsplit(url).netloc}/", LoopbackAdapter())

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """`requests.Session.request` with our certificates and time limits; redirects are left to the caller."""
        kwargs.setdefault("timeout", self._timeouts)
        # given with the call, for REQUESTS_CA_BUNDLE would win over the session's own setting
        kwargs.setdefault("verify", self._verify)
        kwargs.setdefault("allow_redirects", False)
        try:
            return super().request(method, url, *args, **kwargs)
        finally:
            self.used = time.monotonic()


class SessionPool:
    """The sessions of one org."""

    def __init__(self, ca_file: Path | None, tuning: Tuning, urls: tuple[str | None, ...]) -> None:
        self._ca_file = ca_file
        self._tuning = tuning
        self._local: frozenset[str] = frozenset()
        self._idle: list[WireSession] = []
        self._lock = threading.Lock()
        self._closed = False
        for url in urls:
            self.know(url)

    def know(self, url: str | None) -> None:
        """Take note of a URL of the org: one on this machine is reached directly, and by http where it says so."""
        if url is None or not is_loopback(urlsplit(url).hostname or ""):
            return
        with self._lock:
            stale: list[WireSession] = []
            if url not in self._local:
                self._local |= {url}
                stale, self._idle = self._idle, []
        for session in stale:
            session.close()

    @contextmanager
    def lend(self, *, fresh: bool = False) -> Iterator[WireSession]:
        """A session for the time of one call; `fresh` drops connections that the server may have closed."""
        with self._lock:
            session = self._idle.pop() if self._idle else WireSession(self._ca_file, self._tuning, self._local)
        if fresh and time.monotonic() - session.used > self._tuning.idle_connection:
            session.close()
        try:
            yield session
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._idle.append(session)
            if not keep:
                session.close()

    def close(self) -> None:
        """Close every connection; one that is lent closes when it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()


class BearerAuth(requests.auth.AuthBase):
    """The access token of a call; as an auth object it wins over a .netrc entry of the same host."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def usage_of(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """(used, max) of the org's daily calls from a Sforce-Limit-Info header.

    >>> usage_of({"Sforce-Limit-Info": "api-usage=18/5000; per-app-api-usage=17/250(appName=x)"})
    (18, 5000)
    """
    for part in headers.get("Sforce-Limit-Info", "").split(";"):
        name, _, value = part.strip().partition("=")
        used, _, most = value.partition("/")
        if name == "api-usage" and used.isdigit() and most.isdigit():
            return int(used), int(most)
    return None
