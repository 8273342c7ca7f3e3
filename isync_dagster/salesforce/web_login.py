"""The OAuth web-server flow with PKCE: a URL for the browser, a callback on this machine, tokens for the code."""

from __future__ import annotations

import base64
import hashlib
import html
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from isync_dagster.errors import AuthenticationError, OrgsError
from isync_dagster.salesforce.faults import no_answer
from isync_dagster.salesforce.orgs import Credentials
from isync_dagster.salesforce.tokens import Tokens
from isync_dagster.salesforce.transport import SessionPool
from isync_dagster.salesforce.tuning import Tuning
from isync_dagster.salesforce.urls import checked_url

PATH = "/OauthRedirect"
SCOPE = "api refresh_token"
WAIT = 300.0
"""Seconds that a person has for the login."""


@dataclass(frozen=True)
class Attempt:
    """One login on its way: what the browser is sent with, and what its answer is checked by."""

    app: Credentials
    redirect_uri: str
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)

    @property
    def url(self) -> str:
        """Where the browser goes."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.app.consumer_key,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return f"{self.app.login_url}/services/oauth2/authorize?{urlencode(query)}"

    def code(self, address: str) -> str:
        """The code in the address that the browser ended at; AuthenticationError with what Salesforce says instead."""
        given = {key: values[0] for key, values in parse_qs(urlsplit(address.strip()).query).items()}
        if given.get("error"):
            text = f"{given['error']}: {given.get('error_description', '')}".strip(": ")
            raise AuthenticationError(f"Salesforce did not grant the login: {text}", code=given["error"])
        if not secrets.compare_digest(given.get("state", ""), self.state) or not given.get("code"):
            raise AuthenticationError("that is not the address that this login ends at: begin anew", code="state")
        return given["code"]

    def tokens(self, code: str) -> Tokens:
        """The tokens for the code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "client_id": self.app.consumer_key or "",
            "code_verifier": self.verifier,
        }
        if self.app.consumer_secret is not None:
            form["client_secret"] = self.app.consumer_secret
        answer = _posted(self.app, "token", form).json()
        if not answer.get("refresh_token"):
            raise AuthenticationError(
                "Salesforce gave no refresh token: add the scope 'Perform requests at any time (refresh_token)' to the app"
            )
        # …/id/<org id>/<user id>
        org_id, user_id = urlsplit(str(answer["id"])).path.rstrip("/").split("/")[-2:]
        return Tokens(
            refresh_token=str(answer["refresh_token"]),
            access_token=str(answer["access_token"]),
            instance_url=checked_url(str(answer["instance_url"]), "instance_url"),
            login_url=self.app.login_url,
            org_id=org_id,
            user_id=user_id,
            at=time.time(),
        )


class Callback:
    """A server on this machine that takes the one redirect of a login."""

    def __init__(self, port: int) -> None:
        try:
            self._server = _Server(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise OrgsError(
                f"port {port} of this machine cannot be used ({error.strerror}): give another with --port, which the app's "
                "callback URL must name, or --port 0 for a free one"
            ) from None

    def __enter__(self) -> Callback:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    @property
    def redirect_uri(self) -> str:
        """The address that Salesforce sends the browser to."""
        return f"http://localhost:{self._server.server_port}{PATH}"

    def wait(self, attempt: Attempt, seconds: float = WAIT, clock: Callable[[], float] = time.monotonic) -> str:
        """The code; other requests are answered and forgotten. AuthenticationError where none comes in time."""
        until = clock() + seconds
        self._server.attempt, self._server.outcome = attempt, None
        while self._server.outcome is None:
            left = until - clock()
            if left <= 0:
                raise AuthenticationError(
                    f"no login came within {seconds:.0f} s. Where the browser runs on another machine, use --paste.",
                    code="timeout",
                )
            self._server.timeout = left
            self._server.handle_request()
        if isinstance(self._server.outcome, AuthenticationError):
            raise self._server.outcome
        return self._server.outcome


class _Server(HTTPServer):
    attempt: Attempt
    outcome: str | AuthenticationError | None = None


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5

    def do_GET(self) -> None:
        """Take the redirect; anything else, and a redirect of another login, is refused and changes nothing."""
        if urlsplit(self.path).path != PATH:
            return self._say(404, "There is nothing here.")
        try:
            self.server.outcome = self.server.attempt.code(self.path)
        except AuthenticationError as error:
            if error.details.get("code") == "state":
                return self._say(400, "This is not the login that is waited for.")
            self.server.outcome = error
            return self._say(400, str(error))
        return self._say(200, "You are logged in. This window can be closed.")

    def _say(self, status: int, text: str) -> None:
        body = f"<!doctype html><meta charset=utf-8><title>isync</title><p>{html.escape(text)}</p>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The path holds the code: it is not logged."""


def revoke(app: Credentials, tokens: Tokens) -> None:
    """End the refresh token, and with it the access tokens that it gave."""
    _posted(app, "revoke", {"token": tokens.refresh_token})


def _posted(app: Credentials, what: str, form: Mapping[str, str]) -> requests.Response:
    tuning = Tuning()
    url = f"{app.login_url}/services/oauth2/{what}"
    pool = SessionPool(app.ca_file, tuning, (app.login_url,))
    try:
        with pool.lend() as session:
            answer = session.post(url, data=dict(form))
    except requests.RequestException as error:
        raise no_answer(error, where=url, repeatable=True) from None
    finally:
        pool.close()
    if answer.status_code != 200:
        try:
            told = answer.json()
            text = f"{told.get('error')}: {told.get('error_description')}"
        except ValueError:
            text = f"HTTP {answer.status_code}: is the login URL right?"
        raise AuthenticationError(f"{url}: {text}", code=text.split(":", 1)[0])
    return answer
